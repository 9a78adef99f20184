package swarm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
)

// TestSessionEncode compares with the oracle, whose logits are the hidden states themselves
// once its head is the identity.
func TestSessionEncode(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for _, c := range []Config{tinyPlain(mamba.Mamba1), tinySwarm(mamba.Mamba2)} {
			src, d := lively(c, 50), c.Base.DModel
			m := load(t, b, c, src, Options{})
			ref := newReference(c, src)
			identity := make([]float64, c.Base.VocabSize*d)
			for i := range d {
				identity[i*d+i] = 1
			}
			ref.values["lm_head.weight"] = identity
			for _, n := range []int{1, 2, 23} {
				ids := text(c, n, uint64(n))
				mean := make([]float64, d)
				for _, row := range ref.run(ids, planOf(t, c, src, ids, "")) {
					for i := range mean {
						mean[i] += row[i] / float64(n)
					}
				}
				got, chunks, err := session(t, m, "").Encode(t.Context(), ids)
				if err != nil {
					t.Fatal(err)
				}
				compareLogits(t, fmt.Sprintf("%d tokens", n), toRows(got), [][]float64{mean})
				if !c.Plain() && chunks[len(chunks)-1].End != n {
					t.Errorf("chunks end at %d of %d tokens", chunks[len(chunks)-1].End, n)
				}
			}
		}
	})
}

// TestReadRouter: a router read alone plans what a session runs.
func TestReadRouter(t *testing.T) {
	c := tinySwarm(mamba.Mamba2)
	src, ids := lively(c, 51), text(c, 20, 52)
	r, err := ReadRouter(c, src)
	if err != nil {
		t.Fatal(err)
	}
	start, err := r.Start("law")
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := r.Plan(start, ids)
	if err != nil {
		t.Fatal(err)
	}
	_, got, err := session(t, load(t, testkit.Backend(t, backend.Go), c, src, Options{}), "law").Feed(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a session's chunks (-router alone +session):\n%s", diff)
	}
	swapped := func(c router.Chunk) bool { return c.Reason == router.ReasonSwapped }
	if !slices.ContainsFunc(want, swapped) {
		t.Error("no encoder changes in this text; the test compares nothing")
	}
}

func TestReadRouterErrors(t *testing.T) {
	c := tinySwarm(mamba.Mamba2)
	if _, err := ReadRouter(tinyPlain(mamba.Mamba2), lively(tinyPlain(mamba.Mamba2), 1)); err == nil || !strings.Contains(err.Error(), "has no router") {
		t.Errorf("router of a plain model: %v", err)
	}
	src := lively(c, 53)
	delete(src, "backbone.router.bias")
	if _, err := ReadRouter(c, src); err == nil || !strings.Contains(err.Error(), "backbone.router.bias") {
		t.Errorf("router without biases: %v", err)
	}
}
