package hub_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// heldOut is a validation text of mamba2-mini with what transformers says of it.
type heldOut struct {
	Domain string
	IDs    []int32
	NLLSum float64 `json:"nll_sum"`
	Tokens int
}

// every is the distance of the texts that TestQuality reads: all 19 take half a minute.
const every = 3

// TestQuality converts mamba2-mini and measures its perplexity on validation texts, in
// the precision of the folder. int8 may cost 0.5 %; f32 is what transformers computes.
func TestQuality(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(mini, "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	var texts []heldOut
	if err := json.Unmarshal(data, &texts); err != nil {
		t.Fatal(err)
	}
	b := testkit.Backend(t, backend.XLACPU)
	var reference float64
	tokens := 0
	for i := 0; i < len(texts); i += every {
		text := texts[i]
		reference += text.NLLSum
		tokens += text.Tokens
	}
	perplexity := map[swarm.Precision]float64{}
	for _, precision := range []swarm.Precision{swarm.F32, swarm.BF16, swarm.Int8} {
		p := convert(t, mini, precision)
		m, err := swarm.Load(b, p.Config.Swarm, p, swarm.Options{Precision: precision})
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for i := 0; i < len(texts); i += every {
			sum += likelihood(t, m, texts[i].IDs)
		}
		m.Close()
		perplexity[precision] = math.Exp(sum / float64(tokens))
		t.Logf("%-4s %.5f nats a token, perplexity %.4f, %+.3f %%", precision, sum/float64(tokens), perplexity[precision],
			100*(perplexity[precision]/math.Exp(reference/float64(tokens))-1))
	}
	if d := math.Abs(perplexity[swarm.F32]/math.Exp(reference/float64(tokens)) - 1); !(d < 1e-4) {
		t.Errorf("f32 differs from transformers by %.2g", d)
	}
	for _, precision := range []swarm.Precision{swarm.BF16, swarm.Int8} {
		if rise := perplexity[precision]/perplexity[swarm.F32] - 1; !(rise <= 0.005) {
			t.Errorf("%s raises the perplexity by %.3f %%, more than 0.5 %%", precision, 100*rise)
		}
	}
}

// likelihood returns the negative log-likelihood of all tokens but the first, in nats.
func likelihood(t *testing.T, m *swarm.Model, ids []int32) float64 {
	t.Helper()
	s, err := m.NewSession("")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	V, sum := m.Config().Base.VocabSize, 0.0
	_, err = s.Score(t.Context(), ids, func(at int, logits []float32) error {
		for i := range len(logits) / V {
			if at+i+1 < len(ids) {
				row := logits[i*V : (i+1)*V]
				sum += logSum(row) - float64(row[ids[at+i+1]])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// logSum returns log Σ exp(row).
func logSum(row []float32) float64 {
	top := row[0]
	for _, v := range row {
		top = max(top, v)
	}
	sum := 0.0
	for _, v := range row {
		sum += math.Exp(float64(v - top))
	}
	return float64(top) + math.Log(sum)
}
