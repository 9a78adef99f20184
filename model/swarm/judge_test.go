package swarm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
)

// judgeAll judges texts and puts the results in their order.
func judgeAll(t *testing.T, m *Model, texts []Text) []Judged {
	t.Helper()
	all, calls := make([]Judged, len(texts)), make([]int, len(texts))
	err := m.Judge(t.Context(), texts, func(i int, j Judged) error {
		all[i], calls[i] = j, calls[i]+1
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := slices.Repeat([]int{1}, len(texts)); !slices.Equal(calls, want) {
		t.Fatalf("done was called %v times", calls)
	}
	return all
}

// TestJudge holds losses to those of the float64 oracle's logits, of texts read one by
// one and side by side: long and short ones, more than there are lanes, in windows.
func TestJudge(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for _, kind := range kinds {
			for name, c := range swarms(kind) {
				if slow(t, b) && (name != "chunk" || kind != mamba.Mamba2) {
					continue
				}
				t.Run(fmt.Sprint(kind, "/", name), func(t *testing.T) {
					src := lively(c, 4)
					m := load(t, b, c, src, Options{})
					var texts []Text
					for i, n := range []int{29, 2, 5, 1, 17, 0, 33, 3} {
						texts = append(texts, Text{IDs: text(c, n, uint64(i))})
					}
					alone := judgeAll(t, m, texts)
					for i, text := range texts {
						holdJudged(t, c, src, text.IDs, alone[i])
					}
					m.batch = batchShape{lanes: 3, windows: []int{4, 16}}
					for i, j := range judgeAll(t, m, texts) {
						holdClose(t, j, alone[i])
					}
				})
			}
		}
	})
}

// holdJudged compares with the oracle.
func holdJudged(t *testing.T, c Config, src memorySource, ids []int32, j Judged) {
	t.Helper()
	if len(ids) < 2 {
		if len(j.Loss)+len(j.Best) > 0 {
			t.Errorf("%d ids have %d losses", len(ids), len(j.Loss))
		}
		return
	}
	logits := newReference(c, src).run(ids, planOf(t, c, src, ids, ""))
	for i, id := range ids[1:] {
		row := logits[i]
		top := slices.Max(row)
		var sum float64
		for _, v := range row {
			sum += math.Exp(v - top)
		}
		want := math.Log(sum) + top - row[id]
		if d := math.Abs(float64(j.Loss[i]) - want); !(d <= 2e-4) {
			t.Errorf("token %d of %d: loss %g, want %g", i+1, len(ids), j.Loss[i], want)
		}
		if margin := top - row[id]; (margin == 0 || margin > 1e-3) && j.Best[i] != (margin == 0) && !tied(row, top) {
			t.Errorf("token %d of %d: best %v, %g below the best", i+1, len(ids), j.Best[i], margin)
		}
	}
	if len(j.Loss) != len(ids)-1 || len(j.Best) != len(ids)-1 {
		t.Errorf("%d losses for %d ids", len(j.Loss), len(ids))
	}
}

// tied reports whether two ids are nearly the likeliest.
func tied(row []float64, top float64) bool {
	n := 0
	for _, v := range row {
		if top-v < 1e-3 {
			n++
		}
	}
	return n > 1
}

func holdClose(t *testing.T, got, want Judged) {
	t.Helper()
	if len(got.Loss) != len(want.Loss) {
		t.Fatalf("%d losses, want %d", len(got.Loss), len(want.Loss))
	}
	for i := range want.Loss {
		if d := math.Abs(float64(got.Loss[i] - want.Loss[i])); !(d <= 2e-4) {
			t.Errorf("token %d of %d: loss %g side by side, %g alone", i+1, len(want.Loss)+1, got.Loss[i], want.Loss[i])
		}
	}
}

// TestJudgeLowPrecision: side by side the weights are those of the precision.
func TestJudgeLowPrecision(t *testing.T) {
	c := tinySwarm(mamba.Mamba2)
	for _, p := range []Precision{BF16, Int8} {
		m := load(t, testkit.Backend(t, backend.Go), c, lively(c, 4), Options{Precision: p})
		texts := []Text{{IDs: text(c, 20, 1)}, {IDs: text(c, 9, 2)}}
		alone := judgeAll(t, m, texts)
		m.batch = batchShape{lanes: 2, windows: []int{8}}
		for i, j := range judgeAll(t, m, texts) {
			holdClose(t, j, alone[i])
		}
	}
}

