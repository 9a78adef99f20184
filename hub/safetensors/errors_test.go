package safetensors

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// raw returns a file: the header's length, the header, the data.
func raw(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

func put(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantFault checks that an error is an *Error of the kind and names the file.
func wantFault(t *testing.T, err, kind error, path string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, kind) {
		t.Fatalf("got %v, want %v", err, kind)
	}
	if e.Path != path || !strings.Contains(err.Error(), path) {
		t.Errorf("error %q does not name %s", err, path)
	}
}

// wantOpenFault checks that a file of that content is refused.
func wantOpenFault(t *testing.T, content []byte, kind error) {
	t.Helper()
	path := put(t, content)
	f, err := Open(path)
	if err == nil {
		f.Close()
	}
	wantFault(t, err, kind, path)
}

const (
	good = `{"a":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}`
	pair = `{"a":{"dtype":"I32","shape":[2],"data_offsets":[%d,%d]},"b":{"dtype":"I32","shape":[2],"data_offsets":[%d,%d]}}`
)

func TestErrHeaderTooSmall(t *testing.T) { wantOpenFault(t, make([]byte, 7), ErrHeaderTooSmall) }

func TestErrHeaderTooLarge(t *testing.T) {
	for _, n := range []uint64{maxHeader + 1, 1 << 63, 1<<64 - 1} {
		wantOpenFault(t, binary.LittleEndian.AppendUint64(nil, n), ErrHeaderTooLarge)
	}
}

func TestErrHeaderLength(t *testing.T) {
	wantOpenFault(t, binary.LittleEndian.AppendUint64(nil, maxHeader), ErrHeaderLength)
	wantOpenFault(t, raw(good, 0)[:20], ErrHeaderLength)
}

func TestErrHeaderUTF8(t *testing.T) {
	wantOpenFault(t, raw("{\"\xff\":{}}", 0), ErrHeaderUTF8)
}

func TestErrHeaderJSON(t *testing.T) {
	for _, header := range []string{"", "{", "[]", "{}{}", `{"a":1}`, `{"a":{"dtype":"I32","shape":[2]}}`,
		`{"a":{"dtype":"I32","shape":[2.0],"data_offsets":[0,8]}}`, `{"__metadata__":{"a":1}}`} {
		wantOpenFault(t, raw(header, 0), ErrHeaderJSON)
	}
}

func TestErrDuplicateKey(t *testing.T) {
	entry := `"a":{"dtype":"I32","shape":[0],"data_offsets":[0,0]}`
	for _, header := range []string{
		"{" + entry + "," + entry + "}",
		"{" + entry + "," + strings.Replace(entry, `"a"`, `"\u0061"`, 1) + "}",
		`{"__metadata__":{"k":"1","k":"2"}}`,
		`{"a":{"dtype":"I32","dtype":"I32","shape":[0],"data_offsets":[0,0]}}`,
	} {
		wantOpenFault(t, raw(header, 0), ErrDuplicateKey)
	}
}

func TestErrDType(t *testing.T) {
	wantOpenFault(t, raw(strings.Replace(good, "I32", "I31", 1), 8), ErrDType)
}

func TestErrReversed(t *testing.T) {
	wantOpenFault(t, raw(fmt.Sprintf(pair, 0, 8, 16, 8), 16), ErrReversed)
}

func TestErrOverlap(t *testing.T) {
	wantOpenFault(t, raw(fmt.Sprintf(pair, 0, 8, 4, 12), 12), ErrOverlap)
	wantOpenFault(t, raw(fmt.Sprintf(pair, 0, 8, 0, 8), 8), ErrOverlap)
}

func TestErrHole(t *testing.T) {
	wantOpenFault(t, raw(fmt.Sprintf(pair, 0, 8, 12, 20), 20), ErrHole)
	wantOpenFault(t, raw(fmt.Sprintf(pair, 4, 12, 12, 20), 20), ErrHole)
}

func TestErrOverflow(t *testing.T) {
	for _, shape := range []string{"2,18446744073709551614", "2,9223372036854775807", "4294967296,4294967296,0", "0,18446744073709551615"} {
		wantOpenFault(t, raw(strings.Replace(good, "[2]", "["+shape+"]", 1), 8), ErrOverflow)
	}
}

func TestErrMisaligned(t *testing.T) {
	for _, dtype := range []string{"F4", "F6_E2M3", "F6_E3M2"} {
		header := fmt.Sprintf(`{"a":{"dtype":"%s","shape":[3],"data_offsets":[0,2]}}`, dtype)
		wantOpenFault(t, raw(header, 2), ErrMisaligned)
	}
}

func TestErrSize(t *testing.T) {
	wantOpenFault(t, raw(strings.Replace(good, "[2]", "[3]", 1), 8), ErrSize)
	wantOpenFault(t, raw(strings.Replace(good, "[2]", "[]", 1), 8), ErrSize)
}

func TestErrFileSize(t *testing.T) {
	wantOpenFault(t, raw(good, 7), ErrFileSize)
	wantOpenFault(t, raw(good, 9), ErrFileSize)
}

func TestErrNoModel(t *testing.T) {
	dir := t.TempDir()
	_, err := OpenDir(dir)
	wantFault(t, err, ErrNoModel, dir)
	if !errors.Is(err, os.ErrNotExist) {
		t.Error("not os.ErrNotExist")
	}
}

// wantIndexFault checks that a folder with that index is refused.
func wantIndexFault(t *testing.T, index string, kind error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, IndexFile)
	if err := os.WriteFile(path, []byte(index), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := OpenDir(dir)
	wantFault(t, err, kind, path)
}

func TestErrIndexTooLarge(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, IndexFile)
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxHeader+1); err != nil {
		t.Fatal(err)
	}
	_, err := OpenDir(dir)
	wantFault(t, err, ErrIndexTooLarge, path)
}

