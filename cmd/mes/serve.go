package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os/exec"
	"runtime"
	"time"

	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/web"
)

var serveCommand = command{
	name: "serve", summary: "serve the web page and its API",
	help: `
Loads a model and serves a page on which a person types a text, the model
continues it, and the router's decisions are shown under it.

Example:
  mes serve -model weights/mes-mini -addr 127.0.0.1:7860`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		s := &serve{m: m, model: m.modelFlags(fs)}
		fs.StringVar(&s.addr, "addr", web.DefaultAddr, "`host:port` to listen on")
		fs.IntVar(&s.concurrency, "concurrency", engine.DefaultConcurrency, "`requests` that run at once; others wait")
		fs.Var(&s.ancestors, "frame-ancestor", "`origin`, such as https://huggingface.co, whose pages may show this one in a frame, may be repeated")
		fs.BoolVar(&s.open, "open", false, "open the page in the browser")
		return s.run
	},
}

type serve struct {
	m           *Main
	model       *modelFlags
	addr        string
	concurrency int
	ancestors   list
	open        bool
}

func (s *serve) run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		return usageError("serve takes no arguments, got %q", args)
	}
	listener, err := web.Listen(s.addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	l, err := s.model.load(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	e, err := l.engine(engine.Config{Concurrency: s.concurrency})
	if err != nil {
		return err
	}
	e.Warm()
	server, err := web.New(web.Config{Addr: s.addr, Engine: e, FrameAncestors: s.ancestors, Sampling: sampling(l.files.Generation), Logger: slog.New(slog.NewTextHandler(s.m.Stderr, nil))})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.m.Stderr, "%s on %s: open http://%s\n", e.Info().Name, l.info.Name, s.addr)
	if s.open {
		go openBrowser(ctx, "http://"+s.addr)
	}
	return server.Serve(ctx, listener)
}

// openBrowser shows a page with the desktop's own opener, where there is one; the
// address is printed in any case.
func openBrowser(ctx context.Context, url string) {
	opener := "xdg-open"
	if runtime.GOOS == "darwin" {
		opener = "open"
	}
	path, err := exec.LookPath(opener)
	if err != nil {
		return
	}
	select {
	case <-time.After(500 * time.Millisecond):
		_ = exec.CommandContext(ctx, path, url).Run()
	case <-ctx.Done():
	}
}
