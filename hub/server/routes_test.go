package server_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
)

// bodies are for routes that look at the body before anything else could tell.
var bodies = map[string]string{
	"git-receive-pack": "0000",
	"commit":           ndjson(header("x"), file("a", "b")),
	"batch":            `{"operation":"upload","objects":[]}`,
}

func bodyOf(pattern string) string {
	for part, body := range bodies {
		if strings.Contains(pattern, part) {
			return body
		}
	}
	return `{}`
}

// address fills a route's pattern.
func address(pattern, kind, repo string) string {
	prefix := map[string]string{"model": "models/", "dataset": "datasets/", "space": "spaces/"}[kind]
	if !strings.HasPrefix(pattern, "/api/") && kind == "model" {
		prefix = ""
	}
	return strings.NewReplacer("{repo}", prefix+repo, "{git}", prefix+repo+".git", "{rev}", "main", "{path}", "README.md",
		"{num}", "1", "{id}", "1", "{status}", "pending", "{kind}", "run").Replace(pattern)
}

// TestPrivateIsAbsent asks every route that names a repo, as everybody who may
// not see it, for a private repo, for one that was renamed, and for one that
// never was: the answers must be equal to the byte.
func TestPrivateIsAbsent(t *testing.T) {
	h := newHub(t, nil)
	for _, kind := range []string{"model", "dataset", "space"} {
		h.create(kind, "secret", true)
		h.create(kind, "renamed", true)
		h.want(200, "alice", "POST", "/api/repos/move", map[string]any{"fromRepo": "alice/renamed", "toRepo": "alice/renamed-now", "type": kind})
	}
	outsiders := map[string]int{"": 401, "bob": 404, "carol": 404, "alice-fine": 404, "bad": 401}
	routes := 0
	for _, route := range h.srv.Routes() {
		if !route.Repo {
			continue
		}
		routes++
		for _, kind := range []string{"model", "dataset", "space"} {
			for who, status := range outsiders {
				ask := func(repo, method string) reply {
					path := address(route.Pattern, kind, repo)
					if strings.HasSuffix(path, "/info/refs") {
						path += "?service=git-receive-pack"
					}
					return h.send(who, method, path, bodyOf(route.Pattern), "X-Request-Id", "same")
				}
				methods := []string{route.Method}
				if route.Method == http.MethodGet {
					methods = append(methods, http.MethodHead)
				}
				for _, method := range methods {
					absent := ask("alice/absent", method)
					if absent.status != status {
						t.Errorf("%s %s (%s) as %q: status %d, want %d", method, route.Pattern, kind, who, absent.status, status)
					}
					if code := absent.header.Get("X-Error-Code"); who != "bad" && code != "RepoNotFound" {
						t.Errorf("%s %s as %q: X-Error-Code %q", method, route.Pattern, who, code)
					}
					for _, name := range []string{"alice/secret", "alice/renamed", "alice/renamed-now", "Alice/SECRET", "nobody/at-all"} {
						if got := ask(name, method); got.String() != absent.String() {
							t.Errorf("%s %s (%s) as %q tells that %s is there:\n%s\n%s", method, route.Pattern, kind, who, name, got, absent)
						}
					}
				}
			}
			// Its owner does get there, so the comparison is not of nothing.
			seen := h.send("alice-read", route.Method, address(route.Pattern, kind, "alice/secret"), bodyOf(route.Pattern))
			if seen.header.Get("X-Error-Code") == "RepoNotFound" {
				t.Errorf("%s %s as the owner: %s", route.Method, route.Pattern, seen)
			}
		}
	}
	if routes < 50 {
		t.Errorf("only %d routes name a repo", routes)
	}
}

