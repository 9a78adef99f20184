package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"slices"

	"github.com/gomlx/compute"
	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

// modelFlags are the flags of every command that runs a model.
type modelFlags struct {
	m          *Main
	dir        string
	backend    string
	dtype      string
	budget     int64
	cpuDevices int // into which xla:cpu divides the processor; 0 is the plugin's choice
}

// modelUsage explains -model.
const modelUsage = "model: a `folder` in HuggingFace's layout or, where there is no such folder, OWNER/NAME[@REVISION] on the hub"

// defaultModel is the model that commands run if none is named.
const defaultModel = "weights/mes-mini"

func (m *Main) modelFlags(fs *flag.FlagSet) *modelFlags {
	f := &modelFlags{m: m}
	fs.StringVar(&f.dir, "model", defaultModel, modelUsage)
	f.backendFlag(fs)
	fs.StringVar(&f.dtype, "dtype", "f32", "`type` of the weight matrices in memory: f32, bf16 or int8")
	fs.Int64Var(&f.budget, "encoder-memory", 0, "`MiB` of memory for encoders that are not in use; 0 is twice the active ones")
	return f
}

func (f *modelFlags) backendFlag(fs *flag.FlagSet) {
	fs.StringVar(&f.backend, "backend", "auto", "`name` of the back end: auto, xla:cuda, xla:cpu or go")
}

// loaded is an open model with all that belongs to it.
type loaded struct {
	files   *hub.Pretrained     // nil for a random model
	tok     tokenizer.Tokenizer // nil if the command wants none
	backend compute.Backend
	info    backend.Info
	model   *swarm.Model
}

// openBackend opens the back end that the flags name.
func (f *modelFlags) openBackend() (compute.Backend, backend.Info, error) {
	if !slices.Contains(backend.Names(), f.backend) {
		return nil, backend.Info{}, usageError("unknown back end %q; choose auto, xla:cuda, xla:cpu or go", f.backend)
	}
	options := f.m.backendOptions()
	options.CPUDevices = f.cpuDevices
	return backend.Open(f.backend, options)
}

// load opens folder or repo, tokenizer, back end and model.
func (f *modelFlags) load(ctx context.Context) (*loaded, error) {
	l := &loaded{}
	var err error
	if l.files, err = f.m.openModel(ctx, f.dir); err != nil {
		return nil, err
	}
	if l.tok, err = l.files.Tokenizer(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if err := f.start(l, f.dir, l.files.Config.Swarm, l.files); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// start opens the back end and loads the model from src, called name.
func (f *modelFlags) start(l *loaded, name string, cfg swarm.Config, src swarm.Source) error {
	precision, err := swarm.ParsePrecision(f.dtype)
	if err != nil {
		return usageError("-dtype: %v", err)
	}
	if l.backend, l.info, err = f.openBackend(); err != nil {
		return err
	}
	l.model, err = swarm.Load(l.backend, cfg, src, swarm.Options{Precision: precision, EncoderBudgetBytes: f.budget << 20})
	if err != nil {
		return fmt.Errorf("load %s: %w", name, err)
	}
	return nil
}

// Close frees what was opened, in reverse order.
func (l *loaded) Close() error {
	var errs []error
	if l.model != nil {
		l.model.Close()
	}
	if l.backend != nil {
		l.backend.Finalize()
	}
	if l.tok != nil {
		errs = append(errs, l.tok.Close())
	}
	if l.files != nil {
		errs = append(errs, l.files.Close())
	}
	return errors.Join(errs...)
}

// engine returns an engine over the model.
func (l *loaded) engine(cfg engine.Config) (*engine.Engine, error) {
	c := l.files.Config
	cfg.Model, cfg.Tokenizer, cfg.EOS = l.model, l.tok, eos(l.files)
	cfg.Info = engine.Info{
		Name: l.files.Name, ModelType: c.ModelType, BaseModelType: string(c.Swarm.Base.Kind),
		Backend: l.info.Name, GrownFrom: c.GrownFrom,
	}
	return engine.New(cfg)
}

// eos lists the end-of-sequence tokens: those of generation_config.json, else those
// of config.json.
func eos(p *hub.Pretrained) []int32 {
	ids := p.Config.EOS
	if p.Generation != nil && len(p.Generation.EOS) > 0 {
		ids = p.Generation.EOS
	}
	out := make([]int32, len(ids))
	for i, id := range ids {
		out[i] = int32(id)
	}
	return out
}

// sampling returns what a model's authors recommend in generation_config.json:
// greedy unless do_sample is set.
func sampling(g *config.GenerationConfig) engine.Sampling {
	var s engine.Sampling
	if g == nil {
		return s
	}
	if g.RepetitionPenalty != nil {
		s.RepetitionPenalty = *g.RepetitionPenalty
	}
	if g.DoSample == nil || !*g.DoSample {
		return s
	}
	s.Temperature = 1
	if g.Temperature != nil {
		s.Temperature = *g.Temperature
	}
	s.TopK = 50 // the default of transformers
	if g.TopK != nil {
		s.TopK = *g.TopK
	}
	if g.TopP != nil {
		s.TopP = *g.TopP
	}
	if g.MinP != nil {
		s.MinP = *g.MinP
	}
	return s
}

// backendOptions says where plugins may be, by the program's environment.
func (m *Main) backendOptions() backend.Options {
	o := backend.Options{Plugin: m.Env("PJRT_PLUGIN_LIBRARY_PATH"), CUDAPlugin: m.Env("MES_CUDA_PLUGIN")}
	o.Dirs = backend.SearchDirs(m.Env("HOME"))
	return o
}

// platform says which system the program was built for.
func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }
