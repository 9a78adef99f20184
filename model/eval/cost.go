package eval

import (
	"context"
	"fmt"
	"time"
)

// Cost is what reading and writing take on this machine.
type Cost struct {
	ReadTokens          int64   `json:"read_tokens"` // of held-out text, compiled before
	ReadSeconds         float64 `json:"read_seconds"`
	ReadTokensPerSecond float64 `json:"read_tokens_per_second"`
	// DecodeTokensPerSecond is the mean over the samples; 0 if none were written.
	DecodeTokensPerSecond float64 `json:"decode_tokens_per_second,omitempty"`

	Energy         string  `json:"energy"` // what was metered, or why nothing was
	Joules         float64 `json:"joules,omitempty"`
	JoulesPerToken float64 `json:"joules_per_token,omitempty"`
}

// Meter counts energy.
type Meter interface {
	// Source says what is metered.
	Source() string
	// Start begins; stop ends it and returns joules.
	Start() (stop func() (float64, error), err error)
}

// How long reading is measured.
const (
	costSeconds = 3
	costPasses  = 50
)

// cost reads the probe again, as often as it takes to see something.
func (e *evaluator) cost(ctx context.Context, r *Report) error {
	texts, _ := flat(e.probe)
	if _, err := e.judge(ctx, "cost", e.Model, texts); err != nil { // compiles
		return err
	}
	c := &Cost{Energy: "not available: this machine has no meter that can be read"}
	var stop func() (float64, error)
	if e.Meter != nil {
		var err error
		if stop, err = e.Meter.Start(); err != nil {
			c.Energy = fmt.Sprintf("not available: %v", err)
		}
	}
	start := time.Now()
	for pass := 0; pass < costPasses && (pass == 0 || time.Since(start) < costSeconds*time.Second); pass++ {
		judged, err := e.judge(ctx, "cost", e.Model, texts)
		if err != nil {
			if stop != nil {
				_, _ = stop() // the first error counts
			}
			return err
		}
		for _, j := range judged {
			c.ReadTokens += int64(len(j.Loss))
		}
	}
	c.ReadSeconds = time.Since(start).Seconds()
	c.ReadTokensPerSecond = float64(c.ReadTokens) / c.ReadSeconds
	if stop != nil {
		joules, err := stop()
		if err != nil {
			c.Energy = fmt.Sprintf("not available: %v", err)
		} else {
			c.Energy, c.Joules, c.JoulesPerToken = e.Meter.Source(), joules, joules/float64(max(1, c.ReadTokens))
		}
	}
	var n float64
	for _, s := range r.Samples {
		if s.TokensPerSecond > 0 {
			c.DecodeTokensPerSecond, n = c.DecodeTokensPerSecond+s.TokensPerSecond, n+1
		}
	}
	if n > 0 {
		c.DecodeTokensPerSecond /= n
	}
	r.Cost = c
	return nil
}
