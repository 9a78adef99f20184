package server

const (
	get    = "GET"
	post   = "POST"
	put    = "PUT"
	del    = "DELETE"
	patch  = "PATCH"
	onRepo = "/api/{repo}"
)

// table lists every address that the server answers, in the order in which they
// are tried. HEAD goes where GET goes.
func (s *Server) table() []route {
	routes := []route{
		{Method: get, Pattern: "/healthz", Handler: (*call).ok},
		{Method: get, Pattern: "/api/whoami-v2", Access: user, Handler: (*call).whoami},
		{Method: post, Pattern: "/api/validate-yaml", Handler: (*call).validateYAML},
		{Method: post, Pattern: "/api/repos/create", Access: user, Handler: (*call).createRepo},
		{Method: del, Pattern: "/api/repos/delete", Access: user, Handler: (*call).deleteRepo},
		{Method: post, Pattern: "/api/repos/move", Access: user, Handler: (*call).moveRepo},
		{Method: get, Pattern: "/api/settings/repositories", Access: user, Handler: (*call).ownRepos},
		{Method: get, Pattern: "/api/organizations/{name}/settings/repositories", Access: user, Handler: (*call).ownRepos},
		{Method: get, Pattern: "/api/organizations/{name}/members", Handler: (*call).members},
		{Method: get, Pattern: "/api/organizations/{name}/overview", Handler: (*call).overview},
		{Method: get, Pattern: "/api/users/{name}/overview", Handler: (*call).overview},
		{Method: get, Pattern: "/api/users/{name}/likes", Handler: (*call).likes},
		{Method: get, Pattern: "/api/models-tags-by-type", Handler: (*call).tagsByType},
		{Method: get, Pattern: "/api/datasets-tags-by-type", Handler: (*call).tagsByType},
		{Method: get, Pattern: "/api/models", Handler: (*call).listRepos},
		{Method: get, Pattern: "/api/datasets", Handler: (*call).listRepos},
		{Method: get, Pattern: "/api/spaces", Handler: (*call).listRepos},
		{Method: get, Pattern: "/api/spaces/hardware", Handler: (*call).hardware},
		{Method: get, Pattern: "/api/spaces/templates", Handler: (*call).templates},
	}
	routes = append(routes, repoRoutes()...)
	routes = append(routes, spaceRoutes()...)
	routes = append(routes, collectionRoutes()...)
	routes = append(routes, oauthRoutes()...)
	routes = append(routes, fileRoutes()...)
	return append(routes, pageRoutes()...)
}

// repoRoutes are those below one repo's address in the API.
func repoRoutes() []route {
	return []route{
		{Method: get, Pattern: onRepo, Access: reader, Handler: (*call).info},
		{Method: get, Pattern: onRepo + "/revision/{rev}", Access: reader, Handler: (*call).info},
		{Method: get, Pattern: onRepo + "/auth-check", Access: content, Handler: (*call).ok},
		{Method: get, Pattern: onRepo + "/auth-check/write", Access: writer, Handler: (*call).ok},
		{Method: put, Pattern: onRepo + "/settings", Access: owner, Handler: (*call).settings},
		{Method: post, Pattern: onRepo + "/duplicate", Access: content, Handler: (*call).duplicate},
		{Method: get, Pattern: onRepo + "/tree/{rev}/{path}", Access: reader, Handler: (*call).tree},
		{Method: post, Pattern: pathsInfoPattern, Access: reader, Handler: (*call).pathsInfo},
		{Method: get, Pattern: onRepo + "/refs", Access: reader, Handler: (*call).listRefs},
		{Method: get, Pattern: onRepo + "/commits/{rev}", Access: reader, Handler: (*call).commits},
		{Method: post, Pattern: onRepo + "/branch/{rev}", Access: writer, Handler: (*call).createBranch},
		{Method: del, Pattern: onRepo + "/branch/{rev}", Access: writer, Handler: (*call).deleteBranch},
		{Method: post, Pattern: onRepo + "/tag/{rev}", Access: writer, Handler: (*call).createTag},
		{Method: del, Pattern: onRepo + "/tag/{rev}", Access: writer, Handler: (*call).deleteTag},
		{Method: post, Pattern: onRepo + "/super-squash/{rev}", Access: writer, Handler: (*call).superSquash},
		{Method: post, Pattern: onRepo + "/preupload/{rev}", Access: reader, Handler: (*call).preupload},
		{Method: post, Pattern: onRepo + "/commit/{rev}", Access: reader, Handler: (*call).postCommit},
		{Method: get, Pattern: onRepo + "/xet-write-token/{rev}", Access: reader, Handler: (*call).xetWriteToken},
		{Method: get, Pattern: onRepo + "/xet-read-token/{rev}", Access: content, Handler: (*call).xetReadToken},
		{Method: get, Pattern: onRepo + "/lfs-files", Access: writer, Handler: (*call).lfsFiles},
		{Method: post, Pattern: onRepo + "/lfs-files/batch", Access: owner, Handler: (*call).deleteLFSFiles},
		{Method: post, Pattern: onRepo + "/lfs-files/duplicate", Access: content, Handler: (*call).duplicateLFSFiles},
		{Method: post, Pattern: onRepo + "/like", Access: reader, Handler: (*call).like},
		{Method: del, Pattern: onRepo + "/like", Access: reader, Handler: (*call).like},
		{Method: get, Pattern: onRepo + "/likers", Access: reader, Handler: (*call).likers},
		{Method: get, Pattern: onRepo + "/discussions", Access: reader, Handler: (*call).discussions},
		{Method: post, Pattern: onRepo + "/discussions", Access: reader, Handler: (*call).openDiscussion},
		{Method: get, Pattern: onRepo + "/discussions/{num}", Access: reader, Handler: (*call).discussion},
		{Method: post, Pattern: onRepo + "/discussions/{num}/comment", Access: reader, Handler: (*call).comment},
		{Method: post, Pattern: onRepo + "/discussions/{num}/comment/{id}/edit", Access: reader, Handler: (*call).editComment},
		{Method: post, Pattern: onRepo + "/discussions/{num}/comment/{id}/hide", Access: reader, Handler: (*call).hideComment},
		{Method: post, Pattern: onRepo + "/discussions/{num}/title", Access: reader, Handler: (*call).retitle},
		{Method: post, Pattern: onRepo + "/discussions/{num}/status", Access: reader, Handler: (*call).setStatus},
		{Method: post, Pattern: onRepo + "/discussions/{num}/merge", Access: writer, Handler: (*call).merge},
		{Method: get, Pattern: onRepo + "/user-access-request/{status}", Access: writer, Handler: (*call).accessRequests},
		{Method: post, Pattern: onRepo + "/user-access-request/handle", Access: writer, Handler: (*call).handleAccess},
		{Method: post, Pattern: onRepo + "/user-access-request/grant", Access: writer, Handler: (*call).grantAccess},
		{Method: post, Pattern: "/{repo}/ask-access", Access: reader, Handler: (*call).askAccess},
	}
}

