package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
)

// FuzzCommitLine: whatever a line is, what is taken has a path that a commit may hold.
func FuzzCommitLine(f *testing.F) {
	for _, seed := range []string{
		`{"key":"header","value":{"summary":"x","parentCommit":"0123456789abcdef0123456789abcdef01234567"}}`,
		`{"key":"file","value":{"path":"a/b","content":"eA==","encoding":"base64"}}`,
		`{"key":"file","value":{"path":"a","content":"x","encoding":"utf-8"}}`,
		`{"key":"lfsFile","value":{"path":"a","algo":"sha256","oid":"` + strings.Repeat("0a", 32) + `","size":3}}`,
		`{"key":"deletedFolder","value":{"path":"a/b/"}}`, `{"key":"file","value":{"path":"../a"}}`, `{"value":null}`, `[]`, `{`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseCommitLine(text)
		if err != nil || l.Key == "header" {
			return
		}
		if err := gitrepo.CheckPath(l.Value.Path); err != nil {
			t.Errorf("took %q", l.Value.Path)
		}
		if _, err := l.bytes(); err == nil && l.Key == "lfsFile" && len(l.Value.OID) != 64 {
			t.Errorf("took the hash %q", l.Value.OID)
		}
	})
}

// FuzzFrontMatter: metadata that is taken can be said in JSON, quickly.
func FuzzFrontMatter(f *testing.F) {
	for _, seed := range []string{
		"---\nlicense: mit\ntags: [a, b]\n---\n# Title", "---\r\na: 1\r\n---\r\n", "---\n---\n", "no", "---\na: &x [1]\nb: *x\n---\n",
		"---\n<<: {a: 1}\n---\n", "---\n? [a]\n: b\n---\n", "---\na: !!binary x\n---\n", "---\n- a\n---\n", "---\na: 1\na: 2\n---\n",
		"---\n" + strings.Repeat("[", 100) + "\n---\n", "---\na: .nan\n---\n", "---\nmodel-index:\n- name: x\n  results: []\n---\n", "---\na: |\n  x\n---\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		yaml, ok := frontMatter(text)
		if !ok {
			return
		}
		begin := time.Now()
		card, err := parseCard(yaml)
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("%d bytes took %s", len(yaml), took)
		}
		if err != nil {
			return
		}
		if _, err := json.Marshal(card); err != nil {
			t.Error(err)
		}
		cardFaults(card, "space")
	})
}

// FuzzRange: an answer to a range is a part of the file, or the whole, or 416.
func FuzzRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-", "bytes=0-0", "bytes=-1", "bytes=5-2", "bytes=9-", "bytes=0-1,2-3", "bytes=-0", "bytes=", "x", "bytes=0-99999999999999999999", "bytes=99999999999999999999-", "bytes= 1-2", "bytes=+1-2"} {
		f.Add(seed, uint8(9))
	}
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		content := bytes.Repeat([]byte("0123456789"), 26)[:size]
		rec := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Range", text)
		s := &Server{}
		c := &call{s: s, w: &answer{ResponseWriter: rec}, r: r, route: &route{}}
		rec.Header().Set("ETag", `"x"`)
		if err := c.serveContent(bytes.NewReader(content), int64(size)); err != nil {
			c.writeError(err)
		}
		switch rec.Code {
		case http.StatusOK:
			if rec.Body.String() != string(content) {
				t.Errorf("%q: the whole has %d bytes", text, rec.Body.Len())
			}
		case http.StatusPartialContent:
			from, _, _ := strings.Cut(strings.TrimPrefix(rec.Header().Get("Content-Range"), "bytes "), "-")
			at, err := strconv.Atoi(from)
			if err != nil || at+rec.Body.Len() > len(content) || !bytes.Equal(content[at:at+rec.Body.Len()], rec.Body.Bytes()) {
				t.Errorf("%q: part %q of %s", text, rec.Body, rec.Header().Get("Content-Range"))
			}
		case http.StatusRequestedRangeNotSatisfiable:
			if rec.Header().Get("Content-Range") != "bytes */"+strconv.Itoa(int(size)) || rec.Header().Get("X-Error-Code") == "" {
				t.Errorf("%q: headers %v", text, rec.Header())
			}
		default:
			t.Errorf("%q: status %d", text, rec.Code)
		}
	})
}

