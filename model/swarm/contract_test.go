package swarm

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/internal/testkit/oracle"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
)

// contractTolerance is the contract's bound on logits in f32 (logits here are of
// size 1 to 10).
const contractTolerance = 1e-4

// kinds are the blocks that a swarm is built from.
var kinds = []mamba.Kind{mamba.Mamba1, mamba.Mamba2}

// load opens a model and closes it after the test.
func load(t testing.TB, b compute.Backend, c Config, src Source, opts Options) *Model {
	t.Helper()
	m, err := Load(b, c, src, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// session starts a text and closes it after the test.
func session(t testing.TB, m *Model, domain string) *Session {
	t.Helper()
	s, err := m.NewSession(domain)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// score reads a text in pieces of the given sizes, the rest in one, and returns all
// logits and what ran.
func score(t testing.TB, m *Model, domain string, ids []int32, sizes ...int) ([][]float64, []decision) {
	t.Helper()
	s := session(t, m, domain)
	var logits [][]float64
	var plan []decision
	for _, part := range cut(ids, sizes) {
		chunks, err := s.Score(context.Background(), part, func(at int, rows []float32) error {
			if at != len(logits) {
				t.Errorf("visited position %d after %d rows", at, len(logits))
			}
			for row := range slices.Chunk(rows, m.cfg.Base.VocabSize) {
				logits = append(logits, oracle.Float64s(row))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		plan = append(plan, decisions(chunks)...)
	}
	if s.Position() != len(ids) {
		t.Errorf("position %d after %d tokens", s.Position(), len(ids))
	}
	return logits, plan
}

// feed reads a text like score and returns the logits after each piece, with the
// rows between them missing.
func feed(t testing.TB, m *Model, domain string, ids []int32, sizes ...int) (map[int][]float64, []decision) {
	t.Helper()
	s := session(t, m, domain)
	logits, plan := map[int][]float64{}, []decision(nil)
	for _, part := range cut(ids, sizes) {
		last, chunks, err := s.Feed(context.Background(), part)
		if err != nil {
			t.Fatal(err)
		}
		plan = append(plan, decisions(chunks)...)
		logits[s.Position()-1] = oracle.Float64s(last)
	}
	return logits, plan
}

func cut(ids []int32, sizes []int) [][]int32 {
	var parts [][]int32
	for i := 0; len(ids) > 0; i++ {
		n := len(ids)
		if i < len(sizes) {
			n = min(n, sizes[i])
		}
		parts, ids = append(parts, ids[:n]), ids[n:]
	}
	return parts
}

// samePlan holds a plan to the one of the whole text, to the bit. A plain model has
// none.
func samePlan(t *testing.T, c Config, got, want []decision) {
	t.Helper()
	if !c.Plain() && !reflect.DeepEqual(got, want) {
		t.Errorf("the plan differs from that of the whole text")
	}
}

// swarms are the ways in which a swarm can be configured.
func swarms(kind mamba.Kind) map[string]Config {
	all := map[string]Config{"plain": tinyPlain(kind)}
	for name, change := range map[string]func(*Config){
		"chunk": func(*Config) {},
		"deep":  func(c *Config) { c.Base.NLayer, c.NumEncoderLayers = 4, 2 },
		"token, reset": func(c *Config) {
			c.Router.Granularity, c.EncoderState = router.PerToken, Reset
		},
		"sequence": func(c *Config) { c.Router.Granularity = router.PerSequence },
		"weights":  func(c *Config) { c.Fusion = FuseWeights },
		"weights, reset": func(c *Config) {
			c.Fusion, c.EncoderState, c.Router.Hysteresis = FuseWeights, Reset, 0
		},
		"all layers, own head, biases": func(c *Config) {
			c.NumEncoderLayers, c.Base.TieWordEmbedding, c.Base.UseBias, c.Base.UseConvBias = 2, false, true, false
			c.Router.EncodersPerToken, c.Router.DefaultEncoders = 3, []int{4, 0, 2}
		},
	} {
		c := tinySwarm(kind)
		change(&c)
		all[name] = c
	}
	return all
}

// slow reports whether compiling on the back end takes seconds, so that a test runs
// short texts (fewer lengths of graphs) and leaves out variants of the same graphs.
func slow(t *testing.T, b compute.Backend) bool { return b != testkit.Backend(t, backend.Go) }

// TestContract holds every way of reading a text to the oracle: whole, in the
// router's chunks, ragged, step by step, and prefill followed by decoding.
func TestContract(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for _, kind := range kinds {
			for name, c := range swarms(kind) {
				length := 40
				if slow(t, b) {
					if name != "chunk" && name != "weights, reset" && name != "token, reset" {
						continue
					}
					length = 16
				}
				t.Run(fmt.Sprint(kind, "/", name), func(t *testing.T) {
					src := lively(c, 4)
					m, ids := load(t, b, c, src, Options{}), text(c, length, 5)
					plan := planOf(t, c, src, ids, "")
					if n := swaps(plan); !c.Plain() && n == 0 {
						t.Fatal("the plan has no swap: nothing to test")
					}
					want := newReference(c, src).run(ids, plan)
					holdScores(t, m, ids, plan, want)
					if !slow(t, b) || name == "chunk" {
						holdFeeds(t, m, ids, plan, want)
					}
					if name == "chunk" {
						holdCausality(t, m, ids)
					}
				})
			}
		}
	})
}

// holdScores compares the logits after every token with the oracle and with those of
// the whole text.
func holdScores(t *testing.T, m *Model, ids []int32, plan []decision, want [][]float64) {
	t.Helper()
	whole, ran := score(t, m, "", ids)
	samePlan(t, m.cfg, ran, plan)
	compareLogits(t, "whole", whole, want)
	for how, sizes := range map[string][]int{
		"chunks": {6, 6, 6, 6, 6, 6}, "ragged": {1, 7, 2, 13, 3}, "steps": slices.Repeat([]int{1}, len(ids)),
	} {
		got, ran := score(t, m, "", ids, sizes...)
		samePlan(t, m.cfg, ran, plan)
		compareLogits(t, how, got, want)
		compareLogits(t, how+" against whole", got, whole)
	}
}

// holdFeeds compares the logits after each piece, as generation reads them.
func holdFeeds(t *testing.T, m *Model, ids []int32, plan []decision, want [][]float64) {
	t.Helper()
	for how, sizes := range map[string][]int{
		"prefill and decode": append([]int{9}, slices.Repeat([]int{1}, len(ids))...),
		"ragged prefill":     {5, 3, 1, 4},
		"steps":              slices.Repeat([]int{1}, len(ids)),
	} {
		got, ran := feed(t, m, "", ids, sizes...)
		samePlan(t, m.cfg, ran, plan)
		for at, row := range got {
			compareLogits(t, fmt.Sprint(how, " at ", at), [][]float64{row}, want[at:at+1])
		}
	}
}

// holdCausality changes a token and finds the logits before it as they were.
func holdCausality(t *testing.T, m *Model, ids []int32) {
	t.Helper()
	before, _ := score(t, m, "", ids)
	for _, at := range []int{1, 6, 8, len(ids) - 1} {
		other := slices.Clone(ids)
		other[at] = (other[at] + 1) % int32(m.cfg.Base.VocabSize)
		after, _ := score(t, m, "", other)
		if d := worst(after[:at], before[:at]); !(d <= 1e-6) {
			t.Errorf("token %d changes earlier logits by %g", at, d)
		}
		if d := worst(after[at:at+1], before[at:at+1]); d < 1e-3 {
			t.Errorf("token %d changes its own logits by %g only", at, d)
		}
	}
}

func compareLogits(t *testing.T, what string, got, want [][]float64) {
	t.Helper()
	if d := worst(got, want); !(d <= contractTolerance) {
		t.Errorf("%s: logits differ by %.2g", what, d)
	}
}

// TestOneEncoderIsDense: a swarm of one encoder is the plain model.
func TestOneEncoderIsDense(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for _, kind := range kinds {
			plain, c := tinyPlain(kind), tinySwarm(kind)
			c.Router.NumEncoders, c.Router.EncodersPerToken, c.Router.DefaultEncoders, c.Router.Domains = 1, 1, []int{0}, nil
			dense := lively(plain, 8)
			ids := text(c, 16, 9)
			want, _ := score(t, load(t, b, plain, dense, Options{}), "", ids)
			got, _ := score(t, load(t, b, c, grownFrom(c, dense, 10), Options{}), "", ids)
			if d := worst(got, want); !(d <= 1e-6) {
				t.Errorf("%s: one encoder differs from dense by %g", kind, d)
			}
		}
	})
}

// TestCopiesAreDense: encoders that are copies give the plain model whatever the
// router does, with either fusion, as long as states are handed on.
func TestCopiesAreDense(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for _, kind := range kinds {
			plain := tinyPlain(kind)
			dense, ids := lively(plain, 11), text(plain, 16, 12)
			want := newReference(plain, dense).run(ids, make([]decision, len(ids)))
			for _, how := range []struct {
				state  EncoderState
				fusion Fusion
			}{{Handoff, FuseAttention}, {Handoff, FuseWeights}, {Reset, FuseAttention}} {
				if slow(t, b) && how.fusion == FuseWeights {
					continue
				}
				c := tinySwarm(kind)
				c.EncoderState, c.Fusion, c.Router.ChunkLength = how.state, how.fusion, 2
				src := grownFrom(c, dense, 13)
				if n := swaps(planOf(t, c, src, ids, "")); n < 3 {
					t.Fatalf("%d swaps, too few for this test", n)
				}
				got, _ := score(t, load(t, b, c, src, Options{}), "", ids)
				d := worst(got, want)
				if how.state == Handoff && !(d <= contractTolerance) {
					t.Errorf("%s, %v: copies differ from dense by %g", kind, how, d)
				}
				if how.state == Reset && d < 1e-2 {
					t.Errorf("%s: copies that restart differ from dense by %g only", kind, d)
				}
			}
		}
	})
}

