package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMirrorReads goes through every read that is passed on: it reaches the other Hub
// as it came, with the token of the caller where one is needed, and is answered again
// when that Hub is gone, also by the commit that the answer named.
func TestMirrorReads(t *testing.T) {
	form := url.Values{"paths": {"small.txt", "large.bin"}, "expand": {"True"}}.Encode()
	cases := []struct{ name, method, path, kind, body, asked, posted, pinned string }{
		{"info", "GET", "/api/models/u/%s?expand=tags", "", "", "GET /api/models/u/%s?expand=tags", "", ""},
		{"revision", "GET", "/api/models/u/%s/revision/main", "", "", "GET /api/models/u/%s/revision/main", "", "/api/models/u/%s/revision/" + upstreamCommit},
		{"pull request", "GET", "/api/datasets/u/%s/revision/refs/pr/1", "", "", "GET /api/datasets/u/%s/revision/refs%%2Fpr%%2F1", "", ""},
		{"pull request, encoded", "GET", "/api/datasets/u/%s/revision/refs%%2Fpr%%2F1", "", "", "GET /api/datasets/u/%s/revision/refs%%2Fpr%%2F1", "", ""},
		{"refs", "GET", "/api/models/u/%s/refs?include_prs=1", "", "", "GET /api/models/u/%s/refs?include_prs=1", "", ""},
		{"commits", "GET", "/api/spaces/u/%s/commits/main?p=1", "", "", "GET /api/spaces/u/%s/commits/main?p=1", "", ""},
		{"paths of a form", "POST", "/api/models/u/%s/paths-info/main", "application/x-www-form-urlencoded", form,
			"POST /api/models/u/%s/paths-info/main", `{"expand":true,"paths":["small.txt","large.bin"]}`, "/api/models/u/%s/paths-info/" + upstreamCommit},
		{"paths in JSON", "POST", "/api/models/u/%s/paths-info/main", "application/json", `{"paths":["a ü"]}`,
			"POST /api/models/u/%s/paths-info/main", `{"expand":false,"paths":["a ü"]}`, ""},
	}
	f := newFakeHub(t)
	h := mirrorHub(t, f)
	send := func(method, path, kind, body string, header ...string) *httptest.ResponseRecorder {
		return h.do("", method, path, []byte(body), append([]string{"Content-Type", kind}, header...)...)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f.set(func(f *fakeHub) { f.status, f.tokens = 0, nil })
			want := fmt.Sprintf(`{"asked":%q,"posted":%q}`, fmt.Sprintf(c.asked, "open"), c.posted)
			open := fmt.Sprintf(c.path, "open")
			if w := send(c.method, open, c.kind, c.body, theirs...); w.Code != 200 || w.Body.String() != want || w.Header().Get("X-Total-Count") != "7" {
				t.Errorf("%d %v %s, want %s", w.Code, w.Header(), w.Body, want)
			}
			if sent := strings.Join(f.tokens, ""); sent != "" {
				t.Errorf("sent %q where no token was needed", sent)
			}
			closed := fmt.Sprintf(c.path, "closed")
			if w := send(c.method, closed, c.kind, c.body, theirs...); w.Code != 200 {
				t.Errorf("closed repo: %d", w.Code)
			}
			for who, header := range map[string][]string{"nobody": nil, "ours": {"Authorization", "Bearer " + h.alice}} {
				if w := send(c.method, closed, c.kind, c.body, header...); w.Code != map[string]int{"nobody": 401, "ours": 404}[who] {
					t.Errorf("closed repo, %s: %d", who, w.Code)
				}
			}
			f.set(func(f *fakeHub) { f.status = 503 })
			again := []string{open}
			if c.pinned != "" {
				again = append(again, fmt.Sprintf(c.pinned, "open"))
			}
			for _, path := range again {
				if w := send(c.method, path, c.kind, c.body); w.Code != 200 || w.Body.String() != want {
					t.Errorf("%s, while it is gone: %d %s", path, w.Code, w.Body)
				}
			}
			if w := send(c.method, closed, c.kind, c.body, theirs...); w.Code != 502 {
				t.Errorf("closed repo, while it is gone: %d", w.Code)
			}
			if w := send(c.method, open+map[bool]string{true: "&", false: "?"}[strings.Contains(open, "?")]+"other=1", c.kind, c.body); w.Code != 502 {
				t.Errorf("never asked: %d", w.Code)
			}
		})
	}
}

