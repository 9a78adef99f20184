package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/queue"
	"github.com/mamba-encoder-swarm/mes/model/trainer"
)

// natsToken is the variable with the queue's token, which no command line shows.
const natsToken = "MES_NATS_TOKEN"

// spreadFlags say who trains the branches of a plan.
type spreadFlags struct {
	m                           *Main
	workers                     int
	backend                     string // that this process has opened
	nats, listen, ca, cert, key string
	lease                       time.Duration
}

func (f *spreadFlags) register(fs *flag.FlagSet) {
	fs.IntVar(&f.workers, "workers", 0, "`processes` of this machine that train branches; 0 trains them one after the other in this one")
	fs.StringVar(&f.nats, "nats", "", "`URL` of a NATS server with JetStream by which workers get branches, such as tls://host:4222; empty is one in this process")
	fs.StringVar(&f.listen, "nats-listen", "", "`address` at which workers reach the server in this process; empty is a free port of 127.0.0.1")
	fs.StringVar(&f.cert, "nats-cert", "", "PEM `file` with the certificate of that server, needed off 127.0.0.1")
	fs.StringVar(&f.key, "nats-key", "", "PEM `file` with its key")
	fs.StringVar(&f.ca, "nats-ca", "", caUsage)
	fs.DurationVar(&f.lease, "lease", 30*time.Second, "`time` after which a silent worker's branch goes to another")
}

const caUsage = "PEM `file` of the authority that signed the certificate of -nats; empty trusts those of the system"

// on tells whether workers train the branches.
func (f *spreadFlags) on() bool { return f.workers != 0 || f.nats != "" || f.listen != "" }

// check says what does not go together.
func (f *spreadFlags) check(plan trainer.Plan) error {
	if !f.on() {
		return nil
	}
	switch {
	case !slices.ContainsFunc(plan.Phases, func(p trainer.Phase) bool { return p.Kind == trainer.Branch }):
		return usageError("-workers, -nats and -nats-listen are for plans with a phase branch, this one has none")
	case slices.ContainsFunc(plan.Phases, func(p trainer.Phase) bool { return p.Kind == trainer.Branch && (p.Patience > 0 || p.Swap > 0) }):
		return usageError("workers train each branch on its own domain to its end: patience and swap of a branch phase are for one process")
	case f.workers < 0 || f.lease < time.Second:
		return usageError("-workers must not be negative, -lease at least a second")
	case f.nats != "" && f.listen+f.cert+f.key != "":
		return usageError("-nats names a server, and -nats-listen, -nats-cert and -nats-key are for one in this process: choose")
	case f.workers > 0 && f.listen != "" && !queue.Loopback(f.listen):
		return usageError("-workers cannot know the name of the certificate on %s: start `mes worker` by hand", f.listen)
	}
	return nil
}

// train runs the trainer, with workers where the flags ask for them.
func (f *spreadFlags) train(ctx context.Context, t *training, run trainer.Config, c *config.Config) (trainer.Params, error) {
	if !f.on() {
		return t.follow(ctx, c, run)
	}
	s, err := f.open(ctx, t, c, run.Logger)
	if err != nil {
		return nil, err
	}
	run.Spread = &s.Spread
	params, err := t.follow(s.ctx, c, run)
	if cause := context.Cause(s.ctx); err != nil && cause != nil && ctx.Err() == nil {
		err = cause // a worker of this machine failed
	}
	s.close()
	if err != nil {
		return nil, err
	}
	return params, os.RemoveAll(t.queueDir())
}

// spreadRun is a queue, with the workers of this machine.
type spreadRun struct {
	trainer.Spread
	ctx   context.Context // ends when a worker of this machine fails
	close func()
}

// open starts or reaches the queue, and starts the workers.
func (f *spreadFlags) open(ctx context.Context, t *training, c *config.Config, log *slog.Logger) (*spreadRun, error) {
	if f.workers > 0 && f.backend == backend.XLACUDA {
		return nil, usageError("-workers is for processors: on GPUs start `CUDA_VISIBLE_DEVICES=1 mes worker` and so on by hand, and this with -nats-listen 127.0.0.1:4222")
	}
	model, err := c.Marshal()
	if err != nil {
		return nil, err
	}
	q, url, token, stop, err := f.queue(ctx, t.queueDir(), log)
	if err != nil {
		return nil, err
	}
	r := &spreadRun{Spread: trainer.Spread{Queue: q, Model: model, Lease: f.lease}}
	running, fail := context.WithCancelCause(ctx)
	r.ctx = running
	wait, err := f.start(running, fail, []string{"worker", "-nats", url, "-nats-ca", f.ca, "-data", t.data, "-backend", t.model.backend, "-until-eof"}, token, log)
	r.close = func() {
		fail(nil)
		wait()
		q.Close()
		stop()
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// queue starts the server in this process, or reaches that of -nats.
func (f *spreadFlags) queue(ctx context.Context, dir string, log *slog.Logger) (q *queue.Queue, url, token string, stop func(), err error) {
	c := queue.Config{URL: f.nats, Token: f.m.Env(natsToken), CA: f.ca, Name: processName(), Logger: log}
	if f.nats != "" {
		q, err = queue.Connect(ctx, c)
		return q, c.URL, c.Token, func() {}, err
	}
	server, err := queue.Serve(queue.ServerConfig{Dir: dir, Address: f.listen, Token: c.Token, Cert: f.cert, Key: f.key, Logger: log})
	if err != nil {
		return nil, "", "", nil, err
	}
	log.Info("queue", "url", server.URL)
	if q, err = server.Connect(ctx, c); err != nil {
		server.Close()
	}
	return q, server.URL, server.Token, server.Close, err
}

// processName says who somebody is among all workers.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}

// start starts the workers of this machine. They end with ctx, and when this process is
// gone, by the end of their standard input. One that is killed is started again, one that
// fails ends the run.
func (f *spreadFlags) start(ctx context.Context, fail func(error), args []string, token string, log *slog.Logger) (wait func(), err error) {
	var all sync.WaitGroup
	program, err := os.Executable()
	if err != nil {
		return all.Wait, fmt.Errorf("start workers: %w", err)
	}
	for range f.workers {
		all.Go(func() {
			for ctx.Err() == nil {
				err := f.worker(ctx, program, args, token)
				var exit *exec.ExitError
				switch {
				case ctx.Err() != nil, errors.As(err, &exit) && exit.ExitCode() == exitInterrupted:
					return
				case errors.As(err, &exit) && exit.ExitCode() < 0:
					log.Warn("a worker was killed; another starts", "error", err)
				default:
					fail(fmt.Errorf("a worker of this machine ended (%w); its message stands above", err))
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		})
	}
	return all.Wait, nil
}

// endTime is how long a worker may take to leave its last checkpoint.
const endTime = 15 * time.Second

// worker runs one worker to its end.
func (f *spreadFlags) worker(ctx context.Context, program string, args []string, token string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), natsToken+"="+token)
	cmd.Stdout, cmd.Stderr = f.m.Stderr, f.m.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Cancel, cmd.WaitDelay = stdin.Close, endTime
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	return errors.New("it had nothing left to do")
}

// queueDir is where the queue in this process keeps its jobs.
func (t *training) queueDir() string { return filepath.Join(t.out, "queue") }
