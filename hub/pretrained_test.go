package hub_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

func ExampleFromPretrained() {
	p, err := hub.FromPretrained(context.Background(), "../weights/mamba2-mini", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	dtype, shape, err := p.Info("backbone.embeddings.weight")
	fmt.Println(p.Config.ModelType, dtype, shape, err)
	// Output: mamba2 BFloat16 [8192 384] <nil>
}

// TestFromPretrainedErrors breaks a good folder in one way at a time.
func TestFromPretrainedErrors(t *testing.T) {
	isFault := func(err error) bool { return errors.As(err, new(*config.FaultError)) }
	is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		kind   func(error) bool
		want   []string // in the message
	}{
		"no folder": {func(t *testing.T, dir string) { remove(t, dir) }, is(os.ErrNotExist), []string{"no such folder"}},
		"a file": {func(t *testing.T, dir string) {
			remove(t, dir)
			write(t, dir, "x")
		}, nil, []string{"it is not a folder", "config.json and model.safetensors"}},
		"no config":          {func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "config.json")) }, is(os.ErrNotExist), []string{"config.json"}},
		"config is not JSON": {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "config.json"), "{") }, nil, []string{"config.json", "line 1"}},
		"unknown model_type": {func(t *testing.T, dir string) {
			replace(t, filepath.Join(dir, "config.json"), `"model_type": "mamba2"`, `"model_type": "llama"`)
		}, isFault, []string{"model_type", "llama", "mamba2, falcon_mamba, mamba_swarm"}},
		"config fault": {func(t *testing.T, dir string) {
			replace(t, filepath.Join(dir, "config.json"), `"num_heads": 8`, `"num_heads": 7`)
		}, isFault, []string{"num_heads", "7 heads"}},
		"damaged generation_config": {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "generation_config.json"), "[") }, nil, []string{"generation_config.json"}},
		"no weights":                {func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "model.safetensors")) }, is(safetensors.ErrNoModel), []string{"model.safetensors"}},
		"PyTorch weights": {func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "model.safetensors"))
			write(t, filepath.Join(dir, "pytorch_model.bin"), "x")
		}, nil, []string{"pytorch_model.bin", "mes convert -o DIR"}},
		"truncated weights": {func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "model.safetensors"), 30000); err != nil {
				t.Fatal(err)
			}
		}, is(safetensors.ErrFileSize), []string{"model.safetensors"}},
		"damaged index": {func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "model.safetensors"))
			write(t, filepath.Join(dir, "model.safetensors.index.json"), "{}")
		}, is(safetensors.ErrIndexJSON), []string{"weight_map"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyFolder(t, fixture("mamba2"))
			c.change(t, dir)
			_, err := hub.FromPretrained(t.Context(), dir, nil)
			if err == nil {
				t.Fatal("the folder was opened")
			}
			if c.kind != nil && !c.kind(err) {
				t.Errorf("wrong kind of error: %v", err)
			}
			for _, want := range append(c.want, dir) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than one line", err)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// TestTensorErrors asks an open folder for tensors that are missing or at fault.
func TestTensorErrors(t *testing.T) {
	dir := copyFolder(t, fixture("mamba1"))
	editTensors(t, filepath.Join(dir, safetensors.ModelFile), func(tensors map[string]*edited) {
		tensors["ids"] = &edited{safetensors.I32, []int{2}, make([]byte, 8)}
		f := tensors["backbone.norm_f.weight"]
		f.shape, f.data = []int{2, 2}, f.data[:16]
		delete(tensors, "backbone.layers.0.mixer.D")
	})
	p := open(t, dir)
	if _, _, err := p.Info("ids"); err == nil || !strings.Contains(err.Error(), "I32") {
		t.Errorf("type that models do not use: %v", err)
	}
	if err := p.Read("backbone.norm_f.weight", make([]byte, 5)); err == nil || !strings.Contains(err.Error(), "16 bytes, 5 were asked for") {
		t.Errorf("wrong size: %v", err)
	}
	_, _, err := p.Info("backbone.layers.0.mixer.D")
	if !errors.Is(err, swarm.ErrNoTensor) || !strings.Contains(err.Error(), dir) {
		t.Errorf("missing tensor: %v", err)
	}
	// Loading and saving name every fault.
	for what, err := range map[string]error{"Check": p.Config.Swarm.Check(p, true), "SavePretrained": trySave(t, p)} {
		for _, want := range []string{"backbone.layers.0.mixer.D [64]", "backbone.norm_f.weight: expected shape [32], found [2 2]"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not say %q", what, err, want)
			}
		}
	}
	if surplus := p.Surplus(); len(surplus) != 1 || surplus[0] != "ids" {
		t.Errorf("surplus tensors %v, want ids", surplus)
	}
}

