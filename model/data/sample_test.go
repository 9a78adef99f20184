package data

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestSample: the texts are pieces of single documents, in order and from the whole domain,
// about as many as asked for.
func TestSample(t *testing.T) {
	var records []string
	for i := range 40 {
		records = append(records, fmt.Sprint(i, " ")+strings.Repeat("one of many numbers ", 3+i%7))
	}
	cfg := config(t, write(t, map[string]string{"train/law.jsonl": texts(t, records...), "valid/law.jsonl": texts(t, "the word"), "train/birds.jsonl": texts(t, "the text")}))
	prepare(t, cfg)
	var all [][]int32
	first := map[int]int{} // piece of a document's begin
	for i, doc := range documents(t, cfg.Out, Train, "law") {
		first[i] = len(all)
		for piece := range slices.Chunk(doc.IDs, 16) {
			all = append(all, piece)
		}
	}
	for _, most := range []int{1, 10, 10000} {
		got, err := Sample(cfg.Out, Train, "law", 16, most)
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for _, text := range got {
			for at < len(all) && !slices.Equal(all[at], text) {
				at++
			}
			if at == len(all) {
				t.Fatalf("%d: a text is not a piece of a document, or out of order", most)
			}
			at++
		}
		if len(got) > 2*most || len(got) < min(most, len(all))/2 {
			t.Errorf("%d texts of %d, asked for %d", len(got), len(all), most)
		}
		if most > 1 && at < first[30] {
			t.Errorf("%d: all texts are before document 30 of 40", most)
		}
	}
	if _, err := Sample(cfg.Out, Valid, "birds", 16, 3); !errors.Is(err, ErrEmptyDomain) {
		t.Errorf("a domain without held-out texts: %v", err)
	}
	if _, err := Sample(cfg.Out, Train, "stars", 16, 3); err == nil {
		t.Error("an unknown domain is taken")
	}
}
