package eval

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/router"
)

// document is Markdown that is being written.
type document struct{ strings.Builder }

func (d *document) f(format string, args ...any) { fmt.Fprintf(d, format, args...) }

// heading begins a part.
func (d *document) heading(text string) { d.f("\n## %s\n\n", text) }

// table writes a table; an empty header cell is allowed.
func (d *document) table(header []string, rows [][]string) {
	line := func(cells []string) {
		for _, c := range cells {
			d.f("| %s ", cell(c))
		}
		d.f("|\n")
	}
	line(header)
	d.f("|%s\n", strings.Repeat("---|", len(header)))
	for _, row := range rows {
		line(row)
	}
}

// cell keeps text within its cell, and plain.
func cell(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.NewReplacer("\\", "\\\\", "|", "\\|", "<", "&lt;", "*", "\\*", "_", "\\_", "`", "\\`", "[", "\\[", "]", "\\]").Replace(s)
}

// Markdown writes the file for people.
func (f *File) Markdown() []byte {
	d, r := &document{}, f.Report
	d.f("# Evaluation of %s\n\n", cell(r.Model.Name))
	d.table([]string{"", ""}, f.facts())
	for _, part := range []func(*document){r.textPart, r.rowsPart, r.routingPart, r.activePart, r.swapPart, r.taskPart, r.needlePart, r.costPart, r.samplePart} {
		part(d)
	}
	if r.Against != nil {
		d.WriteString("\n")
		d.Write(r.Against.Markdown())
	}
	return []byte(d.String())
}

// facts are what was measured, on what, where.
func (f *File) facts() [][]string {
	r, m := f.Report, f.Report.Model
	size := fmt.Sprintf("%s parameters, a token meets %s in %d layers of width %d", grouped(m.Parameters), grouped(m.ActiveParameters), m.ActiveLayers, m.HiddenSize)
	if m.Encoders > 0 {
		size += fmt.Sprintf(": %d of %d encoders of %d layers", m.Active, m.Encoders, m.EncoderLayers)
	}
	rows := [][]string{
		{"model", fmt.Sprintf("%s, %s", m.Name, m.Base)}, {"", size}, {"files", "sha256 " + m.SHA256},
		{"weights in memory", m.DType}, {"back end", m.Backend},
	}
	if r.Data != nil {
		rows = append(rows, []string{"text", fmt.Sprintf("%s, split %s: %s bytes, %s documents", r.Data.Name, r.Data.Split, grouped(r.Data.Bytes), grouped(r.Data.Documents))},
			[]string{"", "sha256 " + r.Data.SHA256})
		if r.Data.MaxBytes > 0 {
			rows = append(rows, []string{"", fmt.Sprintf("a sample of %s bytes a domain, drawn with the seed", grouped(r.Data.MaxBytes))})
		}
	}
	rows = append(rows, []string{"seed", strconv.FormatUint(r.Seed, 10)})
	for _, row := range [][]string{{"command", f.Command}, {"commit", f.Commit}, {"machine", f.Machine}, {"date", f.Date}} {
		if row[1] != "" {
			rows = append(rows, row)
		}
	}
	return append(rows, []string{"took", fmt.Sprintf("%.0f s", r.Seconds)})
}

func (r *Report) textPart(d *document) {
	if r.Text == nil {
		return
	}
	d.heading("Held-out text")
	d.f("Every document from its start, by itself; long ones in windows that hand the state on. The first id of a document is given.\n\n")
	row := func(name string, f Figures) []string {
		return []string{name, num(f.BitsPerByte, 4), num(f.NatsPerToken, 4), num(f.Perplexity, 2), percent(&f.Accuracy), grouped(f.Documents), grouped(f.Tokens), grouped(f.Bytes)}
	}
	rows := [][]string{row("mean over domains", r.Text.Mean)}
	for _, f := range r.Text.Domains {
		rows = append(rows, row(f.Domain, f.Figures))
	}
	d.table([]string{"domain", "bits per byte", "nats a token", "perplexity", "likeliest", "documents", "tokens", "bytes"}, rows)
}

func (r *Report) rowsPart(d *document) {
	if r.Rows == nil {
		return
	}
	d.heading("Packed rows")
	d.f("%s rows of %d tokens, each from an empty state, as the trainer's validation reads them: **%.4f** nats a token, mean over rows.\n\n", grouped(int64(r.Rows.Rows)), r.Rows.Length, r.Rows.NatsPerToken)
	var rows [][]string
	for _, f := range r.Rows.Domains {
		rows = append(rows, []string{f.Domain, strconv.Itoa(f.Rows), num(f.NatsPerToken, 4)})
	}
	d.table([]string{"domain", "rows", "nats a token"}, rows)
}

