package pickle

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzRead opens any archive. What is accepted gives its tensors without a panic and
// within the file's own size; what is refused gives an *Error.
func FuzzRead(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.bin")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		src := bytes.NewReader(content)
		a, err := readArchive(src, int64(len(content)))
		if err == nil {
			readAll(t, a, content)
			return
		}
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Errorf("%v is not an *Error", err)
		}
	})
}

// FuzzPickle runs any pickle beside two storages.
func FuzzPickle(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.bin")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if a, err := readArchive(bytes.NewReader(content), int64(len(content))); err == nil {
			f.Add(a.pickle)
		}
	}
	f.Add([]byte(state(rebuilt(stored("FloatStorage", "0", 24), 0, nums(4, 6), nums(1, 4)))))
	f.Add([]byte(state(rebuilt(stored("LongStorage", "1", 1), 0, nums(), nums()))))
	f.Fuzz(func(t *testing.T, code []byte) {
		a := &archive{pickle: code, storages: map[string]extent{"0": {0, 96}, "1": {96, 8}}, dataSize: 104}
		readAll(t, a, make([]byte, 104))
	})
}

// readAll reads every tensor and checks each element against an address computed
// from its index, stride by stride.
func readAll(t *testing.T, a *archive, content []byte) {
	t.Helper()
	layouts, err := a.tensors()
	if err != nil {
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Errorf("%v is not an *Error", err)
		}
		return
	}
	for name, l := range layouts {
		tensor := newTensor(name, "x", bytes.NewReader(content), l)
		got, err := tensor.Bytes()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		size := l.dtype.Size()
		if int64(len(got)) > l.storage.size {
			t.Errorf("%s: %d bytes from a storage of %d", name, len(got), l.storage.size)
		}
		for i := range l.elements {
			at, rest := l.offset, i
			for d := len(l.shape) - 1; d >= 0; d-- {
				at += rest % l.shape[d] * l.strides[d]
				rest /= l.shape[d]
			}
			data := content[l.storage.start:][:l.storage.size]
			if !bytes.Equal(got[i*size:][:size], data[at*size:][:size]) {
				t.Errorf("%s: element %d differs", name, i)
			}
		}
	}
}
