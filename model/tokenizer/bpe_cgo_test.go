//go:build cgo

package tokenizer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// byteLevelDirs hold the tokenizers that both implementations read.
var byteLevelDirs = []string{miniDir, "testdata/neox", "testdata/prefix"}

// both opens dir's tokenizer.json with the Rust library and with the Go implementation.
func both(t testing.TB, dir string) (*native, *bpe) {
	t.Helper()
	return load(t, dir).(*native), inGo(t, dir)
}

// compare fails unless both give the same ids, offsets and decoded text.
func compare(t testing.TB, lib *native, own *bpe, text string) {
	t.Helper()
	want, wantOffsets, err := lib.EncodeOffsets(text)
	if err != nil {
		t.Fatalf("library: %q: %v", text, err)
	}
	got, gotOffsets, err := own.EncodeOffsets(text)
	if err != nil {
		t.Fatalf("Go: %q: %v", text, err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%q:\nGo      %v\nlibrary %v", text, got, want)
	}
	if own.form == nil || own.form.IsNormalString(text) {
		if !slices.Equal(gotOffsets, wantOffsets) {
			t.Fatalf("%q: ids %v\nGo      %v\nlibrary %v", text, got, gotOffsets, wantOffsets)
		}
	}
	compareDecode(t, lib, own, want)
}

// compareDecode fails unless both decode ids to the same text.
func compareDecode(t testing.TB, lib *native, own *bpe, ids []int32) {
	t.Helper()
	for _, skip := range []bool{false, true} {
		want, err := lib.lib.DecodeErr(unsigned(ids), skip)
		if err != nil {
			t.Fatalf("library: decode %v: %v", ids, err)
		}
		if got, err := own.Decode(ids, skip); err != nil || got != want {
			t.Fatalf("decode %v: Go %q, %v, library %q", ids, got, err, want)
		}
	}
}

// FuzzEncode gives the library's ids, offsets and text for any text, but one with NUL, which the
// library cannot take.
func FuzzEncode(f *testing.F) {
	for _, c := range readJSON[[]testCase](f, "mini.json") {
		f.Add(c.Text)
	}
	var libs []*native
	var owns []*bpe
	for _, dir := range byteLevelDirs {
		lib, own := both(f, dir)
		libs, owns = append(libs, lib), append(owns, own)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
			t.Skip()
		}
		for i := range libs {
			compare(t, libs[i], owns[i], text)
		}
	})
}

// FuzzDecode gives the library's text for any ids, unfinished characters included.
func FuzzDecode(f *testing.F) {
	lib, own := both(f, miniDir)
	f.Add([]byte{0, 1, 2, 3})
	f.Add([]byte{1, 100, 0, 200, 0, 255, 31, 10, 200})
	nul, _ := own.TokenID(string(byteChar[0]))
	f.Fuzz(func(t *testing.T, data []byte) {
		var ids []int32
		for i := 0; i+1 < len(data); i += 2 {
			id := int32(data[i])%34<<8 | int32(data[i+1]) // some of them outside the vocabulary
			if data[i] >= 128 {
				id = own.byteID[data[i+1]] // and many single bytes
			}
			if text, _ := own.TokenText(id); id != nul && !strings.ContainsRune(text, byteChar[0]) {
				ids = append(ids, id)
			}
		}
		if len(ids) > 0 {
			compareDecode(t, lib, own, ids)
		}
	})
}

// TestRandomText compares both implementations on random mixtures of what tokenizers split at.
func TestRandomText(t *testing.T) {
	parts := []string{" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "'", "'s", "'ll", "a", "ab", "The", "mask", "mask tail",
		"é", "e\u0301", "日本", "🙂", "\u200d", "1", "23", "½", "!", "...", "_", "<|endoftext|>", "<|padding|>", "[MASK]", "[PAD]",
		"<s>", "\u0301", "\x01", "ｆ", "Å", "가", "ᄀ", "ᅡ"}
	for _, dir := range byteLevelDirs {
		lib, own := both(t, dir)
		rng := rand.New(rand.NewPCG(1, 2))
		for range 5000 {
			var s strings.Builder
			for range rng.IntN(12) {
				s.WriteString(parts[rng.IntN(len(parts))])
			}
			compare(t, lib, own, s.String())
		}
	}
}

