package eval

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// Side is one model of a comparison, measured once or, trained from several seeds,
// several times.
type Side struct {
	Name    string
	Reports []*Report
}

// Comparison puts two sides beside each other. A ratio below 1 is in favour of the
// first.
type Comparison struct {
	A       SideCost      `json:"a"`
	B       SideCost      `json:"b"`
	Mean    CompareRow    `json:"mean"` // over domains, unweighted
	Domains []CompareRow  `json:"domains"`
	Tasks   []CompareTask `json:"tasks,omitempty"`
	Notes   []string      `json:"notes,omitempty"` // what is not equal
}

// SideCost is what a side costs, from its first report.
type SideCost struct {
	Name             string  `json:"name"`
	Runs             int     `json:"runs"`
	Parameters       int64   `json:"parameters"`
	ActiveParameters int64   `json:"active_parameters"`
	ActiveLayers     int     `json:"active_layers"`
	FLOPs            int64   `json:"flops_per_token"`
	MemoryBytes      int64   `json:"memory_bytes"`
	DType            string  `json:"dtype"`
	Backend          string  `json:"backend"`
	ReadRate         *Spread `json:"read_tokens_per_second,omitempty"`
	DecodeRate       *Spread `json:"decode_tokens_per_second,omitempty"`
}

// CompareRow is quality on some text.
type CompareRow struct {
	Domain string `json:"domain,omitempty"`
	A      Spread `json:"a"` // bits per byte
	B      Spread `json:"b"`
	// Ratio is the first's perplexity of a token to the second's; nil if the sides count
	// tokens differently.
	Ratio *Spread `json:"perplexity_ratio,omitempty"`
	// ByteRatio is that of the perplexities of a byte.
	ByteRatio Spread `json:"byte_perplexity_ratio"`
}

// CompareTask is accuracy on a set of tasks.
type CompareTask struct {
	Name string `json:"name"`
	A    Spread `json:"a"`
	B    Spread `json:"b"`
}

// Spread is a mean over runs, and their standard deviation (n-1), 0 of a single one.
type Spread struct {
	Mean      float64 `json:"mean"`
	Deviation float64 `json:"deviation"`
}

func spreadOf(values []float64) Spread {
	var s Spread
	for _, v := range values {
		s.Mean += v / float64(len(values))
	}
	if len(values) < 2 {
		return s
	}
	for _, v := range values {
		s.Deviation += (v - s.Mean) * (v - s.Mean)
	}
	s.Deviation = math.Sqrt(s.Deviation / float64(len(values)-1))
	return s
}

// ratio is exp(a-b) with the deviation that those of a and b, which are independent,
// give it to first order.
func ratio(a, b Spread) Spread {
	r := math.Exp(a.Mean - b.Mean)
	return Spread{r, r * math.Hypot(a.Deviation, b.Deviation)}
}

// Write gives the comparison as JSON.
func (c *Comparison) Write() ([]byte, error) {
	text, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		return nil, fmt.Errorf("write comparison: %w", err)
	}
	return append(text, '\n'), nil
}

// Compare compares reports on the same held-out text.
func Compare(a, b Side) (*Comparison, error) {
	all := slices.Concat(a.Reports, b.Reports)
	if len(a.Reports) == 0 || len(b.Reports) == 0 {
		return nil, wrong("a comparison needs a report on either side")
	}
	first := all[0]
	if first.Text == nil {
		return nil, wrong("the report of %s holds no held-out text to compare", first.Model.Name)
	}
	sameTokens := true
	for _, r := range all[1:] {
		if err := sameText(first, r); err != nil {
			return nil, err
		}
		sameTokens = sameTokens && r.Data.TextSHA256 == first.Data.TextSHA256
	}
	c := &Comparison{A: a.cost(), B: b.cost(), Notes: unequal(a, b, sameTokens)}
	row := func(domain string, figures func(*Report) Figures) CompareRow {
		pick := func(s Side, value func(Figures) float64) Spread {
			var values []float64
			for _, r := range s.Reports {
				values = append(values, value(figures(r)))
			}
			return spreadOf(values)
		}
		bits := func(f Figures) float64 { return f.BitsPerByte }
		nats := func(f Figures) float64 { return f.NatsPerToken }
		natsPerByte := func(f Figures) float64 { return f.BitsPerByte * math.Ln2 }
		out := CompareRow{Domain: domain, A: pick(a, bits), B: pick(b, bits), ByteRatio: ratio(pick(a, natsPerByte), pick(b, natsPerByte))}
		if sameTokens {
			r := ratio(pick(a, nats), pick(b, nats))
			out.Ratio = &r
		}
		return out
	}
	c.Mean = row("", func(r *Report) Figures { return r.Text.Mean })
	for i, d := range first.Text.Domains {
		c.Domains = append(c.Domains, row(d.Domain, func(r *Report) Figures { return r.Text.Domains[i].Figures }))
	}
	c.Tasks = compareTasks(a, b)
	return c, nil
}

