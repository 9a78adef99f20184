package swarm_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// miniText is one text of reference.json in a folder below weights: what transformers
// computed in f32 on the CPU.
type miniText struct {
	Domain         string
	Text           string
	IDs            []int32
	NLLSum         float64   `json:"nll_sum"`          // nats, over IDs[1:]
	LastLogitsHead []float64 `json:"last_logits_head"` // first 16 after the last token
	Prompt         []int32
	Greedy         []int32 // the 48 tokens after Prompt
}

// tie is the distance of two logits below which f32 may prefer either.
const tie = 1e-4

// TestMiniReference compares the shipped models with transformers, the swarm by the
// Python in its folder: all 19 texts on XLA, on the go back end, which takes a second
// for a text, the first two.
func TestMiniReference(t *testing.T) {
	for _, name := range []string{"mamba2-mini", "mes-mini"} {
		t.Run(name, func(t *testing.T) { miniReference(t, name) })
	}
}

// miniTexts reads the reference of a shipped model.
func miniTexts(t *testing.T, name string) (dir string, texts []miniText) {
	t.Helper()
	dir = filepath.Join("..", "..", "weights", name)
	raw, err := os.ReadFile(filepath.Join(dir, "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &texts); err != nil {
		t.Fatal(err)
	}
	if len(texts) != 19 {
		t.Fatalf("%d texts, want 19", len(texts))
	}
	return dir, texts
}

func miniReference(t *testing.T, name string) {
	dir, texts := miniTexts(t, name)
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		p := open(t, dir)
		m := load(t, b, p, p)
		tok, err := p.Tokenizer()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tok.Close() })
		some := texts
		if b == testkit.Backend(t, backend.Go) {
			some = texts[:2]
		}
		for _, text := range some {
			t.Run(text.Domain, func(t *testing.T) {
				ids, err := tok.Encode(text.Text)
				if err != nil {
					t.Fatal(err)
				}
				// The reference keeps the first 300 ids of a text.
				if diff := gocmp.Diff(text.IDs, ids[:min(len(ids), len(text.IDs))]); diff != "" {
					t.Errorf("ids (-transformers +ours):\n%s", diff)
				}
				text.checkLogits(t, m)
				text.checkGreedy(t, m)
			})
		}
	})
}

// TestMiniRoutes checks that the shipped swarm's router knows the domains of held-out
// texts: behind 128 tokens it sends 9 chunks of 10 to the encoder of the text's domain,
// beside the generalist.
func TestMiniRoutes(t *testing.T) {
	dir, texts := miniTexts(t, "mes-mini")
	p := open(t, dir)
	r := load(t, testkit.Backend(t, backend.Go), p, p).Router()
	right, all := 0, 0
	for _, text := range texts {
		start, err := r.Start("")
		if err != nil {
			t.Fatal(err)
		}
		plan, _, err := r.Plan(start, text.IDs)
		if err != nil {
			t.Fatal(err)
		}
		own := slices.Index(p.Config.Swarm.Router.Domains, text.Domain)
		for _, chunk := range plan {
			if chunk.Start < 128 {
				continue
			}
			if all++; slices.Contains(chunk.Slots, own) {
				right++
			}
			if chunk.Slots[0] != 0 {
				t.Errorf("%s: the generalist is not in slot 0 but encoder %d", text.Domain, chunk.Slots[0])
			}
		}
	}
	t.Logf("%d of %d chunks", right, all)
	if right < 9*all/10 {
		t.Errorf("%d of %d chunks go to the encoder of their domain, want 9 of 10", right, all)
	}
}

