package swarm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gomlx/compute/dtypes"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// farSource is a Fetcher whose core is here. Encoders in broken cannot be fetched.
type farSource struct {
	memorySource
	mu      sync.Mutex
	fetched map[string]int // encoder's prefix → calls
	broken  map[string]error
	during  func() // called by Fetch; nil is nothing
}

// encoderPrefix is the part of a tensor's name that says whose it is.
func encoderPrefix(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, "backbone.encoders.")
	prefix, _, _ := strings.Cut(rest, ".")
	return prefix, ok
}

func (f *farSource) Info(name string) (dtypes.DType, []int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if prefix, ok := encoderPrefix(name); ok && f.fetched[prefix] == 0 {
		return dtypes.InvalidDType, nil, fmt.Errorf("%w", ErrFar)
	}
	return f.memorySource.Info(name)
}

func (f *farSource) Fetch(ctx context.Context, names []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.during != nil {
		f.during()
	}
	for _, name := range names {
		prefix, _ := encoderPrefix(name)
		if err := f.broken[prefix]; err != nil {
			return err
		}
		f.fetched[prefix]++
	}
	return ctx.Err()
}

// TestFetchOnDemand: loading fetches nothing, and a text fetches the encoders that
// the router picks for it, and no others.
func TestFetchOnDemand(t *testing.T) {
	b := testkit.Backend(t, backend.Go)
	c := tinySwarm(mamba.Mamba2)
	c.Router.NumEncoders, c.Router.Domains, c.Router.ChunkLength = 12, nil, 4
	src := &farSource{memorySource: lively(c, 60), fetched: map[string]int{}}
	m := load(t, b, c, src, Options{})
	if len(src.fetched) > 0 {
		t.Fatalf("loading fetched %v", src.fetched)
	}
	ids := text(c, 24, 61)
	plan := planOf(t, c, src.memorySource, ids, "")
	want := map[string]bool{}
	for _, d := range plan {
		for _, e := range d.slots {
			want[fmt.Sprint(e)] = true
		}
	}
	if len(want) < 3 || len(want) == c.Router.NumEncoders {
		t.Fatalf("the text meets %d of %d encoders: it tells nothing", len(want), c.Router.NumEncoders)
	}
	got, ran := score(t, m, "", ids)
	samePlan(t, c, ran, plan)
	compareLogits(t, "logits", got, newReference(c, src.memorySource).run(ids, plan))
	if fetched := slices.Sorted(maps.Keys(src.fetched)); !slices.Equal(fetched, slices.Sorted(maps.Keys(want))) {
		t.Errorf("fetched encoders %v, the text met %v", fetched, want)
	}
}

// TestFetchFails: an encoder that cannot be fetched ends the text with an error that
// names it; other texts go on, and so does this one once the network is back.
func TestFetchFails(t *testing.T) {
	c := tinySwarm(mamba.Mamba1)
	gone := errors.New("no route to the hub")
	src := &farSource{memorySource: lively(c, 62), fetched: map[string]int{}, broken: map[string]error{"2": gone}}
	m := load(t, testkit.Backend(t, backend.Go), c, src, Options{})
	_, _, err := session(t, m, "law").Feed(t.Context(), []int32{1})
	var fault *FetchError
	if !errors.As(err, &fault) || fault.Encoder != 2 || !errors.Is(err, gone) {
		t.Fatalf("error %v, want a FetchError of encoder 2", err)
	}
	for _, part := range []string{"encoder 2", "law", gone.Error()} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
	if _, _, err := session(t, m, "maths").Feed(t.Context(), []int32{1}); err != nil {
		t.Errorf("a text without that encoder: %v", err)
	}
	src.mu.Lock()
	src.broken = nil
	src.mu.Unlock()
	if _, _, err := session(t, m, "law").Feed(t.Context(), []int32{1}); err != nil {
		t.Errorf("with the network back: %v", err)
	}
}

// TestFetchCancelled: a text whose caller leaves during a fetch ends with the
// caller's reason.
func TestFetchCancelled(t *testing.T) {
	c := tinySwarm(mamba.Mamba1)
	src := &farSource{memorySource: lively(c, 63), fetched: map[string]int{}}
	m := load(t, testkit.Backend(t, backend.Go), c, src, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	src.during = cancel
	_, _, err := session(t, m, "law").Feed(ctx, []int32{1})
	if !errors.As(err, new(*FetchError)) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}
