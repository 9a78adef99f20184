package telemetry

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// Progress shows how far a run is: on a terminal one line that changes, elsewhere a line
// every few seconds. It belongs to one goroutine.
type Progress struct {
	Writer   io.Writer
	Terminal bool

	pace   pace
	latest string
	shown  string
	last   time.Time
}

// Times between two updates.
const (
	barInterval  = 100 * time.Millisecond
	lineInterval = 5 * time.Second
)

// Show shows a record, unless another was shown just before.
func (p *Progress) Show(r Record) {
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	p.pace.add(&r)
	p.latest = progressLine(&r, p.pace.left(&r))
	interval := lineInterval
	if p.Terminal {
		interval = barInterval
		p.latest = progressBar(&r) + p.latest
	}
	if time.Since(p.last) >= interval {
		p.print()
	}
}

// Finish shows the last record, and ends the line.
func (p *Progress) Finish() {
	if p.latest != p.shown {
		p.print()
	}
	if p.Terminal && p.shown != "" {
		fmt.Fprintln(p.Writer)
	}
}

func (p *Progress) print() {
	p.last, p.shown = time.Now(), p.latest
	if p.Terminal {
		fmt.Fprint(p.Writer, "\r\x1b[K", p.latest)
		return
	}
	fmt.Fprintln(p.Writer, p.latest)
}

// progressBar draws how much of the run is done.
func progressBar(r *Record) string {
	if r.Steps <= 0 {
		return ""
	}
	const width = 12
	filled := int(min(width, max(0, width*r.Step/r.Steps)))
	return "[" + strings.Repeat("=", filled) + strings.Repeat(" ", width-filled) + "] "
}

// progressLine says in one line where a run is.
func progressLine(r *Record, left time.Duration) string {
	step := fmt.Sprintf("step %d", r.Step)
	if r.Steps > 0 {
		step += fmt.Sprintf("/%d", r.Steps)
	}
	parts := []string{step, fmt.Sprintf("loss %.4f", r.Loss)}
	if r.Phase != "" {
		parts[0] = r.Phase + " " + step
	}
	if r.TokensPerSecond > 0 {
		parts = append(parts, fmt.Sprintf("%s tok/s", short(r.TokensPerSecond)))
	}
	if left > 0 {
		parts = append(parts, "ETA "+rough(left))
	}
	if r.MemoryBytes > 0 {
		parts = append(parts, short(float64(r.MemoryBytes))+"B")
	}
	return strings.Join(parts, "  ")
}

// short writes a number with three digits and a suffix for thousands.
func short(v float64) string {
	for _, unit := range []struct {
		size   float64
		suffix string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= unit.size {
			return fmt.Sprintf("%.3g%s", v/unit.size, unit.suffix)
		}
	}
	return fmt.Sprintf("%.3g", v)
}

// rough writes a time with its two largest units.
func rough(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.Round(time.Second).String()
}

// pace measures how fast steps go, over the last records, as phases differ in speed.
type pace struct {
	steps []int64
	times []time.Time
}

// paceWindow is how many records it looks back.
const paceWindow = 50

func (p *pace) add(r *Record) {
	p.steps, p.times = append(p.steps, r.Step), append(p.times, r.Time)
	if len(p.steps) > paceWindow {
		p.steps, p.times = p.steps[1:], p.times[1:]
	}
}

// left estimates the time to the last step, 0 when that is unknown.
func (p *pace) left(r *Record) time.Duration {
	if len(p.steps) < 2 || r.Steps <= r.Step {
		return 0
	}
	last := len(p.steps) - 1
	steps, took := p.steps[last]-p.steps[0], p.times[last].Sub(p.times[0])
	if steps <= 0 || took <= 0 {
		return 0
	}
	left := took.Seconds() / float64(steps) * float64(r.Steps-r.Step)
	return time.Duration(min(left, 1e9) * float64(time.Second))
}
