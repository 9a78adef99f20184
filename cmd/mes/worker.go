package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"

	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/queue"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/trainer"
)

var workerCommand = command{
	name: "worker", summary: "train branches that mes train hands out",
	help: `
Takes branches of the run of ` + "`mes train -nats-listen`" + ` (or -nats) and trains them, one after
the other, until Ctrl-C. Weights come from the queue and go back to it, at every checkpoint
of the plan too; the data must be here, equal to those of the run. A worker that is killed
loses nothing that reached its last checkpoint: another goes on from there.

MES_NATS_TOKEN holds the queue's token. Off this machine the queue must have a token, and
an address that begins with tls://.

Example:
  MES_NATS_TOKEN=secret mes train -config c.json -plan p.json -data data -o run -nats-listen 0.0.0.0:4222 -nats-cert cert.pem -nats-key key.pem
  MES_NATS_TOKEN=secret mes worker -nats tls://host:4222 -nats-ca cert.pem -data data`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		w := &workerFlags{model: modelFlags{m: m}}
		fs.StringVar(&w.nats, "nats", "", "`URL` of the queue, such as tls://host:4222; needed")
		fs.StringVar(&w.ca, "nats-ca", "", caUsage)
		fs.StringVar(&w.data, "data", "", "`folder` of the run's data; needed")
		fs.BoolVar(&w.untilEOF, "until-eof", false, "end with the end of standard input, and so with the program that started this")
		w.model.backendFlag(fs)
		return w.run
	},
}

type workerFlags struct {
	model          modelFlags
	nats, ca, data string
	untilEOF       bool
}

func (w *workerFlags) run(ctx context.Context, args []string) error {
	if len(args) > 0 || w.nats == "" || w.data == "" {
		return usageError("worker needs -nats and -data; `mes help worker` shows an example")
	}
	m := w.model.m
	log := slog.New(slog.NewTextHandler(m.Stderr, nil))
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if w.untilEOF {
		go func() { // reads until the process ends
			_, _ = io.Copy(io.Discard, m.Stdin) // however it ends
			stop(errEOF)
		}()
	}
	q, err := queue.Connect(running, queue.Config{URL: w.nats, Token: m.Env(natsToken), CA: w.ca, Name: processName(), Logger: log})
	if err != nil {
		return ended(running, err)
	}
	defer q.Close()
	b, info, err := w.model.openBackend()
	if err != nil {
		return err
	}
	defer b.Finalize()
	log.Info("worker waits for branches", "name", processName(), "backend", info.Name, "queue", w.nats)
	return ended(running, trainer.Work(running, trainer.WorkerConfig{Backend: b, Queue: q, Data: w.data, Model: parseModel, Logger: log}))
}

// errEOF ends a worker whose standard input ended.
var errEOF = errors.New("standard input ended")

// ended takes the end of standard input for a good end.
func ended(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errEOF) {
		return nil
	}
	return err
}

// parseModel reads the model of a job.
func parseModel(text []byte) (swarm.Config, error) {
	c, err := config.Parse(text)
	if err != nil {
		return swarm.Config{}, err
	}
	return c.Swarm, nil
}
