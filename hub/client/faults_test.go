package client

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
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

// roundTrip answers requests without a network.

// TestHostileHeaders: commit and ETag of an answer become names of files.

// TestRangeThatIsCut: a piece of a file is asked for again, also from a server that
// sends the whole file.
func TestRangeThatIsCut(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		h := newFake(t)
		text := random(5, 9000)
		h.put("models/acme/m", map[string]string{"x.bin": text})
		entries, err := h.client(nil).Tree(t.Context(), repoM, "main", "", true)
		must(t, err)
		var n atomic.Int64
		h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
			if !ranges {
				r.Header.Del("Range")
			}
			if n.Add(1) < 4 {
				return &cutter{w, int(n.Load()) * 10}, false
			}
			return w, false
		}
		got, err := h.client(nil).ReadRange(t.Context(), repoM, "main", entries[0], 1000, 5000)
		if err != nil || string(got) != text[1000:5000] || n.Load() != 4 {
			t.Errorf("ranges %t: %d bytes after %d requests, %v", ranges, len(got), n.Load(), err)
		}
		h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) { return &cutter{w, 5}, false }
		if _, err := h.client(nil).ReadRange(t.Context(), repoM, "main", entries[0], 1000, 5000); err == nil {
			t.Error("cut for ever, and no error")
		}
	}
}
