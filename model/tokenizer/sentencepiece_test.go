package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// TestSentencePiece gives the ids and texts of Python's sentencepiece, and ranges that add up to
// the text.
func TestSentencePiece(t *testing.T) {
	for _, name := range []string{"spm", "spm_prefix"} {
		tok := load(t, filepath.Join("testdata", name))
		for _, c := range readJSON[[]testCase](t, name+"/cases.json") {
			got, err := tok.EncodePlain(c.Text)
			if err != nil || !slices.Equal(got, c.Plain) {
				t.Errorf("%s, %q: %v, %v, want %v", name, c.Text, got, err, c.Plain)
			}
			if got, err := tok.Decode(c.Plain, false); err != nil || got != c.Decoded {
				t.Errorf("%s, %q: Decode %q, %v, want %q", name, c.Text, got, err, c.Decoded)
			}
			ids, offsets, err := tok.EncodeOffsets(c.Text)
			if err != nil || ids[0] != 1 || !slices.Equal(ids[1:], got) || len(offsets) != len(ids) {
				t.Errorf("%s, %q: EncodeOffsets %v, %v, %v", name, c.Text, ids, offsets, err)
				continue
			}
			at := 0
			for i, o := range offsets {
				if o[0] > at || o[1] < at || o[1] < o[0] {
					t.Errorf("%s, %q: token %d covers %v, text before it ends at %d", name, c.Text, i, o, at)
				}
				at = o[1]
			}
			if at != len(c.Text) {
				t.Errorf("%s, %q: tokens end at %d", name, c.Text, at)
			}
		}
	}
}

func TestSentencePieceVocabulary(t *testing.T) {
	tok := load(t, filepath.Join("testdata", "spm"))
	for id, want := range []string{"<unk>", "<s>", "</s>", "<0x00>"} {
		if got, ok := tok.TokenText(int32(id)); !ok || got != want {
			t.Errorf("token %d is %q, want %q", id, got, want)
		}
	}
	if !slices.Equal(tok.SpecialIDs(), []int32{0, 1, 2}) {
		t.Errorf("special ids %v", tok.SpecialIDs())
	}
	if c := tok.Config(); c.BOSToken != "<s>" || c.EOSToken != "</s>" || !c.AddBOSToken || c.AddEOSToken {
		t.Errorf("config %+v", c)
	}
	if got, err := tok.Encode(""); err != nil || !slices.Equal(got, []int32{1}) {
		t.Errorf("empty text: %v, %v", got, err)
	}
	if text, err := tok.Decode([]int32{1, 2}, false); err != nil || text != "" {
		t.Errorf("control tokens read %q, %v", text, err)
	}
}

// TestSentencePieceInParts cuts a long text and gives the ids of the whole.
func TestSentencePieceInParts(t *testing.T) {
	for _, name := range []string{"spm", "spm_prefix"} {
		tok := load(t, filepath.Join("testdata", name)).(*sentencePiece)
		if !tok.divisible {
			t.Fatalf("%s cannot be cut", name)
		}
		text := strings.Repeat("many  small encoders▁ and é日 one router \u2581x ", 6000)
		parts, partOffsets, err := tok.EncodeOffsets(text)
		if err != nil {
			t.Fatal(err)
		}
		tok.divisible = false
		whole, wholeOffsets, err := tok.EncodeOffsets(text)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(parts, whole) || !slices.Equal(partOffsets, wholeOffsets) {
			t.Errorf("%s: %d ids in parts, %d whole", name, len(parts), len(whole))
		}
	}
}

// TestSentencePieceRefused refuses models whose normalizer or kind is not supported.
func TestSentencePieceRefused(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "spm", "tokenizer.model"))
	if err != nil {
		t.Fatal(err)
	}
	field := func(num protowire.Number, inner protowire.Number, value uint64) []byte {
		msg := protowire.AppendVarint(protowire.AppendTag(nil, inner, protowire.VarintType), value)
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), msg)
	}
	charsmap := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), []byte("map"))
	for _, test := range []struct {
		name  string
		extra []byte
		want  string
	}{
		{"charsmap", protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), charsmap), "rewrites characters"},
		{"extra white space", field(3, 4, 1), "removes extra white space"},
		{"unigram", field(2, 3, 1), "UNIGRAM not supported"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "tokenizer.model"), append(slices.Clip(data), test.extra...), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(dir)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "converts it to tokenizer.json") {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
}

// FuzzSentencePieceModel reads any bytes without a panic.
func FuzzSentencePieceModel(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("testdata", "spm", "tokenizer.model"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:500])
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := newSentencePiece(data, &Config{})
		if err != nil {
			return
		}
		if ids, err := tok.Encode("a b"); err == nil {
			_, _ = tok.Decode(ids, false)
		}
	})
}
