package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// TestFirstFiles: a new repo holds no large file, so a pointer among its first files
// is refused as in a commit.
func TestFirstFiles(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "secret", true)
	h.sendLFS("alice/secret", "a secret")
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:" + sha("a secret") + "\nsize 8\n"
	create := func(path, content string) reply {
		return h.send("bob", "POST", "/api/repos/create", map[string]any{"name": "thief", "files": []any{map[string]any{"path": path, "content": content}}})
	}
	for name, file := range map[string][2]string{
		"pointer": {"s.bin", pointer}, "path": {"../x", "x"}, "git": {".git/config", "x"}, "large": {"x", strings.Repeat("x", 11<<20)},
	} {
		if r := create(file[0], file[1]); r.status != 422 {
			t.Errorf("%s: %s", name, r)
		}
		h.want(404, "bob", "GET", "/api/models/bob/thief", nil)
	}
	if r := create("fine.txt", "x"); r.status != 200 {
		t.Errorf("an ordinary file: %s", r)
	}
}

// TestBatchParts: one answer lists only so many addresses of parts, whatever sizes
// are announced; what is beyond is told so object by object.
func TestBatchParts(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	var objects []any
	for i := range 1000 {
		objects = append(objects, map[string]any{"oid": sha(fmt.Sprint(i)), "size": int64(500e9)})
	}
	objects = append(objects[:999], map[string]any{"oid": sha("small"), "size": 5})
	r := h.want(200, "alice", "POST", "/alice/m.git/info/lfs/objects/batch", map[string]any{
		"operation": "upload", "transfers": []string{"basic", "multipart"}, "objects": objects})
	var batch struct {
		Objects []struct {
			Actions map[string]struct{ Header map[string]string }
			Error   *struct{ Code int }
		}
	}
	h.must(json.Unmarshal([]byte(r.body), &batch))
	parts, refused := 0, 0
	for _, o := range batch.Objects {
		parts += len(o.Actions["upload"].Header)
		if o.Error != nil && o.Error.Code == 413 {
			refused++
		}
	}
	if parts > 20_010 || parts < 10_000 || refused != 997 || len(batch.Objects) != 1000 {
		t.Errorf("%d parts, %d of %d objects refused, %d MiB", parts, refused, len(batch.Objects), len(r.body)>>20)
	}
	if last := batch.Objects[999]; last.Error != nil || len(last.Actions) == 0 {
		t.Error("a small file behind the large ones is refused")
	}
	// Through Xet no parts are listed, so none are counted.
	r = h.want(200, "alice", "POST", "/alice/m.git/info/lfs/objects/batch", map[string]any{
		"operation": "upload", "transfers": []string{"basic", "multipart", "xet"}, "objects": objects})
	if strings.Contains(r.body, `"error"`) || len(r.body) > 4<<20 {
		t.Errorf("through xet: %d bytes", len(r.body))
	}
}

// TestSlowLongLine: whoever sends a long line slowly holds up nobody else's.
func TestSlowLongLine(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	long := ndjson(header("x"), file("slow.txt", strings.Repeat("0123456789", 200_000)))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	in, out := io.Pipe()
	slow, err := http.NewRequestWithContext(ctx, "POST", h.url+"/api/models/alice/m/commit/main", in)
	h.must(err)
	slow.Header.Set("Authorization", "Bearer "+h.tokens["alice"])
	done := make(chan int, 1)
	go func() {
		resp, err := http.DefaultClient.Do(slow)
		if err != nil {
			done <- 0
			return
		}
		resp.Body.Close()
		done <- resp.StatusCode
	}()
	// The pipe hands over as the server reads: it has more than a short line now.
	_, err = io.WriteString(out, long[:len(long)-1000])
	h.must(err)
	quick := make(chan reply, 1)
	go func() {
		quick <- h.send("alice", "POST", "/api/models/alice/m/commit/main", strings.Replace(long, "slow.txt", "quick.txt", 1))
	}()
	select {
	case r := <-quick:
		if r.status != 200 {
			t.Errorf("the quick client: %s", r)
		}
	case <-time.After(2 * time.Minute):
		t.Error("the quick client waits for the slow one")
	}
	_, err = io.WriteString(out, long[len(long)-1000:])
	h.must(err)
	out.Close()
	if status := <-done; status != 200 {
		t.Errorf("the slow client: status %d", status)
	}
	for _, name := range []string{"slow.txt", "quick.txt"} {
		if got := h.want(200, "", "GET", "/alice/m/resolve/main/"+name, nil).body; got != strings.Repeat("0123456789", 200_000) {
			t.Errorf("%s has %d bytes", name, len(got))
		}
	}
}