// trySave converts a folder, and demands that nothing is left if that fails.
func trySave(t *testing.T, p *hub.Pretrained) error {
	t.Helper()
	o, err := hub.Convert(p, "")
	if err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	o.Dir = filepath.Join(parent, "out")
	err = hub.SavePretrained(t.Context(), o)
	if left := entries(t, parent); err != nil && len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return err
}

func TestTokenizerLargerThanVocabulary(t *testing.T) {
	dir := copyFolder(t, mini, "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
	if tok, err := open(t, dir).Tokenizer(); err != nil {
		t.Fatal(err)
	} else if err := tok.Close(); err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(dir, "config.json"), `"vocab_size": 8192`, `"vocab_size": 8000`)
	_, err := open(t, dir).Tokenizer()
	if err == nil || !strings.Contains(err.Error(), "has 8192 ids, but vocab_size in config.json is 8000") {
		t.Errorf("error %v", err)
	}
}

func TestTokenizerMissing(t *testing.T) {
	if _, err := open(t, fixture("mamba1")).Tokenizer(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// TestRelease: a tensor can be read after its file was let go, and files of other
// encoders are not opened.
func TestRelease(t *testing.T) {
	p := grow(t, fixture("mamba1"), 3, 1, 1)
	names := []string{swarm.LayerTensor(0, 0, "norm.weight"), swarm.LayerTensor(0, 0, "mixer.in_proj.weight")}
	_, before := raw(t, p, names[0])
	p.Release(names)
	_, after := raw(t, p, names[0])
	if string(before) != string(after) {
		t.Error("the tensor changed")
	}
	remove(t, filepath.Join(p.Dir, hub.EncoderFile(2)))
	if _, _, err := p.Info(swarm.LayerTensor(1, 0, "norm.weight")); err != nil {
		t.Error(err)
	}
	_, _, err := p.Info(swarm.LayerTensor(2, 0, "norm.weight"))
	if !errors.Is(err, safetensors.ErrShardMissing) || !strings.Contains(err.Error(), hub.EncoderFile(2)) {
		t.Errorf("missing file of encoder 2: %v", err)
	}
}

// TestPyTorchShards splits nothing: the index places every tensor in one file, and
// then in a file that is not there, outside the folder, or does not hold it.
func TestPyTorchShards(t *testing.T) {
	const shard = "pytorch_model-00001-of-00001.bin"
	index := func(tensor, file string) string {
		return fmt.Sprintf(`{"metadata": {"total_size": 1}, "weight_map": {%q: %q}}`, tensor, file)
	}
	for name, c := range map[string]struct{ index, want string }{
		"good":        {index("backbone.norm_f.weight", shard), ""},
		"no file":     {index("backbone.norm_f.weight", "x.bin"), "x.bin"},
		"outside":     {index("backbone.norm_f.weight", "../x.bin"), "no plain file name"},
		"wrong file":  {index("absent", shard), "places tensor absent in " + shard},
		"not JSON":    {"{", "pytorch_model.bin.index.json"},
		"empty shard": {index("a", ""), "no plain file name"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyFolder(t, fixture("original-mamba1"), "config.json", "pytorch_model.bin")
			if err := os.Rename(filepath.Join(dir, "pytorch_model.bin"), filepath.Join(dir, shard)); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "pytorch_model.bin.index.json"), c.index)
			p, err := hub.FromCheckpoint(dir)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v does not say %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if _, data := raw(t, p, "backbone.norm_f.weight"); len(data) != 4*32 {
				t.Errorf("%d bytes", len(data))
			}
		})
	}
}

// TestNameOfRun: the model of a training run has the run's name, another its folder's.
func TestNameOfRun(t *testing.T) {
	run := t.TempDir()
	dir := filepath.Join(run, "model")
	if err := os.Rename(copyFolder(t, fixture("mamba1")), dir); err != nil {
		t.Fatal(err)
	}
	if got := open(t, dir).Name; got != "model" {
		t.Errorf("beside nothing it is called %q", got)
	}
	write(t, filepath.Join(run, "metrics.jsonl"), "")
	if got := open(t, dir).Name; got != filepath.Base(run) {
		t.Errorf("beside a run's records it is called %q", got)
	}
}
