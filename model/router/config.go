package router

import (
	"errors"
	"fmt"
	"math"
)

// Granularity says how often the router decides.
type Granularity string

// The three granularities of a swarm's router.
const (
	PerChunk    Granularity = "chunk"    // at every multiple of ChunkLength
	PerToken    Granularity = "token"    // at every token (chunk with length 1)
	PerSequence Granularity = "sequence" // once, at token SequenceDecision
)

// Config holds the router's part of a swarm's config.json; the JSON key is given
// with each field. The zero value is not usable.
type Config struct {
	NumEncoders      int         // num_encoders: E
	EncodersPerToken int         // num_encoders_per_token: k, 1 to E
	Granularity      Granularity // router_granularity
	ChunkLength      int         // router_chunk_length: C in tokens; read by PerChunk only
	SequenceDecision int         // router_sequence_position: token at which PerSequence decides; default 64
	Dim              int         // router_dim: width of the router's embedding, default 64
	HalfLives        []float64   // router_half_lives in tokens, default 16, 128, 1024
	Temperature      float64     // router_temperature: tau > 0, default 1
	Hysteresis       float64     // router_hysteresis: delta >= 0, default 0.02
	DefaultEncoders  []int       // default_encoders: k distinct encoders for the text before the first decision
	Domains          []string    // encoder_domains: one name per encoder, several may share one; may be empty
}

// Features returns the width of ρ, the vector that the gate reads:
// len(HalfLives)*Dim.
func (c Config) Features() int { return len(c.HalfLives) * c.Dim }

// Validate returns every fault of the configuration, each as "key: what is wrong",
// and nil if there is none.
func (c Config) Validate() []error {
	var faults []error
	check := func(ok bool, key, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(key+": "+format, args...))
		}
	}
	e, k := c.NumEncoders, c.EncodersPerToken
	check(e >= 1, "num_encoders", "%d, must be at least 1", e)
	check(k >= 1, "num_encoders_per_token", "%d, must be at least 1", k)
	check(k <= e, "num_encoders_per_token", "%d exceeds num_encoders, %d", k, e)
	switch c.Granularity {
	case PerChunk:
		check(c.ChunkLength >= 1, "router_chunk_length", "%d, must be at least 1 token", c.ChunkLength)
	case PerSequence:
		check(c.SequenceDecision >= 1, "router_sequence_position", "%d, must be at least 1 token", c.SequenceDecision)
	case PerToken:
	default:
		check(false, "router_granularity", "%q, must be %q, %q or %q", c.Granularity, PerChunk, PerToken, PerSequence)
	}
	check(c.Dim >= 1, "router_dim", "%d, must be at least 1", c.Dim)
	check(len(c.HalfLives) >= 1, "router_half_lives", "empty, must name at least one half-life in tokens")
	for i, h := range c.HalfLives {
		check(h > 0 && !math.IsInf(h, 1), "router_half_lives", "element %d is %v, must be a positive number of tokens", i, h)
	}
	check(c.Temperature > 0 && !math.IsInf(c.Temperature, 1), "router_temperature", "%v, must be a positive number", c.Temperature)
	check(c.Hysteresis >= 0 && !math.IsInf(c.Hysteresis, 1), "router_hysteresis", "%v, must be 0 or a positive number", c.Hysteresis)
	check(len(c.DefaultEncoders) == k, "default_encoders", "%d encoders, must be num_encoders_per_token, %d", len(c.DefaultEncoders), k)
	if err := checkEncoders(c.DefaultEncoders, e); err != nil {
		check(false, "default_encoders", "%w", err)
	}
	check(len(c.Domains) == 0 || len(c.Domains) == e, "encoder_domains", "%d names, must be none or one for each of %d encoders", len(c.Domains), e)
	return faults
}

// checkEncoders reports the first encoder that is not below e or appears twice.
func checkEncoders(encoders []int, e int) error {
	seen := make(map[int]bool, len(encoders))
	for _, n := range encoders {
		if n < 0 || n >= e {
			return fmt.Errorf("encoder %d is outside 0 to %d", n, e-1)
		}
		if seen[n] {
			return fmt.Errorf("encoder %d is named twice", n)
		}
		seen[n] = true
	}
	return nil
}

// invalid returns all faults of c as one error, or nil.
func (c Config) invalid() error {
	if faults := c.Validate(); faults != nil {
		return fmt.Errorf("router configuration: %w", errors.Join(faults...))
	}
	return nil
}

// DomainOf is the name of encoder e in domains, as encoder_domains lists them; empty if
// they name none for it.
func DomainOf(e int, domains []string) string {
	if e >= 0 && e < len(domains) {
		return domains[e]
	}
	return ""
}