// TestTokenScopes holds tokens to what they were made for, also where a repo is open
// to everybody and in what anybody may do there.
func TestTokenScopes(t *testing.T) {
	h := newHub(t, nil)
	for _, name := range []string{"here", "there"} {
		h.create("model", name, false)
		h.want(200, "alice", "PUT", "/api/models/alice/"+name+"/settings", `{"gated":"manual"}`)
		h.commit("alice/"+name, file("f", "x"))
		h.want(200, "alice", "POST", "/api/models/alice/"+name+"/user-access-request/grant", `{"user":"bob"}`)
	}
	for _, user := range []string{"alice", "bob"} {
		h.token(user+"-reads", meta.Token{User: user, Kind: meta.TokenFine, Scopes: []meta.Scope{{Target: "model/alice/here"}}})
		h.token(user+"-writes", meta.Token{User: user, Kind: meta.TokenFine, Scopes: []meta.Scope{{Target: "model/alice/here", Write: true}}})
		h.token(user+"-none", meta.Token{User: user, Kind: meta.TokenFine})
	}
	h.token("bob-read", meta.Token{User: "bob", Kind: meta.TokenRead})
	readers := []string{"alice", "bob", "alice-read", "bob-read", "alice-reads", "bob-reads", "alice-writes", "bob-writes"}
	writers := []string{"alice", "alice-writes"}
	actors := []string{"alice", "bob", "alice-writes", "bob-writes"}
	all := append([]string{"alice-none", "bob-none"}, readers...)
	routes := []struct {
		method, path string
		body         any
		may          []string
	}{
		{"GET", "/alice/here/resolve/main/f", nil, readers},
		{"GET", "/alice/here/raw/main/f", nil, readers},
		{"GET", "/api/models/alice/here/auth-check", nil, readers},
		{"GET", "/api/models/alice/here/xet-read-token/main", nil, readers},
		{"POST", "/alice/here.git/info/lfs/objects/batch", `{"operation":"download"}`, readers},
		{"POST", "/alice/here.git/info/lfs/objects/batch", `{"operation":"upload"}`, actors},
		{"POST", "/alice/here.git/git-receive-pack", "0000", writers},
		{"GET", "/api/models/alice/here/xet-write-token/main", nil, writers},
		{"POST", "/api/models/alice/here/commit/main", ndjson(header("x"), file("f", "x")), writers},
		{"POST", "/api/models/alice/here/commit/main?create_pr=1", ndjson(header("x"), file("g", "y")), actors},
		{"POST", "/api/models/alice/here/preupload/main?create_pr=1", `{"files":[]}`, actors},
		{"POST", "/api/models/alice/here/discussions", `{"title":"a title"}`, actors},
		{"POST", "/api/models/alice/here/discussions/1/comment", `{"comment":"words"}`, actors},
		{"POST", "/api/models/alice/here/like", nil, actors},
		{"DELETE", "/api/models/alice/here/like", nil, actors},
		{"POST", "/alice/here/ask-access", nil, actors},
		{"PUT", "/api/models/alice/here/settings", `{"gated":"manual"}`, writers},
	}
	for _, route := range routes {
		for _, where := range []string{"here", "there"} {
			for _, who := range all {
				// The scopes of fine-grained tokens name one of the repos only.
				may := slices.Contains(route.may, who) && (where == "here" || !strings.HasSuffix(who, "reads") && !strings.HasSuffix(who, "writes"))
				r := h.send(who, route.method, strings.Replace(route.path, "alice/here", "alice/"+where, 1), route.body)
				if (r.status == 200) != may && !(may && r.status == 404 && strings.HasSuffix(route.path, "/comment")) || !may && r.status != 403 {
					t.Errorf("%s %s on %s as %s: status %d, may: %t", route.method, route.path, where, who, r.status, may)
				}
			}
		}
	}
}

