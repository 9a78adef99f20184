package web_test

import (
	gocmp "cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/web"
)

// trained is the swarm that the repository ships.
const trained = "../weights/mes-mini"

// realEngine opens the model in dir as the program does.
func realEngine(t *testing.T, dir string) web.Engine {
	t.Helper()
	p, err := hub.FromPretrained(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	tok, err := p.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tok.Close() })
	model, err := swarm.Load(testkit.Backend(t, backend.Go), p.Config.Swarm, p, swarm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(model.Close)
	e, err := engine.New(engine.Config{Model: model, Tokenizer: tok, Info: engine.Info{
		Name: filepath.Base(dir), ModelType: p.Config.ModelType, BaseModelType: string(p.Config.Swarm.Base.Kind),
		Backend: backend.Go, GrownFrom: p.Config.GrownFrom,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestBrowserRealSwarm runs the whole program below the command line: the page,
// the engine and the shipped swarm. The page must show exactly what the engine
// returns to a caller that asks it directly, and the router know the text's domain.
func TestBrowserRealSwarm(t *testing.T) {
	if testing.Short() {
		t.Skip("loads a model")
	}
	e := realEngine(t, trained)
	const prompt = "The letter had come on Tuesday, and by Thursday the whole parish — even Zoë 🙂 — knew that Miss Harrow"
	want, err := e.Generate(t.Context(), engine.Request{Prompt: prompt, MaxTokens: 48}, func(engine.Event) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	b, _ := open(t, e, 1280, 900)
	if eval[bool](b, `document.querySelector("#model-note") !== null`) {
		t.Errorf("the card warns of a trained swarm: %q", b.text("#model-note"))
	}
	b.do(chromedp.Click(chromedp.CSS("#settings summary")))
	for field, value := range map[string]string{"temperature": "0", "repetition_penalty": "1", "max_tokens": "48"} {
		b.do(chromedp.SetValue(chromedp.CSS("#"+field), value))
	}
	b.do(chromedp.SetValue(chromedp.CSS("#prompt"), prompt), chromedp.Click(chromedp.CSS("#generate-button")))
	b.waitFor(5*time.Minute, `document.querySelector("#status").textContent.startsWith("Done")`)
	b.shot("real-swarm", true)
	if diff := cmp.Diff(want.Text, b.text("#answer-text")); diff != "" {
		t.Errorf("answer (-engine +page):\n%s", diff)
	}
	if diff := cmp.Diff(prompt, b.text("#prompt-text")); diff != "" {
		t.Errorf("prompt (-want +got):\n%s", diff)
	}
	for id, n := range map[string]int{"#prompt-tokens": want.PromptTokens, "#answer-tokens": want.CompletionTokens} {
		if got := b.text(id); got != fmt.Sprintf("%d tokens", n) {
			t.Errorf("%s says %q, want %d", id, got, n)
		}
	}
	if got := b.text("#swaps"); got != fmt.Sprint(want.EncoderSwaps) {
		t.Errorf("the page counts %s swaps, the engine %d", got, want.EncoderSwaps)
	}
	b.checkTable(want.Chunks)
	for _, chunk := range want.Chunks {
		for _, use := range chunk.Encoders {
			if use.Always != (use.Domain == "general") {
				t.Errorf("%s at token %d: always %v", use.Domain, chunk.Start, use.Always)
			}
		}
	}
	const general = "195" // routing.js: the hue of encoder 0
	if got := eval[[]string](b, `[...document.querySelectorAll("mark")].map((m) => m.style.getPropertyValue("--hue"))`); len(got) == 0 || slices.Contains(got, general) {
		t.Errorf("spans have the hues %v; the generalist, which always runs, has %s", got, general)
	}
	if rows := b.text("#rows"); !strings.Contains(rows, "fiction (9)") {
		t.Errorf("the router does not know a novel:\n%s", rows)
	}
	b.checkClean()

	b.do(chromedp.SetValue(chromedp.CSS("#max_tokens"), "4096"), chromedp.Click(chromedp.CSS("#generate-button")))
	b.waitFor(5*time.Minute, `document.querySelector("#answer-text").textContent.length > 20`)
	b.do(chromedp.Click(chromedp.CSS("#stop-button")))
	b.wait(`document.querySelector("#status").textContent === "Stopped."`)
}

// checkTable compares the table with the engine's chunks.
func (b *tab) checkTable(chunks []engine.Chunk) {
	b.t.Helper()
	var want [][]string
	for i, c := range chunks {
		uses := slices.Clone(c.Encoders)
		slices.SortStableFunc(uses, func(x, y engine.EncoderUse) int { return gocmp.Compare(y.Weight, x.Weight) })
		var cell strings.Builder
		for _, u := range uses {
			fmt.Fprintf(&cell, "%s (%d), %.1f %%", u.Domain, u.Encoder, 100*u.Weight)
			if u.Changed {
				cell.WriteString(", new")
			}
		}
		want = append(want, []string{fmt.Sprint(i + 1), fmt.Sprintf("%d–%d", c.Start, c.End-1), cell.String(), c.Text})
	}
	eval[bool](b, `(document.querySelector("#table").open = true)`)
	b.wait(`document.querySelectorAll("#rows tr").length > 0`)
	got := eval[[][]string](b, `[...document.querySelectorAll("#rows tr")].map((r) => [0, 1, 2, 4].map((i) => r.cells[i].textContent))`)
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("table (-engine +page):\n%s", diff)
	}
	if len(want) < 4 {
		b.t.Errorf("the engine gave %d chunks only", len(want))
	}
}
