package server

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

const upstreamCommit = "0123456789012345678901234567890123456789"

// fakeHub is the Hub that is mirrored. It has the repos u/open, u/closed, the latter
// for the token hf_theirs, and u/gated, whose files are for that token, each with a
// large file whose bytes come from another host, and small ones.
type fakeHub struct {
	mu     sync.Mutex
	tokens []string // Authorization headers that came, "cdn: " in front of the other host's
	large  string   // bytes that are sent for the large file
	etag   string   // of the large file; empty for the true one
	status int      // instead of an answer, if not zero
	denied bool     // the token counts no more
	url    string
}

const largeText, smallText = "the bytes of a large file", "small\n"

func newFakeHub(t *testing.T) *fakeHub {
	t.Helper()
	f := &fakeHub{large: largeText}
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.tokens = append(f.tokens, "cdn: "+r.Header.Get("Authorization"))
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(f.large))
	}))
	t.Cleanup(cdn.Close)
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(w, r, cdn.URL) }))
	t.Cleanup(hub.Close)
	f.url = hub.URL
	return f
}

func (f *fakeHub) serve(w http.ResponseWriter, r *http.Request, cdn string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	token := r.Header.Get("Authorization")
	f.tokens = append(f.tokens, token)
	h := w.Header()
	fail := func(status int, code string) {
		h.Set("X-Error-Code", code)
		w.WriteHeader(status)
	}
	switch {
	case f.status != 0:
		w.WriteHeader(f.status)
	case strings.Contains(r.URL.Path, "u/closed") && (token != "Bearer hf_theirs" || f.denied):
		fail(401, "RepoNotFound")
	case r.URL.Path == "/api/models":
		second := r.URL.Query().Get("cursor") != ""
		switch {
		case !second:
			h.Set("Link", "<"+f.url+"/api/models?search=x&cursor=a%2Bb>; rel=\"next\"")
			fmt.Fprintf(w, `[{"id":"u/open","query":%q},{"id":"alice/m"},{"id":"alice/secret"}]`, r.URL.RawQuery)
		case token == "Bearer hf_theirs":
			fmt.Fprintf(w, `[{"id":"u/closed","query":%q}]`, r.URL.RawQuery)
		default:
			fmt.Fprintf(w, `[{"id":"u/last","query":%q}]`, r.URL.RawQuery)
		}
	case strings.Contains(r.URL.Path, "u/gated/") && !strings.HasPrefix(r.URL.Path, "/api/") && (token != "Bearer hf_theirs" || f.denied):
		fail(map[bool]int{true: 401, false: 403}[token == ""], "GatedRepo")
	case !strings.Contains(r.URL.Path, "u/closed") && !strings.Contains(r.URL.Path, "u/open") && !strings.Contains(r.URL.Path, "u/gated"):
		fail(401, "RepoNotFound")
	case strings.HasPrefix(r.URL.Path, "/api/") && !strings.Contains(r.URL.Path, "/tree/"):
		h.Set("X-Repo-Commit", upstreamCommit)
		h.Set("X-Total-Count", "7")
		body, err := io.ReadAll(r.Body)
		if err != nil {
			body = []byte(err.Error())
		}
		fmt.Fprintf(w, `{"asked":%q,"posted":%q}`, r.Method+" "+r.URL.RequestURI(), body)
	case strings.HasPrefix(r.URL.Path, "/u/open/raw/"):
		h.Set("X-Repo-Commit", upstreamCommit)
		h.Set("ETag", `"ac790413e2d7a26c3767e78c57bb28716686eebc"`) // git hash-object
		fmt.Fprint(w, smallText)
	case strings.Contains(r.URL.Path, "/numbered-"):
		content := strings.Repeat(path.Base(r.URL.Path), 100)
		h.Set("X-Repo-Commit", upstreamCommit)
		h.Set("X-Linked-Size", fmt.Sprint(len(content)))
		h.Set("X-Linked-Etag", `"`+sha256Hex([]byte(content))+`"`)
		fmt.Fprint(w, content)
	case strings.Contains(r.URL.Path, "/tree/"):
		h.Set("Link", "<"+f.url+r.URL.Path+`?cursor=2>; rel="next"`)
		fmt.Fprintf(w, `[{"path":%q}]`, r.URL.Path)
	case strings.HasSuffix(r.URL.Path, "/large.bin"):
		h.Set("X-Repo-Commit", upstreamCommit)
		h.Set("X-Linked-Size", fmt.Sprint(len(largeText)))
		etag := sha256Hex([]byte(largeText))
		if f.etag != "" {
			etag = f.etag
		}
		h.Set("X-Linked-Etag", `"`+etag+`"`)
		http.Redirect(w, r, cdn+"/signed?secret=1", http.StatusFound)
	case strings.HasSuffix(r.URL.Path, "/small.txt"):
		h.Set("X-Repo-Commit", upstreamCommit)
		h.Set("ETag", `"ac790413e2d7a26c3767e78c57bb28716686eebc"`) // git hash-object
		fmt.Fprint(w, smallText)
	default:
		h.Set("X-Repo-Commit", upstreamCommit)
		fail(404, "EntryNotFound")
	}
}

