package hub_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

const mini = "../weights/mamba2-mini"

// fixture is a checkpoint that transformers wrote.
func fixture(name string) string { return filepath.Join("../model/mamba/testdata", name) }

// copyFolder copies the named files of a folder, all but expectations if none is named.
func copyFolder(t *testing.T, from string, names ...string) string {
	t.Helper()
	if names == nil {
		names = []string{"config.json", "model.safetensors"}
	}
	dir := t.TempDir()
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(data))
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// replace changes a file's text, which must contain old.
func replace(t *testing.T, path, old, new string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("%s does not contain %q", path, old)
	}
	write(t, path, string(bytes.Replace(data, []byte(old), []byte(new), 1)))
}

func open(t *testing.T, dir string) *hub.Pretrained {
	t.Helper()
	p, err := hub.FromCheckpoint(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// save writes a folder below a temporary one and opens it.
func save(t *testing.T, o hub.SaveOptions) *hub.Pretrained {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "out")
	}
	if err := hub.SavePretrained(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return open(t, o.Dir)
}

func grow(t *testing.T, dir string, encoders, active, layers int) *hub.Pretrained {
	t.Helper()
	p := open(t, dir)
	cfg, err := p.Config.Grow(encoders, active, layers, "base")
	if err != nil {
		t.Fatal(err)
	}
	return save(t, hub.Grow(p, cfg, 1))
}

func convert(t *testing.T, dir string, precision swarm.Precision) *hub.Pretrained {
	t.Helper()
	o, err := hub.Convert(open(t, dir), precision)
	if err != nil {
		t.Fatal(err)
	}
	return save(t, o)
}

// raw reads a tensor's bytes and describes its type.
func raw(t *testing.T, p *hub.Pretrained, name string) (string, []byte) {
	t.Helper()
	dtype, shape, err := p.Info(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	n := dtype.Size()
	for _, d := range shape {
		n *= d
	}
	data := make([]byte, n)
	if err := p.Read(name, data); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return dtype.String(), data
}

// sameTensors demands that two plain models hold the same bytes.
func sameTensors(t *testing.T, got, want *hub.Pretrained) {
	t.Helper()
	specs := want.Config.Swarm.Tensors()
	if n := len(got.Config.Swarm.Tensors()); n != len(specs) {
		t.Errorf("%d tensors, want %d", n, len(specs))
	}
	for _, spec := range specs {
		gotType, gotData := raw(t, got, spec.Name)
		wantType, wantData := raw(t, want, spec.Name)
		if gotType != wantType || !bytes.Equal(gotData, wantData) {
			t.Errorf("%s: %s tensor differs from the %s one it should equal", spec.Name, gotType, wantType)
		}
	}
}

// entries lists what is in a folder.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Name()
	}
	return names
}

// editTensors writes a weights file anew after edit changed the tensors.
func editTensors(t *testing.T, path string, edit func(tensors map[string]*edited)) {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	tensors := map[string]*edited{}
	for _, name := range f.Names() {
		tensor, _ := f.Tensor(name)
		data, err := tensor.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		tensors[name] = &edited{tensor.DType, tensor.Shape, data}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	edit(tensors)
	var specs []safetensors.Spec
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		specs = append(specs, safetensors.Spec{Name: name, DType: tensors[name].dtype, Shape: tensors[name].shape})
	}
	err = safetensors.WriteFile(t.Context(), path, specs, nil, func(name string) (io.Reader, error) {
		return bytes.NewReader(tensors[name].data), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// edited is a tensor of a file.
type edited struct {
	dtype safetensors.DType
	shape []int
	data  []byte
}

// floats reads little-endian f32 values.
func floats(t *testing.T, data []byte) []float32 {
	t.Helper()
	out := make([]float32, len(data)/4)
	if _, err := binary.Decode(data, binary.LittleEndian, out); err != nil {
		t.Fatal(err)
	}
	return out
}