// others are the routes whose address names no repo, with the test that tells that
// they speak of no private one.
var others = map[string]string{
	"GET /":                                               "TestPagesOfPrivateRepo",
	"GET /models":                                         "TestPagesOfPrivateRepo",
	"GET /datasets":                                       "TestPagesOfPrivateRepo",
	"GET /spaces":                                         "TestPagesOfPrivateRepo",
	"GET /api/collections":                                "TestPrivateIsAbsentInBodies",
	"POST /api/collections":                               "of the caller",
	"GET /api/collections/{name}/{slug}":                  "TestPrivateCollectionIsAbsent",
	"PATCH /api/collections/{name}/{slug}":                "TestPrivateCollectionIsAbsent",
	"DELETE /api/collections/{name}/{slug}":               "TestPrivateCollectionIsAbsent",
	"POST /api/collections/{name}/{slug}/items":           "TestPrivateCollectionIsAbsent",
	"PATCH /api/collections/{name}/{slug}/items/{id}":     "TestPrivateCollectionIsAbsent",
	"DELETE /api/collections/{name}/{slug}/items/{id}":    "TestPrivateCollectionIsAbsent",
	"GET /collections/{name}/{slug}":                      "TestPrivateCollectionIsAbsent",
	"GET /_signin":                                        "of the caller",
	"POST /oauth/device":                                  "of no repo",
	"GET /oauth/device":                                   "of no repo",
	"POST /oauth/answer":                                  "of no repo",
	"POST /oauth/token":                                   "of no repo",
	"GET /_static/{name}":                                 "of no repo",
	"GET /healthz":                                        "says nothing",
	"GET /api/whoami-v2":                                  "of the caller",
	"POST /api/validate-yaml":                             "of the body",
	"POST /api/repos/create":                              "TestPrivateIsAbsentInBodies",
	"DELETE /api/repos/delete":                            "TestPrivateIsAbsentInBodies",
	"POST /api/repos/move":                                "TestPrivateIsAbsentInBodies",
	"GET /api/settings/repositories":                      "of the caller",
	"GET /api/organizations/{name}/settings/repositories": "TestPrivateIsAbsentInBodies",
	"GET /api/organizations/{name}/members":               "of no repo",
	"GET /api/organizations/{name}/overview":              "TestPrivateIsAbsentInBodies",
	"GET /api/users/{name}/overview":                      "TestPrivateIsAbsentInBodies",
	"GET /api/users/{name}/likes":                         "TestPrivateIsAbsentInBodies",
	"GET /api/models-tags-by-type":                        "TestPrivateIsAbsentInBodies",
	"GET /api/datasets-tags-by-type":                      "TestPrivateIsAbsentInBodies",
	"GET /api/models":                                     "TestPrivateIsAbsentInBodies",
	"GET /api/datasets":                                   "TestPrivateIsAbsentInBodies",
	"GET /api/spaces":                                     "TestPrivateIsAbsentInBodies",
	"GET /api/spaces/hardware":                            "of no repo",
	"GET /api/spaces/templates":                           "of no repo",
	"PUT /_lfs/{id}/{sha}":                                "TestSignedAddresses",
	"GET /_lfs/{id}/{sha}":                                "TestSignedAddresses",
	"POST /_lfs/{id}/{sha}":                               "TestSignedAddresses",
	"POST /_cas/{path}":                                   "TestXetTokenAccess",
	"GET /_cas/{path}":                                    "TestXetTokenAccess",
	"POST /v1/telemetry":                                  "of the body",
}

// TestAllRoutesAreTested: every route either names a repo, and then TestPrivateIsAbsent
// asks it, or stands in others. So a new route has to be thought of.
func TestAllRoutesAreTested(t *testing.T) {
	h := newHub(t, nil)
	left := maps.Clone(others)
	for _, route := range h.srv.Routes() {
		named := strings.Contains(route.Pattern, "{repo}") || strings.Contains(route.Pattern, "{git}")
		if named != route.Repo {
			t.Errorf("%s %s names a repo (%t) and does not look for it, or the other way round", route.Method, route.Pattern, named)
		}
		key := route.Method + " " + route.Pattern
		if _, known := left[key]; !named && !known {
			t.Errorf("%s is in no test of private repos", key)
		}
		delete(left, key)
	}
	for key := range left {
		t.Errorf("%s is no route", key)
	}
}

// TestPrivateIsAbsentInBodies does the same for routes that name a repo in the body.
func TestPrivateIsAbsentInBodies(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "secret", true)
	h.want(200, "bob", "POST", "/api/repos/create", map[string]any{"name": "own"})
	slug, own := h.collection("alice", map[string]any{"title": "a"}), h.collection("bob", map[string]any{"title": "b"})
	h.want(200, "alice", "POST", "/api/collections/"+slug+"/items", map[string]any{"item": map[string]any{"type": "model", "id": "alice/secret"}})
	cases := map[string]func(who, repo string) reply{
		"delete": func(who, repo string) reply {
			return h.send(who, "DELETE", "/api/repos/delete", map[string]any{"name": repo, "organization": "alice"}, "X-Request-Id", "same")
		},
		"move": func(who, repo string) reply {
			return h.send(who, "POST", "/api/repos/move", map[string]any{"fromRepo": "alice/" + repo, "toRepo": "bob/x"}, "X-Request-Id", "same")
		},
		"own": func(who, repo string) reply {
			return h.send(who, "GET", "/api/organizations/alice/settings/repositories?x="+repo, nil, "X-Request-Id", "same")
		},
		"create": func(who, repo string) reply {
			return h.send(who, "POST", "/api/repos/create", map[string]any{"name": repo, "organization": "alice"}, "X-Request-Id", "same")
		},
		"copy to": func(who, repo string) reply {
			return h.send(who, "POST", "/api/models/bob/own/lfs-files/duplicate", map[string]any{"target": map[string]any{"name": "alice/" + repo}}, "X-Request-Id", "same")
		},
		"duplicate to": func(who, repo string) reply {
			return h.send(who, "POST", "/api/models/bob/own/duplicate", map[string]any{"repository": "alice/" + repo}, "X-Request-Id", "same")
		},
		"list": func(who, repo string) reply {
			return h.send(who, "GET", "/api/models?search="+repo, nil, "X-Request-Id", "same")
		},
		"collection with": func(who, repo string) reply {
			return h.send(who, "GET", "/api/collections?item=models/alice/"+repo, nil, "X-Request-Id", "same")
		},
		"collection": func(who, _ string) reply {
			return h.send(who, "GET", "/api/collections/"+slug, nil, "X-Request-Id", "same")
		},
		"into a collection": func(who, repo string) reply {
			return h.send(who, "POST", "/api/collections/"+own+"/items", map[string]any{"item": map[string]any{"type": "model", "id": "alice/" + repo}}, "X-Request-Id", "same")
		},
		"likes": func(who, repo string) reply {
			return h.send(who, "GET", "/api/users/alice/likes", nil, "X-Request-Id", "same")
		},
	}
	h.want(200, "alice", "POST", "/api/models/alice/secret/like", nil)
	for name, ask := range cases {
		for _, who := range []string{"", "bob", "alice-fine"} {
			if got, absent := ask(who, "secret"), ask(who, "absent"); strings.ReplaceAll(got.String(), "secret", "absent") != absent.String() {
				t.Errorf("%s as %q tells that the repo is there:\n%s\n%s", name, who, got, absent)
			} else if name == "collection" && strings.Contains(got.String(), "secret") {
				t.Errorf("%q sees the repo in a collection: %s", who, got)
			}
		}
	}
}

