package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// progress shows how far long work is: a bar on a terminal, a line every few
// seconds elsewhere.
type progress struct {
	w        io.Writer
	name     string
	terminal bool
	start    time.Time
	last     time.Time
	shown    bool
}

// Times between two updates.
const (
	barInterval  = 100 * time.Millisecond
	lineInterval = 5 * time.Second
)

func (m *Main) progress(name string) *progress {
	p := &progress{w: m.Stderr, name: name, start: time.Now(), last: time.Now()}
	if f, ok := m.Stderr.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	return p
}

// set reports done of total units.
func (p *progress) set(done, total int64) {
	interval := lineInterval
	if p.terminal {
		interval = barInterval
	}
	if total <= 0 || time.Since(p.last) < interval {
		return
	}
	p.last, p.shown = time.Now(), true
	percent := 100 * done / total
	if p.terminal {
		const width = 40
		filled := int(width * done / total)
		fmt.Fprintf(p.w, "\r%s [%s%s] %3d%%", p.name, strings.Repeat("=", filled), strings.Repeat(" ", width-filled), percent)
		return
	}
	fmt.Fprintf(p.w, "%s: %d%% after %v\n", p.name, percent, time.Since(p.start).Round(time.Second))
}

// finish ends the bar's line.
func (p *progress) finish() {
	if p.terminal && p.shown {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", 80))
	}
}
