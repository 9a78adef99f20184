package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// pageHub is a server with the users alice and bob and a way to talk to it.
type pageHub struct {
	t          *testing.T
	s          *Server
	alice, bob string // tokens
}

func newPageHub(t *testing.T) *pageHub {
	t.Helper()
	s, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &pageHub{t: t, s: s}
	h.alice, h.bob = h.user("alice"), h.user("bob")
	return h
}

func (h *pageHub) user(name string) string {
	h.t.Helper()
	if _, err := h.s.db.AddUser(meta.User{Name: name}); err != nil {
		h.t.Fatal(err)
	}
	token, err := h.s.db.AddToken(meta.Token{User: name, Kind: meta.TokenWrite})
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

// do sends a request, by basic authentication as browsers do where a token is given.
func (h *pageHub) do(token, method, path string, body []byte, header ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	if token != "" {
		r.SetBasicAuth("any", token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.s.Handler().ServeHTTP(w, r)
	return w
}

// must is do with a status that has to come.
func (h *pageHub) must(status int, token, method, path string, body []byte) string {
	h.t.Helper()
	w := h.do(token, method, path, body)
	if w.Code != status {
		h.t.Fatalf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, status)
	}
	return w.Body.String()
}

// repo makes a repo of alice's with files.
func (h *pageHub) repo(name string, private bool, files map[string]string) {
	h.t.Helper()
	body, err := json.Marshal(map[string]any{"name": name, "type": "model", "private": private})
	if err != nil {
		h.t.Fatal(err)
	}
	h.must(200, h.alice, "POST", "/api/repos/create", body)
	lines := `{"key":"header","value":{"summary":"<b>add</b> files"}}` + "\n"
	for path, content := range files {
		line, err := json.Marshal(map[string]any{"key": "file", "value": map[string]string{
			"path": path, "encoding": "base64", "content": base64.StdEncoding.EncodeToString([]byte(content))}})
		if err != nil {
			h.t.Fatal(err)
		}
		lines += string(line) + "\n"
	}
	h.must(200, h.alice, "POST", "/api/models/alice/"+name+"/commit/main", []byte(lines))
}

const hostileCard = "---\nlicense: mit\ntags: ['<script>alert(0)</script>']\n---\n# Card\n<script>alert(1)</script>\n" +
	"<img src=x onerror=alert(2)>\n\n[link](javascript:alert(3)) ![](https://evil.example/pixel.png)\n"

// TestPages looks at every page of a repo: that it shows what it should, runs
// nothing and loads nothing from elsewhere.
func TestPages(t *testing.T) {
	h := newPageHub(t)
	h.repo("m", false, map[string]string{"README.md": hostileCard, "a/b <i>.txt": "1 < 2 & <script>alert(4)</script>", "bin": "\x00\x01"})
	for path, wants := range map[string][]string{
		"/":                                    {`href="/alice/m"`, "alice/m"},
		"/models?search=M":                     {`value="M"`, "alice/m"},
		"/models?search=<script>":              {"&lt;script&gt;", "Nothing found."},
		"/datasets":                            {"No datasets here yet"},
		"/alice/m":                             {"<h1>Card</h1>", "git clone http://example.com/alice/m", "mit", "&lt;script&gt;alert(0)"},
		"/alice/m/tree/main":                   {`href="/alice/m/tree/main/a"`, ".gitattributes"},
		"/alice/m/tree/main/a":                 {`/alice/m/blob/main/a/b%20%3Ci%3E.txt`, "b &lt;i&gt;.txt"},
		"/alice/m/blob/main/a/b%20%3Ci%3E.txt": {"1 &lt; 2 &amp; &lt;script&gt;"},
		"/alice/m/blob/main/bin":               {"The file is not text."},
		"/alice/m/commits/main":                {"&lt;b&gt;add&lt;/b&gt; files", "initial commit"},
		"/alice/m/commits/main?limit=1":        {`href="/alice/m/commits/main?limit=1&amp;p=1"`},
		"/alice/m/tree/main?search=%22%3E%3Cx": {".gitattributes"},
		"/alice/m/blob/main/README.md":         {"&lt;script&gt;alert(1)"},
		"/alice/m/tree/refs%2Fheads%2Fmain":    {".gitattributes"},
		"/_static/hub.css":                     {"--accent"},
		"/_static/icon.svg":                    {"<svg"},
	} {
		w := h.do("", "GET", path, nil)
		body := w.Body.String()
		if w.Code != 200 {
			t.Errorf("%s: status %d: %s", path, w.Code, body)
			continue
		}
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q in %s", path, want, body)
			}
		}
		if strings.HasPrefix(path, "/_static/") {
			continue
		}
		for _, bad := range []string{"<script", "<img src=x", `href="javascript:`, `src="http`, "style="} {
			if strings.Contains(body, bad) {
				t.Errorf("%s: %q in %s", path, bad, body)
			}
		}
		if policy := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'self'; img-src 'self'") {
			t.Errorf("%s: policy %q", path, policy)
		}
	}
}

