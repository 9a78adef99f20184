package server_test

import (
	"crypto/sha1" // git's hash of a blob
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// TestPreupload decides by attributes, size and sample how files are sent, and says
// what is there already.
func TestPreupload(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.sendLFS("alice/m", "large")
	h.commit("alice/m", file("here.txt", "here"), lfsFile("here.bin", "large"), file(".gitignore", "*.log\n/build/\n"))
	type asked struct {
		path, sample string
		size         int
		mode         string
		ignored      bool
		oid          string
	}
	ask := func(extra map[string]any, files ...asked) {
		t.Helper()
		var list []any
		for _, f := range files {
			list = append(list, map[string]any{"path": f.path, "size": f.size, "sample": base64.StdEncoding.EncodeToString([]byte(f.sample))})
		}
		body := map[string]any{"files": list}
		for key, value := range extra {
			body[key] = value
		}
		r := h.want(200, "alice", "POST", "/api/models/alice/m/preupload/main", body)
		for i, got := range field[[]map[string]any](h, r, "files") {
			want := files[i]
			if oid, _ := got["oid"].(string); got["path"] != want.path || got["uploadMode"] != want.mode || got["shouldIgnore"] != want.ignored || oid != want.oid {
				t.Errorf("%v, want %+v", got, want)
			}
		}
		if head := field[string](h, r, "commitOid"); len(head) != 40 {
			t.Errorf("commit %q", head)
		}
	}
	ask(nil,
		asked{"a.txt", "text", 4, "regular", false, ""},
		asked{"a.safetensors", "text", 4, "lfs", false, ""},
		asked{"deep/saved_model/x/y", "text", 4, "regular", false, ""},
		asked{"saved_model/x/y", "text", 4, "lfs", false, ""},
		asked{"zero.txt", "a\x00b", 3, "lfs", false, ""},
		asked{"half.txt", "ends in half of \xc3", 17, "regular", false, ""},
		asked{"latin.txt", "\xe4 in Latin-1, then much more", 28, "lfs", false, ""},
		asked{"long.txt", "text", 10 << 20, "lfs", false, ""},
		asked{"empty.bin", "", 0, "regular", false, ""},
		asked{"here.txt", "here", 4, "regular", false, fmt.Sprintf("%x", sha1.Sum([]byte("blob 4\x00here")))},
		asked{"here.bin", "large", 5, "lfs", false, sha("large")},
		asked{"x/y.log", "text", 4, "regular", true, ""},
		asked{"build/out.txt", "text", 4, "regular", true, ""},
		asked{"x/build/out.txt", "text", 4, "regular", false, ""})
	ask(map[string]any{"gitIgnore": "*.txt", "gitAttributes": "*.md filter=lfs"},
		asked{"a.txt", "text", 4, "regular", true, ""},
		asked{"a.md", "text", 4, "lfs", false, ""},
		asked{"a.safetensors", "text", 4, "regular", false, ""})
	var many []any
	for i := range 20 {
		many = append(many, map[string]any{"path": fmt.Sprintf("%s/%d", strings.Repeat("a", 250), i), "size": 1, "sample": ""})
	}
	for name, end := range map[string]string{"gitIgnore": "\n", "gitAttributes": " filter=lfs\n"} {
		for _, rules := range []string{strings.Repeat("/"+strings.Repeat("*a", 100)+"b*/*"+end, 1000), strings.Repeat("a"+end, 1001)} {
			r := h.want(422, "alice", "POST", "/api/models/alice/m/preupload/main", map[string]any{"files": many, name: rules})
			if text := field[string](h, r, "error"); !strings.Contains(text, "."+strings.ToLower(name)) {
				t.Errorf("%s: %s", name, text)
			}
		}
	}
}

func TestValidateYAML(t *testing.T) {
	h := newHub(t, nil)
	for _, c := range []struct {
		name, content   string
		status          int
		errors, warning bool
	}{
		{"good", "---\nlicense: mit\ntags: [a]\n---\n# x", 200, false, false},
		{"no metadata", "# x", 200, false, true},
		{"empty metadata", "---\n---\n# x", 200, false, true},
		{"no YAML", "---\na: [\n---\n", 400, true, false},
		{"twice the same key", "---\nlicense: mit\nlicense: mit\n---\n", 400, true, false},
		{"tags that are none", "---\ntags: {a: b}\n---\n", 400, true, false},
	} {
		r := h.want(c.status, "", "POST", "/api/validate-yaml", map[string]any{"content": c.content, "repoType": "model"})
		if faults := field[[]any](h, r, "errors"); (len(faults) > 0) != c.errors || (len(field[[]any](h, r, "warnings")) > 0) != c.warning {
			t.Errorf("%s: %s", c.name, r.body)
		}
	}
}

// TestBranchesAndTags holds what clients may ask of refs beside the plain case.
func TestBranchesAndTags(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	first := h.commit("alice/m", file("a", "1"))
	second := h.commit("alice/m", file("a", "2"))
	at := "/api/models/alice/m"
	content := func(rev, want string) {
		t.Helper()
		if got := h.want(200, "", "GET", "/alice/m/resolve/"+rev+"/a", nil).body; got != want {
			t.Errorf("%s holds %q, want %q", rev, got, want)
		}
	}
	h.want(200, "alice", "POST", at+"/branch/old", map[string]any{"startingPoint": first})
	content("old", "1")
	h.want(409, "alice", "POST", at+"/branch/old", map[string]any{})
	h.want(200, "alice", "POST", at+"/branch/old", map[string]any{"startingPoint": second[:10], "overwrite": true})
	content("old", "2")
	h.want(200, "alice", "POST", at+"/branch/nothing", map[string]any{"emptyBranch": true})
	if files := h.want(200, "", "GET", at+"/tree/nothing", nil).body; strings.TrimSpace(files) != "[]" {
		t.Errorf("an empty branch holds %s", files)
	}
	h.want(200, "alice", "POST", at+"/tag/"+first, map[string]any{"tag": "old"})
	h.want(409, "alice", "POST", at+"/tag/main", map[string]any{"tag": "old"})
	content("old", "2") // the branch goes before the tag of the same name
	content("refs%2Ftags%2Fold", "1")
	for _, rev := range []string{"HEAD", "main", "refs/heads/main", second, second[:7]} {
		content(strings.ReplaceAll(rev, "/", "%2F"), "2")
	}
	for _, bad := range []string{"a..b", "a~b", "-a", "a.lock", "a%20b", "refs%2Fheads%2Fx"} {
		h.want(400, "alice", "POST", at+"/branch/"+bad, map[string]any{})
	}
	h.want(400, "alice", "POST", at+"/tag/main", map[string]any{"tag": "a..b"})
	h.want(404, "alice", "POST", at+"/branch/x", map[string]any{"startingPoint": "none"})
	h.want(403, "alice", "DELETE", at+"/branch/main", nil)
	if r := h.want(404, "alice", "DELETE", at+"/branch/none", nil); r.header.Get("X-Error-Code") != "RevisionNotFound" {
		t.Errorf("delete of no branch: %s", r)
	}
	h.want(200, "alice", "POST", at+"/commit/main?hot_reload=1", ndjson(header("x"), file("a", "3")))
	if count := h.want(200, "", "GET", at+"/commits/main?limit=1", nil).header.Get("X-Total-Count"); count != "4" {
		t.Errorf("%s commits, want 4", count)
	}
}

// TestPullRequestOnRawRef reads a pull request's ref in both spellings, and opens a
// draft before it is merged.
func TestPullRequestOnRawRef(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	at := "/api/models/alice/m"
	r := h.want(200, "bob", "POST", at+"/discussions", map[string]any{"title": "a draft", "pullRequest": true})
	if field[string](h, r, "status") != "draft" {
		t.Errorf("a new pull request is %s", r.body)
	}
	h.want(200, "bob", "POST", at+"/commit/refs%2Fpr%2F1", ndjson(header("x"), file("a", "1")))
	for _, rev := range []string{"refs/pr/1", "refs%2Fpr%2F1"} {
		for _, path := range []string{"/alice/m/resolve/" + rev + "/a", at + "/tree/" + rev, at + "/revision/" + rev, at + "/commits/" + rev} {
			h.want(200, "", "GET", path, nil)
		}
	}
	h.want(400, "alice", "POST", at+"/discussions/1/merge", map[string]any{})
	h.want(200, "bob", "POST", at+"/discussions/1/status", map[string]any{"status": "open"})
	h.want(200, "alice", "POST", at+"/discussions/1/merge", map[string]any{})
	h.want(200, "", "GET", "/alice/m/resolve/main/a", nil)
	if refs := h.want(200, "", "GET", at+"/refs?include_prs=1", nil).body; !strings.Contains(refs, "refs/pr/1") {
		t.Errorf("refs %s", refs)
	}
}

// TestOwnPullRequest lets who may not write here add to a pull request of their own
// while it is open, to nothing else, and propose large files.
func TestOwnPullRequest(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	at := "/api/models/alice/m"
	for range 2 {
		h.want(200, "bob", "POST", at+"/discussions", map[string]any{"title": "of bob", "pullRequest": true})
	}
	h.want(200, "bob", "POST", at+"/discussions", map[string]any{"title": "no pull request"})
	h.want(200, "bob", "POST", at+"/discussions/2/status", map[string]any{"status": "closed"})
	h.token("bob-read", meta.Token{User: "bob", Kind: meta.TokenRead})
	for _, c := range []struct {
		name, as, ref string
		status        int
	}{
		{"own", "bob", "refs/pr/1", 200},
		{"own and closed", "bob", "refs/pr/2", 403},
		{"own discussion", "bob", "refs/pr/3", 403},
		{"never opened", "bob", "refs/pr/4", 403},
		{"the branch", "bob", "main", 403},
		{"another's", "carol", "refs/pr/1", 403},
		{"a reading token", "bob-read", "refs/pr/1", 403},
		{"nobody", "", "refs/pr/1", 401},
		{"a writer", "alice", "refs/pr/1", 200},
	} {
		escaped := strings.ReplaceAll(c.ref, "/", "%2F")
		for what, r := range map[string]reply{
			"preupload": h.send(c.as, "POST", at+"/preupload/"+escaped, map[string]any{"files": []any{}}),
			"commit":    h.send(c.as, "POST", at+"/commit/"+escaped, ndjson(header("x"), file("a-"+c.as, c.as))),
			"xet":       h.send(c.as, "GET", at+"/xet-write-token/"+escaped, nil),
		} {
			if r.status != c.status {
				t.Errorf("%s, %s: %s, want %d", c.name, what, r, c.status)
			}
		}
	}
	if got := h.want(200, "", "GET", "/alice/m/resolve/refs%2Fpr%2F1/a-bob", nil).body; got != "bob" {
		t.Errorf("the pull request holds %q", got)
	}
	h.want(404, "", "GET", "/alice/m/resolve/main/a-bob", nil)
	r := h.want(200, "bob", "POST", "/alice/m.git/info/lfs/objects/batch", map[string]any{"operation": "upload", "transfers": []string{"basic"},
		"objects": []any{map[string]any{"oid": sha("large"), "size": 5}}})
	href := field[[]struct {
		Actions map[string]struct{ Href string }
	}](h, r, "objects")[0].Actions["upload"].Href
	h.want(200, "", "PUT", href, "large")
	h.want(403, "bob", "POST", at+"/commit/main", ndjson(header("x"), lfsFile("l.bin", "large")))
	h.want(200, "bob", "POST", at+"/commit/main?create_pr=1", ndjson(header("x"), lfsFile("l.bin", "large")))
	if got := h.want(200, "", "GET", "/alice/m/resolve/refs%2Fpr%2F4/l.bin", nil).body; got != "large" {
		t.Errorf("the proposal holds %q", got)
	}
	h.want(200, "bob", "GET", at+"/xet-write-token/None?create_pr=1", nil)
	h.want(401, "", "GET", at+"/xet-write-token/None?create_pr=1", nil)
	h.want(403, "bob-read", "GET", at+"/xet-write-token/None?create_pr=1", nil)
}

// TestLargeFileCalls lists large files, copies one to another repo, and deletes one
// for good.
func TestLargeFileCalls(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.create("model", "n", false)
	h.sendLFS("alice/m", "large")
	h.commit("alice/m", lfsFile("w.bin", "large"))
	r := h.want(200, "alice", "GET", "/api/models/alice/m/lfs-files", nil)
	if !strings.Contains(r.body, `"filename":"w.bin"`) || !strings.Contains(r.body, `"fileOid":"`+sha("large")) {
		t.Errorf("list %s", r.body)
	}
	h.want(200, "alice", "POST", "/api/models/alice/m/lfs-files/duplicate", map[string]any{
		"target": map[string]any{"type": "model", "name": "alice/n"}, "files": []any{map[string]any{"sha256": sha("large"), "filename": "w.bin"}}})
	h.want(200, "alice", "POST", "/api/models/alice/n/commit/main", ndjson(header("copied"), lfsFile("w.bin", "large")))
	h.want(200, "alice", "POST", "/api/models/alice/m/lfs-files/batch", map[string]any{"deletions": map[string]any{"sha": []string{sha("large")}, "rewriteHistory": true}})
	h.want(404, "", "GET", "/alice/m/resolve/main/w.bin", nil)
	if got := h.want(200, "", "GET", "/alice/n/resolve/main/w.bin", nil).body; got != "large" {
		t.Errorf("the copy holds %q", got)
	}
	batch := h.want(200, "alice", "POST", "/alice/n.git/info/lfs/objects/batch", map[string]any{"operation": "upload", "hash_algo": "sha_256",
		"transfers": []string{"basic"}, "objects": []any{map[string]any{"oid": sha("large"), "size": 5}}})
	if strings.Contains(batch.body, "actions") {
		t.Errorf("a file that is there is asked for: %s", batch.body)
	}
	h.want(404, "alice", "POST", "/alice/n.git/info/lfs/locks/verify", map[string]any{})
}

// TestGatedRequests lets a user ask for a gated repo, and its owner decide.
func TestGatedRequests(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.commit("alice/m", file("a", "gated"))
	at := "/api/models/alice/m"
	h.want(400, "alice", "GET", at+"/user-access-request/pending", nil)
	h.want(200, "alice", "PUT", at+"/settings", map[string]any{"gated": "manual"})
	read := func(status int) {
		t.Helper()
		if r := h.want(status, "bob", "GET", "/alice/m/resolve/main/a", nil); status == 403 && r.header.Get("X-Error-Code") != "GatedRepo" {
			t.Errorf("%s", r)
		}
	}
	state := func(want string) {
		t.Helper()
		for _, state := range []string{"pending", "accepted", "rejected"} {
			if has := strings.Contains(h.want(200, "alice", "GET", at+"/user-access-request/"+state, nil).body, `"user":"bob"`); has != (state == want) {
				t.Errorf("bob is in %s: %v, want %s", state, has, want)
			}
		}
	}
	read(403)
	h.want(200, "bob", "POST", "/alice/m/ask-access", nil)
	state("pending")
	h.want(403, "bob", "GET", at+"/user-access-request/pending", nil)
	h.want(403, "bob", "POST", at+"/user-access-request/grant", map[string]any{"user": "bob"})
	handle := func(to string, status int) {
		t.Helper()
		h.want(status, "alice", "POST", at+"/user-access-request/handle", map[string]any{"user": "bob", "status": to})
	}
	handle("accepted", 200)
	state("accepted")
	read(200)
	handle("accepted", 400)
	handle("rejected", 200)
	state("rejected")
	read(403)
	handle("lost", 400)
	h.want(200, "alice", "POST", at+"/user-access-request/grant", map[string]any{"user": "bob"})
	read(200)
	h.want(400, "alice", "POST", at+"/user-access-request/grant", map[string]any{"user": "bob"})
	h.want(404, "alice", "POST", at+"/user-access-request/grant", map[string]any{"user": "nobody"})
	h.want(200, "alice", "PUT", at+"/settings", map[string]any{"gated": "auto"})
	h.want(200, "carol", "POST", "/alice/m/ask-access", nil)
	h.want(200, "carol", "GET", "/alice/m/resolve/main/a", nil)
}

// TestSpaceCalls holds the rest of what is asked of a Space that runs nowhere.
func TestSpaceCalls(t *testing.T) {
	h := newHub(t, nil)
	h.want(200, "alice", "POST", "/api/repos/create", map[string]any{"name": "s", "type": "space", "sdk": "docker", "visibility": "private",
		"secrets": []any{map[string]any{"key": "K", "value": "hush"}}, "variables": []any{map[string]any{"key": "V", "value": "seen"}}})
	h.want(401, "", "GET", "/api/spaces/alice/s", nil)
	at := "/api/spaces/alice/s"
	if secrets := h.want(200, "alice", "GET", at+"/secrets", nil).body; !strings.Contains(secrets, `"K"`) || strings.Contains(secrets, "hush") {
		t.Errorf("secrets %s", secrets)
	}
	if variables := h.want(200, "alice", "GET", at+"/variables", nil).body; !strings.Contains(variables, `"value":"seen"`) {
		t.Errorf("variables %s", variables)
	}
	for path, c := range map[string]struct {
		body map[string]any
		want string
	}{
		"/sleeptime":            {map[string]any{"seconds": 300}, `"gcTimeout":300`},
		"/dev-mode":             {map[string]any{"enabled": true}, `"devMode":true`},
		"/hardware":             {map[string]any{"flavor": "t4-small", "sleepTimeSeconds": 60}, `"requested":"t4-small"`},
		"/pause":                {nil, `"stage":"PAUSED"`},
		"/restart?factory=true": {nil, `"stage":"STOPPED"`},
	} {
		if body := h.want(200, "alice", "POST", at+path, c.body).body; !strings.Contains(body, c.want) {
			t.Errorf("%s: %s, want %s", path, body, c.want)
		}
	}
	h.want(400, "alice", "POST", at+"/hardware", map[string]any{"flavor": "abacus"})
	for _, kind := range []string{"build", "run"} {
		r := h.want(200, "alice", "GET", at+"/logs/"+kind, nil)
		event, ok := strings.CutPrefix(strings.TrimSpace(r.body), "data: ")
		if !ok || !json.Valid([]byte(event)) || !strings.HasPrefix(r.header.Get("Content-Type"), "text/event-stream") {
			t.Errorf("logs %s", r)
		}
	}
	h.want(404, "alice", "GET", at+"/logs/other", nil)
	if list := h.want(200, "", "GET", "/api/spaces/hardware", nil).body; !strings.Contains(list, "cpu-basic") {
		t.Errorf("hardware %s", list)
	}
	h.want(200, "", "GET", "/api/spaces/templates", nil)
}

// TestPeopleCalls tells of users and organizations what the caller may see.
func TestPeopleCalls(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "open", false)
	h.create("model", "secret", true)
	for who, want := range map[string]float64{"": 1, "bob": 1, "alice": 2} {
		if got := field[float64](h, h.want(200, who, "GET", "/api/users/alice/overview", nil), "numModels"); got != want {
			t.Errorf("%q counts %v models, want %v", who, got, want)
		}
		if mine := h.send(who, "GET", "/api/settings/repositories", nil); who != "alice" && strings.Contains(mine.body, "secret") {
			t.Errorf("%q: %s", who, mine)
		}
	}
	h.want(404, "", "GET", "/api/users/acme/overview", nil)
	h.want(200, "", "GET", "/api/organizations/acme/overview", nil)
	members := h.want(200, "", "GET", "/api/organizations/acme/members", nil).body
	if carol, dave := strings.Index(members, `"user":"carol"`), strings.Index(members, `"user":"dave"`); carol < 0 || dave < carol {
		t.Errorf("members %s", members)
	}
	h.want(200, "bob", "POST", "/api/models/alice/open/like", nil)
	h.want(200, "bob", "POST", "/api/models/alice/open/like", nil)
	if likers := h.want(200, "", "GET", "/api/models/alice/open/likers", nil).body; strings.Count(likers, `"user":"bob"`) != 1 {
		t.Errorf("likers %s", likers)
	}
	h.want(200, "bob", "DELETE", "/api/models/alice/open/like", nil)
	if likes := h.want(200, "", "GET", "/api/users/bob/likes", nil).body; strings.TrimSpace(likes) != "[]" {
		t.Errorf("likes %s", likes)
	}
}