// TestRoles holds every route to what it asks of its caller on a public repo.
func TestRoles(t *testing.T) {
	h := newHub(t, nil)
	h.want(200, "carol", "POST", "/api/repos/create", map[string]any{"name": "m", "organization": "acme"})
	cases := []struct {
		method, path string
		body         any
		want         map[string]int // by user
	}{
		{"GET", "/api/models/acme/m", nil, map[string]int{"": 200, "bob": 200, "dave": 200}},
		{"POST", "/api/models/acme/m/commit/main", ndjson(header("x"), file("a.txt", "b")), map[string]int{"": 401, "bob": 403, "dave": 403, "alice-read": 403, "carol": 200}},
		{"POST", "/api/models/acme/m/commit/main?create_pr=1", ndjson(header("x"), file("b.txt", "b")), map[string]int{"": 401, "bob": 200, "alice-read": 403}},
		{"POST", "/api/models/acme/m/preupload/main", `{"files":[]}`, map[string]int{"": 401, "bob": 403, "carol": 200}},
		{"PUT", "/api/models/acme/m/settings", `{"private":false}`, map[string]int{"": 401, "bob": 403, "carol": 403}},
		{"POST", "/api/models/acme/m/branch/x", `{}`, map[string]int{"": 401, "bob": 403, "dave": 403, "carol": 200}},
		{"POST", "/acme/m.git/info/lfs/objects/batch", `{"operation":"upload","objects":[]}`, map[string]int{"": 401, "alice-read": 403, "bob": 200, "carol": 200}}, // for a pull request
		{"POST", "/acme/m.git/info/lfs/objects/batch", `{"operation":"download","objects":[]}`, map[string]int{"": 200, "bob": 200}},
		{"POST", "/acme/m.git/git-receive-pack", "0000", map[string]int{"": 401, "dave": 403, "bob": 200, "carol": 200}}, // bob has a pull request
		{"GET", "/acme/m.git/info/refs?service=git-receive-pack", nil, map[string]int{"": 401, "dave": 403, "bob": 200, "carol": 200}},
		{"POST", "/api/models/acme/m/discussions", `{"title":"a title"}`, map[string]int{"": 401, "alice-read": 403, "bob": 200}},
		{"POST", "/api/models/acme/m/like", nil, map[string]int{"": 401, "bob": 200}},
		{"GET", "/api/models/acme/m/auth-check/write", nil, map[string]int{"": 401, "bob": 403, "carol": 200}},
		{"GET", "/api/whoami-v2", nil, map[string]int{"": 401, "bad": 401, "bob": 200}},
		{"DELETE", "/api/repos/delete", `{"name":"acme/m"}`, map[string]int{"": 401, "bob": 403, "carol": 403}},
	}
	for _, c := range cases {
		for who, status := range c.want {
			t.Run(fmt.Sprintf("%s %s as %s", c.method, c.path, who), func(t *testing.T) {
				h := &hub{t: t, url: h.url, tokens: h.tokens}
				r := h.want(status, who, c.method, c.path, c.body)
				if status >= 400 && (r.header.Get("X-Error-Code") == "" || !strings.Contains(r.body, `"error"`)) {
					t.Errorf("no X-Error-Code or no error in %s", r)
				}
				if status == 401 && strings.Contains(c.path, ".git/") && r.header.Get("WWW-Authenticate") == "" {
					t.Error("git is not asked for a password")
				}
			})
		}
	}
}
