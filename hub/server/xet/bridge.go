package xet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// Objects is the store of large files. A repo sees only its own. Both methods may
// be called from several goroutines.
type Objects interface {
	// Has says whether the repo has the file with this sha256.
	Has(ctx context.Context, repo, sha256 string) (bool, error)
	// Put stores a file of size bytes. It must keep nothing unless src ends with
	// io.EOF.
	Put(ctx context.Context, repo, sha256 string, size int64, src io.Reader) error
}

// Config describes a bridge. Zero values mean the default given with the field.
type Config struct {
	Dir     string        // folder for xorbs; required
	Objects Objects       // where proved files go; required
	Key     []byte        // signs access tokens; default a random one, then tokens end with the process
	MaxFile int64         // most bytes of one file; default 500 GB, as on the public Hub
	Life    time.Duration // of an access token; default one hour
	Grace   time.Duration // how long an abandoned xorb is kept; default 48 hours
	Reuse   time.Duration // how long a xorb is kept after its last use; default one hour
	Limits  Limits        // of what waits; default none
	Logger  *slog.Logger  // default discards
}

// Bridge is the HTTP handler of the upload side of the Xet protocol. It takes
// requests below any prefix of the caller's choice: strip it first.
type Bridge struct {
	cfg   Config
	store *Store
	mux   *http.ServeMux
}

// NewBridge returns a bridge.
func NewBridge(c Config) (*Bridge, error) {
	if c.Objects == nil {
		return nil, errors.New("new xet bridge: no store for files given; set Config.Objects")
	}
	store, err := NewStore(c.Dir, c.Limits)
	if err != nil {
		return nil, fmt.Errorf("new xet bridge: %w", err)
	}
	if len(c.Key) == 0 {
		c.Key = make([]byte, 32)
		rand.Read(c.Key) // never fails
	}
	if c.MaxFile == 0 {
		c.MaxFile = 500e9
	}
	if c.Life == 0 {
		c.Life = time.Hour
	}
	if c.Grace == 0 {
		c.Grace = 48 * time.Hour
	}
	if c.Reuse == 0 {
		c.Reuse = time.Hour
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Bridge{cfg: c, store: store, mux: http.NewServeMux()}
	b.mux.HandleFunc("GET /{session}/v1/chunks/{prefix}/{hash}", b.absent)
	b.mux.HandleFunc("HEAD /{session}/v1/xorbs/{prefix}/{hash}", b.headXorb)
	b.mux.HandleFunc("POST /{session}/v1/xorbs/{prefix}/{hash}", b.putXorb)
	b.mux.HandleFunc("POST /{session}/v1/shards", b.putShard)
	b.mux.HandleFunc("POST /{session}/v2/shards", b.streamShard)
	b.mux.HandleFunc("POST /{session}/v1/telemetry", telemetry)
	b.mux.HandleFunc("/", b.absent)
	return b, nil
}

// Access is what a client needs to upload.
type Access struct {
	Token   string    // bearer token for the handler
	Expires time.Time // whole seconds
	Path    string    // session below the handler's prefix, without slashes
}

// Issue makes an access token. The caller has checked that the grant is due.
//
// The path is another one each time. Clients remember, by address and for weeks,
// which chunks they have sent, and would refer to xorbs that are long gone; a new
// address makes them send what this upload needs.
func (b *Bridge) Issue(g Grant) (Access, error) {
	expires := time.Now().Add(b.cfg.Life).Truncate(time.Second)
	token, err := sign(b.cfg.Key, claims{g, expires.Unix()})
	if err != nil {
		return Access{}, fmt.Errorf("issue xet token: %w", err)
	}
	var session [8]byte
	rand.Read(session[:]) // never fails
	return Access{Token: token, Expires: expires, Path: hex.EncodeToString(session[:])}, nil
}

// Sweep removes what abandoned and finished uploads left. Call it now and then.
func (b *Bridge) Sweep(now time.Time) error {
	return b.store.Sweep(now.Add(-b.cfg.Grace), now.Add(-b.cfg.Reuse))
}

// ServeHTTP implements http.Handler.
func (b *Bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Content-Encoding") != "" {
		fail(w, http.StatusUnsupportedMediaType, "send the body without Content-Encoding")
		return
	}
	b.mux.ServeHTTP(w, r)
}

