package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/lfs"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
	"github.com/mamba-encoder-swarm/mes/hub/server/mirror"
	"github.com/mamba-encoder-swarm/mes/hub/server/xet"
)

// Defaults of Config.
const (
	DefaultQuota         = 100_000
	DefaultMultipartFrom = 4 << 30
	DefaultMaxFileBytes  = 500_000_000_000
)

// Config says what a Server serves. The zero value of all but Dir is usable.
type Config struct {
	// Dir is the data folder; it is made when absent.
	Dir string
	// PublicURL is the address that clients use, without a slash at the end, for
	// example https://hub.example.org or, behind a proxy, https://example.org/hub.
	// Empty: taken from each request.
	PublicURL string
	// Git is the path of the git program, which answers clone and fetch. Empty:
	// these answer 501; everything else, git push included, works without.
	Git string
	// Logger gets one line a request and what goes wrong. Nil: nothing is logged.
	Logger *slog.Logger
	// Quota is how many requests a caller has in five minutes, for each of the
	// API and of downloads. Zero: DefaultQuota.
	Quota int
	// MultipartFrom is the size in bytes from which clients send a large file in
	// parts. Zero: DefaultMultipartFrom.
	MultipartFrom int64
	// MaxFileBytes is the size of the largest file taken. Zero: DefaultMaxFileBytes.
	MaxFileBytes int64
	// MaxRepoBytes is how much the large files of one repo may have in all. Zero: no
	// limit.
	MaxRepoBytes int64
	// Upstream is the address of another Hub whose repos are read through a cache
	// when they are not here. Empty: none.
	Upstream string
	// MirrorMax is how many bytes the cache of Upstream may have. What was not used
	// for longest makes room. Zero: no limit.
	MirrorMax int64
	// Proxy is the way to Upstream, as of http.Transport. Nil: none.
	Proxy func(*http.Request) (*url.URL, error)
	// Fault is called before each step of a write with the step's name; its error
	// ends the write. Tests pass it to stand for a full disk or a killed process.
	Fault func(step string) error
}

// Server is a Hub on a data folder. Only one can have a folder open.
type Server struct {
	cfg     Config
	prefix  string // path of PublicURL
	log     *slog.Logger
	db      *meta.DB
	lfs     *lfs.Store
	xet     *xet.Bridge
	mirror  *mirror.Mirror // nil without Config.Upstream
	key     []byte
	routes  []route
	limits  limiter
	devices devices

	mu    sync.Mutex
	repos map[string]*repoState // by id

	// writes is held for reading by whatever changes refs or links, and for
	// writing by the moment at which a backup is taken.
	writes sync.RWMutex
	// upkeep is held by what works on all of the folder: a backup, a check, a collection.
	upkeep sync.Mutex
	// counting is held while a large file is counted and linked, see MaxRepoBytes.
	counting sync.Mutex
	// bigLine lets one long line of a commit be in memory at a time.
	bigLine chan struct{}
}

// repoState is what the process keeps of one repo.
type repoState struct {
	git *gitrepo.Repo
	// commit is held while a branch is read, a commit made on it and the branch moved.
	commit sync.Mutex
}

// database is the file of users, repos and what is said about them. It comes first
// into a data folder, which is known by it.
const database = "hub.db"

// openFolder makes a data folder, unless it is there. One that holds other things is refused.
func openFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, database)); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read data folder: %w", err)
	}
	for _, e := range entries {
		if e.Name() != "lost+found" { // of a disk of its own
			return fmt.Errorf("data folder %s: it holds other files, such as %s, and no hub: name a new folder", dir, e.Name())
		}
	}
	return nil
}

