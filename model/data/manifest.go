package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/domain"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

// ManifestFile is the name of the file that describes a data folder.
const ManifestFile = "data.json"

// TokenizerDir is the folder in a data folder that holds the tokenizer.
const TokenizerDir = "tokenizer"

// manifestVersion is the version of data.json that is read and written.
const manifestVersion = 1

// The splits of a data folder.
const (
	Train = "train" // what a model learns from
	Valid = "valid" // what is looked at while it learns
	Test  = "test"  // what is looked at once, at the end
)

// splitNames are the splits in the order of data.json.
var splitNames = []string{Train, Valid, Test}

// Manifest is the content of data.json. It is the same for the same texts, tokenizer and
// rules: it holds no times and no absolute paths.
type Manifest struct {
	Version   int           `json:"version"`
	Tokenizer TokenizerInfo `json:"tokenizer"`
	Domains   []DomainInfo  `json:"domains"` // by rising name
	Splits    []SplitInfo   `json:"splits"`  // train, valid, test; a split without documents is left out
	Rules     Rules         `json:"rules"`
	Sources   []Source      `json:"sources"`
	Counts    Counts        `json:"counts"`
}

// TokenizerInfo says which tokenizer made the ids.
type TokenizerInfo struct {
	File       string               `json:"file"`       // tokenizer.json or tokenizer.model
	SHA256     string               `json:"sha256"`     // of that file
	VocabSize  int                  `json:"vocab_size"` // rows that an embedding needs
	Preprocess tokenizer.Preprocess `json:"preprocess"` // from tokenizer_config.json
}

// DomainInfo is a domain of the data.
type DomainInfo struct {
	ID    int    `json:"id"` // place in Manifest.Domains
	Name  string `json:"name"`
	Group string `json:"group,omitempty"` // outermost group in the catalogue; empty for a domain that is not in it
}

// SplitInfo is a split with its domains.
type SplitInfo struct {
	Name    string `json:"name"`
	Domains []Part `json:"domains"` // in the order of Manifest.Domains; one without documents is left out
}

// Part is what a split holds of a domain.
type Part struct {
	Domain string      `json:"domain"`
	Size               // sums over the shards
	Shards []ShardInfo `json:"shards"`
}

// Size counts.
type Size struct {
	Documents int64 `json:"documents"`
	Tokens    int64 `json:"tokens"`
	Bytes     int64 `json:"bytes"` // of text, in UTF-8
}

func (s *Size) add(o Size) {
	s.Documents, s.Tokens, s.Bytes = s.Documents+o.Documents, s.Tokens+o.Tokens, s.Bytes+o.Bytes
}

// ShardInfo is one shard.
type ShardInfo struct {
	File string `json:"file"` // below the data folder, with slashes
	Size
	SHA256 string `json:"sha256"` // the checksum in its header
}

// Source is an input.
type Source struct {
	Name      string `json:"name"`      // last part of its path
	Documents int64  `json:"documents"` // kept
	Bytes     int64  `json:"bytes"`     // kept
}

// Counts says what became of the documents that were read. Every document read is kept or
// counted by one of the reasons.
type Counts struct {
	Files        int64 `json:"files"`         // read
	SkippedFiles int64 `json:"skipped_files"` // of a type that is not read, binary, excluded by a rule
	Read         int64 `json:"read"`
	Kept         int64 `json:"kept"`
	Duplicates   int64 `json:"duplicates"`    // same text as one before
	DuplicateIDs int64 `json:"duplicate_ids"` // other text, same id as one before in the domain: dropped
	Empty        int64 `json:"empty"`         // nothing but white space
	InvalidUTF8  int64 `json:"invalid_utf8"`  // dropped
	Excluded     int64 `json:"excluded"`      // of a domain that was not asked for
	Repaired     int64 `json:"repaired"`      // kept, with U+FFFD in place of what was not UTF-8
}

// shardFile is the name of a shard below the data folder.
func shardFile(split, domain string, n int) string {
	return fmt.Sprintf("%s/%s-%05d.tok", split, domain, n)
}

// ReadManifest reads and checks dir's data.json. The error wraps fs.ErrNotExist where
// there is none.
func ReadManifest(dir string) (*Manifest, error) {
	text, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no prepared data; `mes data prepare` makes it: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read data: %w", err)
	}
	m, err := ParseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, ManifestFile), err)
	}
	return m, nil
}

// ParseManifest reads the content of a data.json. Names of files are those that Prepare
// gives, so none leads out of the folder.
func ParseManifest(text []byte) (*Manifest, error) {
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return nil, err
	}
	if version.Version != manifestVersion {
		return nil, fmt.Errorf("version %d; this program reads version %d, prepare the data again", version.Version, manifestVersion)
	}
	m := &Manifest{}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(m); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the object")
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

