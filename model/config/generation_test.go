package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func ExampleParseGeneration() {
	g, err := ParseGeneration([]byte(`{"eos_token_id": [0, 2], "temperature": 0.7, "do_sample": true}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(g.EOS, *g.Temperature, *g.DoSample, g.TopK == nil)
	// Output: [0 2] 0.7 true true
}

func TestLoadGeneration(t *testing.T) {
	g, err := LoadGeneration("testdata/generation.json")
	if err != nil {
		t.Fatal(err)
	}
	want := &GenerationConfig{BOS: 0, EOS: []int{0, 2}, PAD: 0, DoSample: new(true), Temperature: new(0.7), TopK: new(40),
		TopP: new(0.9), MinP: new(0.05), RepetitionPenalty: new(1.1), MaxNewTokens: new(64)}
	got := *g
	got.file = nil
	if diff := cmp.Diff(want, &got, cmp.AllowUnexported(GenerationConfig{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGenerationIsWrittenBack(t *testing.T) {
	for _, path := range []string{"testdata/generation.json", "testdata/generation_default.json", mini + "/generation_config.json"} {
		g, err := LoadGeneration(path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := g.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.TrimSpace(string(file)), strings.TrimSpace(string(data))); diff != "" {
			t.Errorf("%s (-file +written):\n%s", path, diff)
		}
	}
}

func TestGenerationSave(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadGeneration(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty folder: %v", err)
	}
	g := &GenerationConfig{BOS: -1, PAD: 3, EOS: []int{5}, TopK: new(7)}
	if err := g.Save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(dir + "/" + GenerationFileName)
	if err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"eos_token_id\": 5,\n  \"pad_token_id\": 3,\n  \"top_k\": 7\n}\n"; string(got) != want {
		t.Errorf("got %s", got)
	}
}

func TestGenerationFaults(t *testing.T) {
	_, err := ParseGeneration([]byte(`{"temperature": -1, "top_k": 1.5, "top_p": 0, "min_p": 2, "do_sample": 1,
		"repetition_penalty": Infinity, "max_new_tokens": -1, "eos_token_id": "x", "max_length": null, "unknown": NaN}`))
	want := `eos_token_id: must be an integer, is "x"; do_sample: must be true or false, is 1; temperature: -1 is below 0; ` +
		`top_k: must be an integer, is 1.5; top_p: 0 is not above 0; min_p: 2 exceeds 1; repetition_penalty: must be finite, is +Inf; max_new_tokens: -1 is below 0`
	var faults *FaultError
	if !errors.As(err, &faults) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, err := ParseGeneration([]byte(`{`)); err == nil || !strings.HasPrefix(err.Error(), "parse generation config: line 1") {
		t.Errorf("got %v", err)
	}
	if _, err := (&GenerationConfig{TopP: new(3.0)}).Marshal(); err == nil || err.Error() != "top_p: 3 exceeds 1" {
		t.Errorf("got %v", err)
	}
}

func FuzzParseGeneration(f *testing.F) {
	for _, path := range []string{"testdata/generation.json", "testdata/generation_default.json"} {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := ParseGeneration(data)
		if err != nil {
			return
		}
		once, err := g.Marshal()
		if err != nil {
			t.Fatalf("parsed but cannot be written: %v\n%s", err, data)
		}
		h, err := ParseGeneration(once)
		if err != nil {
			t.Fatalf("written but cannot be parsed: %v\n%s", err, once)
		}
		if twice, err := h.Marshal(); err != nil || string(once) != string(twice) {
			t.Fatalf("written once:\n%s\ntwice (%v):\n%s", once, err, twice)
		}
	})
}
