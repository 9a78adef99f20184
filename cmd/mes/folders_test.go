package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub"
)

const (
	miniDir  = "../../weights/mamba2-mini"
	fixtures = "../../model/mamba/testdata/"
)

// command line results.
type ran struct {
	code           int
	stdout, stderr string
}

// runFolders runs a command line.
func runFolders(ctx context.Context, args ...string) ran {
	var out, messages bytes.Buffer
	m := &Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &messages, Env: func(string) string { return "" }}
	code := m.Run(ctx, args)
	return ran{code, out.String(), messages.String()}
}

func TestConvertCommand(t *testing.T) {
	out := filepath.Join(t.TempDir(), "int8")
	r := runFolders(t.Context(), "convert", "-dtype", "int8", "-o", out, miniDir)
	if want := out + ": mamba2, 14,476,080 parameters, 17.9 MB\n"; r.code != exitOK || r.stdout != want || r.stderr != "" {
		t.Errorf("exit code %d, printed %q, want %q; messages %q", r.code, r.stdout, want, r.stderr)
	}
}

func TestConvertCommandNamesMissingTensors(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	grown := filepath.Join(dir, "grown")
	if r := runFolders(t.Context(), "grow", "-encoders", "3", "-active", "1", "-layers", "1", "-o", grown, fixtures+"mamba1"); r.code != exitOK {
		t.Fatal(r.stderr)
	}
	// The swarm's files with the plain model's configuration.
	config, err := os.ReadFile(fixtures + "mamba1-int8/config.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(grown, "config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	r := runFolders(t.Context(), "convert", "-o", out, grown)
	if r.code != exitFailed || !strings.Contains(r.stderr, "backbone.layers.0.norm.weight [32]") {
		t.Errorf("exit code %d, messages %q", r.code, r.stderr)
	}
}

func TestConvertCommandNamesWhatIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	data, err := os.ReadFile(fixtures + "mamba1/config.json")
	if err != nil {
		t.Fatal(err)
	}
	fewer := strings.Replace(string(data), `"num_hidden_layers": 2`, `"num_hidden_layers": 1`, 1)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(fewer), 0o644); err != nil {
		t.Fatal(err)
	}
	if data, err = os.ReadFile(fixtures + "mamba1/model.safetensors"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	r := runFolders(t.Context(), "convert", "-o", filepath.Join(dir, "out"), dir)
	want := "mes: left out 10 tensors that the model does not use: backbone.layers.1.mixer.A_log, "
	if r.code != exitOK || !strings.HasPrefix(r.stderr, want) || !strings.HasSuffix(r.stderr, " and 5 more\n") {
		t.Errorf("exit code %d, messages %q", r.code, r.stderr)
	}
}

func TestExportEncoderCommand(t *testing.T) {
	dir := t.TempDir()
	grown, out := filepath.Join(dir, "grown"), filepath.Join(dir, "out")
	if r := runFolders(t.Context(), "grow", "-encoders", "3", "-active", "2", "-layers", "1", "-o", grown, fixtures+"mamba2"); r.code != exitOK {
		t.Fatal(r.stderr)
	}
	r := runFolders(t.Context(), "export-encoder", "-o", out, grown, "1")
	if want := out + ": mamba2, "; r.code != exitOK || !strings.HasPrefix(r.stdout, want) {
		t.Errorf("exit code %d, printed %q, messages %q", r.code, r.stdout, r.stderr)
	}
	p, err := hub.FromPretrained(t.Context(), out, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if !p.Config.Swarm.Plain() {
		t.Error("the export is a swarm")
	}
}

func TestInspectCommand(t *testing.T) {
	r := runFolders(t.Context(), "inspect", miniDir)
	for _, want := range []string{"mamba2, 12 layers", "backbone.layers.0-11", "12 layers", "[1676 384]", "14,476,080, a token meets 14,476,080",
		"BF16 29.0 MB", "-dtype f32 57.9 MB", "31.9 MFLOP", "model.safetensors: 110 tensors, 29.0 MB"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("does not print %q:\n%s", want, r.stdout)
		}
	}
	if r.code != exitOK || r.stderr != "" {
		t.Errorf("exit code %d, messages %q", r.code, r.stderr)
	}
	r = runFolders(t.Context(), "inspect", "-json", miniDir)
	var report hub.Report
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || report.Parameters != 14_476_080 || r.code != exitOK {
		t.Errorf("-json: %v, %d parameters, exit code %d", err, report.Parameters, r.code)
	}
}

