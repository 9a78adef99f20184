package trainer

import (
	"math"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// TestBFloat16: steps whose values between operations are bf16 have the losses of steps in f32
// to 0.01 and the gradient's norm to 2 %, while the weights are f32: all but a few keep
// digits that bf16 has not.
func TestBFloat16(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		c := tiny(mamba.Mamba2)
		run := func(narrow bool) (l *learner, losses, norms []float64) {
			l = tinyLearner(t, b, c, func(cfg *learnerConfig) { cfg.BFloat16 = narrow })
			unlike(t, l)
			batch := tinyBatch(c, l.Batch, l.SeqLen)
			for range 10 {
				r, err := l.step([]rowsOfBatch{batch}, 1e-4)
				if err != nil {
					t.Fatal(err)
				}
				losses, norms = append(losses, r.stats[statLoss]), append(norms, r.norm)
			}
			return l, losses, norms
		}
		l, losses, norms := run(true)
		_, wantLosses, wantNorms := run(false)
		for step, want := range wantLosses {
			if !(math.Abs(losses[step]-want) <= 0.01) {
				t.Errorf("step %d: loss %v, in f32 %v", step, losses[step], want)
			}
			if want := wantNorms[step]; !(math.Abs(norms[step]-want) <= 0.02*want) {
				t.Errorf("step %d: norm %v, in f32 %v", step, norms[step], want)
			}
		}
		if slices.Equal(losses, wantLosses) {
			t.Error("all losses are those of f32: nothing was computed in bf16")
		}
		narrow, all := 0, 0
		for _, name := range l.trainable {
			for _, kind := range []string{"p/", "m/", "v/", "g/"} {
				shape, err := l.state[kind+name][0].Shape()
				if err != nil {
					t.Fatal(err)
				}
				if shape.DType != dtypes.Float32 {
					t.Errorf("%s%s is %v, want f32", kind, name, shape.DType)
				}
			}
			values, err := read[float32](l.state["p/"+name], l.shape(name).Size())
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range values {
				if all++; math.Float32bits(v)&0xffff == 0 {
					narrow++
				}
			}
		}
		if narrow > all/100 {
			t.Errorf("%d of %d weights have no more digits than bf16", narrow, all)
		}
	})
}
