package safetensors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kinds maps the beginning of the reference's errors to ours; the first that fits
// counts.
var kinds = []struct {
	text string
	any  []error
}{
	{"header too small", []error{ErrHeaderTooSmall}},
	{"header too large", []error{ErrHeaderTooLarge}},
	{"invalid header length", []error{ErrHeaderLength}},
	{"invalid UTF-8 in header", []error{ErrHeaderUTF8}},
	{"invalid JSON in header: unknown variant", []error{ErrDType}},
	{"invalid JSON in header: duplicate field", []error{ErrDuplicateKey}},
	{"invalid JSON in header", []error{ErrHeaderJSON}},
	{"invalid offset for tensor", []error{ErrReversed, ErrOverlap, ErrHole}},
	{"invalid shape, data type, or offset", []error{ErrSize}},
	{"overflow computing buffer size", []error{ErrOverflow}},
	{"The slice is slicing for subbytes", []error{ErrMisaligned}},
	{"incomplete metadata", []error{ErrFileSize}},
}

// stricter lists what the reference accepts and we refuse: repeated keys, which the
// format forbids; forms that only the reference's JSON library lets pass; and a
// dimension that no int holds.
var stricter = map[string]error{
	"same tensor twice":          ErrDuplicateKey,
	"same tensor twice, escaped": ErrDuplicateKey,
	"same metadata key twice":    ErrDuplicateKey,
	"same unknown key twice":     ErrDuplicateKey,
	"metadata null":              ErrHeaderJSON,
	"tensor as array":            ErrHeaderJSON,
	"dtype as object":            ErrHeaderJSON,
	"dimension over 2^63":        ErrOverflow,
}

// TestVerdictsOfReference compares acceptance and kind of refusal with what the
// reference said of the same files.
func TestVerdictsOfReference(t *testing.T) {
	text, err := os.ReadFile("testdata/verdicts.json")
	if err != nil {
		t.Fatal(err)
	}
	var verdicts []struct {
		Name  string
		File  []byte
		Error string
	}
	if err := json.Unmarshal(text, &verdicts); err != nil {
		t.Fatal(err)
	}
	if len(verdicts) < 80 {
		t.Fatalf("only %d verdicts", len(verdicts))
	}
	for _, v := range verdicts {
		t.Run(v.Name, func(t *testing.T) {
			_, err := readHeader(bytes.NewReader(v.File), int64(len(v.File)))
			want := []error{nil}
			said := strings.TrimPrefix(v.Error, "Error while deserializing: ")
			if kind, ok := stricter[v.Name]; ok {
				if said != "" {
					t.Fatalf("the reference refuses this too: %s", said)
				}
				want = []error{kind}
			} else if said != "" {
				i := slices.IndexFunc(kinds, func(k struct {
					text string
					any  []error
				}) bool {
					return strings.HasPrefix(said, k.text)
				})
				if i < 0 {
					t.Fatalf("unknown verdict %q", said)
				}
				want = kinds[i].any
			}
			if !slices.ContainsFunc(want, func(kind error) bool { return errors.Is(err, kind) }) {
				t.Errorf("got %v, want %v; the reference said %q", err, want, said)
			}
		})
	}
}

var referenceFiles = []string{"every_dtype", "odd_names", "nothing", "empty_metadata", "torch",
	"sharded/model-00001-of-00002", "sharded/model-00002-of-00002"}

// TestBytesOfReference writes what the reference wrote and compares the bytes. The
// specs are given in the order of the names, which is not that of the file.
func TestBytesOfReference(t *testing.T) {
	for _, name := range referenceFiles {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", filepath.FromSlash(name)+".safetensors")
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got := filepath.Join(t.TempDir(), "copy")
			if err := copyFile(got, f); err != nil {
				t.Fatal(err)
			}
			copied, err := os.ReadFile(got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, copied); diff != "" {
				t.Errorf("bytes differ (-reference +ours):\n%s", diff)
			}
		})
	}
}