// checkLogits compares the summed likelihood and the last logits.
func (r miniText) checkLogits(t *testing.T, m *swarm.Model) {
	t.Helper()
	s := session(t, m)
	nll, V, last := 0.0, m.Config().Base.VocabSize, []float32(nil)
	_, err := s.Score(t.Context(), r.IDs, func(at int, logits []float32) error {
		for row := range slices.Chunk(logits, V) {
			if at++; at < len(r.IDs) {
				nll += logSumExp(row) - float64(row[r.IDs[at]])
			}
			last = append(last[:0], row...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := math.Abs(nll/r.NLLSum - 1); !(d <= 1e-5) {
		t.Errorf("likelihood %.4f, transformers %.4f: %.1g off", nll, r.NLLSum, d)
	}
	for i, want := range r.LastLogitsHead {
		if d := math.Abs(float64(last[i]) - want); !(d <= 1e-4) {
			t.Errorf("logit %d: %.5f, transformers %.5f", i, last[i], want)
		}
	}
}

// checkGreedy generates 48 tokens. The reference was made without an attention mask,
// and transformers then masked the prompt's first token, which is also the padding
// token. Where the best two logits lie closer than tie, the text may go either way,
// and the comparison ends.
func (r miniText) checkGreedy(t *testing.T, m *swarm.Model) {
	t.Helper()
	s := session(t, m)
	next := r.Prompt[1:]
	for i, want := range r.Greedy {
		logits, _, err := s.Feed(t.Context(), next)
		if err != nil {
			t.Fatal(err)
		}
		best := argmax(logits)
		if best != want {
			if logits[best]-logits[want] >= tie {
				t.Errorf("token %d: %d, transformers %d, whose logit is %g lower", i, best, want, logits[best]-logits[want])
			}
			return
		}
		next = []int32{best}
	}
}

// TestInt8Checkpoints reads compressed-tensors folders, where every Linear inside
// the layers is int8, and compares with transformers, which widened the same weights
// to f32. In f32 the two agree to the contract's 1e-4. Our int8 keeps in_proj and
// out_proj as they lie in the file, but rounds embedding (bf16 in the file), x_proj
// and dt_proj to bf16 and the head to int8: int8Tolerance allows for these.
func TestInt8Checkpoints(t *testing.T) {
	for _, name := range []string{"mamba1-int8", "mamba2-int8"} {
		dir := filepath.Join("..", "mamba", "testdata", name)
		runs, err := filepath.Glob(filepath.Join(dir, "expected-*.safetensors"))
		if err != nil || len(runs) == 0 {
			t.Fatalf("no runs in %s: %v", dir, err)
		}
		testkit.Backends(t, func(t *testing.T, b compute.Backend) {
			for precision, tolerance := range map[swarm.Precision]float64{swarm.F32: 1e-4, swarm.Int8: int8Tolerance} {
				t.Run(name+"/"+string(precision), func(t *testing.T) {
					p := open(t, dir)
					m, err := swarm.Load(b, p.Config.Swarm, p, swarm.Options{Precision: precision})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(m.Close)
					for _, run := range runs {
						compareRun(t, m, run, tolerance)
					}
				})
			}
		})
	}
}

// int8Tolerance is relative to the largest logit.
const int8Tolerance = 0.015

// compareRun reads each text of a run and compares all logits with transformers'.
func compareRun(t *testing.T, m *swarm.Model, path string, tolerance float64) {
	t.Helper()
	file, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	read := func(name string) ([]byte, []int) {
		tensor, ok := file.Tensor(name)
		if !ok {
			t.Fatalf("%s has no %s", path, name)
		}
		raw, err := tensor.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return raw, tensor.Shape
	}
	rawIDs, shape := read("input_ids")
	rawLogits, _ := read("logits")
	ids, want := decode[int64](t, rawIDs), decode[float32](t, rawLogits)
	T, V := shape[1], m.Config().Base.VocabSize
	scale, worst := 1.0, 0.0
	if tolerance == int8Tolerance {
		scale = float64(max(slices.Max(want), -slices.Min(want)))
	}
	for r := range shape[0] {
		text := make([]int32, T)
		for i := range text {
			text[i] = int32(ids[r*T+i])
		}
		_, err := session(t, m).Score(context.Background(), text, func(at int, logits []float32) error {
			for i, v := range logits {
				worst = max(worst, math.Abs(float64(v-want[(r*T+at)*V+i])))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s: logits differ by %.2g (largest %.3g)", filepath.Base(path), worst, slices.Max(want))
	if !(worst <= tolerance*scale) {
		t.Errorf("%s: logits differ by %.2g, tolerance %.2g", filepath.Base(path), worst, tolerance*scale)
	}
}

// open opens a model folder for the length of a test.
func open(t *testing.T, dir string) *hub.Pretrained {
	t.Helper()
	p, err := hub.FromPretrained(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// load loads a folder's tensors from src in f32.
func load(t *testing.T, b compute.Backend, p *hub.Pretrained, src swarm.Source) *swarm.Model {
	t.Helper()
	m, err := swarm.Load(b, p.Config.Swarm, src, swarm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// session starts a text for the length of a test.
func session(t *testing.T, m *swarm.Model) *swarm.Session {
	t.Helper()
	s, err := m.NewSession("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func logSumExp(row []float32) float64 {
	top, sum := float64(slices.Max(row)), 0.0
	for _, v := range row {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}

// decode reads little-endian numbers.
func decode[T int64 | float32](t *testing.T, raw []byte) []T {
	t.Helper()
	out := make([]T, len(raw)/binary.Size(*new(T)))
	if err := binary.Read(bytes.NewReader(raw), binary.LittleEndian, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func argmax[T cmp.Ordered](x []T) int32 { return int32(slices.Index(x, slices.Max(x))) }
