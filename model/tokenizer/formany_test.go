package tokenizer

import (
	"os"
	"slices"
	"testing"
)

// TestForMany holds that the tokenizer for many texts gives the same ids, cleaning included.
func TestForMany(t *testing.T) {
	text, err := os.ReadFile("testdata/corpus.txt")
	if err != nil {
		t.Fatal(err)
	}
	tok := load(t, miniDir)
	for name, tok := range map[string]Tokenizer{"plain": tok, "cleaned": &preprocessed{Tokenizer: tok, pre: Preprocess{CollapseWhitespace: true}}} {
		many := ForMany(tok)
		if _, isLibrary := many.(interface{ plainGo() (*bpe, bool) }); isLibrary {
			t.Errorf("%s: the library is left", name)
		}
		want, err := tok.Encode(string(text))
		if err != nil {
			t.Fatal(err)
		}
		got, err := many.Encode(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: other ids", name)
		}
	}
}
