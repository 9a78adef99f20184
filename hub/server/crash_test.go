package server_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub/server"
)

// xetUpload replays what hf_xet sends, and commits a file of it. It tells whether
// all was taken.
func xetUpload(h *hub) bool {
	var access struct{ AccessToken, CasURL string }
	h.must(json.Unmarshal([]byte(h.want(200, "alice", "GET", "/api/models/alice/m/xet-write-token/main", nil).body), &access))
	at := h.url + access.CasURL[strings.Index(access.CasURL, "/_cas/"):]
	names, err := filepath.Glob("xet/testdata/small/*.xorb")
	h.must(err)
	xorb, err := os.ReadFile(names[0])
	h.must(err)
	shard, err := os.ReadFile("xet/testdata/small/files.shard")
	h.must(err)
	bearer := "Bearer " + access.AccessToken
	hash := strings.TrimSuffix(filepath.Base(names[0]), ".xorb")
	if h.send("", "POST", at+"/v1/xorbs/default/"+hash, xorb, "Authorization", bearer).status != 200 ||
		h.send("", "POST", at+"/v1/shards", shard, "Authorization", bearer).status != 200 {
		return false
	}
	const floats = "f8fdde8a250e509a7932c9148b37cba3409371327337740e4a75a9e36e55e4e9"
	return h.send("alice", "POST", "/api/models/alice/m/commit/main", ndjson(header("through xet"),
		map[string]any{"key": "lfsFile", "value": map[string]any{"path": "floats.bin", "algo": "sha256", "oid": floats}})).status == 200
}

// pushBranch pushes a branch and a tag of two commits.
func pushBranch(h *hub) bool {
	file := object{gitBlob, "pushed"}
	tree := file.entry("100644", "pushed")
	head := tree.commit("pushed")
	r := h.send("alice", "POST", "/alice/m.git/git-receive-pack", push("refs/heads/pushed", head.hex(), file, tree, head))
	if r.status != 200 || !strings.Contains(r.body, "ok refs/heads/pushed") {
		// A try whose answer was lost has moved the branch.
		refs := h.send("alice", "GET", "/api/models/alice/m/refs", nil)
		return strings.Contains(refs.body, head.hex())
	}
	return true
}

// steps are the writes that the crash tests break off: a large file, a commit of
// a few files, one of many, a squash, a tag, a push, an
// upload through Xet, the removal of what the squash left.
func steps(h *hub) []func() bool {
	ok := func(r reply) bool { return r.status == 200 }
	many := []map[string]any{header("many")}
	for i := range 60 {
		many = append(many, file(fmt.Sprint("many/", i), fmt.Sprint(i)))
	}
	commit := func(body string) bool { return ok(h.send("alice", "POST", "/api/models/alice/m/commit/main", body)) }
	return []func() bool{
		func() bool {
			r := h.send("alice", "POST", "/alice/m.git/info/lfs/objects/batch", map[string]any{
				"operation": "upload", "objects": []any{map[string]any{"oid": sha("large"), "size": 5}}})
			_, href, found := strings.Cut(r.body, `"href":"`)
			href, _, _ = strings.Cut(href, `"`)
			return !found || ok(h.send("", "PUT", strings.ReplaceAll(href, `\u0026`, "&"), "large"))
		},
		func() bool { return commit(ndjson(header("few"), file("a/b/c", "new"), lfsFile("l.bin", "large"))) },
		func() bool { return commit(ndjson(many...)) },
		func() bool { return ok(h.send("alice", "POST", "/api/models/alice/m/super-squash/main", `{}`)) },
		func() bool {
			r := h.send("alice", "POST", "/api/models/alice/m/tag/main", `{"tag":"v1","message":"words"}`)
			return ok(r) || r.status == 409
		},
		func() bool { return pushBranch(h) },
		func() bool { return xetUpload(h) },
		func() bool { _, err := h.srv.Collect(h.t.Context()); return err == nil },
	}
}