func TestInspectCommandSwarm(t *testing.T) {
	grown := filepath.Join(t.TempDir(), "grown")
	if r := runFolders(t.Context(), "grow", "-encoders", "100", "-active", "2", "-layers", "1", "-o", grown, fixtures+"mamba1"); r.code != exitOK {
		t.Fatal(r.stderr)
	}
	r := runFolders(t.Context(), "inspect", grown)
	for _, want := range []string{"mamba_swarm of mamba, 2 layers: 100 encoders of the first 1, 2 active; grown from mamba1",
		"100 encoders of 3 tensors, F32", "model-encoder-00000.safetensors to model-encoder-00099.safetensors: 100 files"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("does not print %q:\n%s", want, r.stdout)
		}
	}
	if n := strings.Count(r.stdout, "\n"); n > 50 {
		t.Errorf("%d lines for 100 equal encoders", n)
	}
	if err := os.Remove(filepath.Join(grown, hub.EncoderFile(7))); err != nil {
		t.Fatal(err)
	}
	r = runFolders(t.Context(), "inspect", grown)
	if r.code != exitFailed || !strings.Contains(r.stderr, "1 problem") || !strings.Contains(r.stdout, "shard is missing") {
		t.Errorf("a missing file: exit code %d, printed\n%smessages %q", r.code, r.stdout, r.stderr)
	}
}

// TestFolderCommandErrors: one sentence, an exit code, and nothing written.
func TestFolderCommandErrors(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	grown := filepath.Join(t.TempDir(), "grown")
	if r := runFolders(t.Context(), "grow", "-encoders", "3", "-active", "1", "-layers", "1", "-o", grown, fixtures+"mamba1"); r.code != exitOK {
		t.Fatal(r.stderr)
	}
	parent := t.TempDir()
	out := filepath.Join(parent, "out")
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"convert: no model":            {[]string{"convert", "-o", out}, exitUsage, "mes help convert"},
		"convert: no folder":           {[]string{"convert", miniDir}, exitUsage, "-o FOLDER"},
		"convert: unknown type":        {[]string{"convert", "-dtype", "int4", "-o", out, miniDir}, exitUsage, "choose f32, bf16 or int8"},
		"convert: not there":           {[]string{"convert", "-o", out, "nowhere"}, exitNotFound, "no such folder"},
		"convert: in use":              {[]string{"convert", "-o", full, fixtures + "mamba1"}, exitFailed, "the folder exists and is not empty"},
		"convert: not transformers'":   {[]string{"convert", "-o", out, fixtures + "original-mamba2-no-norm"}, exitUsage, "rms_norm"},
		"convert: flag after model":    {[]string{"convert", miniDir, "-o", out}, exitUsage, "mes help convert"},
		"export: no encoder":           {[]string{"export-encoder", "-o", out, grown}, exitUsage, "mes help export-encoder"},
		"export: not a number":         {[]string{"export-encoder", "-o", out, grown, "one"}, exitUsage, `"one" is not a number`},
		"export: no such encoder":      {[]string{"export-encoder", "-o", out, grown, "3"}, exitUsage, "its encoders are 0 to 2"},
		"export: plain model":          {[]string{"export-encoder", "-o", out, miniDir, "0"}, exitUsage, "without encoders"},
		"export: in use":               {[]string{"export-encoder", "-o", full, grown, "0"}, exitFailed, "not empty"},
		"export: not there":            {[]string{"export-encoder", "-o", out, "nowhere", "0"}, exitNotFound, "no such folder"},
		"inspect: no model":            {[]string{"inspect"}, exitUsage, "mes help inspect"},
		"inspect: not there":           {[]string{"inspect", "nowhere"}, exitNotFound, "no such folder"},
		"inspect: no config":           {[]string{"inspect", full}, exitNotFound, "config.json"},
		"inspect: PyTorch weights":     {[]string{"inspect", withoutSafetensors(t, fixtures+"original-mamba1")}, exitFailed, "mes convert -o DIR"},
		"grow: folder in use":          {[]string{"grow", "-layers", "1", "-o", full, fixtures + "mamba1"}, exitFailed, "not empty"},
		"grow: more active than there": {[]string{"grow", "-encoders", "2", "-active", "3", "-layers", "1", "-o", out, fixtures + "mamba1"}, exitUsage, "num_encoders_per_token: 3 exceeds"},
	} {
		t.Run(name, func(t *testing.T) {
			r := runFolders(t.Context(), c.args...)
			if r.code != c.code || !strings.Contains(r.stderr, c.want) || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("exit code %d, want %d; messages %q, want %q in one line", r.code, c.code, r.stderr, c.want)
			}
			if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

// TestConvertInterrupted ends the context as soon as there is something to clean up,
// as Ctrl-C does.
func TestConvertInterrupted(t *testing.T) {
	parent := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for ctx.Err() == nil {
			if found, _ := filepath.Glob(filepath.Join(parent, ".out.partial-*", "*")); len(found) > 0 {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	})
	r := runFolders(ctx, "convert", "-dtype", "f32", "-o", filepath.Join(parent, "out"), miniDir)
	cancel()
	watcher.Wait()
	if r.code != exitInterrupted || r.stderr != "mes: interrupted\n" {
		t.Errorf("exit code %d, messages %q", r.code, r.stderr)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
