package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"crypto/rand"
	"encoding/hex"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// call is one request on its way.
type call struct {
	s     *Server
	w     *answer
	r     *http.Request
	id    string
	route *route
	*target
	caller
	repo meta.Repo // when the route names one
}

// answer remembers the status.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// ReadFrom lets files be sent without a copy through memory.
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return io.Copy(a.ResponseWriter, r)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Handler answers all requests.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	// A copy, whose body handle replaces: net/http looks at that of its own request to
	// see whether a client that asks first (Expect: 100-continue) was told to send.
	r = r.WithContext(r.Context())
	c := &call{s: s, w: &answer{ResponseWriter: w}, r: r, id: requestID(r), route: &route{}}
	w.Header().Set("X-Request-Id", c.id)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			c.writeError(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
		// The path without its query: that may hold a signature.
		s.log.Info("request", "request", c.id, "method", r.Method, "path", r.URL.Path, "status", c.w.status, "took", time.Since(begin))
	}()
	if err := c.handle(); err != nil {
		c.writeError(err)
	}
}

// handle finds the route, the caller and the repo, and lets the handler work.
func (c *call) handle() error {
	rt, t, err := c.s.find(c.r)
	if rt != nil {
		c.route, c.target = rt, t
	}
	if crossOrigin(c.r, c.route) {
		h := c.w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", exposedHeaders)
		if c.r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, HEAD")
			h.Set("Access-Control-Allow-Headers", "Authorization, Range, Accept")
			c.w.WriteHeader(http.StatusNoContent)
			return nil
		}
	}
	who, authErr := c.s.authenticate(c.r)
	c.caller = who
	if err := c.s.limits.take(c); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	c.r.Body = &liveBody{ReadCloser: c.r.Body, rc: http.NewResponseController(c.w.ResponseWriter)}
	if done, err := c.fromUpstream(authErr); done {
		return err
	}
	if authErr != nil && (rt.Access != anybody || strings.HasPrefix(rt.Pattern, "/api/")) {
		return authErr
	}
	if c.r.Header.Get("Content-Encoding") != "" && !rt.git {
		return &Error{http.StatusUnsupportedMediaType, "UnsupportedMediaType", "Send the body as it is, without Content-Encoding"}
	}
	if rt.Access == user && who.user == nil {
		return errSignIn
	}
	if rt.Access >= reader {
		if c.repo, err = c.s.repoOrRenamed(who, t.kind, t.ns, t.name, rt.Access); err != nil {
			return err
		}
		if !c.repo.Called(t.ns, t.name) {
			c.w.Header().Set("Location", c.s.prefix+t.rename(&c.repo, c.r.URL.RawQuery))
			c.w.WriteHeader(http.StatusTemporaryRedirect)
			return nil
		}
	}
	return rt.Handler(c)
}

const exposedHeaders = "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash"

// crossOrigin tells whether pages of other sites may read the answer: reads of
// the API and of files, for which no cookie counts. A preflight is for a route
// of GET, which OPTIONS does not find.
func crossOrigin(r *http.Request, rt *route) bool {
	if r.Header.Get("Origin") == "" {
		return false
	}
	path := r.URL.Path
	reads := strings.Contains(path, "/api/") || strings.Contains(path, "/resolve/") || strings.Contains(path, "/raw/")
	if r.Method == http.MethodOptions {
		return reads && r.Header.Get("Access-Control-Request-Method") == http.MethodGet
	}
	return reads && rt.Method == http.MethodGet && !rt.git
}

// liveBody ends a request whose sender has sent nothing for a minute.
type liveBody struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (b *liveBody) Read(p []byte) (int, error) {
	// A server that cannot set deadlines, as in tests, reads on without.
	_ = b.rc.SetReadDeadline(time.Now().Add(time.Minute))
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		// The work that follows may take longer than a minute.
		_ = b.rc.SetReadDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = &Error{http.StatusRequestTimeout, "RequestTimeout", "Nothing came for a minute"}
	}
	return n, err
}