// TestPagesOfPrivateRepo answers for a private repo as for none, byte for byte, and
// shows it to its owner.
func TestPagesOfPrivateRepo(t *testing.T) {
	h := newPageHub(t)
	h.repo("secret", true, map[string]string{"README.md": "# Hidden"})
	for _, part := range []string{"", "/tree/main", "/tree/main/x", "/blob/main/README.md", "/commits/main", "/commit/main", "/discussions", "/discussions?status=closed", "/discussions/1", "/discussions/x"} {
		for who, token := range map[string]string{"nobody": "", "bob": h.bob} {
			private, absent := h.do(token, "GET", "/alice/secret"+part, nil), h.do(token, "GET", "/alice/nothing"+part, nil)
			want := 404
			if who == "nobody" {
				want = 401
			}
			if private.Code != want || absent.Code != want || private.Body.String() != absent.Body.String() {
				t.Errorf("%s, %s: %d and %d, want %d and the same page", part, who, private.Code, absent.Code, want)
			}
			if challenge := private.Header().Get("WWW-Authenticate"); (challenge != "") != (want == 401) {
				t.Errorf("%s, %s: challenge %q", part, who, challenge)
			}
		}
	}
	if page := h.must(200, h.alice, "GET", "/alice/secret", nil); !strings.Contains(page, "Hidden") || !strings.Contains(page, "private") {
		t.Errorf("the owner sees %s", page)
	}
	for who, token := range map[string]string{"nobody": "", "bob": h.bob} {
		if page := h.must(200, token, "GET", "/", nil); strings.Contains(page, "secret") {
			t.Errorf("%s sees the private repo in the list", who)
		}
	}
	if page := h.must(200, h.alice, "GET", "/", nil); !strings.Contains(page, "alice/secret") {
		t.Error("the owner does not see the private repo in the list")
	}
}

// TestSignIn asks a browser for a password, and then leads to the list.
func TestSignIn(t *testing.T) {
	h := newPageHub(t)
	if w := h.do("", "GET", "/_signin", nil); w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("without a token: %d, %v", w.Code, w.Header())
	}
	if w := h.do(h.bob, "GET", "/_signin", nil); w.Code != 303 || w.Header().Get("Location") != "/" {
		t.Errorf("with a token: %d, %v", w.Code, w.Header())
	}
}

// TestForeignForm refuses a password that a browser adds to another site's form.
func TestForeignForm(t *testing.T) {
	h := newPageHub(t)
	body := []byte(`{"name":"stolen","type":"model"}`)
	w := h.do(h.alice, "POST", "/api/repos/create", body, "Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain")
	if w.Code != 401 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	w = h.do(h.alice, "POST", "/api/repos/create", body, "Origin", "https://evil.example", "Content-Type", "text/plain")
	if w.Code != 401 {
		t.Errorf("by origin: status %d: %s", w.Code, w.Body)
	}
}

// TestTensorPage shows the header of a safetensors file, and of none.
func TestTensorPage(t *testing.T) {
	h := newPageHub(t)
	h.repo("m", false, map[string]string{"x": "x"})
	for name, c := range map[string]struct{ content, want string }{
		"good.safetensors": {tensorFile(), "[2, 3]"},
		"bad.safetensors":  {strings.Repeat("no header ", 50), "not a valid safetensors file"},
	} {
		sha := sha256Hex([]byte(c.content))
		r, err := h.s.db.Repo(meta.Model, "alice", "m")
		if err != nil {
			t.Fatal(err)
		}
		if err := h.s.PutLFS(t.Context(), r.ID, sha, int64(len(c.content)), strings.NewReader(c.content)); err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(map[string]any{"key": "lfsFile", "value": map[string]any{"path": name, "algo": "sha256", "oid": sha, "size": len(c.content)}})
		if err != nil {
			t.Fatal(err)
		}
		h.must(200, h.alice, "POST", "/api/models/alice/m/commit/main", append([]byte(`{"key":"header","value":{"summary":"add"}}`+"\n"), line...))
		page := h.must(200, "", "GET", "/alice/m/blob/main/"+name, nil)
		if !strings.Contains(page, c.want) || !strings.Contains(page, sha) {
			t.Errorf("%s: no %q in %s", name, c.want, page)
		}
		if err := os.Remove(h.s.lfs.Path(sha)); err != nil {
			t.Fatal(err)
		}
		if page := h.must(200, "", "GET", "/alice/m/blob/main/"+name, nil); !strings.Contains(page, "missing") {
			t.Errorf("%s without content: %s", name, page)
		}
	}
}

// tensorFile is a safetensors file of one tensor, whose name is hostile.
func tensorFile() string {
	header := `{"<script>alert(5)</script>":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}`
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	return string([]byte{byte(len(header)), 0, 0, 0, 0, 0, 0, 0}) + header + strings.Repeat("\x00", 24)
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 1 << 40: "1.1 TB"} {
		if got := sizeText(n); got != want {
			t.Errorf("size %d: %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{7: "7", 999: "999", 1000: "1,000", 14476080: "14,476,080", 123456: "123,456"} {
		if got := groupDigits(n); got != want {
			t.Errorf("digits %d: %s, want %s", n, got, want)
		}
	}
	if got := countText(14_476_080); got != "14.5 million" {
		t.Errorf("count %s", got)
	}
}

// TestFilesThatMayRun: pages warn of formats by which a file can run code in Python, and
// of no others.
func TestFilesThatMayRun(t *testing.T) {
	h := newPageHub(t)
	h.repo("m", false, map[string]string{"pytorch_model.bin": "\x80\x02}q\x00.", "last.ckpt": "x", "model.safetensors": tensorFile(), "config.json": "{}"})
	folder := h.do("", "GET", "/alice/m/tree/main", nil).Body.String()
	if n := strings.Count(folder, ">may run code<"); n != 2 {
		t.Errorf("%d badges in the folder, want 2:\n%s", n, folder)
	}
	for name, want := range map[string]bool{"pytorch_model.bin": true, "last.ckpt": true, "model.safetensors": false, "config.json": false} {
		page := h.do("", "GET", "/alice/m/blob/main/"+name, nil)
		if has := strings.Contains(page.Body.String(), "may run code that it holds"); page.Code != 200 || has != want {
			t.Errorf("%s: status %d, warned: %t", name, page.Code, has)
		}
	}
}