// TestEveryCharacter tells every Unicode character apart as the library does. Of the planes that
// Unicode has not filled, every 101st character stands for the others.
func TestEveryCharacter(t *testing.T) {
	lib, own := both(t, miniDir)
	const batch = 512
	var s strings.Builder
	n := 0
	for r := rune(1); r <= utf8.MaxRune; r++ {
		if utf8.ValidRune(r) && (r < 0x40000 || r>>16 == 0xE && r&0xFFFF < 0x200 || r%101 == 0) {
			fmt.Fprintf(&s, "a%c1%c!%c ", r, r, r)
			n++
		}
		if n < batch && r < utf8.MaxRune {
			continue
		}
		want, err := lib.EncodePlain(s.String())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := own.EncodePlain(s.String()); err != nil || !slices.Equal(got, want) {
			t.Errorf("characters up to %U differ from the library: %v", r, err)
		}
		s.Reset()
		n = 0
	}
}

// TestEveryNormalForm takes the NFC of every character that has one, beside marks of different
// combining classes, as the library does.
func TestEveryNormalForm(t *testing.T) {
	lib, own := both(t, "testdata/neox")
	tested := 0
	for r := rune(0x80); r <= utf8.MaxRune; r++ {
		p := norm.NFC.PropertiesString(string(r))
		plain := p.CCC() == 0 && p.BoundaryBefore() && len(norm.NFD.PropertiesString(string(r)).Decomposition()) == 0
		if !utf8.ValidRune(r) || plain && !unicode.Is(sinceUnicode9, r) {
			continue
		}
		tested++
		for _, format := range []string{"%c", "a%c\u0301", "a%c\u0316", "a%c\u0334", "a\u0301%c", "\U00011935%c"} {
			compare(t, lib, own, fmt.Sprintf(format, r))
		}
	}
	if tested < 2000 {
		t.Errorf("%d characters, want more than 2000", tested)
	}
}

// TestLongPieces compares pieces that are longer than anything a model was trained on.
func TestLongPieces(t *testing.T) {
	for _, dir := range byteLevelDirs {
		lib, own := both(t, dir)
		for _, unit := range []string{"a", "ab", " ", "\n", "é", "=-", "the", "日本語"} {
			compare(t, lib, own, strings.Repeat(unit, 20000/len(unit)))
		}
	}
}

// TestLongText gives the library's ids for a text that goes to the Go implementation.
func TestLongText(t *testing.T) {
	corpus, err := os.ReadFile("testdata/corpus.txt")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat(string(corpus), 1+longText/len(corpus))
	for _, dir := range byteLevelDirs {
		lib, _ := both(t, dir)
		want, err := lib.lib.EncodeWithOptionsErr(text, true)
		if err != nil {
			t.Fatal(err)
		}
		got, err := lib.Encode(text)
		if err != nil || !slices.Equal(got, signed(want.IDs)) {
			t.Errorf("%s: %v, %d ids, want %d", dir, err, len(got), len(want.IDs))
		}
		wantText, err := lib.lib.DecodeErr(want.IDs, true)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := lib.Decode(got, true); err != nil || got != wantText {
			t.Errorf("%s: %v, decoded %d bytes, want %d", dir, err, len(got), len(wantText))
		}
	}
}

// TestStreamInRust streams a decoder that only the library has: byte tokens and a stripped space.
func TestStreamInRust(t *testing.T) {
	tok := load(t, "testdata/unigram")
	rng := rand.New(rand.NewPCG(7, 8))
	for range 5000 {
		ids := make([]int32, rng.IntN(20))
		for i := range ids {
			ids[i] = 3 + rng.Int32N(int32(tok.VocabSize())-3) // 2 is NUL
			if rng.IntN(2) == 0 {
				ids[i] = 258 + rng.Int32N(int32(tok.VocabSize())-258)
			}
			if rng.IntN(10) == 0 {
				ids[i] = 1
			}
		}
		checkStream(t, tok, ids)
	}
}

// TestMoreInRust says why a file cannot be read in Go, where only the library takes it.
func TestMoreInRust(t *testing.T) {
	lib := load(t, "testdata/unigram").(*native)
	if _, err := lib.inGo(); err == nil || !strings.Contains(err.Error(), `"Unigram", not BPE`) {
		t.Errorf("reason %v", err)
	}
	for _, c := range readJSON[[]testCase](t, "unigram/cases.json") {
		c.check(t, lib)
	}
	if _, err := lib.Encode("a\x00b"); err == nil || !strings.Contains(err.Error(), "NUL at byte 1") {
		t.Errorf("error %v", err)
	}
}

// TestClosed uses a tokenizer after Close.
func TestClosed(t *testing.T) {
	tok := load(t, miniDir)
	if err := tok.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := tok.Encode("a"); err != ErrClosed {
		t.Errorf("Encode: %v", err)
	}
	if _, err := tok.Decode([]int32{1}, true); err != ErrClosed {
		t.Errorf("Decode: %v", err)
	}
	if err := tok.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}
