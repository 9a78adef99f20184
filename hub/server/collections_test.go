package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// collection makes a collection and returns its slug.
func (h *hub) collection(as string, body map[string]any) string {
	h.t.Helper()
	return field[string](h, h.want(200, as, "POST", "/api/collections", body), "slug")
}

func (h *hub) items(as, slug string) (ids []string) {
	h.t.Helper()
	for i, item := range field[[]struct {
		ID       string
		Position int
	}](h, h.want(200, as, "GET", "/api/collections/"+slug, nil), "items") {
		if item.Position != i {
			h.t.Errorf("%s has position %d, want %d", item.ID, item.Position, i)
		}
		ids = append(ids, item.ID)
	}
	return ids
}

func TestCollections(t *testing.T) {
	h := newHub(t, nil)
	for _, name := range []string{"a", "b", "c"} {
		h.create("model", name, false)
	}
	h.create("dataset", "d", false)
	slug := h.collection("alice", map[string]any{"title": "Süße  Models!", "namespace": "alice", "description": "few"})
	if !strings.HasPrefix(slug, "alice/s-e-models-") {
		t.Errorf("slug %s", slug)
	}
	if again := h.want(409, "alice", "POST", "/api/collections", map[string]any{"title": "Süße  Models!"}); field[string](h, again, "slug") != slug {
		t.Errorf("made again: %s", again)
	}
	at := "/api/collections/" + slug
	ids := map[string]string{}
	for _, item := range []string{"model alice/a", "model alice/b", "model alice/c", "dataset alice/d"} {
		kind, id, _ := strings.Cut(item, " ")
		r := h.want(200, "alice", "POST", at+"/items", map[string]any{"item": map[string]string{"type": kind, "id": id}, "note": "about <" + id})
		for _, i := range field[[]map[string]any](h, r, "items") {
			ids[i["id"].(string)] = i["_id"].(string)
			if note := i["note"].(map[string]any); note["text"] != "about <"+i["id"].(string) || strings.Contains(note["html"].(string), "<a") {
				t.Errorf("note %v", note)
			}
		}
	}
	h.want(409, "alice", "POST", at+"/items", map[string]any{"item": map[string]string{"type": "model", "id": "ALICE/a"}})
	order := func(want string) {
		t.Helper()
		if got := strings.ReplaceAll(strings.Join(h.items("", slug), " "), "alice/", ""); got != want {
			t.Errorf("items %s, want %s", got, want)
		}
	}
	order("a b c d")
	for _, step := range []struct {
		id   string
		to   int
		want string
	}{{"a", 3, "b c d a"}, {"a", 0, "a b c d"}, {"b", 2, "a c b d"}, {"b", 2, "a c b d"}, {"c", 0, "c a b d"}} {
		h.want(200, "alice", "PATCH", at+"/items/"+ids["alice/"+step.id], map[string]any{"position": step.to})
		order(step.want)
	}
	h.want(200, "alice", "PATCH", at+"/items/"+ids["alice/a"], map[string]any{"note": "another"})
	h.want(200, "alice", "DELETE", at+"/items/"+ids["alice/b"], nil)
	order("c a d")
	h.want(200, "alice", "POST", "/api/repos/move", map[string]any{"fromRepo": "alice/a", "toRepo": "alice/renamed", "type": "model"})
	h.want(200, "alice", "DELETE", "/api/repos/delete", map[string]any{"name": "alice/c"})
	order("renamed d")
	r := h.want(200, "alice", "PATCH", at, map[string]any{"title": "Other", "description": "", "private": false, "theme": "green", "position": 2})
	moved := field[map[string]any](h, r, "data")
	if moved["title"] != "Other" || moved["theme"] != "green" || moved["position"] != 2.0 || !strings.HasPrefix(moved["slug"].(string), "alice/other-") {
		t.Errorf("changed: %v", moved)
	}
	order("renamed d") // by the old slug
	org := h.collection("carol", map[string]any{"title": "Of acme", "namespace": "acme"})
	lists := func(query, want string) {
		t.Helper()
		if got := strings.Count(h.want(200, "", "GET", "/api/collections"+query, nil).body, `"slug"`); fmt.Sprint(got) != want {
			t.Errorf("%s: %d, want %s", query, got, want)
		}
	}
	lists("", "2")
	lists("?owner=ACME", "1")
	lists("?item=datasets/alice/d", "1")
	lists("?item=models/alice/d", "0")
	lists("?item=models/alice/none", "0")
	if next := h.want(200, "", "GET", "/api/collections?limit=1", nil).header.Get("Link"); !strings.Contains(next, "p=1") {
		t.Errorf("link %q", next)
	}
	if page := h.want(200, "", "GET", "/collections/"+slug, nil).body; !strings.Contains(page, "alice/renamed") || !strings.Contains(page, "another") {
		t.Errorf("page %s", page)
	}
	h.want(200, "carol", "DELETE", "/api/collections/"+org, nil)
	h.want(404, "carol", "DELETE", "/api/collections/"+org, nil)
}

