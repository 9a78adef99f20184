package hub_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// fakeRepo is a repo whose files are those of a folder. It counts what is fetched
// into cache.
type fakeRepo struct {
	from, cache string
	broken      func(path string) error // nil is never

	mu      sync.Mutex
	fetched map[string]int
}

func newRepo(t *testing.T, from string) *fakeRepo {
	t.Helper()
	return &fakeRepo{from: from, cache: t.TempDir(), fetched: map[string]int{}}
}

func (r *fakeRepo) List(context.Context) ([]string, bool, error) {
	var names []string
	entries, err := os.ReadDir(r.from)
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
			continue
		}
		below, err := os.ReadDir(filepath.Join(r.from, e.Name()))
		if err != nil {
			return nil, false, err
		}
		for _, b := range below {
			names = append(names, e.Name()+"/"+b.Name())
		}
	}
	return names, true, err
}

func (r *fakeRepo) Fetch(ctx context.Context, path string) (string, error) {
	if r.broken != nil {
		if err := r.broken(path); err != nil {
			return "", err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetched[path]++
	data, err := os.ReadFile(filepath.Join(r.from, path))
	if err != nil {
		return "", err
	}
	local := filepath.Join(r.cache, path)
	return local, errors.Join(ctx.Err(), os.MkdirAll(filepath.Dir(local), 0o755), os.WriteFile(local, data, 0o644))
}

func (r *fakeRepo) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.fetched))
}

// opener opens r under the name alice/swarm and says which revision was asked for.
func (r *fakeRepo) opener(asked *string) hub.Opener {
	return func(_ context.Context, repo, revision string) (hub.Remote, error) {
		if repo != "alice/swarm" {
			return nil, fmt.Errorf("%s: %w", repo, os.ErrNotExist)
		}
		*asked = revision
		return r, nil
	}
}

