package hub

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// unquantised are the linear layers that int8 leaves in bf16 or f32, as
// compressed-tensors names modules: the head, the small projections of Mamba-1, and
// a swarm's router and aggregator.
var unquantised = []string{"lm_head", `re:.*\.x_proj$`, `re:.*\.dt_proj$`}
var unquantisedSwarm = []string{`re:.*\.router\..*`, `re:.*\.aggregator\..*`}

// Convert returns what SavePretrained needs to write p in HuggingFace's layout with
// its weights at a precision, or as they are if it is empty. The error is a
// *config.FaultError if that layout cannot express p's blocks.
func Convert(p *Pretrained, precision swarm.Precision) (SaveOptions, error) {
	cfg := *p.Config
	cfg.Original = false
	if precision == "" && cfg.DType == "" {
		dtype, _, err := p.Info("backbone.embeddings.weight")
		if err != nil {
			return SaveOptions{}, err
		}
		cfg.DType = typeNames[dtype]
	}
	at, err := AtPrecision(&cfg, precision)
	if err != nil {
		return SaveOptions{}, err
	}
	return SaveOptions{
		Config: at, Generation: p.Generation, FilesFrom: p.Dir, Precision: precision,
		Origin: func(spec swarm.TensorSpec) Origin { return Origin{Source: p, Name: spec.Name} },
	}, nil
}

// AtPrecision returns the configuration of a model whose weights [SavePretrained] writes at
// a precision, or as they are if it is empty.
func AtPrecision(c *config.Config, precision swarm.Precision) (*config.Config, error) {
	cfg := *c
	switch precision {
	case "":
	case swarm.Int8: // what is not int8 or bf16 needs f32
		cfg.DType = typeNames[dtypes.Float32]
		cfg.Quantization = config.NewQuantization(ignored(cfg.Swarm)...)
	default:
		cfg.DType = typeNames[precision.Stored("backbone.embeddings.weight")]
		cfg.Quantization = nil
	}
	return &cfg, cfg.Validate()
}

// Stored returns the precision that the weight matrices of a folder have by its
// configuration; empty is f32, f16 or f64.
func Stored(c *config.Config) swarm.Precision {
	switch {
	case c.Quantization != nil:
		return swarm.Int8
	case c.DType == typeNames[dtypes.BFloat16]:
		return swarm.BF16
	}
	return ""
}

func ignored(c swarm.Config) []string {
	if c.Plain() {
		return unquantised
	}
	return append(unquantised[:len(unquantised):len(unquantised)], unquantisedSwarm...)
}

// typeNames are PyTorch's names of the types that weights are stored in.
var typeNames = map[dtypes.DType]string{
	dtypes.Float64: "float64", dtypes.Float32: "float32", dtypes.Float16: "float16", dtypes.BFloat16: "bfloat16",
}

// ExportEncoder returns what SavePretrained needs to write encoder e of a swarm
// with the decoder as a plain Mamba. The error is a *config.FaultError if
// transformers has no such model.
func ExportEncoder(p *Pretrained, e int) (SaveOptions, error) {
	c := p.Config.Swarm
	if c.Plain() {
		return SaveOptions{}, fmt.Errorf("export encoder %d of %s: it is a plain %s without encoders", e, p.Dir, c.Base.Kind)
	}
	if e < 0 || e >= c.Router.NumEncoders {
		return SaveOptions{}, fmt.Errorf("export encoder %d of %s: its encoders are 0 to %d", e, p.Dir, c.Router.NumEncoders-1)
	}
	cfg, err := p.Config.Export()
	if err != nil {
		return SaveOptions{}, err
	}
	return SaveOptions{
		Config: cfg, Generation: p.Generation, FilesFrom: p.Dir, Derived: true,
		Origin: func(spec swarm.TensorSpec) Origin {
			name := spec.Name
			if spec.Layer != swarm.None && spec.Layer < c.NumEncoderLayers {
				within := name[len(swarm.LayerTensor(swarm.None, spec.Layer, "")):]
				if swarm.EncoderOwns(c.Base.Kind, within) {
					name = swarm.LayerTensor(e, spec.Layer, within)
				}
			}
			return Origin{Source: p, Name: name}
		},
	}, nil
}
