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
	"github.com/mamba-encoder-swarm/mes/internal/testkit/oracle"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
)

// toRows makes one row of logits comparable.
func toRows(logits []float32) [][]float64 { return [][]float64{oracle.Float64s(logits)} }

// TestDomainHint: the hint's encoders run until the first decision, and the text
// still agrees with the oracle.
func TestDomainHint(t *testing.T) {
	c := tinySwarm(mamba.Mamba2)
	src, ids := lively(c, 30), text(c, 15, 31)
	m := load(t, testkit.Backend(t, backend.Go), c, src, Options{})
	for domain, slots := range map[string][]int{"": {0, 1}, "law": {2, 0}, "prose": {0, 3}, "maths": {4, 0}} {
		s := session(t, m, domain)
		_, chunks, err := s.Feed(t.Context(), ids[:4])
		if err != nil {
			t.Fatal(err)
		}
		if got := chunks[0].Slots; got[0] != slots[0] || got[1] != slots[1] {
			t.Errorf("domain %q runs %v, want %v", domain, got, slots)
		}
		got, ran := score(t, m, domain, ids)
		plan := planOf(t, c, src, ids, domain)
		samePlan(t, c, ran, plan)
		compareLogits(t, "domain "+domain, got, newReference(c, src).run(ids, plan))
	}
	if _, err := m.NewSession("cooking"); err == nil || !strings.Contains(err.Error(), "code, law, maths, prose") {
		t.Errorf("unknown domain: %v", err)
	}
	plain := load(t, m.backend, tinyPlain(mamba.Mamba2), lively(tinyPlain(mamba.Mamba2), 1), Options{})
	if _, err := plain.NewSession("law"); err == nil || !strings.Contains(err.Error(), "without encoders") {
		t.Errorf("domain for a plain model: %v", err)
	}
}

// TestHysteresis: a threshold that no score reaches keeps the default encoders.
func TestHysteresis(t *testing.T) {
	b := testkit.Backend(t, backend.Go)
	loads := map[float64]int64{}
	for _, threshold := range []float64{0, 2} {
		c := tinySwarm(mamba.Mamba1)
		c.Router.Hysteresis = threshold
		m := load(t, b, c, lively(c, 32), Options{EncoderBudgetBytes: 1})
		_, plan := score(t, m, "", text(c, 60, 33))
		if n := swaps(plan); (threshold == 2) != (n == 0) {
			t.Errorf("hysteresis %v: %d swaps", threshold, n)
		}
		loads[threshold] = m.Pool().Stats().Loads
	}
	if loads[2] != 2 || loads[0] <= 2 {
		t.Errorf("encoders loaded by hysteresis: %v", loads)
	}
}

// TestGranularity counts decisions.
func TestGranularity(t *testing.T) {
	b := testkit.Backend(t, backend.Go)
	for granularity, want := range map[router.Granularity][]int{
		router.PerChunk: {0, 6, 12, 18}, router.PerSequence: {0, 10},
		router.PerToken: {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19},
	} {
		c := tinySwarm(mamba.Mamba2)
		c.Router.Granularity = granularity
		m := load(t, b, c, lively(c, 34), Options{})
		_, chunks, err := session(t, m, "").Feed(t.Context(), text(c, 20, 35))
		if err != nil {
			t.Fatal(err)
		}
		var starts []int
		for _, chunk := range chunks {
			starts = append(starts, chunk.Start)
		}
		if !slices.Equal(starts, want) {
			t.Errorf("%s: decisions at %v, want %v", granularity, starts, want)
		}
	}
}

// TestLongText goes through more than one of the longest graphs; in a swarm that
// never swaps, the gates change within and between them.
func TestLongText(t *testing.T) {
	b := testkit.Backend(t, backend.Go)
	for _, kind := range kinds {
		plain, steady := tinyPlain(kind), tinySwarm(kind)
		plain.Base.NLayer = 1
		steady.Router.Hysteresis = 2
		for name, c := range map[string]Config{"plain": plain, "steady": steady} {
			src, ids := lively(c, 36), text(c, 1100, 37)
			m := load(t, b, c, src, Options{})
			plan := planOf(t, c, src, ids, "")
			want := newReference(c, src).run(ids, plan)
			got, ran := score(t, m, "", ids)
			samePlan(t, c, ran, plan)
			compareLogits(t, fmt.Sprint(kind, " ", name), got, want)
			rows, _ := feed(t, m, "", ids, 700)
			compareLogits(t, fmt.Sprint(kind, " ", name, " fed"), [][]float64{rows[699], rows[1099]}, [][]float64{want[699], want[1099]})
		}
	}
}

