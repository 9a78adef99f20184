package eval

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// The nats of a document: encoder 1 reads the first chunk of all of them.
func natsOf(domain int) float64 {
	if domain == 0 {
		return letters * lossRight
	}
	return chunk*lossWrong + (letters-chunk)*lossRight
}

// TestHandMade: every figure of the hand-made swarm is known.
func TestHandMade(t *testing.T) {
	cfg := handConfigured(t, []int{-1, 0, 1, 2})
	cfg.RowLength, cfg.MaxActive, cfg.Swaps, cfg.Samples, cfg.SampleTokens = 50, 2, 9, 3, 5
	cfg.Cost, cfg.Seed = true, 7
	r := run(t, cfg)

	if len(r.Text.Domains) != 3 || r.Text.Mean.Documents != 3 || r.Text.Mean.Tokens != 3*letters || r.Text.Mean.Bytes != 3*letters {
		t.Fatalf("text %+v", r.Text)
	}
	var nats float64
	for i, d := range r.Text.Domains {
		near(t, d.Domain+" bits per byte", d.BitsPerByte, natsOf(i)/math.Ln2/letters)
		near(t, d.Domain+" perplexity", d.Perplexity, math.Exp(natsOf(i)/letters))
		nats += natsOf(i) / letters / 3
	}
	near(t, "accuracy of beta", r.Text.Domains[1].Accuracy, float64(letters-chunk)/letters)
	near(t, "mean nats", r.Text.Mean.NatsPerToken, nats)
	near(t, "mean bits", r.Text.Mean.BitsPerByte, nats/math.Ln2)
	near(t, "mean perplexity", r.Text.Mean.Perplexity, math.Exp(nats))

	// A document has the id that begins it and 200 letters: four rows of 51 ids.
	if r.Rows.Rows != 12 || r.Rows.Domains[1].Rows != 4 {
		t.Errorf("rows %+v", r.Rows)
	}
	perRow := (chunk*lossWrong + (50-chunk)*lossRight) / 50
	near(t, "rows of beta", r.Rows.Domains[1].NatsPerToken, perRow)
	near(t, "rows", r.Rows.NatsPerToken, (lossRight+2*perRow)/3)

	near(t, "with one encoder", r.Active[0].Mean.NatsPerToken, lossNobody)
	near(t, "with two encoders", r.Active[1].Mean.NatsPerToken, nats)
	if r.Active[0].FLOPs >= r.Active[1].FLOPs {
		t.Errorf("one encoder costs %d, two %d", r.Active[0].FLOPs, r.Active[1].FLOPs)
	}
	for i, s := range r.Swaps {
		near(t, s.Domain+" routed", s.Routed, natsOf(i)/math.Ln2/letters)
		near(t, s.Domain+" own", s.Own, lossRight/math.Ln2)
		near(t, s.Domain+" best other", s.Best, lossWrong/math.Ln2)
		near(t, s.Domain+" mean of others", s.Mean, lossWrong/math.Ln2)
		if !s.Knows || s.Encoder != i+1 || len(s.Others) != 2 {
			t.Errorf("%+v", s)
		}
	}
	if len(r.Swaps) != 3 {
		t.Errorf("%d domains were swapped", len(r.Swaps))
	}
	for i, s := range r.Samples {
		if want := strings.Repeat(string(rune('a'+i)), 5); s.Text != want || s.Seed != 7 || s.Tokens != 5 {
			t.Errorf("sample %+v, want %q", s, want)
		}
	}
	if c := r.Cost; len(r.Samples) != 3 || c.ReadTokens < 3*letters || c.ReadTokensPerSecond <= 0 || !strings.HasPrefix(c.Energy, "not available") {
		t.Errorf("cost %+v, %d samples", c, len(r.Samples))
	}
	if r.Model.ActiveLayers != 3 || r.Model.Layers != 2 || r.Model.FLOPs != cfg.Model.Config().FLOPs() {
		t.Errorf("model %+v", r.Model)
	}
}

// TestRoutingFigures: those of the hand-made swarm, whose router is right from the
// second chunk on.
func TestRoutingFigures(t *testing.T) {
	g := run(t, handConfigured(t, []int{-1, 0, 1, 2})).Routing
	near(t, "accuracy", *g.Accuracy, 1)
	near(t, "leads", *g.Leads, 1)
	late := float64(letters-chunk) / letters
	near(t, "overall", *g.Overall, (1+2*late)/3)
	near(t, "overall of beta", *g.Domains[1].Overall, late)
	share := func(tokens float64) float64 { return tokens / (2 * 3 * letters) }
	want := []float64{0.5, share(letters + 2*chunk), share(letters - chunk), share(letters - chunk)}
	var entropy float64
	for e, w := range want {
		near(t, "use", g.Use[e], w)
		entropy -= w * math.Log(w)
	}
	near(t, "effective encoders", g.EffectiveEncoders, math.Exp(entropy))
	near(t, "largest", g.LargestToMean, 2)
	if len(g.Dead) != 0 {
		t.Errorf("dead %v", g.Dead)
	}
	// One slot changes once in two of the texts, of 34 chunks each.
	near(t, "swaps", g.SwapsPerChunk, 2.0/(3*34))
	if u := g.Domains[2].Use; len(u) != 3 || u[0].Share != 0.5 || u[1] != (EncoderUse{3, "gamma", late / 2}) || u[2].Encoder != 1 {
		t.Errorf("use of gamma %+v", u)
	}
}