// TestForwardPadding runs a batch of two texts, one of them padded on the left, under
// one plan, and compares each with the oracle without padding.
func TestForwardPadding(t *testing.T) {
	const T, left = 9, 4
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for _, kind := range kinds {
			c := tinySwarm(kind)
			src := lively(c, 14)
			rows := [][]int32{text(c, T, 15), text(c, T-left, 16)}
			d := decision{[]int{3, 1}, []float64{0.7, 0.3}}
			ids, mask := make([]int32, 2*T), make([]float32, 2*T)
			for i := range T {
				ids[i], mask[i] = rows[0][i], 1
				ids[T+i] = 36 // padding that would be seen
				if i >= left {
					ids[T+i], mask[T+i] = rows[1][i-left], 1
				}
			}
			logits := forward(t, b, c, src, ids, mask, d)
			for r, row := range rows {
				want := newReference(c, src).run(row, slices.Repeat([]decision{d}, len(row)))
				compareLogits(t, fmt.Sprint(kind, " text ", r), logits[(r+1)*T-len(row):(r+1)*T], want)
			}
		}
	})
}

// forward runs Config.Forward over a batch of two with one decision throughout, and
// returns the logits, row after row.
func forward(t *testing.T, b compute.Backend, c Config, src memorySource, ids []int32, mask []float32, d decision) [][]float64 {
	t.Helper()
	T := len(ids) / 2
	out, err := CallOnceN(b, func(in []*Node) []*Node {
		g := in[0].Graph()
		get := func(prefix string) mamba.Weights {
			return func(name string) *Node {
				w := src[prefix+name]
				return Const(g, tensors.FromFlatDataAndDimensions(w.values, w.shape...))
			}
		}
		core, k := get("backbone."), len(d.slots)
		var bank []mamba.Weights
		quality, gates := make([]float32, T*k), make([]float32, T*k)
		for s, e := range d.slots {
			bank = append(bank, get(fmt.Sprintf("backbone.encoders.%d.", e)))
			for i := range T {
				quality[i*k+s] = src["backbone.aggregator.beta"].values[e]
				gates[i*k+s] = float32(d.gates[s])
			}
		}
		var encoders, decoder []mamba.State
		for range c.NumEncoderLayers {
			encoders = append(encoders, c.Base.ZeroState(g, 2*k))
		}
		for range c.Base.NLayer - c.NumEncoderLayers {
			decoder = append(decoder, c.Base.ZeroState(g, 2))
		}
		span := mamba.Span{Mask: in[1]}
		routing := Routing{Gates: Const(g, tensors.FromFlatDataAndDimensions(gates, T, k)), Quality: Const(g, tensors.FromFlatDataAndDimensions(quality, T, k))}
		x, _ := c.Encode(core, bank, in[0], routing, encoders, span)
		x, _ = c.Decode(core, x, decoder, span)
		head := func(string) *Node { return core("embeddings.weight") }
		return []*Node{c.Base.Head(core, head, x)}
	}, tensors.FromFlatDataAndDimensions(ids, 2, T), tensors.FromFlatDataAndDimensions(mask, 2, T))
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]float64
	for row := range slices.Chunk(tensors.MustCopyFlatData[float32](out[0]), c.Base.VocabSize) {
		rows = append(rows, oracle.Float64s(row))
	}
	return rows
}