var hexSum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// check returns the first thing that does not fit.
func (m *Manifest) check() error {
	if m.Tokenizer.VocabSize < 1 || int64(m.Tokenizer.VocabSize) > 1<<31 {
		return fmt.Errorf("tokenizer: vocab_size %d", m.Tokenizer.VocabSize)
	}
	if !hexSum.MatchString(m.Tokenizer.SHA256) {
		return fmt.Errorf("tokenizer: sha256 %q", m.Tokenizer.SHA256)
	}
	place := map[string]int{}
	for i, d := range m.Domains {
		if err := domain.CheckName(d.Name); err != nil {
			return err
		}
		if d.ID != i || i > 0 && m.Domains[i-1].Name >= d.Name {
			return fmt.Errorf("domains: %s has id %d at place %d; names must rise and ids count from 0", d.Name, d.ID, i)
		}
		place[d.Name] = i
	}
	last := -1
	for _, s := range m.Splits {
		at := slices.Index(splitNames, s.Name)
		if at <= last {
			return fmt.Errorf("splits: %q; they must be %s, in this order", s.Name, strings.Join(splitNames, ", "))
		}
		last = at
		before := -1
		for _, p := range s.Domains {
			at, ok := place[p.Domain]
			if !ok || at <= before {
				return fmt.Errorf("split %s: domain %q is unknown, double or out of order", s.Name, p.Domain)
			}
			before = at
			if err := p.check(s.Name); err != nil {
				return fmt.Errorf("split %s: domain %s: %w", s.Name, p.Domain, err)
			}
		}
	}
	return nil
}

func (p *Part) check(split string) error {
	const limit = 1 << 56
	var sum Size
	for i, s := range p.Shards {
		if want := shardFile(split, p.Domain, i); s.File != want {
			return fmt.Errorf("shard %d is %q, want %s", i, s.File, want)
		}
		if !hexSum.MatchString(s.SHA256) {
			return fmt.Errorf("%s: sha256 %q", s.File, s.SHA256)
		}
		for _, n := range []int64{s.Documents, s.Tokens, s.Bytes} {
			if n < 0 || n > limit {
				return fmt.Errorf("%s: impossible size %d", s.File, n)
			}
		}
		sum.add(s.Size)
	}
	if sum != p.Size || len(p.Shards) == 0 || sum.Documents == 0 {
		return fmt.Errorf("the shards add up to %d documents, %d tokens, %d bytes, not to what it says", sum.Documents, sum.Tokens, sum.Bytes)
	}
	return nil
}

// Split returns what a split holds, and whether it is there.
func (m *Manifest) Split(name string) (SplitInfo, bool) {
	for _, s := range m.Splits {
		if s.Name == name {
			return s, true
		}
	}
	return SplitInfo{}, false
}

// Part returns what the split holds of a domain; the zero Part if nothing.
func (s *SplitInfo) Part(domain string) Part {
	for _, p := range s.Domains {
		if p.Domain == domain {
			return p
		}
	}
	return Part{}
}

// names of the domains.
func (m *Manifest) names() []string {
	var names []string
	for _, d := range m.Domains {
		names = append(names, d.Name)
	}
	return names
}

// part finds the part of a domain in a split. Errors say what there is instead.
func (m *Manifest) part(split, name string) (Part, error) {
	s, ok := m.Split(split)
	if !ok {
		var have []string
		for _, s := range m.Splits {
			have = append(have, s.Name)
		}
		return Part{}, wrongConfig("the data has no split %q, it has %s", split, strings.Join(have, ", "))
	}
	p := s.Part(name)
	if len(p.Shards) > 0 {
		return p, nil
	}
	if !slices.Contains(m.names(), name) {
		return Part{}, wrongConfig("the data has no domain %q, it has %s", name, strings.Join(m.names(), ", "))
	}
	return Part{}, fmt.Errorf("%w: domain %s, split %s", ErrEmptyDomain, name, split)
}

// open opens the shards of a part and compares each with data.json.
func (m *Manifest) open(dir string, p Part) (shards []*Shard, err error) {
	defer func() {
		if err != nil {
			closeAll(shards)
		}
	}()
	for _, info := range p.Shards {
		path := filepath.Join(dir, filepath.FromSlash(info.File))
		s, err := OpenShard(path)
		if err != nil {
			return shards, err
		}
		shards = append(shards, s)
		if s.Sum() != info.SHA256 || s.Tokens() != info.Tokens || int64(s.Documents()) != info.Documents || s.Bytes() != info.Bytes {
			return shards, shardError(path, fmt.Errorf("%w: it is not the shard that %s describes", ErrChecksum, ManifestFile))
		}
		if s.VocabSize() != m.Tokenizer.VocabSize {
			return shards, shardError(path, fmt.Errorf("%w: vocabulary of %d, %s says %d", ErrFormat, s.VocabSize(), ManifestFile, m.Tokenizer.VocabSize))
		}
	}
	return shards, nil
}

func closeAll(shards []*Shard) {
	for _, s := range shards {
		s.Close()
	}
}
