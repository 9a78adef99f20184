package telemetry

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/mamba-encoder-swarm/mes/internal/atomicfile"
)

// Formats that a [Figure] can be written in.
const (
	SVG = "svg"
	PNG = "png"
)

// Figure is one picture of a run: panels under each other over the same steps.
type Figure struct {
	Name  string // for files: loss, domains, encoders, router, optimizer, speed
	Title string

	panels []*panel
}

// panel is a plot with what stands beside it.
type panel struct {
	*plot.Plot
	height vg.Length
	key    plot.Legend       // stands to the right
	rows   int               // of key
	beside func(draw.Canvas) // if not nil, draws something instead of it
}

// newPanel makes an empty panel with lines of a grid behind what will be added.
func newPanel(yLabel string) *panel {
	p := &panel{Plot: newPlot(yLabel), height: panelHeight, key: newLegend()}
	g := plotter.NewGrid()
	g.Vertical = draw.LineStyle{}
	g.Horizontal = draw.LineStyle{Color: grid, Width: vg.Points(0.6)}
	p.Add(g)
	return p
}

// Sizes of a figure.
const (
	figureWidth  = 10 * vg.Inch
	panelHeight  = 2.6 * vg.Inch
	titleHeight  = 0.36 * vg.Inch
	legendWidth  = 2.1 * vg.Inch
	figureMargin = 0.11 * vg.Inch
	pngDPI       = 144
)

// Write draws the figure in a format, on white.
func (f *Figure) Write(w io.Writer, format string) error {
	height := titleHeight + 2*figureMargin
	for _, p := range f.panels {
		height += p.height
	}
	switch format {
	case SVG:
		c := vgsvg.NewWith(vgsvg.UseWH(figureWidth, height))
		f.draw(draw.NewCanvas(c, figureWidth, height))
		var out bytes.Buffer
		if _, err := c.WriteTo(&out); err != nil {
			return fmt.Errorf("draw %s: %w", f.Name, err)
		}
		// Where the font is missing, Arial has the same widths.
		svg := bytes.ReplaceAll(out.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
		_, err := w.Write(svg)
		return err
	case PNG:
		c := vgimg.NewWith(vgimg.UseWH(figureWidth, height), vgimg.UseDPI(pngDPI))
		f.draw(draw.New(c))
		_, err := vgimg.PngCanvas{Canvas: c}.WriteTo(w)
		return err
	}
	return fmt.Errorf("draw %s: format %q is not %s or %s", f.Name, format, SVG, PNG)
}

// Save writes the figure to a file of a folder and returns its path. The file appears
// whole or not at all.
func (f *Figure) Save(dir, format string) (path string, err error) {
	path = filepath.Join(dir, f.Name+"."+format)
	var out bytes.Buffer
	if err := f.Write(&out, format); err != nil {
		return "", err
	}
	if err := atomicfile.Write(path, out.Bytes(), 0o644); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return path, nil
}

// draw draws title and panels, the plots with one left and one right edge.
func (f *Figure) draw(c draw.Canvas) {
	c.SetColor(color.White)
	c.Fill(c.Rectangle.Path())
	title := draw.TextStyle{Color: ink, Font: sans(12, true), Handler: plot.DefaultTextHandler, YAlign: draw.YTop}
	c.FillText(title, vg.Point{X: c.Min.X + figureMargin, Y: c.Max.Y - figureMargin}, f.Title)

	left := vg.Length(0)
	canvases := make([]draw.Canvas, len(f.panels))
	top := c.Max.Y - figureMargin - titleHeight
	for i, p := range f.panels {
		canvases[i] = draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: c.Min.X + figureMargin, Y: top - p.height},
			Max: vg.Point{X: c.Max.X - figureMargin - legendWidth, Y: top},
		}}
		top -= p.height
		left = max(left, p.DataCanvas(canvases[i]).Min.X-canvases[i].Min.X)
	}
	for i, p := range f.panels {
		area := canvases[i]
		area.Min.X += left - (p.DataCanvas(area).Min.X - area.Min.X)
		p.Draw(area)
		data := p.DataCanvas(area)
		beside := draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: area.Max.X + vg.Points(10), Y: data.Min.Y},
			Max: vg.Point{X: c.Max.X - figureMargin, Y: data.Max.Y},
		}}
		if p.beside != nil {
			p.beside(beside)
		} else {
			p.key.Draw(beside)
		}
	}
}

