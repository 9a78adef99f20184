package main

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
)

// fakeHub is a hub in memory: one user alice with the token hf_write, and hf_read
// that may only read. It says what it was asked.
type fakeHub struct {
	url string

	mu       sync.Mutex
	repos    map[string]*fakeRepo // by models/alice/x
	objects  map[string][]byte
	calls    []string
	noDocker bool                      // Docker Spaces are not in the plan
	broken   func(*http.Request) error // a call that fails with status 500; nil is none
}

type fakeRepo struct {
	sdk, commit string
	commits     int
	files       map[string][]byte
	lfs         map[string]bool // paths
}

func newHub() (h *fakeHub, stop func()) {
	h = &fakeHub{repos: map[string]*fakeRepo{}, objects: map[string][]byte{}}
	server := httptest.NewServer(h)
	h.url = server.URL
	return h, server.Close
}

// take returns what was asked since the last take.
func (h *fakeHub) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	calls := h.calls
	h.calls = nil
	return calls
}

// paths lists a repo's files.
func (h *fakeHub) paths(repo string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.repos[repo] == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(h.repos[repo].files))
}

// ServeHTTP takes one call at a time.
func (h *fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, r.Method+" "+r.URL.Path)
	if h.broken != nil {
		if err := h.broken(r); err != nil {
			fault(w, http.StatusForbidden, "", err.Error())
			return
		}
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	path := strings.Trim(r.URL.Path, "/")
	switch {
	case path == "api/whoami-v2":
		h.whoami(w, token)
	case path == "api/validate-yaml":
		h.validate(w, r)
	case path == "api/repos/create":
		h.create(w, r, token)
	case strings.HasPrefix(path, "objects/"):
		h.store(w, r, strings.TrimPrefix(path, "objects/"))
	case strings.HasSuffix(path, ".git/info/lfs/objects/batch"):
		h.batch(w, r)
	case strings.HasPrefix(path, "api/"):
		h.api(w, r, strings.Split(strings.TrimPrefix(path, "api/"), "/"))
	default:
		h.resolve(w, r, strings.Split(path, "/"))
	}
}

func fault(w http.ResponseWriter, status int, code, message string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", message)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message})
}

func reply(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func (h *fakeHub) whoami(w http.ResponseWriter, token string) {
	role, ok := map[string]string{"hf_write": "write", "hf_read": "read"}[token]
	if !ok {
		fault(w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
		return
	}
	reply(w, map[string]any{"type": "user", "name": "alice", "orgs": []any{map[string]string{"name": "acme"}},
		"auth": map[string]any{"accessToken": map[string]string{"displayName": "t", "role": role}}})
}

func (h *fakeHub) validate(w http.ResponseWriter, r *http.Request) {
	var in struct{ Content string }
	if json.NewDecoder(r.Body).Decode(&in) != nil || !strings.HasPrefix(in.Content, "---\n") {
		fault(w, http.StatusBadRequest, "", "no front matter")
		return
	}
	reply(w, map[string]any{"errors": []any{}, "warnings": []any{}})
}

func (h *fakeHub) create(w http.ResponseWriter, r *http.Request, token string) {
	var in struct{ Name, Organization, Type, SDK string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	key := in.Type + "s/" + in.Organization + "/" + in.Name
	switch {
	case token != "hf_write":
		fault(w, http.StatusForbidden, "", "the token may not write")
	case h.repos[key] != nil:
		fault(w, http.StatusConflict, "", "You already created this repo")
	case in.SDK == "docker" && h.noDocker:
		fault(w, http.StatusPaymentRequired, "", "Docker Spaces need a plan")
	default:
		h.repos[key] = &fakeRepo{sdk: in.SDK, files: map[string][]byte{}, lfs: map[string]bool{}}
		h.repos[key].commitNow()
		reply(w, map[string]string{"url": h.url + "/" + strings.TrimPrefix(key, "models/")})
	}
}

func (f *fakeRepo) commitNow() {
	f.commits++
	f.commit = fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "%d %v", f.commits, slices.Sorted(maps.Keys(f.files)))))
}

// oid is git's id of a blob, or the sha256 of an LFS object.
func (f *fakeRepo) oid(path string) string {
	if f.lfs[path] {
		return fmt.Sprintf("%x", sha256.Sum256(f.files[path]))
	}
	data := f.files[path]
	return fmt.Sprintf("%x", sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...)))
}

