// Package patterns tells by the files .gitattributes and .gitignore which files are
// large and which are left out, as git does. The files are anybody's and so are the
// paths: how long they are tried together is bounded.
package patterns

import (
	"errors"
	"path"
	"strings"
)

// Bounds of a file of patterns.
const (
	maxRules   = 1000
	maxPattern = 1024 // bytes of a pattern, as of a path
	maxWork    = 50_000_000
)

// ErrTooMuch is wrapped by errors about a file of patterns that is beyond the bounds.
var ErrTooMuch = errors.New("too many or too complex patterns")

// effort counts down what may still be spent on matching: about a nanosecond each.
type effort int64

// part is what a pattern says of one name in a path.
type part struct {
	text       string // for path.Match; of a plain part the name itself
	head, tail string // every name that matches begins and ends so
	kind       kind
}

type kind byte

const (
	plain   kind = iota // one name
	star                // head, anything, tail
	wild                // more than that
	folders             // **: any number of names
)

// parsePattern splits a pattern at its slashes.
func parsePattern(pattern string) []part {
	var parts []part
	for text := range strings.SplitSeq(strings.ReplaceAll(pattern, `\/`, "/"), "/") {
		parts = append(parts, parsePart(text))
	}
	return parts
}

func parsePart(text string) part {
	if text == "**" {
		return part{kind: folders}
	}
	var head strings.Builder
	at := 0
	for at < len(text) && !strings.ContainsRune("*?[", rune(text[at])) {
		if text[at] == '\\' && at+1 < len(text) {
			at++
		}
		head.WriteByte(text[at])
		at++
	}
	p := part{text: head.String(), head: head.String()}
	if at == len(text) {
		return p
	}
	p.tail = text[strings.LastIndexAny(text, `*?[]\`)+1:]
	if p.kind = wild; text[at:] == "*"+p.tail {
		p.kind = star
	}
	p.text = classes(text)
	return p
}

// classes writes the classes of a pattern as path.Match reads them: ! is ^ there, and
// the bracket that else ends a class, or begins another, is escaped.
func classes(text string) string {
	var b strings.Builder
	inside := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text):
			b.WriteByte(c)
			i++
			c = text[i]
		case !inside && c == '[':
			inside = true
			b.WriteByte(c)
			if i+1 < len(text) && (text[i+1] == '!' || text[i+1] == '^') {
				i++
				b.WriteByte('^')
			}
			if i+1 == len(text) {
				return b.String()
			}
			i++
			if c = text[i]; c == ']' || c == '[' {
				b.WriteByte('\\')
			}
		case inside && c == '[':
			b.WriteByte('\\')
		case inside && c == ']':
			inside = false
		}
		b.WriteByte(c)
	}
	return b.String()
}

// match matches one name with *, ?, [a-z] and \.
func (p *part) match(name string, left *effort) bool {
	*left--
	switch {
	case p.kind == plain:
		return p.text == name
	case len(name) < len(p.head)+len(p.tail) || !strings.HasPrefix(name, p.head) || !strings.HasSuffix(name, p.tail):
		return false
	case p.kind == star:
		return true
	}
	*left -= effort(len(p.text) * len(name))
	ok, err := path.Match(p.text, name)
	return err == nil && ok
}

// match matches folder by folder: row[n] tells whether the parts match the first n
// names. It takes at most len(parts) × len(names) steps, whatever the number of "**".
// It ends early, with whatever it has, when nothing is left.
func match(parts []part, names []string, left *effort) (row []bool) {
	row = make([]bool, len(names)+1)
	row[0] = true
	for i := range parts {
		next, some := make([]bool, len(names)+1), false
		*left -= effort(len(names))
		for j := range row {
			switch {
			case parts[i].kind == folders:
				last := i == len(parts)-1
				// In the middle it is any number of folders, at the end at least one name.
				next[j] = row[j] && !last || j > 0 && (next[j-1] || row[j-1])
			case j > 0 && row[j-1]:
				next[j] = parts[i].match(names[j-1], left)
			}
			some = some || next[j]
		}
		if row = next; !some || *left < 0 {
			break
		}
	}
	return row
}
