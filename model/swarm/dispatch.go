package swarm

import "slices"

// rowTiles are the numbers of rows that one product of an encoder's matrix takes:
// as many as possible of the first that a program's length allows, then of the
// next. Fewer rows use a processor badly, more leave more of the last product empty.
var rowTiles = []int{256, 64, 16}

// tilesFor returns the two tiles of a program over T tokens.
func tilesFor(T int) []int {
	for i, q := range rowTiles {
		if q <= T {
			return rowTiles[i:min(i+2, len(rowTiles))]
		}
	}
	return []int{T}
}

// dispatch sorts the rows of a piece by the encoder that reads them. A row is a pair
// of slot s and token t, numbered s·T + t. The rows of an encoder stand together at
// places that begin at a multiple of the smallest tile.
type dispatch struct {
	encoders []int   // [n] distinct encoders of the piece
	order    []int32 // [M] row at each place; 0 at places that are left empty
	places   []int32 // [k·T] place of each row; 0 for padding
	starts   []int32 // [banks+1] first place of each encoder; empty for those not used
}

// placesFor returns M, the number of places of a program.
func placesFor(slots, T, banks int) int {
	tiles := tilesFor(T)
	return slots*T + banks*tiles[len(tiles)-1]
}

// newDispatch sorts the rows of a piece whose tokens are read by slots [n][k], in a
// program over T tokens with room for this many encoders.
func newDispatch(slots [][]int, T, banks int) dispatch {
	k := len(slots[0])
	tiles := tilesFor(T)
	return sortRows(slots, k, T, placesFor(k, T, banks), tiles[len(tiles)-1], banks)
}

// sortRows is newDispatch for T tokens, of which those without slots are padding, with
// so many places in all and an encoder's beginning at a multiple of tile.
func sortRows(slots [][]int, k, T, places, tile, banks int) dispatch {
	d := dispatch{order: make([]int32, places), places: make([]int32, k*T), starts: make([]int32, banks+1)}
	rows := map[int][]int32{}
	for t, active := range slots {
		for s, e := range active {
			if rows[e] == nil {
				d.encoders = append(d.encoders, e)
			}
			rows[e] = append(rows[e], int32(s*T+t))
		}
	}
	place := 0
	for u, e := range d.encoders {
		d.starts[u] = int32(place)
		for i, row := range rows[e] {
			d.order[place+i], d.places[row] = row, int32(place+i)
		}
		place += (len(rows[e]) + tile - 1) / tile * tile
	}
	for u := len(d.encoders); u <= banks; u++ {
		d.starts[u] = int32(place)
	}
	return d
}

// distinct adds the encoders that are not yet in seen.
func distinct(seen, encoders []int) []int {
	for _, e := range encoders {
		if !slices.Contains(seen, e) {
			seen = append(seen, e)
		}
	}
	return seen
}
