// Package domain says what a swarm may know about: a catalogue of 100 domains of text and
// the groups above them. It holds names, not data; which domains are active depends on
// what there is to train on (see [Catalog.Active]).
//
// The domains are the leaves of a forest whose inner nodes are groups. A group encoder
// would serve all domains under its group, a domain's encoder that domain alone:
//
//	code                  group without parent
//	└─ code-systems       group
//	   ├─ code-c          domain
//	   └─ code-rust       domain
//
// Names are unique over domains and groups, and are what data folders, shards and the
// key encoder_domains of a swarm's config.json use.
package domain

import (
	"fmt"
	"regexp"
)

// Domain is a kind of text that one encoder can specialise in.
type Domain struct {
	ID       int      `json:"id"`       // stable number, 0 and up; never given to another domain
	Name     string   `json:"name"`     // unique, see [CheckName]
	Group    string   `json:"group"`    // name of the outermost group above
	Keywords []string `json:"keywords"` // what its texts are about, for people and for topic search
	Weight   float64  `json:"weight"`   // share of a mixture relative to other domains; above 0
	Parent   string   `json:"parent"`   // name of the group directly above
}

// Group is a set of domains and smaller groups.
type Group struct {
	Name   string `json:"name"`             // unique over groups and domains
	Parent string `json:"parent,omitempty"` // name of the group above; empty for an outermost one
}

// MaxName is the length of the longest name, in bytes.
const MaxName = 64

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// CheckName returns an error unless name can be a domain's or a group's: letters, digits,
// dots, dashes and underscores, a letter or digit first, at most [MaxName] bytes. Such a
// name is safe as part of a file name.
func CheckName(name string) error {
	if len(name) > MaxName || !namePattern.MatchString(name) {
		return fmt.Errorf("%.80q is no name of a domain: use up to %d letters, digits, dots, dashes and underscores, a letter or digit first", name, MaxName)
	}
	return nil
}
