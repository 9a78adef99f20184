package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub/server"
)

func TestResolve(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.sendLFS("alice/m", "large content")
	long := strings.Repeat("a line of text\n", 40_000) // kept in git, streamed
	id := h.commit("alice/m", file("page.html", "<script>alert(1)</script>"), file("empty", ""), file("long.txt", long), lfsFile("w.bin", "large content"))
	blob := "d95f3ad14dee633a758d2e331151e950dd13e4ed" // of git hash-object for "content\n"
	h.commit("alice/m", file("known", "content\n"))
	cases := []struct {
		name, path string
		header     []string
		status     int
		body       string
		want       map[string]string
	}{
		{"regular file", "main/known", nil, 200, "content\n", map[string]string{"ETag": `"` + blob + `"`, "Content-Length": "8", "Accept-Ranges": "bytes", "X-Linked-Etag": ""}},
		{"large file", "main/w.bin", nil, 200, "large content", map[string]string{"ETag": `"` + sha("large content") + `"`, "X-Linked-Size": "13", "X-Linked-Etag": `"` + sha("large content") + `"`}},
		{"by id", id + "/w.bin", nil, 200, "large content", map[string]string{"X-Repo-Commit": id}},
		{"by short id", id[:8] + "/w.bin", nil, 200, "large content", map[string]string{"X-Repo-Commit": id}},
		{"raw branch name", "refs/heads/main/w.bin", nil, 200, "large content", nil},
		{"encoded branch name", "refs%2Fheads%2Fmain/w.bin", nil, 200, "large content", nil},
		{"harmless in a browser", "main/page.html", nil, 200, "<script>alert(1)</script>", map[string]string{"Content-Type": "application/octet-stream",
			"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}},
		{"empty file", "main/empty", nil, 200, "", map[string]string{"Content-Length": "0"}},
		{"range", "main/w.bin", []string{"Range", "bytes=6-8"}, 206, "con", map[string]string{"Content-Range": "bytes 6-8/13"}},
		{"open range", "main/w.bin", []string{"Range", "bytes=6-"}, 206, "content", map[string]string{"Content-Range": "bytes 6-12/13"}},
		{"last bytes", "main/w.bin", []string{"Range", "bytes=-3"}, 206, "ent", nil},
		{"range to beyond the end", "main/w.bin", []string{"Range", "bytes=6-99999999999999999999"}, 206, "content", nil},
		{"range in a stream", "main/long.txt", []string{"Range", "bytes=300002-300007"}, 206, "line o", nil},
		{"several ranges", "main/w.bin", []string{"Range", "bytes=0-1,3-4"}, 200, "large content", nil},
		{"another unit", "main/w.bin", []string{"Range", "lines=0-1"}, 200, "large content", nil},
		{"backward range", "main/w.bin", []string{"Range", "bytes=5-2"}, 200, "large content", nil},
		{"range after the end", "main/w.bin", []string{"Range", "bytes=13-"}, 416, "", map[string]string{"Content-Range": "bytes */13", "X-Error-Code": "RangeNotSatisfiable"}},
		{"If-Range of this file", "main/w.bin", []string{"Range", "bytes=6-", "If-Range", `"` + sha("large content") + `"`}, 206, "content", nil},
		{"If-Range of another", "main/w.bin", []string{"Range", "bytes=60-", "If-Range", `"other"`}, 200, "large content", nil},
		{"unchanged", "main/w.bin", []string{"If-None-Match", `"` + sha("large content") + `"`}, 304, "", nil},
		{"absent file", id + "/none", nil, 404, "", map[string]string{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": id}},
		{"absent revision", "none/w.bin", nil, 404, "", map[string]string{"X-Error-Code": "RevisionNotFound", "X-Repo-Commit": ""}},
		{"a folder", "main/", nil, 404, "", map[string]string{"X-Error-Code": "EntryNotFound"}},
		{"dot parts", "main/..%2f..%2fhub.db", nil, 400, "", nil},
		{"encoded dots", "main/%2e%2e/x", nil, 400, "", nil},
		{"twice encoded dots are a name", "main/%252e%252e", nil, 404, "", map[string]string{"X-Error-Code": "EntryNotFound"}},
		{"zero byte", "main/a%00b", nil, 400, "", nil},
		{"revision that leaves refs", "..%2f..%2fconfig/w.bin", nil, 400, "", nil},
		{"revision with odd characters", "a~1/w.bin", nil, 404, "", map[string]string{"X-Error-Code": "RevisionNotFound"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := &hub{t: t, url: h.url, tokens: h.tokens}
			r := h.want(c.status, "", "GET", "/alice/m/resolve/"+c.path, nil, c.header...)
			if c.status < 400 && r.body != c.body {
				t.Errorf("body %q, want %q", r.body, c.body)
			}
			head := h.want(c.status, "", "HEAD", "/alice/m/resolve/"+c.path, nil, c.header...)
			for name, value := range c.want {
				if got := r.header.Get(name); got != value {
					t.Errorf("%s: %q, want %q", name, got, value)
				}
				if got := head.header.Get(name); got != value {
					t.Errorf("%s of HEAD: %q, want %q", name, got, value)
				}
			}
			if !strings.HasPrefix(r.header.Get("Content-Disposition"), "attachment") && c.status == 200 {
				t.Error("a browser would show it")
			}
			if c.status >= 400 && r.header.Get("X-Error-Code") == "" {
				t.Error("no X-Error-Code")
			}
		})
	}
	if got := h.want(200, "", "GET", "/alice/m/resolve/main/long.txt", nil).body; got != long {
		t.Errorf("streamed file: %d bytes", len(got))
	}
}

func TestAddresses(t *testing.T) {
	h := newHub(t, func(c *server.Config) { c.PublicURL = "https://example.org/hub" })
	h.create("model", "m", false)
	for path, status := range map[string]int{
		"/hub/api/models/alice/m": 200, "/api/models/alice/m": 200, "/nothing": 404, "/api/models/alice//m": 400, "/api/models/a%2fb/m": 404,
		"/alice/m/resolve/main/../../x": 400, "/api/whoami-v2": 401,
	} {
		if r := h.send("", "GET", path, nil); r.status != status || status >= 400 && r.header.Get("X-Error-Code") == "" {
			t.Errorf("%s: %d with %q, want %d", path, r.status, r.header.Get("X-Error-Code"), status)
		}
	}
	h.want(405, "alice", "PATCH", "/api/models/alice/m", nil)
	h.want(415, "alice", "POST", "/api/models/alice/m/commit/main", ndjson(header("x")), "Content-Encoding", "gzip")
	var files []map[string]any
	for i := range 1200 {
		files = append(files, file(fmt.Sprintf("f%04d", i), ""))
	}
	h.commit("alice/m", files...)
	r := h.want(200, "", "GET", "/hub/api/models/alice/m/tree/main?recursive=true", nil)
	if link := r.header.Get("Link"); !strings.HasPrefix(link, "<https://example.org/hub/api/models/alice/m/tree/main?cursor=") || !strings.HasSuffix(link, `; rel="next"`) {
		t.Errorf("link %s", link)
	}
	h.want(200, "alice", "POST", "/api/repos/move", map[string]any{"fromRepo": "alice/m", "toRepo": "alice/n"})
	if at := h.want(307, "", "GET", "/hub/alice/m/resolve/main/a%20b?x=1", nil).header.Get("Location"); at != "/hub/alice/n/resolve/main/a%20b?x=1" {
		t.Errorf("redirect to %s", at)
	}
}

// TestPages walks through listings in pages of every length: nothing is left out
// and nothing comes twice.
func TestPages(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	paths := []string{"a", "a-b", "a.txt", "b/x", "b/y/z", "b-c", "b.d/e", "b0", "c/c/c/c", "c/c.c", "z"}
	var lines []map[string]any
	for _, path := range paths {
		lines = append(lines, file(path, path))
	}
	h.commit("alice/m", lines...)
	list := func(limit int) (names []string) {
		path := fmt.Sprintf("/api/models/alice/m/tree/main?recursive=true&limit=%d", limit)
		for path != "" {
			r := h.want(200, "", "GET", path, nil)
			var page []struct{ Path string }
			h.must(json.Unmarshal([]byte(r.body), &page))
			for _, e := range page {
				names = append(names, e.Path)
			}
			path, _, _ = strings.Cut(strings.TrimPrefix(r.header.Get("Link"), "<"), ">")
		}
		return names
	}
	want := list(1000)
	if len(want) != len(paths)+7 { // .gitattributes and six folders
		t.Fatalf("%d entries: %q", len(want), want)
	}
	for limit := 1; limit < len(want); limit++ {
		if got := list(limit); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("in pages of %d: %q, want %q", limit, got, want)
		}
	}
}

func TestQuota(t *testing.T) {
	h := newHub(t, func(c *server.Config) { c.Quota = 3 })
	for left := 2; left >= 0; left-- {
		if got := h.want(200, "", "GET", "/api/models", nil).header.Get("RateLimit"); !strings.HasPrefix(got, fmt.Sprintf(`"api";r=%d;t=`, left)) {
			t.Errorf("RateLimit %s, want %d left", got, left)
		}
	}
	r := h.want(429, "", "GET", "/api/models", nil)
	if r.header.Get("Retry-After") == "" || r.header.Get("RateLimit-Policy") != `"fixed window";"api";q=3;w=300` {
		t.Errorf("headers %v", r.header)
	}
	h.want(200, "alice", "GET", "/api/models", nil) // counts for alice, not for the address
}

func TestCrossOrigin(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.commit("alice/m", file("f", "x"))
	allowed := func(method, path string, more ...string) bool {
		r := h.send("", method, path, nil, append([]string{"Origin", "https://other.example"}, more...)...)
		return r.header.Get("Access-Control-Allow-Origin") == "*"
	}
	for _, path := range []string{"/api/models/alice/m", "/alice/m/resolve/main/f", "/alice/m/raw/main/f"} {
		if !allowed("GET", path) || !allowed("OPTIONS", path, "Access-Control-Request-Method", "GET") {
			t.Errorf("GET %s is not open to other sites", path)
		}
	}
	for _, c := range [][2]string{{"POST", "/api/repos/create"}, {"GET", "/alice/m/info/refs?service=git-upload-pack"}, {"PUT", "/_lfs/x/y"}} {
		if allowed(c[0], c[1]) || allowed("OPTIONS", c[1], "Access-Control-Request-Method", "POST") {
			t.Errorf("%s %s is open to other sites", c[0], c[1])
		}
	}
}

// TestTokensStaySecret looks for a token in the whole data folder.
func TestTokensStaySecret(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.commit("alice/m", file("f", "x"))
	out, err := exec.Command("grep", "-r", h.tokens["alice"][3:], h.dir).CombinedOutput()
	if err == nil || len(out) > 0 {
		t.Errorf("the token is stored: %s %v", out, err)
	}
}

// TestManyDownloads sends a large file to a hundred receivers at once, in flat memory.
func TestManyDownloads(t *testing.T) {
	if testing.Short() {
		t.Skip("sends gigabytes")
	}
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.sendLFS("alice/m", strings.Repeat("0123456789abcdef", 8<<20/16))
	h.commit("alice/m", lfsFile("w.bin", strings.Repeat("0123456789abcdef", 8<<20/16)), file("long.txt", strings.Repeat("0123456789abcde\n", 2<<20/16)))
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ready sync.WaitGroup
	for i := range 100 {
		ready.Add(1)
		go func() {
			path := [2]string{"w.bin", "long.txt"}[i%2]
			req, _ := http.NewRequestWithContext(ctx, "GET", h.url+"/alice/m/resolve/main/"+path, nil)
			resp, err := http.DefaultClient.Do(req)
			if err == nil {
				defer resp.Body.Close()
				_, err = resp.Body.Read(make([]byte, 1000))
			}
			ready.Done()
			<-ctx.Done() // the receiver is slow: the server waits in the middle of the file
			_ = err
		}()
	}
	ready.Wait()
	runtime.GC() // what is held counts, not what waits to be collected
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 60<<20 {
		t.Errorf("100 downloads hold %d MB", grown>>20)
	}
}

// BenchmarkList100k lists a repo of 100,000 files, on a server just started.
func BenchmarkList100k(b *testing.B) {
	h := newHub(b, nil)
	h.create("model", "m", false)
	for part := range 4 {
		lines := []map[string]any{}
		for i := range 25_000 {
			lines = append(lines, file(fmt.Sprintf("folder-%d/file-%06d.txt", part, i), fmt.Sprint(part, i)))
		}
		h.commit("alice/m", lines...)
	}
	web := h.url
	for b.Loop() {
		b.StopTimer()
		h.must(h.srv.Close())
		h.open(server.Config{Dir: h.dir})
		b.StartTimer()
		n := 0
		for path := "/api/models/alice/m/tree/main?recursive=true"; path != ""; {
			r := h.want(200, "", "GET", path, nil)
			n += strings.Count(r.body, `"type":"file"`)
			path, _, _ = strings.Cut(strings.TrimPrefix(r.header.Get("Link"), "<"), ">")
		}
		if n != 100_001 {
			b.Fatalf("%d files, want 100,001 (from %s)", n, web)
		}
	}
}
