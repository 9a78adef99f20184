package swarm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gomlx/compute/dtypes"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// The pool is the same on every back end; these tests use the one that compiles
// fastest.

// TestPoolLoadsOnlyChangedSlots: with room for the active encoders alone, a text
// loads k encoders and then one for each slot that changes; with room for all, one
// for each encoder that ever runs.
func TestPoolLoadsOnlyChangedSlots(t *testing.T) {
	b := testkit.Backend(t, backend.Go)
	c := tinySwarm(mamba.Mamba2)
	c.Router.ChunkLength = 3
	src, ids := lively(c, 20), text(c, 90, 21)
	plan := planOf(t, c, src, ids, "")
	distinct := map[int]bool{}
	for _, d := range plan {
		for _, e := range d.slots {
			distinct[e] = true
		}
	}
	changes := swaps(plan)
	if changes <= len(distinct) {
		t.Fatalf("%d swaps of %d encoders: too few to tell the cases apart", changes, len(distinct))
	}
	one := c.encoderBytes(F32)
	for _, test := range []struct {
		budget   int64
		loads    int64
		resident int
	}{
		{1, int64(2 + changes), 2},
		{2 * one, int64(2 + changes), 2},
		{5 * one, int64(len(distinct)), len(distinct)},
	} {
		m := load(t, b, c, src, Options{EncoderBudgetBytes: test.budget})
		s := session(t, m, "")
		for at := range ids {
			if _, _, err := s.Feed(t.Context(), ids[at:at+1]); err != nil {
				t.Fatal(err)
			}
			if n := m.Pool().Stats(); n.Bytes > max(test.budget, 2*one) || n.Bytes != int64(n.Resident)*one {
				t.Fatalf("budget %d: %+v, encoders of %d bytes", test.budget, n, one)
			}
		}
		if n := m.Pool().Stats(); n.Loads != test.loads || n.Resident != test.resident {
			t.Errorf("budget %d: %+v, want %d loads and %d resident", test.budget, n, test.loads, test.resident)
		}
	}
}

