package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzRead reads any bytes. What is accepted must survive a round trip: written and
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
		if len(v.File) < 4096 { // long ones keep the fuzzer busy with making them short
			f.Add(v.File)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		h, err := readHeader(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Errorf("error %v is not an *Error", err)
			}
			return
		}
		first := rewrite(t, h, content)
		again, err := readHeader(bytes.NewReader(first), int64(len(first)))
		if err != nil {
			t.Fatalf("reading what was written: %v", err)
		}
		if diff := cmp.Diff(h.metadata, again.metadata); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(tensors(h, content), tensors(again, first)); diff != "" {
			t.Error(diff)
		}
		if !bytes.Equal(rewrite(t, again, first), first) {
			t.Error("the second copy differs from the first")
		}
	})
}

// rewrite returns the file that the writer makes of a checked header and its data.
func rewrite(t *testing.T, h *header, content []byte) []byte {
	t.Helper()
	specs := make([]Spec, len(h.entries))
	for i, e := range h.entries {
		specs[i] = Spec{e.name, e.dtype, ints(e.shape)}
	}
	w := &Writer{layout: sorted(specs)}
	out, err := w.header(h.metadata)
	if err != nil {
		t.Fatalf("writing what was read: %v", err)
	}
	data := tensors(h, content)
	for _, s := range w.layout {
		out = append(out, data[s.Name].Data...)
	}
	return out
}

type value struct {
	DType DType
	Shape []uint64
	Data  []byte
}

func tensors(h *header, content []byte) map[string]value {
	m := map[string]value{}
	for _, e := range h.entries {
		data := content[h.dataStart:]
		m[e.name] = value{e.dtype, e.shape, data[e.begin:e.end]}
	}
	return m
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
