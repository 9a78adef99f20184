package data

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/domain"
)

// Rule gives the files that a pattern matches to a domain. A pattern without a slash is
// compared with the file's name, one with a slash with its path below the input: * and ?
// stand for parts of a name, ** for any folders.
type Rule struct {
	Glob   string `json:"glob"`
	Domain string `json:"domain"` // LeaveOut leaves the files out
}

// LeaveOut is the domain of a [Rule] for files that are not wanted.
const LeaveOut = "-"

// Ways to choose the split of a document.
const (
	// ByFolder takes the split from a folder named train, valid (also validation, val, dev)
	// or test, which is the input or lies directly in it (in an archive at most one level
	// deeper), and from the hash where there is none.
	ByFolder = "folder"
	// ByHash takes the split from a hash of the document's group alone.
	ByHash = "hash"
)

// What to do with text that is not UTF-8.
const (
	Skip   = "skip"   // leave the document out, and count it
	Repair = "repair" // put U+FFFD in place of each wrong sequence, and count the document
)

// What to do with a document whose id another of its domain has, and that is another text.
// Skip is one of them too.
const (
	Fail = "error" // stop
	Keep = "keep"  // keep both
)

// Rules say how documents become domains and splits. They are part of data.json.
type Rules struct {
	// Domain of a document: that of the first of Files which matches, else the value of
	// DomainField in its record, else by its path (see [Prepare]).
	Files       []Rule `json:"files,omitempty"`
	DomainField string `json:"domain_field,omitempty"` // empty: by path
	// Fields of a record. TextField must be there. Without a value in IDField a document
	// has no id; without one in GroupField it is a group of its own. A text file is a group.
	TextField  string `json:"text_field"`  // empty means "text"
	IDField    string `json:"id_field"`    // empty means "id"
	GroupField string `json:"group_field"` // empty means "group"

	// Domains are those wanted; the others are left out. None means all.
	Domains []string `json:"domains,omitempty"`

	SplitBy       string  `json:"split_by"`       // empty means ByFolder
	ValidFraction float64 `json:"valid_fraction"` // of the groups, where the hash decides
	TestFraction  float64 `json:"test_fraction"`
	Seed          uint64  `json:"seed"` // of the hash

	KeepDuplicates bool   `json:"keep_duplicates"` // keep a text that was there before
	InvalidUTF8    string `json:"invalid_utf8"`    // empty means Skip
	DuplicateIDs   string `json:"duplicate_ids"`   // empty means Fail
}

// complete fills in what empty fields mean, and checks.
func (r *Rules) complete() error {
	for field, value := range map[*string]string{&r.TextField: "text", &r.IDField: "id", &r.GroupField: "group",
		&r.SplitBy: ByFolder, &r.InvalidUTF8: Skip, &r.DuplicateIDs: Fail} {
		if *field == "" {
			*field = value
		}
	}
	if r.SplitBy != ByFolder && r.SplitBy != ByHash {
		return wrongConfig("split by %q: must be %s or %s", r.SplitBy, ByFolder, ByHash)
	}
	if r.InvalidUTF8 != Skip && r.InvalidUTF8 != Repair {
		return wrongConfig("invalid UTF-8 %q: must be %s or %s", r.InvalidUTF8, Skip, Repair)
	}
	if !slices.Contains([]string{Fail, Skip, Keep}, r.DuplicateIDs) {
		return wrongConfig("duplicate ids %q: must be %s, %s or %s", r.DuplicateIDs, Fail, Skip, Keep)
	}
	if !(r.ValidFraction >= 0) || !(r.TestFraction >= 0) || !(r.ValidFraction+r.TestFraction < 1) {
		return wrongConfig("fractions %v for valid and %v for test: they must be at least 0 and leave something to train on", r.ValidFraction, r.TestFraction)
	}
	for _, name := range r.Domains {
		if err := domain.CheckName(name); err != nil {
			return wrongConfig("%v", err)
		}
	}
	for _, rule := range r.Files {
		if rule.Glob == "" {
			return wrongConfig("rule for domain %q: the pattern is empty", rule.Domain)
		}
		if rule.Domain == LeaveOut {
			continue
		}
		if err := domain.CheckName(rule.Domain); err != nil {
			return wrongConfig("rule %q: %v", rule.Glob, err)
		}
	}
	return nil
}