// steps are what the panels of a figure share: the range of the x axis and the phases.
type steps struct {
	low, high float64
	phases    []phase
	records   []Record
}

func stepsOf(records []Record) steps {
	s := steps{low: float64(records[0].Step), high: float64(records[len(records)-1].Step), phases: phases(records), records: records}
	if s.high == s.low {
		s.high += max(1, 1e-9*s.low)
	}
	return s
}

// finish adds grid and phases behind what a panel shows, and sets the ranges.
func (s steps) finish(p *panel, low, high float64, names bool) {
	p.X.Tick.Marker = ticks{whole: true}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = s.low, s.high, low, high
	for _, phase := range s.phases[1:] {
		x := float64(s.records[phase.from].Step)
		p.Add(&rule{x: x, style: draw.LineStyle{Color: boundary, Width: vg.Points(0.8), Dashes: []vg.Length{vg.Points(3), vg.Points(3)}}})
	}
	for end, i := math.Inf(-1), 0; names && i < len(s.phases); i++ {
		x := float64(s.records[s.phases[i].from].Step)
		if x < end {
			continue // it would stand on the one before
		}
		p.Add(&mark{x: x, text: label(s.phases[i].name)})
		end = x + (s.high-s.low)*0.009*float64(2+len(label(s.phases[i].name)))
	}
}

// rule is a vertical line over the height of a plot.
type rule struct {
	x     float64
	style draw.LineStyle
}

// Plot implements plot.Plotter.
func (r *rule) Plot(c draw.Canvas, p *plot.Plot) {
	x := c.X(p.X.Norm(r.x))
	c.StrokeLine2(r.style, x, c.Min.Y, x, c.Max.Y)
}

// mark is a word above the plot, at the beginning of a phase.
type mark struct {
	x    float64
	text string
}

// Plot implements plot.Plotter.
func (m *mark) Plot(c draw.Canvas, p *plot.Plot) {
	style := draw.TextStyle{Color: ink, Font: sans(8, false), Handler: plot.DefaultTextHandler, YAlign: draw.YTop}
	c.FillText(style, vg.Point{X: c.X(p.X.Norm(m.x)) + vg.Points(3), Y: c.Max.Y - vg.Points(2)}, m.text)
}

// line draws a series, thinned, with gaps where it has no value. On a logarithmic axis values that
// are not above 0 are gaps.
func (p *panel) line(s series, style draw.LineStyle) {
	_, log := p.Y.Scale.(plot.LogScale)
	var part plotter.XYs
	flush := func() {
		if len(part) == 1 { // a point is a line too short to see: make it a dot
			dot := plotter.Scatter{XYs: part, GlyphStyle: draw.GlyphStyle{Color: style.Color, Radius: style.Width, Shape: draw.CircleGlyph{}}}
			p.Add(&dot)
		} else if len(part) > 1 {
			p.Add(&plotter.Line{XYs: part, LineStyle: style})
		}
		part = nil
	}
	for _, point := range s.thin().points {
		if !finite(point.Y) || log && point.Y <= 0 {
			flush()
			continue
		}
		part = append(part, point)
	}
	flush()
}

// smooth draws the raw values pale and their smooth mean over them.
func (p *panel) smooth(s series, style draw.LineStyle) {
	known := s.known()
	if len(known.points) > 40 {
		p.line(s, pale(style))
	}
	p.line(known.smooth(), style)
}

// explain adds an entry to what stands beside the panel.
func (p *panel) explain(text string, style draw.LineStyle) {
	p.key.Add(text, &plotter.Line{LineStyle: style})
	p.rows++
	p.height = max(p.height, vg.Points(13)*vg.Length(p.rows+4))
}

// logRange returns the range of the values above 0, and whether there are any.
func logRange(all []series) (low, high float64, ok bool) {
	low, high = math.Inf(1), 0
	for _, s := range all {
		for _, point := range s.points {
			if finite(point.Y) && point.Y > 0 {
				low, high = min(low, point.Y), max(high, point.Y)
			}
		}
	}
	low = max(low, high*1e-8) // a number next to 0 must not squeeze the others
	if high == low {
		low, high = low/2, high*2
	}
	return low / 1.3, high * 1.3, high > 0
}