// sameText reports whether two reports are about the same bytes.
func sameText(a, b *Report) error {
	differ := func(what string) error {
		return wrong("%s and %s were measured on different text (%s); measure both with the same -data, -split, -max-bytes and -seed", a.Model.Name, b.Model.Name, what)
	}
	if b.Text == nil {
		return wrong("the report of %s holds no held-out text to compare", b.Model.Name)
	}
	if len(a.Text.Domains) != len(b.Text.Domains) {
		return differ(fmt.Sprintf("%d and %d domains", len(a.Text.Domains), len(b.Text.Domains)))
	}
	for i, d := range a.Text.Domains {
		other := b.Text.Domains[i]
		if d.Domain != other.Domain || d.Documents != other.Documents || d.Bytes != other.Bytes {
			return differ(fmt.Sprintf("%s: %d bytes, %s: %d bytes", d.Domain, d.Bytes, other.Domain, other.Bytes))
		}
	}
	if a.Data.TokenizerSHA256 == b.Data.TokenizerSHA256 && a.Data.TextSHA256 != b.Data.TextSHA256 {
		return differ("the same lengths, other ids")
	}
	return nil
}

// cost of a side.
func (s Side) cost() SideCost {
	m := s.Reports[0].Model
	c := SideCost{Name: s.Name, Runs: len(s.Reports), Parameters: m.Parameters, ActiveParameters: m.ActiveParameters, ActiveLayers: m.ActiveLayers,
		FLOPs: m.FLOPs, MemoryBytes: m.MemoryBytes, DType: m.DType, Backend: m.Backend}
	rate := func(value func(*Cost) float64) *Spread {
		var values []float64
		for _, r := range s.Reports {
			if r.Cost == nil || value(r.Cost) == 0 {
				return nil
			}
			values = append(values, value(r.Cost))
		}
		spread := spreadOf(values)
		return &spread
	}
	c.ReadRate = rate(func(c *Cost) float64 { return c.ReadTokensPerSecond })
	c.DecodeRate = rate(func(c *Cost) float64 { return c.DecodeTokensPerSecond })
	return c
}

// unequal says what makes the comparison lame.
func unequal(a, b Side, sameTokens bool) []string {
	var notes []string
	if !sameTokens {
		notes = append(notes, "The tokenizers differ, so perplexities of tokens are not comparable; those of bytes are.")
	}
	x, y := a.Reports[0].Model, b.Reports[0].Model
	if x.ActiveLayers != y.ActiveLayers || x.HiddenSize != y.HiddenSize {
		notes = append(notes, fmt.Sprintf("A token meets %d layers of width %d in one and %d of width %d in the other.", x.ActiveLayers, x.HiddenSize, y.ActiveLayers, y.HiddenSize))
	}
	for _, s := range []Side{a, b} {
		for _, r := range s.Reports[1:] {
			if r.Model.Parameters != s.Reports[0].Model.Parameters || r.Model.FLOPs != s.Reports[0].Model.FLOPs {
				notes = append(notes, fmt.Sprintf("The runs of %s are not of one size.", s.Name))
				break
			}
		}
	}
	if x.DType != y.DType {
		notes = append(notes, fmt.Sprintf("Weights were held in %s and in %s.", x.DType, y.DType))
	}
	return append(notes, "How many tokens each was trained on is not in the reports.")
}

// compareTasks compares the sets that every report has.
func compareTasks(a, b Side) []CompareTask {
	find := func(r *Report, sum string) (Task, bool) {
		i := slices.IndexFunc(r.Tasks, func(t Task) bool { return t.SHA256 == sum })
		if i < 0 {
			return Task{}, false
		}
		return r.Tasks[i], true
	}
	accuracy := func(s Side, sum string) (Spread, bool) {
		var values []float64
		for _, r := range s.Reports {
			t, ok := find(r, sum)
			if !ok {
				return Spread{}, false
			}
			values = append(values, t.Accuracy)
		}
		return spreadOf(values), true
	}
	var out []CompareTask
	for _, t := range a.Reports[0].Tasks {
		x, inA := accuracy(a, t.SHA256)
		y, inB := accuracy(b, t.SHA256)
		if inA && inB {
			out = append(out, CompareTask{t.Name, x, y})
		}
	}
	return out
}