// grant gives the grant of a request that may write; else it answers.
func (b *Bridge) grant(w http.ResponseWriter, r *http.Request) (Grant, bool) {
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		fail(w, http.StatusUnauthorized, errToken.Error())
		return Grant{}, false
	}
	g, err := verify(b.cfg.Key, token, time.Now())
	if err != nil {
		fail(w, http.StatusUnauthorized, err.Error())
		return Grant{}, false
	}
	if !g.Write {
		fail(w, http.StatusForbidden, "this access token may only read; ask for a write token")
		return Grant{}, false
	}
	return g, true
}

// absent says that there is nothing: no chunk is known, and no grant is needed.
func (b *Bridge) absent(w http.ResponseWriter, r *http.Request) {
	fail(w, http.StatusNotFound, "not found")
}

// telemetry takes what clients report about themselves, and forgets it.
func telemetry(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, map[string]any{})
}

// xorb gives the grant of the caller and the hash that the address names; else it
// answers.
func (b *Bridge) xorb(w http.ResponseWriter, r *http.Request) (g Grant, h Hash, ok bool) {
	if g, ok = b.grant(w, r); !ok {
		return g, h, false
	}
	h, err := ParseHash(r.PathValue("hash"))
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return g, h, false
	}
	return g, h, true
}

// headXorb says whether the scope has a xorb.
func (b *Bridge) headXorb(w http.ResponseWriter, r *http.Request) {
	g, h, ok := b.xorb(w, r)
	if !ok {
		return
	}
	if !b.store.Has(g.scope(), h) {
		b.absent(w, r)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// putXorb takes a xorb.
func (b *Bridge) putXorb(w http.ResponseWriter, r *http.Request) {
	g, h, ok := b.xorb(w, r)
	if !ok {
		return
	}
	if r.ContentLength > MaxXorbBody {
		fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("a xorb may have %d bytes", MaxXorbBody))
		return
	}
	body := http.MaxBytesReader(w, r.Body, MaxXorbBody)
	inserted, err := b.store.Put(g.scope(), h, body)
	if err == nil {
		_, err = io.Copy(io.Discard, body) // a footer, or all of a known xorb: a client still sending would not read the answer
	}
	if err != nil {
		b.refuse(w, r, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"was_inserted": inserted})
}

// errServer is all that a client learns of a fault of ours.
const errServer = "the server could not store the upload; try again"

// refuse answers a request that failed: with the reason if the client's bytes are
// wrong, else with a status that makes it try again.
func (b *Bridge) refuse(w http.ResponseWriter, r *http.Request, err error) {
	tooLarge, _ := errors.AsType[*http.MaxBytesError](err)
	switch {
	case tooLarge != nil || errors.Is(err, ErrTooLarge):
		fail(w, http.StatusRequestEntityTooLarge, err.Error())
	case isInvalid(err):
		fail(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, ErrUserFull): // 429 would be right too, but hf_xet says nothing then for minutes
		fail(w, http.StatusRequestEntityTooLarge, err.Error())
	case errors.Is(err, ErrFull), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		w.Header().Set("Retry-After", "60")
		fail(w, http.StatusInsufficientStorage, ErrFull.Error())
	default:
		b.cfg.Logger.ErrorContext(r.Context(), "take upload", "path", r.URL.Path, "error", err)
		fail(w, http.StatusInternalServerError, errServer)
	}
}

// fail answers with an error.
func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("X-Error-Message", strings.ReplaceAll(message, "\n", " "))
	answer(w, status, map[string]any{"error": message})
}

// answer answers with JSON.
func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(value) // a client that is gone gets nothing
}