// spaceRoutes are about how a Space runs; for other repos they are not there.
func spaceRoutes() []route {
	return []route{
		{Method: get, Pattern: onRepo + "/runtime", Access: reader, Handler: (*call).runtime},
		{Method: get, Pattern: onRepo + "/secrets", Access: writer, Handler: (*call).variables},
		{Method: post, Pattern: onRepo + "/secrets", Access: writer, Handler: (*call).setVariable},
		{Method: del, Pattern: onRepo + "/secrets", Access: writer, Handler: (*call).setVariable},
		{Method: get, Pattern: onRepo + "/variables", Access: reader, Handler: (*call).variables},
		{Method: post, Pattern: onRepo + "/variables", Access: writer, Handler: (*call).setVariable},
		{Method: del, Pattern: onRepo + "/variables", Access: writer, Handler: (*call).setVariable},
		{Method: post, Pattern: onRepo + "/hardware", Access: writer, Handler: (*call).setHardware},
		{Method: post, Pattern: onRepo + "/sleeptime", Access: writer, Handler: (*call).setSleep},
		{Method: post, Pattern: onRepo + "/pause", Access: writer, Handler: (*call).pause},
		{Method: post, Pattern: onRepo + "/restart", Access: writer, Handler: (*call).restart},
		{Method: post, Pattern: onRepo + "/storage", Access: writer, Handler: (*call).setStorage},
		{Method: del, Pattern: onRepo + "/storage", Access: writer, Handler: (*call).setStorage},
		{Method: put, Pattern: onRepo + "/volumes", Access: writer, Handler: (*call).setVolumes},
		{Method: del, Pattern: onRepo + "/volumes", Access: writer, Handler: (*call).setVolumes},
		{Method: post, Pattern: onRepo + "/dev-mode", Access: writer, Handler: (*call).setDevMode},
		{Method: get, Pattern: onRepo + "/logs/{kind}", Access: writer, Handler: (*call).logs},
	}
}

// fileRoutes are those outside the API: files, git, large files.
func fileRoutes() []route {
	const files = "resolvers"
	return []route{
		{Method: put, Pattern: "/_lfs/{id}/{sha}", Handler: (*call).putLFS, bucket: files},
		{Method: get, Pattern: "/_lfs/{id}/{sha}", Handler: (*call).getLFS, bucket: files},
		{Method: post, Pattern: "/_cas/{path}", Handler: (*call).xetCAS, bucket: files},
		{Method: get, Pattern: "/_cas/{path}", Handler: (*call).xetCAS, bucket: files},
		{Method: post, Pattern: "/v1/telemetry", Handler: (*call).xetTelemetry},
		{Method: post, Pattern: "/_lfs/{id}/{sha}", Handler: (*call).postLFS, bucket: files},
		{Method: get, Pattern: resolvePattern, Access: content, Handler: (*call).resolve, bucket: files},
		{Method: get, Pattern: rawPattern, Access: content, Handler: (*call).raw, bucket: files},
		{Method: get, Pattern: "/{git}/info/refs", Access: content, Handler: (*call).infoRefs, git: true},
		{Method: post, Pattern: "/{git}/git-upload-pack", Access: content, Handler: (*call).uploadPack, git: true},
		{Method: post, Pattern: "/{git}/git-receive-pack", Access: content, Handler: (*call).receivePack, git: true},
		{Method: post, Pattern: "/{git}/info/lfs/objects/batch", Access: content, Handler: (*call).lfsBatch, git: true},
	}
}