// requestID takes the client's id when it is harmless, else makes one.
func requestID(r *http.Request) string {
	for _, name := range []string{"X-Request-Id", "X-Amzn-Trace-Id"} {
		if id := r.Header.Get(name); id != "" && len(id) <= 128 && headerText(id) == id {
			return id
		}
	}
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// git gives the repo's commits.
func (c *call) git() *gitrepo.Repo { return c.s.state(c.repo.ID).git }

// commit resolves the request's revision and announces it, also in errors that follow.
func (c *call) commit() (gitrepo.Hash, error) {
	rev := c.rev
	if rev == "" {
		rev = gitrepo.DefaultBranch
	}
	h, _, err := c.git().Resolve(rev)
	if err == nil {
		c.w.Header().Set("X-Repo-Commit", h.String())
	}
	return h, err
}

// json sends a value.
func (c *call) json(value any) error { return c.jsonStatus(http.StatusOK, value) }

func (c *call) jsonStatus(status int, value any) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	h := c.w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	c.w.WriteHeader(status)
	_, err := c.w.Write(body.Bytes())
	return err
}

// ok sends an empty object.
func (c *call) ok() error { return c.json(struct{}{}) }

// Bounds of request bodies in bytes.
const (
	maxBody      = 1 << 20
	maxListBody  = 16 << 20
	maxPageItems = 1000
)

// decode reads a JSON body; an empty one leaves the value as it is.
func (c *call) decode(value any, limit int64) error {
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, limit))
	if err != nil {
		return bodyError(err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, value); err != nil {
		return badRequest("The body is not the JSON that this address takes: %v", err)
	}
	return nil
}

// bodyError sorts errors of reading a body: too long, or broken off.
func bodyError(err error) error {
	var e *Error
	var tooLong *http.MaxBytesError
	if errors.As(err, &e) || errors.As(err, &tooLong) {
		return err
	}
	return badRequest("The body broke off: %v", err)
}

// page reads limit and p, and sets the link to the next page.
func (c *call) page(most int) (limit, skip int) {
	q := c.r.URL.Query()
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit <= 0 || limit > most {
		limit = most
	}
	p, err := strconv.Atoi(q.Get("p"))
	if err != nil || p < 0 || p > 1<<30 {
		p = 0
	}
	return limit, p * limit
}

// next links to the next page: this address with parameters changed. JavaScript
// clients want an absolute address.
func (c *call) next(key, value string) {
	q := c.r.URL.Query()
	q.Set(key, value)
	path := strings.TrimPrefix(c.r.URL.EscapedPath(), c.s.prefix)
	c.w.Header().Set("Link", fmt.Sprintf(`<%s%s?%s>; rel="next"`, c.s.base(c.r), path, q.Encode()))
}

// isForm tells whether the body is a form, as Python's client posts lists.
func (c *call) isForm() bool {
	kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	return kind == "application/x-www-form-urlencoded"
}

// limiter counts requests of callers in windows of five minutes.
type limiter struct {
	quota int
	mu    sync.Mutex
	from  time.Time
	count map[string]int
}

const window = 5 * time.Minute

// take counts a request and says in the headers how many are left.
func (l *limiter) take(c *call) error {
	bucket := "api"
	if c.route.bucket != "" {
		bucket = c.route.bucket
	}
	who := "ip " + c.r.RemoteAddr
	if host, _, err := net.SplitHostPort(c.r.RemoteAddr); err == nil {
		who = "ip " + host
	}
	if c.user != nil {
		who = "user " + c.user.Name
	}
	l.mu.Lock()
	now := time.Now()
	if now.Sub(l.from) >= window || len(l.count) > 100_000 {
		l.from, l.count = now, map[string]int{}
	}
	l.count[bucket+" "+who]++
	left := max(0, l.quota-l.count[bucket+" "+who])
	over := l.count[bucket+" "+who] > l.quota
	wait := int(window.Seconds() - now.Sub(l.from).Seconds())
	l.mu.Unlock()
	h := c.w.Header()
	h.Set("RateLimit", fmt.Sprintf(`%q;r=%d;t=%d`, bucket, left, wait))
	h.Set("RateLimit-Policy", fmt.Sprintf(`"fixed window";%q;q=%d;w=%d`, bucket, l.quota, int(window.Seconds())))
	if over {
		h.Set("Retry-After", strconv.Itoa(wait+1))
		return &Error{http.StatusTooManyRequests, "TooManyRequests", fmt.Sprintf("Too many requests: wait %d seconds", wait+1)}
	}
	return nil
}
