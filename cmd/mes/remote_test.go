package main

import (
	"encoding/json"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// remoteCase is a swarm that the Python in its own folder must run as we do.
type remoteCase struct {
	name, source             string
	encoders, active, layers int
	edit                     func(*config.Config)
	precision                swarm.Precision // empty keeps the types of the source
}

var remoteCases = []remoteCase{
	{name: "mamba1", source: "mamba1", encoders: 5, active: 2, layers: 1},
	{name: "mamba1-token-reset", source: "mamba1-bias", encoders: 6, active: 3, layers: 2, edit: func(c *config.Config) {
		c.Swarm.Router.Granularity, c.Swarm.Router.Hysteresis, c.Swarm.EncoderState = router.PerToken, 0, swarm.Reset
	}},
	{name: "mamba1-weights", source: "mamba1", encoders: 4, active: 2, layers: 1, edit: func(c *config.Config) {
		c.Swarm.Fusion, c.Swarm.Router.Temperature = swarm.FuseWeights, 0.5
	}},
	{name: "mamba1-int8", source: "mamba1", encoders: 3, active: 2, layers: 1, precision: swarm.Int8},
	{name: "falcon", source: "falcon", encoders: 4, active: 2, layers: 1, edit: func(c *config.Config) {
		c.Swarm.Router.ChunkLength, c.Swarm.Router.Hysteresis = 5, 0.2
	}},
	{name: "mamba2", source: "mamba2", encoders: 5, active: 2, layers: 1},
	{name: "mamba2-one-slot", source: "mamba2", encoders: 4, active: 1, layers: 2, edit: func(c *config.Config) {
		c.Swarm.Router.ChunkLength, c.Swarm.EncoderState = 3, swarm.Reset
	}},
	{name: "mamba2-groups-sequence", source: "mamba2-groups8", encoders: 5, active: 2, layers: 1, edit: func(c *config.Config) {
		c.Swarm.Router.Granularity, c.Swarm.Router.SequenceDecision = router.PerSequence, 20
		c.Swarm.Router.DefaultEncoders, c.Swarm.EncoderState = []int{4, 1}, swarm.Reset
	}},
	{name: "mamba2-limit-token", source: "mamba2-groups2-limit", encoders: 4, active: 2, layers: 1, edit: func(c *config.Config) {
		c.Swarm.Router.Granularity = router.PerToken
	}},
	{name: "mamba2-norm-first", source: "mamba2-norm-first", encoders: 3, active: 2, layers: 1},
	{name: "mamba2-weights-reset", source: "mamba2-bias", encoders: 4, active: 2, layers: 1, edit: func(c *config.Config) {
		c.Swarm.Fusion, c.Swarm.EncoderState, c.Swarm.Router.ChunkLength = swarm.FuseWeights, swarm.Reset, 7
	}},
	{name: "mamba2-int8", source: "mamba2", encoders: 3, active: 2, layers: 1, precision: swarm.Int8},
	{name: "mini", source: "../../../weights/mamba2-mini", encoders: 5, active: 2, layers: 3},
}

// TestRemoteCode writes swarms whose encoders all differ and lets transformers load
// them by the Python in their folders. scripts/fixtures/check_remote_code.sh runs it.
func TestRemoteCode(t *testing.T) {
	python := os.Getenv(envPython)
	if python == "" {
		t.Skipf("SKIPPED: set %s, or run scripts/fixtures/check_remote_code.sh", envPython)
	}
	root, err := testkit.Root()
	if err != nil {
		t.Fatal(err)
	}
	b := testkit.Backend(t, backend.Go)
	dir := t.TempDir()
	for _, c := range remoteCases {
		writeRemoteCase(t, b, root, filepath.Join(dir, c.name), c)
	}
	cmd := exec.CommandContext(t.Context(), python, filepath.Join(root, "scripts/fixtures/check_remote_code.py"), dir)
	// Nothing may come from anywhere but the folders.
	cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1", "HF_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// expectation is what a folder's Python is held to.
type expectation struct {
	Greedy []int32          `json:"greedy"` // after the first text
	Texts  []expectedLogits `json:"texts"`
}

type expectedLogits struct {
	IDs      []int32     `json:"ids"`
	Logits   [][]float32 `json:"logits"`
	Encoders [][]int     `json:"encoders"` // of each token, by slot
	Gates    [][]float64 `json:"gates"`
}

// writeRemoteCase writes the swarm into dir, and its expectation beside it.
func writeRemoteCase(t *testing.T, b compute.Backend, root, dir string, c remoteCase) {
	t.Helper()
	base, err := hub.FromPretrained(t.Context(), filepath.Join(root, "model/mamba/testdata", c.source), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	cfg, err := base.Config.Grow(c.encoders, c.active, c.layers, "base")
	if err != nil {
		t.Fatal(err)
	}
	if c.edit != nil {
		c.edit(cfg)
	}
	o := hub.Grow(base, cfg, 7)
	o.Dir, o.Origin = dir, apart(t, o.Origin)
	if c.precision != "" {
		o.Dir = dir + "-wide"
	}
	saveModel(t, o)
	if c.precision != "" {
		wide, err := hub.FromPretrained(t.Context(), o.Dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer wide.Close()
		if o, err = hub.Convert(wide, c.precision); err != nil {
			t.Fatal(err)
		}
		o.Dir = dir
		saveModel(t, o)
		if err := os.RemoveAll(dir + "-wide"); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(expect(t, b, dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+".json", data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func saveModel(t *testing.T, o hub.SaveOptions) {
	t.Helper()
	if err := hub.SavePretrained(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// apart makes every encoder another, and what a new router and aggregator have as
// zeros something else.
func apart(t *testing.T, origin func(swarm.TensorSpec) hub.Origin) func(swarm.TensorSpec) hub.Origin {
	return func(spec swarm.TensorSpec) hub.Origin {
		o := origin(spec)
		swarms := strings.HasPrefix(spec.Name, "backbone.router.bias") || strings.HasPrefix(spec.Name, "backbone.aggregator.")
		if spec.Encoder == swarm.None && !swarms {
			return o
		}
		values := slices.Clone(o.Values)
		if values == nil {
			var err error
			if values, err = swarm.ReadFloats(o.Source, o.Name); err != nil {
				t.Fatal(err)
			}
		}
		h := fnv.New64a()
		h.Write([]byte(spec.Name))
		rng := rand.New(rand.NewPCG(3, h.Sum64()))
		for i := range values {
			values[i] += 0.05 * float32(rng.NormFloat64())
		}
		return hub.Origin{Values: values}
	}
}

// expect computes a folder's logits and routing of two texts, and greedy tokens.
func expect(t *testing.T, b compute.Backend, dir string) expectation {
	t.Helper()
	p, err := hub.FromPretrained(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	m, err := swarm.Load(b, p.Config.Swarm, p, swarm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	rng := rand.New(rand.NewPCG(5, 5))
	var e expectation
	for _, n := range []int{83, 41} {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = int32(1 + rng.IntN(p.Config.Swarm.Base.VocabSize-1))
		}
		e.Texts = append(e.Texts, expectText(t, m, ids))
	}
	if routes := e.Texts[0].Encoders; !slices.ContainsFunc(routes, func(r []int) bool { return !slices.Equal(r, routes[0]) }) {
		t.Errorf("%s: no encoder ever changes, so nothing is held about changes", dir)
	}
	e.Greedy = greedyTokens(t, m, e.Texts[0].IDs, 24)
	return e
}

func expectText(t *testing.T, m *swarm.Model, ids []int32) expectedLogits {
	t.Helper()
	s, err := m.NewSession("")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e := expectedLogits{IDs: ids}
	vocab := m.Config().Base.VocabSize
	chunks, err := s.Score(t.Context(), ids, func(_ int, logits []float32) error {
		for row := range slices.Chunk(logits, vocab) {
			e.Logits = append(e.Logits, slices.Clone(row))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range chunks {
		for range c.End - c.Start {
			e.Encoders, e.Gates = append(e.Encoders, c.Slots), append(e.Gates, c.Gates)
		}
	}
	return e
}

// greedyTokens continues ids by n tokens.
func greedyTokens(t *testing.T, m *swarm.Model, ids []int32, n int) []int32 {
	t.Helper()
	s, err := m.NewSession("")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out []int32
	for range n {
		logits, _, err := s.Feed(t.Context(), ids)
		if err != nil {
			t.Fatal(err)
		}
		best := int32(slices.Index(logits, slices.Max(logits)))
		out, ids = append(out, best), []int32{best}
	}
	return out
}
