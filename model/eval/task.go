package eval

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Limits of a file of tasks.
const (
	maxTaskLine  = 1 << 20 // bytes of a line
	maxTaskItems = 1 << 20
	maxChoices   = 1024
)

// Kinds of tasks.
const (
	Pairs     = "minimal pairs"
	Questions = "multiple choice"
)

// TaskSet is a file of tasks of one kind.
type TaskSet struct {
	Name   string
	SHA256 string // of the file
	Kind   string // Pairs or Questions
	Items  []Item
}

// Item is a pair of sentences, of which the first should be likelier, or a context
// with choices, of which Gold should.
type Item struct {
	Line     int
	Category string // may be empty
	Context  string // of a question; may be empty
	Choices  []string
	Gold     int // of the choices; 0 of a pair
}

// taskLine is a line as it stands in a file. Names are those of BLiMP and of
// lm-evaluation-harness; other fields are metadata and not read.
type taskLine struct {
	Good         *string  `json:"good"`
	Bad          *string  `json:"bad"`
	SentenceGood *string  `json:"sentence_good"`
	SentenceBad  *string  `json:"sentence_bad"`
	Context      *string  `json:"context"`
	Query        *string  `json:"query"`
	Choices      []string `json:"choices"`
	Gold         *int     `json:"gold"`
	Category     string   `json:"category"`
	UID          string   `json:"UID"`
}

// ParseTasks reads tasks, a JSON object a line: `good` and `bad` (or `sentence_good` and
// `sentence_bad`) of a minimal pair, or `context` (or `query`), `choices` and `gold` of a
// question; `category` (or `UID`) is optional. Blank lines are passed over. Errors name
// the line.
func ParseTasks(name string, r io.Reader) (TaskSet, error) {
	set := TaskSet{Name: name}
	var all bytes.Buffer
	in := bufio.NewScanner(io.TeeReader(r, &all))
	in.Buffer(nil, maxTaskLine)
	n := 0
	for in.Scan() {
		n++
		if len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		item, kind, err := parseItem(in.Bytes())
		if err == nil && set.Kind != "" && set.Kind != kind {
			err = fmt.Errorf("it is of the kind %s, the lines before are %s; put them into files of their own", kind, set.Kind)
		}
		if err == nil && len(set.Items) == maxTaskItems {
			err = fmt.Errorf("more than %d tasks; split the file", maxTaskItems)
		}
		if err != nil {
			return TaskSet{}, fmt.Errorf("read tasks %s:%d: %w", name, n, err)
		}
		item.Line, set.Kind = n, kind
		set.Items = append(set.Items, item)
	}
	if err := in.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("the line is longer than %d bytes", maxTaskLine)
		}
		return TaskSet{}, fmt.Errorf("read tasks %s:%d: %w", name, n+1, err)
	}
	if len(set.Items) == 0 {
		return TaskSet{}, fmt.Errorf("read tasks %s: the file holds no task", name)
	}
	set.SHA256 = hexSum(all.Bytes())
	return set, nil
}

// parseItem reads a line.
func parseItem(line []byte) (Item, string, error) {
	if !utf8.Valid(line) {
		return Item{}, "", errors.New("it is not valid UTF-8")
	}
	var l taskLine
	if err := json.Unmarshal(line, &l); err != nil {
		return Item{}, "", fmt.Errorf("it is not a JSON object with the fields of a task: %w", err)
	}
	good, bad := first(l.Good, l.SentenceGood), first(l.Bad, l.SentenceBad)
	context := first(l.Context, l.Query)
	item := Item{Category: l.Category}
	if item.Category == "" {
		item.Category = l.UID
	}
	isPair, isQuestion := good != nil || bad != nil, context != nil || l.Choices != nil || l.Gold != nil
	switch {
	case isPair && isQuestion:
		return Item{}, "", errors.New("it is a pair and a question at once")
	case isPair:
		if good == nil || bad == nil || *good == "" || *bad == "" {
			return Item{}, "", errors.New("good and bad must both be there, and not empty")
		}
		if *good == *bad {
			return Item{}, "", errors.New("good and bad are the same sentence")
		}
		item.Choices = []string{*good, *bad}
		return item, Pairs, nil
	case isQuestion:
		return questionItem(item, context, l)
	}
	return Item{}, "", errors.New("it has neither good and bad, nor context, choices and gold")
}

func questionItem(item Item, context *string, l taskLine) (Item, string, error) {
	switch {
	case context == nil:
		return Item{}, "", errors.New("context is missing; an empty one is \"\"")
	case len(l.Choices) < 2:
		return Item{}, "", fmt.Errorf("choices has %d entries, a question needs two or more", len(l.Choices))
	case len(l.Choices) > maxChoices:
		return Item{}, "", fmt.Errorf("choices has %d entries, at most %d are read", len(l.Choices), maxChoices)
	case l.Gold == nil:
		return Item{}, "", errors.New("gold is missing: the place of the right choice, counted from 0")
	case *l.Gold < 0 || *l.Gold >= len(l.Choices):
		return Item{}, "", fmt.Errorf("gold is %d, but the choices are 0 to %d", *l.Gold, len(l.Choices)-1)
	}
	for i, choice := range l.Choices {
		if strings.TrimSpace(choice) == "" {
			return Item{}, "", fmt.Errorf("choice %d is empty", i)
		}
	}
	item.Context, item.Choices, item.Gold = *context, l.Choices, *l.Gold
	return item, Questions, nil
}

// first is the first that is there.
func first(values ...*string) *string {
	for _, v := range values {
		if v != nil {
			return v
		}
	}
	return nil
}