// copyFile writes the tensors and metadata of f to path.
func copyFile(path string, f *File) error {
	var specs []Spec
	for _, name := range f.Names() {
		t, _ := f.Tensor(name)
		specs = append(specs, Spec{name, t.DType, t.Shape})
	}
	return WriteFile(context.Background(), path, specs, f.Metadata(), func(name string) (io.Reader, error) {
		t, _ := f.Tensor(name)
		return io.NewSectionReader(t, 0, t.NumBytes()), nil
	})
}

// TestValuesOfReference checks dtypes, shapes and bytes against what the fixture
// script put in.
func TestValuesOfReference(t *testing.T) {
	f, err := Open("testdata/every_dtype.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, c := range []struct {
		name  string
		dtype DType
		bytes int
	}{ // in the script's order: the bytes count up from i
		{"bool", Bool, 1}, {"int8", I8, 1}, {"uint8", U8, 1}, {"int16", I16, 2}, {"uint16", U16, 2}, {"int32", I32, 4},
		{"uint32", U32, 4}, {"int64", I64, 8}, {"uint64", U64, 8}, {"float16", F16, 2}, {"bfloat16", BF16, 2},
		{"float32", F32, 4}, {"float64", F64, 8}, {"float8_e4m3fn", F8E4M3, 1}, {"float8_e4m3fnuz", F8E4M3FNUZ, 1},
		{"float8_e5m2", F8E5M2, 1}, {"float8_e5m2fnuz", F8E5M2FNUZ, 1}, {"float8_e8m0fnu", F8E8M0, 1},
		{"float4_e2m1fn_x2", F4, 1}, {"complex64", C64, 8},
	} {
		tensor, ok := f.Tensor("t." + c.name)
		shape := []int{2, 3}
		if c.dtype == F4 {
			shape[1] = 6 // two to a byte
		}
		if !ok || tensor.DType != c.dtype || !slices.Equal(tensor.Shape, shape) || tensor.NumElements() != int64(shape[0]*shape[1]) {
			t.Errorf("%s: found %v, %s %v, %d elements", c.name, ok, tensor.DType, tensor.Shape, tensor.NumElements())
			continue
		}
		want := []byte{0, 1, 1, 0, 1, 0}
		if c.dtype != Bool {
			want = make([]byte, 6*c.bytes)
			for j := range want {
				want[j] = byte((i + j) % 251)
			}
		}
		if got, err := tensor.Bytes(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %v, %v; want %v", c.name, got, err, want)
		}
	}
	if diff := cmp.Diff(map[string]string{"format": "pt"}, f.Metadata()); diff != "" {
		t.Error(diff)
	}
}

// TestIndexOfReference reads and writes the index that huggingface_hub wrote; as
// transformers does, ours ends in a newline.
func TestIndexOfReference(t *testing.T) {
	dir := filepath.Join("testdata", "sharded")
	s, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if diff := cmp.Diff([]string{"layer.0.weight", "layer.1.weight", "layer.2.weight", "é"}, s.Names()); diff != "" {
		t.Error(diff)
	}
	weightMap := map[string]string{}
	var total int64
	for i, name := range s.Names() {
		tensor, err := s.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		weightMap[name], _ = s.Shard(name)
		total += tensor.NumBytes()
		want := bytes.Repeat([][]byte{{0, 0, 0, 0}, {0, 0, 0x80, 0x3f}, {0, 0, 0, 0x40}, {0, 0, 0x80, 0x3f}}[i], int(tensor.NumElements()))
		if got, err := tensor.Bytes(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, want)
		}
	}
	out := t.TempDir()
	if err := WriteIndex(out, weightMap, total); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(dir, IndexFile))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(out, IndexFile))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want)+"\n", string(got)); diff != "" {
		t.Errorf("index differs (-reference +ours):\n%s", diff)
	}
}