// TestMirrorRaw passes on what git keeps of a file, under its own hash.
func TestMirrorRaw(t *testing.T) {
	f := newFakeHub(t)
	h := mirrorHub(t, f)
	for _, status := range []int{0, 503} {
		f.set(func(f *fakeHub) { f.status = status })
		for _, rev := range []string{"main", upstreamCommit} {
			path := "/u/open/raw/" + rev + "/large.bin"
			if w := h.do("", "GET", path, nil); w.Code != 200 || w.Body.String() != smallText || w.Header().Get("X-Linked-Etag") != "" {
				t.Errorf("%s: %d %q", path, w.Code, w.Body)
			}
			if w := h.do("", "GET", path, nil, "Range", "bytes=1-2"); w.Code != 206 || w.Body.String() != smallText[1:3] {
				t.Errorf("%s, range: %d %q", path, w.Code, w.Body)
			}
		}
	}
}

// TestMirrorCommit serves a file by the commit that its branch was at, when the other
// Hub is gone.
func TestMirrorCommit(t *testing.T) {
	f := newFakeHub(t)
	h := mirrorHub(t, f)
	h.must(200, "", "GET", openLarge, nil)
	f.set(func(f *fakeHub) { f.status = 503 })
	if got := h.must(200, "", "GET", "/u/open/resolve/"+upstreamCommit+"/large.bin", nil); got != largeText {
		t.Errorf("%q", got)
	}
}

// TestMirrorGated lets anybody see that a gated repo is there, and its files those
// alone whom the other Hub lets in, each time.
func TestMirrorGated(t *testing.T) {
	const file = "/u/gated/resolve/main/large.bin"
	f := newFakeHub(t)
	h := mirrorHub(t, f)
	h.must(200, "", "GET", "/api/models/u/gated", nil)
	if w := h.do("", "GET", file, nil, theirs...); w.Code != 200 || w.Body.String() != largeText {
		t.Fatalf("let in: %d %q", w.Code, w.Body)
	}
	refused := func(when string, status int, header ...string) {
		t.Helper()
		for _, method := range []string{"GET", "HEAD"} {
			w := h.do("", method, file, nil, header...)
			if w.Code != status || status < 500 && w.Header().Get("X-Error-Code") != "GatedRepo" || strings.Contains(w.Body.String(), largeText) {
				t.Errorf("%s, %s: %d %v", when, method, w.Code, w.Header())
			}
		}
	}
	refused("without a token", 401)
	refused("another token", 403, "Authorization", "Bearer hf_wrong")
	refused("one of ours", 401, "Authorization", "Bearer "+h.alice)
	f.set(func(f *fakeHub) { f.denied = true })
	refused("after the end of access", 403, theirs...)
	f.set(func(f *fakeHub) { f.denied, f.status = false, 503 })
	refused("while it is gone", 502, theirs...)
}

// numbered asks for one of many files of 1000 bytes.
func numbered(h *pageHub, i int) *httptest.ResponseRecorder {
	return h.do("", "GET", fmt.Sprintf("/u/open/resolve/main/numbered-%d", i), nil)
}

// TestMirrorMax keeps the cache below its limit and what was used last, also over a
// restart, and passes on what is larger than all of it.
func TestMirrorMax(t *testing.T) {
	const entry = 1000 + 2*210 // a file, and its description by branch and by commit
	f := newFakeHub(t)
	dir := t.TempDir()
	h := openMirror(t, f, dir, 4*entry)
	size := func() (n int64) {
		for _, sub := range []string{"files", "answers", "temp"} {
			list, err := os.ReadDir(filepath.Join(dir, "mirror", sub))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				info, err := e.Info()
				if err != nil {
					t.Fatal(err)
				}
				n += info.Size()
			}
		}
		return n
	}
	get := func(i, status int) {
		t.Helper()
		if w := numbered(h, i); w.Code != status || status == 200 && w.Body.Len() != 1000 {
			t.Errorf("file %d: %d, %d bytes", i, w.Code, w.Body.Len())
		}
		if size() > 4*entry {
			t.Errorf("the cache has %d bytes, allowed are %d", size(), 4*entry)
		}
	}
	offline := func(gone bool) {
		f.set(func(f *fakeHub) { f.status = map[bool]int{true: 503}[gone] })
	}
	for i := range 6 {
		get(i, 200)
		get(0, 200) // always the last used
	}
	offline(true)
	get(0, 200)
	get(5, 200)
	get(1, 502)
	h.close()
	h = openMirror(t, f, dir, 2*entry) // a lower limit
	if size() > 2*entry {
		t.Errorf("opened with a lower limit it has %d bytes", size())
	}
	get(0, 200)
	get(4, 502)
	h.close()
	offline(false)
	h = openMirror(t, f, dir, 900)
	defer h.close()
	get(0, 200)
	if left := keptFiles(t, &pageHub{t: t, s: h.s}); len(left) > 0 {
		t.Errorf("kept %v of a file larger than the cache", left)
	}
}

