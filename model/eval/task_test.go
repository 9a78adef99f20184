package eval

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gomlx/compute"
	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

const miniDir = "../../weights/mamba2-mini"

// openMini opens mamba2-mini for measuring.
func openMini(t *testing.T, b compute.Backend) *evaluator {
	t.Helper()
	p, err := hub.FromPretrained(t.Context(), miniDir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	m, err := swarm.Load(b, p.Config.Swarm, p, swarm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	tok, err := p.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tok.Close() })
	return &evaluator{Config: Config{Model: m, Tokenizer: tok}, plain: true}
}

// readJSON reads a fixture.
func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestReference compares the loss of mamba2-mini on 19 texts with what transformers
// gives (weights/mamba2-mini/reference.json); on the go back end, which takes a second
// for a text, on the first.
func TestReference(t *testing.T) {
	var texts []struct {
		Domain string
		IDs    []int32
		NLLSum float64 `json:"nll_sum"`
	}
	readJSON(t, filepath.Join(miniDir, "reference.json"), &texts)
	if len(texts) != 19 {
		t.Fatalf("%d texts, want 19", len(texts))
	}
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		e, some := openMini(t, b), texts
		if b == testkit.Backend(t, backend.Go) {
			some = texts[:1]
		}
		var domains []domainTexts
		for _, text := range some {
			domains = append(domains, domainTexts{name: text.Domain, docs: []data.Document{{IDs: text.IDs, Bytes: 1000}}})
		}
		sums, err := e.tallies(t.Context(), "test", e.Model, domains, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range textFigures(domains, sums).Domains {
			want := some[i].NLLSum
			if off := math.Abs(sums[i].nats/want - 1); !(off <= 5e-5) {
				t.Errorf("%s: %.4f nats, transformers %.4f", d.Domain, sums[i].nats, want)
			}
			if off := math.Abs(d.BitsPerByte/(want/math.Ln2/1000) - 1); !(off <= 5e-5) || d.Tokens != int64(len(some[i].IDs)-1) {
				t.Errorf("%s: %+v", d.Domain, d)
			}
		}
	})
}

