package web

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

	"github.com/gin-gonic/gin"
)

// generate answers POST /api/generate with a stream of events:
//
//	routing  {"chunks": [...]}                decisions about the prompt
//	token    {"text", "token", "logprob", …}  as each token is final
//	done     engine.Result                    the last event of a full answer
//	error    {"error": {...}}                 the last event otherwise
//
// A request that is refused before its first event gets a status and JSON.
func (s *Server) generate(c *gin.Context) {
	body, err := s.readBody(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	req, err := decodeRequest(body)
	if err != nil {
		s.fail(c, err)
		return
	}
	if err := s.check(req); err != nil {
		s.fail(c, err)
		return
	}
	ctx, out := c.Request.Context(), newStream(c.Writer)
	result, err := s.cfg.Engine.Generate(ctx, req, out.step)
	if err == nil && ctx.Err() != nil {
		err = ctx.Err() // the engine may report a cancelled run as a result
	}
	s.cfg.Logger.Info("generation ended", "request_id", requestID(c), "finish", result.FinishReason,
		"prompt_tokens", result.PromptTokens, "tokens", result.CompletionTokens, "cancelled", ctx.Err() != nil)
	switch {
	case err == nil:
		err = out.send("done", result)
	case out.started:
		b, _ := s.body(c, err)
		err = out.send("error", b)
	default:
		s.fail(c, err)
		return
	}
	if err != nil {
		s.cfg.Logger.Debug("reader left", "request_id", requestID(c), "error", err)
	}
}

// readBody returns the JSON text of the request. An over-long body is read to
// its end, up to a bound, so that its sender gets the answer and not a broken
// connection.
func (s *Server) readBody(c *gin.Context) ([]byte, error) {
	kind, _, err := mime.ParseMediaType(c.GetHeader("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, errMediaType
	}
	control := http.NewResponseController(c.Writer)
	_ = control.SetReadDeadline(time.Now().Add(s.bodyTimeout)) // a test recorder has none
	// JSON spends at most six bytes on one byte of text: \u001f.
	limit := 6*s.cfg.MaxPromptBytes + 64<<10
	body, err := io.ReadAll(io.LimitReader(c.Request.Body, int64(limit)+1))
	if err != nil { // the deadline stays: the rest of the body is not waited for
		c.Header("Connection", "close")
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, errSlow
		}
		return nil, malformed("The request ended early; send it again.")
	}
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	if len(body) > limit {
		_, _ = io.CopyN(io.Discard, c.Request.Body, int64(limit)+32<<20)
		return nil, tooLarge("prompt", s.cfg.MaxPromptBytes)
	}
	return body, nil
}

// info answers GET /api/info with engine.Info.
func (s *Server) info(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	writeJSON(c, http.StatusOK, s.cfg.Engine.Info())
}

// health answers GET /healthz.
func (s *Server) health(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	writeJSON(c, http.StatusOK, map[string]string{"status": "ok"})
}
