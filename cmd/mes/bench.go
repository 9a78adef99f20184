package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

var benchCommand = command{
	name: "bench", summary: "measure prefill, decoding and memory of a model",
	help: `
Reads a prompt of made-up tokens and decodes behind it, as mes generate would at
temperature 0, -repeat times, and shows the medians. The tokens are drawn from the vocabulary with a fixed seed, so no tokenizer
is needed and every run does the same work. The first round is not counted: it
compiles the graphs, and its time to the first token is shown apart.

-random needs no folder: it makes random weights in memory, plain or, with
-encoders, a swarm. For more encoders than memory holds, grow a folder with
mes grow and measure that.

Resident memory is what the process holds itself at the end; pages of the
weights files are not in it, and a GPU's memory is not either. With -random it holds
the encoders that were used a second time.

Example:
  mes bench -random mamba-130m -dtype int8 -encoders 5 -active 3 -layers 2`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		b := &bench{m: m, model: m.modelFlags(fs)}
		fs.IntVar(&b.prefill, "prefill", 512, "`tokens` of the prompt")
		fs.IntVar(&b.decode, "decode", 64, "`tokens` decoded one by one behind it")
		fs.IntVar(&b.repeat, "repeat", 3, "`rounds` that are counted")
		fs.StringVar(&b.random, "random", "", "measure random weights of this `model`'s size instead of a folder: "+randomNames())
		fs.IntVar(&b.encoders, "encoders", 0, "with -random: `E`, encoders in all; 0 is a plain model")
		fs.IntVar(&b.active, "active", 2, "with -random: `k`, encoders that run for a token")
		fs.IntVar(&b.layers, "layers", 1, "with -random: `layers` of an encoder")
		fs.IntVar(&b.chunk, "chunk", 0, "with -random: `tokens` between two decisions of the router; 0 is the default")
		fs.BoolVar(&b.json, "json", false, "write JSON")
		return b.run
	},
}

// bench is one run of the command.
type bench struct {
	m                               *Main
	model                           *modelFlags
	prefill, decode, repeat         int
	random                          string
	encoders, active, layers, chunk int
	json                            bool
}

// benchReport is what a benchmark found; times are medians over the rounds.
type benchReport struct {
	Model            string  `json:"model"`
	Backend          string  `json:"backend"`
	DType            string  `json:"dtype"`
	PrefillTokens    int     `json:"prefill_tokens"`
	PrefillMS        float64 `json:"prefill_ms"`
	DecodeTokens     int     `json:"decode_tokens"`
	DecodeMSPerToken float64 `json:"decode_ms_per_token"`
	FirstTokenMS     float64 `json:"first_token_ms"` // the prompt in the first round, compiling included
	LoadMS           float64 `json:"load_ms"`        // back end and core of the model
	RSSBytes         int64   `json:"rss_bytes"`      // anonymous memory at the end; 0 where the system does not say
	EncoderLoads     int64   `json:"encoder_loads"`  // encoders read in all rounds, the first included
	SwapsPerChunk    float64 `json:"swaps_per_chunk"`
}

func (b *bench) run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		return usageError("bench takes no arguments, got %q; -model names a folder", args)
	}
	if b.prefill < 1 || b.decode < 1 || b.repeat < 1 {
		return usageError("-prefill, -decode and -repeat must be at least 1")
	}
	start := time.Now()
	l, name, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	r := benchReport{Model: name, Backend: l.info.Name, DType: string(l.model.Precision()),
		PrefillTokens: b.prefill, DecodeTokens: b.decode, LoadMS: milliseconds(time.Since(start))}
	if err := b.measure(ctx, l.model, &r); err != nil {
		return err
	}
	if b.json {
		return json.NewEncoder(b.m.Stdout).Encode(r)
	}
	_, err = fmt.Fprintf(b.m.Stdout, `%s on %s in %s
prefill      %.1f ms for %d tokens (%.0f tokens/s)
decode       %.2f ms a token (%.1f tokens/s), %d tokens
first token  %.0f ms with compiling, after %.0f ms of loading
memory       %s resident
encoders     %d read, %.2f swaps a chunk
`, r.Model, r.Backend, r.DType, r.PrefillMS, r.PrefillTokens, 1000*float64(r.PrefillTokens)/r.PrefillMS,
		r.DecodeMSPerToken, 1000/r.DecodeMSPerToken, r.DecodeTokens, r.FirstTokenMS, r.LoadMS, size(r.RSSBytes), r.EncoderLoads, r.SwapsPerChunk)
	return err
}

