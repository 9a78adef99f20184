package web

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

const (
	requestIDHeader = "X-Request-Id"
	requestIDKey    = "request id"
)

// callerID is the form in which a caller's own request id is kept.
var callerID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// identify gives the request an id, the caller's if it is well formed, and
// returns it in the response.
func (s *Server) identify(c *gin.Context) {
	id := c.GetHeader(requestIDHeader)
	if !callerID.MatchString(id) {
		var b [8]byte
		rand.Read(b[:]) // never fails
		id = hex.EncodeToString(b[:])
	}
	c.Set(requestIDKey, id)
	c.Header(requestIDHeader, id)
}

// requestID returns what identify set.
func requestID(c *gin.Context) string { return c.GetString(requestIDKey) }

// logRequest writes one line per request. The path is the route's pattern, so
// that nothing a user typed is logged.
func (s *Server) logRequest(c *gin.Context) {
	start := time.Now()
	c.Next()
	s.cfg.Logger.Info("request", "request_id", requestID(c), "method", c.Request.Method,
		"route", c.FullPath(), "status", c.Writer.Status(), "bytes", max(c.Writer.Size(), 0),
		"duration", time.Since(start))
}

// recoverPanic answers a request whose handler panicked and keeps the server
// running.
func (s *Server) recoverPanic(c *gin.Context) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(v) // net/http's way to drop a connection
		}
		err := fmt.Errorf("handler panicked: %v\n%s", v, debug.Stack())
		if c.Writer.Written() { // too late for a status
			b, _ := s.body(c, err)
			if c.Writer.Header().Get("Content-Type") == streamType {
				newStream(c.Writer).send("error", b)
			}
			return
		}
		s.fail(c, err)
	}()
	c.Next()
}

// contentPolicy lets the page load its own files and talk to its own server, and
// nothing else. What may show it in a frame comes behind.
var contentPolicy = strings.Join([]string{
	"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
	"base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'", "frame-ancestors 'self'",
}, "; ")

// secure sets the security headers of every response.
func (s *Server) secure(c *gin.Context) {
	c.Header("Content-Security-Policy", strings.Join(append([]string{contentPolicy}, s.cfg.FrameAncestors...), " "))
	c.Header("X-Content-Type-Options", "nosniff")
	c.Header("Referrer-Policy", "no-referrer")
	c.Header("Cross-Origin-Opener-Policy", "same-origin")
	c.Header("Cross-Origin-Resource-Policy", "same-origin")
	c.Header("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
}

var crossOrigin = http.NewCrossOriginProtection()

// checkOrigin refuses requests that another site's page makes in the user's
// browser: by origin, and on a loopback server also by host name, which stops a
// name that was rebound to 127.0.0.1.
func (s *Server) checkOrigin(c *gin.Context) {
	if s.local && !isLoopback(hostOnly(c.Request.Host)) {
		s.fail(c, errHost)
		return
	}
	if crossOrigin.Check(c.Request) != nil {
		s.fail(c, errOrigin)
	}
}

// hostOnly strips the port and the brackets of an IPv6 address.
func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}
