package hub_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/model/config"
)

var update = flag.Bool("update", false, "rewrite the expected model cards in testdata")

const evaluation = `{"results": [
	{"dataset": "held-out text", "metric": "loss", "unit": "nats per token", "value": 2.7840},
	{"dataset": "wiki|pages", "metric": "accuracy", "value": 1e-3}],
	"command": "mes eval -o eval.json", "commit": "0123abc", "machine": "2 CPUs", "date": "2026-11-24"}`

// TestCard compares whole cards, whose front matter a YAML library then reads.
func TestCard(t *testing.T) {
	swarmDir := t.TempDir()
	write(t, filepath.Join(swarmDir, "eval.json"), evaluation)
	write(t, filepath.Join(swarmDir, "LICENSE"), "x")
	write(t, filepath.Join(swarmDir, "tokenizer.json"), "{}")
	mkdir(t, filepath.Join(swarmDir, "licences"))
	write(t, filepath.Join(swarmDir, "licences/some text (1)"), "x")
	preset, err := config.Preset("small")
	if err != nil {
		t.Fatal(err)
	}
	preset.Swarm.Router.Domains = []string{"law", "code", "a|b", "*x*", "<script>", "f", "g", "h"}
	for name, c := range map[string]struct {
		dir    string
		config *config.Config
		about  hub.About
		want   map[string]any
	}{
		"card_swarm.md": {swarmDir, preset, hub.About{
			Repo: "somebody/a-swarm", BaseModel: "somebody/base", Language: []string{"en", "no"},
			Related: []hub.Related{{Title: "Full-precision weights", URL: "https://example.org/somebody/weights"}},
		}, map[string]any{
			"license": "other", "license_name": "see-licence-file", "license_link": "LICENSE",
			"language": []any{"en", "no"}, "library_name": "transformers", "pipeline_tag": "text-generation",
			"base_model": "somebody/base", "tags": []any{"mamba", "mamba2", "mamba_swarm", "custom_code"},
			"model-index": []any{map[string]any{"name": "a-swarm", "results": []any{
				map[string]any{"task": map[string]any{"type": "text-generation"},
					"dataset": map[string]any{"type": "held-out text", "name": "held-out text"},
					"metrics": []any{map[string]any{"type": "loss", "value": 2.784, "name": "loss, nats per token"}}},
				map[string]any{"task": map[string]any{"type": "text-generation"},
					"dataset": map[string]any{"type": "wiki|pages", "name": "wiki|pages"},
					"metrics": []any{map[string]any{"type": "accuracy", "value": 1e-3}}},
			}}},
		}},
		"card_plain.md": {t.TempDir(), open(t, fixture("mamba1")).Config, hub.About{Repo: "plain", License: "apache-2.0"}, map[string]any{
			"license": "apache-2.0", "library_name": "transformers", "pipeline_tag": "text-generation", "tags": []any{"mamba"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			card, err := hub.Card(c.dir, c.config, c.about)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name)
			if *update {
				write(t, path, string(card))
			}
			golden, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(golden), string(card)); diff != "" {
				t.Errorf("(-%s +card):\n%s", path, diff)
			}
			if diff := cmp.Diff(c.want, readFrontMatter(t, card)); diff != "" {
				t.Errorf("front matter (-want +got):\n%s", diff)
			}
		})
	}
}

// readFrontMatter reads the YAML at the top of a card with a library.
func readFrontMatter(t *testing.T, card []byte) map[string]any {
	t.Helper()
	parts := strings.SplitN(string(card), "---\n", 3)
	if len(parts) != 3 || parts[0] != "" {
		t.Fatalf("no front matter:\n%s", card)
	}
	var values map[string]any
	if err := yaml.Unmarshal([]byte(parts[1]), &values); err != nil {
		t.Fatalf("front matter: %v\n%s", err, parts[1])
	}
	return values
}

