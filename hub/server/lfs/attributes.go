package lfs

import (
	"bytes"
	"path"
	"strings"
)

// Attributes is what a .gitattributes file says about which files are large.
type Attributes struct {
	rules []rule
}

type rule struct {
	parts    []string // of the pattern; "**" is any number of folders
	anywhere bool     // the pattern has no slash: it is matched with the name alone
	lfs      bool
}

// Bounds of what is read: matching takes time for each rule.
const (
	maxRules   = 1000
	maxPattern = 256
)

// ParseAttributes reads a .gitattributes file. Lines that say nothing of
// filter, and patterns that git does not allow there, are skipped.
func ParseAttributes(text []byte) Attributes {
	var a Attributes
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		fields := strings.Fields(string(line))
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
		if !says || len(pattern) > maxPattern || strings.HasSuffix(pattern, "/") || len(a.rules) == maxRules {
			continue
		}
		a.rules = append(a.rules, rule{
			parts:    strings.Split(strings.TrimPrefix(pattern, "/"), "/"),
			anywhere: !strings.Contains(pattern, "/"),
			lfs:      lfs,
		})
	}
	return a
}

// LFS tells whether a path is to be stored as a large file. The last rule that
// matches decides.
func (a Attributes) LFS(file string) bool {
	names := strings.Split(file, "/")
	for i := len(a.rules) - 1; i >= 0; i-- {
		r := a.rules[i]
		if r.anywhere && matchName(r.parts[0], names[len(names)-1]) || !r.anywhere && matchParts(r.parts, names) {
			return r.lfs
		}
	}
	return false
}

// matchParts matches folder by folder. The table makes it take at most
// len(parts) × len(names) steps, whatever the number of "**".
func matchParts(parts, names []string) bool {
	can := make([]bool, len(names)+1) // can[j]: the parts so far match the first j names
	can[0] = true
	for i, part := range parts {
		next := make([]bool, len(names)+1)
		for j := range can {
			switch {
			case part == "**":
				last := i == len(parts)-1
				// In the middle it is any number of folders, at the end at least one name.
				next[j] = can[j] && !last || j > 0 && (next[j-1] || can[j-1])
			case j > 0:
				next[j] = can[j-1] && matchName(part, names[j-1])
			}
		}
		can = next
	}
	return can[len(names)]
}

// matchName matches one name with *, ? and [a-z].
func matchName(pattern, name string) bool {
	pattern = strings.ReplaceAll(pattern, "[!", "[^")
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}
