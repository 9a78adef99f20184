package client_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/client"
	"github.com/mamba-encoder-swarm/mes/hub/server"
	"github.com/mamba-encoder-swarm/mes/hub/server/lfs"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// hub is a real server with the user alice. hold, if set, is called before a request
// is served, sent after it.
type hub struct {
	url, token string
	mu         sync.Mutex
	hold, sent func(*http.Request)
}

func newHub(t *testing.T, cfg server.Config) *hub {
	t.Helper()
	cfg.Dir = t.TempDir()
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{}
	if _, err = s.AddUser(t.Context(), meta.User{Name: "alice"}); err != nil {
		t.Fatal(err)
	}
	if h.token, err = s.AddToken(t.Context(), meta.Token{User: "alice", Kind: meta.TokenWrite}); err != nil {
		t.Fatal(err)
	}
	handler := s.Handler()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		hold, sent := h.hold, h.sent
		h.mu.Unlock()
		if hold != nil {
			hold(r)
		}
		handler.ServeHTTP(w, r)
		if sent != nil {
			sent(r)
		}
	}))
	h.url = srv.URL
	t.Cleanup(func() { srv.Close(); s.Close() })
	return h
}

func (h *hub) client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Endpoint: h.url, Token: h.token, Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var alices = client.Repo{ID: "alice/m"}

// TestKilledUploadToServer: an upload of small and large objects, in one piece and in
// parts, is killed; the next one sends only what had not arrived.
func TestKilledUploadToServer(t *testing.T) {
	if address := os.Getenv("MES_TEST_UPLOAD"); address != "" {
		dir := os.Getenv("MES_TEST_FOLDER")
		c, err := client.New(client.Config{Endpoint: address, Token: os.Getenv("MES_TEST_TOKEN")})
		if err == nil {
			err = uploadFolder(t, c, dir)
		}
		t.Fatalf("should have been killed: %v", err)
	}
	const large = 2*lfs.PartSize + 1000 // three parts
	h := newHub(t, server.Config{MultipartFrom: large})
	c := h.client(t)
	if _, err := c.CreateRepo(t.Context(), alices, client.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "files")
	makeFiles(t, dir, large)

	var mu sync.Mutex
	var arrived []string
	small := 0 // objects in one piece that are let through
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	defer release()
	h.hold = func(r *http.Request) {
		if r.Method != http.MethodPut {
			return
		}
		part := r.URL.Query().Get("part")
		mu.Lock()
		if part == "" {
			small++
		}
		allowed := part == "2" || part == "" && small <= 2
		mu.Unlock()
		if !allowed {
			<-released
			panic(http.ErrAbortHandler) // its sender is dead by then
		}
	}
	h.sent = func(r *http.Request) {
		if r.Method != http.MethodPut {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		arrived = append(arrived, object(r))
	}
	other := exec.Command(os.Args[0], "-test.run=^TestKilledUploadToServer$")
	other.Env = append(os.Environ(), "MES_TEST_UPLOAD="+h.url, "MES_TEST_TOKEN="+h.token, "MES_TEST_FOLDER="+dir)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	before := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(arrived)
	}
	for until := time.Now().Add(5 * time.Minute); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if list := before(); countParts(list) == 1 && notedParts(dir) == 1 && len(list) == 3 {
			break
		}
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	first := before()
	if countParts(first) != 1 || len(first) != 3 || notedParts(dir) != 1 {
		t.Fatalf("before the kill arrived %q, noted are %d parts", first, notedParts(dir))
	}

	var again []string
	h.mu.Lock()
	h.hold = nil
	h.sent = func(r *http.Request) {
		if r.Method == http.MethodPut {
			mu.Lock()
			again = append(again, object(r))
			mu.Unlock()
		}
	}
	h.mu.Unlock()
	release()
	if err := uploadFolder(t, c, dir); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(again) != 4 { // two of four small objects, two of three parts
		t.Errorf("%d sent again: %q", len(again), again)
	}
	for _, o := range again {
		if slices.Contains(first, o) {
			t.Errorf("%s had arrived and was sent again", o)
		}
	}
	compare(t, c, dir)
}

// object names what a request sends.
func object(r *http.Request) string { return r.URL.Path + " " + r.URL.Query().Get("part") }

func countParts(list []string) (n int) {
	for _, o := range list {
		if !strings.HasSuffix(o, " ") {
			n++
		}
	}
	return n
}

// notedParts is how many parts the notes of an upload name.
func notedParts(dir string) int {
	files, _ := filepath.Glob(filepath.Join(dir+"-notes", "*.json")) // without those being written
	n := 0
	for _, file := range files {
		var notes struct{ ETags map[string]string }
		data, _ := os.ReadFile(file)
		_ = json.Unmarshal(data, &notes)
		n += len(notes.ETags)
	}
	return n
}