func (h *fakeHub) api(w http.ResponseWriter, r *http.Request, parts []string) {
	if len(parts) < 3 || h.repos[strings.Join(parts[:3], "/")] == nil {
		fault(w, http.StatusNotFound, "RepoNotFound", "Repository not found")
		return
	}
	f := h.repos[strings.Join(parts[:3], "/")]
	verb := ""
	if len(parts) > 3 {
		verb = parts[3]
	}
	if len(parts) > 4 && parts[4] != "main" && parts[4] != f.commit {
		fault(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id")
		return
	}
	switch verb {
	case "", "revision":
		info := map[string]any{"id": strings.Join(parts[1:3], "/"), "sha": f.commit}
		if f.sdk != "" {
			info["cardData"] = map[string]string{"sdk": f.sdk}
		}
		reply(w, info)
	case "tree":
		entries := []any{}
		for _, path := range slices.Sorted(maps.Keys(f.files)) {
			e := map[string]any{"type": "file", "path": path, "size": len(f.files[path]), "oid": f.oid(path)}
			if f.lfs[path] {
				e["oid"] = strings.Repeat("1", 40)
				e["lfs"] = map[string]any{"oid": f.oid(path), "size": len(f.files[path]), "pointerSize": 134}
			}
			entries = append(entries, e)
		}
		reply(w, entries)
	case "paths-info":
		reply(w, []any{}) // preupload says of every file whether it is here
	case "preupload":
		f.preupload(w, r)
	case "commit":
		h.commit(w, r, f)
	default:
		fault(w, http.StatusNotFound, "", "no such call")
	}
}

func (f *fakeRepo) preupload(w http.ResponseWriter, r *http.Request) {
	var in struct{ Files []struct{ Path string } }
	_ = json.NewDecoder(r.Body).Decode(&in)
	files := []any{}
	for _, q := range in.Files {
		a := map[string]any{"path": q.Path, "uploadMode": "regular", "shouldIgnore": false}
		if strings.HasSuffix(q.Path, ".safetensors") {
			a["uploadMode"] = "lfs"
		}
		if f.files[q.Path] != nil {
			a["oid"] = f.oid(q.Path)
		}
		files = append(files, a)
	}
	reply(w, map[string]any{"files": files, "commitOid": f.commit})
}

func (h *fakeHub) batch(w http.ResponseWriter, r *http.Request) {
	type object struct {
		OID     string         `json:"oid"`
		Size    int64          `json:"size"`
		Actions map[string]any `json:"actions,omitempty"`
	}
	var in struct{ Objects []object }
	_ = json.NewDecoder(r.Body).Decode(&in)
	for i, o := range in.Objects {
		if h.objects[o.OID] == nil {
			in.Objects[i].Actions = map[string]any{"upload": map[string]string{"href": h.url + "/objects/" + o.OID}}
		}
	}
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	reply(w, map[string]any{"transfer": "basic", "objects": in.Objects})
}

func (h *fakeHub) store(w http.ResponseWriter, r *http.Request, oid string) {
	data, err := io.ReadAll(r.Body)
	if sum := sha256.Sum256(data); err != nil || hex.EncodeToString(sum[:]) != oid {
		fault(w, http.StatusUnprocessableEntity, "", "the content is another")
		return
	}
	h.objects[oid] = data
}

func (h *fakeHub) commit(w http.ResponseWriter, r *http.Request, f *fakeRepo) {
	in := bufio.NewScanner(r.Body)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var line struct {
			Key   string
			Value struct{ Path, Content, OID, ParentCommit string }
		}
		_ = json.Unmarshal(in.Bytes(), &line)
		switch v := line.Value; line.Key {
		case "header":
			if v.ParentCommit != "" && v.ParentCommit != f.commit {
				fault(w, http.StatusPreconditionFailed, "", "The branch was updated")
				return
			}
		case "file":
			f.files[v.Path], _ = base64.StdEncoding.DecodeString(v.Content)
			f.lfs[v.Path] = false
		case "lfsFile":
			if h.objects[v.OID] == nil {
				fault(w, http.StatusUnprocessableEntity, "", "no such object")
				return
			}
			f.files[v.Path], f.lfs[v.Path] = h.objects[v.OID], true
		case "deletedFile":
			delete(f.files, v.Path)
		}
	}
	if card := f.files["README.md"]; f.sdk != "" && bytes.Contains(card, []byte("sdk: static")) {
		f.sdk = "static"
	}
	f.commitNow()
	reply(w, map[string]any{"success": true, "commitOid": f.commit, "commitUrl": h.url + "/commit/" + f.commit})
}

func (h *fakeHub) resolve(w http.ResponseWriter, r *http.Request, parts []string) {
	if len(parts) < 5 || h.repos["models/"+parts[0]+"/"+parts[1]] == nil {
		fault(w, http.StatusNotFound, "RepoNotFound", "Repository not found")
		return
	}
	f, path := h.repos["models/"+parts[0]+"/"+parts[1]], strings.Join(parts[4:], "/")
	w.Header().Set("X-Repo-Commit", f.commit)
	if f.files[path] == nil {
		fault(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	w.Header().Set("ETag", `"`+f.oid(path)+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.files[path]))
}