// TestCancel ends the context after the first of several pieces.
func TestCancel(t *testing.T) {
	c := tinySwarm(mamba.Mamba2)
	c.Router.ChunkLength = 2
	src, ids := lively(c, 38), text(c, 700, 39)
	m := load(t, testkit.Backend(t, backend.Go), c, src, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	s, pieces := session(t, m, ""), 0
	_, err := s.Score(ctx, ids, func(int, []float32) error {
		pieces++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || pieces != 1 || s.Position() >= len(ids) {
		t.Errorf("%d pieces, position %d, error %v, want one piece and %v", pieces, s.Position(), err, context.Canceled)
	}
	if _, _, err := s.Feed(t.Context(), ids[:1]); !errors.Is(err, context.Canceled) {
		t.Errorf("a stopped session goes on: %v", err)
	}
	s.Close()
	if n := m.Pool().Stats(); m.pool.idle.Len() != n.Resident {
		t.Errorf("a closed session still holds encoders: %+v", n)
	}
}

// TestVisitError: an error of the caller's function stops the reading.
func TestVisitError(t *testing.T) {
	c := tinyPlain(mamba.Mamba1)
	m := load(t, testkit.Backend(t, backend.Go), c, lively(c, 40), Options{})
	full := errors.New("disk full")
	if _, err := session(t, m, "").Score(t.Context(), []int32{1, 2}, func(int, []float32) error { return full }); !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
}

func TestClosedSession(t *testing.T) {
	c := tinySwarm(mamba.Mamba1)
	m := load(t, testkit.Backend(t, backend.Go), c, lively(c, 41), Options{})
	s := session(t, m, "")
	s.Close()
	if _, _, err := s.Feed(t.Context(), []int32{1}); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("feeding a closed session: %v", err)
	}
	if _, err := s.Score(t.Context(), []int32{1}, nil); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("scoring with a closed session: %v", err)
	}
}

func TestNoTokens(t *testing.T) {
	c := tinySwarm(mamba.Mamba1)
	m := load(t, testkit.Backend(t, backend.Go), c, lively(c, 42), Options{})
	s := session(t, m, "")
	if _, _, err := s.Feed(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "no tokens") {
		t.Errorf("feeding nothing: %v", err)
	}
	if _, _, err := s.Feed(t.Context(), []int32{1}); err != nil {
		t.Errorf("feeding something after nothing: %v", err)
	}
}

func TestTokenOutOfRange(t *testing.T) {
	b := testkit.Backend(t, backend.Go)
	for _, c := range []Config{tinyPlain(mamba.Mamba2), tinySwarm(mamba.Mamba2)} {
		m := load(t, b, c, lively(c, 43), Options{})
		for _, id := range []int32{-1, 37, math.MaxInt32} {
			logits, _, err := session(t, m, "").Feed(t.Context(), []int32{0, 36, id})
			if logits != nil || err == nil || !strings.Contains(err.Error(), "position 2") || !strings.Contains(err.Error(), "0 to 36") {
				t.Errorf("id %d: logits %v, error %v", id, logits, err)
			}
		}
	}
}

// TestNotFinite damages one tensor after the other and finds its name in the error.
func TestNotFinite(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		c := tinySwarm(mamba.Mamba2)
		names := []string{"backbone.norm_f.weight", "backbone.encoders.2.layers.0.mixer.in_proj.weight",
			"backbone.layers.1.mixer.D", "backbone.layers.0.mixer.conv1d.weight", "backbone.aggregator.q.weight"}
		if slow(t, b) {
			names = names[:2]
		}
		for _, name := range names {
			for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
				src := lively(c, 44)
				src[name].values[1] = bad
				m := load(t, b, c, src, Options{})
				s := session(t, m, "law") // encoders 2 and 0
				logits, _, err := s.Feed(t.Context(), []int32{1})
				if logits != nil || !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), name) || strings.Count(err.Error(), "backbone.") != 1 {
					t.Errorf("%s = %v: error %v", name, bad, err)
				}
				if _, _, err := s.Feed(t.Context(), []int32{1}); !errors.Is(err, ErrNotFinite) {
					t.Errorf("the session goes on: %v", err)
				}
				if slow(t, b) {
					break
				}
			}
		}
	})
}

// TestOverflow: finite weights whose logits are not say so.
func TestOverflow(t *testing.T) {
	c := tinyPlain(mamba.Mamba1)
	src := lively(c, 45)
	for i := range src["backbone.norm_f.weight"].values {
		src["backbone.norm_f.weight"].values[i] = 3e38
	}
	m := load(t, testkit.Backend(t, backend.Go), c, src, Options{})
	_, _, err := session(t, m, "").Feed(t.Context(), []int32{1})
	if !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), "overflows in f32") {
		t.Errorf("error %v", err)
	}
}
