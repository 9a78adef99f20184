package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestWrongAnswers(t *testing.T) {
	set := func(key, value string) func(http.Header) { return func(h http.Header) { h.Set(key, value) } }
	cases := []struct {
		name   string
		change func(http.Header)
		want   string
	}{
		{"ETag of another file", set("ETag", `"`+strings.Repeat("ab", 20)+`"`), "ETag"},
		{"length too short", set("Content-Length", "5"), "length"},
		{"range of another place", func(h http.Header) {
			h.Set("Content-Range", "bytes 4-10/11")
		}, ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			h := newFake(t)
			h.put("models/acme/m", map[string]string{"a.txt": "hello, hub!"})
			h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
				if isGet("/resolve/")(r) {
					return &headerChanger{w, tc.change}, false
				}
				return w, false
			}
			c := h.client(nil)
			file, err := c.Download(t.Context(), repoM, "main", "a.txt")
			if tc.want == "" {
				if got, _ := os.ReadFile(file); err != nil || string(got) != "hello, hub!" {
					t.Errorf("%v", err) // a full answer has no range to look at
				}
				return
			}
			var bad *MismatchError
			if !errors.As(err, &bad) || bad.What != tc.want {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestBusyServer(t *testing.T) {
	for _, status := range []int{408, 429, 500, 502, 503, 504} {
		h := newFake(t)
		h.put("models/acme/m", map[string]string{"a.txt": "x"})
		h.fault = times(3, func(*http.Request) bool { return true }, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		c := h.client(nil)
		if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{}); err != nil {
			t.Errorf("%d three times: %v", status, err)
		}
		h.fault = times(1000, func(*http.Request) bool { return true }, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		h.forget()
		var answer *Error
		if _, err := h.client(nil).Whoami(t.Context()); !errors.As(err, &answer) || answer.Status != status {
			t.Errorf("%d for ever: %v", status, err)
		}
		if n := h.count("GET", ""); n != 1+maxRetries {
			t.Errorf("%d for ever: %d attempts", status, n)
		}
	}
}

func TestWaitsAsTheServerAsks(t *testing.T) {
	cases := []struct {
		name, key, value string
		least, most      time.Duration
	}{
		{"seconds", "Retry-After", "7", 7 * time.Second, 9 * time.Second},
		{"date", "Retry-After", time.Now().Add(5 * time.Minute).UTC().Format(http.TimeFormat), 4 * time.Minute, 5*time.Minute + 3*time.Second},
		{"rate limit", "RateLimit", `"api";r=0;t=55`, 55 * time.Second, 57 * time.Second},
		{"rate limit with rest", "RateLimit", `"api";r=3;t=55`, 0, 2 * time.Second},
		{"neither", "X-Other", "1", time.Second / 2, time.Second},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			h := newFake(t)
			h.fault = times(1, func(*http.Request) bool { return true }, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set(tc.key, tc.value)
				w.WriteHeader(http.StatusTooManyRequests)
			})
			c := h.client(nil)
			var waited time.Duration
			c.sleep = func(_ context.Context, d time.Duration) error { waited = d; return nil }
			if _, err := c.Whoami(t.Context()); err != nil {
				t.Fatal(err)
			}
			if waited < tc.least || waited > tc.most {
				t.Errorf("waited %v, want %v to %v", waited, tc.least, tc.most)
			}
		})
	}
	h := newFake(t)
	h.fault = times(9, func(*http.Request) bool { return true }, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "86400")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	if _, err := h.client(nil).Whoami(t.Context()); err == nil || !strings.Contains(err.Error(), "24h0m") || h.count("GET", "") != 1 {
		t.Errorf("a day is waited for: %v", err)
	}
}

func TestStalledTransfer(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a.txt": "hello, hub!"})
	h.fault = times(1, isGet("/resolve/"), func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "11")
		_, _ = io.WriteString(w, "hell")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := h.client(func(cfg *Config) { cfg.IdleTimeout = time.Second / 2 })
	file, err := c.Download(t.Context(), repoM, "main", "a.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(file); string(got) != "hello, hub!" {
		t.Errorf("%q", got)
	}
}

func TestHTMLInsteadOfJSON(t *testing.T) {
	h := newFake(t)
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>please log in to the proxy</html>")
		return w, true
	}
	_, err := h.client(nil).Whoami(t.Context())
	if err == nil || !strings.Contains(err.Error(), "text/html") || !strings.Contains(err.Error(), "proxy") {
		t.Error(err)
	}
	if _, err := h.client(nil).Download(t.Context(), repoM, "main", "a"); err == nil || !strings.Contains(err.Error(), "names no commit") {
		t.Error(err)
	}
}

