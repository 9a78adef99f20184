//go:build cgo

package tokenizer

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkEncode sets this package beside the library's own Go interface on the same text, call
// by call in turn, so that both meet the same load of the machine. "x-daulet" is the median of how
// many times faster we are than Encode, which the library's own benchmark calls, and "x-ids-only"
// than the cheapest call that it has; "go" is the Go implementation.
func BenchmarkEncode(b *testing.B) {
	lib, own := both(b, miniDir)
	corpus, err := os.ReadFile("testdata/corpus.txt")
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{35, 3_000, 60_000} {
		text := strings.ToValidUTF8(strings.Repeat(string(corpus), 1+size/len(corpus))[:size], "")
		calls := []func() (int, error){
			func() (int, error) { ids, err := lib.EncodePlain(text); return len(ids), err },
			func() (int, error) { ids, _, err := lib.lib.EncodeErr(text, false); return len(ids), err },
			func() (int, error) { e, err := lib.lib.EncodeWithOptionsErr(text, false); return len(e.IDs), err },
			func() (int, error) { ids, err := own.EncodePlain(text); return len(ids), err },
		}
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			times := make([][]float64, len(calls))
			for b.Loop() {
				for i, call := range calls {
					start := time.Now()
					if n, err := call(); err != nil || n == 0 {
						b.Fatal(n, err)
					}
					times[i] = append(times[i], float64(time.Since(start)))
				}
			}
			median := func(i int) float64 { slices.Sort(times[i]); return times[i][len(times[i])/2] }
			ours := median(0)
			b.ReportMetric(ours, "ns/ours")
			b.ReportMetric(median(1)/ours, "x-daulet")
			b.ReportMetric(median(2)/ours, "x-ids-only")
			b.ReportMetric(median(3), "ns/go")
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		tok, err := Load(miniDir)
		if err != nil {
			b.Fatal(err)
		}
		tok.Close()
	}
}

func BenchmarkDecode(b *testing.B) {
	lib, own := both(b, miniDir)
	ids, err := lib.Encode(strings.Repeat("The swarm has many small encoders and one router. ", 20))
	if err != nil {
		b.Fatal(err)
	}
	for name, tok := range map[string]Tokenizer{"ours": lib, "go": own} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := tok.Decode(ids, true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("daulet", func(b *testing.B) {
		for b.Loop() {
			if _, err := lib.lib.DecodeErr(unsigned(ids), true); err != nil {
				b.Fatal(err)
			}
		}
	})
}