// TestDuplicateLinksHeldFiles: a copy of a repo holds the large files that the source
// holds, and not those that it only points to.
func TestDuplicateLinksHeldFiles(t *testing.T) {
	h := newHub(t, nil)
	for _, name := range []string{"keeps", "lost"} {
		h.create("model", name, false)
		h.sendLFS("alice/"+name, "large content")
		h.sendLFS("alice/"+name, "more content")
		h.commit("alice/"+name, lfsFile("l.bin", "large content"), lfsFile("m.bin", "more content"))
	}
	h.want(200, "alice", "POST", "/api/models/alice/lost/lfs-files/batch", map[string]any{"deletions": map[string]any{"sha": []string{sha("large content")}}})
	h.want(200, "bob", "POST", "/api/models/alice/lost/duplicate", map[string]any{"repository": "bob/copy"})
	if r := h.send("bob", "GET", "/bob/copy/resolve/main/l.bin", nil); r.status == 200 || strings.Contains(r.body, "large content") {
		t.Errorf("the copy gives a file that its source does not hold: %s", r)
	}
	if got := h.want(200, "bob", "GET", "/bob/copy/resolve/main/m.bin", nil).body; got != "more content" {
		t.Errorf("the copy holds %q", got)
	}
}

// TestGatedDiff: who was not let in sees that there is a discussion, not its diff.
func TestGatedDiff(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.want(200, "alice", "PUT", "/api/models/alice/m/settings", `{"gated":"manual"}`)
	h.want(200, "alice", "POST", "/api/models/alice/m/commit/main?create_pr=1", ndjson(header("a change"), file("f", "gated words")))
	thread := "/api/models/alice/m/discussions/1"
	for who, status := range map[string]int{"": 401, "bob": 403, "alice-fine": 403, "alice": 200, "alice-read": 200} {
		r := h.want(status, who, "GET", thread+"?diff=1", nil)
		if shown := strings.Contains(r.body, "gated words"); shown != (status == 200) || status != 200 && r.header.Get("X-Error-Code") != "GatedRepo" {
			t.Errorf("as %q the diff is shown: %t; %s", who, shown, r)
		}
		h.want(200, who, "GET", thread, nil)
	}
}

// TestOldNamesChangeNothing: by the name that a repo had, no body reaches it, and no
// address does but by sending the caller to the present name.
func TestOldNamesChangeNothing(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "old", false)
	h.create("model", "source", false)
	h.sendLFS("alice/source", "large")
	h.commit("alice/old", file("f", "x"))
	h.want(200, "alice", "POST", "/api/repos/move", map[string]any{"fromRepo": "alice/old", "toRepo": "alice/new"})
	state := func() string {
		var out strings.Builder
		for _, path := range []string{"", "/refs?include_prs=1", "/commits/main", "/discussions", "/likers", "/lfs-files"} {
			out.WriteString(h.want(200, "alice", "GET", "/api/models/alice/new"+path, nil).body)
		}
		return out.String()
	}
	before := state()
	for name, ask := range map[string]func() reply{
		"delete":           func() reply { return h.send("alice", "DELETE", "/api/repos/delete", `{"name":"alice/old"}`) },
		"delete in a case": func() reply { return h.send("alice", "DELETE", "/api/repos/delete", `{"name":"OLD"}`) },
		"delete unowned":   func() reply { return h.send("bob", "DELETE", "/api/repos/delete", `{"name":"alice/old"}`) },
		"move": func() reply {
			return h.send("alice", "POST", "/api/repos/move", `{"fromRepo":"alice/old","toRepo":"alice/x"}`)
		},
		"copy to": func() reply {
			return h.send("alice", "POST", "/api/models/alice/source/lfs-files/duplicate", map[string]any{
				"target": map[string]any{"name": "alice/old"}, "files": []any{map[string]any{"sha256": sha("large")}}})
		},
	} {
		if r := ask(); r.status != 404 || r.header.Get("X-Error-Code") != "RepoNotFound" {
			t.Errorf("%s: %s", name, r)
		}
	}
	if _, err := h.srv.Access(h.tokens["alice"], "model", "alice", "old", true); err == nil {
		t.Error("Access finds the repo by its old name")
	}
	changing := 0
	for _, route := range h.srv.Routes() {
		if !route.Repo || route.Method == http.MethodGet {
			continue
		}
		changing++
		if strings.Contains(route.Pattern, "/secrets") || strings.Contains(route.Pattern, "/runtime") {
			continue // of Spaces alone
		}
		r := h.send("alice", route.Method, address(route.Pattern, "model", "alice/old"), bodyOf(route.Pattern))
		if r.status != 307 || !strings.Contains(r.header.Get("Location"), "alice/new") {
			t.Errorf("%s %s by the old name: %s", route.Method, route.Pattern, r)
		}
	}
	if changing < 25 {
		t.Errorf("only %d routes change something", changing)
	}
	if after := state(); after != before {
		t.Errorf("changed from\n%s\nto\n%s", before, after)
	}
	h.want(200, "alice", "DELETE", "/api/repos/delete", `{"name":"NEW"}`)
}

