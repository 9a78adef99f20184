package swarm

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// TestDispatch holds the places of random pieces to what the graph takes for
// granted: every row stands once among its encoder's, and these begin at a tile.
func TestDispatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		k, T := 1+rng.IntN(3), buckets[rng.IntN(4)]
		n, banks := 1+rng.IntN(T), 3*k
		slots := make([][]int, n)
		for i := range slots {
			if i > 0 && rng.IntN(8) > 0 {
				slots[i] = slots[i-1]
				continue
			}
			slots[i] = rng.Perm(banks)[:k]
		}
		d := newDispatch(slots, T, banks)
		tiles := tilesFor(T)
		tile := int32(tiles[len(tiles)-1])
		if len(d.order) != placesFor(k, T, banks) || len(d.places) != k*T || len(d.starts) != banks+1 {
			t.Fatalf("k %d, T %d: %d places for %d rows and %d starts", k, T, len(d.order), len(d.places), len(d.starts))
		}
		if end := d.starts[banks]; int(end) > len(d.order) || d.starts[0] != 0 {
			t.Fatalf("k %d, T %d, %d tokens: places from %d to %d of %d", k, T, n, d.starts[0], end, len(d.order))
		}
		for u := range banks {
			if size := d.starts[u+1] - d.starts[u]; size < 0 || size%tile != 0 {
				t.Fatalf("encoder %d has %d places, tiles of %d", u, size, tile)
			}
		}
		for at, active := range slots {
			for s, e := range active {
				row := int32(s*T + at)
				place, u := d.places[row], slices.Index(d.encoders, e)
				if d.order[place] != row || place < d.starts[u] || place >= d.starts[u+1] {
					t.Fatalf("row %d of encoder %d is at place %d, which holds row %d", row, e, place, d.order[place])
				}
			}
		}
	}
}

// TestTakePiece cuts texts into what one program reads.
func TestTakePiece(t *testing.T) {
	ids := func(n int) []int32 { return make([]int32, n) }
	gates := func(n int) [][]float64 { return make([][]float64, n) }
	text := func(slots ...[]int) *[]segment {
		var all []segment
		for _, s := range slots {
			all = append(all, segment{ids: ids(20), slots: s, gates: gates(20)})
		}
		return &all
	}
	c := tinySwarm(mamba.Mamba1) // two of five encoders
	many := c
	many.Router.NumEncoders = 20
	reset := c
	reset.EncoderState = Reset
	for name, tc := range map[string]struct {
		cfg      Config
		segments *[]segment
		n        int
		want     []int // tokens of the pieces
	}{
		"all encoders fit":     {c, text([]int{0, 1}, []int{2, 1}, []int{2, 3}, []int{4, 3}), 64, []int{64}},
		"a change ends it":     {reset, text([]int{0, 1}, []int{2, 1}), 40, []int{16, 4, 16, 4}},
		"six encoders fit":     {many, text([]int{0, 1}, []int{2, 3}, []int{4, 5}, []int{6, 5}), 80, []int{60, 16, 4}},
		"shorter than a chunk": {many, text([]int{0, 1}), 5, []int{5}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Session{m: &Model{cfg: tc.cfg}}
			var got []int
			for left := tc.n; left > 0; left -= got[len(got)-1] {
				p := s.takePiece(tc.segments, left)
				if len(p.slots) != len(p.ids) || len(p.gates) != len(p.ids) {
					t.Fatalf("%d tokens with %d decisions and %d gates", len(p.ids), len(p.slots), len(p.gates))
				}
				got = append(got, len(p.ids))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("pieces of %v tokens, want %v", got, tc.want)
			}
		})
	}
}
