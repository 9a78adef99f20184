package server_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server"
)

// TestRepoMax: the large files of a repo have no more bytes than the hub allows, by
// whatever way they come, also when they come at once; what is there stays readable.
func TestRepoMax(t *testing.T) {
	h := newHub(t, func(c *server.Config) { c.MaxRepoBytes = 25 })
	h.create("model", "m", false)
	h.create("model", "other", false)
	batch := func(repo string, contents ...string) []string {
		t.Helper()
		var objects []any
		for _, content := range contents {
			objects = append(objects, map[string]any{"oid": sha(content), "size": len(content)})
		}
		var answer struct {
			Objects []struct {
				Error   struct{ Message string }
				Actions map[string]struct{ Href string }
			}
		}
		r := h.want(200, "alice", "POST", "/alice/"+repo+".git/info/lfs/objects/batch", map[string]any{"operation": "upload", "objects": objects})
		h.must(json.Unmarshal([]byte(r.body), &answer))
		var hrefs []string
		for _, o := range answer.Objects {
			hrefs = append(hrefs, o.Actions["upload"].Href)
			if (o.Error.Message == "") == (o.Actions == nil) || o.Error.Message != "" && !strings.Contains(o.Error.Message, "of the 25 bytes") {
				t.Errorf("%+v", o)
			}
		}
		return hrefs
	}
	one, two, three := strings.Repeat("1", 10), strings.Repeat("2", 10), strings.Repeat("3", 10)
	hrefs := batch("m", one, two, three) // each fits alone
	for i, content := range []string{one, two, three} {
		if r := h.send("", "PUT", hrefs[i], content); (r.status == 200) != (i < 2) || i == 2 && (r.status != 413 || !strings.Contains(r.body, "20 of the 25 bytes")) {
			t.Errorf("file %d: %s", i, r)
		}
	}
	if hrefs := batch("m", three); hrefs[0] != "" {
		t.Error("a file that has no room is asked for")
	}
	h.commit("alice/m", lfsFile("1", one), lfsFile("2", two))
	h.want(422, "alice", "POST", "/api/models/alice/m/commit/main", ndjson(header("x"), lfsFile("3", three)))
	h.want(413, "alice", "POST", "/api/models/alice/m/commit/main", ndjson(header("x"), file("long", strings.Repeat("x", 11<<20)))) // becomes a large file
	h.sendLFS("alice/m", one)                                                                                                       // there already
	h.sendLFS("alice/other", three)                                                                                                 // another repo has room of its own
	h.want(413, "alice", "POST", "/api/models/alice/other/lfs-files/duplicate", map[string]any{
		"target": map[string]any{"type": "model", "name": "alice/m"}, "files": []any{map[string]any{"sha256": sha(three), "filename": "3"}}})
	h.want(200, "alice", "POST", "/api/models/alice/m/lfs-files/batch", map[string]any{"deletions": map[string]any{"sha": []string{sha(two)}}})
	h.sendLFS("alice/m", three)
	if got := h.want(200, "", "GET", "/alice/m/resolve/main/1", nil).body; got != one {
		t.Errorf("holds %q", got)
	}
}

// TestPackedBodies: what git compresses is read within the bounds of what is not, so
// that a small body does not unfold into much.
func TestPackedBodies(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	var zeros, lines, push bytes.Buffer
	zip := func(to *bytes.Buffer, text string, times int) {
		zw := gzip.NewWriter(to)
		for range times {
			_, err := io.WriteString(zw, text)
			h.must(err)
		}
		h.must(zw.Close())
	}
	zip(&zeros, strings.Repeat("\x00", 1<<20), 64)
	zip(&lines, strings.Repeat("0032want "+strings.Repeat("a", 40)+"\n", 1<<14), 64)
	zip(&push, "0000", 1)
	for _, c := range []struct {
		name, path string
		body       []byte
		status     int
	}{
		{"zeros pushed", "git-receive-pack", zeros.Bytes(), 400}, {"wants pushed", "git-receive-pack", lines.Bytes(), 400},
		{"a good push", "git-receive-pack", push.Bytes(), 200}, {"no gzip", "git-receive-pack", []byte("0000"), 400},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := h.send("alice", "POST", "/alice/m.git/"+c.path, c.body, "Content-Encoding", "gzip")
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; r.status != c.status || used > 64<<20 {
			t.Errorf("%s: %s, %d bytes of memory", c.name, r, used)
		}
	}
	if r := h.send("alice", "POST", "/alice/m.git/git-receive-pack", "0000", "Content-Encoding", "br"); r.status != 415 {
		t.Errorf("another encoding: %s", r)
	}
	// what git itself is given ends, whatever it makes of it
	began := time.Now()
	h.send("alice", "POST", "/alice/m.git/git-upload-pack", zeros.Bytes(), "Content-Encoding", "gzip")
	h.send("alice", "POST", "/alice/m.git/git-upload-pack", lines.Bytes(), "Content-Encoding", "gzip")
	if d := time.Since(began); d > 3*time.Minute {
		t.Errorf("git was fed for %v", d)
	}
}
