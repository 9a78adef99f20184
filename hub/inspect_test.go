package hub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

func ExampleInspect() {
	p, err := hub.FromPretrained(context.Background(), "../weights/mamba2-mini", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	r := hub.Inspect(p)
	fmt.Println(r.Parameters, "parameters,", r.DiskBytes["BF16"], "bytes,", len(r.Problems), "problems")
	for _, g := range r.Tree {
		fmt.Println(g.Name, g.Count, len(g.Tensors))
	}
	// Output:
	// 14476080 parameters, 28952160 bytes, 0 problems
	//  1 2
	// backbone.layers.0-11 12 9
}

// TestInspectTree: every tensor of the model is counted once, and encoders that are
// alike are one group.
func TestInspectTree(t *testing.T) {
	p := grow(t, fixture("mamba2"), 7, 2, 1)
	r := hub.Inspect(p)
	var names []string
	var parameters int64
	for _, g := range r.Tree {
		names = append(names, fmt.Sprintf("%s ×%d", g.Name, g.Count))
		parameters += g.Parameters()
	}
	want := []string{" ×1", "backbone.layers.0 ×1", "backbone.layers.1 ×1", "backbone.encoders.0-6 ×7"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	if parameters != r.Parameters {
		t.Errorf("the tree holds %d values, the model %d", parameters, r.Parameters)
	}
	if r.DiskBytes["F32"] != 4*r.Parameters || len(r.DiskBytes) != 1 {
		t.Errorf("on disk %v, want 4 bytes for each of %d values", r.DiskBytes, r.Parameters)
	}
	if len(r.Files) != 8 || len(r.Problems) > 0 || len(r.Surplus) > 0 {
		t.Errorf("%d files, problems %v, surplus %v", len(r.Files), r.Problems, r.Surplus)
	}
	for _, f := range r.Files {
		if info, err := os.Stat(filepath.Join(p.Dir, f.Name)); err != nil || info.Size() != f.Bytes {
			t.Errorf("%s has %d bytes: %v", f.Name, f.Bytes, err)
		}
	}
}

// TestInspectDivides: encoders of other types are groups of their own.
func TestInspectDivides(t *testing.T) {
	p := grow(t, fixture("mamba1"), 5, 2, 2)
	small := convert(t, p.Dir, swarm.BF16)
	for _, e := range []int{2, 3} { // these keep f32
		data, err := os.ReadFile(filepath.Join(p.Dir, hub.EncoderFile(e)))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(small.Dir, hub.EncoderFile(e)), string(data))
	}
	var names []string
	for _, g := range hub.Inspect(small).Tree[2:] {
		names = append(names, g.Name)
	}
	if diff := cmp.Diff([]string{"backbone.encoders.0-1", "backbone.encoders.2-3", "backbone.encoders.4"}, names); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}

// TestInspectProblems: a file that is missing or damaged is one problem, a tensor that
// is missing or does not fit is one each.
func TestInspectProblems(t *testing.T) {
	p := grow(t, fixture("mamba1"), 4, 2, 1)
	remove(t, filepath.Join(p.Dir, hub.EncoderFile(1)))
	if err := os.Truncate(filepath.Join(p.Dir, hub.EncoderFile(2)), 1000); err != nil {
		t.Fatal(err)
	}
	index := filepath.Join(p.Dir, safetensors.IndexFile)
	replace(t, index, "backbone.layers.1.mixer.D", "backbone.layers.1.mixer.Q")
	replace(t, filepath.Join(p.Dir, "config.json"), `"state_size": 8`, `"state_size": 7`)

	r := hub.Inspect(open(t, p.Dir))
	for _, want := range []string{
		hub.EncoderFile(1) + `: tensor "backbone.encoders.1.layers.0.mixer.in_proj.weight": shard is missing`,
		hub.EncoderFile(2),
		`backbone.layers.1.mixer.D [64]`,
		"backbone.layers.0.mixer.A_log: expected shape [64 7], found [64 8]",
		"backbone.layers.1.mixer.A_log: expected shape [64 7], found [64 8]",
		"backbone.layers.0.mixer.x_proj.weight: expected shape [16 64], found [18 64]",
		"backbone.layers.1.mixer.x_proj.weight: expected shape [16 64], found [18 64]",
	} {
		found := 0
		for _, p := range r.Problems {
			if strings.Contains(p, want) {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%d problems say %q", found, want)
		}
	}
	if len(r.Problems) != 7 {
		t.Errorf("%d problems:\n%s", len(r.Problems), strings.Join(r.Problems, "\n"))
	}
	if diff := cmp.Diff([]string{"backbone.layers.1.mixer.Q"}, r.Surplus); diff != "" {
		t.Errorf("surplus (-want +got):\n%s", diff)
	}
	for _, f := range r.Files {
		if (f.Bytes < 0) != (f.Name == hub.EncoderFile(1)) {
			t.Errorf("%s has %d bytes", f.Name, f.Bytes)
		}
	}
}

// TestInspectStoredType: the report shows the files, not what reading makes of them
// (mamba2-mini's out_proj is divided in f32).
func TestInspectStoredType(t *testing.T) {
	if r := hub.Inspect(open(t, mini)); len(r.DiskBytes) != 1 || r.DiskBytes["BF16"] != 28_952_160 {
		t.Errorf("on disk %v", r.DiskBytes)
	}
}

// TestInspectMany: of 10,000 encoders never more than one file is open.
func TestInspectMany(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 10,000 files")
	}
	const encoders = 10_000
	seed := grow(t, fixture("mamba1"), 2, 2, 1)
	cfg := *seed.Config
	cfg.Swarm.Router.NumEncoders = encoders
	dir := t.TempDir()
	if err := cfg.Save(dir); err != nil {
		t.Fatal(err)
	}
	weightMap := map[string]string{}
	for _, spec := range cfg.Swarm.Tensors() {
		weightMap[spec.Name] = hub.FileOf(spec)
	}
	if err := safetensors.WriteIndex(dir, weightMap, 0); err != nil {
		t.Fatal(err)
	}
	// The core and encoder 1, under the name of each encoder: header and size alike.
	data, err := os.ReadFile(filepath.Join(seed.Dir, hub.CoreFile))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, hub.CoreFile), string(data))
	if data, err = os.ReadFile(filepath.Join(seed.Dir, hub.EncoderFile(1))); err != nil {
		t.Fatal(err)
	}
	n := 8 + int(data[0]) + int(data[1])<<8
	for e := range encoders {
		name := fmt.Sprintf("encoders.%d.", e)
		header := strings.TrimRight(strings.ReplaceAll(string(data[8:n]), "encoders.1.", name), " ")
		header += strings.Repeat(" ", -len(header)&7)
		raw := append([]byte{byte(len(header)), byte(len(header) >> 8), 7: 0}, header...)
		path := filepath.Join(dir, hub.EncoderFile(e))
		write(t, path, string(raw))
		if err := os.Truncate(path, int64(len(raw)+len(data)-n)); err != nil { // the weights are a hole
			t.Fatal(err)
		}
	}
	p := open(t, dir)
	start := time.Now()
	r := hub.Inspect(p)
	elapsed := time.Since(start)
	t.Logf("%d encoders inspected in %v", encoders, elapsed)
	if open, err := os.ReadDir("/proc/self/fd"); err == nil && len(open) > 500 {
		t.Errorf("%d files are open", len(open))
	}
	// The router's tables are those of 2 encoders.
	for _, p := range r.Problems {
		if !strings.Contains(p, "found [2") {
			t.Error(p)
		}
	}
	if last := r.Tree[len(r.Tree)-1]; last.Count != encoders || len(r.Files) != encoders+1 {
		t.Errorf("%d encoders alike, %d files", last.Count, len(r.Files))
	}
	if elapsed > 3*time.Minute {
		t.Errorf("took %v", elapsed)
	}
}

