package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/lfs"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
	"github.com/mamba-encoder-swarm/mes/hub/server/patterns"
)

// Error is an answer that is not a success. Code goes out as X-Error-Code,
// which decides what exception a client raises; Message as X-Error-Message and
// in the body.
type Error struct {
	Status  int
	Code    string
	Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Codes that clients know, and ours.
const (
	codeRevision  = "RevisionNotFound"
	codeEntry     = "EntryNotFound"
	codeRepo      = "RepoNotFound"
	codeGated     = "GatedRepo"
	codeBad       = "BadRequest"
	codeSignIn    = "Unauthorized"
	codeForbidden = "Forbidden"
	codeConflict  = "Conflict"
	codeStale     = "PreconditionFailed"
	codeInvalid   = "UnprocessableEntity"
	codeInternal  = "InternalError"
)

func badRequest(format string, args ...any) *Error {
	return &Error{http.StatusBadRequest, codeBad, fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *Error {
	return &Error{http.StatusUnprocessableEntity, codeInvalid, fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) *Error {
	return &Error{http.StatusNotFound, "NotFound", fmt.Sprintf(format, args...)}
}

func conflict(format string, args ...any) *Error {
	return &Error{http.StatusConflict, codeConflict, fmt.Sprintf(format, args...)}
}

var errStale = &Error{http.StatusPreconditionFailed, codeStale,
	"The branch was updated since you opened this page. Please refresh and try again."}

// asError turns what went wrong below into an answer. The second result tells
// whether the cause is ours and has to be logged.
func asError(err error) (*Error, bool) {
	var e *Error
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &e):
		return e, e.Status >= 500 && e.Status != http.StatusNotImplemented
	case errors.Is(err, gitrepo.ErrRevision):
		return &Error{http.StatusNotFound, codeRevision, "Invalid rev id: " + after(err, gitrepo.ErrRevision)}, false
	case errors.Is(err, gitrepo.ErrEntry):
		return &Error{http.StatusNotFound, codeEntry, "Entry not found"}, false
	case errors.Is(err, gitrepo.ErrConflict):
		return errStale, false
	case errors.Is(err, gitrepo.ErrExists):
		return conflict("Reference already exists: %s", after(err, gitrepo.ErrExists)), false
	case errors.Is(err, gitrepo.ErrPath), errors.Is(err, gitrepo.ErrClash), errors.Is(err, patterns.ErrTooMuch):
		return invalid("%v", err), false
	case errors.Is(err, gitrepo.ErrRefName), errors.Is(err, meta.ErrName):
		return badRequest("%v", err), false
	case errors.Is(err, lfs.ErrMismatch):
		return badRequest("%v", err), false
	case errors.Is(err, meta.ErrNotFound), errors.Is(err, lfs.ErrNotFound):
		return notFound("Not found"), false
	case errors.As(err, &tooLong):
		return &Error{http.StatusRequestEntityTooLarge, "PayloadTooLarge", fmt.Sprintf("The request is longer than %d bytes", tooLong.Limit)}, false
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &Error{http.StatusInsufficientStorage, "InsufficientStorage", "The disk of the server is full"}, true
	case errors.Is(err, context.Canceled):
		return &Error{499, codeInternal, "The client went away"}, false
	}
	return &Error{http.StatusInternalServerError, codeInternal, "Internal error"}, true
}

// after is the text of a wrapping error behind that of the wrapped one.
func after(err, wrapped error) string {
	_, rest, _ := strings.Cut(err.Error(), wrapped.Error()+": ")
	return rest
}

// writeError sends an error, unless the answer has begun.
func (c *call) writeError(err error) {
	e, ours := asError(err)
	if ours {
		c.s.log.Error("request failed", "request", c.id, "method", c.r.Method, "route", c.route.Pattern, "error", err)
	}
	if c.w.status != 0 {
		return
	}
	h := c.w.Header()
	for _, name := range []string{"Content-Length", "Content-Disposition", "ETag", "Accept-Ranges", "Last-Modified"} {
		h.Del(name)
	}
	h.Set("X-Error-Code", e.Code)
	h.Set("X-Error-Message", headerText(e.Message))
	if e.Status == http.StatusUnauthorized && (c.route.git || c.route.page) {
		h.Set("WWW-Authenticate", `Basic realm="hub"`)
	}
	if c.route.page {
		c.fault(e)
		return
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	body, _ := json.Marshal(map[string]any{"error": e.Message, "errors": []any{map[string]string{"message": e.Message}}, "message": e.Message})
	c.w.WriteHeader(e.Status)
	if c.r.Method != http.MethodHead {
		_, _ = c.w.Write(body)
	}
}

// headerText keeps line ends and non-ASCII out of a header.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
}
