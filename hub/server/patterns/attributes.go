package patterns

import (
	"fmt"
	"strings"
)

// Attributes is what a .gitattributes file says about which files are large. The
// zero value says that none is.
type Attributes struct {
	rules []largeRule
	left  effort
}

type largeRule struct {
	parts    []part
	anywhere bool // the pattern has no slash: it is matched with the name alone
	lfs      bool
}

// ParseAttributes reads a .gitattributes file. Lines that say nothing of
// filter, and patterns that git does not allow there, are skipped.
func ParseAttributes(text []byte) (*Attributes, error) {
	a := &Attributes{left: maxWork}
	for line := range strings.SplitSeq(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0][0] == '#' || fields[0][0] == '!' || fields[0][0] == '"' {
			continue
		}
		pattern := fields[0]
		lfs, says := false, false
		for _, attribute := range fields[1:] {
			switch {
			case attribute == "filter=lfs":
				lfs, says = true, true
			case strings.HasPrefix(attribute, "filter=") || attribute == "-filter" || attribute == "!filter":
				lfs, says = false, true
			}
		}
		if !says || strings.HasSuffix(pattern, "/") {
			continue
		}
		if len(a.rules) == maxRules || len(pattern) > maxPattern {
			return nil, fmt.Errorf("%w: at most %d rules of %d bytes are read of .gitattributes, shorten it", ErrTooMuch, maxRules, maxPattern)
		}
		a.rules = append(a.rules, largeRule{
			parts:    parsePattern(strings.TrimPrefix(pattern, "/")),
			anywhere: !strings.Contains(pattern, "/"),
			lfs:      lfs,
		})
	}
	return a, nil
}

// LFS tells whether a path is to be stored as a large file. The last rule that
// matches decides. All calls together take a bounded time, and then are ErrTooMuch.
func (a *Attributes) LFS(file string) (bool, error) {
	names := strings.Split(file, "/")
	for i := len(a.rules) - 1; i >= 0; i-- {
		r := &a.rules[i]
		from := 0
		if r.anywhere {
			from = len(names) - 1
		}
		row := match(r.parts, names[from:], &a.left)
		if a.left < 0 {
			return false, fmt.Errorf("%w: .gitattributes takes too long to try on these files, use fewer wildcards in it or send fewer files at once", ErrTooMuch)
		}
		if row[len(row)-1] {
			return r.lfs, nil
		}
	}
	return false, nil
}
