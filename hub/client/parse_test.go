package client

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestPatternsAsPython(t *testing.T) {
	data, err := os.ReadFile("testdata/fnmatch.json")
	must(t, err)
	var cases [][3]any
	must(t, json.Unmarshal(data, &cases))
	for _, c := range cases {
		if got := glob(c[0].(string), c[1].(string)); got != c[2] {
			t.Errorf("%q on %q: %t", c[0], c[1], got)
		}
	}
	for _, tc := range []struct {
		path             string
		include, exclude []string
		want             bool
	}{
		{"a/b", nil, nil, true},
		{"a/b", []string{"a/"}, nil, true},
		{"ab", []string{"a/"}, nil, false},
		{"a/b", []string{"x", "a*"}, []string{"*b"}, false},
	} {
		if got := Match(tc.path, tc.include, tc.exclude); got != tc.want {
			t.Errorf("%+v: %t", tc, got)
		}
	}
	start := time.Now()
	glob(strings.Repeat("*a", 500), strings.Repeat("a", 20_000)+"b")
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("a hostile pattern takes %v", d)
	}
}

func FuzzPatterns(f *testing.F) {
	f.Add("*.json", "a.json")
	f.Add("[!a-]*?", "é")
	f.Add("[", "[")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if glob("*"+pattern, s) != glob("**"+pattern, s) {
			t.Error("two stars differ from one")
		}
		if utf8.ValidString(s) && !strings.ContainsAny(s, "*?[") && !glob(s, s) {
			t.Error("a plain pattern does not match itself")
		}
	})
}

func TestRepoIDs(t *testing.T) {
	for _, id := range []string{"gpt2", "acme/m", "a/b.c-d_e", "A1/" + strings.Repeat("x", 90)} {
		if err := (Repo{ID: id}).Validate(); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []string{
		"", "/", "a/", "/a", "a/b/c", "..", "a/..", "../a", "a--b", "a..b", "-a/b", "a/b-", ".a", "a.", "a/b.git", "a b", "a/ö", "a%2fb", `a\b`, "a\x00b",
		"a/b?x", "a/b#x", "a@b/c", strings.Repeat("a", 97),
	} {
		if err := (Repo{ID: id}).Validate(); err == nil {
			t.Errorf("%q is taken", id)
		}
	}
	if err := (Repo{Type: "models", ID: "a"}).Validate(); err == nil {
		t.Error("type models is taken")
	}
	for s, want := range map[string]Repo{
		"acme/m":          {Model, "acme/m"},
		"datasets/acme/m": {Dataset, "acme/m"},
		"spaces/acme/m":   {Space, "acme/m"},
		"datasets/m":      {Model, "datasets/m"},
	} {
		got, err := ParseRepo(s)
		if err != nil || got != want {
			t.Errorf("%s: %+v %v", s, got, err)
		}
	}
}

func TestRevisions(t *testing.T) {
	for _, rev := range []string{"main", "refs/pr/1", "v1.0", "feature/x", strings.Repeat("a", 40)} {
		if err := checkRevision(rev); err != nil {
			t.Error(err)
		}
	}
	for _, rev := range []string{"", "../../x", "a..b", "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", `a\b`, "a\nb", "a@{1}", "a."} {
		if err := checkRevision(rev); err == nil {
			t.Errorf("%q is taken", rev)
		}
	}
}

func FuzzRepoID(f *testing.F) {
	for _, s := range []string{"acme/m", "datasets/a/b", "a--b", "../x", "spaces/a/b.git"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRepo(s)
		if err != nil {
			return
		}
		if !filepath.IsLocal(r.folder()) || strings.ContainsAny(r.folder(), `/\`) {
			t.Errorf("folder %q", r.folder())
		}
		if back, err := repoOf(r.folder()); err != nil || back != r {
			t.Errorf("%+v became %+v, %v", r, back, err)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "C:x", "a\\b", "é/ü", ".git/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if checkPath(s) != nil {
			return
		}
		if !filepath.IsLocal(s) || filepath.Clean(s) != s || strings.Contains(escapePath(s), "/../") || strings.ContainsAny(escapePath(s), "?#\\ ") {
			t.Errorf("%q is taken", s)
		}
	})
}

func TestLink(t *testing.T) {
	for _, tc := range []struct{ header, want string }{
		{`<https://h/x?cursor=a>; rel="next"`, "https://h/x?cursor=a"},
		{`<https://h/x>; rel=next`, "https://h/x"},
		{`</y>; rel="prev", </x>; rel="last next"; title="a, b; c"`, "/x"},
		{`</x,y;z>; title="<no>, rel=next"; rel="next"`, "/x,y;z"},
		{`</x>; REL="Next"`, "/x"},
		{`<https://auth>; rel="xet-auth"`, ""},
		{`</x>; rel="nextish"`, ""},
		{`</x>`, ""}, {``, ""}, {`<`, ""}, {`rel="next"`, ""}, {`</x>; rel="next`, ""},
	} {
		if got := nextLink([]string{tc.header}); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.header, got, tc.want)
		}
	}
}

