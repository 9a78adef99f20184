//go:build cgo

package tokenizer

import (
	"fmt"
	"slices"
	"testing"
	"unicode/utf8"
)

// both opens dir's tokenizer.json with the Rust library and with the Go implementation.
func both(t testing.TB, dir string) (*native, *bpe) {
	t.Helper()
	tok, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := tok.(*native)
	if n.why != nil {
		t.Fatalf("%s is not read in Go: %v", dir, n.why)
	}
	t.Cleanup(func() { n.Close() })
	return n, n.bpe
}

// compare fails unless both give the same ids, ranges and decoded text.
func compare(t testing.TB, lib *native, own *bpe, text string) {
	t.Helper()
	want, wantRanges, err := lib.EncodeOffsets(text)
	if err != nil {
		t.Fatalf("library: %q: %v", text, err)
	}
	got, gotRanges, err := own.EncodeOffsets(text)
	if err != nil {
		t.Fatalf("Go: %q: %v", text, err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%q:\nGo      %v\nlibrary %v", text, got, want)
	}
	if !slices.Equal(gotRanges, wantRanges) {
		t.Fatalf("%q:\nids     %v\nGo      %v\nlibrary %v", text, got, gotRanges, wantRanges)
	}
}

// TestEveryCharacter tells every Unicode character apart as the library does.
func TestEveryCharacter(t *testing.T) {
	lib, own := both(t, miniDir)
	bad := 0
	for r := rune(1); r <= utf8.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		text := fmt.Sprintf("a%c1%c %c!%c  %cs", r, r, r, r, r)
		want, err := lib.EncodePlain(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := own.EncodePlain(text); !slices.Equal(got, want) {
			if bad++; bad < 30 {
				t.Errorf("%U: class %d: Go %v, library %v", r, wideClass(r), got, want)
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d characters differ", bad)
	}
}