// FuzzAddress: no path makes a part of dots, and no revision leaves refs.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"/api/models/a/b/tree/main/x", "/a/b/resolve/refs%2Fpr%2F1/x", "/a/b/resolve/refs/pr/1/x", "/datasets/a/b.git/info/refs", "/%2e%2e/x", "//", "/a/b/resolve/..%2f..%2fHEAD/x", "/_lfs/a/b", "/a%00/b"} {
		f.Add(seed)
	}
	s := &Server{}
	s.routes = s.table()
	f.Fuzz(func(t *testing.T, path string) {
		raw, parts, err := segments(path)
		if err != nil {
			return
		}
		for i := range s.routes {
			target, ok := s.routes[i].match(raw, parts)
			if !ok {
				continue
			}
			for part := range strings.SplitSeq(target.ns+"/"+target.name+"/"+target.rev+"/"+target.path, "/") {
				if part == ".." || part == "." {
					t.Errorf("%q gives %+v", path, target)
				}
			}
		}
	})
}

// FuzzPush: no body of a push makes a panic, and hashes are read exactly.
func FuzzPush(f *testing.F) {
	a, zero := strings.Repeat("a", 40), strings.Repeat("0", 40)
	f.Add([]byte(pkt(zero+" "+a+" refs/heads/x\x00report-status\n") + "0000PACK"))
	f.Add([]byte("0000"))
	f.Add([]byte("0003"))
	f.Add([]byte("zzzz"))
	f.Fuzz(func(t *testing.T, body []byte) {
		commands, _, err := readCommands(bytes.NewReader(body))
		if err != nil {
			return
		}
		for _, cmd := range commands {
			if !bytes.Contains(bytes.ToLower(body), []byte(cmd.old.String()+" "+cmd.new.String())) {
				t.Errorf("read %s %s", cmd.old, cmd.new)
			}
		}
	})
}

func TestFrontMatter(t *testing.T) {
	cases := []struct{ name, card, want string }{
		{"plain", "---\nlicense: mit\ntags:\n- a\n---\n", `{"license":"mit","tags":["a"]}`},
		{"lines of Windows", "---\r\nlicense: mit\r\n---\r\ntext", `{"license":"mit"}`},
		{"dates stay text", "---\ndate: 2024-01-02\n---\n", `{"date":"2024-01-02"}`},
		{"none", "# Title\n---\na: 1\n---\n", ""},
		{"not closed", "---\na: 1\n", ""},
		{"empty", "---\n---\n", `{}`},
	}
	for _, c := range cases {
		text, ok := frontMatter([]byte(c.card))
		got := ""
		if ok {
			card, err := parseCard(text)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			data, _ := json.Marshal(card)
			got = string(data)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	bad := map[string]string{
		"duplicate key":  "a: 1\na: 2\n",
		"alias":          "a: &x [1]\nb: *x\n",
		"billion laughs": "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n",
		"merge key":      "a: &x {y: 1}\nb:\n  <<: *x\n",
		"a list":         "- a\n",
		"too deep":       "a: " + strings.Repeat("[", 200) + strings.Repeat("]", 200),
		"unclosed":       "a: [1\n",
		"not a number":   "a: .nan\n",
		"too long":       "a: " + strings.Repeat("x", maxFrontMatter),
	}
	for name, text := range bad {
		if card, err := parseCard([]byte(text)); err == nil {
			t.Errorf("%s is taken: %v", name, card)
		}
	}
}

func TestCardFaults(t *testing.T) {
	cases := map[string]int{
		"license: mit\nlanguage: [en, 'no']\ntags: a\n": 0, "language: [en, no]\n": 0, "tags: 5\n": 1, "license: [1]\n": 1, "pipeline_tag: [a]\n": 1,
		"model-index: x\n": 1, "sdk: docker\ncolorFrom: red\napp_port: 7860\n": 0, "sdk: exe\ncolorTo: mauve\napp_port: 99999\n": 3,
		"short_description: " + strings.Repeat("x", 61): 1,
	}
	for text, want := range cases {
		card, err := parseCard([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if faults := cardFaults(card, "space"); len(faults) != want {
			t.Errorf("%s: %q, want %d faults", text, faults, want)
		}
	}
}

// FuzzNextCursor: whatever another Hub sends as a link, the cursor that is taken fits
// into an address of ours and comes out of it again.
func FuzzNextCursor(f *testing.F) {
	for _, seed := range []string{`<http://h/api/models?cursor=a%2Bb>; rel="next"`, `</x?cursor=1>; rel=next`, `<?cursor=%zz>; rel="next"`, `<a>; rel="prev", <b?cursor=2>; rel="next"`, `>;<`, ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, link string) {
		cursor := nextCursor(http.Header{"Link": {link}})
		again := nextCursor(http.Header{"Link": {"<http://h/?" + url.Values{"cursor": {cursor}}.Encode() + `>; rel="next"`}})
		if again != cursor {
			t.Errorf("%q becomes %q", cursor, again)
		}
	})
}
