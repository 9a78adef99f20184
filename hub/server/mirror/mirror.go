// Package mirror reads another Hub through a cache on disk.
//
// Every request asks the other Hub first, without a token, and with the caller's
// own only if that was refused. What may be read without a token is kept and served
// again when the other Hub cannot be reached. What needs a token is asked for each
// time, so that nobody reads it who may no longer; of it only the bytes of files
// are kept, under their hashes. A file is kept once its hash is proved.
package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Config describes a mirror.
type Config struct {
	Upstream string                                // address of the other Hub
	Dir      string                                // folder of the cache; made if absent
	Proxy    func(*http.Request) (*url.URL, error) // as of http.Transport; default none
	Logger   *slog.Logger                          // default discards
}

// Mirror is a cache of one Hub. Its methods may be called from several goroutines.
type Mirror struct {
	upstream *url.URL
	dir      string
	client   *http.Client
	log      *slog.Logger
	locks    locks
}

// New returns a mirror. It asks the other Hub nothing yet.
func New(c Config) (*Mirror, error) {
	u, err := url.Parse(strings.TrimRight(c.Upstream, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("upstream %q: use an address such as https://hub.example.org", c.Upstream)
	}
	for _, sub := range []string{"answers", "files", "temp"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("make folder for mirror: %w", err)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	client := &http.Client{
		Transport:     &http.Transport{Proxy: c.Proxy, ResponseHeaderTimeout: 30 * time.Second, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // follow does it
	}
	return &Mirror{upstream: u, dir: c.Dir, client: client, log: c.Logger}, nil
}

// Request is one read of the other Hub.
type Request struct {
	Path  string // encoded, from the root of a Hub
	Query string // encoded
	Token string // the caller's for the other Hub; empty for none
}

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

// Answer is a JSON answer.
type Answer struct {
	Header http.Header
	Body   []byte
}

// passed are the headers of answers that are kept and passed on.
var passed = []string{"Content-Type", "Link", "X-Repo-Commit", "X-Total-Count"}

// maxAnswer is the longest JSON answer in bytes.
const maxAnswer = 64 << 20

// JSON reads an address of the API. Addresses of the other Hub in its Link header
// become ones below base.
func (m *Mirror) JSON(ctx context.Context, q Request, base string) (Answer, error) {
	name := m.record(q)
	resp, private, err := m.ask(ctx, http.MethodGet, q, "")
	if err != nil {
		return m.kept(name, base, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return m.kept(name, base, fmt.Errorf("%w: %w", ErrUnreachable, err))
	}
	if len(body) > maxAnswer || !json.Valid(body) {
		return Answer{}, fmt.Errorf("read answer of the upstream hub: it is not JSON of up to %d bytes", maxAnswer)
	}
	a := Answer{Header: http.Header{}, Body: body}
	for _, key := range passed {
		if value := resp.Header.Get(key); value != "" {
			a.Header.Set(key, value)
		}
	}
	if private {
		m.forget(name)
	} else if err := m.keep(name, a); err != nil {
		return Answer{}, err
	}
	return a.below(m.upstream.String(), base), nil
}

// kept gives a kept answer if the other Hub could not be reached; one that was
// refused is forgotten.
func (m *Mirror) kept(name, base string, cause error) (Answer, error) {
	if !errors.Is(cause, ErrUnreachable) {
		m.forget(name)
		return Answer{}, cause
	}
	var a Answer
	if err := m.load(name, &a); err != nil {
		return Answer{}, cause
	}
	return a.below(m.upstream.String(), base), nil
}

// below rewrites the address of the next page.
func (a Answer) below(upstream, base string) Answer {
	if link := a.Header.Get("Link"); link != "" {
		a.Header.Set("Link", strings.ReplaceAll(link, "<"+upstream+"/", "<"+base+"/"))
	}
	return a
}

// FileInfo is what the other Hub says of a file.
type FileInfo struct {
	Commit string // 40 or 64 hexadecimal digits
	Hash   string // sha256 of a large file, else the id of its git blob
	Size   int64
}

var (
	commitPattern = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	hashPattern   = commitPattern
)

// Info asks for a file; q.Path is an address with /resolve/. The second result says
// whether the token was needed.
func (m *Mirror) Info(ctx context.Context, q Request) (FileInfo, bool, error) {
	name := m.record(q)
	resp, private, err := m.ask(ctx, http.MethodHead, q, "")
	if errors.Is(err, ErrUnreachable) {
		var info FileInfo
		if m.load(name, &info) != nil {
			return FileInfo{}, false, err
		}
		return info, false, nil
	}
	if err != nil {
		m.forget(name)
		return FileInfo{}, false, err
	}
	resp.Body.Close()
	info, err := fileInfo(resp.Header)
	if err != nil {
		return FileInfo{}, false, err
	}
	if private {
		m.forget(name)
		return info, true, nil
	}
	return info, false, m.keep(name, info)
}

// fileInfo reads the headers of a file. They become names of files here, so that
// only hashes will do.
func fileInfo(h http.Header) (FileInfo, error) {
	size := h.Get("X-Linked-Size")
	if size == "" {
		size = h.Get("Content-Length")
	}
	n, err := strconv.ParseInt(size, 10, 64)
	etag := h.Get("X-Linked-Etag")
	if etag == "" {
		etag = h.Get("ETag")
	}
	info := FileInfo{Commit: h.Get("X-Repo-Commit"), Hash: strings.Trim(strings.TrimPrefix(etag, "W/"), `"`), Size: n}
	if err != nil || n < 0 || !commitPattern.MatchString(info.Commit) || !hashPattern.MatchString(info.Hash) {
		return FileInfo{}, fmt.Errorf("the upstream hub describes a file by commit %q, ETag %q and size %q, which cannot be checked",
			info.Commit, etag, size)
	}
	return info, nil
}

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
	at, err := m.upstream.Parse(m.upstream.EscapedPath() + q.Path)
	if err != nil {
		return nil, fmt.Errorf("make address for the upstream hub: %w", err)
	}
	at.RawQuery = q.Query
	var linked http.Header // of the first redirect: it names the large file
	for range 6 {
		req, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
		if err != nil {
			return nil, fmt.Errorf("make request for the upstream hub: %w", err)
		}
		if token != "" && at.Scheme == m.upstream.Scheme && at.Host == m.upstream.Host {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		if byteRange != "" {
			req.Header.Set("Range", byteRange)
		}
		resp, err := m.client.Do(req)
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

// load reads a record.
func (m *Mirror) load(name string, value any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, value)
}