// healthy checks a hub after a fault: no faults, and the branch readable.
func (h *hub) healthy(when string) {
	h.t.Helper()
	faults, err := h.srv.Fsck(h.t.Context(), true)
	if err != nil || len(faults) > 0 {
		h.t.Fatalf("%s: %v %v", when, err, faults)
	}
	h.want(200, "", "GET", "/alice/m/resolve/main/start", nil)
}

// TestFullDisk lets each single write fail: the client is told, the repo stays
// as it was, and the next try succeeds.
func TestFullDisk(t *testing.T) {
	failAt, count := -1, 0
	h := newHub(t, func(c *server.Config) {
		c.Fault = func(string) error {
			if count++; count == failAt {
				return syscall.ENOSPC
			}
			return nil
		}
	})
	h.create("model", "m", false)
	h.commit("alice/m", file("start", "x"))
	faults := 0
	for i, step := range steps(h) {
		for at := 1; ; at++ {
			failAt, count = at, 0
			done := step()
			if hit := count >= failAt; !hit {
				if !done {
					t.Fatalf("step %d fails without a fault", i)
				}
				break
			}
			failAt = -1
			faults++
			h.healthy(fmt.Sprintf("step %d, write %d", i, at))
		}
		failAt = -1
		if !step() {
			t.Fatalf("step %d cannot be repeated", i)
		}
	}
	if faults < 30 {
		t.Errorf("only %d writes were tried", faults)
	}
}

// TestKill kills the process at each write of each step: the folder opens again
// without faults, at the old or the new commit, and the step succeeds.
func TestKill(t *testing.T) {
	if dir := os.Getenv("MES_TEST_KILL_DIR"); dir != "" {
		killChild(t, dir)
		return
	}
	if testing.Short() {
		t.Skip("starts a process for each write")
	}
	base := newHub(t, nil)
	base.create("model", "m", false)
	base.commit("alice/m", file("start", "x"))
	h := &hub{t: t, tokens: base.tokens}
	dir := filepath.Join(t.TempDir(), "data")
	h.must(base.srv.Backup(t.Context(), dir))
	kills := 0
	for step := range steps(h) {
		for at := 1; at < 100; at++ {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
			cmd.Env = append(os.Environ(), "MES_TEST_KILL_DIR="+dir, fmt.Sprint("MES_TEST_KILL_STEP=", step), fmt.Sprint("MES_TEST_KILL_AT=", at), "MES_TEST_KILL_TOKEN="+h.tokens["alice"])
			out, err := cmd.CombinedOutput()
			if err == nil {
				break // the step went through: it has fewer writes
			}
			if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
				t.Fatalf("step %d, write %d: %v\n%s", step, at, err, out)
			}
			kills++
			func() {
				srv, err := server.New(server.Config{Dir: dir})
				h.must(err)
				defer srv.Close()
				faults, err := srv.Fsck(t.Context(), true)
				if err != nil || len(faults) > 0 {
					t.Fatalf("after a kill at write %d of step %d: %v %v", at, step, err, faults)
				}
				w := httptest.NewRecorder()
				srv.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/alice/m/resolve/main/start", nil))
				if w.Code != 200 || w.Body.String() != "x" {
					t.Fatalf("after a kill at write %d of step %d: %d %s", at, step, w.Code, w.Body)
				}
			}()
		}
	}
	if kills < 30 {
		t.Errorf("only %d kills", kills)
	}
}

// killChild does one step on a data folder and kills itself at one write.
func killChild(t *testing.T, dir string) {
	var step, at, count int
	fmt.Sscan(os.Getenv("MES_TEST_KILL_STEP"), &step)
	fmt.Sscan(os.Getenv("MES_TEST_KILL_AT"), &at)
	h := &hub{t: t, dir: dir, tokens: map[string]string{"": "", "alice": os.Getenv("MES_TEST_KILL_TOKEN")}}
	armed := false
	h.open(server.Config{Dir: dir, Fault: func(string) error {
		if !armed {
			return nil
		}
		if count++; count == at {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}})
	armed = true
	if !steps(h)[step]() {
		t.Fatal("the step failed")
	}
}
