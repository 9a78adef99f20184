package telemetry

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"
)

//go:embed live
var liveFiles embed.FS

var livePage = template.Must(template.ParseFS(liveFiles, "live/page.html"))

// Times of the live page.
const (
	eventInterval = time.Second     // least time between two events
	drawInterval  = 5 * time.Second // least time between two drawings of the plots
)

// Live shows a run while it goes on: a page with the plots at /, the newest record as
// server-sent events at /events, plots at /plots/NAME.svg, and Prometheus text at
// /metrics. Addresses in the page are relative, so it may be mounted under any path. It
// binds no port and asks nobody who they are: that is for whoever serves it.
func Live(r *Recorder) http.Handler {
	l := &live{recorder: r}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", l.page)
	mux.HandleFunc("GET /live.css", l.file)
	mux.HandleFunc("GET /live.js", l.file)
	mux.HandleFunc("GET /events", l.events)
	mux.HandleFunc("GET /metrics", l.metrics)
	mux.HandleFunc("GET /plots/{file}", l.plot)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// live is the page of one run.
type live struct {
	recorder *Recorder

	mu      sync.Mutex
	drawn   time.Time
	step    int64 // of the newest record in the figures
	figures []*Figure
	svg     map[string][]byte // by name, those that somebody asked for
}

// state is what an event says.
type state struct {
	Line    string        `json:"line"`
	Facts   []fact        `json:"facts"`
	Figures []figureState `json:"figures"`
}

// fact is a number with its name, as people read it.
type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// figureState names a plot, and its address with what makes a browser fetch it anew.
type figureState struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Src   string `json:"src"`
}

// refresh builds the figures anew when there are newer records and some time went by.
func (l *live) refresh(last Record) {
	if len(l.figures) > 0 && (l.step == last.Step || time.Since(l.drawn) < drawInterval) {
		return
	}
	l.figures, l.svg = Figures(l.recorder.History()), map[string][]byte{}
	l.step, l.drawn = last.Step, time.Now()
}

// state describes the run as it is now.
func (l *live) state(last Record, left time.Duration) state {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh(last)
	s := state{Line: "no record yet", Facts: []fact{}, Figures: []figureState{}}
	if last.Time.IsZero() {
		return s
	}
	s.Line = progressLine(&last, left)
	s.Facts = facts(&last, left)
	for _, f := range l.figures {
		s.Figures = append(s.Figures, figureState{f.Name, f.Title, fmt.Sprintf("plots/%s.svg?step=%d", f.Name, l.step)})
	}
	return s
}

// facts lists what is known of a record.
func facts(last *Record, left time.Duration) []fact {
	var facts []fact
	add := func(name, format string, v any) { facts = append(facts, fact{name, fmt.Sprintf(format, v)}) }
	if last.Phase != "" {
		add("phase", "%s", last.Phase)
	}
	add("step", "%d", last.Step)
	add("loss", "%.4f", last.Loss)
	add("tokens", "%s", short(float64(last.Tokens)))
	if last.TokensPerSecond != 0 {
		add("tokens a second", "%s", short(last.TokensPerSecond))
	}
	if left > 0 {
		add("time left", "%s", rough(left))
	}
	add("learning rate", "%.3g", last.LR)
	if last.GradNorm != 0 {
		add("gradient norm", "%.3g", last.GradNorm)
	}
	if last.RouterAgreement != nil {
		add("router agreement", "%.1f %%", 100**last.RouterAgreement)
	}
	if last.MemoryBytes != 0 {
		add("memory", "%sB", short(float64(last.MemoryBytes)))
	}
	add("recorded", "%s", last.Time.Format("15:04:05 UTC"))
	return facts
}

func (l *live) page(w http.ResponseWriter, _ *http.Request) {
	last, left, _, _ := l.recorder.watch()
	var page bytes.Buffer
	if err := livePage.Execute(&page, l.state(last, left)); err != nil {
		http.Error(w, "the page cannot be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(page.Bytes())
}

// file serves the page's style and script.
func (l *live) file(w http.ResponseWriter, r *http.Request) {
	http.ServeFileFS(w, r, liveFiles, "live"+r.URL.Path)
}

// events sends the state at once and at every change, until the reader goes or the run
// ends.
func (l *live) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	for {
		last, left, next, open := l.recorder.watch()
		data, err := json.Marshal(l.state(last, left))
		if err != nil {
			return
		}
		event := "record"
		if !open {
			event = "end"
		}
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, data); err != nil {
			return
		}
		if control.Flush() != nil || !open {
			return
		}
		select {
		case <-next:
		case <-r.Context().Done():
			return
		}
		select {
		case <-time.After(eventInterval):
		case <-r.Context().Done():
			return
		}
	}
}

func (l *live) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	if last, ok := l.recorder.Last(); ok {
		fmt.Fprint(w, prometheusText(&last))
	}
}

// plot draws a figure, once for each time that the figures are built.
func (l *live) plot(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutSuffix(r.PathValue("file"), ".svg")
	svg, err := l.draw(name)
	if err != nil {
		http.Error(w, "the plot cannot be drawn", http.StatusInternalServerError)
		return
	}
	if !ok || svg == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Write(svg)
}

// draw returns a figure as SVG, nil if there is none of the name.
func (l *live) draw(name string) ([]byte, error) {
	last, _ := l.recorder.Last()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh(last)
	for _, f := range l.figures {
		if f.Name != name || l.svg[name] != nil {
			continue
		}
		var out bytes.Buffer
		if err := f.Write(&out, SVG); err != nil {
			return nil, err
		}
		l.svg[name] = out.Bytes()
	}
	return l.svg[name], nil
}
