package tokenizer

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lines yields the lines of testdata/corpus.txt, each with its end.
func lines(t testing.TB) iter.Seq2[string, error] {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "corpus.txt"))
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(string, error) bool) {
		for line := range strings.Lines(string(data)) {
			if !yield(line, nil) {
				return
			}
		}
	}
}

// TestTrainLikeHuggingFace learns the vocabulary and merges that Python's BpeTrainer learnt from
// the same text.
func TestTrainLikeHuggingFace(t *testing.T) {
	for _, want := range readJSON[[]struct {
		VocabSize    int   `json:"vocab_size"`
		MinFrequency int64 `json:"min_frequency"`
		Vocab        map[string]int32
		Merges       []mergePair
	}](t, "train.json") {
		trained, err := Train(context.Background(), lines(t), TrainConfig{
			VocabSize: want.VocabSize, MinFrequency: want.MinFrequency, SpecialTokens: []string{"<|endoftext|>", "<|pad|>"},
		})
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(trained)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Model struct {
				Vocab  map[string]int32
				Merges []mergePair
			}
		}
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.Vocab, got.Model.Vocab); diff != "" {
			t.Errorf("vocabulary of %d (-want +got):\n%s", want.VocabSize, diff)
		}
		if diff := cmp.Diff(want.Merges, got.Model.Merges); diff != "" {
			t.Errorf("merges of %d (-want +got):\n%s", want.VocabSize, diff)
		}
		if trained.VocabSize() != len(want.Vocab) {
			t.Errorf("VocabSize %d, want %d", trained.VocabSize(), len(want.Vocab))
		}
	}
}

// TestTrainedFile writes a tokenizer and opens it, with the Rust library where there is cgo.
func TestTrainedFile(t *testing.T) {
	dir := t.TempDir()
	special := []string{"<|endoftext|>", "<|pad|>"}
	var stages []string
	trained, err := Train(context.Background(), lines(t), TrainConfig{
		VocabSize: 700, MinFrequency: 2, SpecialTokens: special, Preprocess: Preprocess{StripControl: true},
		Progress: func(stage string, done, total int64) { stages = append(stages, stage) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if stages = slices.Compact(stages); !slices.Equal(stages, []string{StageCount, StageMerge}) {
		t.Errorf("progress %v", stages)
	}
	if err := trained.Save(dir); err != nil {
		t.Fatal(err)
	}
	if names := dirNames(t, dir); !slices.Equal(names, []string{"tokenizer.json", "tokenizer_config.json"}) {
		t.Errorf("files %v", names)
	}
	tok, own := load(t, dir), inGo(t, dir)
	if c := tok.Config(); c.EOSToken != special[0] || !c.Preprocess.StripControl {
		t.Errorf("config %+v", c)
	}
	if !slices.Equal(tok.SpecialIDs(), []int32{0, 1}) {
		t.Errorf("special ids %v", tok.SpecialIDs())
	}
	for _, c := range readJSON[[]testCase](t, "mini.json") {
		clean, _ := Preprocess{StripControl: true}.Apply(c.Text)
		want, err := own.Encode(clean)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tok.Encode(c.Text)
		if err != nil || !slices.Equal(got, want) || got[0] != 0 {
			t.Errorf("%q: %v, %v, want %v", c.Text, got, err, want)
		}
		if back, err := tok.Decode(got[1:], false); err != nil || back != clean {
			t.Errorf("%q: decoded %q, %v", c.Text, back, err)
		}
	}
}

// TestTrainAgain learns the same file twice, whatever the order in which maps are walked.
func TestTrainAgain(t *testing.T) {
	var first []byte
	for range 5 {
		trained, err := Train(context.Background(), lines(t), TrainConfig{VocabSize: 900})
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(trained)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = data
		}
		if string(data) != string(first) {
			t.Fatal("two runs differ")
		}
	}
}

func TestTrainErrors(t *testing.T) {
	stop, cancel := context.WithCancel(context.Background())
	cancel()
	one := func(text string, err error) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) { yield(text, err) }
	}
	for _, test := range []struct {
		name  string
		ctx   context.Context
		texts iter.Seq2[string, error]
		cfg   TrainConfig
		want  string
	}{
		{"too small", t.Context(), one("a", nil), TrainConfig{VocabSize: 256, SpecialTokens: []string{"<s>"}}, "size 256 is below 257"},
		{"twice", t.Context(), one("a", nil), TrainConfig{VocabSize: 300, SpecialTokens: []string{"<s>", "<s>"}}, `token 1, "<s>", is empty or there twice`},
		{"empty", t.Context(), one("a", nil), TrainConfig{VocabSize: 300, SpecialTokens: []string{""}}, "is empty"},
		{"a byte", t.Context(), one("a", nil), TrainConfig{VocabSize: 300, SpecialTokens: []string{"a"}}, "name of a byte"},
		{"reading", t.Context(), one("", errors.New("disk on fire")), TrainConfig{VocabSize: 300}, "read text 1: disk on fire"},
		{"not UTF-8", t.Context(), one("ab\xff", nil), TrainConfig{VocabSize: 300}, "text 1: text is not valid UTF-8 at byte 2"},
		{"cancelled", stop, one("abc", nil), TrainConfig{VocabSize: 300}, "context canceled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Train(test.ctx, test.texts, test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestSaveFails leaves nothing behind where it cannot write.
func TestSaveFails(t *testing.T) {
	trained, err := Train(t.Context(), lines(t), TrainConfig{VocabSize: 300})
	if err != nil {
		t.Fatal(err)
	}
	if err := trained.Save(filepath.Join(t.TempDir(), "missing")); err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "tokenizer.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := trained.Save(dir); err == nil {
		t.Error("a folder was replaced by a file")
	}
	if names := dirNames(t, dir); !slices.Equal(names, []string{"tokenizer.json"}) {
		t.Errorf("files %v", names)
	}
}

// dirNames lists a folder.
func dirNames(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func BenchmarkTrain(b *testing.B) {
	for b.Loop() {
		if _, err := Train(b.Context(), lines(b), TrainConfig{VocabSize: 2000}); err != nil {
			b.Fatal(err)
		}
	}
}
