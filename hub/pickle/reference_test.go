package pickle

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// torchNames maps torch's dtypes to ours.
var torchNames = map[string]DType{
	"bool": Bool, "uint8": U8, "int8": I8, "int16": I16, "uint16": U16, "int32": I32, "uint32": U32, "int64": I64,
	"uint64": U64, "float16": F16, "bfloat16": BF16, "float32": F32, "float64": F64, "complex64": C64,
	"float8_e5m2": F8E5M2, "float8_e4m3fn": F8E4M3, "float8_e8m0fnu": F8E8M0,
	"float8_e4m3fnuz": F8E4M3FNUZ, "float8_e5m2fnuz": F8E5M2FNUZ,
}

// TestTorch compares every tensor of a file by torch.save with what torch says of it.
func TestTorch(t *testing.T) {
	text, err := os.ReadFile("testdata/pytorch_model.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]struct {
		DType, Hex string
		Shape      []int
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	f, err := Open("testdata/pytorch_model.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), f.Names()); diff != "" {
		t.Fatal(diff)
	}
	seen := map[DType]bool{}
	for name, w := range want {
		tensor, ok := f.Tensor(name)
		if !ok {
			t.Errorf("%s is missing", name)
			continue
		}
		seen[tensor.DType] = true
		if tensor.DType != torchNames[w.DType] || !slices.Equal(tensor.Shape, w.Shape) {
			t.Errorf("%s: got %s %v, want %s %v", name, tensor.DType, tensor.Shape, w.DType, w.Shape)
		}
		data, err := hex.DecodeString(w.Hex)
		if err != nil {
			t.Fatal(err)
		}
		if tensor.NumBytes() != int64(len(data)) || tensor.NumElements() != int64(len(data))/tensor.DType.Size() {
			t.Errorf("%s: %d bytes, %d elements, want %d bytes", name, tensor.NumBytes(), tensor.NumElements(), len(data))
		}
		if got, err := tensor.Bytes(); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: got %x, %v; want %x", name, got, err, data)
		}
		r, err := tensor.Reader()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s read as a stream: got %x, %v; want %x", name, got, err, data)
		}
	}
	if len(seen) != len(torchNames) {
		t.Errorf("the file has %d dtypes of %d", len(seen), len(torchNames))
	}
	if _, ok := f.Tensor("no such"); ok {
		t.Error("a tensor that is not there was found")
	}
}

// TestTorchRefused opens files that torch made and that hold no plain state dict.
func TestTorchRefused(t *testing.T) {
	for name, kind := range map[string]error{
		"legacy": ErrLegacy, "expanded": ErrExpanded, "module": ErrGlobal, "nested": ErrNoStateDict,
		"conjugated": ErrCall, "protocol4": ErrOpcode, "system": ErrGlobal,
	} {
		path := filepath.Join("testdata", name+".bin")
		_, err := Open(path)
		wantFault(t, err, kind, path)
	}
	for _, place := range []string{"executed", "testdata/executed"} {
		if _, err := os.Stat(place); err == nil {
			t.Errorf("%s: the pickle was executed", place)
		}
	}
}

// TestTruncated opens every shortened form of a file: an error, no panic.
func TestTruncated(t *testing.T) {
	whole, err := os.ReadFile("testdata/pytorch_model.bin")
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(whole); n += 7 {
		if _, err := readArchive(bytes.NewReader(whole[:n]), int64(n)); err == nil {
			t.Errorf("the first %d bytes of %d were accepted", n, len(whole))
		}
	}
}

// TestCutShort shortens a file after it was opened.
func TestCutShort(t *testing.T) {
	whole, err := os.ReadFile("testdata/pytorch_model.bin")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(put(t, whole))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(f.path, 100); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f32", "transposed"} {
		tensor, _ := f.Tensor(name)
		if _, err := tensor.Bytes(); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v, want an unexpected end", name, err)
		}
	}
}

func ExampleOpen() {
	f, err := Open("testdata/pytorch_model.bin")
	if err != nil {
		panic(err)
	}
	defer f.Close()
	t, _ := f.Tensor("column") // a view of every fourth number
	b, err := t.Bytes()
	fmt.Println(t.DType, t.Shape, len(b), err)
	// Output: F32 [2 3] 24 <nil>
}