func TestErrIndexJSON(t *testing.T) {
	for _, index := range []string{"", "[]", "{}", `{"weight_map":null}`, `{"weight_map":{"a":1}}`, `{"weight_map":{}} x`, "{\"weight_map\":{\"a\":\"\xff\"}}"} {
		wantIndexFault(t, index, ErrIndexJSON)
	}
}

func TestErrIndexDuplicateKey(t *testing.T) {
	wantIndexFault(t, `{"weight_map":{"a":"x","a":"y"}}`, ErrDuplicateKey)
	wantIndexFault(t, `{"weight_map":{},"weight_map":{}}`, ErrDuplicateKey)
	wantIndexFault(t, `{"metadata":{"x":1,"x":2},"weight_map":{}}`, ErrDuplicateKey)
}

func TestErrShardName(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../x", "a/b", `a\\b`, "/etc/passwd", "c:x", `a\u0000b`} {
		wantIndexFault(t, `{"weight_map":{"a":"`+name+`"}}`, ErrShardName)
	}
	err := WriteIndex(t.TempDir(), map[string]string{"a": "../x"}, 0)
	if !errors.Is(err, ErrShardName) {
		t.Errorf("WriteIndex: got %v, want %v", err, ErrShardName)
	}
}

// indexed returns an open folder whose index places tensors a and b in one shard.
func indexed(t *testing.T, shard []byte) (*Set, string) {
	t.Helper()
	dir := t.TempDir()
	if err := WriteIndex(dir, map[string]string{"a": "s.safetensors", "b": "s.safetensors"}, 16); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s.safetensors")
	if shard != nil {
		if err := os.WriteFile(path, shard, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, path
}

func TestErrShardMissing(t *testing.T) {
	s, path := indexed(t, nil)
	_, err := s.Tensor("b")
	wantFault(t, err, ErrShardMissing, path)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("error %q names no tensor or is not os.ErrNotExist", err)
	}
}

func TestErrNotInShard(t *testing.T) {
	s, path := indexed(t, raw(good, 8))
	if _, err := s.Tensor("a"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Tensor("b")
	wantFault(t, err, ErrNotInShard, path)
}

func TestErrTensorNotFound(t *testing.T) {
	s, path := indexed(t, raw(good, 8))
	_, err := s.Tensor("c")
	wantFault(t, err, ErrTensorNotFound, filepath.Dir(path))
}

// wantCreateFault checks that the writer refuses the specs and leaves no file.
func wantCreateFault(t *testing.T, kind error, metadata map[string]string, specs ...Spec) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x")
	_, err := Create(path, specs, metadata)
	wantFault(t, err, kind, path)
	wantEmpty(t, filepath.Dir(path))
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("folder holds %v, %v; want nothing", entries, err)
	}
}

