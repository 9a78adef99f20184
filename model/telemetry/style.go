package telemetry

import (
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// palette holds colours that differ in hue and in lightness, so that neighbours in it can
// be told apart on white; the lines after the last use it again, dashed.
var palette = []color.RGBA{
	{0x1f, 0x5f, 0xbf, 0xff}, // blue
	{0xd9, 0x5f, 0x02, 0xff}, // orange
	{0x1b, 0x8a, 0x4b, 0xff}, // green
	{0xb8, 0x1d, 0x3c, 0xff}, // crimson
	{0x7a, 0x4f, 0xb5, 0xff}, // violet
	{0x00, 0x9e, 0xb3, 0xff}, // cyan
	{0xc9, 0x96, 0x00, 0xff}, // ochre
	{0xe0, 0x5f, 0xa8, 0xff}, // pink
	{0x6b, 0x44, 0x23, 0xff}, // brown
	{0x55, 0x60, 0x6b, 0xff}, // slate
}

var (
	ink      = color.RGBA{0x22, 0x26, 0x2a, 0xff}
	grid     = color.RGBA{0xe3, 0xe6, 0xe9, 0xff}
	boundary = color.RGBA{0x9a, 0xa1, 0xa8, 0xff}
)

// lineStyle is how line number i looks.
func lineStyle(i int) draw.LineStyle {
	style := draw.LineStyle{Color: palette[i%len(palette)], Width: vg.Points(1.4)}
	switch i / len(palette) % 3 {
	case 1:
		style.Dashes = []vg.Length{vg.Points(5), vg.Points(2)}
	case 2:
		style.Dashes = []vg.Length{vg.Points(1.5), vg.Points(1.5)}
	}
	return style
}

// pale makes a style for the raw values behind a smooth line.
func pale(style draw.LineStyle) draw.LineStyle {
	c := style.Color.(color.RGBA)
	mix := func(v uint8) uint8 { return uint8(255 - (255-int(v))*28/100) }
	return draw.LineStyle{Color: color.RGBA{mix(c.R), mix(c.G), mix(c.B), 0xff}, Width: vg.Points(0.6)}
}

// sans is the font of all text, which the plot library brings along.
func sans(size float64, bold bool) font.Font {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(size)}
	if bold {
		f.Weight = 3 // bold, as golang.org/x/image/font counts
	}
	return f
}

// newPlot makes an empty plot in the common style.
func newPlot(yLabel string) *plot.Plot {
	p := plot.New()
	p.Y.Label.Text = yLabel
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font, axis.Label.TextStyle.Color = sans(9, false), ink
		axis.Tick.Label.Font, axis.Tick.Label.Color = sans(8.5, false), ink
		axis.LineStyle.Width, axis.LineStyle.Color = vg.Points(0.5), boundary
		axis.Tick.LineStyle.Width, axis.Tick.LineStyle.Color = vg.Points(0.5), boundary
		axis.Tick.Length = vg.Points(3)
		axis.Padding = 0
	}
	p.Y.Label.Padding = vg.Points(4)
	p.X.Tick.Marker, p.Y.Tick.Marker = ticks{}, ticks{}
	return p
}

// newLegend makes an empty legend in the common style.
func newLegend() plot.Legend {
	l := plot.NewLegend()
	l.TextStyle.Font, l.TextStyle.Color = sans(8.5, false), ink
	l.Left, l.Top = true, true
	l.ThumbnailWidth, l.Padding = vg.Points(16), vg.Points(2.5)
	l.YPosition = draw.PosCenter
	return l
}

// ticks are round numbers, about six of them, written short: 20k instead of 20000.
type ticks struct {
	log     bool // powers of ten instead
	percent bool
	whole   bool // only whole numbers, as of steps
}

// Ticks implements plot.Ticker.
func (t ticks) Ticks(low, high float64) []plot.Tick {
	if !(high > low) {
		return nil
	}
	var marks []plot.Tick
	if t.log {
		named := false
		for _, m := range (plot.LogTicks{Prec: -1}).Ticks(low, high) {
			if m.Value < low || m.Value > high {
				continue
			}
			if m.Label != "" {
				m.Label, named = t.label(m.Value), true
			}
			marks = append(marks, m)
		}
		if named {
			return marks
		}
		marks = nil // no power of ten is in sight
	}
	const most = 7
	step := math.Pow(10, math.Floor(math.Log10((high-low)/most)))
	for _, factor := range []float64{2, 2.5, 2} { // 1, 2, 5, 10
		if (high-low)/step > most {
			step *= factor
		}
	}
	if t.whole {
		step = max(1, step)
	}
	const rounding = 1e-9 // of a step
	for first, i := math.Ceil(low/step-rounding), 0.0; i <= most && first+i <= high/step+rounding; i++ {
		marks = append(marks, plot.Tick{Value: (first + i) * step, Label: t.label((first + i) * step)})
	}
	return marks
}

func (t ticks) label(v float64) string {
	switch {
	case t.percent:
		return strconv.FormatFloat(100*v, 'g', 4, 64) + " %"
	case v != 0 && (math.Abs(v) >= 1000 || math.Abs(v) < 1e-3):
		if math.Abs(v) < 1 || math.Abs(v) >= 1e12 {
			return strconv.FormatFloat(v, 'g', 3, 64)
		}
		return short4(v)
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

// short4 is short with four digits, as ticks lie close to each other.
func short4(v float64) string {
	for _, unit := range []struct {
		size   float64
		suffix string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= unit.size {
			return strconv.FormatFloat(v/unit.size, 'g', 4, 64) + unit.suffix
		}
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