// New opens a data folder, and founds a hub in one that is not there or empty.
func New(cfg Config) (*Server, error) {
	if cfg.Dir == "" {
		return nil, errors.New("the hub needs a data folder")
	}
	public, err := url.Parse(cfg.PublicURL)
	if err != nil || cfg.PublicURL != "" && (public.Scheme == "" || public.Host == "") {
		return nil, fmt.Errorf("public address %q: use one such as https://hub.example.org", cfg.PublicURL)
	}
	if err := openFolder(cfg.Dir); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Logger, prefix: strings.TrimRight(public.Path, "/"),
		repos: map[string]*repoState{}, bigLine: make(chan struct{}, 1)}
	s.cfg.PublicURL = strings.TrimRight(cfg.PublicURL, "/")
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.cfg.Quota = orDefault(cfg.Quota, DefaultQuota)
	s.cfg.MultipartFrom = orDefault(cfg.MultipartFrom, DefaultMultipartFrom)
	s.cfg.MaxFileBytes = orDefault(cfg.MaxFileBytes, DefaultMaxFileBytes)
	s.limits.quota = s.cfg.Quota
	if s.db, err = meta.Open(filepath.Join(cfg.Dir, database), cfg.Fault); err != nil {
		return nil, err
	}
	if s.lfs, err = lfs.Open(filepath.Join(cfg.Dir, "lfs"), cfg.Fault); err == nil {
		err = s.lfs.CleanTemp(time.Now().Add(-48 * time.Hour))
	}
	if err == nil {
		err = s.finishCollect()
	}
	if err == nil {
		s.key, err = s.db.Key()
	}
	if err == nil {
		err = s.openXet()
	}
	if err == nil && cfg.Upstream != "" {
		s.mirror, err = mirror.New(mirror.Config{Upstream: cfg.Upstream, Dir: filepath.Join(cfg.Dir, "mirror"), MaxBytes: cfg.MirrorMax, Proxy: cfg.Proxy, Logger: s.log})
	}
	if err != nil {
		s.db.Close()
		return nil, err
	}
	s.routes = s.table()
	return s, nil
}

func orDefault[T int | int64](value, def T) T {
	if value == 0 {
		return def
	}
	return value
}

// Close lets go of the data folder. No request may be running.
func (s *Server) Close() error { return s.db.Close() }

// Serve answers on a listener, and on the admin socket, until ctx ends, and then
// waits up to ten seconds for running requests. certFile and keyFile, when not
// empty, make it TLS.
func (s *Server) Serve(ctx context.Context, l net.Listener, certFile, keyFile string) error {
	srv := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served, admin := make(chan error, 1), make(chan error, 1)
	go func() {
		if certFile != "" {
			served <- srv.ServeTLS(l, certFile, keyFile)
		} else {
			served <- srv.Serve(l)
		}
	}()
	go func() { admin <- s.serveAdmin(ctx) }()
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		s.sweep(ctx)
	}()
	defer func() { cancel(); <-swept }()
	var err error
	select {
	case err = <-served:
		err = fmt.Errorf("serve hub: %w", err)
		cancel()
		return errors.Join(err, <-admin)
	case err = <-admin: // it failed, or ctx has ended
		cancel()
	}
	wait, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()
	if shutErr := srv.Shutdown(wait); shutErr != nil {
		err = errors.Join(err, fmt.Errorf("end running requests: %w", shutErr), srv.Close())
	}
	<-served
	return err
}

// sweep removes what uploads left behind, every ten minutes until ctx ends.
func (s *Server) sweep(ctx context.Context) {
	tick := time.NewTicker(10 * time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if err := s.sweepAt(now); err != nil {
				s.log.Warn("remove leftovers of uploads", "error", err)
			}
		}
	}
}

// sweepAt removes what is abandoned at a time.
func (s *Server) sweepAt(now time.Time) error {
	return errors.Join(s.xet.Sweep(now), s.lfs.CleanTemp(now.Add(-48*time.Hour)))
}

// state gives what the process keeps of a repo.
func (s *Server) state(id string) *repoState {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.repos[id]
	if st == nil {
		st = &repoState{git: gitrepo.Open(s.gitDir(id), gitrepo.Options{Fault: s.cfg.Fault})}
		s.repos[id] = st
	}
	return st
}

func (s *Server) gitDir(id string) string {
	return filepath.Join(s.cfg.Dir, "git", id[:2], id+".git")
}

// base is the address of this server as the caller knows it.
func (s *Server) base(r *http.Request) string {
	if s.cfg.PublicURL != "" {
		return s.cfg.PublicURL
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}
