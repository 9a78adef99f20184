package safetensors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reader gives bytes through a function, so that tests can fail at will.
type reader func(p []byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// TestWriteCancelled ends the context in the middle of a tensor: the writer stops
// within a chunk, the old file stays as it was and no other is left.
func TestWriteCancelled(t *testing.T) {
	path := put(t, raw(good, 8))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	given := 0
	err = WriteFile(ctx, path, []Spec{{"a", U8, []int{1 << 30}}}, nil, func(string) (io.Reader, error) {
		return reader(func(p []byte) (int, error) {
			given += len(p)
			if given > 10*chunkSize {
				cancel()
			}
			return len(p), nil
		}), nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if given > 12*chunkSize {
		t.Errorf("%d bytes were read after the end of the context", given-10*chunkSize)
	}
	wantOnly(t, path, before)
}

// wantOnly checks that the folder holds the one file with that content.
func wantOnly(t *testing.T, path string, content []byte) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("folder holds %v, %v; want one file", entries, err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the file changed, %v", err)
	}
}

// TestWriteSourceFails lets the source of the second tensor fail, at once and in
// the middle.
func TestWriteSourceFails(t *testing.T) {
	broken := errors.New("broken")
	specs := []Spec{{"a", U8, []int{4}}, {"b", U8, []int{4}}}
	for _, source := range []func() (io.Reader, error){
		func() (io.Reader, error) { return nil, broken },
		func() (io.Reader, error) {
			return io.MultiReader(bytes.NewReader([]byte("12")), reader(func([]byte) (int, error) { return 0, broken })), nil
		},
	} {
		path := put(t, []byte("old"))
		err := WriteFile(context.Background(), path, specs, nil, func(name string) (io.Reader, error) {
			if name == "a" {
				return bytes.NewReader([]byte("1234")), nil
			}
			return source()
		})
		if !errors.Is(err, broken) {
			t.Errorf("got %v, want %v", err, broken)
		}
		wantOnly(t, path, []byte("old"))
	}
}

// TestCommitFails makes the target a folder that is not empty, which no file can
// replace.
func TestCommitFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	if err := os.MkdirAll(filepath.Join(path, "y"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(context.Background(), path, nil, nil, nil); err == nil {
		t.Error("a folder was replaced")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("folder holds %v, %v; want x alone", entries, err)
	}
}

func TestCreateInMissingFolder(t *testing.T) {
	_, err := Create(filepath.Join(t.TempDir(), "no", "x"), nil, nil)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want %v", err, os.ErrNotExist)
	}
}

// TestWriteOverMapped replaces a file while its tensors are read from it.
func TestWriteOverMapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	fixture, err := os.ReadFile("testdata/torch.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, fixture, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := copyFile(path, f); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, path, fixture)
}

// TestLazyShards follows which shards are open, and reads while another goroutine
// drops them.
func TestLazyShards(t *testing.T) {
	s, err := OpenDir("testdata/sharded")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.open) != 0 {
		t.Errorf("%d shards are open before a tensor is asked for", len(s.open))
	}
	if diff := cmp.Diff([]string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}, s.Shards()); diff != "" {
		t.Error(diff)
	}
	tensor, err := s.Tensor("layer.2.weight")
	if err != nil {
		t.Fatal(err)
	}
	shard, _ := s.Shard("layer.2.weight")
	if len(s.open) != 1 || s.open[shard] == nil {
		t.Errorf("open shards: %v, want %s alone", s.open, shard)
	}
	want, err := tensor.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Drop(shard); err != nil || len(s.open) != 0 {
		t.Errorf("Drop: %v, %d open", err, len(s.open))
	}
	if _, err := tensor.Bytes(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("reading a dropped shard: %v, want %v", err, os.ErrClosed)
	}
	if err := errors.Join(s.Drop(shard), s.Drop("unknown")); err != nil {
		t.Errorf("Drop of closed shards: %v", err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				tensor, err := s.Tensor("layer.2.weight")
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := tensor.Bytes(); err != nil && !errors.Is(err, os.ErrClosed) || err == nil && !bytes.Equal(got, want) {
					t.Errorf("got %v, %v", got, err)
				}
				if err := s.Drop(shard); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Tensor("layer.2.weight"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Tensor of a closed set: %v, want %v", err, os.ErrClosed)
	}
}

// TestOpenDirPrefersOneFile finds model.safetensors although an index is there too.
func TestOpenDirPrefersOneFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ModelFile), raw(good, 8), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteIndex(dir, map[string]string{"z": "z"}, 0); err != nil {
		t.Fatal(err)
	}
	s, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tensor, err := s.Tensor("a")
	if err != nil || tensor.NumBytes() != 8 {
		t.Errorf("got %d bytes, %v", tensor.NumBytes(), err)
	}
	if diff := cmp.Diff([]string{"a"}, s.Names()); diff != "" {
		t.Error(diff)
	}
}

// TestReadAt keeps to the contract of io.ReaderAt.
func TestReadAt(t *testing.T) {
	content := raw(good, 8)
	copy(content[len(content)-8:], "abcdefgh")
	f, err := Open(put(t, content))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := f.Tensor("a")
	for _, c := range []struct {
		off, size int
		want      string
		err       error
	}{{0, 8, "abcdefgh", nil}, {2, 3, "cde", nil}, {6, 4, "gh", io.EOF}, {8, 1, "", io.EOF}, {3, 0, "", nil}} {
		p := make([]byte, c.size)
		n, err := a.ReadAt(p, int64(c.off))
		if string(p[:n]) != c.want || err != c.err {
			t.Errorf("ReadAt(%d bytes, %d) = %q, %v; want %q, %v", c.size, c.off, p[:n], err, c.want, c.err)
		}
	}
	if _, err := a.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
		t.Errorf("negative offset: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := a.Bytes(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("reading a closed file: %v, want %v", err, os.ErrClosed)
	}
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closing twice: %v, want %v", err, os.ErrClosed)
	}
}

func ExampleWriteFile() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, ModelFile)
	data := map[string][]byte{"bias": {1, 2}, "weight": {1, 0, 0, 0, 2, 0, 0, 0}}
	specs := []Spec{{"bias", I8, []int{2}}, {"weight", I32, []int{2, 1}}}
	err = WriteFile(context.Background(), path, specs, map[string]string{"format": "pt"}, func(name string) (io.Reader, error) {
		return bytes.NewReader(data[name]), nil
	})
	if err != nil {
		panic(err)
	}
	f, err := Open(path)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	for _, name := range f.Names() {
		t, _ := f.Tensor(name)
		b, err := t.Bytes()
		fmt.Println(name, t.DType, t.Shape, b, err)
	}
	fmt.Println(f.Metadata())
	// Output:
	// bias I8 [2] [1 2] <nil>
	// weight I32 [2 1] [1 0 0 0 2 0 0 0] <nil>
	// map[format:pt]
}

func ExampleOpenDir() {
	s, err := OpenDir("testdata/sharded")
	if err != nil {
		panic(err)
	}
	defer s.Close()
	for _, name := range s.Names() {
		t, err := s.Tensor(name) // opens the shard
		if err != nil {
			panic(err)
		}
		shard, _ := s.Shard(name)
		fmt.Println(name, t.Shape, shard)
	}
	// Output:
	// layer.0.weight [4 8] model-00001-of-00002.safetensors
	// layer.1.weight [4 8] model-00001-of-00002.safetensors
	// layer.2.weight [4 8] model-00002-of-00002.safetensors
	// é [3] model-00002-of-00002.safetensors
}
