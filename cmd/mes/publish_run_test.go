package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// trainingFiles writes what a tiny run is trained with: data of two domains, a plan of
// 12 steps, and the configuration and tokenizer of a swarm.
func trainingFiles(t *testing.T, swarm string) (args []string) {
	t.Helper()
	dir := t.TempDir()
	for _, split := range []string{"train", "valid"} {
		for _, domain := range []string{"cats", "hats"} {
			path := filepath.Join(dir, "corpus", split, domain+".jsonl")
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			for i := range 20 {
				fmt.Fprintf(&text, "{\"text\":\"%s %d sat on the mat with %s of %s %s\"}\n", domain, i, domain, domain, split)
			}
			if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	plan := filepath.Join(dir, "the-plan.json")
	err := os.WriteFile(plan, []byte(`{"seed": 1, "seq_len": 8, "batch": 2, "capacity": 2, "log_every": 1, "checkpoint_every": 4,
		"phases": [{"phase": "joint", "tokens": 192, "lr": 0.01}]}`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	m := &Main{Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer), Env: func(string) string { return "" }}
	data := filepath.Join(dir, "data")
	if code := m.Run(t.Context(), []string{"data", "prepare", "-tokenizer", swarm, "-o", data, filepath.Join(dir, "corpus")}); code != exitOK {
		t.Fatalf("data prepare: %v", m.Stderr)
	}
	return []string{"train", "-backend", "go", "-config", filepath.Join(swarm, "config.json"), "-plan", plan, "-data", data, "-tokenizer", swarm}
}

// finish trains to the end and returns what was said.
func finish(t *testing.T, args []string) (stderr string) {
	t.Helper()
	var said bytes.Buffer
	m := &Main{Stdin: strings.NewReader(""), Stdout: new(bytes.Buffer), Stderr: &said, Env: func(string) string { return "" }}
	if code := m.Run(t.Context(), args); code != exitOK {
		t.Fatalf("mes %v: exit code %d: %s", args, code, &said)
	}
	return said.String()
}

// killed copies a complete run as one of which a kill left the checkpoints up to a step.
func killed(t *testing.T, run, to string, step int) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(run)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(to, "model")); err != nil {
		t.Fatal(err)
	}
	manifests, err := filepath.Glob(filepath.Join(to, runCheckpoints, "steps", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifests {
		if n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(m), ".json")); err != nil || n > step {
			if err := errors.Join(err, os.Remove(m)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// recordedSteps are the steps of a run's records.
func recordedSteps(t *testing.T, run string) (steps []int64) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(run, telemetry.MetricsFile))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var r struct{ Step int64 }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, r.Step)
	}
	return steps
}

// checkpointsOf lists the steps that the weights repo has a checkpoint of.
func (h *hubbed) checkpointsOf() (names []string) {
	for _, name := range h.files(weightsRepo) {
		if strings.HasPrefix(name, publishedCheckpoints+"/steps/") {
			names = append(names, filepath.Base(name))
		}
	}
	return names
}

// TestPublishRun: whoever downloads a published run goes on from its checkpoint, and
// ends with the weights of a run that was never stopped, to the bit. A newer checkpoint
// takes the place of the one before.
func TestPublishRun(t *testing.T) {
	t.Parallel()
	swarm, h := tinySwarm(t, 2), withHub(t)
	dir := t.TempDir()
	train := trainingFiles(t, swarm)
	whole, run := filepath.Join(dir, "whole"), filepath.Join(dir, "run")
	finish(t, append(train, "-o", whole))
	killed(t, whole, run, 8)
	publish := []string{"publish", "-source", source(t), "-run", run, swarm}
	_, _, stderr := h.run(publish...)
	if !strings.Contains(stderr, "the checkpoint of step 8 goes along") {
		t.Errorf("publish says %q", stderr)
	}
	if got := h.checkpointsOf(); !slices.Equal(got, []string{"8.json"}) {
		t.Fatalf("checkpoints %v", got)
	}
	before := h.heads()
	if out := h.must(publish...); strings.Count(out, "unchanged") != 3 || h.heads() != before {
		t.Errorf("a second run: %s", out)
	}

	// what the card says
	if card := h.file(weightsRepo, "README.md"); !strings.Contains(card, "mes download -include 'checkpoint/*' -local-dir weights alice/mamba-swarm-weights") {
		t.Errorf("the card does not say how to go on:\n%s", card)
	}
	local := filepath.Join(dir, "weights")
	h.must("download", "-include", "checkpoint/*", "-local-dir", local, weightsRepo.ID)
	resumed := filepath.Join(local, hub.CheckpointFolder)
	again := slices.Clone(train)
	again[4], again[6] = filepath.Join(resumed, "config.json"), filepath.Join(resumed, "plan.json")
	if said := finish(t, append(again, "-o", resumed)); !strings.Contains(said, "records cut\" after_step=8") {
		t.Errorf("it did not go on at step 8:\n%s", said)
	}
	if got, want := recordedSteps(t, resumed), recordedSteps(t, whole); !slices.Equal(got, want) {
		t.Errorf("records of steps %v, want %v", got, want)
	}
	for _, name := range []string{hub.CoreFile, hub.EncoderFile(0), hub.EncoderFile(1)} {
		got, err := os.ReadFile(filepath.Join(resumed, "model", name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(whole, "model", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not that of a run without a stop: %v", name, err)
		}
	}

	h.must(append(publish[:len(publish)-3:len(publish)-3], "-run", resumed, filepath.Join(resumed, "model"))...)
	if got := h.checkpointsOf(); !slices.Equal(got, []string{"12.json"}) {
		t.Errorf("checkpoints %v", got)
	}
	var manifest struct {
		Checkpoint struct{ Tensors []struct{ SHA256 string } }
	}
	if err := json.Unmarshal([]byte(h.file(weightsRepo, publishedCheckpoints+"/steps/12.json")), &manifest); err != nil {
		t.Fatal(err)
	}
	objects := map[string]bool{}
	for _, tensor := range manifest.Checkpoint.Tensors {
		objects[tensor.SHA256] = true
	}
	for _, name := range h.files(weightsRepo) {
		if strings.HasPrefix(name, publishedCheckpoints+"/objects/") && !objects[filepath.Base(name)] {
			t.Errorf("%s is left over", name)
		}
	}
}

// TestPublishRunDamaged: a checkpoint that does not have its hashes is not published.
func TestPublishRunDamaged(t *testing.T) {
	t.Parallel()
	swarm, h := tinySwarm(t, 2), withHub(t)
	run := filepath.Join(t.TempDir(), "run")
	finish(t, append(trainingFiles(t, swarm), "-o", run))
	killed(t, run, run+"-killed", 4)
	run += "-killed"
	objects, err := filepath.Glob(filepath.Join(run, runCheckpoints, "objects", "*", "*"))
	if err != nil || len(objects) == 0 {
		t.Fatal(err, objects)
	}
	data, err := os.ReadFile(objects[0])
	if err != nil {
		t.Fatal(err)
	}
	data[0] ^= 1
	if err := os.WriteFile(objects[0], data, 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := h.run("publish", "-source", source(t), "-run", run, swarm)
	if code != exitFailed || !strings.Contains(stderr, "checkpoint 4") || !strings.Contains(stderr, "is corrupt") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	for _, call := range h.hub.take() {
		if !strings.HasPrefix(call, "GET") {
			t.Errorf("it sent %s", call)
		}
	}
}
