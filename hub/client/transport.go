package client

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	maxRedirects = 10
	maxAnswer    = 64 << 20 // bytes of one JSON answer
	maxErrorText = 64 << 10
)

// errStalled is the end of a transfer in which nothing arrived.
var errStalled = errors.New("no data arrived for too long")

// errLate is the end of a question that nobody answered.
var errLate = errors.New("no answer came in time")

// sameOrigin reports whether scheme, host and port are equal.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// here turns an address that the server gave into one to ask: relative ones are
// resolved, and those of the public hub become ours, because a mirror hands them on.
func (c *Client) here(from *url.URL, address string) (*url.URL, error) {
	if rest, ok := strings.CutPrefix(address, DefaultEndpoint+"/"); ok && c.base != DefaultEndpoint {
		address = c.base + "/" + rest
	}
	next, err := from.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("the server gave an address that cannot be read: %q", c.mask(bare(address)))
	}
	next.User, next.Fragment = nil, ""
	if next.Scheme != "http" && next.Scheme != "https" || next.Host == "" {
		return nil, fmt.Errorf("the server gave the address %s, which is neither http nor https", c.shown(next))
	}
	if from.Scheme == "https" && next.Scheme == "http" {
		return nil, fmt.Errorf("the server leads from https to %s, which is not encrypted", c.shown(next))
	}
	return next, nil
}

// hop sends a call once and follows its redirects. The token is sent to the
// endpoint only, and no more once a redirect has left it.
func (c *Client) hop(ctx context.Context, k call) (*http.Response, error) {
	u, err := c.here(c.endpoint, k.url)
	if err != nil {
		return nil, permanent{err}
	}
	trusted := sameOrigin(u, c.endpoint)
	seen := map[string]bool{}
	for range maxRedirects + 1 {
		resp, err := c.once(ctx, k, u, trusted)
		if err != nil {
			return nil, err
		}
		location := resp.Header.Get("Location")
		if resp.StatusCode < 300 || resp.StatusCode > 399 || resp.StatusCode == http.StatusNotModified || location == "" {
			return resp, nil
		}
		next, err := c.here(u, location)
		if err == nil && k.manual && !sameOrigin(next, u) {
			return resp, nil
		}
		discard(resp)
		seen[u.String()] = true
		switch {
		case err != nil:
			return nil, permanent{fmt.Errorf("%s %s: %w", k.method, c.shown(u), err)}
		case seen[next.String()]:
			return nil, permanent{fmt.Errorf("%s %s: the server redirects in a circle", k.method, c.shown(u))}
		case k.method != http.MethodGet && k.method != http.MethodHead &&
			resp.StatusCode != http.StatusTemporaryRedirect && resp.StatusCode != http.StatusPermanentRedirect:
			return nil, permanent{fmt.Errorf("%s %s: the server redirects to %s, where the request would be lost", k.method, c.shown(u), c.shown(next))}
		case !sameOrigin(next, u):
			trusted = false
			k.header = k.header.Clone()
			k.header.Del("Authorization")
		}
		u = next
	}
	return nil, permanent{fmt.Errorf("%s %s: more than %d redirects", k.method, c.mask(bare(k.url)), maxRedirects)}
}

// once sends one request to one address.
func (c *Client) once(ctx context.Context, k call, u *url.URL, trusted bool) (*http.Response, error) {
	fail := func(err error) error { return fmt.Errorf("%s %s: %w", k.method, c.shown(u), err) }
	ctx, cancel := context.WithCancelCause(ctx)
	var body io.Reader
	length := int64(0)
	if k.body != nil {
		var err error
		if body, length, err = k.body(); err != nil {
			cancel(nil)
			return nil, permanent{fail(err)}
		}
		body = c.limit.reader(ctx, body)
	}
	req, err := http.NewRequestWithContext(ctx, k.method, u.String(), body)
	if err != nil {
		cancel(nil)
		return nil, permanent{fail(err)}
	}
	if req.ContentLength = length; body != nil && length == 0 {
		req.Body = http.NoBody
	}
	for name, values := range k.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", c.agent)
	if trusted && !k.bare && c.token != "" && k.header.Get("Authorization") == "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if k.brief && c.ask > 0 {
		late := time.AfterFunc(c.ask, func() { cancel(errLate) })
		defer late.Stop()
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		if errors.Is(context.Cause(ctx), errLate) {
			err = errLate
		}
		cancel(nil)
		return nil, fail(byAuthority(c.byProxy(req, err)))
	}
	w := &watched{body: resp.Body, idle: c.idle, cancel: cancel}
	w.timer = time.AfterFunc(c.idle, func() { w.stalled.Store(true); cancel(errStalled) })
	resp.Body = w
	return resp, nil
}

// byProxy says through which proxy a request failed.
func (c *Client) byProxy(req *http.Request, err error) error {
	t, ok := c.transport.(*http.Transport)
	if !ok || t.Proxy == nil {
		return err
	}
	if proxy, proxyErr := t.Proxy(req); proxyErr == nil && proxy != nil {
		return fmt.Errorf("through the proxy %s: %w", proxy.Host, err)
	}
	return err
}

// byAuthority says what to do about a certificate that nobody here vouches for.
func byAuthority(err error) error {
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return permanent{fmt.Errorf("%w; if a proxy looks into the traffic, or the hub has a certificate of its own, let SSL_CERT_FILE name a file with that certificate", err)}
	}
	return err
}

// watched is a body that ends with errStalled when nothing arrives.
type watched struct {
	body    io.ReadCloser
	timer   *time.Timer
	idle    time.Duration
	cancel  context.CancelCauseFunc
	stalled atomic.Bool
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.idle)
	n, err := w.body.Read(p)
	if err != nil && w.stalled.Load() {
		err = errStalled
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	err := w.body.Close()
	w.cancel(nil)
	return err
}