func FuzzLink(f *testing.F) {
	f.Add(`<https://h/x>; rel="next", <y>; rel=prev`)
	f.Add(`<a>;;;=,<b>;rel`)
	f.Fuzz(func(t *testing.T, s string) {
		if link := nextLink([]string{s}); link != "" && !strings.Contains(s, "<") {
			t.Errorf("%q from %q", link, s)
		}
	})
}

func FuzzETag(f *testing.F) {
	for _, s := range []string{`"abc"`, `W/"abc"`, `"../x"`, ".", "", `"a.incomplete"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name := safeETag(normalETag(s))
		if !filepath.IsLocal(name) || strings.ContainsAny(name, `/\:`) || len(name) > 128 || strings.HasPrefix(name, ".") || strings.HasSuffix(name, partSuffix) {
			t.Errorf("%q becomes %q", s, name)
		}
	})
}

func TestContentRange(t *testing.T) {
	if start, end, total, err := contentRange("bytes 5-9/10"); start != 5 || end != 10 || total != 10 || err != nil {
		t.Error(start, end, total, err)
	}
	if _, _, total, err := contentRange("bytes 0-0/*"); total != -1 || err != nil {
		t.Error(total, err)
	}
	for _, s := range []string{"", "bytes", "bytes 1-0/5", "bytes 0-5/5", "bytes */5", "bytes -1-2/5", "bytes 0-9223372036854775807/*", "items 0-1/2", "bytes 0-x/2"} {
		if _, _, _, err := contentRange(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 0-9/10")
	f.Add("bytes 1-1/*")
	f.Fuzz(func(t *testing.T, s string) {
		start, end, total, err := contentRange(s)
		if err == nil && (start < 0 || end <= start || total >= 0 && end > total) {
			t.Errorf("%q: %d %d %d", s, start, end, total)
		}
	})
}

func FuzzTreeJSON(f *testing.F) {
	f.Add([]byte(`{"format_version":1,"files":{"a/b":{"size":1,"blob_id":"` + strings.Repeat("a", 40) + `"}}}`))
	f.Add([]byte(`{"format_version":2}`))
	f.Add([]byte(`{"format_version":1,"files":{"../b":{"size":-1}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries := parseTree(data)
		for _, e := range entries {
			if !filepath.IsLocal(e.Path) || e.Size < 0 || !isHash(e.Hash(), len(e.Hash())) {
				t.Errorf("%+v", e)
			}
		}
		if !slices.IsSortedFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) }) {
			t.Error("not sorted")
		}
	})
}

func FuzzSidecar(f *testing.F) {
	f.Add([]byte(`{"version":1,"etag":"e","size":100000,"chunk":50000,"have":[1,2]}`), int64(60_000))
	f.Fuzz(func(t *testing.T, data []byte, length int64) {
		if length < 0 {
			return
		}
		p := readParts(data, "e", 100_000, 4096, length)
		if p.done() > 100_000 || p.prefix() > p.done() {
			t.Errorf("%d of %d", p.prefix(), p.done())
		}
	})
}

func FuzzNotes(f *testing.F) {
	f.Add([]byte("c\ne\n1700000000.5\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if etag, at, ok := parseNotes(data); ok && (strings.Contains(etag, "\n") || at.Unix() < 0) {
			t.Errorf("%q %v", etag, at)
		}
	})
}

func TestConfig(t *testing.T) {
	for _, cfg := range []Config{{Endpoint: "ftp://x"}, {Endpoint: "huggingface.co"}, {Endpoint: "http://"}, {Endpoint: "https://x?y"}, {Token: "two words"}, {Token: "a\nb"}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
	c, err := New(Config{Endpoint: "https://h.example/prefix//"})
	if err != nil || c.Endpoint() != "https://h.example/prefix" {
		t.Error(err)
	}
	if c, err = New(Config{}); err != nil || c.Endpoint() != DefaultEndpoint {
		t.Error(err)
	}
}
