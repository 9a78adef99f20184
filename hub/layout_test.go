package hub_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

func TestRepoFiles(t *testing.T) {
	want := []string{"config.json", "README.md", "tokenizer.json", "model.safetensors"}
	if diff := cmp.Diff(want, hub.RepoFiles(open(t, fixture("mamba1")).Config)); diff != "" {
		t.Errorf("plain (-want +got):\n%s", diff)
	}
	want = []string{"config.json", "README.md", "tokenizer.json", "configuration_mamba_swarm.py", "modeling_mamba_swarm.py",
		"layers_mamba_swarm.py", "router_mamba_swarm.py", "model.safetensors.index.json", "model-core.safetensors", "model-encoder-00000.safetensors", "model-encoder-00001.safetensors"}
	if diff := cmp.Diff(want, hub.RepoFiles(grow(t, fixture("mamba1"), 2, 1, 1).Config)); diff != "" {
		t.Errorf("swarm (-want +got):\n%s", diff)
	}
}

// TestCheckRepo: what mes writes can be published.
func TestCheckRepo(t *testing.T) {
	swarmDir := grow(t, mini, 2, 1, 1).Dir
	exported, err := hub.ExportEncoder(open(t, swarmDir), 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{
		"the shipped model": mini, "swarm": swarmDir, "exported": save(t, exported).Dir,
		"int8 swarm": convert(t, swarmDir, swarm.Int8).Dir,
	} {
		if err := hub.CheckRepo(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckRepoFaults(t *testing.T) {
	remove := func(name string) func(string) error {
		return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
	}
	put := func(name, text string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644) }
	}
	for name, c := range map[string]struct {
		damage func(dir string) error
		want   string
	}{
		"no card":          {remove("README.md"), "README.md is missing"},
		"no front matter":  {put("README.md", "# mine\n"), "does not begin with front matter"},
		"no tokenizer":     {remove("tokenizer.json"), "tokenizer.json is missing"},
		"no Python":        {remove("modeling_mamba_swarm.py"), "modeling_mamba_swarm.py is missing"},
		"no encoder":       {remove("model-encoder-00001.safetensors"), "model-encoder-00001.safetensors is missing"},
		"no core":          {remove("model-core.safetensors"), "model-core.safetensors is missing"},
		"no index":         {remove("model.safetensors.index.json"), "model.safetensors"},
		"no configuration": {remove("config.json"), "config.json"},
		"damaged weights":  {put("model-encoder-00001.safetensors", "x"), "model-encoder-00001.safetensors"},
		"pickle":           {put("optimizer.pt", "x"), "optimizer.pt runs code when it is loaded"},
		"link that leaves": {func(dir string) error { return os.Symlink("/etc/hostname", filepath.Join(dir, "x")) }, "outside the folder"},
		"no auto_map": {func(dir string) error {
			path := filepath.Join(dir, "config.json")
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, []byte(strings.Replace(string(data), `"auto_map"`, `"other_map"`, 1)), 0o644)
		}, "no auto_map"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := grow(t, fixture("mamba1"), 2, 1, 1).Dir
			write(t, filepath.Join(dir, "tokenizer.json"), "{}")
			if err := hub.CheckRepo(dir); err != nil {
				t.Fatalf("before the damage: %v", err)
			}
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			if err := hub.CheckRepo(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}
