package router_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/model/router"
)

func TestStart(t *testing.T) {
	c, w := twoTopics(4, slices.Repeat([]float64{0.5}, 6), slices.Repeat([]float64{0.5}, 6))
	c.EncodersPerToken, c.DefaultEncoders = 3, []int{0, 4, 2}
	c.Domains = []string{"general", "law", "code", "law", "maths", "code"}
	r := mustNew(t, c, w)
	tests := []struct {
		domain string
		slots  []int
		reason router.Reason
	}{
		{"", []int{0, 4, 2}, router.ReasonDefault},
		{"general", []int{0, 4, 2}, router.ReasonDomain},
		{"maths", []int{4, 0, 2}, router.ReasonDomain},
		{"code", []int{2, 5, 0}, router.ReasonDomain},
		{"law", []int{1, 3, 0}, router.ReasonDomain},
	}
	for _, tt := range tests {
		t.Run(tt.domain, func(t *testing.T) {
			s, err := r.Start(tt.domain)
			if err != nil {
				t.Fatal(err)
			}
			want := router.State{Averages: []float64{0, 0}, Slots: tt.slots, Gates: []float64{1. / 3, 1. / 3, 1. / 3}, Reason: tt.reason}
			if diff := cmp.Diff(want, s); diff != "" {
				t.Fatalf("state (-want +got):\n%s", diff)
			}
			// All scores are equal: the slots hold at the first decision, which is no longer the hint's.
			chunks, _, err := r.Plan(s, make([]int32, 6))
			if err != nil {
				t.Fatal(err)
			}
			for i, reason := range []router.Reason{tt.reason, router.ReasonKept} {
				if !slices.Equal(chunks[i].Slots, tt.slots) || chunks[i].Reason != reason {
					t.Errorf("chunk %d: slots %v, %s; want %v, %s", i, chunks[i].Slots, chunks[i].Reason, tt.slots, reason)
				}
			}
		})
	}

	t.Run("more encoders than slots", func(t *testing.T) {
		c.EncodersPerToken, c.DefaultEncoders = 1, []int{0}
		s, err := mustNew(t, c, w).Start("code")
		if err != nil || !slices.Equal(s.Slots, []int{2}) {
			t.Errorf("slots %v, %v; want [2]", s.Slots, err)
		}
	})
}

// A hint decides where the text starts, the text where it goes.
func TestHintYieldsToTheText(t *testing.T) {
	c, w := twoTopics(4, []float64{0.9, 0.1}, []float64{0.1, 0.9})
	c.Domains = []string{"law", "code"}
	r := mustNew(t, c, w)
	s, err := r.Start("code")
	if err != nil {
		t.Fatal(err)
	}
	chunks, _, err := r.Plan(s, make([]int32, 5))
	if err != nil {
		t.Fatal(err)
	}
	if chunks[0].Slots[0] != 1 || chunks[1].Slots[0] != 0 {
		t.Errorf("slots %v then %v, want [1] then [0]", chunks[0].Slots, chunks[1].Slots)
	}
}

func TestUnknownDomain(t *testing.T) {
	c, w := twoTopics(4, []float64{0.5, 0.5, 0.5}, []float64{0.5, 0.5, 0.5})
	c.Domains = []string{"law", "code", "law"}
	_, err := mustNew(t, c, w).Start("Law")
	wantError(t, err, `unknown domain "Law": this model knows code, law`)
	c.Domains = nil
	_, err = mustNew(t, c, w).Start("law")
	wantError(t, err, `unknown domain "law": this model names no domains, leave the hint empty`)
}

func TestStateSurvivesEncoding(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	c, w, ids := randomCase(rng, router.PerChunk, 12, 3)
	r := mustNew(t, c, w)
	_, end := plan(t, r, ids)
	_, middle := plan(t, r, ids[:77])
	encodings := map[string]func(in, out *router.State) error{
		"json": func(in, out *router.State) error {
			data, err := json.Marshal(in)
			if err != nil {
				return err
			}
			return json.Unmarshal(data, out)
		},
		"gob": func(in, out *router.State) error {
			var buf bytes.Buffer
			if err := gob.NewEncoder(&buf).Encode(in); err != nil {
				return err
			}
			return gob.NewDecoder(&buf).Decode(out)
		},
	}
	for name, convert := range encodings {
		t.Run(name, func(t *testing.T) {
			var restored router.State
			if err := convert(&middle, &restored); err != nil {
				t.Fatal(err)
			}
			_, got, err := r.Plan(restored, ids[77:])
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(end, got); diff != "" {
				t.Errorf("a restored state goes another way (-straight +restored):\n%s", diff)
			}
		})
	}
}

func TestStateSizeIsIndependentOfEncodersAndText(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 16))
	for _, e := range []int{8, 1000} {
		c, w, ids := randomCase(rng, router.PerToken, e, 4)
		_, s := plan(t, mustNew(t, c, w), slices.Repeat(ids, 3))
		if len(s.Averages) != c.Features() || len(s.Slots) != 4 || len(s.Gates) != 4 || len(s.Scores) != 8 {
			t.Errorf("E=%d: %d averages, %d slots, %d gates, %d scores", e, len(s.Averages), len(s.Slots), len(s.Gates), len(s.Scores))
		}
	}
}

