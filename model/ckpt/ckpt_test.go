package ckpt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// snapshot makes a checkpoint of three tensors, of which two change with the step.
func snapshot(step int64) Snapshot {
	fill := func(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }
	return Snapshot{
		Step: step,
		Meta: json.RawMessage(fmt.Sprintf(`{"phase":"seed","position":%d}`, 1000*step)),
		Loss: 10 / float64(step+1),
		Tensors: []Tensor{
			{Name: "backbone.embeddings.weight", DType: "F32", Shape: []int{8, 4}, Data: fill(128, 7)},
			{Name: "adam.m", DType: "BF16", Shape: []int{3, 5}, Data: fill(30, byte(step))},
			{Name: "step", DType: "I64", Shape: []int{}, Data: fill(8, byte(step))},
		},
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// opened opens a manager that the test closes.
func opened(t testing.TB, cfg Config) *Manager {
	t.Helper()
	m, err := Open(cfg)
	must(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

// save saves and waits.
func save(t testing.TB, m *Manager, s Snapshot) {
	t.Helper()
	must(t, m.Save(t.Context(), s))
	must(t, m.Wait())
}

// same fails unless two snapshots are equal.
func same(t testing.TB, got, want Snapshot) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
		t.Errorf("snapshot differs (-want +got):\n%s", diff)
	}
}

// steps returns the steps of a manager.
func steps(m *Manager) []int64 {
	var steps []int64
	for _, info := range m.List() {
		steps = append(steps, info.Step)
	}
	return steps
}

// tree returns the files of a folder with their sizes, lock aside.
func tree(t testing.TB, dir string) map[string]int64 {
	t.Helper()
	files := map[string]int64{}
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "lock" {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		files[strings.TrimPrefix(path, dir+"/")] = info.Size()
		return nil
	}))
	return files
}

// objects returns the paths of the objects in a folder.
func objects(t testing.TB, dir string) []string {
	t.Helper()
	var found []string
	for path := range tree(t, dir) {
		if strings.HasPrefix(path, objectsDir) {
			found = append(found, filepath.Join(dir, path))
		}
	}
	slices.Sort(found)
	return found
}

// clean fails if the folder holds more or less than its checkpoints need.
func clean(t *testing.T, dir string, m *Manager) {
	t.Helper()
	used := m.used()
	files := tree(t, dir)
	if len(files) != len(used)+len(m.steps) {
		t.Errorf("%d checkpoints name %d objects, the folder holds %v", len(m.steps), len(used), files)
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "checkpoints")
	m := opened(t, Config{Dir: dir})
	if _, err := m.Last(); !errors.Is(err, ErrNone) {
		t.Errorf("Last of an empty folder: %v", err)
	}
	save(t, m, snapshot(0))
	save(t, m, snapshot(20))
	odd := snapshot(21)
	odd.Loss, odd.Meta = math.NaN(), nil
	odd.Tensors = append(odd.Tensors, Tensor{Name: "../../outside/../é\n\x00", DType: "U8", Shape: []int{0, 9}, Data: []byte{}})
	save(t, m, odd)
	must(t, m.Close())

	m = opened(t, Config{Dir: dir})
	s, err := m.Last()
	must(t, err)
	same(t, s, odd)
	s, err = m.Load(20)
	must(t, err)
	same(t, s, snapshot(20))
	if _, err := m.Load(19); !errors.Is(err, ErrNone) {
		t.Errorf("Load of a step that is not there: %v", err)
	}
	want := []Info{{Step: 0, Loss: 10, Tensors: 3, Bytes: 166}, {Step: 20, Loss: 10.0 / 21, Tensors: 3, Bytes: 166}, {Step: 21, Loss: math.NaN(), Tensors: 4, Bytes: 166}}
	if diff := cmp.Diff(want, m.List(), cmpopts.EquateNaNs(), cmpopts.IgnoreFields(Info{}, "Time")); diff != "" {
		t.Error(diff)
	}
	if entries, _ := os.ReadDir(filepath.Dir(filepath.Dir(dir))); len(entries) != 1 {
		t.Errorf("a tensor's name left the folder: %v", entries)
	}
}

// TestHandMade reads a folder that was made by hand, with sha256 from FIPS 180-2.
func TestHandMade(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	put("objects/ba/"+abc, "abc")
	// The checksum is what sha256sum says of the text between "checkpoint": and the last brace.
	put("steps/7.json", `{"sha256":"5c1878cc2833a933f5ca3d7809b3a48b76b37a2bda6d27cc757b5a298c9a09b2","checkpoint":`+
		`{"format":"mes-checkpoint/1","step":7,"time":"2026-01-02T03:04:05Z","loss":2.5,"meta":{"phase":"joint"},"tensors":[{"name":"x","dtype":"U8","shape":[3],"bytes":3,"sha256":"`+abc+`"}]}}`)
	s, err := opened(t, Config{Dir: dir}).Last()
	must(t, err)
	same(t, s, Snapshot{Step: 7, Loss: 2.5, Meta: json.RawMessage(`{"phase":"joint"}`), Tensors: []Tensor{{Name: "x", DType: "U8", Shape: []int{3}, Data: []byte("abc")}}})
}

