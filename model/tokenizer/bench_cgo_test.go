//go:build cgo

package tokenizer

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// BenchmarkEncode sets this package beside the library's own Go interface, on the same text: "ours"
// and the Go implementation against Encode, which the library's own benchmark calls, and against
// the cheapest call that it has.
func BenchmarkEncode(b *testing.B) {
	lib, own := both(b, miniDir)
	corpus, err := os.ReadFile("testdata/corpus.txt")
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{35, 3_000, 60_000} {
		text := strings.ToValidUTF8(strings.Repeat(string(corpus), 1+size/len(corpus))[:size], "")
		for _, run := range []struct {
			name   string
			encode func() (int, error)
		}{
			{"ours", func() (int, error) { ids, err := lib.EncodePlain(text); return len(ids), err }},
			{"daulet", func() (int, error) { ids, _, err := lib.lib.EncodeErr(text, false); return len(ids), err }},
			{"daulet ids only", func() (int, error) {
				e, err := lib.lib.EncodeWithOptionsErr(text, false)
				return len(e.IDs), err
			}},
			{"go", func() (int, error) { ids, err := own.EncodePlain(text); return len(ids), err }},
		} {
			b.Run(fmt.Sprintf("%d/%s", size, run.name), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					if n, err := run.encode(); err != nil || n == 0 {
						b.Fatal(n, err)
					}
				}
			})
		}
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
