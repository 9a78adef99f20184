package tokenizer

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// stream pushes all ids and returns what came out, push by push and at the end.
func stream(t testing.TB, tok Tokenizer, ids []int32, skip bool) (pushed []string, flushed string) {
	t.Helper()
	s := NewStream(tok, skip)
	for _, id := range ids {
		text, err := s.Push(id)
		if err != nil {
			t.Fatal(err)
		}
		pushed = append(pushed, text)
	}
	flushed, err := s.Flush()
	if err != nil {
		t.Fatal(err)
	}
	return pushed, flushed
}

// checkStream fails unless the stream of ids adds up to Decode's text in whole characters.
func checkStream(t testing.TB, tok Tokenizer, ids []int32) {
	t.Helper()
	for _, skip := range []bool{false, true} {
		want, err := tok.Decode(ids, skip)
		if err != nil {
			t.Fatal(err)
		}
		pushed, flushed := stream(t, tok, ids, skip)
		if got := strings.Join(pushed, "") + flushed; got != want {
			t.Fatalf("%v, skip %v: stream %q, Decode %q", ids, skip, got, want)
		}
		for _, s := range append(pushed, flushed) {
			if !utf8.ValidString(s) {
				t.Fatalf("%v: %q is not whole characters", ids, s)
			}
		}
	}
}

// streamDirs are tokenizers whose decoders differ.
func streamDirs() []string {
	return []string{miniDir, "testdata/neox", "testdata/spm", "testdata/spm_prefix"}
}

// TestStream adds up to Decode for texts and for random ids, with every tokenizer.
func TestStream(t *testing.T) {
	toks := []Tokenizer{&preprocessed{Tokenizer: load(t, miniDir), pre: Preprocess{Form: NFC}}}
	for _, dir := range streamDirs() {
		toks = append(toks, load(t, dir))
	}
	for _, tok := range toks {
		for _, c := range readJSON[[]testCase](t, "mini.json") {
			ids, err := tok.Encode(c.Text)
			if err != nil {
				t.Fatal(err)
			}
			checkStream(t, tok, ids)
		}
		rng := rand.New(rand.NewPCG(3, 4))
		for range 3000 {
			ids := make([]int32, rng.IntN(20))
			for i := range ids {
				ids[i] = rng.Int32N(int32(tok.VocabSize() + 2))
				if rng.IntN(2) == 0 {
					ids[i] = rng.Int32N(270) // where the single bytes are
				}
			}
			checkStream(t, tok, ids)
		}
	}
}

// TestStreamShowsEarly gives a character out as soon as its last byte is there.
func TestStreamShowsEarly(t *testing.T) {
	tok := inGo(t, miniDir)
	var ids []int32
	for _, b := range []byte("a日🙂\xe6\x97b") {
		ids = append(ids, tok.byteID[b])
	}
	pushed, flushed := stream(t, tok, append(ids, tok.byteID[0xf0]), true)
	want := []string{"a", "", "", "日", "", "", "", "🙂", "", "", "\ufffdb", ""}
	if fmt.Sprintf("%q", pushed) != fmt.Sprintf("%q", want) || flushed != "\ufffd" {
		t.Errorf("pushed %q, flushed %q\nwant   %q", pushed, flushed, want)
	}
}

// TestStreamKeepsLittle holds no more after many tokens than after few, whatever they are.
func TestStreamKeepsLittle(t *testing.T) {
	for _, dir := range streamDirs() {
		tok := load(t, dir)
		s := NewStream(tok, true)
		rng := rand.New(rand.NewPCG(5, 6))
		for range 200_000 {
			id := rng.Int32N(int32(tok.VocabSize()))
			if text, _ := tok.TokenText(id); isByteToken(text) {
				continue // a run of byte tokens is read as a whole
			}
			if _, err := s.Push(id); err != nil {
				t.Fatal(err)
			}
			if len(s.pending)+len(s.shown)+len(s.waiting)+len(s.text) > 200 {
				t.Fatalf("%s: the stream holds %d ids and %q", dir, len(s.shown)+len(s.waiting), s.text)
			}
		}
	}
}

func TestStreamNegativeID(t *testing.T) {
	if _, err := NewStream(load(t, miniDir), true).Push(-1); err == nil || !strings.Contains(err.Error(), "id -1") {
		t.Errorf("error %v", err)
	}
}

// FuzzLossy replaces what is not UTF-8 alike in one go and byte by byte, and never touches what is.
func FuzzLossy(f *testing.F) {
	for _, s := range []string{"", "a", "日本", "\xe6\x97", "\xf0\x9f\x99", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\xaf", "a\xffb"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, rest := appendLossy(nil, data, true)
		if rest != nil || !utf8.Valid(whole) || utf8.Valid(data) && string(whole) != string(data) {
			t.Fatalf("%q became %q, rest %q", data, whole, rest)
		}
		var parts, pending []byte
		for _, b := range data {
			var text []byte
			text, pending = appendLossy(nil, append(pending, b), false)
			if parts = append(parts, text...); len(pending) > 3 {
				t.Fatalf("%q pending", pending)
			}
		}
		text, _ := appendLossy(nil, pending, true)
		if got := string(append(parts, text...)); got != string(whole) {
			t.Fatalf("%q: byte by byte %q, in one go %q", data, got, whole)
		}
	})
}

func ExampleStream() {
	tok, err := Load("../../weights/mamba2-mini")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tok.Close()
	ids, err := tok.EncodePlain("Zürich → 東京")
	if err != nil {
		fmt.Println(err)
		return
	}
	s := NewStream(tok, true)
	for _, id := range ids {
		text, err := s.Push(id)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%q ", text)
	}
	rest, err := s.Flush()
	fmt.Printf("%q %v\n", rest, err)
	// Output: "Z" "ü" "r" "ich" " →" " " "" "" "東" "" "" "京" "" <nil>
}

func BenchmarkStream(b *testing.B) {
	tok := load(b, miniDir)
	ids, err := tok.Encode(strings.Repeat("The swarm has many small encoders and one router. ", 100))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		stream(b, tok, ids, true)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(ids)), "ns/token")
}
