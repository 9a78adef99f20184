package eval

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// TestHaystack: texts have the length, the needle its place, and nothing but the number
// differs between the two.
func TestHaystack(t *testing.T) {
	_, tok := byteTokenizer(t)
	e := &evaluator{Config: Config{Tokenizer: tok}}
	filler := []int32{10, 11, 12}
	for _, length := range []int{minNeedle, 1000, 1 << 16} {
		for _, depth := range needleDepths {
			with, answer, err := e.haystack(filler, length, depth, 12345, 12345)
			if err != nil {
				t.Fatal(err)
			}
			without, _, err := e.haystack(filler, length, depth, 67890, 12345)
			if err != nil {
				t.Fatal(err)
			}
			if len(with) != length || len(without) != length || answer != len(" 12345") || with[0] != 0 {
				t.Fatalf("%d and %d ids of %d, answer %d", len(with), len(without), length, answer)
			}
			text, err := tok.Decode(with, true)
			if err != nil {
				t.Fatal(err)
			}
			const needle, end = " The secret number of Oslo is 12345. Remember it.", " The secret number of Oslo is 12345"
			hay := length - 1 - len(needle) - len(end)
			if at := strings.Index(text, needle); at != int(depth*float64(hay)) || !strings.HasSuffix(text, end) {
				t.Errorf("length %d, depth %g: needle at %d", length, depth, at)
			}
			differ := 0
			for i := range with {
				if with[i] != without[i] {
					differ++
				}
			}
			if differ != 5 {
				t.Errorf("%d ids differ", differ)
			}
		}
	}
	if _, _, err := e.haystack(filler, 60, 0, 1, 1); err == nil || !strings.Contains(err.Error(), "too short for this tokenizer") {
		t.Errorf("%v", err)
	}
}

// TestFound works figures out by hand.
func TestFound(t *testing.T) {
	judged := make([]swarm.Judged, 2*len(needleDepths))
	answers := slices.Repeat([]int{2}, len(judged))
	for i := range judged {
		judged[i] = swarm.Judged{Loss: []float32{9, 1, 2}, Best: []bool{false, true, false}}
		if i%2 == 1 {
			judged[i].Loss = []float32{7, 2, 3}
		}
	}
	judged[2].Best = []bool{false, true, true}
	judged[2].Loss = []float32{9, 0, 0}
	got := found(4, answers, judged)
	want := Needle{Length: 4, Exact: 0.2, Gain: (4*2 + 5) / 5.0}
	for i, depth := range needleDepths {
		want.Depths = append(want.Depths, NeedleDepth{depth, i == 1, 2})
	}
	want.Depths[1].Gain = 5
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestNeedles: a whole run over several lengths.
func TestNeedles(t *testing.T) {
	cfg := handConfigured(t, []int{-1, 0, 1, 2})
	cfg.Needle = []int{256, 1024}
	r := run(t, cfg)
	if len(r.Needle) != 2 || r.Needle[1].Length != 1024 || len(r.Needle[1].Depths) != len(needleDepths) {
		t.Fatalf("%+v", r.Needle)
	}
	// The model has no memory: neither number is likelier than the other.
	for _, n := range r.Needle {
		if n.Exact != 0 || n.Gain > 1e-3 || n.Gain < -1e-3 {
			t.Errorf("%+v", n)
		}
	}
}
