package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

// DefaultEndpoint is where a client without an endpoint goes.
const DefaultEndpoint = "https://huggingface.co"

// Config configures a client. Its zero value is a client of DefaultEndpoint
// without a token, that cannot use a cache.
type Config struct {
	Endpoint    string            // address of the hub, a path prefix is allowed; "" is DefaultEndpoint
	Token       string            // sent to the endpoint alone; "" is anonymous
	UserAgent   string            // "" is "mes"
	Cache       string            // folder that huggingface_hub calls HF_HUB_CACHE
	NoSymlinks  bool              // snapshots hold files instead of links to blobs
	Offline     bool              // every call that needs the network is ErrOffline
	Transport   http.RoundTripper // nil is one without a proxy, and with time-outs
	Workers     int               // files moved at once; 0 is 8
	Connections int               // parts of a large file moved at once; 0 is 4
	Bandwidth   int64             // bytes a second, up and down together; 0 is no limit
	AskTimeout  time.Duration     // a question that the cache can answer too waits so long for its answer; 0 is as others
	IdleTimeout time.Duration     // without a byte for so long a transfer is cut, and tried again; 0 is a minute
	Logger      *slog.Logger      // nil discards
}

// Client is a client of one hub. It is safe for concurrent use.
type Client struct {
	endpoint    *url.URL
	base        string // the endpoint without a final slash
	token       string
	agent       string
	cache       string
	noSymlinks  bool
	offline     bool
	transport   http.RoundTripper
	workers     int
	connections int
	limit       *limiter
	log         *slog.Logger
	warned      sync.Map // topics of X-HF-Warning

	chunk int64                                      // bytes of one ranged request
	ask   time.Duration                              // of Config.AskTimeout
	idle  time.Duration                              // without a byte for so long, a transfer is cut
	sleep func(context.Context, time.Duration) error // waits; tests do not

	windows  bool                                                            // the rules of its file names hold
	sameName func(root *os.Root, scratch, a, b string) (one bool, err error) // tests have no such file system
}

// Sizes and times of transfers.
const (
	chunkBytes  = 16 << 20
	idleTimeout = time.Minute
	maxRetries  = 5
	maxWait     = 10 * time.Minute // the longest that a server may make us wait
)

// New checks a configuration and returns a client. Nothing is sent.
func New(cfg Config) (*Client, error) {
	endpoint := strings.TrimRight(cfg.Endpoint, "/")
	if endpoint == "" {
		endpoint = DefaultEndpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("endpoint %q is not an address such as %s", endpoint, DefaultEndpoint)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the endpoint has a user, query or fragment; give scheme, host and path alone, and the token apart")
	}
	if strings.ContainsAny(cfg.Token, " \t\r\n") {
		return nil, errors.New("the token contains blanks or line breaks")
	}
	c := &Client{
		endpoint: u, base: endpoint, token: cfg.Token, agent: cfg.UserAgent, cache: cfg.Cache,
		noSymlinks: cfg.NoSymlinks, offline: cfg.Offline, workers: cfg.Workers, connections: cfg.Connections,
		limit: newLimiter(cfg.Bandwidth), log: cfg.Logger, chunk: chunkBytes, ask: cfg.AskTimeout, idle: idleTimeout, sleep: sleep,
		windows: runtime.GOOS == "windows", sameName: sameName,
	}
	if c.agent == "" {
		c.agent = "mes"
	}
	if c.workers <= 0 {
		c.workers = 8
	}
	if c.connections <= 0 {
		c.connections = 4
	}
	if cfg.IdleTimeout > 0 {
		c.idle = cfg.IdleTimeout
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.transport = cfg.Transport; c.transport == nil {
		c.transport = NewTransport(nil)
	}
	return c, nil
}

// NewTransport is the transport of a client that is given none. proxy chooses the
// proxy of a request, nil is none.
func NewTransport(proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	return &http.Transport{
		Proxy:                 proxy,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   64,
		DisableCompression:    true, // lengths and ranges are those of the files
		ForceAttemptHTTP2:     true,
	}
}

// Endpoint is the hub's address, without a final slash.
func (c *Client) Endpoint() string { return c.base }

// call is a request that can be sent more than once.
type call struct {
	method string
	url    string
	header http.Header
	body   func() (io.Reader, int64, error) // nil is none; called for every attempt
	again  bool                             // a POST that may arrive twice
	bare   bool                             // without the token: the address is signed
	brief  bool                             // Config.AskTimeout holds for it
	manual bool                             // a redirect to another host is returned, not followed
}

// send sends a call until it succeeds, and turns an answer that is not a success
// into an *Error. The caller closes the answer's body.
func (c *Client) send(ctx context.Context, k call) (*http.Response, error) {
	if c.offline {
		return nil, fmt.Errorf("%s %s: %w", k.method, c.mask(bare(k.url)), ErrOffline)
	}
	idempotent := k.again || k.method != http.MethodPost
	for attempt := 0; ; attempt++ {
		resp, err := c.hop(ctx, k)
		if err == nil && resp.StatusCode < 400 {
			c.warn(resp.Header)
			return resp, nil
		}
		wait, asked := backoff(attempt), false
		if err == nil {
			wait, asked = waitOf(resp, wait)
			err = c.failure(k.method, resp)
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s %s: %w", k.method, c.mask(bare(k.url)), context.Cause(ctx))
		}
		if attempt >= maxRetries || !retryable(err, idempotent) {
			return nil, err
		}
		if asked && wait > maxWait {
			return nil, fmt.Errorf("%w; the server asks to wait %v", err, wait.Round(time.Second))
		}
		c.log.Warn("request is sent again", "reason", c.mask(err.Error()), "wait", wait, "attempt", attempt+1)
		if err := c.sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// retryable reports whether another attempt may succeed and does no harm.
func retryable(err error, idempotent bool) bool {
	var answer *Error
	var fixed permanent
	var dial *net.OpError
	switch {
	case errors.As(err, &fixed):
		return false
	case errors.As(err, &answer):
		switch answer.Status {
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			return true // refused before anything was done
		case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
			return idempotent
		}
		return false
	case errors.As(err, &dial) && dial.Op == "dial":
		return true
	}
	return idempotent
}

// backoff is the wait before an attempt that no header asks for: 1 to 8 seconds,
// half of it by chance so that clients that failed together do not return together.
func backoff(attempt int) time.Duration {
	d := min(time.Second<<min(attempt, 3), 8*time.Second)
	return d/2 + rand.N(d/2)
}

// sleep waits, or returns the reason why the context has ended.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// bare is an address without its query.
func bare(address string) string {
	before, _, _ := strings.Cut(address, "?")
	return before
}

// warn logs a warning of the server, once for each topic.
func (c *Client) warn(h http.Header) {
	for _, w := range h.Values("X-HF-Warning") {
		topic, _, _ := strings.Cut(w, ";")
		if _, before := c.warned.LoadOrStore(topic, true); !before {
			c.log.Warn("the hub warns", "message", c.mask(w))
		}
	}
}
