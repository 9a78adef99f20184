package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gomlx/compute"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/internal/atomicfile"
	"github.com/mamba-encoder-swarm/mes/model/ckpt"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/queue"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
	"github.com/mamba-encoder-swarm/mes/model/trainer"
)

var trainCommand = command{
	name: "train", args: "", summary: "train a plain Mamba or a swarm",
	help: `
Trains the model that -config describes on prepared data, as -plan says: its phases are
seed (a plain model), branch (a specialist for each domain), router and joint, each of
which may stand alone. The folder -o gets copies of -config and -plan, checkpoints,
metrics.jsonl, files for TensorBoard and, at the end, the model in HuggingFace's layout.
After Ctrl-C or a crash the same command goes on from the last checkpoint; ` + "`mes convert`" + `
writes any checkpoint as a model.

A branch phase may be handed to workers: -workers starts some on this machine, and
` + "`mes worker`" + ` joins them from others through -nats-listen or -nats, whose token is in
MES_NATS_TOKEN. The result is the same.

Example:
  mes data prepare -tokenizer weights/mamba2-mini -o data corpus.tar.xz
  mes train -config scripts/train/tiny/config.json -plan scripts/train/tiny/plan.json -data data -o runs/tiny
  mes train -init runs/tiny/model -add-domain law -data data -o runs/law

-add-domain gives the swarm -init one more encoder and router row, for the texts in a folder
or, prepared, of one domain; it is written to -o, and every other encoder's file stays the
same to the byte. -data names prepared texts of the other domains, by which the router learns what
is not for the new encoder; without it the router guesses. -plan may have one phase, joint;
by default it follows from how much text there is, and a step has 8 texts or, where the
-devices cannot share them, the next multiple of their number. add-domain.json says what came out.`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		t := &training{m: m, model: modelFlags{m: m}, spread: spreadFlags{m: m}}
		fs.StringVar(&t.config, "config", "", "`file` config.json of the model, or a preset: tiny, small, base; needed")
		fs.StringVar(&t.plan, "plan", "", "JSON `file` with the phases; needed")
		fs.StringVar(&t.data, "data", "", "`folder` that mes data prepare wrote; needed")
		fs.StringVar(&t.out, "o", "", "`folder` of the run; needed")
		fs.StringVar(&t.tokenizer, "tokenizer", "", "`folder` whose tokenizer, that of -data, and licences go with the model; empty is the copy in -data, without licences")
		fs.StringVar(&t.init, "init", "", "model to start from: a `folder` or name with the model itself or its plain base")
		fs.StringVar(&t.add, "add-domain", "", "`folder` of texts, or of prepared data, of a domain to add to the swarm -init")
		fs.StringVar(&t.domain, "domain", "", "`name` of the domain to add; empty is the folder's name. Prepared data has one")
		fs.StringVar(&t.devices, "devices", "all", "`number` of the host's devices that share each batch, or all; of a CPU, which is one, so many are made")
		fs.StringVar(&t.http, "http", "", "`address` of a live page of the run on this machine, such as 127.0.0.1:7861 or :7861")
		fs.IntVar(&t.keep, "keep", 3, "newest `checkpoints` to keep; 0 keeps all")
		fs.Int64Var(&t.keepEvery, "keep-every", 0, "`steps`: keep also each checkpoint whose step is a multiple; 0 none")
		fs.IntVar(&t.keepBest, "keep-best", 1, "keep also so many `checkpoints` of lowest loss on held-out text, of those that have one")
		t.model.backendFlag(fs)
		t.spread.register(fs)
		return t.run
	},
}

// training is one run of the command.
type training struct {
	m                                              *Main
	model                                          modelFlags
	spread                                         spreadFlags
	config, plan, data, out, tokenizer, init, http string
	add, domain                                    string
	devices                                        string
	keep, keepBest                                 int
	keepEvery                                      int64
	log                                            *slog.Logger // nil until there may be checkpoints
}

func (t *training) run(ctx context.Context, args []string) error {
	err := t.command(ctx, args)
	if t.log != nil && stopped(ctx, err) {
		t.log.Info("stopped and saved; the same command goes on from here")
	}
	return err
}

// also adds what failed when a run was put away to the run's own error. It stands alone
// where that is only that ctx ended.
func also(ctx context.Context, err, after error) error {
	if after != nil && stopped(ctx, err) {
		return after
	}
	return errors.Join(err, after)
}

