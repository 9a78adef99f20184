package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// times answers the first n requests that match with f, and lets others pass.
func times(n int, match func(*http.Request) bool, f func(http.ResponseWriter, *http.Request)) func(http.ResponseWriter, *http.Request) (http.ResponseWriter, bool) {
	var left atomic.Int64
	left.Store(int64(n))
	return func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		if !match(r) || left.Add(-1) < 0 {
			return w, false
		}
		f(w, r)
		return w, true
	}
}

func isGet(part string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == http.MethodGet && strings.Contains(r.URL.Path, part) }
}

// cutter ends a connection after n bytes of an answer.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	if len(p) > c.left {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

// changer alters the bytes of an answer.
type changer struct {
	http.ResponseWriter
	change func([]byte)
}

func (c *changer) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	c.change(p)
	return c.ResponseWriter.Write(p)
}

// headerChanger alters headers before they are sent.
type headerChanger struct {
	http.ResponseWriter
	change func(http.Header)
}

func (c *headerChanger) WriteHeader(status int) {
	c.change(c.Header())
	c.ResponseWriter.WriteHeader(status)
}

// logged collects what a client logs.
func logged(cfg *Config) *bytes.Buffer {
	var mu sync.Mutex
	b := &bytes.Buffer{}
	cfg.Logger = slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return b.Write(p)
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	return b
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// fetchBig downloads the file x.bin, of 64 chunks, through faults, and returns the
// client and what went wrong. What arrives must be right.
func fetchBig(t *testing.T, h *fakeHub, size int) (*Client, error) {
	t.Helper()
	text := random(7, size)
	h.put("models/acme/m", map[string]string{"x.bin": text})
	c := h.client(nil)
	c.chunk = 16 << 10
	file, err := c.Download(t.Context(), repoM, "main", "x.bin")
	if err != nil {
		return c, err
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != text {
		t.Fatalf("what arrived differs: %d bytes, %v", len(got), err)
	}
	left, _ := filepath.Glob(filepath.Join(c.cache, "models--acme--m", "blobs", "*.incomplete*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return c, nil
}

func TestCutsAreResumed(t *testing.T) {
	h := newFake(t)
	var n, sent atomic.Int64
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		if !isGet("/resolve/")(r) {
			return w, false
		}
		sent.Add(1)
		return &cutter{w, int(1000 + 3000*(n.Add(1)%4))}, false
	}
	if _, err := fetchBig(t, h, 200_000); err != nil {
		t.Fatal(err)
	}
	if sent.Load() < 20 {
		t.Errorf("%d requests, so nothing was cut", sent.Load())
	}
}

func TestCutsEverySmallFile(t *testing.T) {
	for at := range 12 {
		h := newFake(t)
		h.put("models/acme/m", map[string]string{"a.txt": "hello, hub!"})
		var n atomic.Int64
		h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
			if isGet("/resolve/")(r) && n.Add(1) == 1 {
				return &cutter{w, at}, false
			}
			return w, false
		}
		c := h.client(nil)
		file, err := c.Download(t.Context(), repoM, "main", "a.txt")
		if err != nil {
			t.Fatalf("cut at %d: %v", at, err)
		}
		if got, _ := os.ReadFile(file); string(got) != "hello, hub!" {
			t.Errorf("cut at %d: %q", at, got)
		}
	}
}

func TestServerWithoutRanges(t *testing.T) {
	h := newFake(t)
	var n atomic.Int64
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		r.Header.Del("Range")
		if isGet("/resolve/")(r) && n.Add(1) > 6 && n.Load() < 9 {
			return &cutter{w, 90_000}, false
		}
		return w, false
	}
	if _, err := fetchBig(t, h, 200_000); err != nil {
		t.Fatal(err)
	}
}

func TestRangeRefused(t *testing.T) {
	h := newFake(t)
	text := "hello, hub!"
	h.put("models/acme/m", map[string]string{"a.txt": text})
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		if r.Header.Get("Range") == "" {
			return w, false
		}
		w.Header().Set("Content-Range", "bytes */11")
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return w, true
	}
	c := h.client(nil)
	blob := filepath.Join(c.cache, "models--acme--m", "blobs", gitID([]byte(text))+".incomplete")
	must(t, os.MkdirAll(filepath.Dir(blob), 0o777), os.WriteFile(blob, []byte("hell"), 0o666))
	file, err := c.Download(t.Context(), repoM, "main", "a.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(file); string(got) != text {
		t.Errorf("%q", got)
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := first(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestDamageIsSetAsideAndFetchedAgain(t *testing.T) {
	damage := func(n int) func(http.ResponseWriter, *http.Request) (http.ResponseWriter, bool) {
		var seen atomic.Int64
		return func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
			if isGet("/resolve/")(r) && seen.Add(1) <= int64(n) {
				return &changer{w, func(p []byte) { p[len(p)/2] ^= 1 }}, false
			}
			return w, false
		}
	}
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a.txt": "hello, hub!"})
	h.fault = damage(1)
	c := h.client(nil)
	if _, err := c.Download(t.Context(), repoM, "main", "a.txt"); err != nil {
		t.Fatal(err)
	}
	aside, _ := filepath.Glob(filepath.Join(c.cache, "models--acme--m", "blobs", "*.corrupt.incomplete"))
	if len(aside) != 1 {
		t.Errorf("set aside: %v", aside)
	}

	h.fault = damage(1000)
	c = h.client(nil)
	_, err := c.Download(t.Context(), repoM, "main", "a.txt")
	var bad *MismatchError
	if !errors.As(err, &bad) || bad.What != "git blob id" {
		t.Fatalf("%v", err)
	}
	if n := h.count("GET", "/resolve/"); n != 2+2 {
		t.Errorf("%d downloads, want 2 for each client", n)
	}
	if got, _ := filepath.Glob(filepath.Join(c.cache, "models--acme--m", "snapshots", "*", "a.txt")); len(got) > 0 {
		t.Errorf("a damaged file got its name: %v", got)
	}
}

func TestWrongAnswers(t *testing.T) {
	set := func(key, value string) func(http.Header) { return func(h http.Header) { h.Set(key, value) } }
	cases := []struct {
		name   string
		change func(http.Header)
		want   string
	}{
		{"ETag of another file", set("ETag", `"`+strings.Repeat("ab", 20)+`"`), "ETag"},
		{"length too short", set("Content-Length", "5"), "length"},
		{"range of another place", func(h http.Header) {
			h.Set("Content-Range", "bytes 4-10/11")
		}, ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			h := newFake(t)
			h.put("models/acme/m", map[string]string{"a.txt": "hello, hub!"})
			h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
				if isGet("/resolve/")(r) {
					return &headerChanger{w, tc.change}, false
				}
				return w, false
			}
			c := h.client(nil)
			file, err := c.Download(t.Context(), repoM, "main", "a.txt")
			if tc.want == "" {
				if got, _ := os.ReadFile(file); err != nil || string(got) != "hello, hub!" {
					t.Errorf("%v", err) // a full answer has no range to look at
				}
				return
			}
			var bad *MismatchError
			if !errors.As(err, &bad) || bad.What != tc.want {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestBusyServer(t *testing.T) {
	for _, status := range []int{408, 429, 500, 502, 503, 504} {
		h := newFake(t)
		h.put("models/acme/m", map[string]string{"a.txt": "x"})
		h.fault = times(3, func(*http.Request) bool { return true }, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		c := h.client(nil)
		if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{}); err != nil {
			t.Errorf("%d three times: %v", status, err)
		}
		h.fault = times(1000, func(*http.Request) bool { return true }, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		h.forget()
		var answer *Error
		if _, err := h.client(nil).Whoami(t.Context()); !errors.As(err, &answer) || answer.Status != status {
			t.Errorf("%d for ever: %v", status, err)
		}
		if n := h.count("GET", ""); n != 1+maxRetries {
			t.Errorf("%d for ever: %d attempts", status, n)
		}
	}
}

func TestWaitsAsTheServerAsks(t *testing.T) {
	cases := []struct {
		name, key, value string
		least, most      time.Duration
	}{
		{"seconds", "Retry-After", "7", 7 * time.Second, 9 * time.Second},
		{"date", "Retry-After", time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat), 25 * time.Second, 33 * time.Second},
		{"rate limit", "RateLimit", `"api";r=0;t=55`, 55 * time.Second, 57 * time.Second},
		{"rate limit with rest", "RateLimit", `"api";r=3;t=55`, 0, 2 * time.Second},
		{"neither", "X-Other", "1", time.Second / 2, time.Second},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			h := newFake(t)
			h.fault = times(1, func(*http.Request) bool { return true }, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set(tc.key, tc.value)
				w.WriteHeader(http.StatusTooManyRequests)
			})
			c := h.client(nil)
			var waited time.Duration
			c.sleep = func(_ context.Context, d time.Duration) error { waited = d; return nil }
			if _, err := c.Whoami(t.Context()); err != nil {
				t.Fatal(err)
			}
			if waited < tc.least || waited > tc.most {
				t.Errorf("waited %v, want %v to %v", waited, tc.least, tc.most)
			}
		})
	}
	h := newFake(t)
	h.fault = times(9, func(*http.Request) bool { return true }, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "86400")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	if _, err := h.client(nil).Whoami(t.Context()); err == nil || !strings.Contains(err.Error(), "24h0m") || h.count("GET", "") != 1 {
		t.Errorf("a day is waited for: %v", err)
	}
}

func TestStalledTransfer(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a.txt": "hello, hub!"})
	h.fault = times(1, isGet("/resolve/"), func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "11")
		_, _ = io.WriteString(w, "hell")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := h.client(func(cfg *Config) { cfg.IdleTimeout = 50 * time.Millisecond })
	file, err := c.Download(t.Context(), repoM, "main", "a.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(file); string(got) != "hello, hub!" {
		t.Errorf("%q", got)
	}
}

func TestRedirects(t *testing.T) {
	var stolen atomic.Value
	stolen.Store("")
	text := random(3, 100_000)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get("Authorization") + r.Header.Get("Cookie"); a != "" {
			stolen.Store(a)
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	}))
	defer other.Close()
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"x.bin": text})
	h.cdn = other.URL
	c := h.client(nil)
	c.chunk = 16 << 10
	file, err := c.Download(t.Context(), repoM, "main", "x.bin")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(file); string(got) != text {
		t.Error("what arrived differs")
	}
	if stolen.Load() != "" {
		t.Errorf("the token went to another host: %v", stolen.Load())
	}
	if n := h.count("GET", "/resolve/"); n > c.connections {
		t.Errorf("the hub was asked %d times, not once for each connection", n)
	}
}

