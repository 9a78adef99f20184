package xet

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// fill puts xorbs into a new store and returns how to open them.
func fill(t *testing.T, xorbs map[Hash][]byte) func(Hash) (*Xorb, error) {
	t.Helper()
	store, err := NewStore(t.TempDir(), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for h, content := range xorbs {
		if inserted, err := store.Put("scope", h, bytes.NewReader(content)); err != nil || !inserted {
			t.Fatalf("put %s: %v, %v", h, inserted, err)
		}
	}
	return func(h Hash) (*Xorb, error) { return store.Open("scope", h) }
}

// readAll reads a file through to its proof.
func readAll(f File, open func(Hash) (*Xorb, error)) ([]byte, error) {
	r, err := NewReader(f, open)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestCapturedFiles builds the files that hf_xet sent and compares them with what
// was uploaded.
func TestCapturedFiles(t *testing.T) {
	h, xorb := capturedXorb(t)
	open := fill(t, map[Hash][]byte{h: xorb})
	known := uploaded(t)
	for _, f := range readShard(t, readFile(t, "testdata/small/files.shard")) {
		content, err := readAll(f, open)
		if err != nil {
			t.Errorf("%s: %v", known[f.SHA256.String()].Name, err)
			continue
		}
		sum := sha256.Sum256(content)
		want := known[hex.EncodeToString(sum[:])]
		if int64(len(content)) != want.Size || hex.EncodeToString(sum[:]) != f.SHA256.String() {
			t.Errorf("%d bytes of sha256 %x: not among the uploaded files", len(content), sum)
		}
	}
}

// twoXorbs are two xorbs of three chunks and of one, and a file that takes pieces
// of both.
func twoXorbs() (map[Hash][]byte, File, []byte) {
	a, b, c, d := []byte("first "), []byte("second "), []byte("third "), []byte("fourth")
	one, two := hashOf(a, b, c), hashOf(d)
	chunk := func(data []byte) Chunk { return Chunk{ChunkHash(data), uint32(len(data))} }
	content := []byte("second third fourthfirst second ")
	sum := sha256.Sum256(content)
	f := File{
		Hash:   FileHash([]Chunk{chunk(b), chunk(c), chunk(d), chunk(a), chunk(b)}),
		SHA256: Hash(sum).swap(),
		Terms: []Term{
			{Xorb: one, Size: 13, Start: 1, End: 3, RangeHash: RangeHash([]Chunk{chunk(b), chunk(c)})},
			{Xorb: two, Size: 6, Start: 0, End: 1, RangeHash: RangeHash([]Chunk{chunk(d)})},
			{Xorb: one, Size: 13, Start: 0, End: 2, RangeHash: RangeHash([]Chunk{chunk(a), chunk(b)})},
		},
	}
	xorbs := map[Hash][]byte{one: bytes.Join([][]byte{plain(a), plain(b), plain(c)}, nil), two: plain(d)}
	return xorbs, f, content
}

func TestFileOfTwoXorbs(t *testing.T) {
	xorbs, f, want := twoXorbs()
	got, err := readAll(f, fill(t, xorbs))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestEmptyFile(t *testing.T) {
	sum := sha256.Sum256(nil)
	got, err := readAll(File{SHA256: Hash(sum).swap()}, nil)
	if err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFileRefused(t *testing.T) {
	cases := []struct {
		name string
		edit func(*File)
		want error
	}{
		{"no sha256", func(f *File) { f.SHA256 = Hash{} }, ErrNoSHA256},
		{"wrong sha256", func(f *File) { f.SHA256[0] ^= 1 }, ErrSHA256},
		{"wrong file hash", func(f *File) { f.Hash[0] ^= 1 }, ErrFileHash},
		{"wrong range hash", func(f *File) { f.Terms[1].RangeHash[0] ^= 1 }, ErrRangeHash},
		{"unknown xorb", func(f *File) { f.Terms[1].Xorb[0] ^= 1 }, ErrNoXorb},
		{"size says more", func(f *File) { f.Terms[0].Size++ }, ErrRange},
		{"size says less", func(f *File) { f.Terms[0].Size-- }, ErrRange},
		{"range too long", func(f *File) { f.Terms[0].End = 4 }, ErrRange},
		{"range beyond", func(f *File) { f.Terms[0].Start, f.Terms[0].End = 1<<31, 1<<32-1 }, ErrRange},
		{"a term is missing", func(f *File) { f.Terms = f.Terms[:2] }, ErrFileHash},
		{"terms in another order", func(f *File) { f.Terms[0], f.Terms[1] = f.Terms[1], f.Terms[0] }, ErrFileHash},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			xorbs, f, _ := twoXorbs()
			c.edit(&f)
			if _, err := readAll(f, fill(t, xorbs)); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

// TestStoreRefusal leaves nothing behind.
func TestStoreRefusal(t *testing.T) {
	dir := t.TempDir()
	store, err := NewStore(dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put("scope", Hash{1}, bytes.NewReader(plain([]byte("other")))); !errors.Is(err, ErrXorbHash) {
		t.Errorf("error %v, want %v", err, ErrXorbHash)
	}
	left, err := filepath.Glob(filepath.Join(dir, "scope", "*"))
	if err != nil || len(left) > 0 || store.Has("scope", Hash{1}) {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestStoreSpoiledFile treats a stored xorb that a power cut shortened as absent.
func TestStoreSpoiledFile(t *testing.T) {
	dir := t.TempDir()
	store, err := NewStore(dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	h := hashOf([]byte("data"))
	if _, err := store.Put("scope", h, bytes.NewReader(plain([]byte("data")))); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "scope", h.String()+unusedSuffix)
	for _, size := range []int64{3, 20} {
		if err := os.Truncate(name, size); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Open("scope", h); !errors.Is(err, ErrNoXorb) {
			t.Errorf("%d bytes: error %v, want %v", size, err, ErrNoXorb)
		}
	}
	if inserted, err := store.Put("scope", h, bytes.NewReader(plain([]byte("data")))); err != nil || !inserted {
		t.Errorf("put again: %v, %v", inserted, err)
	}
}

// TestSweep removes what waited too long, and what was used a while ago.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	store, err := NewStore(dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	put := func(scope, text string) Hash {
		h := hashOf([]byte(text))
		if _, err := store.Put(scope, h, bytes.NewReader(plain([]byte(text)))); err != nil {
			t.Fatal(err)
		}
		return h
	}
	now := time.Now()
	age := func(pattern string, by time.Duration) {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, name := range names {
			if err := os.Chtimes(name, now, now.Add(-by)); err != nil {
				t.Fatal(err)
			}
		}
	}
	waiting, used, abandoned := put("a", "waiting"), put("a", "used"), put("b", "abandoned")
	if err := store.Used("a", []Hash{used, {9}}); err != nil {
		t.Fatal(err)
	}
	age("a/*", 2*time.Hour)
	age("b/*", 50*time.Hour)
	if !store.Has("a", used) {
		t.Error("a used xorb is gone before its time")
	}
	if err := store.Sweep(now.Add(-48*time.Hour), now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if !store.Has("a", waiting) || store.Has("a", used) || store.Has("b", abandoned) {
		t.Errorf("waiting %v, used %v, abandoned %v; want the first alone",
			store.Has("a", waiting), store.Has("a", used), store.Has("b", abandoned))
	}
	if _, err := os.Stat(filepath.Join(dir, "b")); !os.IsNotExist(err) {
		t.Errorf("an empty folder is left: %v", err)
	}
}
