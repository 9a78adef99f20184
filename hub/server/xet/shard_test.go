package xet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

// readShard reads a shard that must be valid.
func readShard(t testing.TB, content []byte) []File {
	t.Helper()
	files, err := ReadShard(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestCapturedShards compares sizes and sha256 with the files that were uploaded.
func TestCapturedShards(t *testing.T) {
	known, seen := uploaded(t), 0
	for _, name := range []string{"small", "large"} {
		for _, f := range readShard(t, readFile(t, "testdata/"+name+"/files.shard")) {
			want, ok := known[f.SHA256.String()]
			if !ok || f.Size() != want.Size {
				t.Errorf("%s: sha256 %s of %d bytes, want %+v", name, f.SHA256, f.Size(), want)
			}
			seen++
		}
	}
	if seen != len(known) {
		t.Errorf("%d files, want %d", seen, len(known))
	}
}

// TestShardFooter reads a shard with a footer, which the npm client sends.
func TestShardFooter(t *testing.T) {
	content := append([]byte{}, readFile(t, "testdata/small/files.shard")...)
	want := readShard(t, content)
	binary.LittleEndian.PutUint64(content[40:], footerSize)
	footer := make([]byte, footerSize)
	footer[0] = footerVersion
	if got := readShard(t, append(content, footer...)); len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
}

func TestShardRefused(t *testing.T) {
	good := readFile(t, "testdata/small/files.shard")
	edit := func(at int, value ...byte) []byte {
		return append(append(append([]byte{}, good[:at]...), value...), good[at+len(value):]...)
	}
	xorbs := bytes.Index(good, bookend[:]) + entrySize
	file := File{Hash: Hash{1}, SHA256: Hash{2}, Terms: []Term{{Xorb: Hash{3}, Size: 1, Start: 0, End: 1}}}
	backwards := file
	backwards.Terms = []Term{{Xorb: Hash{3}, Size: 1, Start: 2, End: 1}}
	footer := make([]byte, footerSize)
	footer[0] = footerVersion + 1
	cases := []struct {
		name    string
		content []byte
		want    error
	}{
		{"empty", nil, ErrTruncated},
		{"another format", make([]byte, 500), ErrFormat},
		{"version", edit(32, 3), ErrFormat},
		{"size of the footer", edit(40, 7), ErrFormat},
		{"no footer", edit(40, footerSize), ErrTruncated},
		{"version of the footer", append(append(shardHeader(shardVersion, footerSize), shardOf()[entrySize:]...), footer...), ErrFormat},
		{"header alone", good[:entrySize], ErrTruncated},
		{"cut", good[:len(good)-1], ErrTruncated},
		{"more terms than there are", edit(entrySize+36, 255, 255, 255, 255), ErrRange}, // what follows is no term,
		{"more chunks than there are", edit(xorbs+36, 255, 255, 255, 255), ErrTruncated},
		{"another chunk", edit(xorbs+entrySize, good[xorbs+entrySize]^1), ErrXorbHash},
		{"range backwards", shardOf(backwards), ErrRange},
		{"more after the end", append(append([]byte{}, good...), 0), ErrFormat},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadShard(bytes.NewReader(c.content))
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
	if files := readShard(t, shardOf(file)); len(files) != 1 || files[0].SHA256 != file.SHA256 {
		t.Errorf("the shard that the others vary gives %+v", files)
	}
}

// TestShardWithoutEnd sends files without terms for ever, and a file without end.
func TestShardWithoutEnd(t *testing.T) {
	term := appendWords(make([]byte, 32), 0, 1, 0, 1)
	endlessFile := appendWords(make([]byte, 32), 0, 1<<32-1, 0, 0)
	for name, src := range map[string]io.Reader{
		"files": &endless{piece: make([]byte, entrySize)},
		"terms": io.MultiReader(bytes.NewReader(endlessFile), &endless{piece: term}),
	} {
		_, err := ReadShard(io.MultiReader(bytes.NewReader(shardHeader(shardVersion, 0)), src))
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: error %v, want %v", name, err, ErrTooLarge)
		}
	}
}