// wants reports whether documents of a domain are wanted.
func (r *Rules) wants(name string) bool {
	return len(r.Domains) == 0 || slices.Contains(r.Domains, name)
}

// hashSplit gives the split of a group: the same for the same seed, whatever else is there.
func (r *Rules) hashSplit(group string) string {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64([]byte("split\x00"), r.Seed))
	sum = sha256.Sum256(append(sum[:], group...))
	at := float64(binary.LittleEndian.Uint64(sum[:])) / math.Exp2(64)
	switch {
	case at < r.TestFraction:
		return Test
	case at < r.TestFraction+r.ValidFraction:
		return Valid
	}
	return Train
}

// globs are compiled rules.
type globs []struct {
	pattern *regexp.Regexp
	name    bool // compare with the file's name alone
	domain  string
}

func compileRules(rules []Rule) (globs, error) {
	compiled := make(globs, len(rules))
	for i, r := range rules {
		pattern, err := regexp.Compile("^" + globPattern(r.Glob) + "$")
		if err != nil {
			return nil, wrongConfig("rule %q: %v", r.Glob, err)
		}
		compiled[i].pattern, compiled[i].name, compiled[i].domain = pattern, !strings.Contains(r.Glob, "/"), r.Domain
	}
	return compiled, nil
}

// globPattern writes a glob as a regular expression.
func globPattern(glob string) string {
	var b strings.Builder
	for len(glob) > 0 {
		switch {
		case strings.HasPrefix(glob, "**/"):
			b.WriteString("(?:.*/)?")
			glob = glob[3:]
			continue
		case strings.HasPrefix(glob, "**"):
			b.WriteString(".*")
			glob = glob[2:]
			continue
		case glob[0] == '*':
			b.WriteString("[^/]*")
		case glob[0] == '?':
			b.WriteString("[^/]")
		default:
			end := strings.IndexAny(glob, "*?")
			if end < 0 {
				end = len(glob)
			}
			b.WriteString(regexp.QuoteMeta(glob[:end]))
			glob = glob[end:]
			continue
		}
		glob = glob[1:]
	}
	return b.String()
}

// domain returns the domain that the rules give a file, empty if none matches.
func (g globs) domain(file string) string {
	for _, rule := range g {
		subject := file
		if rule.name {
			subject = path.Base(file)
		}
		if rule.pattern.MatchString(subject) {
			return rule.domain
		}
	}
	return ""
}

// place is where a file stands: the parts of its path, of which the first ones name the
// input itself (a folder, or an archive).
type place struct {
	parts   []string
	inputs  int
	archive bool
}

// below is the path below the input.
func (p place) below() string { return strings.Join(p.parts[p.inputs:], "/") }

// folderSplits are the folders that name splits.
var folderSplits = map[string]string{"train": Train, "valid": Valid, "validation": Valid, "val": Valid, "dev": Valid, "test": Test}

// split returns the split that a folder names and which part of the path that is; -1 if
// there is none. The folder is the input, lies directly in it, or in an archive one level deeper.
// Any deeper one, such as the tests of a program, says nothing.
func (p place) split() (name string, at int) {
	levels := p.inputs + 1
	if p.archive {
		levels++
	}
	for i, part := range p.parts[:min(levels, len(p.parts)-1)] {
		if s, ok := folderSplits[part]; ok {
			return s, i
		}
	}
	return "", -1
}

var shardNumber = regexp.MustCompile(`-\d{5}(-of-\d{5})?$`)

// domain returns the domain by path: the first folder below the split's folder, else below
// the input. A file of records directly there has its own name, without endings and shard
// numbers; another file there has the name of the folder.
func (p place) domain(kind format, splitAt int) string {
	top := p.inputs
	if splitAt >= 0 {
		top = splitAt + 1
	}
	rest := p.parts[top:]
	above := top - 1
	if splitAt >= 0 {
		above = splitAt - 1
	}
	switch {
	case len(rest) >= 2:
		return rest[0]
	case kind.records() || above < 0:
		stem, _, _ := splitExtensions(rest[0])
		return shardNumber.ReplaceAllString(stem, "")
	}
	return p.parts[above]
}

// checkDomain is domain.CheckName with a remedy.
func checkDomain(name string) error {
	if err := domain.CheckName(name); err != nil {
		return fmt.Errorf("%w; rename it or give its files a domain by a rule", err)
	}
	return nil
}
