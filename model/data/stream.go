package data

import (
	"fmt"
	"sort"
)

// stream is the documents of a domain in a shuffled order, as one sequence of ids.
type stream struct {
	shards []*Shard
	pieces []piece // by rising start
	tokens int64
}

// piece is a document in a stream.
type piece struct {
	start int64 // in the stream
	shard int
	lo    int64 // in the shard
}

// openStream opens, verifies and orders the shards of a part.
func (m *Manifest) openStream(dir string, p Part, seed uint64) (*stream, error) {
	shards, err := m.open(dir, p)
	if err != nil {
		return nil, err
	}
	s := &stream{shards: shards, pieces: make([]piece, 0, p.Documents)}
	for i, shard := range shards {
		if err := shard.Verify(); err != nil {
			closeAll(shards)
			return nil, err
		}
		for d := range shard.Documents() {
			lo, hi, _ := shard.Span(d)
			// start holds the length until the order is known.
			s.pieces = append(s.pieces, piece{start: hi - lo, shard: i, lo: lo})
		}
	}
	shuffle(s.pieces, random(seed, "documents "+p.Domain, 0))
	for i := range s.pieces {
		length := s.pieces[i].start
		s.pieces[i].start = s.tokens
		s.tokens += length
	}
	return s, nil
}

// rows is how many rows of a length the stream holds.
func (s *stream) rows(seqLen int) int64 {
	return max(0, (s.tokens-1)/int64(seqLen))
}

// read fills ids with the tokens of the stream from at on.
func (s *stream) read(ids []int32, at int64) error {
	i := sort.Search(len(s.pieces), func(i int) bool { return s.pieces[i].start > at }) - 1
	for ; len(ids) > 0; i++ {
		if i < 0 || i >= len(s.pieces) {
			return fmt.Errorf("read tokens at %d of %d", at, s.tokens)
		}
		p, end := s.pieces[i], s.tokens
		if i+1 < len(s.pieces) {
			end = s.pieces[i+1].start
		}
		n := min(int64(len(ids)), end-at)
		if err := s.shards[p.shard].Read(ids[:n], p.lo+at-p.start); err != nil {
			return err
		}
		ids, at = ids[n:], at+n
	}
	return nil
}

func (s *stream) close() { closeAll(s.shards) }
