package data

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sort"
)

// mixture says which rows an epoch has, and in which order. All of it follows from the seed,
// the rows of the domains and the quotas.
type mixture struct {
	seed   uint64
	names  []string
	rows   []int64 // that a domain has
	quotas []int64 // rows of a domain in an epoch
	total  int64   // rows of an epoch
}

// pick is a row of a domain.
type pick struct {
	domain int32
	row    int64
}

// epoch lists the rows of an epoch in order. Each domain goes through permutations of its
// rows, one after the other, and gives its quota to the epoch from where it stopped in the
// one before; the epoch's rows are then shuffled.
func (m *mixture) epoch(number int64) []pick {
	list := make([]pick, 0, m.total)
	for d, quota := range m.quotas {
		var permutation []int64
		round := int64(-1)
		for k := number * quota; k < (number+1)*quota; k++ {
			if now := k / m.rows[d]; now != round {
				round = now
				permutation = permuted(m.rows[d], m.random("rows "+m.names[d], round))
			}
			list = append(list, pick{int32(d), permutation[k%m.rows[d]]})
		}
	}
	shuffle(list, m.random("epoch", number))
	return list
}

// random is the source for one purpose: the same for the same seed, name and number.
func (m *mixture) random(purpose string, number int64) *rand.PCG {
	return random(m.seed, purpose, number)
}

func random(seed uint64, purpose string, number int64) *rand.PCG {
	b := binary.LittleEndian.AppendUint64(nil, seed)
	b = binary.LittleEndian.AppendUint64(b, uint64(number))
	sum := sha256.Sum256(append(b, purpose...))
	return rand.NewPCG(binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint64(sum[8:]))
}

// shuffle is Fisher and Yates's. It is written out, because a saved position relies on the
// order for ever; of math/rand only the generator PCG is used, whose numbers are specified.
func shuffle[T any](list []T, r *rand.PCG) {
	for i := len(list) - 1; i > 0; i-- {
		// The upper half of a 128-bit product maps 64 random bits to 0..i; the bias is
		// below i/2⁶⁴.
		j, _ := bits.Mul64(r.Uint64(), uint64(i)+1)
		list[i], list[j] = list[j], list[i]
	}
}

// permuted returns a permutation of 0 to n-1.
func permuted(n int64, r *rand.PCG) []int64 {
	list := make([]int64, n)
	for i := range list {
		list[i] = int64(i)
	}
	shuffle(list, r)
	return list
}

// quotas shares out total rows by weights: each domain gets the whole part of its share, and
// what is left goes to the largest remainders. Without weights each has its own rows.
func quotas(names []string, rows []int64, weights map[string]float64) ([]int64, error) {
	if weights == nil {
		return slices.Clone(rows), nil
	}
	for name := range weights {
		if !slices.Contains(names, name) {
			return nil, wrongConfig("weight of %q: there is no such domain among %v", name, names)
		}
	}
	var sum float64
	var total int64
	for i, name := range names {
		w, ok := weights[name]
		if !ok {
			return nil, wrongConfig("domain %s has no weight; 0 leaves it out", name)
		}
		if !(w >= 0) || math.IsInf(w, 0) {
			return nil, wrongConfig("weight of %s: %v is not a number from 0 up", name, w)
		}
		sum += w
		total += rows[i]
	}
	if sum == 0 || math.IsInf(sum, 0) {
		return nil, wrongConfig("weights: their sum is %v", sum)
	}
	shares := make([]int64, len(names))
	remainders := make([]float64, len(names))
	left := total
	for i, name := range names {
		share := float64(total) * (weights[name] / sum)
		shares[i] = int64(share)
		remainders[i] = share - math.Floor(share)
		left -= shares[i]
	}
	order := make([]int, len(names))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return remainders[order[a]] > remainders[order[b]] })
	for i := 0; left > 0; i = (i + 1) % len(order) {
		if weights[names[order[i]]] > 0 {
			shares[order[i]]++
			left--
		}
	}
	return shares, nil
}