func (t *training) command(ctx context.Context, args []string) error {
	if err := t.checkHTTP(); err != nil {
		return err
	}
	if t.keep < 0 || t.keepEvery < 0 || t.keepBest < 0 {
		return usageError("-keep, -keep-every and -keep-best must not be negative")
	}
	if t.add != "" && len(args) == 0 {
		if t.spread.on() {
			return usageError("-add-domain trains one encoder: leave -workers, -nats and -nats-listen out")
		}
		return t.runAdd(ctx)
	}
	if t.domain != "" {
		return usageError("-domain names the domain of -add-domain, which is not there")
	}
	if len(args) > 0 || t.config == "" || t.plan == "" || t.data == "" || t.out == "" {
		return usageError("train needs -config, -plan, -data and -o; `mes help train` shows an example")
	}
	c, err := t.modelConfig()
	if err != nil {
		return err
	}
	plan, err := trainer.ReadPlan(t.plan)
	if err != nil {
		return err
	}
	if err := plan.Check(c.Swarm); err != nil {
		return usageError("%s: %v", t.plan, err)
	}
	if err := t.spread.check(plan); err != nil {
		return err
	}
	model := filepath.Join(t.out, "model")
	if _, err := os.Stat(model); err == nil {
		return fmt.Errorf("%s is there: this run is complete; take another -o", model)
	}
	if t.tokenizer == "" {
		t.tokenizer = filepath.Join(t.data, data.TokenizerDir)
	}
	if err := checkTokenizer("-tokenizer "+t.tokenizer, t.tokenizer, t.data); err != nil {
		return err
	}
	start, err := t.start(ctx, c)
	if err != nil {
		return err
	}
	b, devices, err := t.open()
	if err != nil {
		return err
	}
	defer b.Finalize()
	params, err := t.train(ctx, trainer.Config{Backend: b, Devices: devices, Model: c.Swarm, Plan: plan, Data: t.data, Start: start}, c)
	if err != nil {
		return err
	}
	if _, err := t.m.save(ctx, "save", model, trainedModel(c, t.tokenizer, params)); err != nil {
		return err
	}
	total, active := c.Swarm.Parameters()
	fmt.Fprintf(t.m.Stdout, "%s: %s parameters, %s active\n", model, thousands(int64(total)), thousands(int64(active)))
	return nil
}

// trainedModel is how trained tensors are written, with the tokenizer and licences of a
// folder.
func trainedModel(c *config.Config, tokenizer string, params trainer.Params) hub.SaveOptions {
	return hub.SaveOptions{Config: c, FilesFrom: tokenizer, Derived: true,
		Origin: func(spec swarm.TensorSpec) hub.Origin { return hub.Origin{Source: params, Name: spec.Name} }}
}

// train runs the trainer with checkpoints in the run's folder, and with workers where the
// flags ask for them. c is the model's configuration, nil for a part of a model.
func (t *training) train(ctx context.Context, run trainer.Config, c *config.Config) (_ trainer.Params, err error) {
	run.Logger = slog.New(slog.NewTextHandler(t.m.Stderr, nil))
	run.Checkpoints, err = ckpt.Open(ckpt.Config{Dir: filepath.Join(t.out, runCheckpoints), Keep: t.keep, EveryStep: t.keepEvery, Best: t.keepBest, Logger: run.Logger})
	if err != nil {
		return nil, err
	}
	defer func() { err = also(ctx, err, run.Checkpoints.Close()) }()
	t.log = run.Logger
	t.log.Info("training", "backend", t.spread.backend, "devices", max(1, run.Devices), "run", t.out)
	return t.spread.train(ctx, t, run, c)
}

// open opens the back end and counts the devices that -devices asks for.
func (t *training) open() (compute.Backend, int, error) {
	devices := 0
	if t.devices != "all" {
		n, err := strconv.Atoi(t.devices)
		if err != nil || n < 1 {
			return nil, 0, usageError("-devices: %q is neither a number from 1 nor all", t.devices)
		}
		devices = n
	}
	t.model.cpuDevices = max(1, devices)
	b, info, err := t.model.openBackend()
	if err != nil {
		return nil, 0, err
	}
	t.spread.backend = info.Name
	if devices == 0 {
		devices = len(info.Devices)
	}
	return b, devices, nil
}

