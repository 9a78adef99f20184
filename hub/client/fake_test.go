package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeHub is a hub with one branch for each repository, in memory. It holds what
// the protocol says that clients rely on, and nothing else.
type fakeHub struct {
	t   *testing.T
	srv *httptest.Server
	// fault is asked before every request; it answers it and returns true, or
	// changes the answer by wrapping the writer.
	fault func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool)

	mu        sync.Mutex
	repos     map[string]*fakeRepo // "models/ns/name"
	objects   map[string][]byte    // LFS
	parts     map[string][]byte
	partSize  int // >0: multipart
	pageSize  int
	calls     []string
	auth      map[string]string // path → Authorization of the last request
	noOID     bool
	trusting  bool   // stores objects without a look at their hash
	cdn       string // other host that LFS files are redirected to
	afterSent func() // called after a commit is made and before it is answered
}

type fakeRepo struct {
	commits []string
	files   map[string]map[string]fakeFile // commit → path → file
}

type fakeFile struct {
	data []byte
	lfs  bool
}

func (f fakeFile) hash() string {
	if f.lfs {
		sum := sha256.Sum256(f.data)
		return hex.EncodeToString(sum[:])
	}
	return gitID(f.data)
}

func gitID(data []byte) string {
	sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...))
	return hex.EncodeToString(sum[:])
}

func newFake(t *testing.T) *fakeHub {
	h := &fakeHub{t: t, repos: map[string]*fakeRepo{}, objects: map[string][]byte{}, parts: map[string][]byte{}, auth: map[string]string{}, pageSize: 1000}
	h.srv = httptest.NewServer(h)
	t.Cleanup(h.srv.Close)
	return h
}

// client is a client of the hub that does not wait between attempts.
func (h *fakeHub) client(change func(*Config)) *Client {
	h.t.Helper()
	cfg := Config{Endpoint: h.srv.URL, Token: "hf_secretsecret", Cache: h.t.TempDir()}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	c.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return c
}

// put commits files to a repository, LFS ones if their name ends in .bin.
func (h *fakeHub) put(repo string, files map[string]string) (commit string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := map[string]fakeFile{}
	r := h.repos[repo]
	if r == nil {
		r = &fakeRepo{files: map[string]map[string]fakeFile{}}
		h.repos[repo] = r
	}
	for name, text := range files {
		f := fakeFile{[]byte(text), strings.HasSuffix(name, ".bin")}
		next[name] = f
		if f.lfs {
			h.objects[f.hash()] = f.data
		}
	}
	return r.add(next)
}

func (r *fakeRepo) add(files map[string]fakeFile) string {
	sum := sha1.Sum(fmt.Appendf(nil, "commit %d", len(r.commits)))
	id := hex.EncodeToString(sum[:])
	r.commits = append(r.commits, id)
	r.files[id] = files
	return id
}

func (r *fakeRepo) head() string { return r.commits[len(r.commits)-1] }

// count is how many requests began with a method and a part of a path.
func (h *fakeHub) count(method, part string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, c := range h.calls {
		if strings.HasPrefix(c, method+" ") && strings.Contains(c, part) {
			n++
		}
	}
	return n
}

func (h *fakeHub) forget() {
	h.mu.Lock()
	h.calls = nil
	h.mu.Unlock()
}