// TestRoutingCountsTokens compares the counts with the router's decisions at single
// tokens, on texts that it sends to and fro.
func TestRoutingCountsTokens(t *testing.T) {
	cfg := handConfigured(t, []int{-1, 0, 1, 2})
	e := &evaluator{Config: cfg}
	domains := []domainTexts{{name: "alpha", encoders: []int{1}}, {name: "beta", encoders: []int{2}}, {name: "other"}}
	r := newRouting(4, domains)
	text := strings.Repeat("aaaaaaaabbbbbbbbcc", 30)
	ids, err := cfg.Tokenizer.Encode(text)
	if err != nil {
		t.Fatal(err)
	}
	state, err := cfg.Model.Router().Start("")
	if err != nil {
		t.Fatal(err)
	}
	want := make([]hits, 3)
	use := make([]float64, 4)
	for at, id := range ids[:len(ids)-1] {
		chunks, next, err := cfg.Model.Router().Plan(state, []int32{id})
		if err != nil {
			t.Fatal(err)
		}
		state = next
		for _, encoder := range chunks[0].Slots {
			use[encoder]++
		}
		for d := range 2 {
			h, ran := &want[d], chunks[0].Slots[0] == d+1 || chunks[0].Slots[1] == d+1
			h.read++
			if ran {
				h.right++
			}
			if at >= SettleTokens {
				h.settled++
				if ran { // the generalist is no specialist, so that who runs leads
					h.accurate, h.leads = h.accurate+1, h.leads+1
				}
			}
		}
	}
	plan, err := e.plan(ids)
	if err != nil {
		t.Fatal(err)
	}
	for d := range domains {
		r.add(d, plan)
	}
	if want[0].right == 0 || want[1].right == 0 || want[0].right == want[0].read {
		t.Fatalf("the router is always or never right, %+v: nothing to test", want)
	}
	if !reflect.DeepEqual(r.hits, want) {
		t.Errorf("counts %+v, want %+v", r.hits, want)
	}
	if diff := cmp.Diff(use, r.use[0]); diff != "" {
		t.Errorf("use (-want +got):\n%s", diff)
	}
	if report := r.report(nil); report.Domains[2].Accuracy != nil || report.Domains[0].Accuracy == nil {
		t.Errorf("domains %+v", report.Domains)
	}
}

// TestImpostors: two specialists that have each other's weights know each other's
// domain, and the third its own; an encoder that is never used is dead.
func TestImpostors(t *testing.T) {
	cfg := handConfigured(t, []int{-1, 0, 2, 1})
	cfg.Swaps = 9
	r := run(t, cfg)
	for i, want := range []bool{true, false, false} {
		s := r.Swaps[i]
		if s.Knows != want {
			t.Errorf("%s knows its domain: %v", s.Domain, s.Knows)
		}
		if want {
			continue
		}
		near(t, "own", s.Own, lossWrong/math.Ln2)
		near(t, "best other", s.Best, lossRight/math.Ln2)
		near(t, "mean of others", s.Mean, (lossRight+lossWrong)/2/math.Ln2)
		if s.Others[0].Encoder != 5-s.Encoder { // 3 for 2, 2 for 3
			t.Errorf("%s: best other is %d", s.Domain, s.Others[0].Encoder)
		}
	}
	cfg.Swaps = 1
	for _, s := range run(t, cfg).Swaps {
		if len(s.Others) != 1 {
			t.Errorf("%s: %d others", s.Domain, len(s.Others))
		}
	}
	counts := newRouting(4, []domainTexts{{name: "x"}})
	counts.use[0] = []float64{1000, 1000, 1, 0}
	if got := counts.report(nil).Dead; !cmp.Equal(got, []int{2, 3}) {
		t.Errorf("dead: %v", got)
	}
}

// TestSample: whole documents and the beginning of one, the same for the same seed.
func TestSample(t *testing.T) {
	cfg := handConfigured(t, []int{-1, 0, 1, 2})
	dir, _ := byteTokenizer(t)
	var docs []string
	for i := range 9 {
		docs = append(docs, strings.Repeat("ä"+string(rune('a'+i)), 10)) // 30 bytes
	}
	cfg.Data = prepared(t, dir, map[string][]string{"alpha": docs})
	cfg.MaxBytes = 100
	digest := map[string]bool{}
	for _, seed := range []uint64{1, 1, 2} {
		cfg.Seed = seed
		r := run(t, cfg)
		// Of the fourth document 10 bytes are left, of which the last is half a character.
		if m := r.Text.Mean; m.Documents != 4 || m.Bytes != 99 || m.Tokens != 99 || r.Data.Bytes != 99 || r.Data.MaxBytes != 100 {
			t.Errorf("seed %d: %+v", seed, m)
		}
		digest[r.Data.TextSHA256] = true
	}
	if len(digest) != 2 {
		t.Errorf("%d samples of two seeds", len(digest))
	}
}