func TestExpiredAddressIsAskedForAgain(t *testing.T) {
	text := random(3, 100_000)
	var n atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%3 == 0 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	}))
	defer other.Close()
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"x.bin": text})
	h.cdn = other.URL
	c := h.client(func(cfg *Config) { cfg.Connections = 1 })
	c.chunk = 16 << 10
	if _, err := c.Download(t.Context(), repoM, "main", "x.bin"); err != nil {
		t.Fatal(err)
	}
	if h.count("GET", "/resolve/") < 2 {
		t.Error("the hub was not asked again")
	}
}

func TestRedirectsThatAreRefused(t *testing.T) {
	h := newFake(t)
	cases := []struct{ name, path, to, want string }{
		{"circle", "/api/whoami-v2", "/api/whoami-v2", "circle"},
		{"other scheme", "/api/whoami-v2", "ftp://example.org/", "neither http nor https"},
		{"file", "/api/whoami-v2", "file:///etc/passwd", "neither http nor https"},
		{"not an address", "/api/whoami-v2", "http://[::1", "cannot be read"},
	}
	for _, tc := range cases {
		h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
			w.Header().Set("Location", tc.to)
			w.WriteHeader(http.StatusFound)
			return w, true
		}
		h.forget()
		_, err := h.client(nil).Whoami(t.Context())
		if err == nil || !strings.Contains(err.Error(), tc.want) || len(h.calls) != 1 {
			t.Errorf("%s: %v after %d requests", tc.name, err, len(h.calls))
		}
	}
	var n atomic.Int64
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		w.Header().Set("Location", fmt.Sprintf("/api/whoami-v2?n=%d", n.Add(1)))
		w.WriteHeader(http.StatusFound)
		return w, true
	}
	if _, err := h.client(nil).Whoami(t.Context()); err == nil || !strings.Contains(err.Error(), "more than 10 redirects") {
		t.Errorf("endless: %v", err)
	}
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		w.Header().Set("Location", "/api/models/acme/n")
		w.WriteHeader(http.StatusFound)
		return w, true
	}
	if err := h.client(nil).Merge(t.Context(), repoM, 1, ""); err == nil || !strings.Contains(err.Error(), "would be lost") {
		t.Errorf("POST: %v", err)
	}
}

