package data

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// validManifest is the text of a data.json.
func validManifest(t testing.TB) []byte {
	t.Helper()
	cfg := config(t, write(t, map[string]string{"train/a.jsonl": texts(t, "one"), "train/b.jsonl": texts(t, "two"), "valid/a.jsonl": texts(t, "three")}))
	prepare(t, cfg)
	text, err := os.ReadFile(filepath.Join(cfg.Out, ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestBadManifests(t *testing.T) {
	good := string(validManifest(t))
	for name, c := range map[string]struct{ old, new, want string }{
		"version":         {`"version": 1`, `"version": 2`, "version 2; this program reads version 1"},
		"unknown key":     {`"version": 1`, `"version": 1, "odd": 1`, "odd"},
		"path":            {"train/a-00000.tok", "../a-00000.tok", "want train/a-00000.tok"},
		"sum":             {`"documents": 1`, `"documents": 2`, "add up"},
		"negative":        {`a-00000.tok",` + "\n              " + `"documents": `, `a-00000.tok",` + "\n" + `"documents": -`, "impossible size"},
		"domain's name":   {`"name": "a"`, `"name": "a/b"`, "is no name of a domain"},
		"domain's order":  {`"name": "a"`, `"name": "z"`, "names must rise"},
		"split's name":    {`"name": "valid"`, `"name": "other"`, `splits: "other"`},
		"unknown domain":  {`"domain": "b"`, `"domain": "c"`, `domain "c" is unknown`},
		"tokenizer's sum": {`"sha256": "`, `"sha256": "x`, "sha256"},
		"vocabulary":      {`"vocab_size": 290`, `"vocab_size": 0`, "vocab_size 0"},
		"cut":             {good[len(good)-9:], "", "unexpected end"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(good, c.old, c.new, 1)
			if changed == good {
				t.Fatalf("%q is not there", c.old)
			}
			if _, err := ParseManifest([]byte(changed)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// FuzzManifest parses any text. What is accepted names files inside of the folder alone and
// is accepted again when it is written.
func FuzzManifest(f *testing.F) {
	f.Add(validManifest(f))
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseManifest(text)
		if err != nil {
			return
		}
		for _, s := range m.Splits {
			for _, p := range s.Domains {
				for _, shard := range p.Shards {
					if !filepath.IsLocal(shard.File) {
						t.Fatalf("file %q", shard.File)
					}
				}
			}
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseManifest(again); err != nil {
			t.Fatalf("%s is refused: %v", again, err)
		}
	})
}

// FuzzLines reads any file of JSON lines: it never panics, gives valid UTF-8, and gives what
// encoding/json reads of a line that is sound.
func FuzzLines(f *testing.F) {
	f.Add([]byte(`{"text":"a","id":1}` + "\n" + `{"text":"b\ud83d","group":"g"}`))
	f.Add([]byte("\uFEFF{\"text\":\"caf\xe9\"}\n\n  \nnull"))
	f.Fuzz(func(t *testing.T, file []byte) {
		rules := Rules{InvalidUTF8: Repair}
		if err := rules.complete(); err != nil {
			t.Fatal(err)
		}
		var counts Counts
		s := sources{rules: &rules, counts: &counts, most: 1 << 16, found: func(string) {}, emit: func(doc document) error {
			if strings.ToValidUTF8(doc.text, "") != doc.text || strings.TrimSpace(doc.text) == "" || doc.domain != "d" || doc.group == "" {
				t.Fatalf("%+v", doc)
			}
			return nil
		}}
		_ = s.lines(strings.NewReader(string(file)), document{where: "f", place: "f", domain: "d", split: Train})
		rec, err := parseLine(file, &rules)
		var plain struct{ Text *string }
		if json.Unmarshal(file, &plain) == nil && err == nil && plain.Text != nil && !rec.broken && !strings.Contains(strings.ToLower(string(file)), `"t\u`) {
			var exact map[string]json.RawMessage
			if json.Unmarshal(file, &exact) == nil && exact["text"] != nil && len(exact) == 1 && *plain.Text != rec.text {
				t.Fatalf("%q, want %q", rec.text, *plain.Text)
			}
		}
	})
}