func (r *Report) routingPart(d *document) {
	if r.Routing == nil {
		return
	}
	g := r.Routing
	d.heading("Routing")
	if g.Overall == nil {
		d.f("No encoder has the name of a domain of the text, so that whether the router is right is not known.\n")
	} else {
		d.f("An encoder of the text's domain runs on %s of the tokens after the first %d, on %s of all; it leads the specialists on %s (after %d).\n",
			percent(g.Accuracy), g.SettleTokens, percent(g.Overall), percent(g.Leads), g.SettleTokens)
	}
	d.f("Use is as even as that of %.1f encoders of %d; the most used has %.2f times its share, and %.2f slots change at a decision.\n", g.EffectiveEncoders, len(g.Use), g.LargestToMean, g.SwapsPerChunk)
	if len(g.Dead) == 0 {
		d.f("No encoder is dead.\n\n")
	} else {
		var names []string
		for _, e := range g.Dead {
			names = append(names, encoderName(e, router.DomainOf(e, r.Model.Domains)))
		}
		d.f("**Dead** (used less than a hundredth of an equal share): %s.\n\n", cell(strings.Join(names, ", ")))
	}
	var rows [][]string
	for _, row := range g.Domains {
		var use []string
		for _, u := range row.Use {
			use = append(use, fmt.Sprintf("%s %.1f %%", encoderName(u.Encoder, u.Domain), 100*u.Share))
		}
		rows = append(rows, []string{row.Domain, percent(row.Accuracy), percent(row.Overall), percent(row.Leads), strings.Join(use, ", ")})
	}
	d.table([]string{"domain", fmt.Sprintf("right after %d", g.SettleTokens), "right overall", "leads", "encoders by use"}, rows)
}

func (r *Report) activePart(d *document) {
	if len(r.Active) == 0 {
		return
	}
	d.heading("Active encoders")
	d.f("On %s bytes of the text.\n\n", grouped(r.Active[0].Mean.Bytes))
	var rows [][]string
	for _, a := range r.Active {
		k := strconv.Itoa(a.Encoders)
		if a.Encoders == r.Model.Active {
			k += " (the model's)"
		}
		rows = append(rows, []string{k, num(a.Mean.BitsPerByte, 4), num(a.Mean.Perplexity, 2), num(float64(a.FLOPs)/1e6, 1)})
	}
	d.table([]string{"k", "bits per byte", "perplexity", "MFLOP a token"}, rows)
}

func (r *Report) swapPart(d *document) {
	if len(r.Swaps) == 0 {
		return
	}
	knows := 0
	var rows [][]string
	for _, s := range r.Swaps {
		known := "no"
		if s.Knows {
			known, knows = "yes", knows+1
		}
		best := ""
		if len(s.Others) > 0 {
			best = encoderName(s.Others[0].Encoder, s.Others[0].Domain)
		}
		rows = append(rows, []string{s.Domain, num(s.Routed, 4), num(s.Own, 4), num(s.Best, 4) + ", " + best, num(s.Mean, 4), known})
	}
	d.heading("Swapped encoders")
	d.f("Bits per byte on a part of the text, the domain's own specialist and others in its place, the plan the same but for whose weights run. ")
	d.f("%d of %d specialists know their domain better than any other that was tried.\n\n", knows, len(r.Swaps))
	d.table([]string{"domain", "routed", "own", "best other", "mean of others", "own is best"}, rows)
}

func (r *Report) taskPart(d *document) {
	if len(r.Tasks) == 0 {
		return
	}
	d.heading("Tasks")
	var rows [][]string
	for _, t := range r.Tasks {
		rows = append(rows, []string{t.Name, t.Kind, strconv.Itoa(t.Items), percent(&t.Accuracy), percent(t.Normalised), percent(&t.Chance)})
		for _, c := range t.Categories {
			rows = append(rows, []string{"– " + c.Category, "", strconv.Itoa(c.Items), percent(&c.Accuracy), "", ""})
		}
	}
	d.table([]string{"task", "kind", "items", "accuracy", "normalised by length", "by chance"}, rows)
}

func (r *Report) needlePart(d *document) {
	if len(r.Needle) == 0 {
		return
	}
	d.heading("A needle in a long text")
	d.f("A number stands in held-out text, at whose end it is asked for. The gain is how many nats likelier it is than where another number stands.\n\n")
	header := []string{"tokens", "found", "mean gain"}
	for _, depth := range r.Needle[0].Depths {
		header = append(header, fmt.Sprintf("gain at %.0f %%", 100*depth.Depth))
	}
	var rows [][]string
	for _, n := range r.Needle {
		row := []string{grouped(int64(n.Length)), percent(&n.Exact), num(n.Gain, 3)}
		for _, depth := range n.Depths {
			row = append(row, num(depth.Gain, 3))
		}
		rows = append(rows, row)
	}
	d.table(header, rows)
}

