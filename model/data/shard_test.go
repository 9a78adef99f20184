package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// handmade is a shard written by hand after the package comment: two documents, ids of two
// bytes and a vocabulary of 8.
func handmade() []byte {
	b := []byte("MESSHARD")
	b = append(b, 1, 0, 0, 0, 2, 0, 0, 0)
	for _, n := range []uint64{8, 3, 2, 9} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	body := []byte{0, 0, 5, 0, 7, 0, 0, 0} // ids 0, 5, 7, and padding
	for _, n := range []uint64{2, 4, 3, 5} {
		body = binary.LittleEndian.AppendUint64(body, n)
	}
	sum := sha256.Sum256(append(bytes.Clone(body), b...))
	return append(append(b, sum[:]...), body...)
}

func shardFileOf(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.tok")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// check opens and verifies a shard.
func checkShard(path string) error {
	s, err := OpenShard(path)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Verify()
}

func TestShardLayout(t *testing.T) {
	s, err := OpenShard(shardFileOf(t, handmade()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Verify(); err != nil {
		t.Fatal(err)
	}
	ids := make([]int32, 3)
	if err := s.Read(ids, 0); err != nil || !slices.Equal(ids, []int32{0, 5, 7}) {
		t.Errorf("ids %v, %v", ids, err)
	}
	lo, hi, n := s.Span(1)
	if s.Documents() != 2 || s.Bytes() != 9 || lo != 2 || hi != 3 || n != 5 {
		t.Errorf("%d documents of %d bytes, the second %d to %d of %d bytes", s.Documents(), s.Bytes(), lo, hi, n)
	}
	if err := s.Read(ids, 1); err == nil {
		t.Error("ids behind the end were read")
	}
	// The writer makes the same file.
	path := filepath.Join(t.TempDir(), "y.tok")
	w, err := createShard(path, 8)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.add([]int32{0, 5}, 4), w.add([]int32{7}, 5)); err != nil {
		t.Fatal(err)
	}
	if err := w.add([]int32{8}, 1); err == nil {
		t.Error("an id outside of the vocabulary was written")
	}
	if _, err := w.finish(); err != nil {
		t.Fatal(err)
	}
	if written, err := os.ReadFile(path); err != nil || !bytes.Equal(written, handmade()) {
		t.Errorf("written %x, %v\nwant    %x", written, err, handmade())
	}
}

// TestShardWide holds that large vocabularies have ids of four bytes.
func TestShardWide(t *testing.T) {
	for vocab, size := range map[int]int64{1 << 16: headerSize + 8 + 16, 1<<16 + 1: headerSize + 8 + 16} {
		ids := []int32{0, int32(vocab) - 1}
		if vocab == 1<<16 {
			ids = append(ids, 1, 2)
		}
		path := filepath.Join(t.TempDir(), "x.tok")
		w, err := createShard(path, vocab)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.add(ids, 3); err != nil {
			t.Fatal(err)
		}
		if _, err := w.finish(); err != nil {
			t.Fatal(err)
		}
		s, err := OpenShard(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		got := make([]int32, len(ids))
		if err := errors.Join(s.Read(got, 0), s.Verify()); err != nil || !slices.Equal(got, ids) {
			t.Errorf("vocabulary %d: %v, %v", vocab, got, err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() != size {
			t.Errorf("vocabulary %d: %d bytes, %v, want %d", vocab, info.Size(), err, size)
		}
	}
}

func TestBadShards(t *testing.T) {
	set := func(at int, value byte) []byte {
		b := handmade()
		b[at] = value
		return b
	}
	for name, c := range map[string]struct {
		content []byte
		kind    error
		text    string
	}{
		"empty":                {nil, ErrTruncated, "0 bytes"},
		"header truncated":     {handmade()[:40], ErrTruncated, "40 bytes"},
		"truncated":            {handmade()[:len(handmade())-1], ErrTruncated, "119 bytes, the header says 120"},
		"longer":               {append(handmade(), 0), ErrFormat, "121 bytes"},
		"other file":           {bytes.Repeat([]byte("text "), 40), ErrFormat, "MESSHARD"},
		"newer version":        {set(8, 2), ErrFormat, "version 2"},
		"width":                {set(12, 4), ErrFormat, "4 bytes an id for a vocabulary of 8"},
		"no vocabulary":        {set(16, 0), ErrFormat, "impossible sizes"},
		"huge":                 {set(31, 0xff), ErrFormat, "impossible sizes"},
		"id changed":           {set(82, 4), ErrChecksum, ""},
		"id outside":           {set(82, 9), ErrFormat, "not below the vocabulary's size 8"},
		"padding changed":      {set(87, 1), ErrChecksum, ""},
		"byte count changed":   {set(96, 5), ErrFormat, "document 1 of the index"},
		"end falls":            {set(104, 1), ErrFormat, "document 1 of the index"},
		"header's sum changed": {set(50, 0), ErrChecksum, ""},
		"vocabulary changed":   {set(16, 9), ErrChecksum, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := shardFileOf(t, c.content)
			err := checkShard(path)
			shard, ok := errors.AsType[*ShardError](err)
			if !ok || shard.File != path || !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v, want a ShardError with %v and %q", err, c.kind, c.text)
			}
		})
	}
}

// TestShardCutWhileOpen cuts a file under an open shard: a fault of the mapping is an error.
func TestShardCutWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.tok")
	w, err := createShard(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.add(make([]int32, 100_000), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := w.finish(); err != nil {
		t.Fatal(err)
	}
	s, err := OpenShard(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	if err := s.Read(make([]int32, 10), 90_000); !errors.Is(err, ErrTruncated) {
		t.Errorf("%v, want ErrTruncated", err)
	}
}

// FuzzShard opens any bytes. What is accepted holds what its index says, and is written
// again as the same bytes.
func FuzzShard(f *testing.F) {
	f.Add(handmade())
	f.Add(handmade()[:100])
	f.Add([]byte("MESSHARD"))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := shardFileOf(t, content)
		s, err := OpenShard(path)
		if err != nil {
			return
		}
		defer s.Close()
		sound := s.Verify() == nil
		again := filepath.Join(t.TempDir(), "again.tok")
		w, err := createShard(again, s.VocabSize())
		if err != nil {
			t.Fatal(err)
		}
		defer w.abandon()
		for i := range s.Documents() {
			lo, hi, n := s.Span(i)
			ids := make([]int32, hi-lo)
			if err := s.Read(ids, lo); err != nil {
				t.Fatal(err)
			}
			if err := w.add(ids, n); err != nil && sound {
				t.Fatal(err)
			}
		}
		if _, err := w.finish(); err != nil {
			t.Fatal(err)
		}
		if written, err := os.ReadFile(again); err != nil || sound && !bytes.Equal(written, content) && padded(content, s) {
			t.Fatalf("%x was written as %x (%v)", content, written, err)
		}
	})
}

// padded reports whether the bytes between ids and index are zeros, as the writer has them.
func padded(content []byte, s *Shard) bool {
	from := headerSize + int(s.head.tokens)*s.head.width
	return !slices.ContainsFunc(content[from:s.head.indexAt()], func(b byte) bool { return b != 0 })
}
