package telemetry

import (
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Most cells of a heat map by step and by encoder; more are averaged.
const (
	maxColumns = 120
	maxRows    = 64
)

// heat is the use of the encoders over time. It is drawn as rectangles, which stay sharp.
type heat struct {
	edges    []float64 // steps between the columns, one more than columns
	encoders int
	rows     int
	value    [][]float64 // by column and row; 1 is an even share; NaN is unknown
	top      float64     // the value of the darkest colour
}

// encoders shows how much each encoder is used, against an even share.
func (s steps) encoders() []*panel {
	first := slices.IndexFunc(s.records, func(r Record) bool { return len(r.EncoderUse) > 0 })
	if first < 0 {
		return nil
	}
	s = stepsOf(s.records[first:])
	h := s.heat()
	p := newPanel("encoder")
	p.Add(h)
	s.finish(p, -0.5, float64(h.encoders)-0.5, false)
	p.Y.Tick.Marker = plot.ConstantTicks(h.ticks())
	p.height = min(2.6*panelHeight, max(panelHeight, vg.Length(h.rows)*vg.Points(9)+vg.Points(60)))
	p.beside = h.scale
	return []*panel{p}
}

// heat averages the records into columns.
func (s steps) heat() *heat {
	h := &heat{top: 2}
	for i := range s.records {
		h.encoders = max(h.encoders, len(s.records[i].EncoderUse))
	}
	h.rows = min(h.encoders, maxRows)
	columns := min(maxColumns, len(s.records))
	for i := range columns + 1 {
		h.edges = append(h.edges, s.low+(s.high-s.low)*float64(i)/float64(columns))
	}
	h.value = make([][]float64, columns)
	counts := make([]int, columns)
	for i := range h.value {
		h.value[i] = make([]float64, h.rows)
	}
	for i := range s.records {
		r := &s.records[i]
		column := min(columns-1, int(float64(columns)*(float64(r.Step)-s.low)/(s.high-s.low)))
		if h.add(h.value[column], r.EncoderUse) {
			counts[column]++
		}
	}
	for i, column := range h.value {
		for row := range column {
			column[row] /= float64(counts[i]) // NaN where there is none
			if column[row] > h.top {
				h.top = column[row]
			}
		}
	}
	h.top = min(h.top, float64(h.encoders))
	return h
}

// add adds the shares of a record to a column.
func (h *heat) add(column, use []float64) bool {
	sum := 0.0
	for _, u := range use {
		sum += u
	}
	if !finite(sum) || sum <= 0 {
		return false
	}
	for row := range column {
		from, to := row*h.encoders/h.rows, (row+1)*h.encoders/h.rows
		for _, u := range use[min(from, len(use)):min(to, len(use))] {
			column[row] += u / sum * float64(h.encoders) / float64(to-from)
		}
	}
	return true
}

// ticks names rows, all of them where there are few.
func (h *heat) ticks() []plot.Tick {
	every := 1
	for h.encoders/every > 24 {
		every *= 2
	}
	var marks []plot.Tick
	for e := 0; e < h.encoders; e += every {
		marks = append(marks, plot.Tick{Value: float64(e), Label: strconv.Itoa(e)})
	}
	return marks
}

// Plot implements plot.Plotter.
func (h *heat) Plot(c draw.Canvas, p *plot.Plot) {
	height := float64(h.encoders) / float64(h.rows)
	for i, column := range h.value {
		for row, v := range column {
			bottom := -0.5 + float64(row)*height
			cell(c, p, h.color(v), h.edges[i], h.edges[i+1], bottom, bottom+height)
		}
	}
}

// cell fills a rectangle in the coordinates of the data, and a little more to the right
// and above, as cells that only touch leave a seam.
func cell(c draw.Canvas, p *plot.Plot, fill color.Color, left, right, bottom, top float64) {
	const seam = 0.3
	x0, x1 := c.X(p.X.Norm(left)), c.X(p.X.Norm(right))+vg.Points(seam)
	y0, y1 := c.Y(p.Y.Norm(bottom)), c.Y(p.Y.Norm(top))+vg.Points(seam)
	x1, y1 = min(x1, c.Max.X), min(y1, c.Max.Y)
	c.FillPolygon(fill, []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
}

// shades lead from an encoder that nobody uses to the one most used.
var shades = []color.RGBA{
	{0xff, 0xf7, 0xe6, 0xff}, {0xfd, 0xd4, 0x8a, 0xff}, {0xf4, 0x8f, 0x54, 0xff}, {0xc5, 0x3a, 0x5f, 0xff}, {0x6d, 0x17, 0x6e, 0xff}, {0x1f, 0x0c, 0x48, 0xff},
}

// color is the shade of a value; what is unknown is grey.
func (h *heat) color(v float64) color.Color {
	if math.IsNaN(v) {
		return color.RGBA{0xee, 0xef, 0xf0, 0xff}
	}
	at := min(1, max(0, v/h.top)) * float64(len(shades)-1)
	i := min(len(shades)-2, int(at))
	mix := func(a, b uint8) uint8 { return uint8(float64(a) + (at-float64(i))*(float64(b)-float64(a)) + 0.5) }
	a, b := shades[i], shades[i+1]
	return color.RGBA{mix(a.R, b.R), mix(a.G, b.G), mix(a.B, b.B), 0xff}
}

// scale draws what the shades mean, beside the map.
func (h *heat) scale(c draw.Canvas) {
	p := newPlot("share of the tokens; 1 is even")
	p.Add(scalePlot{h})
	p.HideX()
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 1, 0, h.top
	c.Max.X = c.Min.X + vg.Points(62)
	p.Draw(c)
}

// scalePlot fills a plot with the shades from bottom to top.
type scalePlot struct{ *heat }

// Plot implements plot.Plotter.
func (s scalePlot) Plot(c draw.Canvas, p *plot.Plot) {
	const bands = 64
	for i := range bands {
		low, high := s.top*float64(i)/bands, s.top*float64(i+1)/bands
		cell(c, p, s.color((low+high)/2), 0, 1, low, high)
	}
}