func TestCollectionsRefuse(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "a", false)
	slug := h.collection("alice", map[string]any{"title": "one"})
	r := h.want(200, "alice", "POST", "/api/collections/"+slug+"/items", map[string]any{"item": map[string]string{"type": "model", "id": "alice/a"}})
	item := "/items/" + field[[]map[string]any](h, r, "items")[0]["_id"].(string)
	at := "/api/collections/" + slug
	long := strings.Repeat("x", 501)
	for _, c := range []struct {
		name, as, method, path string
		body                   any
		status                 int
	}{
		{"no title", "alice", "POST", "/api/collections", map[string]any{"title": " "}, 400},
		{"long title", "alice", "POST", "/api/collections", map[string]any{"title": long}, 400},
		{"long description", "alice", "POST", "/api/collections", map[string]any{"title": "x", "description": long}, 400},
		{"unknown theme", "alice", "PATCH", at, map[string]any{"theme": "red; x"}, 400},
		{"negative position", "alice", "PATCH", at, map[string]any{"position": -1}, 400},
		{"empty title", "alice", "PATCH", at, map[string]any{"title": ""}, 400},
		{"a paper", "alice", "POST", at + "/items", map[string]any{"item": map[string]string{"type": "paper", "id": "2311.12983"}}, 400},
		{"long note", "alice", "POST", at + "/items", map[string]any{"item": map[string]string{"type": "model", "id": "alice/a"}, "note": long}, 400},
		{"no JSON", "alice", "POST", at + "/items", "{", 400},
		{"item of no repo", "alice", "POST", at + "/items", map[string]any{"item": map[string]string{"type": "model", "id": "alice"}}, 404},
		{"position too high", "alice", "PATCH", at + item, map[string]any{"position": 1}, 400},
		{"another item", "alice", "DELETE", at + "/items/0", nil, 404},
		{"another owner", "alice", "GET", "/api/collections/bob/" + strings.TrimPrefix(slug, "alice/"), nil, 404},
		{"a slug that is none", "alice", "GET", "/api/collections/alice/x", nil, 404},
		{"another's namespace", "bob", "POST", "/api/collections", map[string]any{"title": "x", "namespace": "alice"}, 403},
		{"no namespace", "bob", "POST", "/api/collections", map[string]any{"title": "x", "namespace": "nobody"}, 403},
		{"a reader of the organization", "dave", "POST", "/api/collections", map[string]any{"title": "x", "namespace": "acme"}, 403},
		{"read token", "alice-read", "POST", "/api/collections", map[string]any{"title": "x"}, 403},
		{"read token", "alice-read", "DELETE", at, nil, 403},
		{"fine token", "alice-fine", "PATCH", at, map[string]any{"title": "x"}, 403},
		{"another user", "bob", "PATCH", at, map[string]any{"title": "x"}, 403},
		{"another user", "bob", "DELETE", at + item, nil, 403},
		{"another user", "bob", "POST", at + "/items", map[string]any{"item": map[string]string{"type": "model", "id": "alice/a"}}, 403},
		{"nobody", "", "POST", "/api/collections", map[string]any{"title": "x"}, 401},
		{"nobody", "", "DELETE", at, nil, 401},
	} {
		if r := h.send(c.as, c.method, c.path, c.body); r.status != c.status || r.header.Get("X-Error-Code") == "" {
			t.Errorf("%s, %s: %s, want %d", c.name, c.as, r, c.status)
		}
	}
	if got := h.items("alice", slug); len(got) != 1 {
		t.Errorf("items %v", got)
	}
}

