package data

import (
	"fmt"
	"iter"
	"slices"
)

// Document is a document as a model reads it.
type Document struct {
	IDs   []int32 // with the tokens that the tokenizer puts before a text
	Bytes int64   // of its text in UTF-8, for bits per byte
}

// Documents returns the documents of a domain in a split in the order in which they were
// prepared. It fails at once where the split or the domain is not there, or data.json cannot be
// read; what happens to a shard afterwards is the sequence's last error.
func Documents(dir, split, domain string) (iter.Seq2[Document, error], error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	p, err := m.part(split, domain)
	if err != nil {
		return nil, fmt.Errorf("read documents of %s: %w", dir, err)
	}
	return func(yield func(Document, error) bool) { m.documents(dir, p, yield) }, nil
}

// documents yields the documents of a part and reports whether to go on.
func (m *Manifest) documents(dir string, p Part, yield func(Document, error) bool) bool {
	shards, err := m.open(dir, p)
	if err != nil {
		yield(Document{}, err)
		return false
	}
	defer closeAll(shards)
	for _, s := range shards {
		if err := s.Verify(); err != nil {
			yield(Document{}, err)
			return false
		}
		for i := range s.Documents() {
			lo, hi, bytes := s.Span(i)
			ids := make([]int32, hi-lo)
			if err := s.Read(ids, lo); err != nil {
				yield(Document{}, err)
				return false
			}
			if !yield(Document{IDs: ids, Bytes: bytes}, nil) {
				return false
			}
		}
	}
	return true
}

// Sample returns texts of a domain in a split, each of at most length ids and within one
// document: about most of them, taken evenly from all. Errors are as those of [Documents].
func Sample(dir, split, domain string, length, most int) ([][]int32, error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	p, err := m.part(split, domain)
	if err != nil {
		return nil, fmt.Errorf("read documents of %s: %w", dir, err)
	}
	pieces, n := int(p.Documents+p.Tokens/int64(length)), 0
	every := max(1, pieces/most)
	var out [][]int32
	m.documents(dir, p, func(doc Document, failed error) bool {
		if err = failed; err != nil {
			return false
		}
		for piece := range slices.Chunk(doc.IDs, length) {
			if n++; n%every == 0 && len(piece) > 1 {
				out = append(out, piece)
			}
		}
		return true
	})
	return out, err
}

// Row is a piece of a domain's documents.
type Row struct {
	IDs    []int32 // SeqLen+1 ids: inputs are all but the last, targets all but the first
	Domain int     // place in Manifest.Domains
}

// Rows returns the packed rows of a split, domain after domain, documents in the order in
// which they were prepared. Errors are as those of [Documents].
func Rows(dir, split string, seqLen int) (iter.Seq2[Row, error], error) {
	if seqLen < 1 {
		return nil, wrongConfig("read rows of %s: length %d is not above 0", dir, seqLen)
	}
	m, err := ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	var parts []Part
	for _, d := range m.Domains {
		p, err := m.part(split, d.Name)
		if err != nil {
			return nil, fmt.Errorf("read rows of %s: %w", dir, err)
		}
		parts = append(parts, p)
	}
	return func(yield func(Row, error) bool) {
		for i, p := range parts {
			if !m.rows(dir, p, i, seqLen, yield) {
				return
			}
		}
	}, nil
}

// rows yields the rows of a part and reports whether to go on.
func (m *Manifest) rows(dir string, p Part, domain, seqLen int, yield func(Row, error) bool) bool {
	var left []int32 // ids behind the last row, with the one that they share
	return m.documents(dir, p, func(doc Document, err error) bool {
		if err != nil {
			return yield(Row{}, err)
		}
		left = append(left, doc.IDs...)
		from := 0
		for ; from+seqLen < len(left); from += seqLen {
			row := make([]int32, seqLen+1)
			copy(row, left[from:])
			if !yield(Row{row, domain}, nil) {
				return false
			}
		}
		left = append(left[:0], left[from:]...)
		return true
	})
}
