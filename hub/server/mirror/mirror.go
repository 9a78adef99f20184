// Package mirror reads another Hub through a cache on disk.
//
// Every request asks the other Hub first, without a token, and with the caller's
// own only if that was refused. What may be read without a token is kept and served
// again when the other Hub cannot be reached. What needs a token is asked for each
// time, so that nobody reads it who may no longer; of it only the bytes of files
// are kept, under their hashes. A file is kept once its hash is proved, and hashed
// again when a process opens it for the first time. What was not used for longest
// makes room for what is new.
package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Config describes a mirror.
type Config struct {
	Upstream string                                // address of the other Hub
	Dir      string                                // folder of the cache; made if absent
	MaxBytes int64                                 // of the cache; default no limit
	Proxy    func(*http.Request) (*url.URL, error) // as of http.Transport; default none
	Logger   *slog.Logger                          // default discards
}

// Mirror is a cache of one Hub. Its methods may be called from several goroutines.
type Mirror struct {
	upstream *url.URL
	dir      string
	client   *http.Client
	guarded  *http.Client // for addresses that the other Hub names
	proxy    func(*http.Request) (*url.URL, error)
	lookup   func(ctx context.Context, network, host string) ([]netip.Addr, error)
	log      *slog.Logger
	locks    locks
	shelf    *shelf
}

// New returns a mirror. It asks the other Hub nothing yet.
func New(c Config) (*Mirror, error) {
	u, err := url.Parse(strings.TrimRight(c.Upstream, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("upstream %q: use an address such as https://hub.example.org", c.Upstream)
	}
	if err := os.RemoveAll(filepath.Join(c.Dir, "temp")); err != nil { // of a process that was killed
		return nil, fmt.Errorf("clear folder of mirror: %w", err)
	}
	for _, sub := range []string{"answers", "files", "temp"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("make folder for mirror: %w", err)
		}
	}
	kept, err := openShelf(c.Dir, c.MaxBytes, "answers", "files")
	if err != nil {
		return nil, fmt.Errorf("look at what the mirror keeps: %w", err)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Mirror{upstream: u, dir: c.Dir, log: c.Logger, shelf: kept, proxy: c.Proxy, lookup: net.DefaultResolver.LookupNetIP,
		client: newClient(&net.Dialer{}, c.Proxy), guarded: newClient(&net.Dialer{Control: refusePrivate}, nil)}, nil
}

// Request is one read of the other Hub, at the path Before + Rev + After.
type Request struct {
	Before, After string // encoded, from the root of a Hub
	Rev           string // encoded; empty where the path names no revision
	Query         string // encoded
	Body          []byte // JSON that is posted; nil for a GET
	Token         string // the caller's for the other Hub; empty for none
}

// Pinned is the same request at a commit.
func (q Request) Pinned(commit string) Request {
	if q.Rev != "" {
		q.Rev = commit
	}
	return q
}

func (q Request) path() string { return q.Before + q.Rev + q.After }

// Error is an answer of the other Hub that is not a success.
type Error struct {
	Status                int
	Code, Message, Commit string // as in its headers; may be empty
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("the upstream hub answers %d: %s", e.Status, e.Message)
}

// ErrUnreachable means that the other Hub cannot be asked, and that nothing is kept
// that may be served without asking.
var ErrUnreachable = errors.New("the upstream hub cannot be reached and this is not in the cache")

// ask sends a request without a token, and then with it if that was refused. An
// answer that is no success becomes an error: an *Error, or ErrUnreachable.
func (m *Mirror) ask(ctx context.Context, method string, q Request, byteRange string) (resp *http.Response, private bool, err error) {
	resp, err = m.follow(ctx, method, q, "", byteRange)
	var refused *Error
	if q.Token != "" && errors.As(err, &refused) && (refused.Status == 401 || refused.Status == 403 || refused.Status == 404) {
		resp, err = m.follow(ctx, method, q, q.Token, byteRange)
		private = true
	}
	return resp, private, err
}

// follow sends one request and follows redirects; a HEAD stops at another host. The
// token goes to the other Hub alone.
func (m *Mirror) follow(ctx context.Context, method string, q Request, token, byteRange string) (*http.Response, error) {
	at, err := m.upstream.Parse(m.upstream.EscapedPath() + q.path())
	if err != nil {
		return nil, fmt.Errorf("make address for the upstream hub: %w", err)
	}
	at.RawQuery = q.Query
	var linked http.Header // of the first redirect: it names the large file
	for range 6 {
		req, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(q.Body))
		if err != nil {
			return nil, fmt.Errorf("make request for the upstream hub: %w", err)
		}
		if q.Body != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		if token != "" && at.Scheme == m.upstream.Scheme && at.Host == m.upstream.Host {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		if byteRange != "" {
			req.Header.Set("Range", byteRange)
		}
		resp, err := m.clientFor(req).Do(req)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, withoutAddress(err))
		}
		for key, values := range linked {
			resp.Header[key] = values
		}
		next, err := at.Parse(resp.Header.Get("Location"))
		if resp.StatusCode/100 != 3 || resp.Header.Get("Location") == "" || err != nil {
			return success(resp)
		}
		if method == http.MethodHead && next.Host != at.Host {
			return resp, nil
		}
		if resp.Header.Get("X-Repo-Commit") != "" {
			linked = pick(resp.Header, "X-Repo-Commit", "X-Linked-Etag", "X-Linked-Size")
		}
		resp.Body.Close()
		at = next
	}
	return nil, fmt.Errorf("%w: it redirects without end", ErrUnreachable)
}

// withoutAddress takes the address out of an error: it may hold a signature.
func withoutAddress(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

func pick(h http.Header, keys ...string) http.Header {
	out := http.Header{}
	for _, key := range keys {
		if value := h.Get(key); value != "" {
			out.Set(key, value)
		}
	}
	return out
}

// success returns a good answer, or its error.
func success(resp *http.Response) (*http.Response, error) {
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		return resp, nil
	}
	resp.Body.Close()
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		return nil, fmt.Errorf("%w: it answers %d", ErrUnreachable, resp.StatusCode)
	}
	h := resp.Header
	return nil, &Error{Status: resp.StatusCode, Code: h.Get("X-Error-Code"), Message: h.Get("X-Error-Message"), Commit: h.Get("X-Repo-Commit")}
}
