package swarm

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
)

// Options say how a model is held in memory.
type Options struct {
	Precision Precision // of the weight matrices; empty is F32
	// EncoderBudgetBytes bounds the device memory of encoders, those in use
	// excepted; 0 allows twice the active ones.
	EncoderBudgetBytes int64
}

// Model is a loaded model: the core in device memory, encoders on demand. It may
// be used by several sessions at once.
type Model struct {
	cfg       Config
	backend   compute.Backend
	src       Source
	precision Precision
	core      *tensorMap
	pool      *Pool
	router    *router.Router // nil for a plain model
	quality   []float32      // aggregator.beta [E]; nil without an aggregator

	encoder map[string]shapes.Shape // an encoder's tensors by name within a bank
	onGPU   bool
	batch   batchShape // of texts that are judged side by side

	mu       sync.Mutex
	programs map[programKey]*pending
	warming  sync.WaitGroup
}

// Load reads the core of a checkpoint and prepares the router. Encoders are read
// when the router first picks them. The error names every tensor that is missing
// or does not fit.
func Load(b compute.Backend, cfg Config, src Source, opts Options) (*Model, error) {
	if opts.Precision == "" {
		opts.Precision = F32
	}
	if err := cfg.Check(src, false); err != nil {
		return nil, err
	}
	m := &Model{cfg: cfg, backend: b, src: src, precision: opts.Precision, core: newTensorMap(), programs: map[programKey]*pending{}}
	if err := m.loadCore(); err != nil {
		m.core.finalize()
		return nil, err
	}
	m.onGPU = mamba.OnGPU(b)
	m.batch = batchOn(m.onGPU)
	m.cfg.Base.ForwardGPU = m.onGPU
	if !cfg.Plain() {
		m.encoder = cfg.encoderShapes(m.encoderPrecision())
		if err := m.loadRouter(); err != nil {
			m.core.finalize()
			return nil, err
		}
		if opts.EncoderBudgetBytes == 0 {
			opts.EncoderBudgetBytes = 2 * int64(cfg.Router.EncodersPerToken) * cfg.encoderBytes(m.encoderPrecision())
		}
		m.pool = newPool(b, cfg, src, m.encoderPrecision(), opts.EncoderBudgetBytes)
	}
	return m, nil
}

// loadCore uploads what all encoders share, but for the router, which stays on
// the host.
func (m *Model) loadCore() error {
	var names []string
	for _, spec := range m.cfg.CoreTensors() {
		names = append(names, spec.Name)
		if strings.HasPrefix(spec.Name, "backbone.router.") || spec.Name == AggregatorBias {
			continue
		}
		if err := m.core.load(m.backend, m.src, spec, spec.Name, m.precision); err != nil {
			return err
		}
	}
	if m.cfg.Base.TieWordEmbedding {
		if m.precision == Int8 {
			spec := shared("backbone.embeddings.weight", []int{m.cfg.Base.VocabSize, m.cfg.Base.DModel}, None)
			if err := m.core.load(m.backend, m.src, spec, headName, m.precision); err != nil {
				return err
			}
		}
	}
	m.src.Release(names)
	return nil
}

// headName is the LM head's matrix where it is not the embedding itself.
const headName = "lm_head.weight"

// loadRouter reads the router's tables and the aggregator's beta.
func (m *Model) loadRouter() error {
	var err error
	if m.router, err = ReadRouter(m.cfg, m.src); err != nil || !m.fusesOutputs() {
		return err
	}
	m.quality, err = ReadFloats(m.src, AggregatorBias)
	return err
}

// ReadRouter reads a swarm's router from its checkpoint. It plans texts without the
// network.
func ReadRouter(cfg Config, src Source) (*router.Router, error) {
	if cfg.Plain() {
		return nil, fmt.Errorf("a plain %s has no router", cfg.Base.Kind)
	}
	var w router.Weights
	tables := map[string]*[]float32{
		"backbone.router.embeddings.weight": &w.Embeddings,
		RouterRows:                          &w.Proj,
		BalanceBias:                         &w.Bias,
	}
	for _, spec := range cfg.CoreTensors() {
		values, ok := tables[spec.Name]
		if !ok {
			continue
		}
		if err := checkTensor(src, spec); err != nil {
			return nil, err
		}
		var err error
		if *values, err = ReadFloats(src, spec.Name); err != nil {
			return nil, err
		}
	}
	return router.New(cfg.Router, w, cfg.Base.VocabSize)
}

// encoderBytes returns the device memory of one encoder.
func (c Config) encoderBytes(p Precision) int64 {
	var n int64
	for _, spec := range c.EncoderTensors(0) {
		n += int64(spec.Elements()) * int64(p.Stored(spec.Name).Size())
	}
	return n
}

// Config returns the model's configuration.
func (m *Model) Config() Config { return m.cfg }

// Precision returns the type of the weight matrices in memory.
func (m *Model) Precision() Precision { return m.precision }

// encoderPrecision is the type of the encoders' matrices: encoders that are merged
// are held in f32.
func (m *Model) encoderPrecision() Precision {
	if m.cfg.Fusion == FuseWeights {
		return F32
	}
	return m.precision
}

// Backend returns the back end that the model runs on.
func (m *Model) Backend() compute.Backend { return m.backend }

// Router returns the model's router, nil for a plain model.
func (m *Model) Router() *router.Router { return m.router }

// Pool returns the encoders' pool, nil for a plain model.
func (m *Model) Pool() *Pool { return m.pool }

// Close frees the device memory. No session may be in use.
func (m *Model) Close() {
	m.warming.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.programs {
		if <-p.done; p.program != nil {
			p.program.Finalize()
		}
	}
	m.programs = map[programKey]*pending{}
	m.core.finalize()
	if m.pool != nil {
		m.pool.close()
	}
}

// ErrNotFinite is wrapped by errors about logits that are NaN or infinite.
var ErrNotFinite = errors.New("the model's logits are not finite")

// diagnose names the tensors of the core and of the given encoders that hold
// values which are not finite, for an error after the logits were not.
func (m *Model) diagnose(encoders []int) error {
	specs := m.cfg.CoreTensors()
	for _, e := range encoders {
		specs = append(specs, m.cfg.EncoderTensors(e)...)
	}
	var bad []string
	for _, spec := range specs {
		values, err := ReadFloats(m.src, spec.Name)
		if err != nil {
			return err
		}
		for _, v := range values {
			if v-v != 0 {
				bad = append(bad, spec.Name)
				break
			}
		}
	}
	if bad == nil {
		return fmt.Errorf("%w, although all weights are: the computation overflows in %s", ErrNotFinite, m.precision)
	}
	return fmt.Errorf("%w: NaN or infinity in %s; the checkpoint is damaged", ErrNotFinite, strings.Join(bad, ", "))
}
