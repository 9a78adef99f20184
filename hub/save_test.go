package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// TestGrowExport: any encoder of a swarm just grown is, with the decoder, the model
// that it was grown from, bit for bit.
func TestGrowExport(t *testing.T) {
	for _, name := range []string{"mamba1", "mamba1-bias", "falcon", "mamba2", "mamba2-groups8", "mamba1-int8", "mamba2-int8", "original-mamba1", "original-mamba2"} {
		t.Run(name, func(t *testing.T) {
			base := open(t, fixture(name))
			for layers := 1; layers <= base.Config.Swarm.Base.NLayer; layers++ {
				grown := grow(t, fixture(name), 4, 2, layers)
				o, err := hub.ExportEncoder(grown, 3)
				if err != nil {
					t.Fatal(err)
				}
				exported := save(t, o)
				sameTensors(t, exported, base)
				if diff := cmp.Diff(base.Config.Swarm, exported.Config.Swarm); diff != "" {
					t.Errorf("configuration (-base +exported):\n%s", diff)
				}
			}
		})
	}
}

// TestGrowExportMini does the same with a model that has a tokenizer, and
// rescale_prenorm_residual.
func TestGrowExportMini(t *testing.T) {
	grown := grow(t, mini, 5, 2, 3)
	o, err := hub.ExportEncoder(grown, 4)
	if err != nil {
		t.Fatal(err)
	}
	exported := save(t, o)
	sameTensors(t, exported, open(t, mini))
	want := []string{"LICENSE", "README.md", "config.json", "generation_config.json", "licences", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
	if diff := cmp.Diff(want, entries(t, exported.Dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if exported.Config.RescaleResidual || grown.Config.RescaleResidual {
		t.Error("the divided matrices would be divided again")
	}
}

// TestExportTrained: encoders that differ are told apart, and only what an encoder
// owns differs.
func TestExportTrained(t *testing.T) {
	base := open(t, fixture("mamba2"))
	grown := grow(t, fixture("mamba2"), 3, 1, 2)
	editTensors(t, filepath.Join(grown.Dir, hub.EncoderFile(1)), func(tensors map[string]*edited) {
		for name, tensor := range tensors {
			if !strings.HasPrefix(name, "backbone.encoders.1.layers.") {
				t.Errorf("encoder 1 has %s", name)
			}
			for i := range tensor.data {
				tensor.data[i] ^= 1
			}
		}
	})
	for e := range 3 {
		o, err := hub.ExportEncoder(open(t, grown.Dir), e)
		if err != nil {
			t.Fatal(err)
		}
		exported := save(t, o)
		if e != 1 {
			sameTensors(t, exported, base)
			continue
		}
		for _, spec := range base.Config.Swarm.Tensors() {
			_, got := raw(t, exported, spec.Name)
			_, want := raw(t, base, spec.Name)
			_, within, _ := strings.Cut(strings.TrimPrefix(spec.Name, "backbone.layers."), ".")
			owned := spec.Layer != swarm.None && swarm.EncoderOwns(base.Config.Swarm.Base.Kind, within)
			if (string(got) != string(want)) != owned {
				t.Errorf("%s: differs %v, belongs to the encoder %v", spec.Name, !owned, owned)
			}
		}
	}
}

func TestExportEncoderErrors(t *testing.T) {
	grown := grow(t, fixture("mamba2"), 3, 1, 1)
	for name, c := range map[string]struct {
		p    *hub.Pretrained
		e    int
		want string
	}{
		"plain model": {open(t, fixture("mamba2")), 0, "plain mamba2 without encoders"},
		"below":       {grown, -1, "its encoders are 0 to 2"},
		"above":       {grown, 3, "its encoders are 0 to 2"},
		// transformers has no Mamba-2 without the gated norm.
		"no such model": {grow(t, fixture("original-mamba2-no-norm"), 2, 1, 1), 0, "rms_norm"},
	} {
		if _, err := hub.ExportEncoder(c.p, c.e); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v does not say %q", name, err, c.want)
		}
	}
}

// TestGrownLayout: a swarm has one file per encoder, one for the core, and an index
// that places every tensor.
func TestGrownLayout(t *testing.T) {
	p := grow(t, fixture("mamba1"), 3, 2, 1)
	want := []string{"README.md", "config.json", "configuration_mamba_swarm.py", "layers_mamba_swarm.py", "model-core.safetensors", "model-encoder-00000.safetensors",
		"model-encoder-00001.safetensors", "model-encoder-00002.safetensors", "model.safetensors.index.json", "modeling_mamba_swarm.py", "router_mamba_swarm.py"}
	if diff := cmp.Diff(want, entries(t, p.Dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	var index struct {
		Metadata  map[string]int64
		WeightMap map[string]string `json:"weight_map"`
	}
	data, err := os.ReadFile(filepath.Join(p.Dir, "model.safetensors.index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	var bytes int64
	placed := map[string]string{}
	for _, spec := range p.Config.Swarm.Tensors() {
		file := "model-core.safetensors"
		if strings.HasPrefix(spec.Name, "backbone.encoders.") {
			file = "model-encoder-0000" + strings.Split(spec.Name, ".")[2] + ".safetensors"
		}
		placed[spec.Name] = file
		bytes += 4 * int64(spec.Elements())
	}
	if diff := cmp.Diff(placed, index.WeightMap); diff != "" {
		t.Errorf("weight_map (-want +got):\n%s", diff)
	}
	if index.Metadata["total_size"] != bytes {
		t.Errorf("total_size %d, want %d", index.Metadata["total_size"], bytes)
	}
	for file := range map[string]bool{"model-core.safetensors": true, "model-encoder-00002.safetensors": true} {
		f, err := safetensors.Open(filepath.Join(p.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Metadata()["format"] != "pt" { // transformers refuses files without
			t.Errorf("%s has metadata %v", file, f.Metadata())
		}
		for _, name := range f.Names() {
			if placed[name] != file {
				t.Errorf("%s holds %s", file, name)
			}
		}
	}
}

// TestGrowSeed: the router depends on the seed and on nothing else.
func TestGrowSeed(t *testing.T) {
	p := open(t, fixture("mamba1"))
	cfg, err := p.Config.Grow(3, 2, 1, "base")
	if err != nil {
		t.Fatal(err)
	}
	table := func(seed uint64) string {
		_, data := raw(t, save(t, hub.Grow(p, cfg, seed)), "backbone.router.proj.weight")
		return string(data)
	}
	first, again, other := table(1), table(1), table(2)
	if first != again {
		t.Error("the same seed gives another router")
	}
	if first == other {
		t.Error("another seed gives the same router")
	}
}

// options are what it takes to write a small model.
func options(t *testing.T, dir string) hub.SaveOptions {
	t.Helper()
	o, err := hub.Convert(open(t, fixture("mamba1")), swarm.F32)
	if err != nil {
		t.Fatal(err)
	}
	o.Dir = dir
	return o
}

func TestSaveRefusesFolderInUse(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "mine"), "x")
	err := hub.SavePretrained(t.Context(), options(t, dir))
	if !errors.Is(err, hub.ErrExists) || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v", err)
	}
	if got := entries(t, dir); len(got) != 1 {
		t.Errorf("the folder now holds %v", got)
	}
}

func TestSaveRefusesFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "x")
	if err := hub.SavePretrained(t.Context(), options(t, path)); err == nil || !strings.Contains(err.Error(), "choose another folder") {
		t.Errorf("error %v", err)
	}
}

// TestSaveTargets: an empty folder, one behind a link, and one several levels deep
// are written.
func TestSaveTargets(t *testing.T) {
	root := t.TempDir()
	empty, link := filepath.Join(root, "empty"), filepath.Join(root, "link")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "elsewhere/target"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere/target", link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{empty, link, filepath.Join(root, "a/b/c")} {
		save(t, options(t, dir))
	}
	if got := entries(t, filepath.Join(root, "elsewhere/target")); len(got) != 3 {
		t.Errorf("behind the link: %v", got)
	}
}

// TestSaveCancelled ends the context at every tenth of the work: nothing is left,
// not even the folders above.
func TestSaveCancelled(t *testing.T) {
	root := t.TempDir()
	for tenth := range int64(10) {
		ctx, cancel := context.WithCancel(t.Context())
		o := options(t, filepath.Join(root, "a/b/out"))
		if tenth%2 == 1 {
			p := open(t, fixture("mamba1"))
			cfg, err := p.Config.Grow(3, 2, 1, "base")
			if err != nil {
				t.Fatal(err)
			}
			o = hub.Grow(p, cfg, 1)
			o.Dir = filepath.Join(root, "a/b/out")
		}
		reached := false
		o.Progress = func(done, total int64) {
			if done >= total*tenth/10 {
				reached = true
				cancel()
			}
		}
		if err := hub.SavePretrained(ctx, o); !errors.Is(err, context.Canceled) {
			t.Errorf("stopped at %d0 %%: error %v", tenth, err)
		}
		if left := entries(t, root); len(left) > 0 || !reached {
			t.Errorf("stopped at %d0 %%: left behind: %v", tenth, left)
		}
		cancel()
	}
}

// TestSaveProgress: reports grow to the number of bytes that are written.
func TestSaveProgress(t *testing.T) {
	o := options(t, filepath.Join(t.TempDir(), "out"))
	var last, all int64
	o.Progress = func(done, total int64) {
		if done < last {
			t.Errorf("%d bytes after %d", done, last)
		}
		last, all = done, total
	}
	p := save(t, o)
	want := int64(0)
	for _, spec := range p.Config.Swarm.Tensors() {
		want += 4 * int64(spec.Elements())
	}
	if last != want || all != want {
		t.Errorf("%d of %d bytes, want %d", last, all, want)
	}
}

// TestSaveTwice: of many that write one folder at once one wins, and the others say
// why they do not.
func TestSaveTwice(t *testing.T) {
	for _, exists := range []bool{false, true} {
		root := t.TempDir()
		dir := filepath.Join(root, "out")
		if exists {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		o := options(t, dir)
		errs := make([]error, 8)
		var group sync.WaitGroup
		for i := range errs {
			group.Go(func() { errs[i] = hub.SavePretrained(t.Context(), o) })
		}
		group.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, hub.ErrExists) {
				t.Errorf("loser's error: %v", err)
			}
		}
		if won != 1 {
			t.Errorf("%d writers won", won)
		}
		sameTensors(t, open(t, dir), open(t, fixture("mamba1")))
		if got := entries(t, root); len(got) != 1 {
			t.Errorf("left behind: %v", got)
		}
	}
}

// envFull makes TestFullDisk the child that may not write large files.
const envFull = "MES_TEST_FULL"

// TestFullDisk runs itself where no file may have more than 512 kB: the error names
// the file, and nothing is left.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(envFull); dir != "" {
		o, err := hub.Convert(open(t, mini), swarm.BF16)
		if err != nil {
			t.Fatal(err)
		}
		o.Dir = filepath.Join(dir, "sub/out")
		fmt.Printf("error: %v\nleft: %v\n", hub.SavePretrained(t.Context(), o), entries(t, dir))
		return
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `ulimit -f 1024 && exec "$0" -test.run '^TestFullDisk$'`, os.Args[0])
	cmd.Env = append(os.Environ(), envFull+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := string(out)
	if !strings.Contains(text, "file too large") || !strings.Contains(text, "model.safetensors") || strings.Contains(text, "error: <nil>") {
		t.Errorf("the error does not say what happened:\n%s", text)
	}
	if !strings.Contains(text, "left: []") {
		t.Errorf("something is left behind:\n%s", text)
	}
}