// modelConfig reads -config, and makes it one of trained weights in f32.
func (t *training) modelConfig() (*config.Config, error) {
	var c *config.Config
	var err error
	if slices.Contains(config.PresetNames, t.config) {
		c, err = config.Preset(t.config)
	} else {
		c, err = config.Load(t.config)
	}
	if err != nil {
		return nil, err
	}
	c.GrownFrom, c.Quantization, c.DType, c.RescaleResidual = "", nil, "float32", false
	return c, c.Validate()
}

// What is in a run's folder beside the files of [telemetry] and the configuration.
const (
	runPlan        = "plan.json"
	runTokenizer   = "tokenizer"
	runCheckpoints = "checkpoints"
)

// keepFiles copies configuration, plan and tokenizer into the run's folder, so that whoever
// has the folder can go on.
func (t *training) keepFiles(c *config.Config) error {
	plan, err := os.ReadFile(t.plan)
	if err != nil {
		return fmt.Errorf("copy the plan: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(t.out, runPlan), plan, 0o666); err != nil {
		return fmt.Errorf("copy the plan: %w", err)
	}
	if err := c.Save(t.out); err != nil {
		return fmt.Errorf("copy the configuration: %w", err)
	}
	return hub.CopyTokenizer(t.tokenizer, filepath.Join(t.out, runTokenizer))
}

// start reads the tensors of -init: those of the model, or of its plain base.
func (t *training) start(ctx context.Context, c *config.Config) (trainer.Params, error) {
	if t.init == "" {
		return nil, nil
	}
	p, err := t.m.openWhole(ctx, t.init)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := checkVocabulary("-init "+t.init, p, t.data); err != nil {
		return nil, err
	}
	whole := c.Swarm
	if p.Config.Swarm.Plain() {
		whole = c.Swarm.Dense()
	}
	params, err := trainer.Read(ctx, whole, p)
	if err != nil {
		return nil, fmt.Errorf("-init %s does not fit -config: %w", t.init, err)
	}
	return params, nil
}

// checkHTTP keeps the live page, which knows no users, on this machine.
func (t *training) checkHTTP() error {
	if strings.HasPrefix(t.http, ":") {
		t.http = "127.0.0.1" + t.http
	}
	if t.http != "" && !queue.Loopback(t.http) {
		return usageError("-http %s: the live page has no password and stays on 127.0.0.1; `ssh -L` brings it elsewhere", t.http)
	}
	return nil
}

// follow runs the trainer with its records, progress and live page. It keeps c, the
// plan and the tokenizer in the run's folder, unless c is nil.
func (t *training) follow(ctx context.Context, c *config.Config, run trainer.Config) (_ trainer.Params, err error) {
	progress := &telemetry.Progress{Writer: t.m.Stderr, Terminal: t.m.terminal()}
	defer progress.Finish()
	var recorder *telemetry.Recorder
	run.Record = func(r telemetry.Record) error {
		progress.Show(r)
		return recorder.Add(r)
	}
	run.Sync = func() error { return recorder.Sync() }
	tr, err := trainer.New(run)
	if err != nil {
		return nil, err
	}
	if c != nil {
		if err := t.keepFiles(c); err != nil {
			return nil, err
		}
	}
	recorder, err = telemetry.OpenRecorder(telemetry.RecorderConfig{Dir: t.out, Step: tr.Step(), Logger: run.Logger})
	if err != nil {
		return nil, err
	}
	defer func() { err = also(ctx, err, recorder.Close()) }()
	if t.http != "" {
		stop, err := t.live(run.Logger, recorder)
		if err != nil {
			return nil, err
		}
		defer stop()
	}
	return tr.Run(ctx)
}

// live serves the run's page until stop is called.
func (t *training) live(log *slog.Logger, recorder *telemetry.Recorder) (stop func(), err error) {
	listener, err := net.Listen("tcp", t.http)
	if err != nil {
		return nil, fmt.Errorf("-http: %w", err)
	}
	server := &http.Server{Handler: telemetry.Live(recorder), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the live page ended", "error", err)
		}
	}()
	log.Info("live page", "url", "http://"+listener.Addr().String())
	return func() {
		_ = server.Close() // nothing is lost with its connections
		<-done
	}, nil
}
