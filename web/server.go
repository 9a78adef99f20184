// Package web serves the demo page and its small HTTP interface over an engine.
//
//	GET  /              the page: prompt, controls, streaming answer, routing
//	POST /api/generate  JSON request, answered by server-sent events
//	GET  /api/info      the model card as JSON
//	GET  /healthz       200 while the process serves
//
// A generation runs as long as its connection: closing it cancels the model.
// Everything shown comes from the engine's forward pass or is measured; nothing
// is simulated. The package reads no environment variables and no flags.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/mamba-encoder-swarm/mes/model/engine"
)

// Engine is what the server needs of a model. Generate calls emit for every
// step, in order, from one goroutine; it stops within one token when ctx ends or
// emit returns an error. Both methods are called from several goroutines.
type Engine interface {
	Generate(ctx context.Context, r engine.Request, emit func(engine.Event) error) (engine.Result, error)
	Info() engine.Info
}

// Config describes a server. Engine is required; other zero values mean the
// default given with the field.
type Config struct {
	Addr           string          // host:port to listen on; default 127.0.0.1:7860
	Engine         Engine          // the model that answers
	Logger         *slog.Logger    // default discards; no user text is logged
	Examples       []Example       // prompts offered on the page; default Examples()
	Sampling       engine.Sampling // where the page's controls start; at temperature 0 with values of the page's own
	MaxPromptBytes int             // longest prompt accepted; default 1 MiB
	MaxTokens      int             // most tokens one request may ask for; default 4096
	FrameAncestors []string        // origins (https://host) whose pages may show this one in a frame; default none
	Grace          time.Duration   // time that running answers get at shutdown; default 5 s
}

// DefaultAddr is where the server listens if Config.Addr is empty.
const DefaultAddr = "127.0.0.1:7860"

// Server answers HTTP requests over one engine.
type Server struct {
	cfg     Config
	assets  assets
	local   bool // listens on the loopback interface only
	handler http.Handler

	bodyTimeout time.Duration // how long a request's body may take to arrive
}

// New returns a server for c. It opens no port: see ListenAndServe and Handler.
func New(c Config) (*Server, error) {
	if c.Engine == nil {
		return nil, errors.New("new web server: no engine given; set Config.Engine")
	}
	if c.MaxPromptBytes < 0 || c.MaxTokens < 0 || c.Grace < 0 {
		return nil, fmt.Errorf("new web server: MaxPromptBytes %d, MaxTokens %d and Grace %v must not be negative",
			c.MaxPromptBytes, c.MaxTokens, c.Grace)
	}
	c.Addr = orDefault(c.Addr, DefaultAddr)
	c.MaxPromptBytes = orDefault(c.MaxPromptBytes, 1<<20)
	c.MaxTokens = orDefault(c.MaxTokens, 4096)
	c.Grace = orDefault(c.Grace, 5*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Examples == nil {
		c.Examples = Examples()
	}
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return nil, fmt.Errorf("new web server: address %q is not host:port: %w", c.Addr, err)
	}
	for _, origin := range c.FrameAncestors {
		if !isOrigin(origin) {
			return nil, fmt.Errorf("new web server: frame ancestor %q is not an origin such as https://huggingface.co", origin)
		}
	}
	files, err := loadAssets()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: c, assets: files, local: isLoopback(host), bodyTimeout: time.Minute}
	s.handler = s.routes()
	return s, nil
}

// routes is the route table.
func (s *Server) routes() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.HandleMethodNotAllowed = true
	r.Use(s.identify, s.logRequest, s.recoverPanic, s.secure, s.checkOrigin)

	read := []string{http.MethodGet, http.MethodHead}
	r.Match(read, "/", s.index)
	r.Match(read, "/static/:name", s.static)
	r.Match(read, "/api/info", s.info)
	r.Match(read, "/healthz", s.health)
	r.POST("/api/generate", s.generate)

	r.NoRoute(func(c *gin.Context) { s.fail(c, errNotFound) })
	r.NoMethod(func(c *gin.Context) { s.fail(c, errMethod) })
	return r
}

// Handler returns the server's routes, for a caller that listens itself.
func (s *Server) Handler() http.Handler { return s.handler }

// Listen opens addr (host:port) for a server. A port that is taken gives an
// error that says what to do about it.
func Listen(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: %w; choose another with -addr or stop the other program", addr, syscall.EADDRINUSE)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return ln, nil
}

// ListenAndServe listens on Config.Addr and serves until ctx ends; see Serve.
func (s *Server) ListenAndServe(ctx context.Context) error {
	ln, err := Listen(s.cfg.Addr)
	if err != nil {
		return err
	}
	return s.Serve(ctx, ln)
}

// Serve answers connections of ln until ctx ends and then closes ln. Running
// answers get Config.Grace to finish; after that their models are cancelled and
// their readers told. It returns nil after an orderly end.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	base, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	srv := &http.Server{
		Handler:           s.handler,
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	s.cfg.Logger.Info("serving", "url", "http://"+ln.Addr().String())

	select {
	case err := <-served:
		return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	if !shutdown(srv, s.cfg.Grace) {
		stop(errStopping)
		if !shutdown(srv, 5*time.Second) {
			srv.Close()
		}
	}
	<-served
	s.cfg.Logger.Info("stopped")
	return nil
}

// shutdown stops srv and reports whether all its requests ended within wait.
func shutdown(srv *http.Server, wait time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	return srv.Shutdown(ctx) == nil
}

// isLoopback reports whether host names this machine only.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// isOrigin reports whether s is scheme and host alone, as a security policy takes it.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && s == u.Scheme+"://"+u.Host &&
		!strings.ContainsAny(u.Host, "*;, '\"") && u.Hostname() != ""
}

// orDefault returns v, or the default if v is its type's zero value.
func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