// TestShared holds that equal tensors are stored once and not written again, also by a
// process that comes later.
func TestShared(t *testing.T) {
	dir := t.TempDir()
	m := opened(t, Config{Dir: dir})
	save(t, m, snapshot(1))
	if s := m.Stats(); s.WrittenBytes != 166 || s.SharedBytes != 0 || s.Saves != 1 {
		t.Errorf("first save: %+v", s)
	}
	save(t, m, snapshot(2))
	if s := m.Stats(); s.WrittenBytes != 166+38 || s.SharedBytes != 128 {
		t.Errorf("second save: %+v", s)
	}
	must(t, m.Close())
	m = opened(t, Config{Dir: dir})
	save(t, m, snapshot(3))
	if s := m.Stats(); s.WrittenBytes != 38 || s.SharedBytes != 128 {
		t.Errorf("after opening again: %+v", s)
	}
	if got := len(objects(t, dir)); got != 7 {
		t.Errorf("%d objects, want 7", got)
	}
}

// TestSpoiltObjectIsWrittenAgain holds that an object which has the right name and size
// and other bytes is not trusted.
func TestSpoiltObjectIsWrittenAgain(t *testing.T) {
	dir := t.TempDir()
	m := opened(t, Config{Dir: dir})
	save(t, m, snapshot(1))
	must(t, m.Close())
	for _, path := range objects(t, dir) {
		data, err := os.ReadFile(path)
		must(t, err)
		data[0] ^= 1
		must(t, os.WriteFile(path, data, 0o644))
	}
	m = opened(t, Config{Dir: dir})
	s := snapshot(1)
	s.Step = 2
	save(t, m, s)
	got, err := m.Last()
	must(t, err)
	if got.Step != 2 || !bytes.Equal(got.Tensors[0].Data, s.Tensors[0].Data) {
		t.Errorf("loaded step %d", got.Step)
	}
}