// TestTagsByType groups the tags of what the caller may see.
func TestTagsByType(t *testing.T) {
	h := newHub(t, nil)
	for name, private := range map[string]bool{"open": false, "secret": true} {
		h.create("model", name, private)
		h.commit("alice/"+name, file("README.md", "---\nlicense: "+map[bool]string{false: "mit", true: "apache-2.0"}[private]+"\npipeline_tag: text-generation\ntags: [of-"+name+"]\n---\n"))
	}
	labels := func(who string) (all []string) {
		for group, list := range groupsOf(h, h.want(200, who, "GET", "/api/models-tags-by-type", nil)) {
			for _, tag := range list {
				if tag["type"] != group || tag["id"] == "" {
					t.Errorf("%s holds %v", group, tag)
				}
				all = append(all, tag["id"])
			}
		}
		slices.Sort(all)
		return all
	}
	if got := fmt.Sprint(labels("")); got != "[license:mit of-open text-generation]" {
		t.Errorf("nobody sees %s", got)
	}
	if got := fmt.Sprint(labels("alice")); got != "[license:apache-2.0 license:mit of-open of-secret text-generation]" {
		t.Errorf("alice sees %s", got)
	}
	h.want(200, "", "GET", "/api/datasets-tags-by-type", nil)
	info := h.want(200, "", "GET", "/api/models/alice/open?blobs=True&securityStatus=True", nil)
	if !strings.Contains(info.body, `"blobId"`) || !strings.Contains(info.body, `"security"`) {
		t.Errorf("info %s", info.body)
	}
}

func groupsOf(h *hub, r reply) (groups map[string][]map[string]string) {
	h.t.Helper()
	h.must(json.Unmarshal([]byte(r.body), &groups))
	return groups
}

// TestStrangeCalls are those that clients make and need no answer to.
func TestStrangeCalls(t *testing.T) {
	h := newHub(t, nil)
	for _, path := range []string{"/api/agent-harnesses", "/api/quicksearch", "/favicon.ico"} {
		if r := h.want(404, "", "GET", path, nil); r.header.Get("X-Error-Code") == "" || !strings.Contains(r.body, `"error"`) {
			t.Errorf("%s: %s", path, r)
		}
	}
	if _, err := h.srv.AddUser(t.Context(), meta.User{Name: "collections"}); err == nil {
		t.Error("a user hides the addresses of collections")
	}
}