// TestPrivateCollectionIsAbsent asks every route of collections, as everybody who
// may not see it, for a private collection and for one that never was: the answers
// must be equal to the byte. And a private repo in a public collection is not there.
func TestPrivateCollectionIsAbsent(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "open", false)
	h.create("model", "secret", true)
	slug := h.collection("alice", map[string]any{"title": "hidden", "private": true})
	add := func(slug, repo string) string {
		r := h.want(200, "alice", "POST", "/api/collections/"+slug+"/items", map[string]any{"item": map[string]string{"type": "model", "id": repo}})
		list := field[[]map[string]any](h, r, "items")
		return list[len(list)-1]["_id"].(string)
	}
	item := add(slug, "alice/open")
	absent := strings.Repeat("0", 24)
	routes := 0
	for _, route := range h.srv.Routes() {
		if !strings.Contains(route.Pattern, "collections/{name}/{slug}") {
			continue
		}
		routes++
		for _, who := range []string{"", "bob", "carol", "alice-fine", "bad"} {
			ask := func(slug, item string) reply {
				path := strings.NewReplacer("{name}/{slug}", slug, "{id}", item).Replace(route.Pattern)
				return h.send(who, route.Method, path, `{"title":"x","item":{"type":"model","id":"alice/open"}}`, "X-Request-Id", "same")
			}
			private, none := ask(slug, item), ask("alice/hidden-"+absent, absent)
			if private.String() != none.String() || private.status < 400 {
				t.Errorf("%s %s as %q tells that the collection is there:\n%s\n%s", route.Method, route.Pattern, who, private, none)
			}
			if lists := h.send(who, http.MethodGet, "/api/collections", nil); strings.Contains(lists.body, "hidden") {
				t.Errorf("%q sees it in the list", who)
			}
		}
	}
	if routes != 7 {
		t.Errorf("%d routes", routes)
	}

	public := h.collection("alice", map[string]any{"title": "shown"})
	add(public, "alice/secret")
	add(public, "alice/open")
	for who, want := range map[string]string{"": "alice/open", "bob": "alice/open", "alice": "alice/secret alice/open"} {
		if got := strings.Join(h.items(who, public), " "); got != want {
			t.Errorf("%q sees %s, want %s", who, got, want)
		}
		for _, path := range []string{"/collections/" + public, "/api/collections", "/api/collections?item=models/alice/secret"} {
			if sees := strings.Contains(h.want(200, who, "GET", path, nil).body, "alice/secret"); sees != (who == "alice") {
				t.Errorf("%s: %q sees the private repo: %v", path, who, sees)
			}
		}
	}
	own := h.collection("bob", map[string]any{"title": "bob's"})
	ask := func(repo string) string {
		body := map[string]any{"item": map[string]string{"type": "model", "id": "alice/" + repo}}
		add := h.send("bob", "POST", "/api/collections/"+own+"/items", body, "X-Request-Id", "same")
		list := h.send("bob", "GET", "/api/collections?item=models/alice/"+repo, nil, "X-Request-Id", "same")
		return add.String() + list.String()
	}
	if private, none := ask("secret"), ask("absent"); private != none {
		t.Errorf("bob is told that the repo is there:\n%s\n%s", private, none)
	}
	// A writer who may not see an item cannot touch it, and moves others around it.
	h.want(200, "alice", "PUT", "/api/models/alice/secret/settings", map[string]any{"private": false})
	shared := h.collection("carol", map[string]any{"title": "shared", "namespace": "acme"})
	ids := map[string]string{}
	for _, repo := range []string{"alice/secret", "alice/open"} {
		r := h.want(200, "carol", "POST", "/api/collections/"+shared+"/items", map[string]any{"item": map[string]string{"type": "model", "id": repo}})
		for _, i := range field[[]map[string]any](h, r, "items") {
			ids[i["id"].(string)] = i["_id"].(string)
		}
	}
	h.want(200, "alice", "PUT", "/api/models/alice/secret/settings", map[string]any{"private": true})
	at := "/api/collections/" + shared + "/items/"
	if private, none := h.send("carol", "DELETE", at+ids["alice/secret"], nil, "X-Request-Id", "same"), h.send("carol", "DELETE", at+absent, nil, "X-Request-Id", "same"); private.String() != none.String() || none.status != 404 {
		t.Errorf("a hidden item:\n%s\n%s", private, none)
	}
	h.want(200, "carol", "PATCH", at+ids["alice/open"], map[string]any{"position": 0})
	h.want(400, "carol", "PATCH", at+ids["alice/open"], map[string]any{"position": 1})
}
