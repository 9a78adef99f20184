package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// access is what a route asks of its caller.
type access int

const (
	anybody access = iota // no repo is in the path, or the address is signed
	user                  // a valid token
	reader                // may see the repo
	content               // may read the repo's files: let in, when it is gated
	writer                // may change the repo
	owner                 // may delete, rename or open the repo
)

// route is a line of the table.
//
// In a pattern, {repo} stands for the three parts models|datasets|spaces,
// namespace, name below /api, and elsewhere for namespace, name with datasets or
// spaces in front; {git} is the same with an optional .git at the end; {rev} for
// a revision, either one encoded part or a raw refs/pr/1; {path} for all that
// follows, also nothing; any other name for one part.
type route struct {
	Method  string
	Pattern string
	Access  access
	Handler func(*call) error
	git     bool // spoken by git: a 401 asks for a password
	page    bool // looked at in a browser: so does it, and errors are pages
	bucket  string
}

// target is what a request's path says.
type target struct {
	parts  []string // encoded, as they came
	kind   string
	ns     string
	name   string
	nameAt int // index in parts of the namespace
	rev    string
	path   string
	vars   map[string]string
}

// segments cuts an encoded path into parts and refuses those that could mean
// another place than they say.
func segments(escaped string) (raw, decoded []string, err error) {
	escaped = strings.TrimPrefix(escaped, "/")
	escaped = strings.TrimSuffix(escaped, "/")
	if escaped == "" {
		return nil, nil, nil
	}
	raw = strings.Split(escaped, "/")
	decoded = make([]string, len(raw))
	for i, part := range raw {
		text, err := url.PathUnescape(part)
		if err != nil || part == "" || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return nil, nil, badRequest("The address is malformed")
		}
		for piece := range strings.SplitSeq(text, "/") {
			if piece == "." || piece == ".." {
				return nil, nil, badRequest("The address has a part %q", piece)
			}
		}
		decoded[i] = text
	}
	return raw, decoded, nil
}

// match compares a path with a pattern.
func (rt *route) match(raw, parts []string) (*target, bool) {
	t := &target{parts: raw, vars: map[string]string{}, nameAt: -1}
	if rt.Pattern == "/" {
		return t, len(parts) == 0
	}
	at := 0
	pattern := strings.Split(strings.TrimPrefix(rt.Pattern, "/"), "/")
	for _, p := range pattern {
		switch p {
		case "{repo}", "{git}":
			n, ok := t.takeRepo(parts[at:], pattern[0] == "api", p == "{git}")
			if !ok {
				return nil, false
			}
			t.nameAt = at + n - 2
			at += n
			continue
		case "{path}":
			t.path = strings.Join(parts[at:], "/")
			at = len(parts)
			continue
		}
		if at >= len(parts) {
			return nil, false
		}
		switch {
		case p == "{rev}" && parts[at] == "refs" && len(parts) >= at+3:
			t.rev = strings.Join(parts[at:at+3], "/")
			at += 2
		case p == "{rev}":
			t.rev = parts[at]
		case p[0] == '{':
			t.vars[p[1:len(p)-1]] = parts[at]
		case p != parts[at]:
			return nil, false
		}
		at++
	}
	return t, at == len(parts)
}

// takeRepo reads a repo's type, namespace and name and tells how many parts they are.
func (t *target) takeRepo(parts []string, api, git bool) (int, bool) {
	n := 0
	t.kind = meta.Model
	if len(parts) > 0 {
		switch parts[0] {
		case "models":
			n++
		case "datasets":
			t.kind = meta.Dataset
			n++
		case "spaces":
			t.kind = meta.Space
			n++
		}
	}
	if api && n == 0 || len(parts) < n+2 || strings.Contains(parts[n]+parts[n+1], "/") {
		return 0, false
	}
	t.ns, t.name = parts[n], parts[n+1]
	if git {
		t.name = strings.TrimSuffix(t.name, ".git")
	}
	return n + 2, t.ns != "api" && t.ns != "_lfs"
}

// rename is the path of the same request for a repo under its present name.
func (t *target) rename(r *meta.Repo, query string) string {
	parts := append([]string{}, t.parts...)
	suffix := ""
	if strings.HasSuffix(parts[t.nameAt+1], ".git") {
		suffix = ".git"
	}
	parts[t.nameAt], parts[t.nameAt+1] = url.PathEscape(r.Namespace), url.PathEscape(r.Name)+suffix
	path := "/" + strings.Join(parts, "/")
	if query != "" {
		path += "?" + query
	}
	return path
}

// Route names one line of the table, for tests that go through all of them.
type Route struct {
	Method, Pattern string
	// Repo tells whether the path names a repo.
	Repo bool
}

// Routes lists all routes in the order in which they are tried.
func (s *Server) Routes() []Route {
	list := make([]Route, 0, len(s.routes))
	for _, rt := range s.routes {
		list = append(list, Route{rt.Method, rt.Pattern, rt.Access >= reader})
	}
	return list
}

// find gives the route of a request.
func (s *Server) find(r *http.Request) (*route, *target, error) {
	path := r.URL.EscapedPath()
	if s.prefix != "" && (path == s.prefix || strings.HasPrefix(path, s.prefix+"/")) {
		path = path[len(s.prefix):]
	}
	raw, parts, err := segments(path)
	if err != nil {
		return nil, nil, err
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	other := false
	for i := range s.routes {
		rt := &s.routes[i]
		t, ok := rt.match(raw, parts)
		if ok && rt.Method == method {
			return rt, t, nil
		}
		other = other || ok
	}
	if other {
		return nil, nil, &Error{http.StatusMethodNotAllowed, "MethodNotAllowed", fmt.Sprintf("This address does not take %s", r.Method)}
	}
	return nil, nil, notFound("There is nothing at this address")
}