// set changes the fake under its lock.
func (f *fakeHub) set(change func(*fakeHub)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// mirrorHub is a Hub that mirrors f.
func mirrorHub(t *testing.T, f *fakeHub) *pageHub {
	t.Helper()
	h := openMirror(t, f, t.TempDir(), 0)
	t.Cleanup(h.close)
	h.alice, h.bob = h.user("alice"), h.user("bob")
	return h
}

// openMirror opens a folder as one that mirrors f with a cache of up to max bytes.
func openMirror(t *testing.T, f *fakeHub, dir string, max int64) *pageHub {
	t.Helper()
	s, err := New(Config{Dir: dir, Upstream: f.url, MirrorMax: max})
	if err != nil {
		t.Fatal(err)
	}
	return &pageHub{t: t, s: s}
}

const (
	openLarge   = "/u/open/resolve/main/large.bin"
	openSmall   = "/u/open/resolve/main/small.txt"
	closedLarge = "/u/closed/resolve/main/large.bin"
)

var theirs = []string{"Authorization", "Bearer hf_theirs"}

// TestMirrorFiles gets files, keeps them, and serves them when the other Hub is
// gone.
func TestMirrorFiles(t *testing.T) {
	f := newFakeHub(t)
	h := mirrorHub(t, f)
	for range 2 {
		for path, want := range map[string]string{openLarge: largeText, openSmall: smallText} {
			if got := h.must(200, "", "GET", path, nil); got != want {
				t.Fatalf("%s: %q, want %q", path, got, want)
			}
			w := h.do("", "HEAD", path, nil)
			if w.Code != 200 || w.Header().Get("X-Repo-Commit") != upstreamCommit || w.Header().Get("ETag") == "" {
				t.Errorf("HEAD %s: %d %v", path, w.Code, w.Header())
			}
		}
		if w := h.do("", "GET", openLarge, nil, "Range", "bytes=4-8"); w.Code != 206 || w.Body.String() != "bytes" {
			t.Errorf("range: %d %q", w.Code, w.Body)
		}
		f.set(func(f *fakeHub) { f.status = 503 })
	}
	if w := h.do("", "GET", "/u/open/resolve/main/other.bin", nil); w.Code != 502 || w.Header().Get("X-Error-Code") != "UpstreamUnreachable" {
		t.Errorf("never seen: %d %v", w.Code, w.Header())
	}
}

// TestMirrorRange passes a part of a file on that is not kept yet.
func TestMirrorRange(t *testing.T) {
	h := mirrorHub(t, newFakeHub(t))
	w := h.do("", "GET", openLarge, nil, "Range", "bytes=4-8")
	if w.Code != 206 || w.Body.String() != "bytes" || !strings.HasPrefix(w.Header().Get("Content-Range"), "bytes 4-8/") {
		t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
	}
	if kept := keptFiles(t, h); len(kept) > 0 {
		t.Errorf("kept %v", kept)
	}
}

func keptFiles(t *testing.T, h *pageHub) []string {
	t.Helper()
	kept, err := filepath.Glob(filepath.Join(h.s.cfg.Dir, "mirror", "files", "*"))
	if err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(h.s.cfg.Dir, "mirror", "temp", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return append(kept, left...)
}

// TestMirrorWrongBytes keeps nothing that does not have its hash, and the receiver
// does not get all of it.
func TestMirrorWrongBytes(t *testing.T) {
	f := newFakeHub(t)
	h := mirrorHub(t, f)
	for name, sent := range map[string]string{"others": strings.ToUpper(largeText), "fewer": largeText[:9], "more": largeText + "!"} {
		f.set(func(f *fakeHub) { f.large = sent })
		if w := h.do("", "GET", openLarge, nil); w.Code == 200 && w.Body.Len() >= len(largeText) {
			t.Errorf("%s: got %q", name, w.Body)
		}
		if kept := keptFiles(t, h); len(kept) > 0 {
			t.Errorf("%s: kept %v", name, kept)
		}
	}
	f.set(func(f *fakeHub) { f.large = largeText })
	if got := h.must(200, "", "GET", openLarge, nil); got != largeText {
		t.Errorf("afterwards: %q", got)
	}
}

// TestMirrorHostileHeaders refuses hashes that would be names of other files.
func TestMirrorHostileHeaders(t *testing.T) {
	f := newFakeHub(t)
	h := mirrorHub(t, f)
	for _, etag := range []string{"../../hub.db", "..", "x", strings.Repeat("A", 64), strings.Repeat("a", 63) + "/"} {
		f.set(func(f *fakeHub) { f.etag = etag })
		if w := h.do("", "GET", openLarge, nil); w.Code != 500 {
			t.Errorf("ETag %q: %d %s", etag, w.Code, w.Body)
		}
	}
	if kept := keptFiles(t, h); len(kept) > 0 {
		t.Errorf("kept %v", kept)
	}
}

// TestMirrorTokens sends the caller's token to the other Hub alone and only when it
// is needed, and never one of ours.
func TestMirrorTokens(t *testing.T) {
	f := newFakeHub(t)
	h := mirrorHub(t, f)
	ours := []string{"Authorization", "Bearer " + h.alice}
	if w := h.do("", "GET", closedLarge, nil, ours...); w.Code != 404 {
		t.Errorf("our token: %d", w.Code)
	}
	if w := h.do("", "GET", openLarge, nil, theirs...); w.Code != 200 {
		t.Errorf("open repo: %d", w.Code)
	}
	for _, token := range f.tokens {
		if token != "" && token != "cdn: " {
			t.Errorf("sent where none was needed: %q", token)
		}
	}
	f.set(func(f *fakeHub) { f.tokens = nil })
	if w := h.do("", "GET", closedLarge, nil, theirs...); w.Code != 200 || w.Body.String() != largeText {
		t.Errorf("closed repo: %d %q", w.Code, w.Body)
	}
	sent := strings.Join(f.tokens, "|")
	if !strings.Contains(sent, "Bearer hf_theirs") || strings.Contains(sent, "cdn: B") {
		t.Errorf("sent %s", sent)
	}
}

// TestMirrorPrivate asks again before it serves a file that needs a token: another
// caller, a caller whose access ended, and anybody while the other Hub is gone get
// none, though the bytes are kept.
func TestMirrorPrivate(t *testing.T) {
	f := newFakeHub(t)
	h := mirrorHub(t, f)
	if w := h.do("", "GET", closedLarge, nil, theirs...); w.Code != 200 {
		t.Fatalf("allowed: %d", w.Code)
	}
	if kept := keptFiles(t, h); len(kept) != 1 {
		t.Fatalf("kept %v", kept)
	}
	if w := h.do("", "GET", closedLarge, nil); w.Code != 401 {
		t.Errorf("without a token: %d", w.Code)
	}
	if w := h.do("", "GET", closedLarge, nil, "Authorization", "Bearer hf_wrong"); w.Code != 401 {
		t.Errorf("another token: %d", w.Code)
	}
	f.set(func(f *fakeHub) { f.denied = true })
	if w := h.do("", "GET", closedLarge, nil, theirs...); w.Code != 401 {
		t.Errorf("after the end of access: %d", w.Code)
	}
	f.set(func(f *fakeHub) { f.denied, f.status = false, 503 })
	for _, path := range []string{closedLarge, "/api/models/u/closed/tree/main"} {
		if w := h.do("", "GET", path, nil, theirs...); w.Code != 502 {
			t.Errorf("%s while it is gone: %d %s", path, w.Code, w.Body)
		}
	}
}

// TestMirrorAPI passes answers on, with the address of the next page being here, and
// keeps them.
func TestMirrorAPI(t *testing.T) {
	f := newFakeHub(t)
	h := mirrorHub(t, f)
	for range 2 {
		w := h.do("", "GET", "/api/models/u/open/tree/main", nil)
		if w.Code != 200 || !strings.Contains(w.Body.String(), "u/open") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if link := w.Header().Get("Link"); !strings.HasPrefix(link, "<http://example.com/api/models/u/open/") {
			t.Errorf("link %s", link)
		}
		f.set(func(f *fakeHub) { f.status = 502 })
	}
	f.set(func(f *fakeHub) { f.status = 0 })
	if w := h.do("", "GET", "/u/open/resolve/main/absent", nil); w.Code != 404 || w.Header().Get("X-Error-Code") != "EntryNotFound" || w.Header().Get("X-Repo-Commit") == "" {
		t.Errorf("absent file: %d %v", w.Code, w.Header())
	}
}

// TestMirrorOwnRepos prefers repos that are here, and hides private ones among those
// that are nowhere, and behind those of the other Hub that have the same name.
func TestMirrorOwnRepos(t *testing.T) {
	f := newFakeHub(t)
	h := mirrorHub(t, f)
	h.repo("secret", true, map[string]string{"README.md": "# Hidden"})
	if page := h.must(200, h.alice, "GET", "/alice/secret/resolve/main/README.md", nil); page != "# Hidden" {
		t.Errorf("own file: %q", page)
	}
	for _, status := range []int{0, 503} {
		f.set(func(f *fakeHub) { f.status = status })
		for who, token := range map[string]string{"nobody": "", "bob": h.bob, "a stranger": "hf_theirs"} {
			for _, path := range []string{"", "/revision/main", "/tree/main", "/tree/main/x", "/paths-info/main", "/refs", "/commits/main", "/discussions",
				"/resolve/main/README.md", "/raw/main/README.md"} {
				ask := func(repo string) string {
					address := "/api/models/alice/" + repo + path
					if strings.HasSuffix(path, "README.md") {
						address = "/alice/" + repo + path
					}
					method, body := "GET", []byte(nil)
					if strings.HasPrefix(path, "/paths-info") {
						method, body = "POST", []byte(`{"paths":["README.md"]}`)
					}
					header := []string{"X-Request-Id", "same"}
					if token != "" {
						header = append(header, "Authorization", "Bearer "+token)
					}
					w := h.do("", method, address, body, header...)
					w.Header().Del("RateLimit")
					return fmt.Sprint(w.Code, w.Header(), strings.ReplaceAll(w.Body.String(), repo, "REPO"))
				}
				if private, absent := ask("secret"), ask("nothing"); private != absent {
					t.Errorf("%s, %q, upstream %d:\n%s\n%s", who, path, status, private, absent)
				}
			}
		}
	}
	f.set(func(f *fakeHub) { f.status = 0 })
	if _, err := h.s.db.AddUser(meta.User{Name: "u"}); err != nil {
		t.Fatal(err)
	}
	token, err := h.s.db.AddToken(meta.Token{User: "u", Kind: meta.TokenWrite})
	if err != nil {
		t.Fatal(err)
	}
	h.must(200, token, "POST", "/api/repos/create", []byte(`{"name":"open","private":true}`))
	if page := h.must(200, "", "GET", openSmall, nil); page != smallText {
		t.Errorf("behind a private repo of the same name: %q", page)
	}
	if w := h.do(token, "GET", openSmall, nil); w.Code != 404 || w.Header().Get("X-Error-Code") != "EntryNotFound" {
		t.Errorf("the owner of the private repo: %d %s", w.Code, w.Body)
	}
}

func TestMirrorAddress(t *testing.T) {
	for _, address := range []string{"hub.example.org", "ftp://hub.example.org", "http://", "://"} {
		dir := t.TempDir()
		if s, err := New(Config{Dir: dir, Upstream: address}); err == nil {
			s.Close()
			t.Errorf("%q is taken", address)
		}
		if _, err := os.Stat(filepath.Join(dir, "mirror")); err == nil {
			t.Errorf("%q: a folder was made", address)
		}
	}
}
