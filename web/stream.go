package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/mamba-encoder-swarm/mes/model/engine"
)

// streamType is the media type of server-sent events.
const streamType = "text/event-stream"

// writeTimeout is how long one event may take to leave: a reader that stopped
// reading must not keep the model.
const writeTimeout = 30 * time.Second

// stream writes server-sent events. The status and headers go out with the first
// event, so that a request refused before it can still have its own status.
type stream struct {
	w         http.ResponseWriter
	control   *http.ResponseController
	started   bool
	answering bool // a token was sent
}

// newStream returns a stream over w; nothing is written yet.
func newStream(w http.ResponseWriter) *stream {
	return &stream{w: w, control: http.NewResponseController(w)}
}

// send writes one event with v as its JSON data and flushes it. The error of a
// reader that is gone is returned.
func (s *stream) send(event string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s event: %w", event, err)
	}
	if !s.started {
		h := s.w.Header()
		h.Set("Content-Type", streamType)
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no") // a proxy must not collect the tokens
		s.started = true
	}
	// A writer without deadlines (a test recorder) works without this limit.
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	defer func() { _ = s.control.SetWriteDeadline(time.Time{}) }()
	if _, err := fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", event, data); err != nil {
		return fmt.Errorf("write %s event: %w", event, err)
	}
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("flush %s event: %w", event, err)
	}
	return nil
}

// routingEvent is the data of a routing event: decisions about the prompt.
type routingEvent struct {
	Chunks []engine.Chunk `json:"chunks"`
}

// tokenEvent is the data of a token event: text that became final, and the
// chunks that began with this token.
type tokenEvent struct {
	Text    string                `json:"text"`
	Token   int                   `json:"token"` // -1 if the text belongs to earlier tokens
	Logprob float64               `json:"logprob"`
	Top     []engine.TokenLogprob `json:"top,omitempty"`
	Chunks  []engine.Chunk        `json:"chunks,omitempty"`
}

// step sends an engine's event: as routing until the first token.
func (s *stream) step(e engine.Event) error {
	s.answering = s.answering || e.Token >= 0
	if !s.answering {
		return s.send("routing", routingEvent{Chunks: e.Chunks})
	}
	return s.send("token", tokenEvent{Text: e.Text, Token: e.Token, Logprob: e.Logprob, Top: e.Top, Chunks: e.Chunks})
}
