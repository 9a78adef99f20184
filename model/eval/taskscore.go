package eval

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// Task is what was found of a TaskSet. An item is right if its gold text is likelier
// than every other; equal ones are wrong.
type Task struct {
	Name       string         `json:"name"`
	SHA256     string         `json:"sha256"`
	Kind       string         `json:"kind"`
	Items      int            `json:"items"`
	Chance     float64        `json:"chance"`                        // accuracy of guessing
	Accuracy   float64        `json:"accuracy"`                      // by the summed log-likelihood
	Normalised *float64       `json:"accuracy_normalised,omitempty"` // by that over characters; of questions only
	Categories []TaskCategory `json:"categories,omitempty"`
}

// TaskCategory is the accuracy on the items of a category.
type TaskCategory struct {
	Category string  `json:"category"`
	Items    int     `json:"items"`
	Accuracy float64 `json:"accuracy"`
}

// candidate is one text of an item, and the ids of it that count.
type candidate struct {
	ids  []int32
	from int
}

// taskSets scores all sets.
func (e *evaluator) taskSets(ctx context.Context, r *Report) error {
	for _, set := range e.Tasks {
		scores, err := e.likelihoods(ctx, set)
		if err != nil {
			return err
		}
		r.Tasks = append(r.Tasks, set.judge(scores))
	}
	return nil
}

// likelihoods returns the summed log-likelihood of each choice of each item.
func (e *evaluator) likelihoods(ctx context.Context, set TaskSet) ([][]float64, error) {
	var texts []swarm.Text
	var from []int
	for _, item := range set.Items {
		for _, choice := range item.Choices {
			c, err := e.candidate(set.Kind, item.Context, choice)
			if err != nil {
				return nil, fmt.Errorf("tasks %s:%d: %w", set.Name, item.Line, err)
			}
			texts, from = append(texts, swarm.Text{IDs: c.ids}), append(from, c.from)
		}
	}
	judged, err := e.judge(ctx, set.Name, e.Model, texts)
	if err != nil {
		return nil, err
	}
	scores, at := make([][]float64, len(set.Items)), 0
	for i, item := range set.Items {
		for range item.Choices {
			scores[i] = append(scores[i], -judged[at].Sum(from[at], len(texts[at].IDs)))
			at++
		}
	}
	return scores, nil
}

// candidate turns a text into ids as lm-evaluation-harness does: the context with the
// choice is encoded as one text, after which the ids of the context alone do not count.
// White space at the context's end belongs to the choice, and where there is none on
// either side a space is put between.
func (e *evaluator) candidate(kind, context, choice string) (candidate, error) {
	before := strings.TrimRightFunc(context, unicode.IsSpace)
	gap := context[len(before):]
	if r, _ := utf8.DecodeRuneInString(choice); before != "" && gap == "" && !unicode.IsSpace(r) {
		gap = " "
	}
	ids, err := e.Tokenizer.Encode(before + gap + choice)
	if err != nil {
		return candidate{}, err
	}
	c := candidate{ids: ids, from: 1}
	if kind == Questions {
		head, err := e.Tokenizer.Encode(before)
		if err != nil {
			return candidate{}, err
		}
		c.from = max(1, len(head))
	}
	if c.from >= len(ids) {
		return candidate{}, fmt.Errorf("%q is a single token, which nothing stands before", choice)
	}
	return c, nil
}

// judge compares the choices of each item.
func (set TaskSet) judge(scores [][]float64) Task {
	t := Task{Name: set.Name, SHA256: set.SHA256, Kind: set.Kind, Items: len(set.Items)}
	var right, normalised, chance float64
	byCategory := map[string]*TaskCategory{}
	var categories []string
	for i, item := range set.Items {
		ok := 0.0
		if wins(scores[i], item.Gold) {
			ok = 1
		}
		right, chance = right+ok, chance+1/float64(len(item.Choices))
		perCharacter := make([]float64, len(item.Choices))
		for c, choice := range item.Choices {
			perCharacter[c] = scores[i][c] / float64(utf8.RuneCountInString(choice))
		}
		if wins(perCharacter, item.Gold) {
			normalised++
		}
		if item.Category == "" {
			continue
		}
		if byCategory[item.Category] == nil {
			byCategory[item.Category] = &TaskCategory{Category: item.Category}
			categories = append(categories, item.Category)
		}
		c := byCategory[item.Category]
		c.Items, c.Accuracy = c.Items+1, c.Accuracy+ok
	}
	n := float64(len(set.Items))
	t.Accuracy, t.Chance = right/n, chance/n
	if set.Kind == Questions {
		normalised /= n
		t.Normalised = &normalised
	}
	slices.Sort(categories)
	for _, name := range categories {
		c := byCategory[name]
		c.Accuracy /= float64(c.Items)
		t.Categories = append(t.Categories, *c)
	}
	return t
}

// wins reports whether a score is larger than all others.
func wins(scores []float64, gold int) bool {
	for i, s := range scores {
		if i != gold && s >= scores[gold] {
			return false
		}
	}
	return true
}