// makeFiles writes four small files and one of size bytes, all for LFS.
func makeFiles(t *testing.T, dir string, size int64) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.bin", "b.bin", "c.bin", "d.bin", "large.bin"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(filepath.Join(dir, "large.bin"), size); err != nil {
		t.Fatal(err)
	}
}

func uploadFolder(t *testing.T, c *client.Client, dir string) error {
	files, err := client.Folder(dir, "", nil, nil)
	if err != nil {
		return err
	}
	_, err = c.Upload(t.Context(), alices, client.UploadOptions{Files: files, ResumeDir: dir + "-notes"})
	return err
}

// compare downloads what was uploaded from a folder.
func compare(t *testing.T, c *client.Client, dir string) {
	t.Helper()
	s, err := c.Snapshot(t.Context(), alices, "", client.SnapshotOptions{Exclude: []string{".gitattributes"}})
	if err != nil {
		t.Fatal(err)
	}
	sum := func(file string) string {
		f, err := os.Open(file)
		if err != nil {
			return err.Error()
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%x", h.Sum(nil))
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(s.Files) {
		t.Errorf("%d files became %d: %v", len(entries), len(s.Files), err)
	}
	for _, e := range entries {
		if a, b := sum(filepath.Join(dir, e.Name())), sum(filepath.Join(s.Dir, e.Name())); a != b {
			t.Errorf("%q: %s became %s", e.Name(), a, b)
		}
	}
}

// TestReadRange: pieces of small and large files, and what lies past their ends.
func TestReadRange(t *testing.T) {
	h := newHub(t, server.Config{})
	c := h.client(t)
	if _, err := c.CreateRepo(t.Context(), alices, client.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("0123456789", 1000)
	var files []client.File
	for _, name := range []string{"a.txt", "a.bin"} {
		files = append(files, client.File{Path: name, Bytes: []byte(text)})
	}
	made, err := c.Upload(t.Context(), alices, client.UploadOptions{Files: files})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := c.PathsInfo(t.Context(), alices, made.OID, []string{"a.txt", "a.bin"})
	if err != nil || len(entries) != 2 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		for _, span := range [][2]int64{{0, 1}, {3, 17}, {9990, 10_000}, {9999, 1 << 40}, {0, 1 << 40}, {10_000, 10_001}, {5, 5}, {-1, 2}} {
			want := ""
			if from, to := span[0], min(span[1], 10_000); from >= 0 && from < to {
				want = text[from:to]
			}
			got, err := c.ReadRange(t.Context(), alices, made.OID, e, span[0], span[1])
			if err != nil || string(got) != want {
				t.Errorf("%s from %d to %d: %d bytes, %v", e.Path, span[0], span[1], len(got), err)
			}
		}
	}
	lie := entries[0]
	lie.Size, lie.LFS = 20_000, nil
	if _, err := c.ReadRange(t.Context(), alices, made.OID, lie, 0, 10); err == nil {
		t.Error("a length that the server does not confirm is believed")
	}
}

// TestEveryLegalCharacter: names with all characters that a repository takes come
// back as they were sent, through addresses, lists, commits and the cache.
func TestEveryLegalCharacter(t *testing.T) {
	h := newHub(t, server.Config{})
	c := h.client(t)
	if _, err := c.CreateRepo(t.Context(), alices, client.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var files []client.File
	add := func(name string) {
		files = append(files, client.File{Path: name, Bytes: []byte(url.QueryEscape(name))})
	}
	for char := rune(' '); char < 0x7f; char++ {
		if char != '/' && char != '\\' {
			add("xx" + string(char) + "y") // behind one letter a colon would make it a drive
		}
	}
	for _, name := range []string{"%2e%2e/%2f", "%", "%zz", "a b/c d", "Ä/ö ü.ß", "e\u0301 and \u00e9", "日本語/ファイル", "😀.txt", "...", "-", "~", "$HOME", "a/b/c/d/e/f", strings.Repeat("n", 200)} {
		add(name)
	}
	if _, err := c.Upload(t.Context(), alices, client.UploadOptions{Files: files}); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", t.TempDir()} {
		s, err := c.Snapshot(t.Context(), alices, "", client.SnapshotOptions{LocalDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if got, err := os.ReadFile(filepath.Join(s.Dir, f.Path)); string(got) != string(f.Bytes) {
				t.Errorf("%q: %q, %v", f.Path, got, err)
			}
		}
	}
	for _, f := range files {
		if _, err := c.Download(t.Context(), alices, "main", f.Path); err != nil {
			t.Error(err)
		}
	}
}
