package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// caller is who sent a request; the zero value is nobody in particular.
type caller struct {
	user  *meta.User
	token *meta.Token
}

// errBadToken is never turned into "repo not found" by clients, because of its text.
var errBadToken = &Error{http.StatusUnauthorized, "InvalidCredentials", "Invalid credentials in Authorization header"}

var errSignIn = &Error{http.StatusUnauthorized, codeSignIn, "This needs a token: sign in first"}

// authenticate reads the token: as a bearer, or as the password that git sends.
func (s *Server) authenticate(r *http.Request) (caller, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return caller{}, nil
	}
	scheme, secret, _ := strings.Cut(header, " ")
	secret = strings.TrimSpace(secret)
	switch strings.ToLower(scheme) {
	case "bearer":
	case "basic":
		// A browser sends the password that it remembers with forms of other sites too.
		name, password, ok := r.BasicAuth()
		if !ok || http.NewCrossOriginProtection().Check(r) != nil {
			return caller{}, errBadToken
		}
		secret = password
		if password == "" || password == "x-oauth-basic" {
			secret = name
		}
	default:
		return caller{}, errBadToken
	}
	token, err := s.db.Token(secret)
	if errors.Is(err, meta.ErrNotFound) {
		return caller{}, errBadToken
	}
	if err != nil {
		return caller{}, err
	}
	u, err := s.db.User(token.User)
	if err != nil {
		return caller{}, errBadToken
	}
	return caller{&u, &token}, nil
}

// level is how much of a repo a caller has: anybody for nothing at all, else
// reader, writer or owner.
func (s *Server) level(who caller, r *meta.Repo) access {
	public := anybody
	if !r.Private {
		public = reader
	}
	if who.user == nil {
		return public
	}
	role, err := s.role(who.user, r.Namespace)
	if err != nil {
		return public
	}
	return max(min(role, tokenLevel(who.token, r)), public)
}

// tokenLevel is how much of a repo a token lets its user use.
func tokenLevel(t *meta.Token, r *meta.Repo) access {
	switch t.Kind {
	case meta.TokenWrite:
		return owner
	case meta.TokenFine:
		return scopeLevel(t, r.Namespace, r.Type+"/"+r.FullName())
	}
	return reader
}

// mayAct tells whether a caller who may see a repo may leave something there in
// their own name, without being a writer: a proposal, a comment, a like.
func mayAct(who caller, r *meta.Repo) error {
	if who.user == nil {
		return errSignIn
	}
	if tokenLevel(who.token, r) < writer {
		return &Error{http.StatusForbidden, codeForbidden, "Your token may not write to this repo"}
	}
	return nil
}

// role is what a user is in a namespace.
func (s *Server) role(u *meta.User, namespace string) (access, error) {
	if strings.EqualFold(u.Name, namespace) {
		return owner, nil
	}
	ns, err := s.db.User(namespace)
	if err != nil {
		return anybody, err
	}
	switch ns.Members[strings.ToLower(u.Name)] {
	case meta.RoleAdmin:
		return owner, nil
	case meta.RoleWrite:
		return writer, nil
	case meta.RoleRead:
		return reader, nil
	}
	return anybody, nil
}

// scopeLevel is what a fine-grained token gives in one of the targets.
func scopeLevel(t *meta.Token, targets ...string) access {
	level := anybody
	for _, scope := range t.Scopes {
		for _, target := range targets {
			if !strings.EqualFold(scope.Target, target) {
				continue
			}
			if scope.Write {
				return owner
			}
			level = reader
		}
	}
	return level
}

// mayCreate tells whether a caller may make repos in a namespace.
func (s *Server) mayCreate(who caller, namespace, kind, name string) bool {
	role, err := s.role(who.user, namespace)
	if err != nil || role < writer || who.token.Kind == meta.TokenRead {
		return false
	}
	return who.token.Kind == meta.TokenWrite || scopeLevel(who.token, namespace, kind+"/"+namespace+"/"+name) >= writer
}

// Access tells whether a token (empty for none) may read, or write, a repo, and
// gives the repo. The error is the answer to send: for a repo that the token may
// not see, the same as for one that does not exist.
func (s *Server) Access(token, kind, namespace, name string, write bool) (meta.Repo, error) {
	r := &http.Request{Header: http.Header{}}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	who, err := s.authenticate(r)
	if err != nil {
		return meta.Repo{}, err
	}
	need := content
	if write {
		need = writer
	}
	return s.repoFor(who, kind, namespace, name, need)
}

// repoFor finds a repo by its present name for a caller who needs so much of it.
// Whoever may not see the repo gets the same error as for a name that is not there.
func (s *Server) repoFor(who caller, kind, namespace, name string, need access) (meta.Repo, error) {
	r, err := s.repoOrRenamed(who, kind, namespace, name, need)
	if r.ID != "" && !r.Called(namespace, name) {
		return meta.Repo{}, absent(who)
	}
	return r, err
}

// repoOrRenamed is repoFor that also finds a repo by a name that it had, for those
// who send the caller on to the present one.
func (s *Server) repoOrRenamed(who caller, kind, namespace, name string, need access) (meta.Repo, error) {
	r, err := s.db.Repo(kind, namespace, name)
	if err != nil && !errors.Is(err, meta.ErrNotFound) {
		return r, err
	}
	if err != nil || s.level(who, &r) < reader {
		return meta.Repo{}, absent(who)
	}
	return r, s.need(who, &r, need)
}

// absent is the answer for a repo that is not there, or not for this caller.
func absent(who caller) error {
	if who.user == nil {
		return &Error{http.StatusUnauthorized, codeRepo, "Repository not found"}
	}
	return &Error{http.StatusNotFound, codeRepo, "Repository not found"}
}

// need tells whether a caller who may see a repo may do more with it.
func (s *Server) need(who caller, r *meta.Repo, need access) error {
	level := s.level(who, r)
	switch {
	case need == content:
		return s.gate(who, r, level)
	case level >= need:
		return nil
	case who.user == nil:
		return errSignIn
	}
	return &Error{http.StatusForbidden, codeForbidden, "You have no permission to do this with this repo, or your token has not"}
}

// gate holds back the files of a gated repo from those not let in.
func (s *Server) gate(who caller, r *meta.Repo, level access) error {
	if r.Gated == "" || level >= writer {
		return nil
	}
	if who.user == nil {
		return &Error{http.StatusUnauthorized, codeGated, "Access to this repo is restricted: sign in, and ask for access"}
	}
	if tokenLevel(who.token, r) < reader {
		return &Error{http.StatusForbidden, codeGated, "Access to this repo is restricted and your token is not for it: use one whose scopes name it"}
	}
	if role, err := s.role(who.user, r.Namespace); err == nil && role >= reader {
		return nil
	}
	request, err := s.db.AccessOf(r.ID, who.user.Name)
	if err == nil && request.Status == "accepted" {
		return nil
	}
	return &Error{http.StatusForbidden, codeGated, "Access to this repo is restricted and you are not in the list of those let in: ask for access"}
}