// TestJudgePlan: the encoders of a given plan run, one by one and side by side, as
// those of a router that would decide so.
func TestJudgePlan(t *testing.T) {
	c := tinySwarm(mamba.Mamba2)
	src := lively(c, 4)
	m := load(t, testkit.Backend(t, backend.Go), c, src, Options{})
	ids := text(c, 21, 3)
	start, err := m.Router().Start("")
	if err != nil {
		t.Fatal(err)
	}
	plan, _, err := m.Router().Plan(start, ids)
	if err != nil {
		t.Fatal(err)
	}
	given := slices.Clone(plan)
	swapped := 0
	for i := range given {
		given[i].Slots = slices.Clone(given[i].Slots)
		for s, e := range given[i].Slots { // 0 and 1 change places
			if e < 2 {
				given[i].Slots[s], swapped = 1-e, swapped+1
			}
		}
	}
	if swapped == 0 {
		t.Fatal("the plan has neither of the encoders: nothing to test")
	}
	// The same, by a checkpoint whose encoders 0 and 1 have changed places.
	other := maps0and1(c, src)
	renamed := load(t, testkit.Backend(t, backend.Go), c, other, Options{})
	want := judgeAll(t, renamed, []Text{{IDs: ids, Plan: plan}})[0]
	own := judgeAll(t, m, []Text{{IDs: ids}})[0]
	if math.Abs(own.Sum(0, len(ids))-want.Sum(0, len(ids))) < 1e-2 {
		t.Fatal("the plans give the same: nothing to test")
	}
	holdClose(t, judgeAll(t, m, []Text{{IDs: ids, Plan: given}})[0], want)
	m.batch = batchShape{lanes: 2, windows: []int{8}}
	holdClose(t, judgeAll(t, m, []Text{{IDs: ids, Plan: given}})[0], want)
}

// maps0and1 is a checkpoint in which encoders 0 and 1 have each other's tensors.
func maps0and1(c Config, src memorySource) memorySource {
	other := memorySource{}
	for name, tensor := range src {
		other[name] = tensor
	}
	for i, spec := range c.EncoderTensors(0) {
		name := c.EncoderTensors(1)[i].Name
		other[spec.Name], other[name] = src[name], src[spec.Name]
	}
	beta := src["backbone.aggregator.beta"]
	beta.values = slices.Clone(beta.values)
	beta.values[0], beta.values[1] = beta.values[1], beta.values[0]
	other["backbone.aggregator.beta"] = beta
	return other
}

// TestJudgeRefuses: ids and plans that the model cannot run, an error of done, a
// context that has ended.
func TestJudgeRefuses(t *testing.T) {
	c := tinySwarm(mamba.Mamba2)
	m := load(t, testkit.Backend(t, backend.Go), c, lively(c, 4), Options{})
	plain := load(t, testkit.Backend(t, backend.Go), tinyPlain(mamba.Mamba2), lively(tinyPlain(mamba.Mamba2), 4), Options{})
	chunk := func(from, to int, slots ...int) router.Chunk {
		return router.Chunk{Start: from, End: to, Slots: slots, Gates: []float64{0.5, 0.5}}
	}
	ids := []int32{1, 2, 3, 4}
	for name, test := range map[string]struct {
		m    *Model
		text Text
		want string
	}{
		"id":       {m, Text{IDs: []int32{1, 9999}}, "token 9999 at position 1"},
		"plain":    {plain, Text{IDs: ids, Plan: []router.Chunk{chunk(0, 4, 0, 1)}}, "no encoders to plan"},
		"gap":      {m, Text{IDs: ids, Plan: []router.Chunk{chunk(0, 1, 0, 1), chunk(2, 4, 0, 1)}}, "does not follow"},
		"encoder":  {m, Text{IDs: ids, Plan: []router.Chunk{chunk(0, 4, 0, 99)}}, "encoder 99"},
		"short":    {m, Text{IDs: ids, Plan: []router.Chunk{chunk(0, 2, 0, 1)}}, "ends at token 2"},
		"one slot": {m, Text{IDs: ids, Plan: []router.Chunk{chunk(0, 4, 0)}}, "not 2 slots"},
	} {
		err := test.m.Judge(t.Context(), []Text{test.text}, func(int, Judged) error { return nil })
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "text 0") {
			t.Errorf("%s: %v", name, err)
		}
	}
	stop := errors.New("enough")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, shape := range []batchShape{{}, {lanes: 2, windows: []int{8}}} {
		m.batch = shape
		if err := m.Judge(t.Context(), []Text{{IDs: ids}}, func(int, Judged) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("error of done: %v", err)
		}
		if err := m.Judge(ended, []Text{{IDs: ids}}, func(int, Judged) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v", err)
		}
	}
}

// TestJudgeDamaged names the tensor that is not finite.
func TestJudgeDamaged(t *testing.T) {
	c := tinySwarm(mamba.Mamba2)
	src := lively(c, 4)
	name := LayerTensor(None, c.Base.NLayer-1, "norm.weight")
	broken := src[name]
	broken.values = slices.Repeat([]float32{float32(math.NaN())}, len(broken.values))
	src[name] = broken
	m := load(t, testkit.Backend(t, backend.Go), c, src, Options{})
	for _, shape := range []batchShape{{}, {lanes: 2, windows: []int{8}}} {
		m.batch = shape
		err := m.Judge(t.Context(), []Text{{IDs: []int32{1, 2, 3}}}, func(int, Judged) error { return nil })
		if !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v", shape, err)
		}
	}
}
