package client

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestRedirects(t *testing.T) {
	var stolen atomic.Value
	stolen.Store("")
	text := random(3, 100_000)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get("Authorization") + r.Header.Get("Cookie"); a != "" {
			stolen.Store(a)
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	}))
	defer other.Close()
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"x.bin": text})
	h.cdn = other.URL
	c := h.client(nil)
	c.chunk = 16 << 10
	file, err := c.Download(t.Context(), repoM, "main", "x.bin")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(file); string(got) != text {
		t.Error("what arrived differs")
	}
	if stolen.Load() != "" {
		t.Errorf("the token went to another host: %v", stolen.Load())
	}
	if n := h.count("GET", "/resolve/"); n > c.connections {
		t.Errorf("the hub was asked %d times, not once for each connection", n)
	}
}

func TestExpiredAddressIsAskedForAgain(t *testing.T) {
	text := random(3, 100_000)
	var n atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%3 == 0 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	}))
	defer other.Close()
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"x.bin": text})
	h.cdn = other.URL
	c := h.client(func(cfg *Config) { cfg.Connections = 1 })
	c.chunk = 16 << 10
	if _, err := c.Download(t.Context(), repoM, "main", "x.bin"); err != nil {
		t.Fatal(err)
	}
	if h.count("GET", "/resolve/") < 2 {
		t.Error("the hub was not asked again")
	}
}

func TestRedirectsThatAreRefused(t *testing.T) {
	h := newFake(t)
	cases := []struct{ name, path, to, want string }{
		{"circle", "/api/whoami-v2", "/api/whoami-v2", "circle"},
		{"other scheme", "/api/whoami-v2", "ftp://example.org/", "neither http nor https"},
		{"file", "/api/whoami-v2", "file:///etc/passwd", "neither http nor https"},
		{"not an address", "/api/whoami-v2", "http://[::1", "cannot be read"},
	}
	for _, tc := range cases {
		h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
			w.Header().Set("Location", tc.to)
			w.WriteHeader(http.StatusFound)
			return w, true
		}
		h.forget()
		_, err := h.client(nil).Whoami(t.Context())
		if err == nil || !strings.Contains(err.Error(), tc.want) || len(h.calls) != 1 {
			t.Errorf("%s: %v after %d requests", tc.name, err, len(h.calls))
		}
	}
	var n atomic.Int64
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		w.Header().Set("Location", fmt.Sprintf("/api/whoami-v2?n=%d", n.Add(1)))
		w.WriteHeader(http.StatusFound)
		return w, true
	}
	if _, err := h.client(nil).Whoami(t.Context()); err == nil || !strings.Contains(err.Error(), "more than 10 redirects") {
		t.Errorf("endless: %v", err)
	}
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		w.Header().Set("Location", "/api/models/acme/n")
		w.WriteHeader(http.StatusFound)
		return w, true
	}
	if err := h.client(nil).Merge(t.Context(), repoM, 1, ""); err == nil || !strings.Contains(err.Error(), "would be lost") {
		t.Errorf("POST: %v", err)
	}
}

func TestNoWayFromHTTPSToHTTP(t *testing.T) {
	reached := false
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusFound)
	}))
	defer secure.Close()
	c, err := New(Config{Endpoint: secure.URL, Token: "hf_secretsecret", Transport: secure.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Whoami(t.Context()); err == nil || !strings.Contains(err.Error(), "not encrypted") || reached {
		t.Errorf("%v, reached %t", err, reached)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTokenStaysAtItsOrigin(t *testing.T) {
	for _, to := range []string{
		"https://cdn.hub.example/x",  // a subdomain, which net/http would give it to
		"https://hub.example:8443/x", // another port
		"https://example/x",          // the parent
		"https://hub.example.evil.example/x",
		"https://user:hf_secretsecret@evil.example/x",
	} {
		var got []string
		c, err := New(Config{Endpoint: "https://hub.example", Token: "hf_secretsecret", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			got = append(got, r.URL.Host+" "+r.Header.Get("Authorization"))
			resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"name":"a"}`)), Request: r}
			switch len(got) {
			case 1:
				resp.StatusCode = 307
				resp.Header.Set("Location", to)
			case 2: // and back: a host that sends us back does not get to use the token
				resp.StatusCode = 307
				resp.Header.Set("Location", "https://hub.example/api/whoami-v2?again")
			}
			return resp, nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Whoami(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(got) != 3 || got[0] != "hub.example Bearer hf_secretsecret" || !strings.HasSuffix(got[1], " ") || got[2] != "hub.example " {
			t.Errorf("%s: %q", to, got)
		}
	}
}

func TestAddressesOfThePublicHubBecomeOurs(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1", "b": "2", "c": "3"})
	h.pageSize = 1
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		return &headerChanger{w, func(head http.Header) {
			head.Set("Link", strings.Replace(head.Get("Link"), h.srv.URL, DefaultEndpoint, 1))
		}}, false
	}
	list, err := h.client(nil).Tree(t.Context(), repoM, "main", "", true)
	if err != nil || len(list) != 3 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestEndpointWithPath(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1"})
	c := h.client(func(cfg *Config) { cfg.Endpoint += "/hub/" })
	if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, call := range h.calls {
		if !strings.Contains(call, " /hub/") {
			t.Errorf("%s leaves the endpoint's path", call)
		}
	}
}
