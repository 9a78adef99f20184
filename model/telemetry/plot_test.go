package telemetry

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// svgOf draws a figure and fails if it is not well-formed XML.
func svgOf(t *testing.T, f *Figure) string {
	t.Helper()
	var out bytes.Buffer
	must(t, f.Write(&out, SVG))
	svg := out.String()
	for dec := xml.NewDecoder(&out); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return svg
		} else if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
	}
}

// named returns the figure of a name.
func named(t *testing.T, records []Record, name string) *Figure {
	t.Helper()
	for _, f := range Figures(records) {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("there is no figure %s", name)
	return nil
}

// TestFigures draws runs of every kind: what the records know is in the pictures, and
// nothing else.
func TestFigures(t *testing.T) {
	all := []string{"loss", "domains", "encoders", "router", "optimizer", "speed"}
	seed := run(40, 3)[:10]
	cases := []struct {
		name    string
		records []Record
		want    []string
	}{
		{"none", nil, nil},
		{"whole run", run(60, 19), all},
		{"more than is drawn", run(1300, 3), all},
		{"seed alone", seed, []string{"loss", "domains", "optimizer", "speed"}},
		{"one", seed[:1], []string{"loss", "domains", "optimizer", "speed"}},
		{"loss alone", []Record{{Step: 1, Loss: 2}, {Step: 2, Loss: 1}}, []string{"loss"}},
		{"not a number", []Record{{Step: 1, Loss: math.NaN(), GradNorm: math.Inf(1), Losses: map[string]float64{"a": math.NaN()}, EncoderUse: []float64{math.NaN()}}}, []string{"loss", "encoders"}},
		{"zero and below", []Record{{Step: 1, Losses: map[string]float64{"a": 0, "b": -1}, EncoderUse: []float64{0, 0}, Dropped: new(0.0)}, {Step: 2}}, []string{"loss", "encoders", "router"}},
		{"always the same", []Record{{Step: 5, Loss: 3, LR: 1, Losses: map[string]float64{"a": 3}}, {Step: 5, Loss: 3, LR: 1, Losses: map[string]float64{"a": 3}}}, []string{"loss", "optimizer"}},
		{"huge", []Record{{Step: 1 << 60, Loss: 1e300, LR: 1e-300}, {Step: 1<<60 + 1, Loss: -1e300, LR: 1e300}}, []string{"loss", "optimizer"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, f := range Figures(c.records) {
				got = append(got, f.Name)
				if svg := svgOf(t, f); !strings.Contains(svg, f.Title) || strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
					t.Errorf("%s lacks its title, or has numbers that are none", f.Name)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("figures %v, want %v", got, c.want)
			}
		})
	}
}

// TestLegends holds that every phase, part, domain and encoder is named.
func TestLegends(t *testing.T) {
	records := run(60, 19)
	want := map[string][]string{
		"loss":      {"seed", "branch", "router", "joint", "cross_entropy 2.", "balance 0.001", "step"},
		"domains":   append([]string{"branch"}, domains...),
		"encoders":  {">0</text>", ">18</text>", "1 is even"},
		"router":    {"agreement with domain", "now 9", "100 %", "chunks dropped"},
		"optimizer": {"learning rate", "gradient norm"},
		"speed":     {"tokens a second", "memory [GB]", "checkpoint 0.004 s"},
	}
	for _, f := range Figures(records) {
		svg := svgOf(t, f)
		for _, text := range want[f.Name] {
			if !strings.Contains(svg, text) {
				t.Errorf("%s lacks %q", f.Name, text)
			}
		}
		if strings.Contains(svg, "font-family:Liberation Sans;") || !strings.Contains(svg, "Arial") {
			t.Errorf("%s has no font to fall back to", f.Name)
		}
	}
	for i := range records {
		for d := range 11 {
			records[i].DomainLoss[fmt.Sprintf("a domain with a long name <%d>", d)] = 0.5
		}
	}
	if svg := svgOf(t, named(t, records, "domains")); !strings.Contains(svg, "6 more, lower") || !strings.Contains(svg, "a domain with a…") {
		t.Error("30 domains are not summed up")
	}
}

// TestStyles holds that the lines of 24 domains all look different.
func TestStyles(t *testing.T) {
	seen := map[string]int{}
	for i := range maxDomains {
		s := lineStyle(i)
		key := fmt.Sprint(s.Color, s.Dashes)
		if j, ok := seen[key]; ok {
			t.Errorf("lines %d and %d look the same", i, j)
		}
		seen[key] = i
	}
}

// TestHeat compares cells of the map with numbers counted by hand.
func TestHeat(t *testing.T) {
	records := []Record{
		{Step: 0, EncoderUse: []float64{0.5, 0.5, 0, 0}},
		{Step: 10, EncoderUse: []float64{6, 2, 0, 0}}, // any sum
		{Step: 20},
		{Step: 30, EncoderUse: []float64{1, 1, 1, 1}},
	}
	h := stepsOf(records).heat()
	want := [][]float64{{2, 2, 0, 0}, {3, 1, 0, 0}, {math.NaN(), math.NaN(), math.NaN(), math.NaN()}, {1, 1, 1, 1}}
	for i, column := range want {
		for row, v := range column {
			if got := h.value[i][row]; got != v && !(math.IsNaN(got) && math.IsNaN(v)) {
				t.Errorf("column %d, encoder %d: %v, want %v", i, row, got, v)
			}
		}
	}
	if h.top != 3 {
		t.Errorf("the darkest stands for %v, want 3", h.top)
	}
	many := make([]float64, 1000)
	for i := range many {
		many[i] = 1
	}
	h = stepsOf([]Record{{Step: 0, EncoderUse: many}}).heat()
	for row, v := range h.value[0] {
		if math.Abs(v-1) > 1e-9 {
			t.Errorf("row %d of even shares is %v", row, v)
		}
	}
	if len(h.value[0]) != maxRows {
		t.Errorf("%d rows", len(h.value[0]))
	}
}

func TestSmooth(t *testing.T) {
	s := series{}
	for i := range 300 {
		s.points = append(s.points, struct{ X, Y float64 }{float64(i), 2 * float64(i)})
	}
	smooth := s.smooth()
	for _, i := range []int{100, 150, 200} { // no lag: a straight line stays where it is
		if d := smooth.points[i].Y - s.points[i].Y; math.Abs(d) > 0.5 {
			t.Errorf("at %d it is off by %v", i, d)
		}
	}
	if thin := s.thin(); len(thin.points) != 300 {
		t.Errorf("%d points of 300", len(thin.points))
	}
	for i := 300; i < 2*maxPoints; i++ {
		s.points = append(s.points, struct{ X, Y float64 }{float64(i), 2 * float64(i)})
	}
	thin := s.thin()
	if len(thin.points) != maxPoints || thin.points[10].X != 20.5 || thin.points[10].Y != 41 {
		t.Errorf("%d points, the eleventh %v", len(thin.points), thin.points[10])
	}
}

func TestTicks(t *testing.T) {
	cases := []struct {
		ticks     ticks
		low, high float64
		want      string
	}{
		{ticks{}, 0, 1, "0 0.2 0.4 0.6 0.8 1"},
		{ticks{}, 2.37, 4.61, "2.5 3 3.5 4 4.5"},
		{ticks{whole: true}, 20, 60000, "10k 20k 30k 40k 50k 60k"},
		{ticks{whole: true}, 1, 3, "1 2 3"},
		{ticks{percent: true}, 0, 0.013, "0 % 0.2 % 0.4 % 0.6 % 0.8 % 1 % 1.2 %"},
		{ticks{}, 0, 3e-4, "0 5e-05 0.0001 0.00015 0.0002 0.00025 0.0003"},
		{ticks{log: true}, 0.5, 200, "1 10 100"},
		{ticks{log: true}, 2.1, 4.9, "2.5 3 3.5 4 4.5"},
		{ticks{}, 5, 5, ""},
		{ticks{}, -1e300, 1e300, "-1e+300 -5e+299 0 5e+299 1e+300"},
	}
	for _, c := range cases {
		var got []string
		for _, tick := range c.ticks.Ticks(c.low, c.high) {
			if tick.Label != "" {
				got = append(got, tick.Label)
			}
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%v to %v: %s, want %s", c.low, c.high, text, c.want)
		}
	}
}

// TestSpan holds that the first losses of a run do not squeeze the rest.
func TestSpan(t *testing.T) {
	values := []float64{math.NaN()}
	for i := range 1000 {
		values = append(values, 3+math.Sin(float64(i)))
	}
	low, high := span(append(values, 11, 10, 9))
	if low > 2 || low < 1.7 || high < 4 || high > 6 {
		t.Errorf("range %v to %v", low, high)
	}
}

// TestSave writes a PNG, and looks whether it is light, and has the colours of its lines.
func TestSave(t *testing.T) {
	dir := t.TempDir()
	path, err := named(t, run(60, 3), "loss").Save(dir, PNG)
	must(t, err)
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	img, err := png.Decode(f)
	must(t, err)
	white, blue := 0, 0
	size := img.Bounds().Size()
	for x := range size.X {
		for y := range size.Y {
			r, g, b, _ := img.At(x, y).RGBA()
			if r == 0xffff && g == 0xffff && b == 0xffff {
				white++
			}
			if r>>8 == 0x1f && g>>8 == 0x5f && b>>8 == 0xbf {
				blue++
			}
		}
	}
	if size.X != 1440 || white < size.X*size.Y*8/10 || blue < 100 {
		t.Errorf("%v pixels, %d white, %d blue", size, white, blue)
	}
	if _, err := named(t, run(60, 3), "loss").Save(dir, "gif"); err == nil || !strings.Contains(err.Error(), `format "gif" is not svg or png`) {
		t.Errorf("another format: %v", err)
	}
	if _, err := named(t, run(60, 3), "loss").Save(filepath.Join(dir, "nowhere"), SVG); err == nil {
		t.Error("wrote into a folder that is not there")
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != "loss.png" {
		t.Errorf("the folder holds %v", entries)
	}
}
