package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/client"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
)

// hubbed runs mes against a hub as alice, with a cache of its own.
type hubbed struct {
	t   *testing.T
	hub *testHub
	env map[string]string
}

func withHub(t *testing.T) *hubbed {
	t.Helper()
	h, stop, err := newHub(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return &hubbed{t: t, hub: h, env: map[string]string{"HF_ENDPOINT": h.url, "HF_TOKEN": h.write, "HF_HOME": t.TempDir()}}
}

// run returns the exit code and what was written.
func (h *hubbed) run(args ...string) (code int, stdout, stderr string) {
	h.t.Helper()
	var out, err bytes.Buffer
	m := &Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &err, Env: func(key string) string { return h.env[key] }}
	code = m.Run(h.t.Context(), args)
	return code, out.String(), err.String()
}

// must runs a command that succeeds.
func (h *hubbed) must(args ...string) (stdout string) {
	h.t.Helper()
	code, stdout, stderr := h.run(args...)
	if code != exitOK {
		h.t.Fatalf("mes %v: exit code %d: %s", args, code, stderr)
	}
	return stdout
}

// tinySwarm writes a swarm of E random encoders, with a tokenizer.
func tinySwarm(t *testing.T, encoders int) string {
	t.Helper()
	dir := t.TempDir()
	m := &Main{Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer), Env: func(string) string { return "" }}
	if err := tiny(filepath.Join(dir, "m"), nil); err != nil {
		t.Fatal(err)
	}
	swarm := filepath.Join(dir, "swarm")
	if code := m.Run(t.Context(), []string{"grow", "-encoders", fmt.Sprint(encoders), "-layers", "1", "-chunk", "4", "-o", swarm, filepath.Join(dir, "m")}); code != exitOK {
		t.Fatalf("grow: %v", m.Stderr)
	}
	return swarm
}

// source is a small stand-in for the program's source.
func source(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := writeSource(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeSource(dir string) error {
	for _, name := range []string{"go.mod", "go.sum", "LICENSE", "NOTICE", "cmd/mes/main.go", "cmd/mes/main_test.go", "hub/hub.go", "hub/testdata/x",
		"internal/a.go", "model/a.go", "web/a.go", "web/static/app.css", "web/.hidden", "scripts/setup.sh", "scripts/lib.sh", "scripts/libtokenizers/Cargo.toml", "secret.txt"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(name), 0o644)); err != nil {
			return err
		}
	}
	return nil
}

// What a publication of three encoders consists of.
var (
	wantModel = []string{"README.md", "config.json", "configuration_mamba_swarm.py", "layers_mamba_swarm.py", "model-core.safetensors", "model-encoder-00000.safetensors",
		"model-encoder-00001.safetensors", "model-encoder-00002.safetensors", "model.safetensors.index.json",
		"modeling_mamba_swarm.py", "router_mamba_swarm.py", "tokenizer.json", "tokenizer_config.json"}
	wantDocker = []string{"Dockerfile", "README.md", "build.sh", "run.sh", "source/LICENSE", "source/NOTICE", "source/cmd/mes/main.go", "source/go.mod", "source/go.sum",
		"source/hub/hub.go", "source/internal/a.go", "source/model/a.go", "source/scripts/lib.sh", "source/scripts/libtokenizers/Cargo.toml", "source/scripts/setup.sh",
		"source/web/a.go", "source/web/static/app.css"}
	wantStatic = []string{"README.md", "index.html", "routing.json"}
)

// The repos of a publication.
var (
	weightsRepo = client.Repo{ID: "alice/mamba-swarm-weights"}
	modelRepo   = client.Repo{ID: "alice/mamba-swarm-model"}
	demoRepo    = client.Repo{Type: client.Space, ID: "alice/mamba-swarm-demo"}
)

func (h *hubbed) files(repo client.Repo) []string {
	h.t.Helper()
	names, err := h.hub.files(repo)
	if err != nil {
		h.t.Fatal(err)
	}
	return names
}

func (h *hubbed) has(repo client.Repo, want []string) {
	h.t.Helper()
	if diff := cmp.Diff(want, h.files(repo)); diff != "" {
		h.t.Errorf("files of %s (-want +got):\n%s", repo, diff)
	}
}