// TestNamesInOtherCase: names of users, organizations and repos that differ in case
// alone are the same name.
func TestNamesInOtherCase(t *testing.T) {
	h := newHub(t, nil)
	for _, name := range []string{"Alice", "ALICE", "Acme"} {
		for _, org := range []bool{false, true} {
			if _, err := h.srv.AddUser(t.Context(), meta.User{Name: name, Org: org}); err == nil {
				t.Errorf("%s is another user", name)
			}
		}
	}
	for _, name := range []string{"alicе", "alice\u0301", "ａlice", "alİce"} { // look like it, or fold to it, and are not ASCII
		if _, err := h.srv.AddUser(t.Context(), meta.User{Name: name}); err == nil {
			t.Errorf("%q is a user", name)
		}
		h.want(400, "alice", "POST", "/api/repos/create", map[string]any{"name": name})
	}
	h.create("model", "m", false)
	h.create("model", "other", false)
	h.want(409, "alice", "POST", "/api/repos/create", map[string]any{"name": "M"})
	h.want(409, "alice", "POST", "/api/repos/create", map[string]any{"name": "Alice/M"})
	h.want(409, "alice", "POST", "/api/repos/move", map[string]any{"fromRepo": "alice/other", "toRepo": "alice/M"})
	h.want(200, "alice", "POST", "/api/repos/move", map[string]any{"fromRepo": "alice/m", "toRepo": "alice/M"})
	if id := field[string](h, h.want(200, "", "GET", "/api/models/ALICE/m", nil), "id"); id != "alice/M" {
		t.Errorf("the repo is called %s", id)
	}
	h.create("dataset", "m", false) // another type is another repo
}

// TestAlikeFiles: files whose names differ in case or Unicode form alone are two
// files, and who commits them is told that some systems keep only one.
func TestAlikeFiles(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.commit("alice/m", file("README.md", "upper"), file("data/x", "x"))
	for _, c := range []struct{ first, second, want string }{
		{"other.md", "data/X2", ""},
		{"readme.md", "z", `names; "README.md" and "readme.md" differ`},
		{"caf\u00e9", "cafe\u0301", `names; "cafe\u0301" and "caf\u00e9" differ`},
		{"Stra\u00dfe", "\u00c4 \u212b", ""},
		{"\u00e4 \u00e5", "y", `names; "\u00c4 \u212b" and "\u00e4 \u00e5" differ`},
		{"DATA/y", "w", `names; "DATA" and "data" differ`},
		{"deep/er/A", "deep/er/a", `names; "deep/er/A" and "deep/er/a" differ`},
	} {
		r := h.want(200, "alice", "POST", "/api/models/alice/m/commit/main", ndjson(header("x"), file(c.first, "1"), file(c.second, "2")))
		if got := r.header.Get("X-HF-Warning"); !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%+q and %+q: warned of %q", c.first, c.second, got)
		}
		for path, text := range map[string]string{c.first: "1", c.second: "2"} {
			if got := h.want(200, "", "GET", "/alice/m/resolve/main/"+escape(path, false), nil).body; got != text {
				t.Errorf("%+q holds %q", path, got)
			}
		}
	}
	if got := h.want(200, "", "GET", "/alice/m/resolve/main/README.md", nil).body; got != "upper" {
		t.Errorf("README.md holds %q", got)
	}
	r := h.want(200, "alice", "POST", "/api/models/alice/m/commit/main", ndjson(header("x"), deleted("deletedFile", "readme.md")))
	if got := r.header.Get("X-HF-Warning"); got != "" {
		t.Errorf("deleting one of the two: warned of %q", got)
	}
}
