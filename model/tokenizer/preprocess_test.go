package tokenizer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPreprocess(t *testing.T) {
	all := Preprocess{Form: NFKC, StripControl: true, CollapseWhitespace: true}
	for _, test := range []struct {
		pre        Preprocess
		text, want string
	}{
		{Preprocess{}, " a\x00 \u00a0 e\u0301 ﬁ\n\n", " a\x00 \u00a0 e\u0301 ﬁ\n\n"},
		{Preprocess{Form: NFC}, "e\u0301 \u212b ﬁ", "é Å ﬁ"},
		{Preprocess{Form: NFKC}, "e\u0301 ﬁ ｆｕｌｌ ½", "é fi full 1⁄2"},
		{Preprocess{StripControl: true}, "\x00a\tb\r\n\x7f\u0085c\x1b[1m", "a\tb\r\nc[1m"},
		{Preprocess{StripControl: true}, "\x01\x02", ""},
		{Preprocess{CollapseWhitespace: true}, "  a \t b \n\n c\u00a0\u2003d ", " a b\nc d "},
		{Preprocess{CollapseWhitespace: true}, "a b\nc", "a b\nc"},
		{all, "", ""},
		{all, "e\x00\u0301\x01 \x02 ﬁ", "é fi"},
	} {
		if got, _ := test.pre.Apply(test.text); got != test.want {
			t.Errorf("%+v, %q: %q, want %q", test.pre, test.text, got, test.want)
		}
	}
}

func TestAlignment(t *testing.T) {
	all := Preprocess{Form: NFKC, StripControl: true, CollapseWhitespace: true}
	for _, test := range []struct {
		text, part, want string // where part is in the cleaned text, want is in the original
	}{
		{"abc", "b", "b"},
		{"a\x00bc", "bc", "bc"},
		{"a\x00bc", "ab", "a\x00b"},
		{"xe\u0301y", "é", "e\u0301"},
		{"x  \n y", "\n", "  \n "},
		{"x  y", "y", "y"},
		{"ﬁn", "fi", "ﬁ"},
		{"ﬁn", "f", "ﬁ"},
		{"ﬁn", "in", "ﬁn"},
		{"e\x00\u0301 \x01 ﬁ!", "é", "e\x00\u0301"},
		{"e\x00\u0301 \x01 ﬁ!", " fi!", " \x01 ﬁ!"},
	} {
		clean, back := all.Apply(test.text)
		at := strings.Index(clean, test.part)
		if at < 0 {
			t.Fatalf("%q is not in %q", test.part, clean)
		}
		lo, hi := back.Span(at, at+len(test.part))
		if got := test.text[lo:hi]; got != test.want {
			t.Errorf("%q: %q came from %q, want %q", test.text, test.part, got, test.want)
		}
	}
	if lo, hi := (Alignment{}).Span(2, 5); lo != 2 || hi != 5 {
		t.Errorf("no change: %d, %d", lo, hi)
	}
	clean, back := all.Apply("\x00\x01")
	if lo, hi := back.Span(0, len(clean)); lo != 0 || hi != 0 {
		t.Errorf("nothing left: %d, %d", lo, hi)
	}
}

// FuzzPreprocess cleans twice as once, keeps UTF-8, and maps every character to a range that
// lies in the text, rises, and gives the same character when it is cleaned alone.
func FuzzPreprocess(f *testing.F) {
	for _, c := range readJSON[[]testCase](f, "mini.json") {
		f.Add(c.Text, uint8(15))
	}
	f.Fuzz(func(t *testing.T, text string, flags uint8) {
		if !utf8.ValidString(text) {
			t.Skip()
		}
		pre := Preprocess{StripControl: flags&1 != 0, CollapseWhitespace: flags&2 != 0}
		if flags&4 != 0 {
			pre.Form = NFC
		}
		if flags&8 != 0 {
			pre.Form = NFKC
		}
		clean, back := pre.Apply(text)
		if !utf8.ValidString(clean) {
			t.Fatalf("%q became %q", text, clean)
		}
		if pre == (Preprocess{}) && clean != text {
			t.Fatalf("%q became %q", text, clean)
		}
		if again, _ := pre.Apply(clean); again != clean {
			t.Fatalf("%q, once %q, twice %q", text, clean, again)
		}
		last := 0
		for i := range clean {
			_, size := utf8.DecodeRuneInString(clean[i:])
			lo, hi := back.Span(i, i+size)
			if lo < last || hi < lo || hi > len(text) {
				t.Fatalf("%q: character %d came from [%d, %d) after %d", text, i, lo, hi, last)
			}
			last = lo
			if part, _ := pre.Apply(text[lo:hi]); !strings.Contains(part, clean[i:i+size]) && !pre.CollapseWhitespace {
				t.Fatalf("%q: %q came from %q", text, clean[i:i+size], text[lo:hi])
			}
		}
	})
}

// TestPreprocessOnLoad cleans before encoding where the configuration says so.
func TestPreprocessOnLoad(t *testing.T) {
	dir := t.TempDir()
	data, err := os.ReadFile(filepath.Join(miniDir, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	pre := Preprocess{Form: NFC, StripControl: true, CollapseWhitespace: true}
	if err := (Config{BOSToken: "<|endoftext|>", Preprocess: pre}).WriteFile(dir); err != nil {
		t.Fatal(err)
	}
	tok, plain := load(t, dir), load(t, miniDir)
	if tok.Config().Preprocess != pre || tok.Config().BOSToken != "<|endoftext|>" {
		t.Errorf("config %+v", tok.Config())
	}
	text, clean := "cafe\u0301  \x00noir", "café noir"
	want, wantOffsets, err := plain.EncodeOffsets(clean)
	if err != nil {
		t.Fatal(err)
	}
	got, offsets, err := tok.EncodeOffsets(text)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%v, %v, want %v", got, err, want)
	}
	for i, o := range offsets {
		if part, _ := pre.Apply(text[o[0]:o[1]]); part != clean[wantOffsets[i][0]:wantOffsets[i][1]] {
			t.Errorf("token %d came from %q, want %q", i, text[o[0]:o[1]], clean[wantOffsets[i][0]:wantOffsets[i][1]])
		}
	}
	if got, err := tok.Encode(text); err != nil || !slices.Equal(got, want) {
		t.Errorf("Encode %v, %v, want %v", got, err, want)
	}
	if got, err := tok.EncodePlain(text); err != nil || !slices.Equal(got, want[1:]) {
		t.Errorf("EncodePlain %v, %v, want %v", got, err, want[1:])
	}
}

func ExamplePreprocess_Apply() {
	pre := Preprocess{Form: NFC, CollapseWhitespace: true}
	clean, back := pre.Apply("cafe\u0301   noir")
	lo, hi := back.Span(strings.Index(clean, "noir"), len(clean))
	fmt.Println(clean, lo, hi)
	// Output: café noir 9 13
}
