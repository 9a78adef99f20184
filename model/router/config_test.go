package router_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/model/router"
)

func validConfig() router.Config {
	return router.Config{
		NumEncoders: 4, EncodersPerToken: 2, Granularity: router.PerChunk, ChunkLength: 64, SequenceDecision: 64,
		Dim: 64, HalfLives: []float64{16, 128, 1024}, Temperature: 1, Hysteresis: 0.02, DefaultEncoders: []int{0, 1},
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		edit func(*router.Config)
		want []string
	}{
		{"valid", func(*router.Config) {}, nil},
		{"valid with domains", func(c *router.Config) { c.Domains = []string{"a", "b", "a", ""} }, nil},
		{"chunk length unused by sequence", func(c *router.Config) { c.Granularity, c.ChunkLength = router.PerSequence, 0 }, nil},
		{"lengths unused by token", func(c *router.Config) { c.Granularity, c.ChunkLength, c.SequenceDecision = router.PerToken, 0, 0 }, nil},
		{"no encoders", func(c *router.Config) { c.NumEncoders, c.EncodersPerToken, c.DefaultEncoders = 0, 0, nil }, []string{
			"num_encoders: 0, must be at least 1", "num_encoders_per_token: 0, must be at least 1"}},
		{"k above E", func(c *router.Config) { c.EncodersPerToken = 5 }, []string{
			"num_encoders_per_token: 5 exceeds num_encoders, 4", "default_encoders: 2 encoders, must be num_encoders_per_token, 5"}},
		{"granularity", func(c *router.Config) { c.Granularity = "word" }, []string{
			`router_granularity: "word", must be "chunk", "token" or "sequence"`}},
		{"chunk length", func(c *router.Config) { c.ChunkLength = 0 }, []string{"router_chunk_length: 0, must be at least 1 token"}},
		{"sequence decision", func(c *router.Config) { c.Granularity, c.SequenceDecision = router.PerSequence, -1 }, []string{
			"router_sequence_position: -1, must be at least 1 token"}},
		{"dim", func(c *router.Config) { c.Dim = -1 }, []string{"router_dim: -1, must be at least 1"}},
		{"no half-lives", func(c *router.Config) { c.HalfLives = nil }, []string{"router_half_lives: empty, must name at least one half-life in tokens"}},
		{"half-lives", func(c *router.Config) { c.HalfLives = []float64{0, 16, math.Inf(1)} }, []string{
			"router_half_lives: element 0 is 0, must be a positive number of tokens", "router_half_lives: element 2 is +Inf, must be a positive number of tokens"}},
		{"temperature", func(c *router.Config) { c.Temperature = 0 }, []string{"router_temperature: 0, must be a positive number"}},
		{"temperature NaN", func(c *router.Config) { c.Temperature = math.NaN() }, []string{"router_temperature: NaN, must be a positive number"}},
		{"hysteresis", func(c *router.Config) { c.Hysteresis = -0.1 }, []string{"router_hysteresis: -0.1, must be 0 or a positive number"}},
		{"default out of range", func(c *router.Config) { c.DefaultEncoders = []int{0, 4} }, []string{"default_encoders: encoder 4 is outside 0 to 3"}},
		{"default twice", func(c *router.Config) { c.DefaultEncoders = []int{1, 1} }, []string{"default_encoders: encoder 1 is named twice"}},
		{"domains", func(c *router.Config) { c.Domains = []string{"a"} }, []string{"encoder_domains: 1 names, must be none or one for each of 4 encoders"}},
		{"several at once", func(c *router.Config) { c.Dim, c.Temperature = 0, -1 }, []string{
			"router_dim: 0, must be at least 1", "router_temperature: -1, must be a positive number"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := validConfig()
			tt.edit(&c)
			var got []string
			for _, fault := range c.Validate() {
				got = append(got, fault.Error())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNextDecision(t *testing.T) {
	type step struct{ from, to int }
	tests := []struct {
		granularity router.Granularity
		steps       []step
	}{
		{router.PerChunk, []step{{0, 64}, {1, 64}, {63, 64}, {64, 128}, {100_000, 100_032}}},
		{router.PerToken, []step{{0, 1}, {1, 2}, {99, 100}}},
		{router.PerSequence, []step{{0, 64}, {63, 64}, {64, math.MaxInt}, {5000, math.MaxInt}}},
	}
	for _, tt := range tests {
		c := validConfig()
		c.Granularity = tt.granularity
		for _, s := range tt.steps {
			if got := c.NextDecision(s.from); got != s.to {
				t.Errorf("%s: after %d comes %d, want %d", tt.granularity, s.from, got, s.to)
			}
		}
	}
}