// openNamed opens r as alice/swarm.
func openNamed(t *testing.T, r *fakeRepo) *hub.Pretrained {
	t.Helper()
	p, err := hub.FromPretrained(t.Context(), "alice/swarm", r.opener(new(string)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestFromPretrainedName: opening a swarm by name fetches its small files and its
// core, running it the encoders that the router picks, each once, and its logits are
// those of the folder.
func TestFromPretrainedName(t *testing.T) {
	folder := grow(t, fixture("mamba2"), 7, 2, 1)
	repo := newRepo(t, folder.Dir)
	var revision string
	p, err := hub.FromPretrained(t.Context(), "alice/swarm@v2", repo.opener(&revision))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	want := []string{"config.json", "model-core.safetensors", "model.safetensors.index.json"}
	if revision != "v2" || p.Name != "alice/swarm" || !slices.Equal(repo.names(), want) {
		t.Fatalf("%s at %q fetched %v, want %v", p.Name, revision, repo.names(), want)
	}
	if _, _, err := p.Info("backbone.encoders.3.layers.0.norm.weight"); !errors.Is(err, swarm.ErrFar) {
		t.Errorf("an encoder that is not here: %v", err)
	}
	b := testkit.Backend(t, backend.Go)
	ids := make([]int32, 80)
	for i := range ids {
		ids[i] = int32(i * 7 % p.Config.Swarm.Base.VocabSize)
	}
	rt, err := swarm.ReadRouter(p.Config.Swarm, p)
	if err != nil {
		t.Fatal(err)
	}
	start, err := rt.Start("")
	if err != nil {
		t.Fatal(err)
	}
	chunks, _, err := rt.Plan(start, ids)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range chunks {
		for _, e := range c.Slots {
			want = append(want, hub.EncoderFile(e))
		}
	}
	slices.Sort(want)
	if want = slices.Compact(want); len(want) == 3+7 {
		t.Fatal("the text meets all encoders: it tells nothing")
	}
	got, expect := logits(t, b, p, swarm.F32, ids), logits(t, b, folder, swarm.F32, ids)
	if !slices.Equal(got, expect) {
		t.Error("the logits are not those of the folder")
	}
	if !slices.Equal(repo.names(), want) {
		t.Errorf("fetched %v, want %v", repo.names(), want)
	}
	for name, n := range repo.fetched {
		if n != 1 {
			t.Errorf("%s was fetched %d times", name, n)
		}
	}
	if err := p.FetchAll(t.Context()); err != nil {
		t.Error(err)
	}
	sameTensors(t, p, folder)
}

// TestFetchAll brings, besides weights, what goes with every copy of a model, and not
// what else a repo holds.
func TestFetchAll(t *testing.T) {
	folder := trained(t).Dir
	write(t, filepath.Join(folder, "eval.json"), "{}")
	repo := newRepo(t, folder)
	p := openNamed(t, repo)
	if err := p.FetchAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := append([]string{"NOTICE", "README.md", "config.json", "eval.json", "licences/a", "tokenizer.json"}, weightsOf...)
	slices.Sort(want)
	if got := repo.names(); !slices.Equal(got, want) {
		t.Errorf("fetched %v, want %v", got, want)
	}
}

// TestFromPretrainedFolderWins: a folder of a repo's name is opened, and no hub asked.
func TestFromPretrainedFolderWins(t *testing.T) {
	from := fixture("mamba2")
	from, err := filepath.Abs(from)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := errors.Join(os.Mkdir("alice", 0o755), os.Symlink(from, "alice/swarm")); err != nil {
		t.Fatal(err)
	}
	p, err := hub.FromPretrained(t.Context(), "alice/swarm", func(context.Context, string, string) (hub.Remote, error) {
		t.Error("the hub was asked")
		return nil, os.ErrNotExist
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}

// TestFromPretrainedNameErrors breaks a repo in one way at a time.
func TestFromPretrainedNameErrors(t *testing.T) {
	folder := grow(t, fixture("mamba2"), 3, 2, 1).Dir
	for name, c := range map[string]struct {
		model  string
		change func(t *testing.T, r *fakeRepo)
		kind   error
		want   []string
	}{
		"no such repo": {"bob/swarm", nil, os.ErrNotExist, []string{"bob/swarm"}},
		"no model":     {"", func(t *testing.T, r *fakeRepo) { remove(t, filepath.Join(r.from, "config.json")) }, os.ErrNotExist, []string{"config.json"}},
		"no weights": {"", func(t *testing.T, r *fakeRepo) {
			remove(t, filepath.Join(r.from, safetensors.IndexFile))
		}, safetensors.ErrNoModel, nil},
		"PyTorch weights": {"", func(t *testing.T, r *fakeRepo) {
			remove(t, filepath.Join(r.from, safetensors.IndexFile))
			write(t, filepath.Join(r.from, hub.PickleFile), "x")
		}, nil, []string{hub.PickleFile, "mes convert"}},
		"index names a file that is not listed": {"", func(t *testing.T, r *fakeRepo) {
			remove(t, filepath.Join(r.from, hub.EncoderFile(1)))
		}, nil, []string{safetensors.IndexFile, hub.EncoderFile(1), "does not have"}},
		"index leaves the repo": {"", func(t *testing.T, r *fakeRepo) {
			replace(t, filepath.Join(r.from, safetensors.IndexFile), hub.EncoderFile(1), "../../bob/secret/resolve/main/x")
		}, safetensors.ErrShardName, nil},
		"network gone": {"", func(_ *testing.T, r *fakeRepo) {
			r.broken = func(path string) error {
				if path == hub.CoreFile {
					return errors.New("no route to host")
				}
				return nil
			}
		}, nil, []string{"fetch " + hub.CoreFile, "no route to host"}},
	} {
		t.Run(name, func(t *testing.T) {
			repo := newRepo(t, copyFolder(t, folder, entries(t, folder)...))
			if c.change != nil {
				c.change(t, repo)
			}
			model := c.model
			if model == "" {
				model = "alice/swarm"
			}
			_, err := hub.FromPretrained(t.Context(), model, repo.opener(new(string)))
			if err == nil || c.kind != nil && !errors.Is(err, c.kind) {
				t.Fatalf("error %v, want %v", err, c.kind)
			}
			for _, want := range append(c.want, model) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

// TestFetchEncodersError names the encoder and its file.
func TestFetchEncodersError(t *testing.T) {
	repo := newRepo(t, grow(t, fixture("mamba2"), 3, 2, 1).Dir)
	p := openNamed(t, repo)
	repo.broken = func(string) error { return errors.New("no route to host") }
	err := p.FetchEncoders(t.Context(), []int{2})
	for _, want := range []string{"encoder 2", hub.EncoderFile(2), "no route to host"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

// TestFetchAtOnce: several sessions that need one file fetch it once; one whose
// context ends stops waiting, and if the fetching one gives up another takes over.
func TestFetchAtOnce(t *testing.T) {
	repo := newRepo(t, grow(t, fixture("mamba2"), 3, 2, 1).Dir)
	p := openNamed(t, repo)
	entered, leave := make(chan struct{}, 10), make(chan error)
	repo.broken = func(string) error {
		entered <- struct{}{}
		return <-leave
	}
	ask := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() { done <- p.FetchEncoders(ctx, []int{1}) }()
		return done
	}
	first := ask(t.Context())
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	waiting := ask(ctx)
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that stopped waiting: %v", err)
	}
	second, third := ask(t.Context()), ask(t.Context())
	leave <- context.DeadlineExceeded
	if err := <-first; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the one that fetched: %v", err)
	}
	<-entered
	leave <- nil
	if err := errors.Join(<-second, <-third); err != nil {
		t.Error(err)
	}
	if len(entered) > 0 || repo.fetched[hub.EncoderFile(1)] != 1 {
		t.Errorf("fetched %d times", repo.fetched[hub.EncoderFile(1)])
	}
}

func TestParseName(t *testing.T) {
	for model, want := range map[string]string{
		"alice/swarm": "alice/swarm ", "Alice_1/my-swarm.v2@refs/pr/3": "Alice_1/my-swarm.v2 refs/pr/3", "a/b@v1": "a/b v1",
		"swarm": "", "a/b/c": "", "./a": "", "../a": "", "/a/b": "", "a/": "", "a/b@": "", "a/-b": "", "a/b-": "", "a./b": "",
		"a/b..c": "", "a/b--c": "", "a/b.git": "", "a/b?c": "", "a/b c": "", `a\b/c`: "", "C:/b": "", "": "",
		"a/" + strings.Repeat("b", 95): "",
	} {
		repo, revision, ok := hub.ParseName(model)
		if got := repo + " " + revision; ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v, want %q", model, got, ok, want)
		}
	}
}