// TestUnknownDomains: where no encoder has the name of a domain, nothing is said of
// accuracy and specialists.
func TestUnknownDomains(t *testing.T) {
	cfg := handConfigured(t, []int{-1, 0, 1, 2})
	dir, _ := byteTokenizer(t)
	cfg.Swaps, cfg.Data = 2, prepared(t, dir, map[string][]string{"unknown": {"some text"}})
	r := run(t, cfg)
	if r.Swaps != nil || r.Routing.Accuracy != nil || r.Routing.Overall != nil || len(r.Routing.Use) != 4 {
		t.Errorf("swaps %v, routing %+v", r.Swaps, r.Routing)
	}
	if text := string((&File{Report: r}).Markdown()); !strings.Contains(text, "whether the router is right is not known") {
		t.Error(text)
	}
}

// TestPlain: a plain model has no routing, and its parts are left out.
func TestPlain(t *testing.T) {
	cfg := handConfigured(t, []int{-1, 0, 1, 2})
	c := handConfig().Dense()
	m, err := swarm.Load(cfg.Model.Backend(), c, handMade(c, nil), swarm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	cfg.Model, cfg.Swaps, cfg.MaxActive = m, 3, 2
	r := run(t, cfg)
	near(t, "mean nats", r.Text.Mean.NatsPerToken, lossNobody)
	if r.Routing != nil || r.Swaps != nil || r.Active != nil || r.Model.Encoders != 0 {
		t.Errorf("report %+v", r)
	}
}

// TestRefuses: one sentence for each thing that is wrong.
func TestRefuses(t *testing.T) {
	good := handConfigured(t, []int{-1, 0, 1, 2})
	other, _ := byteTokenizer(t)
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"nothing":         {func(c *Config) { c.Data = "" }, "nothing to measure"},
		"no data":         {func(c *Config) { c.Data = filepath.Join(c.Data, "nowhere") }, "holds no prepared data"},
		"split":           {func(c *Config) { c.Split = "test" }, `has no split "test"; it has train, valid`},
		"tokenizer":       {func(c *Config) { c.TokenizerSHA256 = strings.Repeat("0", 64) }, "made with another tokenizer"},
		"rows":            {func(c *Config) { c.RowLength = 5000 }, "no domain of split valid has 5001 tokens"},
		"negative":        {func(c *Config) { c.MaxBytes = -1 }, "0 or more"},
		"active":          {func(c *Config) { c.MaxActive = 5 }, "5 active encoders are more than the model's 4"},
		"short needle":    {func(c *Config) { c.Needle = []int{5} }, "a needle's text of 5 tokens"},
		"needle, no data": {func(c *Config) { c.Data, c.Needle, c.Tasks = "", []int{256}, []TaskSet{{}} }, "name prepared data"},
		"too small": {func(c *Config) {
			c.MaxBytes, c.Data = 1, prepared(t, other, map[string][]string{"alpha": {"äää"}})
		}, "no text of two tokens"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			test.change(&cfg)
			r, err := Run(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") || r != nil {
				t.Errorf("%v, report %v", err, r != nil)
			}
		})
	}
}

// TestBrokenWeights names the tensor; TestInterrupted leaves nothing.
func TestBrokenWeights(t *testing.T) {
	cfg := handConfigured(t, []int{-1, 0, 1, 2})
	weights := handMade(handConfig(), []int{-1, 0, 1, 2})
	weights["backbone.norm_f.weight"].values[3] = float32(math.NaN())
	m, err := swarm.Load(cfg.Model.Backend(), handConfig(), weights, swarm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	cfg.Model = m
	r, err := Run(t.Context(), cfg)
	if !errors.Is(err, swarm.ErrNotFinite) || !strings.Contains(err.Error(), "backbone.norm_f.weight") || r != nil {
		t.Errorf("%v, report %v", err, r != nil)
	}
}

func TestInterrupted(t *testing.T) {
	cfg := handConfigured(t, []int{-1, 0, 1, 2})
	ctx, cancel := context.WithCancel(t.Context())
	cfg.Progress = func(string, int64, int64) { cancel() }
	if r, err := Run(ctx, cfg); !errors.Is(err, context.Canceled) || r != nil {
		t.Errorf("%v, report %v", err, r != nil)
	}
}

// TestDamagedShard: a shard that was changed is named before anything is measured.
func TestDamagedShard(t *testing.T) {
	cfg := handConfigured(t, []int{-1, 0, 1, 2})
	path := filepath.Join(cfg.Data, "valid", "beta-00000.tok")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[90]++
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), cfg); !errors.Is(err, data.ErrChecksum) || !strings.Contains(err.Error(), "beta-00000.tok") {
		t.Errorf("%v", err)
	}
}
