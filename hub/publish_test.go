package hub_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// below lists the files under a folder.
func below(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// trained is a swarm with a tokenizer, licences and files that are nobody's business.
func trained(t *testing.T) *hub.Pretrained {
	t.Helper()
	dir := grow(t, fixture("mamba2"), 3, 2, 1).Dir
	for name, text := range map[string]string{
		"tokenizer.json": "{}", "NOTICE": "n", "licences/a": "licence of a", "notes.txt": "private", "optimizer.bin": "x",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, text)
	}
	return open(t, dir)
}

// weightsOf are the names of a swarm's weights files.
var weightsOf = []string{"model-core.safetensors", "model-encoder-00000.safetensors", "model-encoder-00001.safetensors",
	"model-encoder-00002.safetensors", "model.safetensors.index.json"}

// hasFiles fails unless a folder has the files that are wanted and of others only the
// Python that every swarm has.
func hasFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	names := slices.DeleteFunc(below(t, dir), func(name string) bool { return strings.HasSuffix(name, ".py") })
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}
}

// says fails unless the card of a folder holds texts.
func says(t *testing.T, dir string, texts ...string) {
	t.Helper()
	card, err := os.ReadFile(filepath.Join(dir, hub.CardFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		if !strings.Contains(string(card), text) {
			t.Errorf("the card does not say %q:\n%s", text, card)
		}
	}
}

func TestStageModel(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	about := hub.About{Repo: "alice/model", Related: []hub.Related{{Title: "Weights", URL: "http://hub/alice/weights"}}}
	if err := hub.StageModel(t.Context(), trained(t), dir, swarm.BF16, about, nil); err != nil {
		t.Fatal(err)
	}
	hasFiles(t, dir, append([]string{"README.md", "NOTICE", "config.json", "licences/a", "tokenizer.json"}, weightsOf...)...)
	says(t, dir, "# model\n", "[Weights](http://hub/alice/weights)")
	p := open(t, dir)
	if kind, _ := raw(t, p, "backbone.encoders.1.layers.0.mixer.in_proj.weight"); kind != "BFloat16" {
		t.Errorf("a matrix is %s, want bf16", kind)
	}
}

// TestStageWeights: the files are those of the folder byte for byte, with evaluation
// and checkpoint beside them and nothing that was not asked for.
func TestStageWeights(t *testing.T) {
	p, from := trained(t), t.TempDir()
	for _, name := range []string{"eval.json", "run/state.json", "run/tensors/a.safetensors", "run/.lock", "run/.tmp/half"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(from, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(from, name), name)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(from, "run", "link")); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "weights")
	err := hub.StageWeights(t.Context(), p, dir, hub.WeightsOptions{
		Evaluation: []string{filepath.Join(from, "eval.json")}, Run: filepath.Join(from, "run"), About: hub.About{Repo: "alice/weights", Related: []hub.Related{{Title: "Model", URL: "http://hub/alice/model"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	hasFiles(t, dir, append([]string{"README.md", "NOTICE", "config.json", "licences/a", "tokenizer.json",
		"evaluation/eval.json", "checkpoint/state.json", "checkpoint/tensors/a.safetensors"}, weightsOf...)...)
	says(t, dir, "# weights\n", "[Model](http://hub/alice/model)", "## Go on training", "-include 'checkpoint/*' -local-dir weights alice/weights")
	for _, name := range append(weightsOf, "config.json") {
		got, err := os.ReadFile(filepath.Join(dir, name))
		want, err2 := os.ReadFile(filepath.Join(p.Dir, name))
		if err := errors.Join(err, err2); err != nil || string(got) != string(want) {
			t.Errorf("%s differs: %v", name, err)
		}
	}
	sameTensors(t, open(t, dir), p)
	err = hub.StageWeights(t.Context(), p, filepath.Join(t.TempDir(), "w"), hub.WeightsOptions{Evaluation: []string{filepath.Join(from, "none.json")}})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "none.json") {
		t.Errorf("an evaluation that is not there: %v", err)
	}
}

// TestStageTwice: staging writes the same bytes each time, so that publishing again
// changes nothing.
func TestStageTwice(t *testing.T) {
	p := trained(t)
	first, second := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	for _, dir := range []string{first, second} {
		if err := hub.StageModel(t.Context(), p, dir, swarm.BF16, hub.About{Repo: "alice/model"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range below(t, first) {
		a, err := os.ReadFile(filepath.Join(first, name))
		b, err2 := os.ReadFile(filepath.Join(second, name))
		if err := errors.Join(err, err2); err != nil || string(a) != string(b) {
			t.Errorf("%s differs: %v", name, err)
		}
	}
}

func TestStale(t *testing.T) {
	const index = `{"metadata":{},"weight_map":{"a":"model-core.safetensors","b":"model-encoder-00000.safetensors","c":"model-encoder-00004.safetensors","d":"model-encoder-00004.safetensors","e":"gone.safetensors"}}`
	there := []string{"README.md", "mine.safetensors", "model-core.safetensors", "model-encoder-00000.safetensors", "model-encoder-00004.safetensors"}
	stale, err := hub.Stale([]byte(index), there, []string{"model-core.safetensors", "model-encoder-00000.safetensors"})
	if want := []string{"model-encoder-00004.safetensors"}; err != nil || !slices.Equal(stale, want) {
		t.Errorf("stale %v, %v, want %v", stale, err, want)
	}
	for _, bad := range []string{"", "[", `{"weight_map":{"a":"../x.safetensors"}}`, `{"weight_map":{"a":"README.md"}}`,
		`{"weight_map":{"a":"sub/x.safetensors"}}`, `{"weight_map":{"a":3}}`} {
		if stale, err := hub.Stale([]byte(bad), there, nil); err == nil || !strings.Contains(err.Error(), safetensors.IndexFile) {
			t.Errorf("index %q: %v, %v", bad, stale, err)
		}
	}
}

// FuzzStale: whatever an index says, nothing but files of weights that are there and
// not published now is stale.
func FuzzStale(f *testing.F) {
	f.Add([]byte(`{"weight_map":{"a":"model-core.safetensors","b":"x.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../x.safetensors"}}`))
	f.Add([]byte(`{"weight_map":null}`))
	there := []string{"README.md", "config.json", "x.safetensors", "sub/x.safetensors", "model-core.safetensors"}
	f.Fuzz(func(t *testing.T, index []byte) {
		stale, _ := hub.Stale(index, there, []string{"model-core.safetensors"})
		if len(stale) > 1 || len(stale) == 1 && stale[0] != "x.safetensors" {
			t.Errorf("stale %v", stale)
		}
	})
}