// discard ends an answer so that its connection can be used again.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxErrorText)
	_ = resp.Body.Close()
}

// waitOf is how long an answer asks to wait: Retry-After in seconds or as a date,
// or RateLimit's time when nothing remains. Without either it is the wait given.
func waitOf(resp *http.Response, otherwise time.Duration) (wait time.Duration, asked bool) {
	if after := resp.Header.Get("Retry-After"); after != "" {
		if seconds, err := strconv.Atoi(after); err == nil && seconds >= 0 {
			return time.Duration(min(seconds, 1<<20))*time.Second + otherwise/4, true
		}
		if at, err := http.ParseTime(after); err == nil {
			return max(time.Until(at), 0) + otherwise/4, true
		}
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		if seconds, ok := rateLimit(resp.Header.Get("RateLimit")); ok {
			return time.Duration(seconds)*time.Second + otherwise/4, true
		}
	}
	return otherwise, false
}

// rateLimit reads `"api";r=0;t=55`: the seconds until the window ends, if nothing
// of it remains.
func rateLimit(header string) (seconds int, empty bool) {
	for part := range strings.SplitSeq(header, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.Atoi(value)
		switch {
		case name == "r" && err == nil:
			empty = n == 0
		case name == "t" && err == nil:
			seconds = max(0, min(n, 1<<20))
		}
	}
	return seconds, empty
}

// failure turns an answer into an *Error, and closes it.
func (c *Client) failure(method string, resp *http.Response) *Error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorText))
	_ = resp.Body.Close()
	e := &Error{
		Method: method, URL: c.shown(resp.Request.URL), Status: resp.StatusCode,
		RequestID: c.mask(resp.Header.Get("X-Request-Id")), Commit: resp.Header.Get("X-Repo-Commit"),
	}
	var body struct {
		Error  string
		Errors []struct{ Message string }
		URL    string
	}
	if json.Unmarshal(text, &body) != nil {
		body.Error, body.Errors = "", nil
	}
	e.url = body.URL
	said := []string{resp.Header.Get("X-Error-Message"), body.Error}
	for _, m := range body.Errors {
		said = append(said, m.Message)
	}
	var words []string
	for _, s := range said {
		if s = strings.Join(strings.Fields(s), " "); s != "" && !strings.Contains(strings.Join(words, "; "), s) {
			words = append(words, s)
		}
	}
	if len(words) == 0 && strings.Contains(resp.Header.Get("Content-Type"), "html") {
		words = []string{"the answer is a page and not that of a hub; check the endpoint and the proxy"}
	}
	e.Message = c.mask(strings.Join(words, "; "))
	e.Kind = kind(resp, e.Message)
	return e
}

// kind tells what an answer means, by its code and else by its status.
func kind(resp *http.Response, message string) error {
	switch resp.Header.Get("X-Error-Code") {
	case "RevisionNotFound":
		return ErrRevisionNotFound
	case "EntryNotFound":
		return ErrEntryNotFound
	case "GatedRepo":
		return ErrGated
	case "RepoNotFound":
		return ErrRepoNotFound
	}
	if strings.HasPrefix(message, "Access to this resource is disabled") {
		return ErrDisabled
	}
	switch s := resp.StatusCode; {
	case s == http.StatusUnauthorized:
		return ErrUnauthorized
	case s == http.StatusPaymentRequired:
		return ErrPayment
	case s == http.StatusForbidden:
		return ErrForbidden
	case s == http.StatusConflict:
		return ErrConflict
	case s == http.StatusPreconditionFailed:
		return ErrBranchMoved
	case s == http.StatusBadRequest, s == http.StatusUnprocessableEntity:
		return ErrBadRequest
	case s == http.StatusTooManyRequests:
		return ErrRateLimited
	case s >= 500:
		return ErrServer
	}
	return nil
}

// jsonBody is a body for a call.
func jsonBody(in any) (func() (io.Reader, int64, error), error) {
	data, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	return func() (io.Reader, int64, error) { return bytes.NewReader(data), int64(len(data)), nil }, nil
}

// api sends a call with JSON (in may be nil) to a path of the endpoint and decodes
// the answer into out (nil ignores it).
func (c *Client) api(ctx context.Context, k call, in, out any) error {
	if strings.HasPrefix(k.url, "/") {
		k.url = c.base + k.url
	}
	if k.header == nil {
		k.header = http.Header{}
	}
	if in != nil {
		body, err := jsonBody(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", k.method, bare(k.url), err)
		}
		k.body = body
		if k.header.Get("Content-Type") == "" {
			k.header.Set("Content-Type", "application/json")
		}
	}
	resp, err := c.send(ctx, k)
	if err != nil {
		return err
	}
	return c.decode(k.method, resp, out)
}

// decode reads the JSON of an answer and closes it.
func (c *Client) decode(method string, resp *http.Response, out any) error {
	defer discard(resp)
	if out == nil {
		return nil
	}
	fail := func(err error) error {
		return permanent{fmt.Errorf("%s %s: %w", method, c.shown(resp.Request.URL), err)}
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s %s: %w", method, c.shown(resp.Request.URL), err)
	case len(data) > maxAnswer:
		return fail(fmt.Errorf("the answer is longer than %d bytes", maxAnswer))
	}
	if err := json.Unmarshal(data, out); err != nil {
		what := resp.Header.Get("Content-Type")
		if what == "" {
			what = "something else"
		}
		return fail(fmt.Errorf("the answer is not the JSON of a hub but %s; check the endpoint and the proxy: %w", c.mask(what), err))
	}
	return nil
}
