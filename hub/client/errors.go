package client

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Kinds of an Error, for errors.Is. The first three are fs.ErrNotExist as well.
var (
	ErrRepoNotFound     = errors.New("repository not found, or private and the token has no access")
	ErrRevisionNotFound = errors.New("revision not found")
	ErrEntryNotFound    = errors.New("file not found")
	ErrGated            = errors.New("access to this repository must be asked for on its page")
	ErrDisabled         = errors.New("the repository is disabled")
	ErrUnauthorized     = errors.New("the token is missing or not valid")
	ErrPayment          = errors.New("the plan does not include this")
	ErrForbidden        = errors.New("the token does not allow this")
	ErrConflict         = errors.New("it exists already")
	ErrBranchMoved      = errors.New("the branch has moved on")
	ErrBadRequest       = errors.New("the server refused the request")
	ErrRateLimited      = errors.New("too many requests")
	ErrServer           = errors.New("the server failed")
)

// ErrOffline is the answer to every call that needs the network when the client is
// offline.
var ErrOffline = errors.New("offline mode is on")

// Error is an answer of the server that is not a success.
type Error struct {
	Kind        error // one of the kinds above, or nil
	Method, URL string
	Status      int
	RequestID   string
	Message     string // the server's words, without tokens
	Commit      string // X-Repo-Commit of the answer, if any

	url string // where the answer says that the thing is, for a conflict
}

// Error says what failed, where and why.
func (e *Error) Error() string {
	what := e.Message
	switch {
	case e.Kind != nil && what != "":
		what = e.Kind.Error() + ": " + what
	case e.Kind != nil:
		what = e.Kind.Error()
	case what == "":
		what = http.StatusText(e.Status)
	}
	id := ""
	if e.RequestID != "" {
		id = ", request " + e.RequestID
	}
	return fmt.Sprintf("%s %s: %s (status %d%s)", e.Method, e.URL, what, e.Status, id)
}

// Is makes the kind, and for things not found fs.ErrNotExist, true of the error.
func (e *Error) Is(target error) bool {
	if target == fs.ErrNotExist {
		return e.Kind == ErrRepoNotFound || e.Kind == ErrRevisionNotFound || e.Kind == ErrEntryNotFound
	}
	return e.Kind != nil && e.Kind == target
}

// MismatchError is a file whose content is not what its hash or length says.
type MismatchError struct {
	Path      string
	What      string // "sha256", "git blob id", "length" or "ETag"
	Want, Got string
}

// Error names the file and both values.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s: %s is %s, not %s as announced", e.Path, e.What, e.Got, e.Want)
}

// IncompleteError is a snapshot that lacks files while nothing can be fetched.
type IncompleteError struct {
	Repo    Repo
	Commit  string
	Missing []string
}

// Error lists the files, the first ten of them.
func (e *IncompleteError) Error() string {
	shown, more := e.Missing, ""
	if len(shown) > 10 {
		shown, more = shown[:10], fmt.Sprintf(" and %d more", len(e.Missing)-10)
	}
	return fmt.Sprintf("%s at %.8s: the cache lacks %s%s; download them when online", e.Repo, e.Commit, strings.Join(shown, ", "), more)
}

// Is makes the error an fs.ErrNotExist.
func (e *IncompleteError) Is(target error) bool { return target == fs.ErrNotExist }

// first is the first of several checks that failed.
func first(checks ...error) error {
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}

// permanent wraps an error that another attempt would meet again.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// secrets are the texts of tokens.
var secrets = regexp.MustCompile(`hf_(?:jwt_)?[A-Za-z0-9][A-Za-z0-9._-]{3,}|(?i:bearer\s+)\S+`)

// mask replaces tokens, also this client's whatever it looks like, by stars.
func (c *Client) mask(s string) string {
	if c.token != "" {
		s = strings.ReplaceAll(s, c.token, "***")
	}
	return secrets.ReplaceAllString(s, "***")
}

// shown is an address for people: without the query, which may hold a signature.
func (c *Client) shown(u *url.URL) string {
	return c.mask((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String())
}