func TestRetention(t *testing.T) {
	losses := map[int64]float64{10: 5, 20: 1, 30: 4, 40: 2, 50: math.NaN(), 60: 3, 70: 3}
	cases := []struct {
		name string
		cfg  Config
		want []int64
	}{
		{"all", Config{}, []int64{10, 20, 30, 40, 50, 60, 70}},
		{"newest", Config{Keep: 2}, []int64{60, 70}},
		{"best", Config{Keep: 1, Best: 2}, []int64{20, 40, 70}},
		{"multiples", Config{Keep: 1, EveryStep: 30}, []int64{30, 60, 70}},
		{"all three", Config{Keep: 2, Best: 1, EveryStep: 40}, []int64{20, 40, 60, 70}},
		{"more best than there are", Config{Keep: 1, Best: 100}, []int64{10, 20, 30, 40, 60, 70}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Dir = t.TempDir()
			m := opened(t, c.cfg)
			for step := int64(10); step <= 70; step += 10 {
				s := snapshot(step)
				s.Loss = losses[step]
				save(t, m, s)
			}
			if got := steps(m); !slices.Equal(got, c.want) {
				t.Errorf("kept %v, want %v", got, c.want)
			}
			// one object is shared, two are each step's own
			if got := len(objects(t, c.cfg.Dir)); got != 1+2*len(c.want) {
				t.Errorf("%d objects for %d checkpoints", got, len(c.want))
			}
			for _, step := range c.want {
				if _, err := m.Load(step); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestRetentionByStage: losses of one stage are not compared with those of another, also
// after the folder was opened again.
func TestRetentionByStage(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Keep: 1, Best: 1}
	stages := map[int64]string{10: "seed", 20: "seed", 30: "branch law", 40: "branch law", 50: "joint", 60: "joint"}
	losses := map[int64]float64{10: 5, 20: 6, 30: 2, 40: 1, 50: 3, 60: 4}
	for step := int64(10); step <= 60; step += 10 {
		m := opened(t, cfg)
		s := snapshot(step)
		s.Loss, s.Stage = losses[step], stages[step]
		save(t, m, s)
		if got, err := m.Load(step); err != nil || got.Stage != stages[step] {
			t.Errorf("step %d is of stage %q, %v", step, got.Stage, err)
		}
		must(t, m.Close())
	}
	if got, want := steps(opened(t, cfg)), []int64{10, 40, 50, 60}; !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
}

// TestEarlierStep holds that a run which went back must say so before its checkpoints
// take the place of later ones.
func TestEarlierStep(t *testing.T) {
	m := opened(t, Config{Dir: t.TempDir(), Keep: 2})
	for step := int64(1); step <= 3; step++ {
		save(t, m, snapshot(step))
	}
	err := m.Save(t.Context(), snapshot(2))
	if err == nil || !strings.Contains(err.Error(), "holds one of step 3; resume from it, or rewind") {
		t.Errorf("saved an earlier step: %v", err)
	}
	save(t, m, snapshot(3)) // the same again is no going back
	must(t, m.Rewind(2))
	if got := steps(m); !slices.Equal(got, []int64{2}) {
		t.Errorf("after rewinding: %v", got)
	}
	save(t, m, snapshot(2))
}

func TestRefusedSnapshots(t *testing.T) {
	m := opened(t, Config{Dir: t.TempDir()})
	with := func(tensor Tensor) Snapshot { return Snapshot{Tensors: []Tensor{tensor}} }
	cases := []struct {
		name string
		s    Snapshot
		want string
	}{
		{"negative step", Snapshot{Step: -1}, "step -1 is below 0"},
		{"meta", Snapshot{Meta: json.RawMessage("{")}, "meta is not JSON"},
		{"no name", with(Tensor{DType: "U8"}), "name is empty"},
		{"name", with(Tensor{Name: "\xff", DType: "U8"}), "not UTF-8"},
		{"dtype", with(Tensor{Name: "a", DType: "float"}), `unknown dtype "float"`},
		{"short", with(Tensor{Name: "a", DType: "F32", Shape: []int{2}, Data: make([]byte, 7)}), "7 bytes do not hold F32 [2]"},
		{"half a byte", with(Tensor{Name: "a", DType: "F4", Shape: []int{1}}), "do not hold"},
		{"negative", with(Tensor{Name: "a", DType: "F32", Shape: []int{-1, 0}}), "negative dimension"},
		{"overflow", with(Tensor{Name: "a", DType: "F32", Shape: []int{math.MaxInt / 2, 4, 0}}), "too large"},
		{"twice", Snapshot{Tensors: []Tensor{{Name: "a", DType: "U8", Shape: []int{0}}, {Name: "a", DType: "U8", Shape: []int{0}}}}, `two tensors are named "a"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if err := m.Save(t.Context(), c.s); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	if got := steps(m); len(got) > 0 {
		t.Errorf("saved %v", got)
	}
}

// TestBackground holds that Save returns while the disk is slow, that the next Save waits
// for it as long as its context lives, and that the time is counted.
func TestBackground(t *testing.T) {
	gate := make(chan struct{})
	m, err := open(Config{Dir: t.TempDir()}, func(op, _ string) error {
		if op == "sync" {
			<-gate
		}
		return nil
	})
	must(t, err)
	must(t, m.Save(t.Context(), snapshot(1)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Save(ctx, snapshot(2)); !errors.Is(err, context.Canceled) {
		t.Errorf("saved beside a save: %v", err)
	}
	done := make(chan error)
	go func() { done <- m.Save(t.Context(), snapshot(3)) }()
	select {
	case <-done:
		t.Error("the second save did not wait")
	default:
	}
	close(gate)
	must(t, <-done)
	must(t, m.Close())
	if s := m.Stats(); s.Saves != 2 || s.Waited <= 0 || s.Busy <= 0 {
		t.Errorf("%+v", s)
	}
	if err := m.Save(t.Context(), snapshot(4)); !errors.Is(err, ErrClosed) {
		t.Errorf("Save after Close: %v", err)
	}
	must(t, m.Close())
}

func TestBadFolders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o644))
	if _, err := Open(Config{Dir: file}); err == nil || !strings.Contains(err.Error(), "open checkpoints") {
		t.Errorf("a file as folder: %v", err)
	}
	if _, err := Open(Config{Dir: t.TempDir(), Keep: -1}); err == nil || !strings.Contains(err.Error(), "none may be negative") {
		t.Errorf("negative keep: %v", err)
	}
}

func BenchmarkSave(b *testing.B) {
	const size, count = 2 << 20, 100
	data := make([]byte, size*count)
	for _, changed := range []int{0, 5, count} {
		b.Run(fmt.Sprintf("200MB-%d%%-changed", changed*100/count), func(b *testing.B) {
			m, err := Open(Config{Dir: b.TempDir(), Keep: 2, Logger: slog.New(slog.DiscardHandler)})
			must(b, err)
			defer m.Close()
			step := int64(0)
			next := func() Snapshot {
				step++
				s := Snapshot{Step: step, Loss: math.NaN()}
				for i := range count {
					part := data[i*size : (i+1)*size]
					part[0] = byte(i)
					if i < changed {
						part[2], part[3] = byte(step), byte(step>>8)
					}
					s.Tensors = append(s.Tensors, Tensor{Name: fmt.Sprint(i), DType: "U8", Shape: []int{size}, Data: part})
				}
				return s
			}
			save(b, m, next())
			b.SetBytes(size * count)
			for b.Loop() {
				save(b, m, next())
			}
		})
	}
}
