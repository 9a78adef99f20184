package trainer

import (
	"maps"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// decayed says of every kind of tensor whether it has weight decay: A_log, D, dt_bias, norms,
// biases and the few taps of the convolution have none.
var decayed = map[string]bool{
	"backbone.embeddings.weight":                       true,
	"lm_head.weight":                                   true,
	"backbone.norm_f.weight":                           false,
	"backbone.layers.#.norm.weight":                    false,
	"backbone.layers.#.mixer.in_proj.weight":           true,
	"backbone.layers.#.mixer.in_proj.bias":             false,
	"backbone.layers.#.mixer.conv1d.weight":            false,
	"backbone.layers.#.mixer.conv1d.bias":              false,
	"backbone.layers.#.mixer.x_proj.weight":            true,
	"backbone.layers.#.mixer.dt_proj.weight":           true,
	"backbone.layers.#.mixer.dt_proj.bias":             false,
	"backbone.layers.#.mixer.dt_bias":                  false,
	"backbone.layers.#.mixer.A_log":                    false,
	"backbone.layers.#.mixer.D":                        false,
	"backbone.layers.#.mixer.norm.weight":              false,
	"backbone.layers.#.mixer.out_proj.weight":          true,
	"backbone.layers.#.mixer.out_proj.bias":            false,
	"backbone.encoders.layers.#.norm.weight":           false,
	"backbone.encoders.layers.#.mixer.in_proj.weight":  true,
	"backbone.encoders.layers.#.mixer.norm.weight":     false,
	"backbone.encoders.layers.#.mixer.out_proj.weight": true,
	"backbone.router.embeddings.weight":                true,
	"backbone.router.proj.weight":                      true,
	"backbone.router.bias":                             false,
	"backbone.aggregator.q.weight":                     true,
	"backbone.aggregator.k.weight":                     true,
	"backbone.aggregator.quality.weight":               true,
	"backbone.aggregator.beta":                         false,
}

var number = regexp.MustCompile(`\.\d+\.`)

// kindOf is a tensor's name in the table.
func kindOf(name string) string {
	return strings.Replace(number.ReplaceAllString(name, ".#."), ".encoders.#.", ".encoders.", 1)
}

// TestAdamW: steps on a gradient that is clipped to a norm of 1 are those of a slow AdamW in
// float64 that decays the tensors of the table. Epsilon is large: else AdamW's steps hardly
// depend on a gradient's scale.
func TestAdamW(t *testing.T) {
	const lr, decay, epsilon = 0.01, 0.5, 0.01
	b := testkit.Backend(t, "go")
	dense := plain(mamba.Mamba1)
	dense.Base.TieWordEmbedding, dense.Base.UseBias = false, true
	met := map[string]bool{}
	for name, c := range map[string]swarm.Config{"mamba": dense, "swarm of mamba": tiny(mamba.Mamba1), "swarm of mamba2": tiny(mamba.Mamba2)} {
		l := tinyLearner(t, b, c, func(cfg *learnerConfig) {
			cfg.Optimizer.Epsilon = epsilon
			cfg.Losses = Losses{Balance: 5, Z: 5, Aggregator: 5, Domain: 5}
			cfg.Group, cfg.Decay = Shared, map[Group]float64{}
			for _, group := range allGroups {
				cfg.Decay[group] = decay
			}
		})
		want, moments := unlike(t, l), map[string]*adam{}
		for _, tensor := range l.tensors {
			kind := kindOf(tensor.Name)
			met[kind] = true
			if _, ok := decayed[kind]; !ok {
				t.Errorf("the table does not say whether %s decays", kind)
			}
		}
		batch := tinyBatch(c, l.Batch, l.SeqLen)
		for n := 1; n <= 3; n++ {
			grads, norm := allGradients(t, l, batch)
			if norm < 1.2 && !c.Plain() {
				t.Errorf("%s: the gradient's norm is %.2f: nothing is clipped", name, norm)
			}
			r, err := l.step([]rowsOfBatch{batch}, lr)
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(r.norm-norm) > 1e-5*norm {
				t.Errorf("%s, step %d: norm %v, want %v", name, n, r.norm, norm)
			}
			for tensor, grad := range grads {
				for i := range grad {
					grad[i] /= max(1, norm)
				}
				if n == 1 {
					moments[tensor] = &adam{}
				}
				down := moments[tensor].step(AdamW{Beta1: 0.9, Beta2: 0.95, Epsilon: epsilon}, n, grad)
				got, err := read[float32](l.state["p/"+tensor], len(down))
				if err != nil {
					t.Fatal(err)
				}
				for i, p := range want[tensor] {
					if decayed[kindOf(tensor)] {
						down[i] += decay * p
					}
					want[tensor][i] -= lr * down[i]
					if !(math.Abs(float64(got[i])-want[tensor][i]) <= 5e-6) {
						t.Fatalf("%s, step %d: %s[%d] went from %v to %v, want %v", name, n, tensor, i, p, got[i], want[tensor][i])
					}
				}
			}
		}
	}
	for kind := range decayed {
		if !met[kind] {
			t.Errorf("no model has the tensor %s", kind)
		}
	}
}

// unlike gives a learner weights of which none is zero or like another, and returns them.
func unlike(t *testing.T, l *learner) map[string][]float64 {
	t.Helper()
	p, rng := Init(l.Model, 1), rand.New(rand.NewPCG(4, 4))
	for _, name := range slices.Sorted(maps.Keys(p)) {
		for i := range p[name].Values {
			p[name].Values[i] += float32(0.2 * rng.NormFloat64())
		}
	}
	if err := l.load(p); err != nil {
		t.Fatal(err)
	}
	all := map[string][]float64{}
	for _, tensor := range l.tensors {
		for _, part := range tensor.parts {
			for _, v := range p[part].Values {
				all[tensor.Name] = append(all[tensor.Name], float64(v))
			}
		}
	}
	return all
}

// allGradients returns the gradients of a batch, and their global norm.
func allGradients(t *testing.T, l *learner, batch rowsOfBatch) (grads map[string][]float64, norm float64) {
	t.Helper()
	if err := l.put(batch); err != nil {
		t.Fatal(err)
	}
	out, err := l.gradients.run(l.Devices, l.state)
	if err != nil {
		t.Fatal(err)
	}
	defer out.finalize()
	grads = map[string][]float64{}
	for _, name := range l.trainable {
		shape := l.shape(name)
		flat, err := read[float32](out["g/"+name], shape.Size())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range flat {
			grads[name] = append(grads[name], float64(v))
			norm += float64(v) * float64(v)
		}
		if err := l.upload("g/"+name, make([]float32, shape.Size()), shape, false); err != nil {
			t.Fatal(err)
		}
	}
	return grads, math.Sqrt(norm)
}

// schedules are learning rates that were computed by hand: half a cosine is (1+cos(πt/8))/2,
// of which 0.961940, 0.853553, 0.691342, 1/2, … are the values.
var schedules = map[string]struct {
	phase Phase
	rates []float64
}{
	"cosine": {Phase{LR: 2},
		[]float64{2, 1.9238795, 1.7071068, 1.3826834, 1, 0.6173166, 0.2928932, 0.0761205}},
	"cosine with warm-up": {Phase{LR: 1, Schedule: Cosine, Warmup: 4},
		[]float64{0.25, 0.4809699, 0.6401650, 0.6913417, 0.5, 0.3086583, 0.1464466, 0.0380602}},
	"cosine with warm-up to a floor": {Phase{LR: 1, Warmup: 2, Floor: 0.2},
		[]float64{0.5, 0.9695518, 0.8828427, 0.7530734, 0.6, 0.4469266, 0.3171573, 0.2304482}},
	"wsd": {Phase{LR: 1, Schedule: WSD, Warmup: 2},
		[]float64{0.5, 1, 1, 1, 1, 1, 1, 1, 1, 0.5}},
	"wsd to a floor": {Phase{LR: 2, Schedule: WSD, Warmup: 4, Floor: 0.1},
		[]float64{0.5, 1, 1.5, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1.55, 1.1, 0.65}},
}

// TestSchedules: a run has the learning rates of its phase's schedule.
func TestSchedules(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder := prepared(t)
	for name, tt := range schedules {
		plan := Plan{Seed: 1, SeqLen: 8, Batch: 1, Log: 1, Held: 1, Phases: []Phase{tt.phase}}
		plan.Phases[0].Kind, plan.Phases[0].Tokens = Seed, int64(8*len(tt.rates))
		plan.Phases[0].LR *= 1e-3
		var rates []float64
		tr, err := New(Config{Backend: b, Model: trained(), Plan: plan, Data: folder, Record: func(r telemetry.Record) error {
			rates = append(rates, r.LR*1e3)
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(rates) != len(tt.rates) {
			t.Fatalf("%s: %d steps, want %d", name, len(rates), len(tt.rates))
		}
		for step, want := range tt.rates {
			if math.Abs(rates[step]-want) > 1e-6 {
				t.Errorf("%s: rate %v in step %d, want %v", name, rates[step], step, want)
			}
		}
	}
}
