package xet

import (
	"bytes"
	"testing"
)

// FuzzReadXorb reads any bytes. What is accepted is read again from a store to the
// same chunks.
func FuzzReadXorb(f *testing.F) {
	f.Add(plain([]byte("x")))
	f.Add(append(plain([]byte("x")), "XETBLOB\x01"...))
	body := frame(f, bytes.Repeat([]byte("abcd"), 100))
	f.Add(packed(schemeGrouped, 400, len(body), body))
	f.Fuzz(func(t *testing.T, content []byte) {
		chunks, want := readAnyXorb(content)
		if len(chunks) == 0 {
			return
		}
		var kept bytes.Buffer
		again, err := ReadXorb(bytes.NewReader(content), want, &kept)
		if err != nil || len(again) != len(chunks) || !bytes.HasPrefix(content, kept.Bytes()) {
			t.Fatalf("read again: %d chunks, want %d: %v", len(again), len(chunks), err)
		}
	})
}

// readAnyXorb finds the hash that a xorb has, if its chunks can be read at all.
func readAnyXorb(content []byte) ([]Chunk, Hash) {
	var chunks []Chunk
	var d decoder
	for src := bytes.NewReader(content); ; {
		var raw [chunkHeaderSize]byte
		if n, err := src.Read(raw[:]); err != nil || n < len(raw) || raw[0] != 0 {
			if n == 0 || bytes.HasPrefix(raw[:n], footerMagic) {
				return chunks, XorbHash(chunks)
			}
			return nil, Hash{}
		}
		h, err := parseChunkHeader(raw)
		if err != nil {
			return nil, Hash{}
		}
		data, err := d.read(src, h)
		if err != nil {
			return nil, Hash{}
		}
		chunks = append(chunks, Chunk{ChunkHash(data), uint32(len(data))})
	}
}

// FuzzReadShard reads any bytes. Files that are accepted are written by the test's
// own writer and read again.
func FuzzReadShard(f *testing.F) {
	f.Add(readFile(f, "testdata/small/files.shard"))
	_, file, _ := twoXorbs()
	f.Add(shardOf(file))
	f.Add(shardOf())
	f.Fuzz(func(t *testing.T, content []byte) {
		files, err := ReadShard(bytes.NewReader(content))
		if err != nil {
			if !isInvalid(err) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		again, err := ReadShard(bytes.NewReader(shardOf(files...)))
		if err != nil || len(again) != len(files) {
			t.Fatalf("written and read again: %d files, want %d: %v", len(again), len(files), err)
		}
		for i := range files {
			if again[i].Hash != files[i].Hash || again[i].SHA256 != files[i].SHA256 || again[i].Size() != files[i].Size() {
				t.Fatalf("file %d: %+v, want %+v", i, again[i], files[i])
			}
		}
	})
}
