package telemetry

import (
	"math"
	"slices"

	"gonum.org/v1/plot/plotter"
)

// maxPoints is how many points of a line are drawn; more are averaged.
const maxPoints = 600

// series is one line over the steps of a run.
type series struct {
	name   string
	points plotter.XYs // x is the step; y may be NaN, where the line has a gap
}

// take makes the series of what value says of each record; NaN is unknown.
func take(name string, records []Record, value func(*Record) float64) series {
	s := series{name: name}
	for i := range records {
		s.points = append(s.points, plotter.XY{X: float64(records[i].Step), Y: value(&records[i])})
	}
	return s
}

// takeEach makes a series of each key that a map of the records has, sorted by key.
func takeEach(records []Record, value func(*Record) map[string]float64) []series {
	keys := map[string]bool{}
	for i := range records {
		for key := range value(&records[i]) {
			keys[key] = true
		}
	}
	var all []series
	for key := range keys {
		all = append(all, take(key, records, func(r *Record) float64 {
			if v, ok := value(r)[key]; ok {
				return v
			}
			return math.NaN()
		}))
	}
	slices.SortFunc(all, func(a, b series) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return all
}

// known removes the points without a value.
func (s series) known() series {
	return series{s.name, slices.DeleteFunc(slices.Clone(s.points), func(p plotter.XY) bool { return !finite(p.Y) })}
}

// last is the last value, NaN if there is none.
func (s series) last() float64 {
	if n := len(s.points); n > 0 {
		return s.points[n-1].Y
	}
	return math.NaN()
}

// thin averages neighbours until there are at most maxPoints.
func (s series) thin() series {
	n := len(s.points)
	if n <= maxPoints {
		return s
	}
	thin := series{name: s.name, points: make(plotter.XYs, maxPoints)}
	for i := range thin.points {
		part := s.points[i*n/maxPoints : (i+1)*n/maxPoints]
		for _, p := range part {
			thin.points[i].X += p.X / float64(len(part))
			thin.points[i].Y += p.Y / float64(len(part))
		}
	}
	return thin
}

// smooth is an exponential mean over about a sixtieth of the points, taken forwards and
// then backwards, so that it does not lag behind.
func (s series) smooth() series {
	window := max(1, float64(len(s.points))/60)
	smooth := series{name: s.name, points: slices.Clone(s.points)}
	for range 2 {
		sum, weight := 0.0, 0.0
		for i := range smooth.points {
			sum, weight = sum*(1-1/window)+smooth.points[i].Y, weight*(1-1/window)+1
			smooth.points[i].Y = sum / weight // at first over the points that there are
		}
		slices.Reverse(smooth.points)
	}
	return smooth
}

// byPhase cuts a series where the phase changes.
func byPhase(records []Record, value func(*Record) float64) []series {
	var all []series
	for _, phase := range phases(records) {
		all = append(all, take(phase.name, records[phase.from:phase.to], value))
	}
	return all
}

// phase is a run of records of one phase.
type phase struct {
	name     string
	from, to int // records[from:to]
}

func phases(records []Record) []phase {
	var all []phase
	for i, r := range records {
		if n := len(all); n > 0 && all[n-1].name == r.Phase {
			all[n-1].to = i + 1
			continue
		}
		all = append(all, phase{r.Phase, i, i + 1})
	}
	return all
}

// span returns the range that shows the values well: all of them, but for the few highest
// where these are far above the others, as the first losses of a run are.
func span(values []float64) (low, high float64) {
	values = slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return !finite(v) })
	if len(values) == 0 {
		return 0, 1
	}
	slices.Sort(values)
	low, high = values[0], values[len(values)-1]
	most := values[len(values)*95/100]
	if reach := low + 1.6*(most-low); most > low && high > reach {
		high = reach
	}
	if pad := 0.04 * (high - low); pad > 0 {
		return low - pad, high + pad
	}
	pad := max(0.05*math.Abs(low), 1e-9)
	return low - pad, high + pad
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
