package hub

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadAbout(t *testing.T) {
	for name, c := range map[string]struct {
		card string
		want About
	}{
		"none":       {"# title\n", About{}},
		"unfinished": {"---\nlicense: mit\n", About{}},
		"empty":      {"---\n---\n", About{}},
		"plain":      {"---\nlicense: mit\nlanguage: en\n---\n", About{License: "mit", Language: []string{"en"}}},
		"quoted":     {"---\nlicense: \"mit\"\nlanguage: ['en', \"de\"]\n---\n", About{License: "mit", Language: []string{"en", "de"}}},
		"list":       {"---\r\nlanguage:\r\n- en\r\n  - de\r\ntags:\r\n- x\r\n---\r\n", About{Language: []string{"en", "de"}}},
		"other": {"---\nlicense: other\nlicense_name: their own\nlicense_link: https://example.org/l#1\n---\n",
			About{License: "other", LicenseName: "their own", LicenseLink: "https://example.org/l#1"}},
		"alias":     {"---\na: &x mit\nlicense: *x\n---\n", About{}},
		"block":     {"---\nlicense: |\n  mit\n---\n", About{}},
		"two":       {"---\nlicense:\n- mit\n- apache-2.0\n---\n", About{}},
		"mapping":   {"---\nlicense: {a: b}\n---\n", About{}},
		"in text":   {"---\ntags: []\n---\nlicense: mit\n", About{}},
		"long":      {"---\n" + strings.Repeat("x: y\n", maxFrontMatter) + "license: mit\n---\n", About{}},
		"below key": {"---\nx:\n  license: mit\n---\n", About{}},
	} {
		if diff := cmp.Diff(c.want, readAbout([]byte(c.card))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// FuzzReadAbout: what is read of any card is plain text that a card can hold again.
func FuzzReadAbout(f *testing.F) {
	f.Add("---\nlicense: mit\nlanguage:\n- en\n---\n")
	f.Add("---\nlicense: 'x'\nlanguage: [en, \"de\"]\nlicense_link: https://example.org\n---\n# x")
	f.Fuzz(func(t *testing.T, card string) {
		about := readAbout([]byte(card))
		for _, text := range append(about.Language, about.License, about.LicenseName, about.LicenseLink) {
			if strings.ContainsAny(text, "\n\r`<>\"'") {
				t.Errorf("%q", text)
			}
		}
		again := "---\nlicense: " + yamlString(about.License) + "\n---\n"
		if got := readAbout([]byte(again)).License; got != about.License {
			t.Errorf("%q is read back as %q", about.License, got)
		}
	})
}

// FuzzEvaluation: nothing but numbers is ever shown as a value.
func FuzzEvaluation(f *testing.F) {
	f.Add([]byte(`{"results": [{"dataset": "x", "metric": "loss", "unit": "nats", "value": 2.5}], "date": "2026"}`))
	f.Add([]byte(`{"results": [{"dataset": "x", "metric": "loss", "value": "1e3"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parseEvaluation(data)
		if err != nil {
			return
		}
		for _, r := range e.Results {
			if strings.Trim(string(r.Value), "0123456789.eE+-") != "" || r.Value == "" {
				t.Errorf("value %q", r.Value)
			}
		}
	})
}