// Callers may keep states and write into chunks.
func TestPlanLeavesItsArgumentsAlone(t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 18))
	c, w, ids := randomCase(rng, router.PerChunk, 12, 3)
	r := mustNew(t, c, w)
	first, err := r.Start("")
	if err != nil {
		t.Fatal(err)
	}
	clear(first.Slots)
	_, s := plan(t, r, ids[:50])
	kept := s.Clone()
	chunks, next, err := r.Plan(s, ids[50:])
	if err != nil {
		t.Fatal(err)
	}
	for _, chunk := range chunks {
		clear(chunk.Slots)
		clear(chunk.Gates)
		clear(chunk.Scores)
	}
	clear(s.Averages)
	_, again, err := r.Plan(kept, ids[50:])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(again, next); diff != "" {
		t.Errorf("a state shares memory with another or with a chunk (-want +got):\n%s", diff)
	}
}

func TestOneRouterServesManyTexts(t *testing.T) {
	rng := rand.New(rand.NewPCG(19, 20))
	c, w, ids := randomCase(rng, router.PerToken, 12, 3)
	r := mustNew(t, c, w)
	want, _ := plan(t, r, ids)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, _ := r.Start("")
			if got, _, err := r.Plan(s, ids); err != nil || !cmp.Equal(want, got) {
				t.Errorf("a plan made beside others differs (%v)", err)
			}
		})
	}
	wg.Wait()
}

func TestPlanErrors(t *testing.T) {
	c, w := twoTopics(4, []float64{0.5, 0.5}, []float64{0.5, 0.5})
	r := mustNew(t, c, w)
	_, s := plan(t, r, []int32{0, 1, 0})
	tests := []struct {
		name string
		edit func(*router.State)
		ids  []int32
		want string
	}{
		{"id too large", nil, []int32{0, 2}, "token id 2 at position 4 is outside the vocabulary, 0 to 1"},
		{"id negative", nil, []int32{-1}, "token id -1 at position 3 is outside the vocabulary, 0 to 1"},
		{"zero state", func(s *router.State) { *s = router.State{} }, nil, "0 averages, 0 slots and 0 gates do not fit this router (2 averages, 1 slots)"},
		{"averages", func(s *router.State) { s.Averages = s.Averages[:1] }, nil, "1 averages"},
		{"gates", func(s *router.State) { s.Gates = nil }, nil, "0 gates"},
		{"position", func(s *router.State) { s.Position = -4 }, nil, "position -4"},
		{"slot", func(s *router.State) { s.Slots = []int{2} }, nil, "router state: slots: encoder 2 is outside 0 to 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from := s.Clone()
			if tt.edit != nil {
				tt.edit(&from)
			}
			chunks, next, err := r.Plan(from, tt.ids)
			wantError(t, err, tt.want)
			if chunks != nil || !cmp.Equal(next, from) {
				t.Errorf("an error came with chunks %v and state %v", chunks, next)
			}
		})
	}
}

func TestNewErrors(t *testing.T) {
	tests := []struct {
		name string
		edit func(*router.Config, *router.Weights, *int)
		want string
	}{
		{"configuration", func(c *router.Config, _ *router.Weights, _ *int) { c.Dim = 0 }, "router configuration: router_dim: 0, must be at least 1"},
		{"vocabulary", func(_ *router.Config, _ *router.Weights, v *int) { *v = 0 }, "router: vocabulary of 0 ids, must be at least 1"},
		{"embeddings size", func(_ *router.Config, _ *router.Weights, v *int) { *v = 3 }, "router.embeddings.weight: 4 values, expected [3, 2]"},
		{"proj size", func(_ *router.Config, w *router.Weights, _ *int) { w.Proj = w.Proj[:3] }, "router.proj.weight: 3 values, expected [2, 2]"},
		{"bias size", func(_ *router.Config, w *router.Weights, _ *int) { w.Bias = nil }, "router.bias: 0 values, expected [2, 1]"},
		{"NaN", func(_ *router.Config, w *router.Weights, _ *int) { w.Embeddings[3] = float32(math.NaN()) }, "router.embeddings.weight: element [1, 1] is NaN"},
		{"Inf", func(_ *router.Config, w *router.Weights, _ *int) { w.Proj[2] = float32(math.Inf(1)) }, "router.proj.weight: element [1, 0] is +Inf"},
		{"-Inf", func(_ *router.Config, w *router.Weights, _ *int) { w.Bias[1] = float32(math.Inf(-1)) }, "router.bias: element [1, 0] is -Inf"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, w := twoTopics(4, []float64{0.5, 0.5}, []float64{0.5, 0.5})
			vocab := 2
			tt.edit(&c, &w, &vocab)
			_, err := router.New(c, w, vocab)
			wantError(t, err, tt.want)
		})
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
}
