package server

import (
	"encoding/binary"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// xetAccessOf asks for a Xet token and returns it with the address's path.
func xetAccessOf(h *pageHub, token, repo string) (access, path string) {
	h.t.Helper()
	var answer struct {
		AccessToken, CasURL string
		Exp                 int64
	}
	body := h.must(200, token, "GET", "/api/models/"+repo+"/xet-write-token/main", nil)
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		h.t.Fatal(err)
	}
	u, err := url.Parse(answer.CasURL)
	if err != nil || answer.Exp == 0 {
		h.t.Fatalf("%s: %v", body, err)
	}
	return answer.AccessToken, u.Path
}

// captured is what hf_xet sent: a xorb with its hash, and the shard.
func captured(t *testing.T) (hash string, xorb, shard []byte) {
	t.Helper()
	names, err := filepath.Glob("xet/testdata/small/*.xorb")
	if err != nil || len(names) != 1 {
		t.Fatalf("%v, %v", names, err)
	}
	if xorb, err = os.ReadFile(names[0]); err != nil {
		t.Fatal(err)
	}
	if shard, err = os.ReadFile("xet/testdata/small/files.shard"); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(filepath.Base(names[0]), ".xorb"), xorb, shard
}

// TestXetUpload replays an upload of hf_xet: the repo holds its files afterwards,
// no other repo does, and a commit may name them.
func TestXetUpload(t *testing.T) {
	h := newPageHub(t)
	h.repo("m", false, nil)
	h.repo("n", false, nil)
	hash, xorb, shard := captured(t)
	access, path := xetAccessOf(h, h.alice, "alice/m")
	bearer := []string{"Authorization", "Bearer " + access}
	if w := h.do("", "POST", path+"/v1/xorbs/default/"+hash, xorb, bearer...); w.Code != 200 {
		t.Fatalf("xorb: %d %s", w.Code, w.Body)
	}
	if w := h.do("", "POST", path+"/v1/shards", shard, bearer...); w.Code != 200 {
		t.Fatalf("shard: %d %s", w.Code, w.Body)
	}
	var files []struct {
		Name, SHA256 string
		Size         int64
	}
	list, err := os.ReadFile("xet/testdata/files.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(list, &files); err != nil {
		t.Fatal(err)
	}
	m, err := h.s.db.Repo(meta.Model, "alice", "m")
	if err != nil {
		t.Fatal(err)
	}
	n, err := h.s.db.Repo(meta.Model, "alice", "n")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files[:6] {
		if size, err := h.s.HasLFS(m.ID, f.SHA256); err != nil || size != f.Size {
			t.Errorf("%s: %d bytes, %v, want %d", f.Name, size, err, f.Size)
		}
		if err := h.s.lfs.Check(t.Context(), f.SHA256); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		if _, err := h.s.HasLFS(n.ID, f.SHA256); err == nil {
			t.Errorf("%s: another repo holds it", f.Name)
		}
	}
	commit := `{"key":"header","value":{"summary":"add"}}` + "\n" +
		`{"key":"lfsFile","value":{"path":"text.bin","algo":"sha256","oid":"` + files[0].SHA256 + `"}}`
	h.must(200, h.alice, "POST", "/api/models/alice/m/commit/main", []byte(commit))
	if w := h.do(h.alice, "POST", "/api/models/alice/n/commit/main", []byte(commit)); w.Code < 400 {
		t.Errorf("a commit of another repo named the file: %d", w.Code)
	}
}

