package client

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSnapshot(t *testing.T) {
	h := newFake(t)
	big := random(1, 300_000)
	files := map[string]string{"README.md": "# hello", "a/b.bin": big, "empty": "", "a/é ü#%?.txt": "x"}
	commit := h.put("models/acme/m", files)
	c := h.client(nil)
	c.chunk = 64 << 10
	s, err := c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Commit != commit {
		t.Errorf("commit %s, want %s", s.Commit, commit)
	}
	for name, text := range files {
		got, err := os.ReadFile(filepath.Join(s.Dir, name))
		if err != nil || string(got) != text {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	// All of one commit, though the branch may move, and by one listing.
	if h.count("GET", "/resolve/main/") > 0 || h.count("HEAD", "") > 0 || h.count("GET", "/tree/") != 1 {
		t.Errorf("asked %v", h.calls)
	}
	h.forget()
	if _, err := c.Snapshot(t.Context(), repoM, commit, SnapshotOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(h.calls) != 0 {
		t.Errorf("a complete commit was asked for: %v", h.calls)
	}
	if got := h.auth["/acme/m/resolve/"+commit+"/README.md"]; got != "Bearer hf_secretsecret" {
		t.Errorf("authorization %q", got)
	}
}

func TestUploadRoundTrip(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"old": "1", "dir/x": "2", "same": "3"})
	c := h.client(nil)
	big := random(2, 200_000)
	got, err := c.Upload(t.Context(), repoM, UploadOptions{
		Files: []File{
			{Path: "big.bin", Bytes: []byte(big)}, {Path: "README.md", Bytes: []byte("hi")}, {Path: "same", Bytes: []byte("3")},
			{Path: "q\"uote<&>.txt", Bytes: []byte("q")}, {Path: "none", Bytes: nil},
		},
		Delete: []string{"old", "dir/"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Made != 1 || got.Unchanged != 1 || got.Sent != 4 {
		t.Errorf("%+v", got)
	}
	s, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Files) != 5 || s.Commit != got.OID {
		t.Errorf("%v", paths(s))
	}
	data, _ := os.ReadFile(filepath.Join(s.Dir, "big.bin"))
	if string(data) != big {
		t.Error("big.bin differs")
	}
}
