package client

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestResumesAfterKill(t *testing.T) {
	if addr := os.Getenv("MES_TEST_DOWNLOAD"); addr != "" {
		c, err := New(Config{Endpoint: addr, Cache: os.Getenv("MES_TEST_CACHE"), Connections: 3})
		must(t, err)
		c.chunk = 16 << 10
		_, err = c.Download(t.Context(), repoM, "main", "x.bin")
		t.Fatalf("should have been killed: %v", err)
	}
	h := newFake(t)
	text := random(9, 400_000)
	h.put("models/acme/m", map[string]string{"x.bin": text})
	var served atomic.Int64
	killed := make(chan struct{})
	h.mu.Lock() // the first request comes from another process, which orders nothing
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		if !isGet("/resolve/")(r) {
			return w, false
		}
		switch n := served.Add(1); {
		case n > 12: // the other process comes no further before it is killed
			<-killed
		case n > 6: // it notes what it has
			time.Sleep(saveInterval)
		}
		return w, false
	}
	h.mu.Unlock()
	c := h.client(nil)
	c.chunk = 16 << 10
	other := exec.Command(os.Args[0], "-test.run=^TestResumesAfterKill$")
	other.Env = append(os.Environ(), "MES_TEST_DOWNLOAD="+h.srv.URL, "MES_TEST_CACHE="+c.cache)
	must(t, other.Start())
	side := filepath.Join(c.cache, "models--acme--m", "blobs", fakeFile{[]byte(text), true}.hash()+".incomplete.json")
	done := func() (sum int64, whole int) { // bytes, and chunks of which nothing lacks
		var s sidecar
		data, _ := os.ReadFile(side)
		_ = json.Unmarshal(data, &s)
		for _, n := range s.Have {
			sum += n
			if n == s.Chunk {
				whole++
			}
		}
		return sum, whole
	}
	had, whole := done()
	for until := time.Now().Add(5 * time.Minute); had < 100_000 && time.Now().Before(until); had, whole = done() {
		time.Sleep(20 * time.Millisecond)
	}
	must(t, other.Process.Kill())
	_ = other.Wait()
	close(killed)
	if had < 100_000 {
		t.Fatalf("the other process noted %d bytes", had)
	}
	h.forget()
	var fetched int64
	file, err := c.DownloadProgress(t.Context(), repoM, "main", "x.bin", func(p Progress) {
		if fetched == 0 {
			fetched = p.Size - p.Done
		}
	})
	must(t, err)
	if got, _ := os.ReadFile(file); string(got) != text {
		t.Error("what arrived differs")
	}
	if want := int64(len(text)) - had; fetched > want {
		t.Errorf("%d bytes fetched, want at most %d", fetched, want)
	}
	if n := h.count("GET", "/resolve/"); n > 25-whole {
		t.Errorf("%d requests after the kill", n)
	}
}

func TestResumesWhatOthersBegan(t *testing.T) {
	for _, tc := range []struct {
		name   string
		begun  func(string) string
		ranges bool
	}{
		{"half", func(s string) string { return s[:len(s)/2] }, true},
		{"all", func(s string) string { return s }, false},
		{"too much", func(s string) string { return s + "x" }, false},
		{"other bytes", func(s string) string { return strings.Repeat("z", 1000) }, true},
	} {
		h := newFake(t)
		text := random(4, 5000)
		h.put("models/acme/m", map[string]string{"x.bin": text})
		c := h.client(nil)
		hash := fakeFile{[]byte(text), true}.hash()
		part := filepath.Join(c.cache, "models--acme--m", "blobs", hash+".incomplete")
		must(t, os.MkdirAll(filepath.Dir(part), 0o777), os.WriteFile(part, []byte(tc.begun(text)), 0o666))
		ranged := false
		h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
			ranged = ranged || r.Header.Get("Range") != ""
			return w, false
		}
		file, err := c.Download(t.Context(), repoM, "main", "x.bin")
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if got, _ := os.ReadFile(file); string(got) != text || ranged != tc.ranges {
			t.Errorf("%s: right %t, ranges %t", tc.name, string(got) == text, ranged)
		}
	}
}

func TestBadNotesAreIgnored(t *testing.T) {
	etag := strings.Repeat("a", 64)
	good := sidecar{Version: 1, ETag: etag, Size: 100_000, Chunk: 50_000, Have: []int64{10, 20}}
	if p := readParts(mustJSON(t, good), etag, 100_000, 4096, 60_000); p.done() != 30 || p.prefix() != 10 {
		t.Errorf("good notes: %d, %d", p.done(), p.prefix())
	}
	for name, change := range map[string]func(*sidecar){
		"version":   func(s *sidecar) { s.Version = 2 },
		"etag":      func(s *sidecar) { s.ETag = "b" },
		"size":      func(s *sidecar) { s.Size++ },
		"chunk":     func(s *sidecar) { s.Chunk = 0 },
		"count":     func(s *sidecar) { s.Have = s.Have[:1] },
		"negative":  func(s *sidecar) { s.Have[0] = -1 },
		"too much":  func(s *sidecar) { s.Have[0] = 50_001 },
		"not there": func(s *sidecar) { s.Have[1] = 10_001 },
	} {
		s := good
		s.Have = []int64{10, 20}
		change(&s)
		if p := readParts(mustJSON(t, s), etag, 100_000, 4096, 60_000); p.done() != 0 {
			t.Errorf("%s: %d bytes are believed", name, p.done())
		}
	}
}

func TestTwoDownloadsShareOneTransfer(t *testing.T) {
	h := newFake(t)
	text := random(5, 100_000)
	h.put("models/acme/m", map[string]string{"x.bin": text})
	c := h.client(nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			file, err := c.Download(t.Context(), repoM, "main", "x.bin")
			if err != nil {
				t.Error(err)
			} else if got, _ := os.ReadFile(file); string(got) != text {
				t.Error("what arrived differs")
			}
		})
	}
	wg.Wait()
	if n := h.count("GET", "/resolve/"); n != 1 {
		t.Errorf("%d transfers", n)
	}
}
