package data

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkLoader gives the speed of the loader alone, of rows of 1024 in batches of 64.
func BenchmarkLoader(b *testing.B) {
	files := map[string]string{}
	for d := range 8 {
		var list []string
		for i := range 400 {
			list = append(list, strings.Repeat(fmt.Sprintf("text %d of domain %d, ", i, d), 20+i%100))
		}
		files[fmt.Sprintf("d%d.jsonl", d)] = texts(b, list...)
	}
	cfg := config(b, write(b, files))
	prepare(b, cfg)
	l := open(b, LoaderConfig{Dir: cfg.Out, SeqLen: 1024, Batch: 64})
	tokens := 0
	for b.Loop() {
		tokens += len(next(b, l).IDs)
	}
	b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
}

// BenchmarkPrepare gives the speed of preparing with the tokenizer of mamba2-mini.
func BenchmarkPrepare(b *testing.B) {
	f := readFixture(b)
	var list []string
	size := 0
	for i := range 2000 {
		for name, d := range f.Domains {
			text := fmt.Sprint(name, i, strings.Join(d.Texts, fmt.Sprint("\n", i*7919, "\n")))
			list, size = append(list, text), size+len(text)
		}
	}
	in := write(b, map[string]string{"a.jsonl": texts(b, list...)})
	b.SetBytes(int64(size))
	for b.Loop() {
		cfg := config(b, in)
		cfg.Tokenizer = mini
		if _, err := Prepare(b.Context(), cfg); err != nil {
			b.Fatal(err)
		}
	}
}
