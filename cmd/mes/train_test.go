package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// sentences makes text of a domain.
var sentences = map[string]func(r *rand.Rand) string{
	"birds": func(r *rand.Rand) string {
		return fmt.Sprintf("The %s nests near the %s and lays %d eggs. ", oneOf(r, "heron", "wren", "rook", "owl"), oneOf(r, "river", "cliff", "oak"), 2+r.IntN(7))
	},
	"law": func(r *rand.Rand) string {
		return fmt.Sprintf("SECTION %d. The %s SHALL perform all duties under this %s. ", 10+r.IntN(80), oneOf(r, "SELLER", "TENANT", "CARRIER"), oneOf(r, "LEASE", "DEED"))
	},
	"code": func(r *rand.Rand) string {
		return fmt.Sprintf("if (%s[%d] != 0) { %s += %d; }\n", oneOf(r, "buf", "row", "tab"), r.IntN(64), oneOf(r, "n", "k", "len"), r.IntN(9))
	},
	"numbers": func(r *rand.Rand) string {
		return fmt.Sprintf("%d;%d;%d;%d;%d\n", 100+r.IntN(900), 100+r.IntN(900), r.IntN(100), r.IntN(100), r.IntN(10))
	},
}

func oneOf(r *rand.Rand, words ...string) string { return words[r.IntN(len(words))] }

// writeTexts makes n texts of a domain.
func writeTexts(t *testing.T, dir, domain string, n int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(uint64(n), uint64(len(domain))))
	for i := range n {
		var text strings.Builder
		for text.Len() < 700 {
			text.WriteString(sentences[domain](r))
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i, ".txt")), []byte(text.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// must runs mes and returns what it printed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	m, stdout, stderr := program(t, "")
	if code := m.Run(t.Context(), args); code != exitOK {
		t.Fatalf("mes %s: exit code %d: %s", strings.Join(args, " "), code, stderr)
	}
	return stdout.String()
}

// TestTrainSwarm goes from texts to a swarm with scripts/train/tiny, made narrower
// for the time: prepare, train, generate; then one more domain is added.
func TestTrainSwarm(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: it trains")
	}
	root, err := testkit.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	for _, domain := range []string{"birds", "law", "code"} {
		writeTexts(t, at("texts/train/"+domain), domain, 60)
		writeTexts(t, at("texts/valid/"+domain), domain, 8)
	}
	if err := tiny(at("tok"), nil); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(root, "scripts", "train", "tiny", "config.json"), at("config.json"), map[string]any{
		"vocab_size": 264, "hidden_size": 32, "num_heads": 4, "head_dim": 16, "num_hidden_layers": 3, "num_encoder_layers": 1, "state_size": 8,
		"router_dim": 16, "aggregator_dim": 16, "encoder_domains": []string{"general", "birds", "law", "code"},
	})
	phase := func(kind string) map[string]any {
		return map[string]any{"phase": kind, "tokens": 40 * 8 * 64, "lr": 0.01, "warmup": 5, "lr_floor": 0.1}
	}
	joint := phase("joint")
	joint["teach"], joint["losses"] = true, map[string]any{"z": 0.001, "aggregator": 0.05, "domain": 0.3}
	edit(t, filepath.Join(root, "scripts", "train", "tiny", "plan.json"), at("plan.json"), map[string]any{
		"seq_len": 64, "validate_rows": 16, "phases": []any{phase("seed"), joint},
	})
	must(t, "data", "prepare", "-tokenizer", at("tok"), "-o", at("data"), at("texts"))
	must(t, "train", "-backend", "go", "-config", at("config.json"), "-plan", at("plan.json"), "-data", at("data"), "-o", at("run"))
	records := recordsOf(t, at("run"))
	first, last := records[0].Losses["cross_entropy"], records[len(records)-1].Losses["cross_entropy"]
	if !(last < first/2) {
		t.Errorf("cross-entropy from %.2f to %.2f nats, want less than half", first, last)
	}
	if out := must(t, "generate", "-backend", "go", "-model", at("run/model"), "-max-tokens", "12", "The heron nests"); len(out) < 5 {
		t.Errorf("generated %q", out)
	}
	t.Logf("cross-entropy from %.2f to %.2f", first, last)

	writeTexts(t, at("numbers"), "numbers", 60)
	edit(t, at("plan.json"), at("add.json"), map[string]any{"pin_generalist": false, "phases": []any{phase("joint")}})
	out := must(t, "train", "-backend", "go", "-plan", at("add.json"), "-init", at("run/model"), "-add-domain", at("numbers"), "-data", at("data"), "-o", at("more"))
	t.Log(out)
	checkAdded(t, at("run/model"), at("more"))
	t.Run("int8", func(t *testing.T) { addTo(t, dir, "int8") })
	t.Run("bf16", func(t *testing.T) { addTo(t, dir, "bf16") })
	m, _, stderr := program(t, "")
	if code := m.Run(t.Context(), []string{"train", "-init", at("more/model"), "-add-domain", at("numbers"), "-o", at("again")}); code == exitOK || !strings.Contains(stderr.String(), `an encoder for "numbers" already`) {
		t.Errorf("the same domain again: exit code %d: %s", code, stderr)
	}
}