func TestNoWayFromHTTPSToHTTP(t *testing.T) {
	reached := false
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusFound)
	}))
	defer secure.Close()
	c, err := New(Config{Endpoint: secure.URL, Token: "hf_secretsecret", Transport: secure.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Whoami(t.Context()); err == nil || !strings.Contains(err.Error(), "not encrypted") || reached {
		t.Errorf("%v, reached %t", err, reached)
	}
}

// roundTrip answers requests without a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTokenStaysAtItsOrigin(t *testing.T) {
	for _, to := range []string{
		"https://cdn.hub.example/x",  // a subdomain, which net/http would give it to
		"https://hub.example:8443/x", // another port
		"https://example/x",          // the parent
		"https://hub.example.evil.example/x",
		"https://user:hf_secretsecret@evil.example/x",
	} {
		var got []string
		c, err := New(Config{Endpoint: "https://hub.example", Token: "hf_secretsecret", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			got = append(got, r.URL.Host+" "+r.Header.Get("Authorization"))
			resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"name":"a"}`)), Request: r}
			switch len(got) {
			case 1:
				resp.StatusCode = 307
				resp.Header.Set("Location", to)
			case 2: // and back: a host that sends us back does not get to use the token
				resp.StatusCode = 307
				resp.Header.Set("Location", "https://hub.example/api/whoami-v2?again")
			}
			return resp, nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Whoami(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(got) != 3 || got[0] != "hub.example Bearer hf_secretsecret" || !strings.HasSuffix(got[1], " ") || got[2] != "hub.example " {
			t.Errorf("%s: %q", to, got)
		}
	}
}

func TestAddressesOfThePublicHubBecomeOurs(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1", "b": "2", "c": "3"})
	h.pageSize = 1
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		return &headerChanger{w, func(head http.Header) {
			head.Set("Link", strings.Replace(head.Get("Link"), h.srv.URL, DefaultEndpoint, 1))
		}}, false
	}
	list, err := h.client(nil).Tree(t.Context(), repoM, "main", "", true)
	if err != nil || len(list) != 3 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestEndpointWithPath(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1"})
	c := h.client(func(cfg *Config) { cfg.Endpoint += "/hub/" })
	if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, call := range h.calls {
		if !strings.Contains(call, " /hub/") {
			t.Errorf("%s leaves the endpoint's path", call)
		}
	}
}

func TestHTMLInsteadOfJSON(t *testing.T) {
	h := newFake(t)
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>please log in to the proxy</html>")
		return w, true
	}
	_, err := h.client(nil).Whoami(t.Context())
	if err == nil || !strings.Contains(err.Error(), "text/html") || !strings.Contains(err.Error(), "proxy") {
		t.Error(err)
	}
	if _, err := h.client(nil).Download(t.Context(), repoM, "main", "a"); err == nil || !strings.Contains(err.Error(), "names no commit") {
		t.Error(err)
	}
}

func TestAnswerThatNeverEnds(t *testing.T) {
	h := newFake(t)
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, h.srv.URL+r.URL.RequestURI()))
		answer(w, []Entry{})
		return w, true
	}
	if _, err := h.client(nil).Tree(t.Context(), repoM, "main", "", true); err == nil || !strings.Contains(err.Error(), "circle") {
		t.Error(err)
	}
}

func TestErrorsOfTheServer(t *testing.T) {
	cases := []struct {
		status          int
		code, msg, body string
		kind            error
		text            string
	}{
		{404, "RepoNotFound", "Repository not found", "", ErrRepoNotFound, "Repository not found"},
		{401, "RepoNotFound", "", "", ErrRepoNotFound, "private"},
		{404, "RevisionNotFound", "", `{"error":"Invalid rev id: x"}`, ErrRevisionNotFound, "Invalid rev id: x"},
		{404, "EntryNotFound", "", "", ErrEntryNotFound, "file not found"},
		{403, "GatedRepo", "", "", ErrGated, "asked for"},
		{401, "", "Invalid credentials in Authorization header", "", ErrUnauthorized, "Invalid credentials"},
		{403, "", "Access to this resource is disabled.", "", ErrDisabled, "disabled"},
		{402, "", "", "", ErrPayment, "plan"},
		{403, "", "no write", "", ErrForbidden, "no write"},
		{400, "", "", `{"error":"bad","errors":[{"message":"line 3"}]}`, ErrBadRequest, "bad; line 3"},
		{409, "", "", "", ErrConflict, "exists"},
		{412, "", "", "", ErrBranchMoved, "moved"},
		{404, "", "", "<html>", nil, "is a page"},
		{404, "", "", "", nil, "Not Found"},
		{400, "", "", `{"error":"your token hf_abcdefgh12 is bad"}`, ErrBadRequest, "your token *** is bad"},
	}
	for _, tc := range cases {
		h := newFake(t)
		h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
			w.Header().Set("X-Request-Id", "id-1")
			if tc.msg != "" {
				w.Header().Set("X-Error-Message", tc.msg)
			}
			refuse(w, tc.status, tc.code, tc.body)
			return w, true
		}
		_, err := h.client(nil).Info(t.Context(), repoM, "v1")
		var e *Error
		if !errors.As(err, &e) || e.Kind != tc.kind || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%d %s: %v", tc.status, tc.code, err)
			continue
		}
		for _, want := range []string{"id-1", h.srv.URL + "/api/models/acme/m/revision/v1", strconv.Itoa(tc.status)} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %s", err, want)
			}
		}
		notFound := tc.kind == ErrRepoNotFound || tc.kind == ErrRevisionNotFound || tc.kind == ErrEntryNotFound
		if errors.Is(err, fs.ErrNotExist) != notFound {
			t.Errorf("%v: fs.ErrNotExist is %t", err, !notFound)
		}
	}
}

func TestTokensAreNeverShown(t *testing.T) {
	const token = "not-like-the-others-8472"
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"old": "1"})
	var log *bytes.Buffer
	c := h.client(func(cfg *Config) { cfg.Token = token; log = logged(cfg) })
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		if r.Method == http.MethodPut { // the signed address of an upload
			w.Header().Set("X-HF-Warning", "a; "+r.Header.Get("Authorization")+token)
			refuse(w, http.StatusInternalServerError, "", `{"error":"`+token+` hf_abcdefgh"}`)
			return w, true
		}
		return w, false
	}
	_, err := c.Upload(t.Context(), repoM, UploadOptions{Files: []File{{Path: "x.bin", Bytes: []byte("123")}}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, secret := range []string{token, "hf_abcdefgh", "hf_signaturesig", "sig="} {
		if strings.Contains(err.Error(), secret) || strings.Contains(log.String(), secret) {
			t.Errorf("%s is shown: %v\n%s", secret, err, log)
		}
	}
	if _, err := New(Config{Endpoint: "https://user:pw@hub.example"}); err == nil || strings.Contains(err.Error(), "pw") {
		t.Error(err)
	}
}

func TestHostileNames(t *testing.T) {
	names := []string{
		"../evil", "a/../../evil", "/etc/evil", `..\evil`, `a\b`, `C:\evil`, "D:x", `\\host\share`, "a\x00b", "a\nb", "", "a//b", "./a", "a/.", "a/..",
		".git/config", "a/.GIT/hooks/x", strings.Repeat("a", 300), "\xff\xfe", strings.Repeat("a/", 600) + "b",
	}
	for _, name := range names {
		h := newFake(t)
		h.put("models/acme/m", map[string]string{"a": "1"})
		h.fault = times(1, isGet("/tree/"), func(w http.ResponseWriter, _ *http.Request) {
			data, _ := json.Marshal([]Entry{{Type: "file", Path: name, OID: gitID(nil)}})
			if name == "\xff\xfe" {
				data = []byte(`[{"type":"file","oid":"` + gitID(nil) + `","path":"` + name + `","size":-1}]`)
			}
			_, _ = w.Write(data)
		})
		c := h.client(nil)
		dir := t.TempDir()
		if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: filepath.Join(dir, "in", "ner")}); err == nil {
			t.Errorf("%q was taken", name)
		}
		if _, err := os.Lstat(filepath.Join(dir, "in")); err == nil {
			t.Errorf("%q: something was written", name)
		}
		if _, err := c.Download(t.Context(), repoM, "main", name); err == nil {
			t.Errorf("%q was asked for", name)
		}
		if _, err := c.Upload(t.Context(), repoM, UploadOptions{Files: []File{{Path: name}}}); err == nil {
			t.Errorf("%q was uploaded", name)
		}
		if h.count("GET", "/resolve/")+h.count("HEAD", "")+h.count("POST", "") != 0 {
			t.Errorf("%q: %v", name, h.calls)
		}
	}
}

func TestHostileListings(t *testing.T) {
	id := gitID(nil)
	cases := map[string]string{
		"file and folder": `[{"type":"file","path":"a","oid":"` + id + `"},{"type":"file","path":"a/b","oid":"` + id + `"}]`,
		"twice":           `[{"type":"file","path":"a","oid":"` + id + `"},{"type":"file","path":"a","oid":"` + id + `"}]`,
		"negative size":   `[{"type":"file","path":"a","oid":"` + id + `","size":-1}]`,
		"hash as a path":  `[{"type":"file","path":"a","oid":"../../../x"}]`,
		"LFS as a path":   `[{"type":"file","path":"a","oid":"` + id + `","lfs":{"oid":"../x","size":0}}]`,
		"sizes differ":    `[{"type":"file","path":"a","oid":"` + id + `","size":1,"lfs":{"oid":"` + strings.Repeat("a", 64) + `","size":2}}]`,
		"own notes":       `[{"type":"file","path":".cache/huggingface/download/a.metadata","oid":"` + id + `"}]`,
	}
	for name, body := range cases {
		h := newFake(t)
		h.put("models/acme/m", map[string]string{"a": "1"})
		h.fault = times(1, isGet("/tree/"), func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		if _, err := h.client(nil).Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: t.TempDir()}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestHostileHeaders: commit and ETag of an answer become names of files.
func TestHostileHeaders(t *testing.T) {
	for _, tc := range []struct{ key, value string }{
		{"X-Repo-Commit", "../../../evil"}, {"X-Repo-Commit", ""}, {"X-Repo-Commit", strings.Repeat("A", 40)},
		{"ETag", `"../../evil"`}, {"ETag", `".."`}, {"ETag", `"a/b"`}, {"ETag", `"x.incomplete"`}, {"ETag", `"` + strings.Repeat("x", 500) + `"`}, {"ETag", ""},
	} {
		h := newFake(t)
		h.put("models/acme/m", map[string]string{"a": "1"})
		h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
			return &headerChanger{w, func(head http.Header) { head.Set(tc.key, tc.value) }}, false
		}
		base := t.TempDir()
		c := h.client(func(cfg *Config) { cfg.Cache = filepath.Join(base, "x", "y", "cache") })
		file, err := c.Download(t.Context(), repoM, "main", "a")
		if tc.key == "ETag" && tc.value != "" {
			if err != nil {
				t.Errorf("%s %s: %v", tc.key, tc.value, err) // an ETag that is no hash cannot be checked, and is kept under its own
			} else if to, _ := os.Readlink(file); filepath.Dir(to) != "../../blobs" || !isHash(filepath.Base(to), 64) {
				t.Errorf("%s: blob %s", tc.value, to)
			}
		} else if err == nil {
			t.Errorf("%s %s: no error", tc.key, tc.value)
		}
		_ = filepath.WalkDir(base, func(name string, d fs.DirEntry, _ error) error {
			if strings.Contains(d.Name(), "evil") || !d.IsDir() && !strings.HasPrefix(name, c.cache) {
				t.Errorf("%s %s: %s was written", tc.key, tc.value, name)
			}
			return nil
		})
	}
}