func (h *fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.calls = append(h.calls, r.Method+" "+r.URL.RequestURI())
	h.auth[r.URL.Path] = r.Header.Get("Authorization")
	fault := h.fault
	h.mu.Unlock()
	if fault != nil {
		var done bool
		if w, done = fault(w, r); done {
			return
		}
	}
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/hub")
	switch {
	case path == "/api/whoami-v2":
		answer(w, map[string]any{"type": "user", "name": "alice"})
	case path == "/api/validate-yaml":
		answer(w, map[string]any{"errors": []any{}, "warnings": []any{}})
	case path == "/api/repos/create":
		refuse(w, http.StatusConflict, "", `{"error":"exists","url":"`+h.srv.URL+`/acme/m"}`)
	case strings.HasPrefix(path, "/objects/"):
		h.object(w, r, strings.TrimPrefix(path, "/objects/"))
	case strings.HasSuffix(path, ".git/info/lfs/objects/batch"):
		h.batch(w, r)
	case strings.HasPrefix(path, "/api/models/"):
		parts := strings.SplitN(strings.TrimPrefix(path, "/api/models/"), "/", 4)
		for len(parts) < 4 {
			parts = append(parts, "")
		}
		h.api(w, r, "models/"+parts[0]+"/"+parts[1], parts[2], parts[3])
	default:
		parts := strings.SplitN(strings.TrimPrefix(path, "/"), "/", 5)
		if len(parts) < 5 || parts[2] != "resolve" {
			refuse(w, http.StatusNotFound, "RepoNotFound", "")
			return
		}
		name, _ := url.PathUnescape(parts[4])
		h.resolve(w, r, "models/"+parts[0]+"/"+parts[1], parts[3], name)
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, code, body string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// at finds the commit of a revision.
func (r *fakeRepo) at(rev string) string {
	rev, _ = url.PathUnescape(rev)
	if r == nil || len(r.commits) == 0 {
		return ""
	}
	if rev == "main" || strings.HasPrefix(rev, "refs/pr/") {
		return r.head()
	}
	if r.files[rev] != nil {
		return rev
	}
	return ""
}

func (h *fakeHub) api(w http.ResponseWriter, r *http.Request, repo, verb, rest string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	store := h.repos[repo]
	if store == nil {
		refuse(w, http.StatusNotFound, "RepoNotFound", "")
		return
	}
	rev, _, _ := strings.Cut(rest, "/")
	if verb == "" {
		rev = "main"
	}
	commit := store.at(rev)
	if commit == "" && !(verb == "preupload" || verb == "commit") {
		refuse(w, http.StatusNotFound, "RevisionNotFound", "")
		return
	}
	switch verb {
	case "", "revision":
		siblings := []map[string]string{}
		for name := range store.files[store.head()] {
			siblings = append(siblings, map[string]string{"rfilename": name})
		}
		answer(w, map[string]any{"id": strings.TrimPrefix(repo, "models/"), "sha": commit, "siblings": siblings})
	case "tree":
		h.tree(w, r, store.files[commit])
	case "paths-info":
		var in struct{ Paths []string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		list := []Entry{}
		for _, p := range in.Paths {
			if f, ok := store.files[commit][p]; ok {
				list = append(list, f.entry(p))
			}
		}
		answer(w, list)
	case "preupload":
		h.preupload(w, r, store, commit)
	case "commit":
		h.commit(w, r, store, commit)
	default:
		refuse(w, http.StatusNotFound, "", "")
	}
}

func (f fakeFile) entry(name string) Entry {
	e := Entry{Type: "file", OID: gitID(f.data), Size: int64(len(f.data)), Path: name}
	if f.lfs {
		e.LFS = &LFS{OID: f.hash(), Size: e.Size, PointerSize: 130}
	}
	return e
}

func (h *fakeHub) tree(w http.ResponseWriter, r *http.Request, files map[string]fakeFile) {
	list := []Entry{}
	for name, f := range files {
		list = append(list, f.entry(name))
	}
	sortEntries(list)
	var from int
	_, _ = fmt.Sscan(r.URL.Query().Get("cursor"), &from)
	end := min(from+h.pageSize, len(list))
	if end < len(list) {
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?recursive=true&cursor=%d>; rel="next"`, h.srv.URL, r.URL.EscapedPath(), end))
	}
	answer(w, list[from:end])
}

func (h *fakeHub) preupload(w http.ResponseWriter, r *http.Request, store *fakeRepo, commit string) {
	var in struct {
		Files []struct {
			Path   string
			Sample []byte
			Size   int64
		}
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	type one struct {
		Path         string `json:"path"`
		UploadMode   string `json:"uploadMode"`
		ShouldIgnore bool   `json:"shouldIgnore"`
		OID          string `json:"oid,omitempty"`
	}
	var out []one
	for _, f := range in.Files {
		o := one{Path: f.Path, UploadMode: "regular", ShouldIgnore: strings.HasSuffix(f.Path, ".ignored")}
		if strings.HasSuffix(f.Path, ".bin") {
			o.UploadMode = "lfs"
		}
		if old, ok := store.files[commit][f.Path]; ok && !h.noOID {
			o.OID = old.hash()
		}
		out = append(out, o)
	}
	answer(w, map[string]any{"files": out, "commitOid": commit})
}

func (h *fakeHub) commit(w http.ResponseWriter, r *http.Request, store *fakeRepo, head string) {
	next := map[string]fakeFile{}
	for name, f := range store.files[head] {
		next[name] = f
	}
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var l struct {
			Key   string
			Value struct{ Path, Content, OID, ParentCommit, Summary string }
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			refuse(w, http.StatusBadRequest, "", `{"error":"line"}`)
			return
		}
		switch l.Key {
		case "header":
			if p := l.Value.ParentCommit; p != "" && p != head {
				refuse(w, http.StatusPreconditionFailed, "", `{"error":"The branch was updated"}`)
				return
			}
		case "file":
			data, _ := base64.StdEncoding.DecodeString(l.Value.Content)
			next[l.Value.Path] = fakeFile{data: data}
		case "lfsFile":
			data, ok := h.objects[l.Value.OID]
			if !ok {
				refuse(w, http.StatusBadRequest, "", `{"error":"object is not stored"}`)
				return
			}
			next[l.Value.Path] = fakeFile{data: data, lfs: true}
		case "deletedFile":
			delete(next, l.Value.Path)
		case "deletedFolder":
			for name := range next {
				if strings.HasPrefix(name, strings.TrimSuffix(l.Value.Path, "/")+"/") {
					delete(next, name)
				}
			}
		}
	}
	if lines.Err() != nil {
		refuse(w, http.StatusBadRequest, "", "")
		return
	}
	id := store.add(next)
	if h.afterSent != nil {
		h.afterSent()
	}
	out := map[string]any{"success": true, "commitOid": id, "commitUrl": h.srv.URL + "/commit/" + id}
	if r.URL.Query().Get("create_pr") != "" {
		out["pullRequestUrl"] = h.srv.URL + "/acme/m/discussions/7"
	}
	answer(w, out)
}

func (h *fakeHub) batch(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Objects []struct {
			OID  string
			Size int
		}
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []map[string]any
	for _, o := range in.Objects {
		one := map[string]any{"oid": o.OID, "size": o.Size}
		if h.objects[o.OID] == nil {
			up := map[string]any{"href": h.srv.URL + "/objects/" + o.OID + "?sig=hf_signaturesig"}
			if h.partSize > 0 {
				header := map[string]string{"chunk_size": fmt.Sprint(h.partSize)}
				for n := range (o.Size + h.partSize - 1) / h.partSize {
					header[fmt.Sprintf("%05d", n+1)] = fmt.Sprintf("%s/objects/%s/%05d", h.srv.URL, o.OID, n+1)
				}
				up["header"] = header
			}
			one["actions"] = map[string]any{"upload": up}
		}
		out = append(out, one)
	}
	transfer := "basic"
	if h.partSize > 0 {
		transfer = "multipart"
	}
	answer(w, map[string]any{"transfer": transfer, "objects": out})
}

func (h *fakeHub) object(w http.ResponseWriter, r *http.Request, name string) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Method == http.MethodPut && strings.Contains(name, "/") {
		h.parts[name] = data
		w.Header().Set("ETag", `"`+gitID(data)+`"`)
		return
	}
	if r.Method == http.MethodPost {
		var in struct {
			OID   string
			Parts []struct {
				PartNumber int
				ETag       string
			}
		}
		_ = json.Unmarshal(data, &in)
		data = nil
		for _, p := range in.Parts {
			part := h.parts[fmt.Sprintf("%s/%05d", name, p.PartNumber)]
			if p.ETag != `"`+gitID(part)+`"` {
				refuse(w, http.StatusBadRequest, "", `{"error":"part"}`)
				return
			}
			data = append(data, part...)
		}
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != name && !h.trusting {
		refuse(w, http.StatusUnprocessableEntity, "", `{"error":"sha256 differs"}`)
		return
	}
	h.objects[name] = data
}

func (h *fakeHub) resolve(w http.ResponseWriter, r *http.Request, repo, rev, name string) {
	h.mu.Lock()
	store := h.repos[repo]
	commit := store.at(rev)
	var f fakeFile
	ok := false
	if commit != "" {
		f, ok = store.files[commit][name]
	}
	cdn := h.cdn
	h.mu.Unlock()
	if store == nil {
		refuse(w, http.StatusNotFound, "RepoNotFound", "")
		return
	}
	w.Header().Set("X-Repo-Commit", commit)
	if !ok {
		refuse(w, http.StatusNotFound, "EntryNotFound", "")
		return
	}
	w.Header().Set("ETag", `"`+f.hash()+`"`)
	if cdn != "" && f.lfs {
		w.Header().Set("X-Linked-ETag", `"`+f.hash()+`"`)
		w.Header().Set("X-Linked-Size", fmt.Sprint(len(f.data)))
		w.Header().Set("Location", cdn+"/"+f.hash()+"?sig=1")
		w.WriteHeader(http.StatusFound)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.data))
}

var repoM = Repo{ID: "acme/m"}

// random is n bytes that differ with seed and do not repeat.
func random(seed byte, n int) string {
	var b []byte
	state := [32]byte{seed}
	for len(b) < n {
		state = sha256.Sum256(state[:])
		b = append(b, state[:]...)
	}
	return string(b[:n])
}

func paths(s Snapshot) []string {
	var list []string
	for _, f := range s.Files {
		list = append(list, f.Path)
	}
	slices.Sort(list)
	return list
}