// TestMirrorSpoiled does not serve what has changed on disk: it is fetched again, and
// while the other Hub is gone it is not there.
func TestMirrorSpoiled(t *testing.T) {
	f := newFakeHub(t)
	dir := t.TempDir()
	h := openMirror(t, f, dir, 0)
	spoil := func(sub string) {
		t.Helper()
		h.must(200, "", "GET", openLarge, nil)
		h.must(200, "", "GET", "/api/models/u/open", nil)
		h.close()
		names, err := filepath.Glob(filepath.Join(dir, "mirror", sub, "*"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%v, %v", names, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)-2] ^= 1
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		h = openMirror(t, f, dir, 0)
	}
	spoil("files")
	if got := h.must(200, "", "GET", openLarge, nil); got != largeText {
		t.Errorf("got %q", got)
	}
	spoil("files")
	f.set(func(f *fakeHub) { f.status = 503 })
	if w := h.do("", "GET", openLarge, nil); w.Code != http.StatusBadGateway {
		t.Errorf("while it is gone: %d %q", w.Code, w.Body)
	}
	f.set(func(f *fakeHub) { f.status = 0 })
	spoil("answers")
	f.set(func(f *fakeHub) { f.status = 503 })
	for _, path := range []string{openLarge, "/api/models/u/open"} {
		if w := h.do("", "GET", path, nil); w.Code != http.StatusBadGateway {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	h.close()
}

// TestMirrorLists lists what is here, and then what the other Hub lists without what
// the caller sees here already. While that Hub is gone the list ends.
func TestMirrorLists(t *testing.T) {
	f := newFakeHub(t)
	h := mirrorHub(t, f)
	h.repo("m", false, nil)
	h.repo("secret", true, nil)
	walk := func(path string, header ...string) (ids []string) {
		t.Helper()
		for path != "" {
			w := h.do("", "GET", path, nil, header...)
			var page []struct{ ID, Query string }
			if err := json.Unmarshal(w.Body.Bytes(), &page); w.Code != 200 || err != nil {
				t.Fatalf("%s: %d %s", path, w.Code, w.Body)
			}
			for _, r := range page {
				ids = append(ids, r.ID)
				if r.Query != "" && (!strings.Contains(r.Query, "limit=2") || strings.Contains(r.Query, "upstream")) {
					t.Errorf("asked for %s", r.Query)
				}
			}
			next := nextLink.FindStringSubmatch(w.Header().Get("Link"))
			if path = ""; next != nil {
				path = strings.TrimPrefix(next[1], "http://example.com")
			}
		}
		return ids
	}
	const all = "/api/models?limit=2"
	for who, c := range map[string]struct {
		header []string
		want   string
	}{
		"nobody":     {nil, "alice/m u/open alice/secret u/last"},
		"bob":        {[]string{"Authorization", "Bearer " + h.bob}, "alice/m u/open alice/secret u/last"},
		"alice":      {[]string{"Authorization", "Bearer " + h.alice}, "alice/secret alice/m u/open u/last"},
		"a stranger": {theirs, "alice/m u/open alice/secret u/last"}, // what needs no token is not asked with one
	} {
		if got := strings.Join(walk(all, c.header...), " "); got != c.want {
			t.Errorf("%s: %s, want %s", who, got, c.want)
		}
	}
	f.set(func(f *fakeHub) { f.status = 503 })
	if got := strings.Join(walk(all), " "); got != "alice/m u/open alice/secret u/last" {
		t.Errorf("while it is gone: %s", got)
	}
	if got := strings.Join(walk("/api/models?limit=2&search=M"), " "); got != "alice/m" {
		t.Errorf("never asked: %s", got)
	}
	if w := h.do("", "GET", "/api/models?search=M&cursor=upstream:", nil); w.Header().Get("X-HF-Warning") == "" {
		t.Error("no warning that the list is not complete")
	}
}
