package server_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// TestPullRequests walks through drafts, conflicts, merges and what is refused.
func TestPullRequests(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.commit("alice/m", file("a", "1"), file("b", "1"))
	api := "/api/models/alice/m"
	propose := func(who string, lines ...map[string]any) int {
		r := h.want(200, who, "POST", api+"/commit/main?create_pr=1", ndjson(append([]map[string]any{header("a change")}, lines...)...))
		var num int
		url := field[string](h, r, "pullRequestUrl")
		fmt.Sscan(url[strings.LastIndex(url, "/")+1:], &num)
		return num
	}
	one, two := propose("bob", file("a", "2")), propose("alice", file("a", "3"), file("c", "4"))
	h.want(403, "bob", "POST", fmt.Sprintf("%s/discussions/%d/merge", api, one), `{}`)
	h.want(200, "alice", "POST", fmt.Sprintf("%s/discussions/%d/merge", api, one), `{"comment":"thanks"}`)
	if got := h.want(200, "", "GET", "/alice/m/resolve/main/a", nil).body; got != "2" {
		t.Errorf("after the merge a is %q", got)
	}
	details := h.want(200, "", "GET", fmt.Sprintf("%s/discussions/%d?diff=1", api, two), nil)
	if got := field[[]string](h, details, "filesWithConflicts"); fmt.Sprint(got) != "[a]" {
		t.Errorf("conflicts %v", got)
	}
	h.want(409, "alice", "POST", fmt.Sprintf("%s/discussions/%d/merge", api, two), `{}`)
	h.want(403, "bob", "POST", fmt.Sprintf("%s/discussions/%d/status", api, two), `{"status":"closed"}`)
	h.want(200, "alice", "POST", fmt.Sprintf("%s/discussions/%d/status", api, two), `{"status":"closed"}`)
	h.want(400, "alice", "POST", fmt.Sprintf("%s/discussions/%d/merge", api, two), `{}`)
	h.want(400, "alice", "POST", fmt.Sprintf("%s/discussions/%d/merge", api, one), `{}`)
	h.want(404, "alice", "POST", api+"/discussions/99/merge", `{}`)
	h.want(404, "", "GET", api+"/discussions/none", nil)
	h.want(400, "bob", "POST", api+"/discussions", `{"title":"x"}`)
	merged := h.want(200, "", "GET", fmt.Sprintf("%s/discussions/%d?diff=1", api, one), nil)
	if !strings.Contains(field[string](h, merged, "diff"), "+2") || field[string](h, merged, "status") != "merged" {
		t.Errorf("merged: %s", merged.body)
	}
	if refs := h.want(200, "", "GET", api+"/refs?include_prs=1", nil).body; !strings.Contains(refs, "refs/pr/2") {
		t.Errorf("refs: %s", refs)
	}
	first := h.want(200, "bob", "POST", fmt.Sprintf("%s/discussions/%d/comment", api, one), `{"comment":"mine"}`).body
	_, id, _ := strings.Cut(first, `"id":"`)
	id, _, _ = strings.Cut(id, `"`)
	h.want(403, "carol", "POST", fmt.Sprintf("%s/discussions/%d/comment/%s/edit", api, one, id), `{"content":"not mine"}`)
	h.want(200, "bob", "POST", fmt.Sprintf("%s/discussions/%d/comment/%s/edit", api, one, id), `{"content":"changed"}`)
	h.want(200, "alice", "POST", fmt.Sprintf("%s/discussions/%d/comment/%s/hide", api, one, id), `{}`)
	if body := h.want(200, "", "GET", fmt.Sprintf("%s/discussions/%d", api, one), nil).body; strings.Contains(body, "changed") {
		t.Error("a hidden comment is shown")
	}
}

// TestBackup copies a hub that is written to, and the copy is whole.
func TestBackup(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", true)
	h.sendLFS("alice/m", "large")
	h.commit("alice/m", file("start", "x"), lfsFile("l", "large"))
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				h.send("alice", "POST", "/api/models/alice/m/commit/main", ndjson(header("x"), file(fmt.Sprint("f", i), "x")))
			}
		}
	}()
	to := t.TempDir() + "/copy"
	err := h.srv.Backup(t.Context(), to)
	close(stop)
	<-done
	h.must(err)
	if err := h.srv.Backup(t.Context(), to); err == nil {
		t.Error("a backup was written over")
	}
	copied, err := server.New(server.Config{Dir: to})
	h.must(err)
	defer copied.Close()
	if faults, err := copied.Fsck(t.Context(), true); err != nil || len(faults) > 0 {
		t.Errorf("faults of the copy: %v %v", faults, err)
	}
	if _, err := copied.Access(h.tokens["alice"], "model", "alice", "m", true); err != nil {
		t.Errorf("the copy does not know alice: %v", err)
	}
	if _, err := copied.Access(h.tokens["bob"], "model", "alice", "m", false); err == nil {
		t.Error("the copy lets bob in")
	}
}