func TestAnswerThatNeverEnds(t *testing.T) {
	h := newFake(t)
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, h.srv.URL+r.URL.RequestURI()))
		answer(w, []Entry{})
		return w, true
	}
	if _, err := h.client(nil).Tree(t.Context(), repoM, "main", "", true); err == nil || !strings.Contains(err.Error(), "circle") {
		t.Error(err)
	}
}

func TestErrorsOfTheServer(t *testing.T) {
	cases := []struct {
		status          int
		code, msg, body string
		kind            error
		text            string
	}{
		{404, "RepoNotFound", "Repository not found", "", ErrRepoNotFound, "Repository not found"},
		{401, "RepoNotFound", "", "", ErrRepoNotFound, "private"},
		{404, "RevisionNotFound", "", `{"error":"Invalid rev id: x"}`, ErrRevisionNotFound, "Invalid rev id: x"},
		{404, "EntryNotFound", "", "", ErrEntryNotFound, "file not found"},
		{403, "GatedRepo", "", "", ErrGated, "asked for"},
		{401, "", "Invalid credentials in Authorization header", "", ErrUnauthorized, "Invalid credentials"},
		{403, "", "Access to this resource is disabled.", "", ErrDisabled, "disabled"},
		{402, "", "", "", ErrPayment, "plan"},
		{403, "", "no write", "", ErrForbidden, "no write"},
		{400, "", "", `{"error":"bad","errors":[{"message":"line 3"}]}`, ErrBadRequest, "bad; line 3"},
		{409, "", "", "", ErrConflict, "exists"},
		{412, "", "", "", ErrBranchMoved, "moved"},
		{404, "", "", "<html>", nil, "is a page"},
		{404, "", "", "", nil, "Not Found"},
		{400, "", "", `{"error":"your token hf_abcdefgh12 is bad"}`, ErrBadRequest, "your token *** is bad"},
		{400, "", "", `{"error":"your token hf_jwt_eyJ0.aB-c_d is bad"}`, ErrBadRequest, "your token *** is bad"},
	}
	for _, tc := range cases {
		h := newFake(t)
		h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
			w.Header().Set("X-Request-Id", "id-1")
			if tc.msg != "" {
				w.Header().Set("X-Error-Message", tc.msg)
			}
			refuse(w, tc.status, tc.code, tc.body)
			return w, true
		}
		_, err := h.client(nil).Info(t.Context(), repoM, "v1")
		var e *Error
		if !errors.As(err, &e) || e.Kind != tc.kind || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%d %s: %v", tc.status, tc.code, err)
			continue
		}
		for _, want := range []string{"id-1", h.srv.URL + "/api/models/acme/m/revision/v1", strconv.Itoa(tc.status)} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %s", err, want)
			}
		}
		notFound := tc.kind == ErrRepoNotFound || tc.kind == ErrRevisionNotFound || tc.kind == ErrEntryNotFound
		if errors.Is(err, fs.ErrNotExist) != notFound {
			t.Errorf("%v: fs.ErrNotExist is %t", err, !notFound)
		}
	}
}

