package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/mamba-encoder-swarm/mes/model/engine"
)

// Fault is one thing wrong with one field of a request.
type Fault struct {
	Field   string `json:"field"`
	Message string `json:"message"` // for example "-1 is below 0"
}

// Error is a refused request as its sender reads it: one sentence, the status,
// and every faulty field.
type Error struct {
	Status  int     `json:"-"`
	Message string  `json:"message"`
	Faults  []Fault `json:"faults,omitempty"`
}

// Error returns the message followed by the faults.
func (e *Error) Error() string {
	if len(e.Faults) == 0 {
		return e.Message
	}
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.Field + ": " + f.Message
	}
	return e.Message + " " + strings.Join(lines, "; ") + "."
}

// The errors with a fixed sentence.
var (
	errNotFound  = &Error{Status: http.StatusNotFound, Message: "There is nothing at this address; the page is at /."}
	errMethod    = &Error{Status: http.StatusMethodNotAllowed, Message: "This address does not accept this HTTP method."}
	errMediaType = &Error{Status: http.StatusUnsupportedMediaType, Message: "Send the request as JSON, with Content-Type: application/json."}
	errOrigin    = &Error{Status: http.StatusForbidden, Message: "The request was sent by a page of another site; only this server's own page may use it."}
	errHost      = &Error{Status: http.StatusForbidden, Message: "This server answers on this machine only; open it as localhost or 127.0.0.1."}
	errSlow      = &Error{Status: http.StatusRequestTimeout, Message: "The request did not arrive in time; send it again."}
	errStopping  = &Error{Status: http.StatusServiceUnavailable, Message: "The server is stopping, so the answer ends here."}
	errCancelled = &Error{Status: 499, Message: "The request was cancelled."}
)

// errorBody is the JSON of every refused request and of the error event.
type errorBody struct {
	Error struct {
		*Error
		RequestID string `json:"request_id"`
	} `json:"error"`
}

// explain turns err into what a reader is told. An error that is not about the
// request is not shown: its text may hold paths and internals.
func explain(ctx context.Context, err error) *Error {
	var e *Error
	var missing *engine.FetchError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(context.Cause(ctx), errStopping):
		return errStopping
	case ctx.Err() != nil:
		return errCancelled
	case errors.Is(err, engine.ErrPromptTooLong):
		return &Error{Status: http.StatusRequestEntityTooLarge, Message: sentence(err)}
	case errors.Is(err, engine.ErrEmptyPrompt), errors.Is(err, engine.ErrBadRequest):
		return &Error{Status: http.StatusUnprocessableEntity, Message: sentence(err)}
	case errors.As(err, &missing):
		return &Error{Status: http.StatusServiceUnavailable, Message: fmt.Sprintf(
			"Encoder %d, which the router picked, could not be fetched from the hub; try again later, or a text for encoders that are here.", missing.Encoder)}
	case errors.Is(err, engine.ErrDamaged):
		return &Error{Status: http.StatusInternalServerError, Message: sentence(err)}
	}
	return &Error{Status: http.StatusInternalServerError,
		Message: "Internal error: the model could not answer; the server's log says why under this request id."}
}

// sentence writes the text of err as a sentence.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// tooLarge says that what has size bytes exceeds the limit.
func tooLarge(what string, limit int) *Error {
	return &Error{Status: http.StatusRequestEntityTooLarge,
		Message: fmt.Sprintf("The %s is longer than this server accepts (%d bytes); shorten it.", what, limit)}
}

// malformed reports a body that is not a request.
func malformed(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

// body returns the JSON form of err for the request of c, and its status. It
// logs errors whose cause the reader is not told.
func (s *Server) body(c *gin.Context, err error) (errorBody, int) {
	e := explain(c.Request.Context(), err)
	if e.Status >= http.StatusInternalServerError && e != errStopping {
		s.cfg.Logger.Error("request broke", "request_id", requestID(c), "error", err)
	}
	var b errorBody
	b.Error.Error = e
	b.Error.RequestID = requestID(c)
	return b, e.Status
}

// fail answers the request of c with err as JSON.
func (s *Server) fail(c *gin.Context, err error) {
	b, status := s.body(c, err)
	writeJSON(c, status, b)
	c.Abort()
}

// writeJSON answers with v, which is one of this package's types or engine.Info
// and always encodes.
func writeJSON(c *gin.Context, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		data, status = []byte(`{"error":{"message":"Internal error: the answer cannot be written as JSON."}}`), http.StatusInternalServerError
	}
	c.Data(status, "application/json; charset=utf-8", data)
}
