package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mamba-encoder-swarm/mes/model/engine"
)

// decodeRequest reads the JSON object of POST /api/generate. Keys are exact;
// unknown, repeated and wrongly typed ones are all reported, with status 400. A
// request without a seed gets a random one below 2^32, short enough to retype.
func decodeRequest(body []byte) (engine.Request, error) {
	r := engine.Request{Sampling: engine.Sampling{Seed: uint64(rand.Uint32())}}
	if !utf8.Valid(body) {
		return r, malformed("The request is not valid UTF-8 (byte %d); send the text as UTF-8.", invalidAt(body))
	}
	targets := map[string]any{
		"prompt":             &r.Prompt,
		"domain":             &r.Domain,
		"max_tokens":         &r.MaxTokens,
		"stop":               &r.Stop,
		"logprobs":           &r.Logprobs,
		"temperature":        &r.Temperature,
		"top_k":              &r.TopK,
		"top_p":              &r.TopP,
		"min_p":              &r.MinP,
		"repetition_penalty": &r.RepetitionPenalty,
		"presence_penalty":   &r.PresencePenalty,
		"seed":               &r.Seed,
	}
	faults, err := decodeObject(body, targets)
	if err != nil {
		return r, err
	}
	if len(faults) > 0 {
		return r, &Error{Status: http.StatusBadRequest, Message: "The request is not understood.", Faults: faults}
	}
	return r, nil
}

// decodeObject reads one JSON object into the targets of its keys.
func decodeObject(body []byte, targets map[string]any) ([]Fault, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, malformed("The request is not a JSON object.")
	}
	var faults []Fault
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, malformed("The request is not valid JSON: %v.", err)
		}
		key := t.(string) // inside an object the decoder yields only string keys here
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, malformed("The request is not valid JSON: %v.", err)
		}
		target, known := targets[key]
		switch {
		case !known:
			faults = append(faults, Fault{shorten(key), "is not a field of this request"})
		case seen[key]:
			faults = append(faults, Fault{key, "is given twice"})
		default:
			if problem := decodeField(raw, target); problem != "" {
				faults = append(faults, Fault{key, problem})
			}
		}
		seen[key] = true
	}
	if _, err := d.Token(); err != nil {
		return nil, malformed("The request is not valid JSON: the object is not closed.")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, malformed("The request has more after its JSON object.")
	}
	return faults, nil
}

// decodeField reads one value and says what is wrong with it, or nothing. Half
// of a surrogate pair is refused: the decoder would replace it unseen.
func decodeField(raw json.RawMessage, target any) string {
	err := json.Unmarshal(raw, target)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return fmt.Sprintf("must be %s, not %s", kindOf(target), shorten(wrong.Value))
	case err != nil:
		return err.Error()
	case string(raw) == "null":
		return fmt.Sprintf("must be %s, not null", kindOf(target))
	}
	var text string
	switch v := target.(type) {
	case *string:
		text = *v
	case *[]string:
		text = strings.Join(*v, "")
	}
	if strings.Count(text, "\uFFFD") > bytes.Count(raw, []byte("\uFFFD"))+bytes.Count(bytes.ToLower(raw), []byte(`\ufffd`)) {
		return "holds half of a surrogate pair, which is no character"
	}
	return ""
}

// kindOf names the JSON type that a target takes.
func kindOf(target any) string {
	switch target.(type) {
	case *string:
		return "a string"
	case *[]string:
		return "a list of strings"
	case *float64:
		return "a number"
	case *uint64:
		return "a whole number from 0 to 18446744073709551615"
	}
	return "a whole number"
}

// Bounds of a request that no model needs to exceed.
const (
	maxStops     = 16
	maxStopBytes = 256
	maxLogprobs  = 20
)

// check reports every value of r that is out of range, with status 422; an
// over-long prompt has status 413.
func (s *Server) check(r engine.Request) error {
	if len(r.Prompt) > s.cfg.MaxPromptBytes {
		return tooLarge("prompt", s.cfg.MaxPromptBytes)
	}
	var faults []Fault
	add := func(field, format string, args ...any) {
		faults = append(faults, Fault{field, fmt.Sprintf(format, args...)})
	}
	between := func(field string, v, lo, hi float64) {
		if v < lo || v > hi {
			add(field, "%v is outside %v to %v", v, lo, hi)
		}
	}
	if r.Prompt == "" {
		add("prompt", "there is no text; type some")
	}
	info := s.cfg.Engine.Info()
	if r.Domain != "" && !slices.Contains(info.Domains, r.Domain) {
		add("domain", "this model has no domain %q", shorten(r.Domain))
	}
	between("max_tokens", float64(r.MaxTokens), 0, float64(s.cfg.MaxTokens))
	between("temperature", r.Temperature, 0, 10)
	between("top_k", float64(r.TopK), 0, float64(info.VocabSize))
	between("top_p", r.TopP, 0, 1)
	between("min_p", r.MinP, 0, 1)
	between("repetition_penalty", r.RepetitionPenalty, 0, 10)
	between("presence_penalty", r.PresencePenalty, -10, 10)
	between("logprobs", float64(r.Logprobs), 0, maxLogprobs)
	if len(r.Stop) > maxStops {
		add("stop", "has %d strings; at most %d are allowed", len(r.Stop), maxStops)
	}
	for i, stop := range r.Stop {
		if stop == "" || len(stop) > maxStopBytes {
			add("stop", "string %d has %d bytes; 1 to %d are allowed", i+1, len(stop), maxStopBytes)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return &Error{Status: http.StatusUnprocessableEntity, Message: "The request cannot be answered as it is.", Faults: faults}
}

// shorten keeps a caller's own text in an error readable.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// invalidAt returns the offset of the first byte of b that is not UTF-8.
func invalidAt(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}