// open loads the folder or the random model, and says what it is called.
func (b *bench) open(ctx context.Context) (*loaded, string, error) {
	l := &loaded{}
	if b.random != "" {
		cfg, err := randomModel(b.random, b.encoders, b.active, b.layers, b.chunk)
		if err != nil {
			return nil, "", err
		}
		if err := b.model.start(l, b.random, cfg.Swarm, newRandomSource(cfg)); err != nil {
			return nil, "", errors.Join(err, l.Close())
		}
		return l, b.random + ", random", nil
	}
	if b.encoders != 0 || b.chunk != 0 {
		return nil, "", usageError("-encoders and -chunk go with -random; a folder has its own of both")
	}
	var err error
	if l.files, err = b.m.openModel(ctx, b.model.dir); err != nil {
		return nil, "", err
	}
	if err := b.model.start(l, b.model.dir, l.files.Config.Swarm, l.files); err != nil {
		return nil, "", errors.Join(err, l.Close())
	}
	return l, l.files.Name, nil
}

// measure runs the rounds.
func (b *bench) measure(ctx context.Context, m *swarm.Model, r *benchReport) error {
	rng := rand.New(rand.NewPCG(randomSeed, 0))
	ids := make([]int32, b.prefill+b.decode)
	for i := range ids {
		ids[i] = rng.Int32N(int32(m.Config().Base.VocabSize))
	}
	bar := b.m.progress("bench")
	defer bar.finish()
	var prefill, decode []float64
	for i := range b.repeat + 1 {
		bar.set(int64(i), int64(b.repeat+1))
		p, d, chunks, err := b.round(ctx, m, ids)
		if err != nil {
			return err
		}
		r.SwapsPerChunk = swapsPerChunk(chunks)
		if i == 0 {
			r.FirstTokenMS = milliseconds(p)
			continue
		}
		prefill, decode = append(prefill, milliseconds(p)), append(decode, milliseconds(d)/float64(b.decode))
	}
	r.PrefillMS, r.DecodeMSPerToken = median(prefill), median(decode)
	r.RSSBytes = telemetry.ResidentBytes()
	if pool := m.Pool(); pool != nil {
		r.EncoderLoads = pool.Stats().Loads
	}
	return nil
}

// round times one text: the prompt at once, then decoding, on the device where the
// model draws there.
func (b *bench) round(ctx context.Context, m *swarm.Model, ids []int32) (prefill, decode time.Duration, chunks []router.Chunk, err error) {
	s, err := m.NewSession("")
	if err != nil {
		return 0, 0, nil, err
	}
	defer s.Close()
	dice, err := m.Dice(randomSeed, 0)
	if err != nil {
		return 0, 0, nil, err
	}
	defer dice.Close()
	start := time.Now()
	if _, chunks, err = s.Feed(ctx, ids[:b.prefill]); err != nil {
		return 0, 0, nil, err
	}
	middle := time.Now()
	for next := ids[b.prefill:]; len(next) > 0; {
		n := s.DrawLength()
		var more []router.Chunk
		if n > 0 && n <= len(next) {
			var draw swarm.Draw
			draw, err = s.Draw(ctx, next[0], dice)
			more = draw.Chunks
		} else {
			n = 1
			_, more, err = s.Feed(ctx, next[:1])
		}
		if err != nil {
			return 0, 0, nil, err
		}
		chunks, next = append(chunks, more...), next[n:]
	}
	return middle.Sub(start), time.Since(middle), chunks, nil
}

// swapsPerChunk counts the slots that changed their encoder at a decision. The first
// chunk, which has none, is left out.
func swapsPerChunk(chunks []router.Chunk) float64 {
	decisions, swaps := 0, 0
	for _, c := range chunks {
		if c.Continues || c.Start == 0 {
			continue
		}
		decisions++
		for _, changed := range c.Changed {
			if changed {
				swaps++
			}
		}
	}
	if decisions == 0 {
		return 0
	}
	return float64(swaps) / float64(decisions)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
