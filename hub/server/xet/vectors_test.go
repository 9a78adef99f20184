package xet

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pierrec/lz4/v4"
)

// capturedXorb is the xorb that hf_xet sent, with the hash that it sent it under.
func capturedXorb(t testing.TB) (Hash, []byte) {
	t.Helper()
	names, err := filepath.Glob("testdata/small/*.xorb")
	if err != nil || len(names) != 1 {
		t.Fatalf("captured xorbs: %v, %v", names, err)
	}
	h, err := ParseHash(strings.TrimSuffix(filepath.Base(names[0]), ".xorb"))
	if err != nil {
		t.Fatal(err)
	}
	return h, readFile(t, names[0])
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// uploadedFile is a line of the manifest.
type uploadedFile struct {
	Name   string
	Size   int64
	SHA256 string
}

// uploaded is the manifest by sha256.
func uploaded(t testing.TB) map[string]uploadedFile {
	t.Helper()
	var list []uploadedFile
	if err := json.Unmarshal(readFile(t, "testdata/files.json"), &list); err != nil {
		t.Fatal(err)
	}
	files := map[string]uploadedFile{}
	for _, f := range list {
		files[f.SHA256] = f
	}
	return files
}

// listedChunks reads the xorb section of a shard by its offsets alone.
func listedChunks(shard []byte) map[Hash][]Chunk {
	out := map[Hash][]Chunk{}
	end := bytes.Repeat([]byte{255}, 32)
	at := bytes.Index(shard, end) + entrySize
	for !bytes.Equal(shard[at:at+32], end) {
		name, count := Hash(shard[at:at+32]), int(binary.LittleEndian.Uint32(shard[at+36:]))
		at += entrySize
		for range count {
			out[name] = append(out[name], Chunk{Hash(shard[at : at+32]), binary.LittleEndian.Uint32(shard[at+36:])})
			at += entrySize
		}
	}
	return out
}

// packed is a chunk of a xorb as a test wants it.
func packed(scheme byte, raw, size int, body []byte) []byte {
	out := []byte{0, byte(size), byte(size >> 8), byte(size >> 16), scheme, byte(raw), byte(raw >> 8), byte(raw >> 16)}
	return append(out, body...)
}

// plain is a chunk without compression.
func plain(data []byte) []byte { return packed(schemeNone, len(data), len(data), data) }

// frame compresses by LZ4.
func frame(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := lz4.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// hashOf is the hash of a xorb with these contents of chunks.
func hashOf(chunks ...[]byte) Hash {
	var list []Chunk
	for _, c := range chunks {
		list = append(list, Chunk{ChunkHash(c), uint32(len(c))})
	}
	return XorbHash(list)
}

// shardOf writes a shard with files alone.
func shardOf(files ...File) []byte {
	out := shardHeader(shardVersion, 0)
	for _, f := range files {
		flags := uint32(withRangeHashes)
		if f.SHA256 != (Hash{}) {
			flags |= withMetadata
		}
		out = append(out, f.Hash[:]...)
		out = appendWords(out, flags, uint32(len(f.Terms)), 0, 0)
		for _, t := range f.Terms {
			out = append(out, t.Xorb[:]...)
			out = appendWords(out, 0, t.Size, t.Start, t.End)
		}
		for _, t := range f.Terms {
			out = append(out, t.RangeHash[:]...)
			out = appendWords(out, 0, 0, 0, 0)
		}
		if f.SHA256 != (Hash{}) {
			out = append(out, f.SHA256[:]...)
			out = appendWords(out, 0, 0, 0, 0)
		}
	}
	for range 2 {
		out = append(out, bookend[:]...)
		out = appendWords(out, 0, 0, 0, 0)
	}
	return out
}

func shardHeader(version, footer uint64) []byte {
	out := append([]byte{}, shardTag[:]...)
	out = binary.LittleEndian.AppendUint64(out, version)
	return binary.LittleEndian.AppendUint64(out, footer)
}

func appendWords(out []byte, words ...uint32) []byte {
	for _, w := range words {
		out = binary.LittleEndian.AppendUint32(out, w)
	}
	return out
}

// endless gives the same bytes again and again.
type endless struct {
	piece []byte
	at    int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c := copy(p[n:], e.piece[e.at:])
		n, e.at = n+c, (e.at+c)%len(e.piece)
	}
	return n, nil
}

var _ io.Reader = &endless{}
