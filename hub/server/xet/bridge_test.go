package xet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory is a store of large files in memory.
type memory struct {
	mu    sync.Mutex
	files map[string][]byte // by repo and sha256
	fault error
}

func (m *memory) Has(_ context.Context, repo, sum string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.files[repo+" "+sum]
	return ok, nil
}

func (m *memory) Put(_ context.Context, repo, sum string, size int64, src io.Reader) error {
	if m.fault != nil {
		return m.fault
	}
	content, err := io.ReadAll(src)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[repo+" "+sum] = content
	return nil
}

// newBridge is a bridge over an empty store.
func newBridge(t *testing.T, edit func(*Config)) (*Bridge, *memory) {
	t.Helper()
	objects := &memory{files: map[string][]byte{}}
	c := Config{Dir: t.TempDir(), Objects: objects}
	if edit != nil {
		edit(&c)
	}
	b, err := NewBridge(c)
	if err != nil {
		t.Fatal(err)
	}
	return b, objects
}

var alice = Grant{User: "alice", Repo: "models/alice/m", Ref: "main", Write: true}

// call sends a request with the access of g and returns status and body.
func call(t *testing.T, b *Bridge, g Grant, method, path string, body io.Reader) (int, string) {
	t.Helper()
	a, err := b.Issue(g)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(method, "/"+a.Path+path, body)
	r.Header.Set("Authorization", "Bearer "+a.Token)
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// TestBridgeTakesCapture replays what hf_xet sent, each call with a token of its
// own, as after a refresh.
func TestBridgeTakesCapture(t *testing.T) {
	b, objects := newBridge(t, nil)
	h, xorb := capturedXorb(t)
	shard := readFile(t, "testdata/small/files.shard")
	path := "/v1/xorbs/default/" + h.String()
	for _, step := range []struct {
		method, path string
		body         []byte
		status       int
		want         string
	}{
		{"GET", "/v1/chunks/default/" + h.String(), nil, 404, "not found"},
		{"POST", "/v1/xorb-grants/default/" + h.String(), nil, 404, "not found"},
		{"HEAD", path, nil, 404, ""},
		{"POST", "/v1/shards", shard, 400, "not uploaded"},
		{"POST", path, xorb, 200, `"was_inserted":true`},
		{"POST", path, xorb, 200, `"was_inserted":false`},
		{"HEAD", path, nil, 200, ""},
		{"POST", "/v1/shards", shard, 200, `"result":1`},
		{"POST", "/v1/shards", shard, 200, `"result":1`},
		{"POST", "/v2/shards", shard, 200, `"type":"result"`},
		{"POST", "/v1/telemetry", []byte("{}"), 200, ""},
	} {
		status, body := call(t, b, alice, step.method, step.path, bytes.NewReader(step.body))
		if status != step.status || !strings.Contains(body, step.want) {
			t.Fatalf("%s %s: %d %s, want %d %s", step.method, step.path, status, body, step.status, step.want)
		}
	}
	if len(objects.files) != 6 {
		t.Errorf("%d files stored, want 6", len(objects.files))
	}
	for name, content := range objects.files {
		sum := sha256.Sum256(content)
		if name != alice.Repo+" "+hex.EncodeToString(sum[:]) {
			t.Errorf("%s holds %x", name, sum)
		}
	}
}

// TestBridgeScopes keeps the xorbs of one user, repo and ref from any other.
func TestBridgeScopes(t *testing.T) {
	b, _ := newBridge(t, nil)
	xorbs, f, _ := twoXorbs()
	for h, content := range xorbs {
		if status, body := call(t, b, alice, "POST", "/v1/xorbs/default/"+h.String(), bytes.NewReader(content)); status != 200 {
			t.Fatal(status, body)
		}
	}
	for name, g := range map[string]Grant{
		"another user": {User: "bob", Repo: alice.Repo, Ref: alice.Ref, Write: true},
		"another repo": {User: alice.User, Repo: "models/alice/n", Ref: alice.Ref, Write: true},
		"another ref":  {User: alice.User, Repo: alice.Repo, Ref: "refs/pr/1", Write: true},
		"joined names": {User: "alicemodels", Repo: "/alice/m", Ref: alice.Ref, Write: true},
	} {
		if status, _ := call(t, b, g, "HEAD", "/v1/xorbs/default/"+f.Terms[0].Xorb.String(), nil); status != 404 {
			t.Errorf("%s: sees the xorb: %d", name, status)
		}
		status, body := call(t, b, g, "POST", "/v1/shards", bytes.NewReader(shardOf(f)))
		if status != 400 || !strings.Contains(body, "not uploaded") {
			t.Errorf("%s: makes a file of the xorbs: %d %s", name, status, body)
		}
	}
}

// TestBridgeKnownFile takes a shard without xorbs if the repo has the file.
func TestBridgeKnownFile(t *testing.T) {
	b, objects := newBridge(t, nil)
	_, f, content := twoXorbs()
	objects.files[alice.Repo+" "+f.SHA256.String()] = content
	if status, body := call(t, b, alice, "POST", "/v1/shards", bytes.NewReader(shardOf(f))); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func TestBridgeRefuses(t *testing.T) {
	xorbs, f, _ := twoXorbs()
	one := f.Terms[0].Xorb
	reader := alice
	reader.Write = false
	noSum, wrongSum := f, f
	noSum.SHA256 = Hash{}
	wrongSum.SHA256[0] ^= 1
	cases := []struct {
		name   string
		grant  Grant
		method string
		path   string
		body   []byte
		status int
		want   string
	}{
		{"xorb by a reader", reader, "POST", "/v1/xorbs/default/" + one.String(), xorbs[one], 403, "read"},
		{"shard by a reader", reader, "POST", "/v1/shards", shardOf(f), 403, "read"},
		{"look by a reader", reader, "HEAD", "/v1/xorbs/default/" + one.String(), nil, 403, ""},
		{"hash of a path", alice, "POST", "/v1/xorbs/default/..%2f..%2fx", xorbs[one], 400, "parse hash"},
		{"wrong hash", alice, "POST", "/v1/xorbs/default/" + Hash{1}.String(), xorbs[one], 400, "hash"},
		{"xorb cut", alice, "POST", "/v1/xorbs/default/" + one.String(), xorbs[one][:9], 400, "too early"},
		{"no shard", alice, "POST", "/v1/shards", []byte("{}"), 400, "too early"},
		{"file without sha256", alice, "POST", "/v1/shards", shardOf(noSum), 400, "sha256"},
		{"file with wrong sha256", alice, "POST", "/v1/shards", shardOf(wrongSum), 400, "sha256"},
		{"download", alice, "GET", "/v1/reconstructions/" + f.Hash.String(), nil, 404, "not found"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b, objects := newBridge(t, nil)
			for h, content := range xorbs {
				if strings.HasPrefix(c.path, "/v1/xorbs") {
					continue
				}
				if _, err := b.store.Put(alice.scope(), h, bytes.NewReader(content)); err != nil {
					t.Fatal(err)
				}
			}
			status, body := call(t, b, c.grant, c.method, c.path, bytes.NewReader(c.body))
			if status != c.status || !strings.Contains(body, c.want) {
				t.Errorf("%d %s, want %d %s", status, body, c.status, c.want)
			}
			if len(objects.files) > 0 {
				t.Error("a file was stored")
			}
		})
	}
}

// TestBridgeLimits holds the sizes that are refused before anything is read, and a
// file that would grow beyond the limit.
func TestBridgeLimits(t *testing.T) {
	b, _ := newBridge(t, func(c *Config) { c.MaxFile = 31 })
	_, f, content := twoXorbs()
	status, body := call(t, b, alice, "POST", "/v1/shards", bytes.NewReader(shardOf(f)))
	if status != 413 || len(content) != 32 {
		t.Errorf("file: %d %s", status, body)
	}
	for path, limit := range map[string]int64{"/v1/shards": MaxShard, "/v1/xorbs/default/" + f.Terms[0].Xorb.String(): MaxXorbBody} {
		a, err := b.Issue(alice)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", "/"+a.Path+path, &endless{piece: make([]byte, 1)})
		r.ContentLength = limit + 1
		r.Header.Set("Authorization", "Bearer "+a.Token)
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		if w.Code != 413 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	// without a length, a footer without end
	h := hashOf([]byte("x"))
	endlessFooter := io.MultiReader(bytes.NewReader(plain([]byte("x"))), &endless{piece: footerMagic})
	if status, body := call(t, b, alice, "POST", "/v1/xorbs/default/"+h.String(), endlessFooter); status != 413 {
		t.Errorf("endless footer: %d %s", status, body)
	}
}

// TestBridgeEncoding refuses a compressed body, which could be a bomb.
func TestBridgeEncoding(t *testing.T) {
	b, _ := newBridge(t, nil)
	r := httptest.NewRequest("POST", "/s/v1/shards", nil)
	r.Header.Set("Content-Encoding", "gzip")
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("status %d", w.Code)
	}
}

// TestBridgeStoreFault answers a fault of the store without telling what it was.
func TestBridgeStoreFault(t *testing.T) {
	b, objects := newBridge(t, nil)
	xorbs, f, _ := twoXorbs()
	for h, content := range xorbs {
		if _, err := b.store.Put(alice.scope(), h, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	objects.fault = errors.New("secret disk is full")
	status, body := call(t, b, alice, "POST", "/v1/shards", bytes.NewReader(shardOf(f)))
	if status != 500 || strings.Contains(body, "secret") {
		t.Errorf("%d %s", status, body)
	}
	objects.fault = nil
	if status, body := call(t, b, alice, "POST", "/v1/shards", bytes.NewReader(shardOf(f))); status != 200 {
		t.Errorf("again: %d %s", status, body)
	}
}

// TestBridgeStream reads what the second version of the shard call tells: progress
// first, and at the end how it went.
func TestBridgeStream(t *testing.T) {
	xorbs, f, _ := twoXorbs()
	wrong := f
	wrong.SHA256[0] ^= 1
	for _, c := range []struct {
		name  string
		shard []byte
		fault error
		last  string
	}{
		{"good", shardOf(f), nil, `{"result":1,"type":"result"}`},
		{"wrong sha256", shardOf(wrong), nil, `"retryable":false,"type":"error"`},
		{"fault of the store", shardOf(f), errors.New("secret disk is full"), `"retryable":true,"type":"error"`},
	} {
		b, objects := newBridge(t, nil)
		objects.fault = c.fault
		for h, xorb := range xorbs {
			if _, err := b.store.Put(alice.scope(), h, bytes.NewReader(xorb)); err != nil {
				t.Fatal(err)
			}
		}
		status, body := call(t, b, alice, "POST", "/v2/shards", bytes.NewReader(c.shard))
		lines := strings.Split(strings.TrimSpace(body), "\n")
		if status != 200 || !strings.Contains(lines[0], `"type":"validating"`) || !strings.Contains(lines[len(lines)-1], c.last) {
			t.Errorf("%s: %d %s", c.name, status, body)
		}
		if strings.Contains(body, "secret") || (len(objects.files) == 1) != (c.name == "good") {
			t.Errorf("%s: %s, %d files", c.name, body, len(objects.files))
		}
	}
	b, _ := newBridge(t, nil)
	if status, _ := call(t, b, alice, "POST", "/v2/shards", strings.NewReader("no shard")); status != 400 {
		t.Errorf("no shard: %d", status)
	}
}

// TestBridgeSweep ends an abandoned upload.
func TestBridgeSweep(t *testing.T) {
	b, _ := newBridge(t, nil)
	h := hashOf([]byte("x"))
	if _, err := b.store.Put(alice.scope(), h, bytes.NewReader(plain([]byte("x")))); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{47 * time.Hour, 200}, {49 * time.Hour, 404}} {
		if err := b.Sweep(time.Now().Add(step.after)); err != nil {
			t.Fatal(err)
		}
		if status, _ := call(t, b, alice, "HEAD", "/v1/xorbs/default/"+h.String(), nil); status != step.want {
			t.Errorf("after %v: %d, want %d", step.after, status, step.want)
		}
	}
}

func TestTokens(t *testing.T) {
	key := []byte("key")
	now := time.Unix(1000, 0)
	good, err := sign(key, claims{alice, 1001})
	if err != nil {
		t.Fatal(err)
	}
	if g, err := verify(key, good, now); err != nil || g != alice {
		t.Errorf("good token: %+v, %v", g, err)
	}
	text, signature, _ := strings.Cut(good, ".")
	other, err := sign(key, claims{Grant{User: "bob"}, 1001})
	if err != nil {
		t.Fatal(err)
	}
	otherText, _, _ := strings.Cut(other, ".")
	for name, token := range map[string]string{
		"empty":              "",
		"no signature":       text,
		"empty signature":    text + ".",
		"another signature":  text + "." + signature[1:] + "A",
		"another's claims":   otherText + "." + signature,
		"not base64":         "!." + signature,
		"signature and more": good + ".",
	} {
		if g, err := verify(key, token, now); !errors.Is(err, errToken) {
			t.Errorf("%s: %+v, %v", name, g, err)
		}
	}
	if _, err := verify([]byte("other"), good, now); !errors.Is(err, errToken) {
		t.Errorf("another key: %v", err)
	}
	if _, err := verify(key, good, time.Unix(1001, 0)); !errors.Is(err, errToken) {
		t.Errorf("too old: %v", err)
	}
}
