package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/mamba-encoder-swarm/mes/hub/client"
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
	asJSON   bool   // of transfers: a line of JSON instead
	first    *int64 // bytes that were there before a transfer
}

// Times between two updates.
const (
	barInterval  = 100 * time.Millisecond
	lineInterval = 5 * time.Second
)

func (m *Main) progress(name string) *progress {
	return &progress{w: m.Stderr, name: name, start: time.Now(), last: time.Now(), terminal: m.terminal()}
}

// terminal reports whether messages go to a terminal.
func (m *Main) terminal() bool {
	f, ok := m.Stderr.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
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

// transferred is the progress of a transfer for programs.
type transferred struct {
	Progress string `json:"progress"`
	File     string `json:"file"`
	Done     int64  `json:"done"`
	Size     int64  `json:"size"`
	AllDone  int64  `json:"all_done"`
	AllSize  int64  `json:"all_size"`
}

// transfer reports the bytes of a file and of all files.
func (p *progress) transfer(t client.Progress) {
	interval := lineInterval
	if p.terminal || p.asJSON {
		interval = barInterval
	}
	if p.first == nil {
		p.first = &t.AllDone
	}
	if t.AllSize <= 0 || time.Since(p.last) < interval {
		return
	}
	p.last, p.shown = time.Now(), true
	if p.asJSON {
		_ = json.NewEncoder(p.w).Encode(transferred{p.name, t.Path, t.Done, t.Size, t.AllDone, t.AllSize})
		return
	}
	percent := 100 * t.AllDone / t.AllSize
	all := fmt.Sprintf("%s of %s, %s/s", size(t.AllDone), size(t.AllSize), size(int64(float64(t.AllDone-*p.first)/time.Since(p.start).Seconds())))
	if !p.terminal {
		fmt.Fprintf(p.w, "%s: %d%%, %s\n", p.name, percent, all)
		return
	}
	const width = 20
	filled := min(width, int(width*t.AllDone/t.AllSize))
	file := t.Path
	if runes := []rune(file); len(runes) > 24 {
		file = "…" + string(runes[len(runes)-23:])
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s [%s%s] %3d%%  %s  %s %s of %s", p.name, strings.Repeat("=", filled), strings.Repeat(" ", width-filled),
		percent, all, file, size(t.Done), size(t.Size))
}

// finish ends the bar's line.
func (p *progress) finish() {
	if p.terminal && p.shown && !p.asJSON {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