// TestXetTokenAccess gives write tokens to writers alone, and for a private repo
// answers as for none.
func TestXetTokenAccess(t *testing.T) {
	h := newPageHub(t)
	h.repo("open", false, nil)
	h.repo("secret", true, nil)
	for _, c := range []struct {
		who, token, path string
		want             int
	}{
		{"owner", h.alice, "open/xet-write-token/main", 200},
		{"owner", h.alice, "secret/xet-write-token/None", 200},
		{"other", h.bob, "open/xet-write-token/main", 403},
		{"other", h.bob, "open/xet-read-token/main", 200},
		{"other", h.bob, "secret/xet-write-token/main", 404},
		{"other", h.bob, "absent/xet-write-token/main", 404},
		{"other", h.bob, "secret/xet-read-token/main", 404},
		{"nobody", "", "open/xet-write-token/main", 401},
		{"nobody", "", "secret/xet-write-token/main", 401},
		{"nobody", "", "absent/xet-write-token/main", 401},
	} {
		if w := h.do(c.token, "GET", "/api/models/alice/"+c.path, nil); w.Code != c.want {
			t.Errorf("%s, %s: %d %s, want %d", c.who, c.path, w.Code, w.Body, c.want)
		}
	}
	_, path := xetAccessOf(h, h.alice, "alice/open")
	if w := h.do("", "POST", path+"/v1/shards", nil, "Authorization", "Bearer "+h.alice); w.Code != 401 {
		t.Errorf("a Hub token as access token: %d", w.Code)
	}
	access, _ := xetAccessOf(h, h.alice, "alice/open")
	if w := h.do("", "GET", "/api/whoami-v2", nil, "Authorization", "Bearer "+access); w.Code != 401 {
		t.Errorf("an access token as Hub token: %d", w.Code)
	}
}

// TestXetBatch sends clients that offer Xet there, and others not.
func TestXetBatch(t *testing.T) {
	h := newPageHub(t)
	h.repo("m", false, nil)
	batch := func(transfers string) (transfer string, action lfsAction) {
		body := `{"operation":"upload","transfers":` + transfers + `,"objects":[{"oid":"` + strings.Repeat("ab", 32) + `","size":5}]}`
		var answer struct {
			Transfer string
			Objects  []lfsAnswer
		}
		text := h.must(200, h.alice, "POST", "/alice/m.git/info/lfs/objects/batch", []byte(body))
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatal(err)
		}
		return answer.Transfer, answer.Objects[0].Actions["upload"]
	}
	if transfer, action := batch(`["basic","multipart"]`); transfer != "basic" || !strings.Contains(action.Href, "/_lfs/") {
		t.Errorf("basic: %s %+v", transfer, action)
	}
	transfer, action := batch(`["basic","multipart","xet"]`)
	if transfer != "xet" || !strings.HasSuffix(action.Href, "/api/models/alice/m/xet-write-token/main") ||
		action.Header["X-Xet-Access-Token"] == "" || !strings.Contains(action.Header["X-Xet-Cas-Url"], "/_cas/") {
		t.Errorf("xet: %s %+v", transfer, action)
	}
}

// TestXetLyingSum keeps nothing of a shard whose sha256 is that of another file.
func TestXetLyingSum(t *testing.T) {
	h := newPageHub(t)
	h.repo("m", false, nil)
	hash, xorb, shard := captured(t)
	first := 48 * (2 + 2*int(binary.LittleEndian.Uint32(shard[48+36:]))) // where the first file's sha256 is
	lying := append([]byte{}, shard...)
	lying[first] ^= 1
	access, path := xetAccessOf(h, h.alice, "alice/m")
	bearer := []string{"Authorization", "Bearer " + access}
	if w := h.do("", "POST", path+"/v1/xorbs/default/"+hash, xorb, bearer...); w.Code != 200 {
		t.Fatalf("xorb: %d %s", w.Code, w.Body)
	}
	if w := h.do("", "POST", path+"/v1/shards", lying, bearer...); w.Code != 400 || !strings.Contains(w.Body.String(), "sha256") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	left, err := filepath.Glob(filepath.Join(h.s.cfg.Dir, "lfs", "*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if h.do("", "POST", path+"/v1/shards", shard, bearer...).Code != 200 {
		t.Error("the true shard is refused afterwards")
	}
}
