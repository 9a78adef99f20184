package client

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Types of a repository.
const (
	Model   = "model"
	Dataset = "dataset"
	Space   = "space"
)

// Repo names a repository.
type Repo struct {
	Type string // Model, Dataset or Space; "" is Model
	ID   string // namespace/name, or a bare name
}

// ParseRepo reads an id that may begin with its type: acme/swarm,
// datasets/acme/texts, spaces/acme/demo.
func ParseRepo(s string) (Repo, error) {
	r := Repo{Type: Model, ID: s}
	for _, kind := range []string{Model, Dataset, Space} {
		if id, ok := strings.CutPrefix(s, kind+"s/"); ok && strings.Contains(id, "/") {
			r = Repo{Type: kind, ID: id}
		}
	}
	return r, r.Validate()
}

// Validate checks the type and the id by the Hub's rules.
func (r Repo) Validate() error {
	switch r.Type {
	case "", Model, Dataset, Space:
	default:
		return fmt.Errorf("repo type %q is unknown, use model, dataset or space", r.Type)
	}
	fault := func(why string) error {
		return fmt.Errorf("repo id %q %s; an id is namespace/name of letters, digits, '-', '_' and '.'", r.ID, why)
	}
	if r.ID == "" || len(r.ID) > 96 {
		return fault("must have 1 to 96 characters")
	}
	parts := strings.Split(r.ID, "/")
	if len(parts) > 2 {
		return fault("has more than one '/'")
	}
	if strings.Contains(r.ID, "--") || strings.Contains(r.ID, "..") {
		return fault("contains '--' or '..'")
	}
	for _, p := range parts {
		if p == "" || strings.Trim(p[:1]+p[len(p)-1:], "-.") != p[:1]+p[len(p)-1:] {
			return fault("has a part that is empty or begins or ends with '-' or '.'")
		}
		if strings.ContainsFunc(p, func(c rune) bool {
			return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.", c))
		}) {
			return fault("has a character that is not allowed")
		}
	}
	if strings.HasSuffix(r.ID, ".git") {
		return fault("ends in .git")
	}
	return nil
}

// String is the id with its type before it, as in the address of its page.
func (r Repo) String() string {
	if r.kind() == Model {
		return r.ID
	}
	return r.kind() + "s/" + r.ID
}

func (r Repo) kind() string {
	if r.Type == "" {
		return Model
	}
	return r.Type
}

// api is the path of the repository's calls.
func (r Repo) api() string { return "/api/" + r.kind() + "s/" + r.ID }

// split gives namespace ("" if bare) and name.
func (r Repo) split() (namespace, name string) {
	if ns, name, ok := strings.Cut(r.ID, "/"); ok {
		return ns, name
	}
	return "", r.ID
}

// folder is the repository's folder in the cache.
func (r Repo) folder() string { return r.kind() + "s--" + strings.ReplaceAll(r.ID, "/", "--") }

// repoOf is the repository of a folder in the cache.
func repoOf(folder string) (Repo, error) {
	kind, id, ok := strings.Cut(folder, "s--")
	if !ok {
		return Repo{}, fmt.Errorf("folder %q is not that of a repository", folder)
	}
	r := Repo{Type: kind, ID: strings.Replace(id, "--", "/", 1)}
	return r, r.Validate()
}

// checkRevision refuses what git does not take as a name, since a revision becomes
// a part of addresses and of paths in the cache.
func checkRevision(rev string) error {
	bad := rev == "" || len(rev) > 255 || !utf8.ValidString(rev) ||
		strings.Contains(rev, "..") || strings.Contains(rev, "@{") || strings.ContainsAny(rev, " ~^:?*[\\") ||
		strings.ContainsFunc(rev, unicode.IsControl) || strings.HasSuffix(rev, ".")
	for _, part := range strings.Split(rev, "/") {
		bad = bad || part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock")
	}
	if bad {
		return fmt.Errorf("revision %q is not a name that git allows", rev)
	}
	return nil
}

// checkPath refuses a file name that leaves its folder on any system, or that git
// does not take. Whether this system can hold it is for places to say.
func checkPath(name string) error {
	fault := func(why string) error { return fmt.Errorf("file name %q %s", name, why) }
	switch {
	case name == "":
		return fault("is empty")
	case !utf8.ValidString(name):
		return fault("is not UTF-8")
	case len(name) > 1024:
		return fault("is longer than 1024 bytes")
	case strings.Contains(name, `\`):
		return fault("contains a backslash")
	case strings.ContainsFunc(name, unicode.IsControl):
		return fault("contains a control character")
	case len(name) > 1 && name[1] == ':':
		return fault("begins with a drive")
	}
	for _, part := range strings.Split(name, "/") {
		switch {
		case part == "", part == ".", part == "..":
			return fault("is absolute or leaves its folder")
		case len(part) > 255:
			return fault("has a part longer than 255 bytes")
		case strings.EqualFold(part, ".git"):
			return fault("lies in a .git folder")
		}
	}
	return nil
}

// isHash reports whether s is n hexadecimal digits in lower case.
func isHash(s string, n int) bool {
	if len(s) != n {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool { return !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') })
}

// isCommit reports whether s is a full commit id.
func isCommit(s string) bool { return isHash(s, 40) || isHash(s, 64) }

// escapePath writes a path for an address: every part escaped, slashes kept.
func escapePath(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}