func TestTokensAreNeverShown(t *testing.T) {
	const token = "not-like-the-others-8472"
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"old": "1"})
	var log *bytes.Buffer
	c := h.client(func(cfg *Config) { cfg.Token = token; log = logged(cfg) })
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		if r.Method == http.MethodPut { // the signed address of an upload
			w.Header().Set("X-HF-Warning", "a; "+r.Header.Get("Authorization")+token)
			refuse(w, http.StatusInternalServerError, "", `{"error":"`+token+` hf_abcdefgh"}`)
			return w, true
		}
		return w, false
	}
	_, err := c.Upload(t.Context(), repoM, UploadOptions{Files: []File{{Path: "x.bin", Bytes: []byte("123")}}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, secret := range []string{token, "hf_abcdefgh", "hf_signaturesig", "sig="} {
		if strings.Contains(err.Error(), secret) || strings.Contains(log.String(), secret) {
			t.Errorf("%s is shown: %v\n%s", secret, err, log)
		}
	}
	if _, err := New(Config{Endpoint: "https://user:pw@hub.example"}); err == nil || strings.Contains(err.Error(), "pw") {
		t.Error(err)
	}
}

// TestAskTimeout: a hub that does not answer is asked again, and then the cache
// answers. Transfers have a time-out of their own.
func TestAskTimeout(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1"})
	patient := h.client(nil)
	if _, err := patient.Snapshot(t.Context(), repoM, "", SnapshotOptions{}); err != nil {
		t.Fatal(err)
	}
	c := h.client(func(cfg *Config) { cfg.AskTimeout, cfg.Cache = 30*time.Millisecond, patient.cache })
	again := 0 // a question that the client takes back early never comes to the hub, so the client's are counted
	c.sleep = func(ctx context.Context, _ time.Duration) error { again++; return ctx.Err() }
	slow := func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		if r.Method == http.MethodHead || strings.Contains(r.URL.Path, "/revision/") {
			<-r.Context().Done()
			return w, true
		}
		return w, false
	}
	h.mu.Lock()
	h.fault = slow
	h.mu.Unlock()
	if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := c.Download(t.Context(), repoM, "main", "a"); err != nil {
		t.Error(err)
	}
	if again != 2*maxRetries {
		t.Errorf("the hub was asked again %d times, want %d", again, 2*maxRetries)
	}
	if _, err := c.Download(t.Context(), repoM, "main", "b"); !errors.Is(err, errLate) {
		t.Error(err)
	}
}

// TestHeadersInAnyOrderAndCase: a proxy may write them anew.
func TestHeadersInAnyOrderAndCase(t *testing.T) {
	h := newFake(t)
	commit := h.put("models/acme/m", map[string]string{"a.txt": "hello, hub!"})
	headers := []string{"x-repo-commit: " + commit, `etag: W/"` + gitID([]byte("hello, hub!")) + `"`, "CONTENT-LENGTH: 11", "X-oTHER:", "connection: close"}
	for turn := range headers {
		h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
			if !strings.Contains(r.URL.Path, "/resolve/") {
				return w, false
			}
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return w, true
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+strings.Join(append(slices.Clone(headers[turn:]), headers[:turn]...), "\r\n")+"\r\n\r\n")
			if r.Method == http.MethodGet {
				_, _ = io.WriteString(conn, "hello, hub!")
			}
			return w, true
		}
		file, err := h.client(nil).Download(t.Context(), repoM, "main", "a.txt")
		if got, _ := os.ReadFile(file); err != nil || string(got) != "hello, hub!" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// TestProxyIsNamed: when a proxy is at fault, the error says which.
func TestProxyIsNamed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := listener.Addr().String()
	must(t, listener.Close()) // nobody listens there
	for _, endpoint := range []string{"http://hub.example", "https://hub.example"} {
		c, err := New(Config{Endpoint: endpoint, Transport: NewTransport(func(*http.Request) (*url.URL, error) {
			return url.Parse("http://user:hidden@" + address)
		})})
		must(t, err)
		c.sleep = func(context.Context, time.Duration) error { return nil }
		_, err = c.Whoami(t.Context())
		if err == nil || !strings.Contains(err.Error(), "through the proxy "+address) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}

// TestUnknownCertificate: where the chain of a certificate is not known, as behind a
// proxy that looks into the traffic, the error says what to do.
func TestUnknownCertificate(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	c, err := New(Config{Endpoint: srv.URL})
	must(t, err)
	c.sleep = func(context.Context, time.Duration) error { return nil }
	if _, err = c.Whoami(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown authority") || !strings.Contains(err.Error(), "SSL_CERT_FILE") {
		t.Errorf("%v", err)
	}
}
