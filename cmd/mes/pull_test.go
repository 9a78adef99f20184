package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
)

// publishedSwarm is a hub that has a swarm of 12 encoders, and its folder.
func publishedSwarm(t *testing.T) (h *hubbed, folder string) {
	t.Helper()
	h, folder = withHub(t), tinySwarm(t, 12)
	h.must("publish", "-dtype", "f32", "-source", source(t), folder)
	h.hub.take()
	h.env["HF_TOKEN"] = ""
	return h, folder
}

const swarmName = "alice/mamba-swarm-model"

// weightsAsked lists the files of encoders and core that the hub was asked to send.
func weightsAsked(calls []string) []string {
	var files []string
	for _, call := range calls {
		if method, path, _ := strings.Cut(call, " "); method == "GET" && strings.Contains(path, "/resolve/") && strings.HasSuffix(path, ".safetensors") {
			files = append(files, filepath.Base(path))
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// filesOfEncoders names the core's file and those of encoders.
func filesOfEncoders(encoders []int) []string {
	files := []string{hub.CoreFile}
	for _, e := range encoders {
		files = append(files, hub.EncoderFile(e))
	}
	slices.Sort(files)
	return files
}

// text meets a few of the 12 encoders.
const text = "the cat and the hat sat on the mat; 42 cats, no hats!"

// encodersOf asks `mes route` which encoders a text meets.
func encodersOf(t *testing.T, folder string) []int {
	t.Helper()
	h := &hubbed{t: t, env: map[string]string{}}
	var r routed
	if err := json.Unmarshal([]byte(h.must("route", "-model", folder, "-json", text)), &r); err != nil {
		t.Fatal(err)
	}
	var all []int
	for _, c := range r.Chunks {
		for _, u := range c.Encoders {
			all = append(all, u.Encoder)
		}
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) < 3 || len(all) == 12 {
		t.Fatalf("the text meets encoders %v of 12: it tells nothing", all)
	}
	return all
}

// TestPull brings core and default encoders, those of a text, or all, each once.
func TestPull(t *testing.T) {
	t.Parallel()
	h, folder := publishedSwarm(t)
	pullJSON := func(args ...string) (p pulled) {
		t.Helper()
		if err := json.Unmarshal([]byte(h.must(append([]string{"pull", "-json"}, args...)...)), &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := pullJSON(swarmName)
	if want := []int{0, 1}; p.Model != swarmName || len(p.Commit) != 40 || !slices.Equal(p.Encoders, want) || p.Bytes == 0 {
		t.Errorf("%+v, want encoders %v", p, want)
	}
	if got, want := weightsAsked(h.hub.take()), filesOfEncoders([]int{0, 1}); !slices.Equal(got, want) {
		t.Errorf("fetched %v, want %v", got, want)
	}
	file := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	want := encodersOf(t, folder)
	if p = pullJSON("-text", file, swarmName); !slices.Equal(p.Encoders, want) {
		t.Errorf("encoders %v, the router picks %v", p.Encoders, want)
	}
	for _, name := range weightsAsked(h.hub.take()) {
		if name == hub.CoreFile || name == hub.EncoderFile(0) || name == hub.EncoderFile(1) {
			t.Errorf("%s was fetched again", name)
		}
	}
	if p = pullJSON("-all", swarmName+"@main"); len(p.Encoders) != 12 || p.Folder == "" {
		t.Errorf("%+v", p)
	}
	for e := range 12 {
		if _, err := os.Stat(filepath.Join(p.Folder, hub.EncoderFile(e))); err != nil {
			t.Error(err)
		}
	}
	if out := h.must("pull", swarmName); !strings.Contains(out, "; 2 of 12 encoders: 0, 1\n") {
		t.Errorf("%q", out)
	}
}

// TestPullErrors says what is wrong in one line.
func TestPullErrors(t *testing.T) {
	h, _ := publishedSwarm(t)
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("a/folder", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", exitUsage, "pull needs one model"},
		{"-all -text x a/b", exitUsage, "but not both"},
		{"swarm", exitUsage, "not the name of a model"},
		{"a/folder", exitUsage, "is a folder here"},
		{"bob/none", exitNotFound, "bob/none"},
		{swarmName + "@v9", exitNotFound, "v9"},
		{"-text nowhere " + swarmName, exitNotFound, "nowhere"},
	} {
		code, stdout, stderr := h.run(append([]string{"pull"}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(stderr, c.want) || stdout != "" {
			t.Errorf("pull %s: exit code %d, %q, want %d and %q", c.args, code, stderr, c.code, c.want)
		}
	}
}

// TestModelByName: a command that is given a repo's name fetches the encoders that its
// text meets and no others, and answers as with the folder.
func TestModelByName(t *testing.T) {
	t.Parallel()
	h, folder := publishedSwarm(t)
	generate := func(model string) string {
		t.Helper()
		return h.must("generate", "-backend", "go", "-model", model, "-max-tokens", "1", text)
	}
	got := generate(swarmName)
	if asked, want := weightsAsked(h.hub.take()), filesOfEncoders(encodersOf(t, folder)); !slices.Equal(asked, want) {
		t.Errorf("fetched %v, want %v", asked, want)
	}
	if want := generate(folder); got != want {
		t.Errorf("answer %q, with the folder %q", got, want)
	}
	if out := h.must("inspect", swarmName); !strings.Contains(out, hub.EncoderFile(11)) {
		t.Errorf("inspect: %s", out)
	}
	out := filepath.Join(t.TempDir(), "encoder")
	h.must("export-encoder", "-o", out, swarmName+"@main", "3")
	if _, err := os.Stat(filepath.Join(out, "model.safetensors")); err != nil {
		t.Error(err)
	}
	h.must("convert", "-o", out+"-int8", "-dtype", "int8", swarmName)
}

// TestNetworkGone: with the core pulled and the hub out of reach, a text whose encoders
// are here is answered, and another ends with an error that names the encoder.
func TestNetworkGone(t *testing.T) {
	t.Parallel()
	h, folder := publishedSwarm(t)
	h.must("pull", swarmName)
	h.env["HF_HUB_OFFLINE"] = "1"
	h.must("generate", "-backend", "go", "-model", swarmName, "-max-tokens", "1", "the")
	missing := slices.DeleteFunc(encodersOf(t, folder), func(e int) bool { return e < 2 })
	run := func() string {
		t.Helper()
		code, _, stderr := h.run("generate", "-backend", "go", "-model", swarmName, "-max-tokens", "1", text)
		if code == exitOK {
			t.Fatal("it was answered")
		}
		named := slices.ContainsFunc(missing, func(e int) bool {
			return strings.Contains(stderr, fmt.Sprintf("fetch encoder %d", e)) && strings.Contains(stderr, hub.EncoderFile(e))
		})
		if !named || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q does not name one of the encoders %v", stderr, missing)
		}
		return stderr
	}
	if stderr := run(); !strings.Contains(stderr, "offline mode is on") {
		t.Errorf("%q does not say why", stderr)
	}
	h.env["HF_HUB_OFFLINE"] = ""
	h.hub.broken = func(r *http.Request) error {
		if strings.Contains(r.URL.Path, "/resolve/") {
			return errors.New("gone away")
		}
		return nil
	}
	if stderr := run(); !strings.Contains(stderr, "gone away") {
		t.Errorf("%q does not say why", stderr)
	}
}

// TestCacheOfPython: of a snapshot that huggingface_hub left in part, without a list of
// the commit's files, what is there is used and what is missing is named.
func TestCacheOfPython(t *testing.T) {
	t.Parallel()
	folder := tinySwarm(t, 12)
	needed := encodersOf(t, folder)
	const commit = "0123456789abcdef0123456789abcdef01234567"
	// cache lays out files as huggingface_hub does for those that are downloaded singly.
	cache := func(leave ...string) *hubbed {
		t.Helper()
		home := t.TempDir()
		repo := filepath.Join(home, "hub", "models--alice--mamba-swarm-model")
		snapshot := filepath.Join(repo, "snapshots", commit)
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, dir := range []string{snapshot, filepath.Join(repo, "blobs"), filepath.Join(repo, "refs")} {
			must(os.MkdirAll(dir, 0o777))
		}
		must(os.WriteFile(filepath.Join(repo, "refs", "main"), []byte(commit), 0o666))
		files, err := os.ReadDir(folder)
		must(err)
		for _, f := range files {
			if slices.Contains(leave, f.Name()) {
				continue
			}
			data, err := os.ReadFile(filepath.Join(folder, f.Name()))
			must(err)
			blob := fmt.Sprintf("%x", sha256.Sum256(data))
			must(os.WriteFile(filepath.Join(repo, "blobs", blob), data, 0o666))
			must(os.Symlink("../../blobs/"+blob, filepath.Join(snapshot, f.Name())))
		}
		return &hubbed{t: t, env: map[string]string{"HF_HOME": home, "HF_HUB_OFFLINE": "1"}}
	}
	answer := []string{"generate", "-backend", "go", "-model", swarmName, "-max-tokens", "1", text}
	var others []string
	for e := range 12 {
		if !slices.Contains(needed, e) {
			others = append(others, hub.EncoderFile(e))
		}
	}
	cache(others...).must(answer...)

	last := needed[len(needed)-1]
	for _, tc := range []struct{ leave, want string }{
		{hub.EncoderFile(last), fmt.Sprintf("fetch encoder %d", last)},
		{hub.CoreFile, hub.CoreFile},
		{"config.json", "the cache holds no config.json"},
		{safetensors.IndexFile, "the cache holds no model.safetensors or " + safetensors.IndexFile},
	} {
		code, _, stderr := cache(tc.leave).run(answer...)
		if code == exitOK || !strings.Contains(stderr, tc.want) || !strings.Contains(stderr, swarmName) && !strings.Contains(stderr, tc.leave) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("without %s: exit code %d, %s", tc.leave, code, stderr)
		}
	}
}
