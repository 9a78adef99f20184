package patterns

import (
	"fmt"
	"strings"
)

// Ignore is what a .gitignore file says about which files are left out. The zero
// value leaves out none.
type Ignore struct {
	rules []ignoreRule
	left  effort
}

type ignoreRule struct {
	parts    []part
	anywhere bool // the pattern has no slash but a last one: it is matched with each name
	folder   bool // it had a last slash: it matches folders only
	keep     bool // it began with !
}

// ParseIgnore reads the .gitignore file of a repo's root.
func ParseIgnore(text []byte) (*Ignore, error) {
	g := &Ignore{left: maxWork}
	for line := range strings.SplitSeq(strings.TrimPrefix(string(text), "\ufeff"), "\n") {
		pattern := trimBlanks(strings.TrimSuffix(line, "\r"))
		if pattern == "" || pattern[0] == '#' {
			continue
		}
		var r ignoreRule
		pattern, r.keep = strings.CutPrefix(pattern, "!")
		pattern, r.folder = strings.CutSuffix(pattern, "/")
		r.anywhere = !strings.Contains(pattern, "/")
		if pattern = strings.TrimPrefix(pattern, "/"); pattern == "" {
			continue
		}
		if len(g.rules) == maxRules || len(pattern) > maxPattern {
			return nil, fmt.Errorf("%w: at most %d patterns of %d bytes are read of .gitignore, shorten it", ErrTooMuch, maxRules, maxPattern)
		}
		if r.anywhere && pattern == "**" {
			pattern = "*"
		}
		r.parts = parsePattern(pattern)
		g.rules = append(g.rules, r)
	}
	return g, nil
}

// trimBlanks drops blanks at the end, but not one behind a backslash.
func trimBlanks(line string) string {
	trimmed := strings.TrimRight(line, " ")
	if escapes := len(trimmed) - len(strings.TrimRight(trimmed, `\`)); escapes%2 == 1 && len(trimmed) < len(line) {
		trimmed += " "
	}
	return trimmed
}

// Ignored tells whether a file, or a folder that it is in, is left out. Of each the
// last pattern that matches decides. All calls together take a bounded time, and then
// are ErrTooMuch.
func (g *Ignore) Ignored(file string) (bool, error) {
	names := strings.Split(file, "/")
	out := make([]bool, len(names)+1) // of the first n names
	for i := range g.rules {
		r := &g.rules[i]
		r.mark(names, out, &g.left)
		if g.left < 0 {
			return false, fmt.Errorf("%w: .gitignore takes too long to try on these files, use fewer wildcards in it or send fewer files at once", ErrTooMuch)
		}
	}
	for _, is := range out {
		if is {
			return true, nil
		}
	}
	return false, nil
}

// mark notes what a rule says of the first n names, for each n.
func (r *ignoreRule) mark(names []string, out []bool, left *effort) {
	var row []bool
	if !r.anywhere {
		row = match(r.parts, names, left)
	}
	for n := 1; n <= len(names); n++ {
		switch {
		case r.folder && n == len(names):
		case r.anywhere && r.parts[0].match(names[n-1], left), !r.anywhere && row[n]:
			out[n] = !r.keep
		}
	}
}
