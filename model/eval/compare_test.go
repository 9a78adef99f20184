package eval

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// made is a report with two domains of the given nats a token; four tokens hold ten
// bytes.
func made(name string, nats ...float64) *Report {
	r := &Report{Version: reportVersion, Model: Model{Name: name, Layers: 2, ActiveLayers: 3, HiddenSize: 16, Parameters: 100, DType: "f32"},
		Data: &Data{Name: "d", Split: "valid", TextSHA256: "t", TokenizerSHA256: "k"}, Text: &Text{}}
	for i, n := range nats {
		f := Figures{NatsPerToken: n, BitsPerByte: 4 * n / 10 / math.Ln2, Bytes: 10, Tokens: 4, Documents: 1}
		r.Text.Domains = append(r.Text.Domains, DomainFigures{string(rune('a' + i)), f})
		r.Text.Mean.NatsPerToken += n / float64(len(nats))
		r.Text.Mean.BitsPerByte += f.BitsPerByte / float64(len(nats))
	}
	return r
}

// TestCompare works ratios and spreads out by hand.
func TestCompare(t *testing.T) {
	a := Side{"swarm", []*Report{made("s0", 1.0, 2.0), made("s1", 1.2, 2.2)}}
	b := Side{"dense", []*Report{made("d0", 1.2, 2.4)}}
	a.Reports[0].Tasks = []Task{{Name: "x", SHA256: "1", Accuracy: 0.5}, {Name: "y", SHA256: "2"}}
	a.Reports[1].Tasks = []Task{{Name: "x", SHA256: "1", Accuracy: 0.7}}
	b.Reports[0].Tasks = []Task{{Name: "z", SHA256: "2", Accuracy: 0.1}, {Name: "x", SHA256: "1", Accuracy: 0.4}}
	c, err := Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "ratio", c.Mean.Ratio.Mean, math.Exp(1.6-1.8))
	near(t, "its deviation", c.Mean.Ratio.Deviation, math.Exp(-0.2)*math.Sqrt(0.02))
	near(t, "ratio of a", c.Domains[0].Ratio.Mean, math.Exp(1.1-1.2))
	near(t, "ratio of bytes", c.Mean.ByteRatio.Mean, math.Exp(0.4*(1.6-1.8)))
	near(t, "bits", c.Mean.A.Mean, 1.6*0.4/math.Ln2)
	near(t, "deviation of one run", c.Mean.B.Deviation, 0)
	if len(c.Tasks) != 1 || c.Tasks[0].Name != "x" {
		t.Fatalf("tasks %+v", c.Tasks)
	}
	near(t, "accuracy", c.Tasks[0].A.Mean, 0.6)
	near(t, "accuracy's deviation", c.Tasks[0].A.Deviation, math.Sqrt(0.02))
	if len(c.Notes) != 1 {
		t.Errorf("notes %q", c.Notes)
	}
	text := string(c.Markdown())
	for _, want := range []string{"swarm beside dense", "(-18.1 %)", "0.9233 ± 0.0816", "| a | ", "0.6000 ± 0.1414"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestCompareUnequal: what differs is said, or refused.
func TestCompareUnequal(t *testing.T) {
	side := func(r *Report) Side { return Side{r.Model.Name, []*Report{r}} }
	other := made("o", 1, 2)
	other.Data.TokenizerSHA256, other.Data.TextSHA256, other.Model.ActiveLayers, other.Model.DType = "l", "u", 9, "int8"
	c, err := Compare(side(made("m", 1, 2)), side(other))
	if err != nil || c.Mean.Ratio != nil || c.Mean.ByteRatio.Mean != 1 || len(c.Notes) != 4 {
		t.Errorf("%+v, %v", c, err)
	}
	for name, change := range map[string]func(*Report){
		"text":   func(r *Report) { r.Data.TextSHA256 = "u" },
		"bytes":  func(r *Report) { r.Text.Domains[1].Bytes++ },
		"domain": func(r *Report) { r.Text.Domains = r.Text.Domains[:1] },
	} {
		other := made("o", 1, 2)
		change(other)
		if _, err := Compare(side(made("m", 1, 2)), side(other)); err == nil || !strings.Contains(err.Error(), "m and o were measured on different text") {
			t.Errorf("%s: %v", name, err)
		}
	}
	empty := made("o")
	empty.Text = nil
	for _, sides := range [][2]Side{{side(made("m", 1)), side(empty)}, {side(empty), side(made("m", 1))}} {
		if _, err := Compare(sides[0], sides[1]); err == nil || !strings.Contains(err.Error(), "o holds no held-out text") {
			t.Errorf("%v", err)
		}
	}
	if _, err := Compare(Side{}, side(made("m", 1))); err == nil {
		t.Error("nothing is compared with something")
	}
}

// TestFile: what is written is read again; what is no report is refused in a sentence.
func TestFile(t *testing.T) {
	r := made("m", 1.5, 2)
	accuracy := 0.97
	r.Routing = &Routing{SettleTokens: 128, Accuracy: &accuracy, Use: []float64{0.5, 0.5}}
	r.Tasks = []Task{{Name: "q", Kind: Questions, Accuracy: 0.5, Normalised: &accuracy}}
	r.Rows = &Rows{Length: 64, Rows: 3, NatsPerToken: 2.5}
	f := &File{Results: r.CardResults(), Command: "mes eval", Machine: "m|x", Report: r}
	text, err := f.Write()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "eval.json")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if twice, err := again.Write(); err != nil || string(twice) != string(text) {
		t.Errorf("read and written again it differs: %v", err)
	}
	want := []Result{
		{"d, valid, mean of 2 domains", "bits per byte", "", "1.0099"}, {"d, valid, mean of 2 domains", "loss", "nats per token", "1.7500"},
		{"d, valid, mean of 2 domains", "perplexity", "per token", "0.000"},
		{"d, valid, a", "bits per byte", "", "0.8656"}, {"d, valid, b", "bits per byte", "", "1.1542"},
		{"d, valid, mean of 2 domains", "router accuracy after 128 tokens", "", "0.9700"},
		{"d, valid, 3 packed rows of 64 tokens", "loss", "nats per token", "2.5000"},
		{"q", "accuracy", "", "0.5000"}, {"q", "accuracy, normalised by length", "", "0.9700"},
	}
	if got, _ := json.Marshal(f.Results); true {
		if wanted, _ := json.Marshal(want); string(got) != string(wanted) {
			t.Errorf("results %s\nwant %s", got, wanted)
		}
	}
	markdown := string(f.Markdown())
	for _, part := range []string{"# Evaluation of m\n", "97.0 %", "| machine | m\\|x |", "Packed rows", "**2.5000**", "No encoder is dead", "| q | multiple choice | 0 | 50.0 % | 97.0 % |"} {
		if !strings.Contains(markdown, part) {
			t.Errorf("no %q in\n%s", part, markdown)
		}
	}
	if _, err := ReadFile(filepath.Join(t.TempDir(), "none.json")); err == nil || !strings.Contains(err.Error(), "none.json") {
		t.Errorf("%v", err)
	}
	for text, want := range map[string]string{
		`{`:                           "it is no evaluation",
		`{"results": []}`:             "holds no report",
		`{"report": {"version":9}}`:   "version 9; this program reads version 1",
		`{"report": {"version":1}} x`: "something follows",
	} {
		if _, err := ParseFile([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// FuzzParseFile: what is accepted can be shown and compared.
func FuzzParseFile(f *testing.F) {
	text, err := (&File{Results: []Result{}, Report: made("m", 1, 2)}).Write()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(`{"report": {"version": 1, "text": {}}}`)
	f.Add(`{"report": {"version": 1, "text": {"domains": [{}]}, "active": [{}], "swaps": [{}], "needle": [{}], "routing": {"dead": [-1]}, "samples": [{}], "tasks": [{}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		file, err := ParseFile([]byte(text))
		if err != nil {
			return
		}
		file.Markdown()
		side := Side{"x", []*Report{file.Report}}
		if c, err := Compare(side, side); err == nil {
			c.Markdown()
		}
	})
}
