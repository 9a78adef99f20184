package server_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub/server"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// hub is a server with users, for tests.
type hub struct {
	t      testing.TB
	srv    *server.Server
	url    string
	dir    string
	tokens map[string]string // "" is nobody
}

// newHub serves a data folder in which alice and bob are users and acme is an
// organization of carol (write) and dave (read).
func newHub(t testing.TB, change func(*server.Config)) *hub {
	t.Helper()
	cfg := server.Config{Dir: t.TempDir()}
	cfg.Git, _ = exec.LookPath("git")
	if change != nil {
		change(&cfg)
	}
	h := &hub{t: t, dir: cfg.Dir, tokens: map[string]string{"": "", "bad": "hf_wrong"}}
	h.open(cfg)
	for _, name := range []string{"alice", "bob", "carol", "dave"} {
		_, err := h.srv.AddUser(t.Context(), meta.User{Name: name})
		h.must(err)
		h.token(name, meta.Token{User: name, Kind: meta.TokenWrite})
	}
	_, err := h.srv.AddUser(t.Context(), meta.User{Name: "acme", Org: true, Members: map[string]string{"carol": meta.RoleWrite, "dave": meta.RoleRead}})
	h.must(err)
	h.token("alice-read", meta.Token{User: "alice", Kind: meta.TokenRead})
	h.token("alice-fine", meta.Token{User: "alice", Kind: meta.TokenFine, Scopes: []meta.Scope{{Target: "model/alice/other", Write: true}}})
	return h
}

func (h *hub) open(cfg server.Config) {
	h.t.Helper()
	srv, err := server.New(cfg)
	h.must(err)
	web := httptest.NewServer(srv.Handler())
	h.srv, h.url = srv, web.URL
	h.t.Cleanup(func() {
		web.Close()
		srv.Close()
	})
}

func (h *hub) token(as string, token meta.Token) {
	h.t.Helper()
	secret, err := h.srv.AddToken(h.t.Context(), token)
	h.must(err)
	h.tokens[as] = secret
}

func (h *hub) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// reply is an answer read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// send makes a request as one of the users. A body that is no string goes as JSON.
func (h *hub) send(as, method, path string, body any, header ...string) reply {
	h.t.Helper()
	var in io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	case []byte:
		in = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		h.must(err)
		in = bytes.NewReader(data)
	}
	if !strings.HasPrefix(path, "http") {
		path = h.url + path
	}
	req, err := http.NewRequestWithContext(h.t.Context(), method, path, in)
	h.must(err)
	req.Header.Set("Content-Type", kind)
	if token := h.tokens[as]; token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	h.must(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	h.must(err)
	return reply{resp.StatusCode, resp.Header, string(data)}
}

// want is send with a check of the status.
func (h *hub) want(status int, as, method, path string, body any, header ...string) reply {
	h.t.Helper()
	r := h.send(as, method, path, body, header...)
	if r.status != status {
		h.t.Fatalf("%s %s as %q: status %d, want %d: %s", method, path, as, r.status, status, r.body)
	}
	return r
}

// create makes a repo of alice's.
func (h *hub) create(kind, name string, private bool) {
	h.t.Helper()
	h.want(200, "alice", "POST", "/api/repos/create", map[string]any{"name": name, "type": kind, "private": private, "sdk": "docker"})
}

// ndjson is a commit's body.
func ndjson(lines ...map[string]any) string {
	var out strings.Builder
	for _, line := range lines {
		data, _ := json.Marshal(line)
		out.Write(data)
		out.WriteByte('\n')
	}
	return out.String()
}

func header(summary string, more ...string) map[string]any {
	value := map[string]any{"summary": summary, "description": ""}
	if len(more) > 0 {
		value["parentCommit"] = more[0]
	}
	return map[string]any{"key": "header", "value": value}
}

func file(path, content string) map[string]any {
	return map[string]any{"key": "file", "value": map[string]any{"path": path, "encoding": "base64", "content": base64.StdEncoding.EncodeToString([]byte(content))}}
}

func lfsFile(path, content string) map[string]any {
	return map[string]any{"key": "lfsFile", "value": map[string]any{"path": path, "algo": "sha256", "oid": sha(content), "size": len(content)}}
}

func deleted(key, path string) map[string]any {
	return map[string]any{"key": key, "value": map[string]any{"path": path}}
}

func sha(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// commit makes one on a model of alice's and gives its id.
func (h *hub) commit(repo string, lines ...map[string]any) string {
	h.t.Helper()
	r := h.want(200, "alice", "POST", "/api/models/"+repo+"/commit/main", ndjson(append([]map[string]any{header("a commit")}, lines...)...))
	return field[string](h, r, "commitOid")
}

// sendLFS brings a large file into a repo the way clients do.
func (h *hub) sendLFS(repo, content string) {
	h.t.Helper()
	r := h.want(200, "alice", "POST", "/"+repo+".git/info/lfs/objects/batch", map[string]any{
		"operation": "upload", "transfers": []string{"basic"}, "objects": []any{map[string]any{"oid": sha(content), "size": len(content)}}})
	var batch struct {
		Objects []struct {
			Actions map[string]struct{ Href string }
		}
	}
	h.must(json.Unmarshal([]byte(r.body), &batch))
	href := batch.Objects[0].Actions["upload"].Href
	if href == "" {
		return
	}
	h.want(200, "", "PUT", href, content)
	h.want(200, "", "POST", batch.Objects[0].Actions["verify"].Href, map[string]any{"oid": sha(content), "size": len(content)})
}

// field reads one field of a JSON answer.
func field[T any](h *hub, r reply, name string) (value T) {
	h.t.Helper()
	fields := map[string]json.RawMessage{}
	h.must(json.Unmarshal([]byte(r.body), &fields))
	if err := json.Unmarshal(fields[name], &value); err != nil {
		h.t.Fatalf("field %s of %s: %v", name, r.body, err)
	}
	return value
}

// lasting are the headers that tell one answer from another.
func (r reply) lasting() map[string][]string {
	h := maps.Clone(map[string][]string(r.header))
	for _, name := range []string{"Date", "Ratelimit"} {
		delete(h, name)
	}
	return h
}

func (r reply) String() string { return fmt.Sprint(r.status, r.lasting(), r.body) }

// damage changes a byte in the middle of every file below a folder.
func damage(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, "objects") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil || len(data) == 0 {
			return err
		}
		data[len(data)/2] ^= 0xff
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		return os.WriteFile(path, data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}