func TestWriterRefusesSpecs(t *testing.T) {
	wantCreateFault(t, ErrReservedName, nil, Spec{metadataKey, F32, nil})
	wantCreateFault(t, ErrDuplicateKey, nil, Spec{"a", F32, nil}, Spec{"a", U8, nil})
	wantCreateFault(t, ErrHeaderUTF8, nil, Spec{"\xff", F32, nil})
	wantCreateFault(t, ErrHeaderUTF8, map[string]string{"a": "\xff"})
	wantCreateFault(t, ErrDType, nil, Spec{"a", "F31", nil})
	wantCreateFault(t, ErrOverflow, nil, Spec{"a", F32, []int{-1}})
	wantCreateFault(t, ErrOverflow, nil, Spec{"a", U8, []int{1 << 59}}, Spec{"b", U8, []int{1 << 60}}, Spec{"c", F4, []int{1 << 61}},
		Spec{"d", U8, []int{1 << 60}}, Spec{"e", U8, []int{1 << 60}}, Spec{"f", U8, []int{1 << 60}}, Spec{"g", U8, []int{1 << 60}},
		Spec{"h", U8, []int{1 << 60}}, Spec{"i", U8, []int{1 << 60}})
	wantCreateFault(t, ErrMisaligned, nil, Spec{"a", F4, []int{3}})
	wantCreateFault(t, ErrHeaderTooLarge, map[string]string{"a": strings.Repeat("a", maxHeader)})
}

// wantWriteFault checks that use ends in a fault, that the writer then stays shut,
// and that no file is left.
func wantWriteFault(t *testing.T, kind error, use func(w *Writer) error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x")
	w, err := Create(path, []Spec{{"a", U8, []int{4}}, {"b", U8, []int{4}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantFault(t, use(w), kind, path)
	if err := w.Commit(); !errors.Is(err, kind) {
		t.Errorf("Commit after the fault: %v", err)
	}
	wantEmpty(t, filepath.Dir(path))
}

func write(w *Writer, name, data string) error {
	return w.Write(context.Background(), name, strings.NewReader(data))
}

func TestErrOrder(t *testing.T) {
	wantWriteFault(t, ErrOrder, func(w *Writer) error { return write(w, "b", "1234") })
	wantWriteFault(t, ErrOrder, func(w *Writer) error { return errors.Join(write(w, "a", "1234"), write(w, "a", "1234")) })
}

func TestErrDataSize(t *testing.T) {
	wantWriteFault(t, ErrDataSize, func(w *Writer) error { return write(w, "a", "123") })
	wantWriteFault(t, ErrDataSize, func(w *Writer) error { return write(w, "a", "12345") })
}

func TestErrUnwritten(t *testing.T) {
	wantWriteFault(t, ErrUnwritten, func(w *Writer) error { return errors.Join(write(w, "a", "1234"), w.Commit()) })
}

func TestErrDone(t *testing.T) {
	wantWriteFault(t, ErrDone, func(w *Writer) error { w.Abort(); return write(w, "a", "1234") })
	path := filepath.Join(t.TempDir(), "x")
	w, err := Create(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	wantFault(t, w.Commit(), ErrDone, path)
	if _, err := os.Stat(path); err != nil {
		t.Errorf("Abort after Commit took the file away: %v", err)
	}
}
