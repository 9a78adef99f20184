package tokenizer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const miniDir = "../../weights/mamba2-mini"

// testCase is what HuggingFace's Python library, or Python's SentencePiece, makes of a text.
type testCase struct {
	Text    string
	IDs     []int32
	Plain   []int32
	Offsets [][2]int
	Decoded string
	Skipped string
}

// readJSON reads a file of testdata, written by testdata/make_fixtures.py.
func readJSON[T any](t testing.TB, name string) T {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// load opens the tokenizer of dir for the time of the test.
func load(t testing.TB, dir string) Tokenizer {
	t.Helper()
	tok, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tok.Close() })
	return tok
}

// inGo opens the tokenizer.json of dir with the Go implementation.
func inGo(t testing.TB, dir string) *bpe {
	t.Helper()
	path := filepath.Join(dir, "tokenizer.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, v, err := parseHF(path, data)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBPE(f, v, &Config{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// check compares tok with what Python said about one text. Offsets of the Go implementation are
// left out where NFC changes the text: they cover the whole of what was changed.
func (c testCase) check(t *testing.T, tok Tokenizer) {
	t.Helper()
	own, ok := tok.(*bpe)
	exact := !ok || own.form == nil || own.form.IsNormalString(c.Text)
	ids, offsets, err := tok.EncodeOffsets(c.Text)
	if err != nil {
		t.Errorf("%q: %v", c.Text, err)
	}
	if !slices.Equal(ids, c.IDs) {
		t.Errorf("%q: ids %v, want %v", c.Text, ids, c.IDs)
	} else if exact && !slices.Equal(offsets, c.Offsets) {
		t.Errorf("%q: offsets %v, want %v", c.Text, offsets, c.Offsets)
	}
	if ids, err = tok.Encode(c.Text); err != nil || !slices.Equal(ids, c.IDs) {
		t.Errorf("%q: Encode %v, %v, want %v", c.Text, ids, err, c.IDs)
	}
	if ids, err = tok.EncodePlain(c.Text); err != nil || !slices.Equal(ids, c.Plain) {
		t.Errorf("%q: EncodePlain %v, %v, want %v", c.Text, ids, err, c.Plain)
	}
	if got, err := tok.Decode(c.IDs, false); err != nil || got != c.Decoded {
		t.Errorf("%v: Decode %q, %v, want %q", c.IDs, got, err, c.Decoded)
	}
	if got, err := tok.Decode(c.IDs, true); err != nil || got != c.Skipped {
		t.Errorf("%v: Decode without special tokens %q, %v, want %q", c.IDs, got, err, c.Skipped)
	}
}

// TestAwkwardStrings agrees with Python on texts that tokenizers get wrong.
func TestAwkwardStrings(t *testing.T) {
	for _, test := range []struct{ name, dir, cases string }{
		{"mamba2-mini", miniDir, "mini.json"},
		{"neox", "testdata/neox", "neox/cases.json"},
		{"prefix", "testdata/prefix", "prefix/cases.json"},
	} {
		cases := readJSON[[]testCase](t, test.cases)
		t.Run(test.name, func(t *testing.T) {
			tok := load(t, test.dir)
			for _, c := range cases {
				c.check(t, tok)
			}
		})
		t.Run(test.name+" in Go", func(t *testing.T) {
			tok := inGo(t, test.dir)
			for _, c := range cases {
				c.check(t, tok)
			}
		})
	}
}

// TestReference gives the ids that transformers gave for the texts of the shipped checkpoint,
// which were cut to 300.
func TestReference(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(miniDir, "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	var refs []struct {
		Domain, Text string
		IDs          []int32
	}
	if err := json.Unmarshal(data, &refs); err != nil {
		t.Fatal(err)
	}
	if len(refs) != 19 {
		t.Fatalf("%d texts, want 19", len(refs))
	}
	tok, own := load(t, miniDir), inGo(t, miniDir)
	for _, r := range refs {
		for _, tok := range []Tokenizer{tok, own} {
			got, err := tok.Encode(r.Text)
			if got = got[:min(len(got), 300)]; err != nil || !slices.Equal(got, r.IDs) {
				t.Errorf("%s, %T: %v\n got %v\nwant %v", r.Domain, tok, err, got, r.IDs)
			}
		}
	}
}

func TestVocabulary(t *testing.T) {
	tok := load(t, miniDir)
	if n := tok.VocabSize(); n != 8192 {
		t.Errorf("VocabSize %d, want 8192", n)
	}
	if text, ok := tok.TokenText(0); !ok || text != "<|endoftext|>" {
		t.Errorf("TokenText(0) = %q, %v", text, ok)
	}
	if id, ok := tok.TokenID("<|endoftext|>"); !ok || id != 0 {
		t.Errorf("TokenID = %d, %v", id, ok)
	}
	for _, id := range []int32{-1, 8192} {
		if text, ok := tok.TokenText(id); ok || tok.IsSpecial(id) {
			t.Errorf("id %d has text %q", id, text)
		}
	}
	if !slices.Equal(tok.SpecialIDs(), []int32{0}) || !tok.IsSpecial(0) || tok.IsSpecial(1) {
		t.Errorf("special ids %v", tok.SpecialIDs())
	}
	if c := tok.Config(); c.BOSToken != "<|endoftext|>" || c.EOSToken != "<|endoftext|>" || c.ChatTemplate != "" {
		t.Errorf("config %+v", c)
	}
	if n := load(t, "testdata/prefix").VocabSize(); n != 404 {
		t.Errorf("prefix: VocabSize %d, want 404", n)
	}
}

func TestInvalidUTF8(t *testing.T) {
	for _, dir := range []string{miniDir, "testdata/spm"} {
		tok := load(t, dir)
		for text, at := range map[string]int{"\xff": 0, "ab\xc3": 2, "\ufffd\xe4\xb8": 3, "日\xed\xa0\x80": 3} {
			_, err1 := tok.Encode(text)
			_, _, err2 := tok.EncodeOffsets(text)
			_, err3 := tok.EncodePlain(text)
			for _, err := range []error{err1, err2, err3} {
				var invalid *InvalidUTF8Error
				if !errors.As(err, &invalid) || invalid.Offset != at || !errors.Is(err, ErrInvalidUTF8) {
					t.Errorf("%s, %q: error %v, want invalid UTF-8 at %d", dir, text, err, at)
				}
			}
		}
	}
}

// TestNUL keeps what follows a NUL byte, where C strings end. The ids are those of a text with
// another character of the same class, but for the character itself.
func TestNUL(t *testing.T) {
	tok := load(t, miniDir)
	nul, _ := tok.TokenID(string(byteChar[0]))
	one, _ := tok.TokenID(string(byteChar[1]))
	for _, text := range []string{"\x01", "a\x01b", "\x01\x01 x", "end\x01"} {
		want, offsets, err := tok.EncodeOffsets(text)
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range want {
			if id == one {
				want[i] = nul
			}
		}
		zero := strings.ReplaceAll(text, "\x01", "\x00")
		got, gotOffsets, err := tok.EncodeOffsets(zero)
		if err != nil || !slices.Equal(got, want) || !slices.Equal(gotOffsets, offsets) {
			t.Errorf("%q: %v %v %v, want %v %v", zero, got, gotOffsets, err, want, offsets)
		}
		if back, err := tok.Decode(got, true); err != nil || back != zero {
			t.Errorf("%q: decoded %q, %v", zero, back, err)
		}
	}
}

func TestNegativeID(t *testing.T) {
	for _, dir := range []string{miniDir, "testdata/spm"} {
		tok := load(t, dir)
		if _, err := tok.Decode([]int32{1, -5}, false); err == nil || !strings.Contains(err.Error(), "id -5 at position 1") {
			t.Errorf("%s: error %v", dir, err)
		}
		if got, err := tok.Decode([]int32{1 << 30}, false); err != nil || got != "" {
			t.Errorf("%s: an id without a token gave %q, %v", dir, got, err)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	good, err := os.ReadFile(filepath.Join("testdata", "neox", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	model, err := os.ReadFile(filepath.Join("testdata", "spm", "tokenizer.model"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, file, content, want string }{
		{"nothing", "", "", "holds neither tokenizer.json nor tokenizer.model"},
		{"not JSON", "tokenizer.json", "hello", "invalid character"},
		{"truncated", "tokenizer.json", string(good[:len(good)/2]), "unexpected end"},
		{"no model", "tokenizer.json", "{}", "model.vocab"},
		{"negative id", "tokenizer.json", `{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}`, "outside 0 to"},
		{"huge id", "tokenizer.json", `{"model":{"type":"BPE","vocab":{"a":2000000000},"merges":[]}}`, "outside 0 to"},
		{"bad configuration", "tokenizer_config.json", "[", "tokenizer_config.json"},
		{"bad form", "tokenizer_config.json", `{"mes_preprocess":{"form":"NFX"}}`, "want NFC or NFKC"},
		{"not a model", "tokenizer.model", "hello", "SentencePiece model"},
		{"truncated model", "tokenizer.model", string(model[:len(model)-100]), "cut short"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if test.file != "" {
				if err := os.WriteFile(filepath.Join(dir, test.file), []byte(test.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Load(dir)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if test.file == "" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("error %v is not fs.ErrNotExist", err)
			}
		})
	}
}

// TestConcurrent uses one tokenizer from several goroutines.
func TestConcurrent(t *testing.T) {
	cases := readJSON[[]testCase](t, "mini.json")
	tok := load(t, miniDir)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, c := range cases {
				c.check(t, tok)
			}
		})
	}
	wg.Wait()
}

// TestTenMegabytes encodes and decodes a text of 10 MB, with and without white space.
func TestTenMegabytes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	corpus, err := os.ReadFile(filepath.Join("testdata", "corpus.txt"))
	if err != nil {
		t.Fatal(err)
	}
	tok := load(t, miniDir)
	for _, unit := range []string{string(corpus), "ab", "日"} {
		text := strings.Repeat(unit, 10_000_000/len(unit))
		start := time.Now()
		ids, err := tok.EncodePlain(text)
		if err != nil {
			t.Fatal(err)
		}
		encoded := time.Since(start)
		back, err := tok.Decode(ids, false)
		if err != nil || back != text {
			t.Errorf("%.10q...: decoded %d bytes, %v", unit, len(back), err)
		}
		t.Logf("%.10q...: %d ids, encode %v, decode %v", unit, len(ids), encoded, time.Since(start)-encoded)
	}
}

// TestNotInGo names what the Go implementation does not do.
func TestNotInGo(t *testing.T) {
	path := filepath.Join("testdata", "neox", "tokenizer.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		change func(f *hfFile)
		want   string
	}{
		{func(f *hfFile) { f.Model.Type = "WordPiece" }, `its model is "WordPiece", not BPE`},
		{func(f *hfFile) { f.Model.Dropout = new(float64); *f.Model.Dropout = 0.1 }, "dropout"},
		{func(f *hfFile) { s := "##"; f.Model.ContinuingSubwordPrefix = &s }, "marks parts of words"},
		{func(f *hfFile) { f.Model.Merges = []byte(`["ab"]`) }, "has no space"},
		{func(f *hfFile) { f.Model.Merges = []byte(`["a zzzz"]`) }, "not in the vocabulary"},
		{func(f *hfFile) { f.PreTokenizer.Type = "Whitespace" }, "pre_tokenizer is not ByteLevel"},
		{func(f *hfFile) { f.Decoder = nil }, "decoder is not ByteLevel"},
		{func(f *hfFile) { f.Normalizer.Type = "Lowercase" }, `normalizer is "Lowercase"`},
		{func(f *hfFile) { f.PostProcessor.Type = "BertProcessing" }, `post_processor is "BertProcessing"`},
	} {
		f, v, err := parseHF(path, data)
		if err != nil {
			t.Fatal(err)
		}
		test.change(f)
		if _, err := newBPE(f, v, &Config{}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want one with %q", err, test.want)
		}
	}
	f, v, err := parseHF(path, data)
	if err != nil {
		t.Fatal(err)
	}
	delete(v.id, "Ġ")
	if _, err := newBPE(f, v, &Config{}); err == nil || !strings.Contains(err.Error(), "lacks byte 0x20") {
		t.Errorf("error %v", err)
	}
}

// FuzzParseHF reads any bytes as a tokenizer.json without a panic.
func FuzzParseHF(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("testdata", "neox", "tokenizer.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"model":{"type":"Unigram","vocab":[["a",-1]]}}`))
	f.Add([]byte(`{"model":{"vocab":[[1]]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, v, err := parseHF("x", data)
		if err != nil {
			return
		}
		if b, err := newBPE(file, v, &Config{}); err == nil {
			if _, _, err := b.EncodeOffsets("ab <s> é"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestConfig reads what transformers writes, old and new.
func TestConfig(t *testing.T) {
	for _, test := range []struct {
		json string
		want Config
	}{
		{`{}`, Config{}},
		{`{"bos_token": null, "eos_token": "</s>", "model_max_length": 1000000000000000019884624838656}`, Config{EOSToken: "</s>"}},
		{`{"bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": false}, "add_bos_token": true}`, Config{BOSToken: "<s>", AddBOSToken: true}},
		{`{"chat_template": [{"name": "tool", "template": "T"}, {"name": "default", "template": "D"}]}`, Config{ChatTemplate: "D"}},
		{`{"additional_special_tokens": ["<a>", {"content": "<b>"}], "chat_template": "C"}`, Config{AdditionalSpecialTokens: []string{"<a>", "<b>"}, ChatTemplate: "C"}},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(test.json), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.json, diff)
		}
		if err := got.WriteFile(dir); err != nil {
			t.Fatal(err)
		}
		again, err := ReadConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Errorf("%s, written and read (-want +got):\n%s", test.json, diff)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte("J"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := ReadConfig(dir); err != nil || c.ChatTemplate != "J" {
		t.Errorf("%+v, %v", c, err)
	}
}

func ExampleLoad() {
	tok, err := Load("../../weights/mamba2-mini")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tok.Close()
	ids, offsets, err := tok.EncodeOffsets("The router reads.")
	fmt.Println(ids, offsets, err)
	text, err := tok.Decode(ids, true)
	fmt.Println(text, err)
	// Output:
	// [0 533 3524 264 1098 83 14] [[0 0] [0 3] [3 8] [8 10] [10 15] [15 16] [16 17]] <nil>
	// The router reads. <nil>
}

func ExampleTrain() {
	texts := func(yield func(string, error) bool) {
		yield("low lower lowest, new newer newest", nil)
	}
	trained, err := Train(context.Background(), texts, TrainConfig{VocabSize: 262, SpecialTokens: []string{"<|endoftext|>"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := trained.Save(dir); err != nil {
		fmt.Println(err)
		return
	}
	tok, err := Load(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tok.Close()
	ids, err := tok.Encode("lowest")
	for _, id := range ids {
		text, _ := tok.TokenText(id)
		fmt.Printf("%s ", text)
	}
	fmt.Println(tok.VocabSize(), err)
	// Output: <|endoftext|> lo we st 262 <nil>
}
