package safetensors

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzRead opens any bytes. What is accepted must survive a round trip: written and
// read again it has the same tensors, and written once more the same bytes.
func FuzzRead(f *testing.F) {
	for _, name := range referenceFiles {
		content, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)+".safetensors"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	text, err := os.ReadFile("testdata/verdicts.json")
	if err != nil {
		f.Fatal(err)
	}
	var verdicts []struct{ File []byte }
	if err := json.Unmarshal(text, &verdicts); err != nil {
		f.Fatal(err)
	}
	for _, v := range verdicts {
		f.Add(v.File)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		paths := []string{filepath.Join(dir, "0"), filepath.Join(dir, "1"), filepath.Join(dir, "2")}
		if err := os.WriteFile(paths[0], content, 0o644); err != nil {
			t.Fatal(err)
		}
		file, err := Open(paths[0])
		if err != nil {
			if !strings.Contains(err.Error(), paths[0]) {
				t.Errorf("error %q does not name the file", err)
			}
			return
		}
		defer file.Close()
		if err := copyFile(paths[1], file); err != nil {
			t.Fatalf("writing what was read: %v", err)
		}
		again, err := Open(paths[1])
		if err != nil {
			t.Fatalf("reading what was written: %v", err)
		}
		defer again.Close()
		sameTensors(t, file, again)
		if err := copyFile(paths[2], again); err != nil {
			t.Fatal(err)
		}
		first, err1 := os.ReadFile(paths[1])
		second, err2 := os.ReadFile(paths[2])
		if err1 != nil || err2 != nil || !bytes.Equal(first, second) {
			t.Errorf("the second copy differs from the first: %v, %v", err1, err2)
		}
	})
}

func sameTensors(t *testing.T, a, b *File) {
	t.Helper()
	if diff := cmp.Diff(a.Names(), b.Names()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(a.Metadata(), b.Metadata()); diff != "" {
		t.Error(diff)
	}
	for _, name := range a.Names() {
		x, _ := a.Tensor(name)
		y, _ := b.Tensor(name)
		p, err1 := x.Bytes()
		q, err2 := y.Bytes()
		if err1 != nil || err2 != nil || x.DType != y.DType || !cmp.Equal(x.Shape, y.Shape) || !bytes.Equal(p, q) {
			t.Errorf("%s: %s %v %v %v, %s %v %v %v", name, x.DType, x.Shape, p, err1, y.DType, y.Shape, q, err2)
		}
	}
}

// FuzzIndex decodes any index: shard names that are accepted stay in the folder.
func FuzzIndex(f *testing.F) {
	text, err := os.ReadFile("testdata/sharded/" + IndexFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"weight_map":{"a":"../x"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		shardOf, err := decodeIndex(text)
		for name, shard := range shardOf {
			if err == nil && filepath.Join("/dir", shard) != "/dir/"+shard {
				t.Errorf("tensor %q in %q outside the folder", name, shard)
			}
		}
	})
}
