package xet

import (
	"fmt"
	"testing"
)

// TestHashText holds the example of the specification (api.md).
func TestHashText(t *testing.T) {
	var h Hash
	for i := range h {
		h[i] = byte(i)
	}
	const want = "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918"
	if got := h.String(); got != want {
		t.Errorf("text %s, want %s", got, want)
	}
	back, err := ParseHash(h.String())
	if err != nil || back != h {
		t.Errorf("read again: %v, %v", back, err)
	}
}

func TestParseHashRefuses(t *testing.T) {
	good := Hash{1, 2, 3}.String()
	for name, text := range map[string]string{
		"empty":      "",
		"short":      good[:63],
		"long":       good + "0",
		"upper case": "A" + good[1:],
		"not hex":    "g" + good[1:],
		"a path":     "../" + good[3:],
	} {
		if h, err := ParseHash(text); err == nil {
			t.Errorf("%s: accepted as %s", name, h)
		}
	}
}

// TestTreesOfManyChunks compares the hashes of files, xorbs and ranges with those
// that hf_xet computed.
func TestTreesOfManyChunks(t *testing.T) {
	for _, name := range []string{"small", "large"} {
		shard := readFile(t, "testdata/"+name+"/files.shard")
		xorbs := listedChunks(shard)
		longest := 0
		for want, chunks := range xorbs {
			longest = max(longest, len(chunks))
			if got := XorbHash(chunks); got != want {
				t.Errorf("%s: xorb of %d chunks has hash %s, want %s", name, len(chunks), got, want)
			}
		}
		files := readShard(t, shard)
		for _, f := range files {
			var chunks []Chunk
			for i, term := range f.Terms {
				run := xorbs[term.Xorb][term.Start:term.End]
				chunks = append(chunks, run...)
				if got := RangeHash(run); got != term.RangeHash {
					t.Errorf("%s: file %s, term %d has range hash %s, want %s", name, f.Hash, i, got, term.RangeHash)
				}
			}
			if got := FileHash(chunks); got != f.Hash {
				t.Errorf("%s: file of %d chunks has hash %s, want %s", name, len(chunks), got, f.Hash)
			}
		}
		if name == "large" && longest < 300 {
			t.Errorf("the longest xorb has %d chunks: too few for a deep tree", longest)
		}
	}
}

// TestFileHashOfNothing holds the hash of an empty file.
func TestFileHashOfNothing(t *testing.T) {
	if got := FileHash(nil); got != (Hash{}) {
		t.Errorf("hash %s, want zero", got)
	}
}

func ExampleHash_String() {
	h := Hash{0: 0x01, 8: 0x02}
	fmt.Println(h)
	// Output: 0000000000000001000000000000000200000000000000000000000000000000
}