// TestFsck finds what was damaged.
func TestFsck(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.sendLFS("alice/m", "large")
	h.commit("alice/m", file("start", "x"), lfsFile("l", "large"))
	h.healthy("before")
	damage(t, h.dir+"/lfs/objects")
	if faults, err := h.srv.Fsck(t.Context(), true); err != nil || len(faults) == 0 {
		t.Errorf("a damaged large file is not seen: %v %v", faults, err)
	}
	damage(t, h.dir+"/git")
	if faults, err := h.srv.Fsck(t.Context(), false); err != nil || len(faults) == 0 {
		t.Errorf("damaged objects are not seen: %v %v", faults, err)
	}
}

// TestNames: what no repo and no user may be called.
func TestNames(t *testing.T) {
	h := newHub(t, nil)
	for _, name := range []string{"", "a--b", "a..b", "-a", "a-", ".a", "a.", "a.git", "a/b/c", "ü", "a b", strings.Repeat("a", 97), "..", "a\x00"} {
		if r := h.send("alice", "POST", "/api/repos/create", map[string]any{"name": name}); r.status < 400 || r.status >= 500 {
			t.Errorf("%q: status %d", name, r.status)
		}
	}
	h.create("model", "Mixed", false)
	h.want(409, "alice", "POST", "/api/repos/create", map[string]any{"name": "mixed"})
	if got := field[string](h, h.want(200, "", "GET", "/api/models/ALICE/mixed", nil), "id"); got != "alice/Mixed" {
		t.Errorf("canonical name %s", got)
	}
	r := h.want(409, "alice", "POST", "/api/repos/create", map[string]any{"name": "Mixed"})
	if got := field[string](h, r, "url"); got != h.url+"/alice/Mixed" {
		t.Errorf("url of the conflict: %s", got)
	}
	h.want(400, "alice", "POST", "/api/repos/create", map[string]any{"name": "s", "type": "space"})
	h.want(403, "alice", "POST", "/api/repos/create", map[string]any{"name": "bob/x"})
	h.want(403, "alice-read", "POST", "/api/repos/create", map[string]any{"name": "x"})
	h.want(403, "alice-fine", "POST", "/api/repos/create", map[string]any{"name": "x"})
	h.want(200, "alice-fine", "POST", "/api/repos/create", map[string]any{"name": "other"})
	h.want(200, "alice-fine", "POST", "/api/models/alice/other/commit/main", ndjson(header("x"), file("a", "b")))
	h.want(403, "alice-fine", "POST", "/api/models/alice/Mixed/commit/main", ndjson(header("x"), file("a", "b")))
}

// TestAdmin reaches a folder that a server has open, and one that none has.
func TestAdmin(t *testing.T) {
	dir, err := os.MkdirTemp("", "hub") // short: the path of a socket has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	srv, err := server.New(server.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- srv.Serve(ctx, l, "", "") }()
	var admin server.Admin
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) { // until it listens
		if admin, err = server.Connect(dir); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.AddUser(ctx, meta.User{Name: "eve"}); err != nil {
		t.Error(err)
	}
	if _, err := admin.AddUser(ctx, meta.User{Name: "EVE"}); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a second eve: %v", err)
	}
	token, err := admin.AddToken(ctx, meta.Token{User: "eve", Kind: meta.TokenWrite})
	if err != nil {
		t.Fatal(err)
	}
	if faults, err := admin.Fsck(ctx, true); err != nil || len(faults) > 0 {
		t.Errorf("%v %v", faults, err)
	}
	if err := admin.Backup(ctx, dir+"/copy"); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(dir + "/admin.sock"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", info, err)
	}
	admin.Close()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+l.Addr().String()+"/api/whoami-v2", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v %v", resp, err)
	}
	resp.Body.Close()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	alone, err := server.Connect(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	if _, err := alone.AddUser(t.Context(), meta.User{Name: "frank"}); err != nil {
		t.Error(err)
	}
}
