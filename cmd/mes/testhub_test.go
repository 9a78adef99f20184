package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"

	"github.com/mamba-encoder-swarm/mes/hub/client"
	"github.com/mamba-encoder-swarm/mes/hub/server"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// testHub is a hub of this program with the user alice, who is in the organisation
// acme. It notes what it was asked, and can refuse.
type testHub struct {
	url         string
	write, read string // alice's tokens

	server http.Handler
	alice  *client.Client

	mu       sync.Mutex
	calls    []string
	noDocker bool                      // Docker Spaces are not in alice's plan
	broken   func(*http.Request) error // a call that is refused; nil is none
}

// newHub serves a hub in a folder until stop is called.
func newHub(dir string) (h *testHub, stop func(), err error) {
	s, err := server.New(server.Config{Dir: dir})
	if err != nil {
		return nil, nil, err
	}
	h = &testHub{server: s.Handler()}
	ctx := context.Background()
	_, err = s.AddUser(ctx, meta.User{Name: "alice"})
	if err == nil {
		_, err = s.AddUser(ctx, meta.User{Name: "acme", Org: true, Members: map[string]string{"alice": "admin"}})
	}
	var writeErr, readErr error
	h.write, writeErr = s.AddToken(ctx, meta.Token{User: "alice", Label: "w", Kind: meta.TokenWrite})
	h.read, readErr = s.AddToken(ctx, meta.Token{User: "alice", Label: "r", Kind: meta.TokenRead})
	listener := httptest.NewServer(h)
	h.url = listener.URL
	var clientErr error
	h.alice, clientErr = client.New(client.Config{Endpoint: h.url, Token: h.write})
	return h, func() { listener.Close(); s.Close() }, errors.Join(err, writeErr, readErr, clientErr)
}

// ServeHTTP implements [http.Handler].
func (h *testHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.calls = append(h.calls, r.Method+" "+r.URL.Path)
	noDocker, broken := h.noDocker, h.broken
	h.mu.Unlock()
	if broken != nil {
		if err := broken(r); err != nil {
			refuse(w, http.StatusForbidden, err.Error())
			return
		}
	}
	if noDocker && r.URL.Path == "/api/repos/create" {
		body, err := io.ReadAll(r.Body)
		if err != nil || bytes.Contains(body, []byte(`"sdk":"docker"`)) {
			refuse(w, http.StatusPaymentRequired, "Docker Spaces need a plan")
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	h.server.ServeHTTP(w, r)
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("X-Error-Message", message)
	http.Error(w, `{"error":"`+message+`"}`, status)
}

// take returns what was asked since the last take.
func (h *testHub) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	calls := h.calls
	h.calls = nil
	return calls
}

// asked returns the calls of a method since the last take whose path begins with one.
func (h *testHub) asked(method, path string) (calls []string) {
	for _, call := range h.take() {
		if strings.HasPrefix(call, method+" "+path) {
			calls = append(calls, call)
		}
	}
	return calls
}

// files lists a repo's files without .gitattributes, which a hub makes; none of a repo
// that is not there.
func (h *testHub) files(repo client.Repo) ([]string, error) {
	entries, err := h.alice.Tree(context.Background(), repo, "main", "", true)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.Path != ".gitattributes" {
			names = append(names, e.Path)
		}
	}
	return names, err
}

// file returns a file's content.
func (h *testHub) file(repo client.Repo, path string) (string, error) {
	r, err := http.Get(h.url + "/" + repo.String() + "/resolve/main/" + path)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	return string(data), err
}
