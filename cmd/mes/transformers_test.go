package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// envPython names a Python with the packages of scripts/fixtures/requirements.txt.
const envPython = "MES_TEST_PYTHON"

// judgeTolerance is that of logits against transformers, both in f32 over the same stored weights.
const judgeTolerance = 1e-4

// TestTransformers loads what convert and export-encoder write with transformers and
// compares logits. scripts/fixtures/check_commands.sh runs it.
func TestTransformers(t *testing.T) {
	python := os.Getenv(envPython)
	if python == "" {
		t.Skipf("SKIPPED: set %s, or run scripts/fixtures/check_commands.sh", envPython)
	}
	root, err := testkit.Root()
	if err != nil {
		t.Fatal(err)
	}
	judge := &judge{python: python, root: root, backend: testkit.Backend(t, backend.XLACPU)}
	fixture := func(name string) string { return filepath.Join(root, "model/mamba/testdata", name) }
	mini := filepath.Join(root, "weights/mamba2-mini")

	for _, source := range []string{mini, fixture("mamba1"), fixture("mamba1-bias"), fixture("falcon"), fixture("mamba2"),
		fixture("mamba2-bias"), fixture("mamba2-groups8"), fixture("original-mamba1"), fixture("original-mamba2")} {
		for _, dtype := range []string{"", "f32", "bf16", "int8"} {
			t.Run(filepath.Base(source)+"/"+dtype, func(t *testing.T) {
				out := filepath.Join(t.TempDir(), "out")
				mustRun(t, "convert", "-dtype", dtype, "-o", out, source)
				judge.compare(t, out, source)
			})
		}
	}
	for _, kind := range []string{"original-mamba1", "original-mamba2"} {
		t.Run(kind+"/pytorch", func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			mustRun(t, "convert", "-o", out, withoutSafetensors(t, fixture(kind)))
			judge.compare(t, out, fixture(kind))
		})
	}
	for _, source := range []string{mini, fixture("mamba1"), fixture("falcon"), fixture("mamba2-int8"), fixture("original-mamba2")} {
		t.Run(filepath.Base(source)+"/export-encoder", func(t *testing.T) {
			grown, out := filepath.Join(t.TempDir(), "grown"), filepath.Join(t.TempDir(), "out")
			mustRun(t, "grow", "-encoders", "3", "-active", "2", "-layers", "1", "-o", grown, source)
			mustRun(t, "export-encoder", "-o", out, grown, "2")
			judge.compare(t, out, source)
		})
	}
	t.Run("swarm/int8/export-encoder", func(t *testing.T) {
		dir := t.TempDir()
		grown, small, out := filepath.Join(dir, "grown"), filepath.Join(dir, "int8"), filepath.Join(dir, "out")
		mustRun(t, "grow", "-encoders", "3", "-active", "2", "-layers", "1", "-o", grown, fixture("mamba1"))
		mustRun(t, "convert", "-dtype", "int8", "-o", small, grown)
		mustRun(t, "export-encoder", "-o", out, small, "0")
		judge.compare(t, out, fixture("mamba1"))
	})
}

// withoutSafetensors copies a folder but for its safetensors file.
func withoutSafetensors(t *testing.T, dir string) string {
	t.Helper()
	out := t.TempDir()
	for _, name := range []string{"config.json", "pytorch_model.bin"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(out, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// mustRun runs a command that must succeed.
func mustRun(t *testing.T, args ...string) {
	t.Helper()
	var messages strings.Builder
	m := &Main{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &messages, Env: func(string) string { return "" }}
	if code := m.Run(t.Context(), args); code != exitOK {
		t.Fatalf("mes %s: exit code %d\n%s", strings.Join(args, " "), code, messages.String())
	}
}

// judge runs transformers.
type judge struct {
	python, root string
	backend      compute.Backend
}

// compare demands that transformers loads out, whole and as a plain load does too,
// with our logits; it logs how far these are from those of source.
func (j *judge) compare(t *testing.T, out, source string) {
	t.Helper()
	ids := []int32{5, 17, 3, 40, 41, 2, 9, 9, 33, 58, 1}
	ours := j.logits(t, out, ids)
	loads := [][]string{nil}
	if j.quantised(t, out) { // a plain load is another path of transformers then
		loads = append(loads, []string{"-lazy"})
	}
	for _, flags := range loads {
		theirs := j.transformers(t, out, ids, flags)
		if len(theirs) != len(ours) {
			t.Fatalf("transformers has %d logits, we have %d", len(theirs), len(ours))
		}
		d, top := distance(ours, theirs)
		t.Logf("transformers%v: |Δlogit| %.1e of at most %.1f", flags, d, top)
		if !(d <= judgeTolerance) {
			t.Errorf("transformers%v differs by %g, more than %g", flags, d, judgeTolerance)
		}
	}
	d, top := distance(ours, j.logits(t, source, ids))
	t.Logf("against the source: |Δlogit| %.1e of at most %.1f", d, top)
}

func (j *judge) quantised(t *testing.T, dir string) bool {
	t.Helper()
	p, err := hub.FromPretrained(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	return p.Config.Quantization != nil
}

func distance(a, b []float32) (d, top float64) {
	for i := range a {
		d = max(d, math.Abs(float64(a[i])-float64(b[i])))
		top = max(top, math.Abs(float64(a[i])))
	}
	return d, top
}

// logits computes a folder's logits [len(ids)·V] in f32.
func (j *judge) logits(t *testing.T, dir string, ids []int32) []float32 {
	t.Helper()
	p, err := hub.FromPretrained(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	m, err := swarm.Load(j.backend, p.Config.Swarm, p, swarm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s, err := m.NewSession("")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var all []float32
	if _, err := s.Score(t.Context(), ids, func(_ int, logits []float32) error {
		all = append(all, logits...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// transformers returns what check_export.py computes.
func (j *judge) transformers(t *testing.T, dir string, ids []int32, flags []string) []float32 {
	t.Helper()
	list := strings.ReplaceAll(strings.Trim(fmt.Sprint(ids), "[]"), " ", ",")
	args := append([]string{filepath.Join(j.root, "scripts/fixtures/check_export.py"), dir, "-ids", list}, flags...)
	cmd := exec.CommandContext(t.Context(), j.python, args...)
	var messages strings.Builder
	cmd.Stderr = &messages
	out, err := cmd.Output()
	var result struct {
		Faults []string
		Logits [][]float32
	}
	if jsonErr := json.Unmarshal(out, &result); jsonErr != nil || err != nil {
		t.Fatalf("check_export.py %v: %v %v\nfaults: %v\n%s", flags, err, jsonErr, result.Faults, messages.String())
	}
	var all []float32
	for _, row := range result.Logits {
		all = append(all, row...)
	}
	return all
}