// TestTasksReference compares log-likelihoods and accuracies of mamba2-mini on
// scripts/eval with transformers (scripts/fixtures/eval_tasks.py).
func TestTasksReference(t *testing.T) {
	var want map[string]struct {
		Scores  [][]float64
		Acc     float64
		AccNorm float64 `json:"acc_norm"`
	}
	readJSON(t, "testdata/tasks.json", &want)
	e := openMini(t, testkit.Backend(t, backend.XLACPU))
	for _, name := range []string{"pairs", "questions"} {
		f, err := os.Open("../../scripts/eval/" + name + ".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		set, err := ParseTasks(name, f)
		if err != nil {
			t.Fatal(err)
		}
		scores, err := e.likelihoods(t.Context(), set)
		if err != nil {
			t.Fatal(err)
		}
		w := want[name]
		if len(scores) != len(w.Scores) {
			t.Fatalf("%s: %d items, the fixture has %d; make it anew", name, len(scores), len(w.Scores))
		}
		for i := range scores {
			for c := range scores[i] {
				if d := math.Abs(scores[i][c] - w.Scores[i][c]); !(d <= 2e-3) {
					t.Errorf("%s:%d choice %d: %.4f, transformers %.4f", name, i+1, c, scores[i][c], w.Scores[i][c])
				}
			}
		}
		task := set.judge(scores)
		if task.Accuracy != w.Acc || task.Normalised != nil && *task.Normalised != w.AccNorm {
			t.Errorf("%s: %+v, by transformers %v and %v", name, task, w.Acc, w.AccNorm)
		}
		if (task.Normalised == nil) != (name == "pairs") {
			t.Errorf("%s: normalised %v", name, task.Normalised)
		}
	}
}

// TestTaskAccuracy works figures out by hand: ties are wrong, lengths count characters.
func TestTaskAccuracy(t *testing.T) {
	set := TaskSet{Name: "x", Kind: Questions, Items: []Item{
		{Category: "b", Choices: []string{"äöü", "y"}, Gold: 0},    // -6 and -3: wrong; -2 and -3 a character: right
		{Category: "a", Choices: []string{"x", "y"}, Gold: 1},      // tie
		{Category: "b", Choices: []string{"x", "y", "z"}, Gold: 2}, // right
		{Choices: []string{"xx", "y"}, Gold: 1},                    // -2 and -1.5: right; -1 and -1.5: wrong
	}}
	got := set.judge([][]float64{{-6, -3}, {-1, -1}, {-3, -2, -1}, {-2, -1.5}})
	half := 0.5
	want := Task{Name: "x", Kind: Questions, Items: 4, Chance: (0.5 + 0.5 + 1.0/3 + 0.5) / 4, Accuracy: 0.5, Normalised: &half,
		Categories: []TaskCategory{{"a", 1, 0}, {"b", 2, 0.5}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCandidate: where a choice begins.
func TestCandidate(t *testing.T) {
	_, tok := byteTokenizer(t)
	e := &evaluator{Config: Config{Tokenizer: tok}}
	for _, test := range []struct {
		kind, context, choice, text string
		from                        int
	}{
		{Pairs, "", "ab", "ab", 1},
		{Questions, "ab", "c", "ab c", 3},
		{Questions, "ab ", "c", "ab c", 3},
		{Questions, "ab\n", " c", "ab\n c", 3},
		{Questions, "ab", " c", "ab c", 3},
		{Questions, "", "c", "c", 1},
		{Questions, " ", "c", " c", 1},
	} {
		c, err := e.candidate(test.kind, test.context, test.choice)
		if err != nil {
			t.Fatal(err)
		}
		text, err := tok.Decode(c.ids, true)
		if err != nil || text != test.text || c.from != test.from {
			t.Errorf("%q, %q: %q from %d, want %q from %d (%v)", test.context, test.choice, text, c.from, test.text, test.from, err)
		}
	}
}

func TestParseTasks(t *testing.T) {
	set, err := ParseTasks("x", strings.NewReader(`{"sentence_good": "a b", "sentence_bad": "b a", "UID": "order", "pair_id": 7}

{"good": "c", "bad": "d"}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Item{{Line: 1, Category: "order", Choices: []string{"a b", "b a"}}, {Line: 3, Choices: []string{"c", "d"}}}
	if diff := cmp.Diff(want, set.Items); diff != "" || set.Kind != Pairs || len(set.SHA256) != 64 {
		t.Errorf("%+v\n%s", set, diff)
	}
	set, err = ParseTasks("x", strings.NewReader(`{"query": "q", "choices": ["a", "b"], "gold": 1, "context": null}`))
	if err != nil || set.Kind != Questions || set.Items[0].Context != "q" || set.Items[0].Gold != 1 {
		t.Errorf("%+v, %v", set, err)
	}
}

// badTasks are files that are refused, each with what is said.
var badTasks = map[string]struct{ text, want string }{
	"empty":          {"\n\n", "holds no task"},
	"no JSON":        {"{\"good\": \"a\", \"bad\": \"b\"}\n{\"good\": ", "t.jsonl:2: it is not a JSON object"},
	"array":          {`["a"]`, "t.jsonl:1: it is not a JSON object"},
	"nothing":        {`{"text": "a"}`, "neither good and bad, nor context, choices and gold"},
	"half a pair":    {`{"good": "a"}`, "good and bad must both be there"},
	"empty sentence": {`{"good": "a", "bad": ""}`, "good and bad must both be there"},
	"equal":          {`{"good": "a", "bad": "a"}`, "the same sentence"},
	"both":           {`{"good": "a", "bad": "b", "gold": 0}`, "a pair and a question at once"},
	"no choices":     {`{"context": "a", "gold": 0}`, "choices has 0 entries"},
	"choices empty":  {`{"context": "a", "choices": [], "gold": 0}`, "choices has 0 entries"},
	"one choice":     {`{"context": "a", "choices": ["b"], "gold": 0}`, "choices has 1 entries"},
	"empty choice":   {`{"context": "a", "choices": ["b", " "], "gold": 0}`, "choice 1 is empty"},
	"gold range":     {`{"context": "a", "choices": ["b", "c"], "gold": 2}`, "gold is 2, but the choices are 0 to 1"},
	"gold negative":  {`{"context": "a", "choices": ["b", "c"], "gold": -1}`, "gold is -1"},
	"no gold":        {`{"context": "a", "choices": ["b", "c"]}`, "gold is missing"},
	"no context":     {`{"choices": ["b", "c"], "gold": 0}`, "context is missing"},
	"mixed":          {"{\"good\": \"a\", \"bad\": \"b\"}\n\n{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"gold\": 0}", "t.jsonl:3: it is of the kind multiple choice"},
	"not UTF-8":      {"{\"good\": \"\xff\", \"bad\": \"b\"}", "not valid UTF-8"},
	"too long":       {`{"good": "` + strings.Repeat("a", maxTaskLine) + `", "bad": "b"}`, "t.jsonl:1: the line is longer than 1048576 bytes"},
}

func TestBadTasks(t *testing.T) {
	for name, test := range badTasks {
		_, err := ParseTasks("t.jsonl", strings.NewReader(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, tok := byteTokenizer(t)
	e := &evaluator{Config: Config{Tokenizer: tok}}
	if _, err := e.likelihoods(t.Context(), TaskSet{Name: "t", Items: []Item{{Line: 4, Choices: []string{"\xff", "b"}}}}); err == nil || !strings.Contains(err.Error(), "t:4: text is not valid UTF-8") {
		t.Errorf("%v", err)
	}
}

// FuzzParseTasks: what is accepted can be judged.
func FuzzParseTasks(f *testing.F) {
	for _, test := range badTasks {
		if len(test.text) < 1000 {
			f.Add(test.text)
		}
	}
	f.Add(`{"sentence_good": "a", "sentence_bad": "b", "UID": "x"}`)
	f.Add(`{"context": "a", "choices": ["b", "c"], "gold": 1}`)
	f.Fuzz(func(t *testing.T, text string) {
		set, err := ParseTasks("t", strings.NewReader(text))
		if err != nil {
			return
		}
		scores := make([][]float64, len(set.Items))
		for i, item := range set.Items {
			if len(item.Choices) < 2 || item.Gold < 0 || item.Gold >= len(item.Choices) || item.Line < 1 {
				t.Fatalf("item %+v", item)
			}
			scores[i] = make([]float64, len(item.Choices))
			scores[i][item.Gold] = 1
		}
		if task := set.judge(scores); task.Accuracy != 1 || task.Items == 0 || !(task.Chance <= 0.5) {
			t.Fatalf("%+v", task)
		}
	})
}
