package server_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	gohub "github.com/gomlx/go-huggingface/hub"
)

// TestGoHuggingface downloads a private repo with the client that GoMLX's programs use.
func TestGoHuggingface(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", true)
	large := strings.Repeat("a large file ", 100_000)
	h.sendLFS("alice/m", large)
	h.commit("alice/m", file("config.json", `{"model_type":"mamba"}`), lfsFile("sub/model.safetensors", large))

	repo := gohub.New("alice/m").WithEndpoint(h.url).WithAuth(h.tokens["alice"]).WithCacheDir(t.TempDir()).WithProgressBar(false)
	repo.Verbosity = 0
	var names []string
	for name, err := range repo.IterFileNames() {
		h.must(err)
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{".gitattributes", "config.json", "sub/model.safetensors"}; !slices.Equal(names, want) {
		t.Fatalf("files %v, want %v", names, want)
	}
	paths, err := repo.DownloadFiles("config.json", "sub/model.safetensors")
	h.must(err)
	for i, want := range []string{`{"model_type":"mamba"}`, large} {
		if got, err := os.ReadFile(paths[i]); err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v, want %d", paths[i], len(got), err, len(want))
		}
	}
	stranger := gohub.New("alice/m").WithEndpoint(h.url).WithAuth(h.tokens["bob"]).WithCacheDir(t.TempDir()).WithProgressBar(false)
	stranger.Verbosity = 0
	if _, err := stranger.DownloadFile("config.json"); err == nil {
		t.Error("bob downloads a private repo of alice")
	}
}