func (r *Report) costPart(d *document) {
	d.heading("Cost")
	rows := [][]string{
		{"a token", fmt.Sprintf("%.1f MFLOP", float64(r.Model.FLOPs)/1e6)},
		{"weights that a token meets", fmt.Sprintf("%.1f MB", float64(r.Model.MemoryBytes)/1e6)},
	}
	if c := r.Cost; c != nil {
		rows = append(rows, []string{"reading", fmt.Sprintf("%.0f tokens/s", c.ReadTokensPerSecond)})
		if c.DecodeTokensPerSecond > 0 {
			rows = append(rows, []string{"writing", fmt.Sprintf("%.1f tokens/s", c.DecodeTokensPerSecond)})
		}
		if c.JoulesPerToken > 0 {
			rows = append(rows, []string{"energy of reading", fmt.Sprintf("%.4g J a token (%s)", c.JoulesPerToken, c.Energy)})
		} else {
			rows = append(rows, []string{"energy", c.Energy})
		}
	}
	d.table([]string{"", ""}, rows)
}

func (r *Report) samplePart(d *document) {
	if len(r.Samples) == 0 {
		return
	}
	d.heading("Samples")
	d.f("Each goes on from the beginning of a held-out document; what the model wrote stands behind ⟶.\n")
	for _, s := range r.Samples {
		d.f("\n%s, seed %d:\n\n", cell(s.Domain), s.Seed)
		for line := range strings.Lines(s.Prompt + "⟶" + s.Text) {
			d.f("    %s\n", strings.TrimRight(line, "\r\n"))
		}
	}
}

// Markdown writes the comparison for people.
func (c *Comparison) Markdown() []byte {
	d := &document{}
	d.f("## %s beside %s\n\n", cell(c.A.Name), cell(c.B.Name))
	a, b := c.A, c.B
	rate := func(s *Spread) string {
		if s == nil {
			return "not measured"
		}
		return spread(*s, 0)
	}
	d.table([]string{"", a.Name, b.Name}, [][]string{
		{"runs", strconv.Itoa(a.Runs), strconv.Itoa(b.Runs)},
		{"parameters", grouped(a.Parameters), grouped(b.Parameters)},
		{"that a token meets", grouped(a.ActiveParameters), grouped(b.ActiveParameters)},
		{"layers that run on a token", strconv.Itoa(a.ActiveLayers), strconv.Itoa(b.ActiveLayers)},
		{"MFLOP a token", num(float64(a.FLOPs)/1e6, 1), num(float64(b.FLOPs)/1e6, 1)},
		{"weights that a token meets, MB", num(float64(a.MemoryBytes)/1e6, 1), num(float64(b.MemoryBytes)/1e6, 1)},
		{"reading, tokens/s", rate(a.ReadRate), rate(b.ReadRate)},
		{"writing, tokens/s", rate(a.DecodeRate), rate(b.DecodeRate)},
	})
	d.f("\nBits per byte, and the first's perplexity to the second's: below 1 the first is better.\n\n")
	row := func(name string, r CompareRow) []string {
		of := "–"
		if r.Ratio != nil {
			of = fmt.Sprintf("%s (%+.1f %%)", spread(*r.Ratio, 4), 100*(r.Ratio.Mean-1))
		}
		return []string{name, spread(r.A, 4), spread(r.B, 4), of, spread(r.ByteRatio, 4)}
	}
	rows := [][]string{row("mean over domains", c.Mean)}
	for _, r := range c.Domains {
		rows = append(rows, row(r.Domain, r))
	}
	d.table([]string{"domain", a.Name, b.Name, "perplexity of a token", "of a byte"}, rows)
	if len(c.Tasks) > 0 {
		d.f("\n")
		rows = nil
		for _, t := range c.Tasks {
			rows = append(rows, []string{t.Name, spread(t.A, 4), spread(t.B, 4)})
		}
		d.table([]string{"accuracy", a.Name, b.Name}, rows)
	}
	d.f("\n")
	for _, note := range c.Notes {
		d.f("%s\n", cell(note))
	}
	return []byte(d.String())
}

// spread is a mean and, of several runs, their deviation.
func spread(s Spread, digits int) string {
	if s.Deviation == 0 {
		return num(s.Mean, digits)
	}
	return num(s.Mean, digits) + " ± " + num(s.Deviation, digits)
}

func num(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }

// percent is a share, or a dash where there is none.
func percent(share *float64) string {
	if share == nil {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100**share)
}

// encoderName is an encoder's number and, if it has one, its domain.
func encoderName(e int, domain string) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", e, domain))
}

// grouped writes a number with its thousands apart.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
