package telemetry

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg/draw"
)

// Figures draws the records of a run, sorted by step: the loss and its parts by phase, the
// loss by domain, the use of the encoders, the router, the optimizer, and the speed. A
// figure of which the records know nothing is left out.
func Figures(records []Record) []*Figure {
	if len(records) == 0 {
		return nil
	}
	s := stepsOf(records)
	var figures []*Figure
	for _, f := range []*Figure{
		{Name: "loss", Title: "Loss by phase", panels: s.loss()},
		{Name: "domains", Title: "Loss by domain", panels: s.domains()},
		{Name: "encoders", Title: "Use of the encoders", panels: s.encoders()},
		{Name: "router", Title: "Router", panels: s.router()},
		{Name: "optimizer", Title: "Optimizer", panels: s.optimizer()},
		{Name: "speed", Title: "Speed and memory", panels: s.speed()},
	} {
		if len(f.panels) == 0 {
			continue
		}
		f.panels[len(f.panels)-1].X.Label.Text = "step"
		figures = append(figures, f)
	}
	return figures
}

func (s steps) loss() []*panel {
	total := newPanel("loss [nats]")
	var values []float64
	styles := map[string]draw.LineStyle{}
	for _, part := range byPhase(s.records, func(r *Record) float64 { return r.Loss }) {
		style, seen := styles[part.name]
		if !seen {
			style = lineStyle(len(styles))
			styles[part.name] = style
			total.explain(cmp.Or(label(part.name), "total"), style)
		}
		total.smooth(part, style)
		for _, p := range part.points {
			values = append(values, p.Y)
		}
	}
	low, high := span(values)
	s.finish(total, low, high, false)
	return append([]*panel{total}, s.parts("parts [nats]", "", func(r *Record) map[string]float64 { return r.Losses })...)
}

// parts is a panel with a line for each key of a map, on a logarithmic axis; none if
// there is nothing above 0.
func (s steps) parts(name, unit string, value func(*Record) map[string]float64) []*panel {
	all := takeEach(s.records, value)
	low, high, ok := logRange(all)
	if !ok {
		return nil
	}
	p := newPanel(name)
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, ticks{log: true}
	for i, part := range all {
		p.explain(fmt.Sprintf("%s %.3g%s", label(part.name), part.known().last(), unit), lineStyle(i))
		p.smooth(part, lineStyle(i))
	}
	s.finish(p, low, high, false)
	return []*panel{p}
}

// maxDomains is how many domains have a line and a place in the legend.
const maxDomains = 24

func (s steps) domains() []*panel {
	all := takeEach(s.records, func(r *Record) map[string]float64 { return r.DomainLoss })
	for i := range all {
		all[i] = all[i].known().smooth()
	}
	all = slices.DeleteFunc(all, func(d series) bool { return len(d.points) == 0 })
	if len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, func(a, b series) int { return cmp.Compare(b.last(), a.last()) }) // as the lines end
	p := newPanel("loss [nats a token], smooth")
	var values []float64
	rest := pale(lineStyle(len(palette) - 1))
	for i, domain := range all {
		for _, point := range domain.points {
			values = append(values, point.Y)
		}
		if i >= maxDomains {
			p.line(domain, rest)
			continue
		}
		p.explain(fmt.Sprintf("%s %.3f", label(domain.name), domain.last()), lineStyle(i))
		p.line(domain, lineStyle(i))
	}
	if more := len(all) - maxDomains; more > 0 {
		p.explain(fmt.Sprintf("%d more, lower", more), rest)
	}
	low, high := span(values)
	s.finish(p, low, high, true)
	p.height = max(p.height, 1.6*panelHeight)
	return []*panel{p}
}

func (s steps) router() []*panel {
	shares := []struct {
		name  string
		value func(*Record) *float64
	}{
		{"agreement with domain", func(r *Record) *float64 { return r.RouterAgreement }},
		{"chunks dropped", func(r *Record) *float64 { return r.Dropped }},
	}
	var panels []*panel
	for i, share := range shares {
		line := take(share.name, s.records, func(r *Record) float64 {
			if v := share.value(r); v != nil {
				return *v
			}
			return math.NaN()
		})
		known := line.known()
		if len(known.points) == 0 {
			continue
		}
		p := newPanel(share.name)
		p.Y.Tick.Marker = ticks{percent: true}
		p.explain(fmt.Sprintf("now %.1f %%", 100*known.last()), lineStyle(i))
		p.smooth(line, lineStyle(i))
		high := 1.0
		if i > 0 { // what should be near 0
			_, high, _ = logRange([]series{known})
			high = min(1, max(high, 0.01))
		}
		s.finish(p, 0, high, len(panels) == 0)
		panels = append(panels, p)
	}
	return panels
}

func (s steps) optimizer() []*panel {
	panels := s.positive("learning rate", 0, (*panel).line, func(r *Record) float64 { return r.LR })
	return append(panels, s.positive("gradient norm", 1, (*panel).smooth, func(r *Record) float64 { return r.GradNorm })...)
}

func (s steps) speed() []*panel {
	panels := s.positive("tokens a second", 0, (*panel).smooth, func(r *Record) float64 { return r.TokensPerSecond })
	panels = append(panels, s.positive("memory [GB]", 2, (*panel).line, func(r *Record) float64 { return float64(r.MemoryBytes) / 1e9 })...)
	return append(panels, s.parts("seconds a record", " s", func(r *Record) map[string]float64 { return r.Seconds })...)
}

// positive is a panel with one number, of which 0 is unknown; none if all are.
func (s steps) positive(name string, color int, draw func(*panel, series, draw.LineStyle), value func(*Record) float64) []*panel {
	line := take(name, s.records, func(r *Record) float64 {
		if v := value(r); v != 0 {
			return v
		}
		return math.NaN()
	})
	known := line.known()
	if len(known.points) == 0 {
		return nil
	}
	values := make([]float64, len(known.points))
	for i, p := range known.points {
		values[i] = p.Y
	}
	_, high := span(values)
	p := newPanel(name)
	p.explain("now "+short(known.last()), lineStyle(color))
	draw(p, line, lineStyle(color))
	s.finish(p, 0, 1.06*high, true)
	return []*panel{p}
}

// label shortens a name to what fits beside a plot.
func label(name string) string {
	const most = 16
	if runes := []rune(name); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return name
}