// TestPoolHoldsWhatIsInUse: sessions share encoders, which stay beyond any budget
// until the last session that uses them closes.
func TestPoolHoldsWhatIsInUse(t *testing.T) {
	c := tinySwarm(mamba.Mamba1)
	m := load(t, testkit.Backend(t, backend.Go), c, lively(c, 22), Options{EncoderBudgetBytes: 1})
	first, second := session(t, m, "law"), session(t, m, "law") // encoders 2 and 0
	for _, s := range []*Session{first, second} {
		if _, _, err := s.Feed(t.Context(), []int32{1}); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.Pool().Stats(); n.Loads != 2 || n.Resident != 2 {
		t.Errorf("two sessions with equal encoders: %+v, want 2 loads", n)
	}
	first.Close()
	if n := m.Pool().Stats(); n.Resident != 2 {
		t.Errorf("one of two sessions closed: %+v, want 2 resident", n)
	}
	if _, _, err := second.Feed(t.Context(), []int32{2}); err != nil {
		t.Error(err)
	}
	second.Close()
	second.Close() // closing twice gives nothing back twice
	if n := m.Pool().Stats(); n.Resident != 0 || n.Bytes != 0 {
		t.Errorf("all sessions closed: %+v, want nothing", n)
	}
}

// TestPoolEvictsLeastRecentlyUsed asks for encoders directly.
func TestPoolEvictsLeastRecentlyUsed(t *testing.T) {
	c := tinySwarm(mamba.Mamba1)
	b := testkit.Backend(t, backend.Go)
	p := newPool(b, c, lively(c, 23), F32, 2*c.encoderBytes(F32))
	t.Cleanup(p.close)
	for _, e := range []int{0, 1, 0, 2} {
		enc, err := p.acquire(e)
		if err != nil {
			t.Fatal(err)
		}
		p.release(enc)
	}
	if p.resident[0] == nil || p.resident[1] != nil || p.resident[2] == nil {
		t.Errorf("resident %v, want 0 and 2", p.resident)
	}
}

// TestSwarmSizes: the graph does not depend on E.
func TestSwarmSizes(t *testing.T) {
	b := testkit.Backend(t, backend.Go)
	inputs := map[int]int{}
	for _, E := range []int{5, 100, 1000} {
		t.Run(fmt.Sprint(E), func(t *testing.T) {
			c := tinySwarm(mamba.Mamba2)
			c.Router.NumEncoders, c.Router.EncodersPerToken, c.Router.ChunkLength = E, 3, 4
			c.Router.DefaultEncoders, c.Router.Domains = []int{0, E - 1, 1}, nil
			src, ids := lively(c, 24), text(c, 24, 25)
			m := load(t, b, c, src, Options{})
			plan := planOf(t, c, src, ids, "")
			got, ran := score(t, m, "", ids)
			samePlan(t, c, ran, plan)
			compareLogits(t, "logits", got, newReference(c, src).run(ids, plan))
			if n := m.Pool().Stats(); n.Resident > 6 {
				t.Errorf("%+v: more than twice the active encoders", n)
			}
			p, err := m.program(programKey{tokens: 1})
			if err != nil {
				t.Fatal(err)
			}
			inputs[E] = len(p.Inputs)
		})
	}
	if inputs[5] == 0 || inputs[5] != inputs[100] || inputs[5] != inputs[1000] {
		t.Errorf("inputs of the graph by E: %v", inputs)
	}
}

// brokenSource fails to read the tensors that contain a text.
type brokenSource struct {
	Source
	mu   sync.Mutex
	part string
	err  error
}

func (b *brokenSource) Info(name string) (dtypes.DType, []int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.part != "" && strings.Contains(name, b.part) && errors.Is(b.err, ErrNoTensor) {
		return dtypes.InvalidDType, nil, b.err
	}
	return b.Source.Info(name)
}

func (b *brokenSource) Read(name string, dst []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.part != "" && strings.Contains(name, b.part) {
		return b.err
	}
	return b.Source.Read(name, dst)
}

// TestDamagedEncoder: an encoder that cannot be read stops the text with an error
// that names it; the others, and it once it is whole again, still run.
func TestDamagedEncoder(t *testing.T) {
	damage := errors.New("the file is shorter than its header says")
	for _, fault := range []error{damage, fmt.Errorf("the folder holds %w", ErrNoTensor)} {
		c := tinySwarm(mamba.Mamba2)
		src := &brokenSource{Source: lively(c, 26), part: "encoders.2.layers.0.mixer.out_proj", err: fault}
		m := load(t, testkit.Backend(t, backend.Go), c, src, Options{})
		s := session(t, m, "law")
		logits, _, err := s.Feed(t.Context(), []int32{1, 2})
		if logits != nil || !errors.Is(err, fault) {
			t.Fatalf("logits %v, error %v, want %v", logits, err, fault)
		}
		for _, part := range []string{"encoder 2", "backbone.encoders.2.layers.0.mixer.out_proj.weight"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error %q does not name %q", err, part)
			}
		}
		if _, _, again := s.Feed(t.Context(), []int32{1}); !errors.Is(again, fault) {
			t.Errorf("the session goes on after %v: %v", err, again)
		}
		s.Close()
		if n := m.Pool().Stats(); m.pool.resident[2] != nil || n.Bytes != int64(n.Resident)*c.encoderBytes(F32) {
			t.Errorf("the damaged encoder is resident: %+v", n)
		}
		if _, _, err := session(t, m, "maths").Feed(t.Context(), []int32{1}); err != nil {
			t.Errorf("another encoder: %v", err)
		}
		src.mu.Lock()
		src.part = ""
		src.mu.Unlock()
		if _, _, err := session(t, m, "law").Feed(t.Context(), []int32{1}); err != nil {
			t.Errorf("the mended encoder: %v", err)
		}
	}
}

// TestSessionsAtOnce reads several texts at once with one model and a pool that
// must evict, and finds what one after the other gives.
func TestSessionsAtOnce(t *testing.T) {
	c := tinySwarm(mamba.Mamba1)
	c.Router.ChunkLength = 2
	src := lively(c, 27)
	m := load(t, testkit.Backend(t, backend.Go), c, src, Options{EncoderBudgetBytes: 1})
	var wg sync.WaitGroup
	for i := range 6 {
		ids := text(c, 30, uint64(i))
		want := newReference(c, src).run(ids, planOf(t, c, src, ids, ""))
		wg.Go(func() {
			s, err := m.NewSession("")
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			for at, part := range slices.Collect(slices.Chunk(ids, 5)) {
				logits, _, err := s.Feed(t.Context(), part)
				if err != nil {
					t.Error(err)
					return
				}
				compareLogits(t, fmt.Sprint("text ", i), toRows(logits), want[5*at+4:5*at+5])
			}
		})
	}
	wg.Wait()
	if n := m.Pool().Stats(); n.Resident != 0 {
		t.Errorf("after all sessions: %+v", n)
	}
}