func (h *hubbed) file(repo client.Repo, path string) string {
	h.t.Helper()
	text, err := h.hub.file(repo, path)
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

// heads are the newest commits of the repos, together.
func (h *hubbed) heads() (all string) {
	h.t.Helper()
	for _, repo := range []client.Repo{weightsRepo, modelRepo, demoRepo} {
		info, err := h.hub.alice.Info(h.t.Context(), repo, "")
		if err != nil {
			h.t.Fatal(err)
		}
		all += info.SHA + " "
	}
	return all
}

// TestPublish: the three repos hold what they should, a second run changes nothing,
// and a swarm of fewer encoders replaces one of more, without files of others.
func TestPublish(t *testing.T) {
	t.Parallel()
	h, from := withHub(t), source(t)
	evaluation := filepath.Join(t.TempDir(), "evaluation.json")
	if err := os.WriteFile(evaluation, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"publish", "-source", from, "-evaluation", evaluation}
	swarm := tinySwarm(t, 3)
	out := h.must(append(args, swarm)...)
	for _, repo := range []string{"alice/mamba-swarm-weights", "alice/mamba-swarm-model", "spaces/alice/mamba-swarm-demo"} {
		if !strings.Contains(out, h.hub.url+"/"+repo+": commit ") {
			t.Errorf("%q does not name %s", out, repo)
		}
	}
	wantWeights := append(slices.Clone(wantModel), "evaluation/evaluation.json")
	slices.Sort(wantWeights)
	h.has(modelRepo, wantModel)
	h.has(weightsRepo, wantWeights)
	h.has(demoRepo, wantDocker)
	for repo, other := range map[client.Repo]client.Repo{modelRepo: weightsRepo, weightsRepo: modelRepo, demoRepo: modelRepo} {
		if card := h.file(repo, "README.md"); !strings.Contains(card, h.hub.url+"/"+other.ID) {
			t.Errorf("the card of %s does not lead to %s:\n%s", repo, other, card)
		}
	}

	before := h.heads()
	h.hub.take()
	if out := h.must(append(args, swarm)...); strings.Count(out, "unchanged") != 3 || h.heads() != before {
		t.Errorf("a second run: %s", out)
	}
	for _, call := range h.hub.take() {
		if strings.HasPrefix(call, "PUT") || strings.Contains(call, "/commit/") || strings.HasSuffix(call, "/create") {
			t.Errorf("a second run sent %s", call)
		}
	}

	_, err := h.hub.alice.Upload(t.Context(), modelRepo, client.UploadOptions{Files: []client.File{{Path: "mine.safetensors", Bytes: []byte("x")}}})
	if err != nil {
		t.Fatal(err)
	}
	out = h.must(append(args, "-json", tinySwarm(t, 2))...)
	var done []published
	if err := json.Unmarshal([]byte(out), &done); err != nil || len(done) != 3 {
		t.Fatalf("%v: %s", err, out)
	}
	if want := []string{hub.EncoderFile(2)}; !slices.Equal(done[0].Deleted, want) || !slices.Equal(done[1].Deleted, want) || len(done[2].Deleted) > 0 {
		t.Errorf("deleted %v, %v, %v", done[0].Deleted, done[1].Deleted, done[2].Deleted)
	}
	paths := h.files(modelRepo)
	if slices.Contains(paths, hub.EncoderFile(2)) || !slices.Contains(paths, "mine.safetensors") {
		t.Errorf("files %v", paths)
	}
}

// TestPublishResumes: a run that fails half way leaves what arrived, and the next goes
// on without sending it again.
func TestPublishResumes(t *testing.T) {
	t.Parallel()
	h := withHub(t)
	var puts atomic.Int32
	h.hub.broken = func(r *http.Request) error {
		if r.Method == http.MethodPut && puts.Add(1) > 3 {
			return errors.New("the disk is full")
		}
		return nil
	}
	args := []string{"publish", "-source", source(t), tinySwarm(t, 3)}
	code, _, stderr := h.run(args...)
	if code != exitFailed || !strings.Contains(stderr, "publish alice/mamba-swarm-weights") || !strings.Contains(stderr, "run it again") {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	h.hub.broken = nil
	h.hub.take()
	h.must(args...)
	sent := len(h.hub.asked("PUT", ""))
	h.has(modelRepo, wantModel)
	// Of the eight files of weights, core and encoders of both repos, some are equal.
	whole := withHub(t)
	whole.must(args...)
	if all := len(whole.hub.asked("PUT", "")); sent == 0 || sent > all-1 {
		t.Errorf("%d objects sent after a cut, %d without one", sent, all)
	}
}

// TestPublishWithoutDocker: where Docker Spaces cost, the demo is a static page with
// recorded routing, says so, and stays one.
func TestPublishWithoutDocker(t *testing.T) {
	t.Parallel()
	h := withHub(t)
	h.hub.noDocker = true
	args := []string{"publish", "-source", source(t), tinySwarm(t, 3)}
	for run := range 2 {
		code, stdout, stderr := h.run(args...)
		if code != exitOK || !strings.Contains(stdout, noDocker) {
			t.Fatalf("run %d: exit code %d: %s%s", run, code, stdout, stderr)
		}
		if run == 1 && strings.Count(stdout, "unchanged") != 3 {
			t.Errorf("a second run: %s", stdout)
		}
		h.has(demoRepo, wantStatic)
	}
	var recorded []routed
	if err := json.Unmarshal([]byte(h.file(demoRepo, "routing.json")), &recorded); err != nil || len(recorded) != recordedTexts {
		t.Fatalf("routing.json: %v, %d texts", err, len(recorded))
	}
	page := h.file(demoRepo, "index.html")
	for _, want := range []string{"runs no model", "# mamba-swarm-model", recorded[0].Chunks[0].uses(), "mes pull alice/mamba-swarm-model"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if !strings.HasPrefix(h.file(modelRepo, "README.md"), "---\n") || strings.Contains(page, "library_name:") {
		t.Error("the page shows the card's front matter")
	}
}

// TestPublishDryRun prints every call and changes nothing, for repos that are not there
// and for those that are.
func TestPublishDryRun(t *testing.T) {
	t.Parallel()
	h := withHub(t)
	args := []string{"publish", "-source", source(t), "-dry-run", tinySwarm(t, 3)}
	out := h.must(args...)
	for _, call := range h.hub.take() {
		if method, path, _ := strings.Cut(call, " "); method != "GET" && path != "/api/validate-yaml" {
			t.Errorf("a dry run sent %s", call)
		}
	}
	if files := h.files(weightsRepo); files != nil {
		t.Errorf("a dry run made a repo with %v", files)
	}
	golden(t, "publish-dry-run.txt", strings.NewReplacer(h.hub.url, "http://hub", version, "VERSION").Replace(out))

	h.must(slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "-dry-run" })...)
	before := h.heads()
	if out := h.must(args...); strings.Count(out, "unchanged") != 3 || strings.Contains(out, "/commit/") || h.heads() != before {
		t.Errorf("a dry run after publishing:\n%s", out)
	}
}

// golden compares with a file of testdata; -update rewrites it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// TestPublishChecksFirst: what cannot succeed is said before anything is sent.
func TestPublishChecksFirst(t *testing.T) {
	t.Parallel()
	swarm, plain := tinySwarm(t, 2), filepath.Join(t.TempDir(), "plain")
	if err := tiny(plain, nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		token string
		args  []string
		code  int
		want  string
	}{
		"no token":         {"", nil, exitFailed, "there is no token"},
		"unknown token":    {"other", nil, exitFailed, "token"},
		"read token":       {"read", nil, exitFailed, `the token "r" of alice may only read`},
		"another owner":    {"write", []string{"-owner", "bob"}, exitFailed, "the token belongs to alice, which cannot publish for bob; -owner takes one of alice, acme"},
		"bad name":         {"write", []string{"-name", "a b"}, exitUsage, "repo id"},
		"bad type":         {"write", []string{"-dtype", "f8"}, exitUsage, "-dtype"},
		"no source":        {"write", []string{"-source", "nowhere"}, exitNotFound, "-source names its folder"},
		"no evaluation":    {"write", []string{"-evaluation", "none.json"}, exitNotFound, "none.json"},
		"no run":           {"write", []string{"-run", "none"}, exitNotFound, "-run none: there is no config.json"},
		"bad endpoint":     {"write", []string{"-endpoint", "hub"}, exitUsage, "endpoint"},
		"-o without owner": {"", []string{"-o", "out"}, exitUsage, "-owner"},
		"a plain model":    {"write", []string{plain}, exitUsage, "plain mamba2"},
		"no model":         {"write", []string{"nowhere"}, exitNotFound, "no such folder"},
	} {
		t.Run(name, func(t *testing.T) {
			h := withHub(t)
			h.env["HF_TOKEN"] = map[string]string{"write": h.hub.write, "read": h.hub.read, "other": "hf_other0000", "": ""}[c.token]
			args := append([]string{"publish", "-source", source(t)}, c.args...)
			if len(c.args) != 1 {
				args = append(args, swarm)
			}
			code, stdout, stderr := h.run(args...)
			if code != c.code || !strings.Contains(stderr, c.want) || stdout != "" {
				t.Errorf("exit code %d, %q, %q; want %d and %q", code, stdout, stderr, c.code, c.want)
			}
			if token := h.env["HF_TOKEN"]; token != "" && strings.Contains(stderr, token) {
				t.Errorf("%q holds the token", stderr)
			}
			for _, call := range h.hub.take() {
				if !strings.HasPrefix(call, "GET") {
					t.Errorf("it sent %s", call)
				}
			}
		})
	}
}

// TestPublishFolders: -o writes the folders that are published, and asks nobody. The
// source that the Space compiles is all that the program needs.
func TestPublishFolders(t *testing.T) {
	t.Parallel()
	root, err := testkit.Root()
	if err != nil {
		t.Fatal(err)
	}
	h, out := withHub(t), filepath.Join(t.TempDir(), "out")
	h.env["HF_TOKEN"] = ""
	h.must("publish", "-o", out, "-owner", "alice", "-source", root, tinySwarm(t, 3))
	if calls := h.hub.take(); len(calls) > 0 {
		t.Errorf("it asked %v", calls)
	}
	for _, name := range []string{"mamba-swarm-model/model.safetensors.index.json", "mamba-swarm-weights/README.md", "mamba-swarm-demo-static/index.html",
		"mamba-swarm-demo/Dockerfile", "mamba-swarm-demo/source/go.mod", "mamba-swarm-demo/source/web/static/app.js",
		"mamba-swarm-demo/source/web/space/docker/Dockerfile", "mamba-swarm-demo/source/scripts/libtokenizers/Cargo.lock"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"mamba-swarm-demo/source/weights", "mamba-swarm-demo/source/.git", "mamba-swarm-demo/source/model/mamba/testdata"} {
		if _, err := os.Stat(filepath.Join(out, name)); err == nil {
			t.Errorf("%s is published", name)
		}
	}
}