// TestCardText: names from a configuration or an evaluation stay text, in YAML and in
// Markdown.
func TestCardText(t *testing.T) {
	for _, text := range []string{"no", "null", "1.5", "a: b", "- x", "#x", "'", `"`, "a\nb: c", "&a *a", "---\n---", "<b>|`x`|</b>", "\u2028", "ö", "~", "@x", "{a}", "%"} {
		dir := t.TempDir()
		c := open(t, fixture("mamba2")).Config
		about := hub.About{Repo: "r", BaseModel: text, License: text, LicenseName: text, LicenseLink: text, Language: []string{text}}
		write(t, filepath.Join(dir, "eval.json"), `{"results": [{"dataset": `+quote(t, text)+`, "metric": `+quote(t, text)+`, "unit": "u", "value": 1}]}`)
		card, err := hub.Card(dir, c, about)
		if err != nil {
			t.Fatal(err)
		}
		values := readFrontMatter(t, card)
		for _, key := range []string{"base_model", "license", "license_name", "license_link"} {
			if values[key] != text {
				t.Errorf("%s: %q is read as %#v", key, text, values[key])
			}
		}
		if strings.Contains(strings.SplitN(string(card), "---\n", 3)[2], "<b>") {
			t.Errorf("%q is HTML in the card:\n%s", text, card)
		}
	}
}

// TestCardName: a folder's name that a shell or Python would read otherwise is not
// in the commands.
func TestCardName(t *testing.T) {
	for name, want := range map[string]string{"a/b-c.1": `"a/b-c.1"`, `x" + "`: `"FOLDER"`, "-x": `"FOLDER"`, "a b": `"FOLDER"`} {
		card, err := hub.Card(t.TempDir(), open(t, fixture("mamba2")).Config, hub.About{Repo: name})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(card), "from_pretrained("+want+")") {
			t.Errorf("%q: no command for %s:\n%s", name, want, card)
		}
	}
}

// TestWriteCard: a card that somebody wrote is kept, one of ours is written anew.
func TestWriteCard(t *testing.T) {
	dir := t.TempDir()
	c := open(t, fixture("mamba2")).Config
	path := filepath.Join(dir, hub.CardFile)
	for _, step := range []struct {
		before, repo string
		wrote        bool
		holds        string
	}{
		{"", "one", true, "# one\n"},
		{"", "two", true, "# two\n"},
		{"# mine\n", "three", false, "# mine\n"},
		{"", "four", false, "# mine\n"},
	} {
		if step.before != "" {
			write(t, path, step.before)
		}
		wrote, err := hub.WriteCard(dir, c, hub.About{Repo: step.repo})
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if wrote != step.wrote || !strings.Contains(string(data), step.holds) {
			t.Errorf("%s: wrote %v, want %v:\n%s", step.repo, wrote, step.wrote, data)
		}
	}
	if got := entries(t, dir); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
}

// TestWriteCardKeeps: what only the card says survives its rewriting.
func TestWriteCardKeeps(t *testing.T) {
	dir := t.TempDir()
	c := open(t, fixture("mamba2")).Config
	about := hub.About{Repo: "one", License: "mit", Language: []string{"en", "no"}, BaseModel: "some/base"}
	for _, about := range []hub.About{about, {Repo: "two"}, {Repo: "three", License: "apache-2.0"}} {
		if _, err := hub.WriteCard(dir, c, about); err != nil {
			t.Fatal(err)
		}
		front := readFrontMatter(t, []byte(content(t, filepath.Join(dir, hub.CardFile))))
		want := "mit"
		if about.License != "" {
			want = about.License
		}
		if front["license"] != want || front["base_model"] != "some/base" || len(front["language"].([]any)) != 2 {
			t.Errorf("%s: front matter %v", about.Repo, front)
		}
	}
}

func TestEvaluationErrors(t *testing.T) {
	c := open(t, fixture("mamba2")).Config
	for name, e := range map[string]struct{ file, want string }{
		"no json":       {`loss 2.7`, "invalid character"},
		"unknown key":   {`{"loss": 2.7}`, `unknown field "loss"`},
		"no dataset":    {`{"results": [{"metric": "loss", "value": 1}]}`, "result 0: dataset and metric must be named"},
		"no metric":     {`{"results": [{"dataset": "x", "value": 1}]}`, "result 0: dataset and metric must be named"},
		"no value":      {`{"results": [{"dataset": "x", "metric": "loss"}]}`, "result 0: value is missing"},
		"value is text": {`{"results": [{"dataset": "x", "metric": "loss", "value": "good"}]}`, "invalid number"},
		"two objects":   {`{} {}`, "something follows"},
		"too large":     {`{"date": "` + strings.Repeat("x", 1<<20) + `"}`, "larger than"},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "eval.json"), e.file)
		if _, err := hub.Card(dir, c, hub.About{}); err == nil || !strings.Contains(err.Error(), e.want) || !strings.Contains(err.Error(), "eval.json") {
			t.Errorf("%s: error %v does not say %q and the file", name, err, e.want)
		}
	}
}
