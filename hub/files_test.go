package hub_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func quote(t *testing.T, text string) string {
	t.Helper()
	data, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// origin is a small model with everything that belongs beside weights.
func origin(t *testing.T) string {
	t.Helper()
	dir := copyFolder(t, fixture("mamba2"))
	mkdir(t, filepath.Join(dir, "licences"))
	for _, name := range []string{"LICENSE", "MODEL_LICENSE", "NOTICE.txt", "THIRD-PARTY-NOTICES", "licences/of a text", "tokenizer.json", "special_tokens_map.json"} {
		write(t, filepath.Join(dir, name), name)
	}
	write(t, filepath.Join(dir, "README.md"), "---\nlicense: mit\nlanguage:\n- en\n- de\n---\n# by hand\n")
	write(t, filepath.Join(dir, "eval.json"), evaluation)
	write(t, filepath.Join(dir, "training.log"), "stays behind")
	return dir
}

// TestFilesOfConversion: the same model in another form keeps its card, licences and
// tokenizer, and the figures if its weights are the same.
func TestFilesOfConversion(t *testing.T) {
	dir := origin(t)
	want := []string{"LICENSE", "MODEL_LICENSE", "NOTICE.txt", "README.md", "THIRD-PARTY-NOTICES", "config.json", "eval.json", "licences", "model.safetensors", "special_tokens_map.json", "tokenizer.json"}
	same := convert(t, dir, "")
	if diff := cmp.Diff(want, entries(t, same.Dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, name := range []string{"LICENSE", "README.md", "THIRD-PARTY-NOTICES", "licences/of a text", "special_tokens_map.json"} {
		if got, want := content(t, filepath.Join(same.Dir, name)), content(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(convert(t, dir, swarm.Int8).Dir, "eval.json")); err == nil {
		t.Error("the int8 weights have the figures of others")
	}
	ofInt8 := strings.TrimSuffix(evaluation, "}") + `, "report": {"model": {"dtype": "int8"}}}`
	write(t, filepath.Join(dir, "eval.json"), ofInt8)
	if got := content(t, filepath.Join(convert(t, dir, swarm.Int8).Dir, "eval.json")); got != ofInt8 {
		t.Errorf("the int8 weights have %q for their figures", got)
	}
	if _, err := os.Stat(filepath.Join(convert(t, dir, swarm.BF16).Dir, "eval.json")); err == nil {
		t.Error("the bf16 weights have the figures of int8")
	}
}

// TestFilesOfGrowth: another model gets a card of its own, with the licence of its
// origin, whose card is kept among the licences; so it goes on over generations.
func TestFilesOfGrowth(t *testing.T) {
	grown := grow(t, origin(t), 2, 1, 1)
	for _, name := range hub.RemoteCode {
		if content(t, filepath.Join(grown.Dir, name)) != content(t, filepath.Join("remote", name)) {
			t.Errorf("%s of the swarm is not that of this package", name)
		}
	}
	card := content(t, filepath.Join(grown.Dir, "README.md"))
	front := readFrontMatter(t, []byte(card))
	if front["license"] != "mit" || !cmp.Equal(front["language"], []any{"en", "de"}) || strings.Contains(card, "by hand") || strings.Contains(card, "2.7840") {
		t.Errorf("the card is not that of the swarm under its origin's licence:\n%s", card)
	}
	o, err := hub.ExportEncoder(grown, 1)
	if err != nil {
		t.Fatal(err)
	}
	exported := save(t, o)
	want := []string{"LICENSE", "MODEL_LICENSE", "NOTICE.txt", "README.md", "THIRD-PARTY-NOTICES", "config.json", "licences", "model.safetensors", "special_tokens_map.json", "tokenizer.json"}
	if diff := cmp.Diff(want, entries(t, exported.Dir)); diff != "" {
		t.Errorf("files of the exported encoder (-want +got); a plain model has no Python:\n%s", diff)
	}
	write(t, filepath.Join(exported.Dir, "README.md"), "written later")
	again := grow(t, exported.Dir, 2, 1, 1)
	if diff := cmp.Diff([]string{"ORIGIN-2.md", "ORIGIN.md", "of a text"}, entries(t, filepath.Join(again.Dir, "licences"))); diff != "" {
		t.Errorf("licences (-want +got):\n%s", diff)
	}
	if got := content(t, filepath.Join(again.Dir, "licences/ORIGIN.md")); !strings.Contains(got, "by hand") {
		t.Errorf("the first card was replaced by %q", got)
	}
}

// TestLinks: a link that leaves the folder is not followed, one into the blobs of
// the cache that holds the folder is.
func TestLinks(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "secret")
	for _, name := range []string{"LICENSE", "licences/x", "tokenizer.json", "README.md"} {
		dir := copyFolder(t, fixture("mamba2"))
		mkdir(t, filepath.Join(dir, "licences"))
		if err := os.Symlink(secret, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		o, err := hub.Convert(open(t, dir), "")
		if err != nil {
			t.Fatal(err)
		}
		o.Dir = filepath.Join(t.TempDir(), "out")
		if err := hub.SavePretrained(t.Context(), o); err == nil || !strings.Contains(err.Error(), name+" of ") || !strings.Contains(err.Error(), "outside the folder") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	repo := t.TempDir()
	snapshot := filepath.Join(repo, "snapshots/0123")
	mkdir(t, filepath.Join(snapshot, "licences"))
	mkdir(t, filepath.Join(repo, "blobs"))
	write(t, filepath.Join(repo, "blobs/abc"), "a licence")
	for name, target := range map[string]string{"LICENSE": "../../blobs/abc", "licences/x": "../../../blobs/abc"} {
		if err := os.Symlink(target, filepath.Join(snapshot, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"config.json", "model.safetensors"} {
		write(t, filepath.Join(snapshot, name), content(t, filepath.Join(fixture("mamba2"), name)))
	}
	out := convert(t, snapshot, "").Dir
	for _, name := range []string{"LICENSE", "licences/x"} {
		if got := content(t, filepath.Join(out, name)); got != "a licence" {
			t.Errorf("%s holds %q", name, got)
		}
	}
}