// TestMemoryOfEncoders: the report's bytes for an encoder are those that the pool
// holds for it.
func TestMemoryOfEncoders(t *testing.T) {
	b := testkit.Backend(t, backend.Go)
	p := grow(t, fixture("mamba2-bias"), 4, 2, 2)
	for _, precision := range []swarm.Precision{swarm.F32, swarm.BF16, swarm.Int8} {
		m, err := swarm.Load(b, p.Config.Swarm, p, swarm.Options{Precision: precision})
		if err != nil {
			t.Fatal(err)
		}
		s, err := m.NewSession("")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Feed(t.Context(), []int32{1, 2, 3}); err != nil {
			t.Fatal(err)
		}
		stats := m.Pool().Stats()
		fewer := p.Config.Swarm
		fewer.Router.EncodersPerToken = 1
		one := p.Config.Swarm.MemoryBytes(precision) - fewer.MemoryBytes(precision)
		if stats.Resident != 2 || stats.Bytes != 2*one {
			t.Errorf("%s: %d encoders have %d bytes in the pool, the report says %d each", precision, stats.Resident, stats.Bytes, one)
		}
		s.Close()
		m.Close()
	}
}

func TestReportJSON(t *testing.T) {
	r := hub.Inspect(open(t, mini))
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back hub.Report
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, &back); diff != "" {
		t.Errorf("report read back (-want +got):\n%s", diff)
	}
}