// TestTrainKeeps: of the checkpoints those stay that -keep, -keep-every and -keep-best ask
// for; which are best is read off the run's records.
func TestTrainKeeps(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	writeTexts(t, at("texts/train/birds"), "birds", 20)
	writeTexts(t, at("texts/valid/birds"), "birds", 2)
	if err := tiny(at("tok"), nil); err != nil {
		t.Fatal(err)
	}
	must(t, "data", "prepare", "-tokenizer", at("tok"), "-o", at("data"), at("texts"))
	plan := `{"seq_len": 16, "batch": 2, "log_every": 1, "checkpoint_every": 2, "validate_every": 2, "validate_rows": 4,
		"phases": [{"phase": "seed", "tokens": 640, "lr": 0.3}]}`
	if err := os.WriteFile(at("plan.json"), []byte(plan), 0o666); err != nil {
		t.Fatal(err)
	}
	must(t, "train", "-backend", "go", "-config", at("tok/config.json"), "-plan", at("plan.json"), "-data", at("data"), "-o", at("run"),
		"-keep", "1", "-keep-every", "8", "-keep-best", "2")
	text, err := os.ReadFile(at("run/metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	held := map[int64]float64{}
	for line := range bytes.Lines(text) {
		var r struct {
			Step int64    `json:"step"`
			Held *float64 `json:"valid_loss"`
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		if r.Held != nil && r.Step < 20 { // the last is saved without its loss
			held[r.Step] = *r.Held
		}
	}
	best := slices.SortedFunc(maps.Keys(held), func(a, b int64) int { return cmp.Compare(held[a], held[b]) })
	want := []string{"16.json", "20.json", "8.json"}
	for _, step := range best[:2] {
		want = append(want, fmt.Sprint(step, ".json"))
	}
	slices.Sort(want)
	want = slices.Compact(want)
	var got []string
	entries, err := os.ReadDir(at("run/checkpoints/steps"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("checkpoints %q, want %q", got, want)
	}
	t.Logf("%q, held-out losses %v", got, held)
}

// checkAdded compares a swarm with the run that added a domain to it.
func checkAdded(t *testing.T, before, run string) {
	t.Helper()
	after := filepath.Join(run, "model")
	c, err := config.Load(after)
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Swarm.Router; r.NumEncoders != 5 || !slices.Equal(r.Domains, []string{"general", "birds", "law", "code", "numbers"}) {
		t.Errorf("%d encoders, %q", r.NumEncoders, r.Domains)
	}
	sameEncoders(t, before, after)
	sameCore(t, before, after)
	text, err := os.ReadFile(filepath.Join(run, "add-domain.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got added
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Chosen < 0.7 || !(got.After < got.Before-0.1) {
		t.Errorf("new domain: chosen %.2f, %.2f nats a token, before %.2f", got.Chosen, got.After, got.Before)
	}
	if got.Others == 0 || got.Changed > 0.05 || got.Lost > 0.02 {
		t.Errorf("%d other texts: %.3f changed, %.4f nats lost", got.Others, got.Changed, got.Lost)
	}
}

// addTo adds a domain in a few steps to the swarm that TestTrainSwarm has made, stored in
// another precision: the new encoder is stored in it too, and all else keeps its bytes.
func addTo(t *testing.T, dir, precision string) {
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	before, run := at(precision), at("more-"+precision)
	must(t, "convert", "-dtype", precision, "-o", before, at("run/model"))
	edit(t, at("add.json"), at("short.json"), map[string]any{
		"phases": []any{map[string]any{"phase": "joint", "tokens": 4 * 8 * 64, "lr": 0.01}},
	})
	must(t, "train", "-backend", "go", "-plan", at("short.json"), "-init", before, "-add-domain", at("numbers"), "-data", at("data"), "-o", run)
	after := filepath.Join(run, "model")
	sameEncoders(t, before, after)
	sameCore(t, before, after)
	was, is := openSwarm(t, before), openSwarm(t, after)
	old, made := was.Config.Swarm.EncoderTensors(3), is.Config.Swarm.EncoderTensors(4)
	for i, spec := range made {
		want, _, err := was.Info(old[i].Name)
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := is.Info(spec.Name); err != nil || got != want {
			t.Errorf("%s is stored as %s, the others as %s: %v", spec.Name, got, want, err)
		}
	}
	if out := must(t, "generate", "-backend", "go", "-model", after, "-domain", "numbers", "-max-tokens", "12", "312;"); len(out) < 5 {
		t.Errorf("generated %q", out)
	}
}

// sameEncoders: the files of the first four encoders are the same to the byte, the fifth has
// learned and is as long as the others.
func sameEncoders(t *testing.T, before, after string) {
	t.Helper()
	file := func(dir string, e int) string {
		return filepath.Join(dir, fmt.Sprintf("model-encoder-%05d.safetensors", e))
	}
	made, err := os.ReadFile(file(after, 4))
	if err != nil {
		t.Fatal(err)
	}
	for e := range 4 {
		text, err := os.ReadFile(file(after, e))
		if err != nil {
			t.Fatal(err)
		}
		if sum(t, file(before, e)) != sum(t, file(after, e)) {
			t.Errorf("encoder %d changed", e)
		}
		if len(made) != len(text) || bytes.Equal(made[len(made)/2:], text[len(text)/2:]) {
			t.Errorf("the new encoder has %d bytes, encoder %d has %d, and must differ from it", len(made), e, len(text))
		}
	}
}

// sameCore: what a swarm's core has no row of an encoder in is the same to the bit, and
// the rows that were there are.
func sameCore(t *testing.T, before, after string) {
	t.Helper()
	was, is := openSwarm(t, before), openSwarm(t, after)
	for _, spec := range was.Config.Swarm.CoreTensors() {
		old, err := swarm.ReadFloats(was, spec.Name)
		if err != nil {
			t.Fatal(err)
		}
		now, err := swarm.ReadFloats(is, spec.Name)
		if err != nil {
			t.Fatal(err)
		}
		a, _, err := was.Info(spec.Name)
		if err != nil {
			t.Fatal(err)
		}
		b, shape, err := is.Info(spec.Name)
		if err != nil {
			t.Fatal(err)
		}
		if a != b || !slices.Equal(old, now[:min(len(old), len(now))]) || len(old) != len(now) && shape[0] != 5 {
			t.Errorf("%s %v changed", spec.Name, shape)
		}
	}
}

// edit writes a JSON object with some keys set.
func edit(t *testing.T, from, to string, keys map[string]any) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	object := map[string]any{}
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	for key, v := range keys {
		object[key] = v
	}
	if text, err = json.Marshal(object); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o666); err != nil {
		t.Fatal(err)
	}
}

func openSwarm(t *testing.T, dir string) *hub.Pretrained {
	t.Helper()
	p, err := hub.FromPretrained(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func recordsOf(t *testing.T, run string) []telemetry.Record {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(run, "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var records []telemetry.Record
	for line := range bytes.Lines(text) {
		var r telemetry.Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	return records
}

func sum(t *testing.T, path string) [32]byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(text)
}
