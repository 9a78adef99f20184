package web_test

import (
	"context"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/web"
)

// words are the scripted answer of the fake in browser tests.
var words = strings.SplitAfter(" and so the heirs of the old house met in the hall,\nwhere the notary read the deed aloud & <b>named</b> no one", " ")

// open serves e and opens its page.
func open(t *testing.T, e web.Engine, width, height int64) (*tab, *httptest.Server) {
	t.Helper()
	ts := serve(t, web.Config{Engine: e})
	return openTab(t, ts.URL, width, height), ts
}

// ask types a prompt and presses Generate.
func (b *tab) ask(prompt string) {
	b.t.Helper()
	b.do(chromedp.SendKeys(chromedp.CSS("#prompt"), prompt), chromedp.Click(chromedp.CSS("#generate-button")))
}

func TestBrowserStreamsAnswerWithRouting(t *testing.T) {
	gate := make(chan struct{})
	e := &fakeEngine{info: swarmInfo, generate: func(ctx context.Context, r engine.Request, emit func(engine.Event) error) (engine.Result, error) {
		n := 0
		return say(words)(ctx, r, func(ev engine.Event) error {
			if n++; n == 10 {
				<-gate // the test looks at the unfinished answer
			}
			return emit(ev)
		})
	}}
	b, _ := open(t, e, 1280, 900)
	b.ask("The deed was")

	// Half of the answer is there while the model still writes.
	half := strings.Join(words[:8], "")
	b.wait(`document.querySelector("#answer-text").textContent === "` + half + `"`)
	if got := b.text("#status"); got != "Writing…" {
		t.Errorf("status %q", got)
	}
	if busy := eval[string](b, `document.querySelector("#answer-text").getAttribute("aria-busy")`); busy != "true" {
		t.Errorf("aria-busy %q while the answer is written", busy)
	}
	close(gate)
	b.wait(`document.querySelector("#status").textContent.startsWith("Done")`)

	answer := strings.Join(words, "")
	if diff := cmp.Diff("The deed was", b.text("#prompt-text")); diff != "" {
		t.Errorf("prompt (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(answer, b.text("#answer-text")); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	// Two chunks in the prompt, the second goes on for two words, then one for
	// every four words, cut where the script cut them; the last word has none.
	want := []string{"The de", "ed was", words[0] + words[1]}
	read := words[:len(words)-1]
	for i := 2; i < len(read); i += 4 {
		want = append(want, strings.Join(read[i:min(i+4, len(read))], ""))
	}
	got := eval[[]string](b, `[...document.querySelectorAll("#text mark")].map((m) => m.textContent)`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	figures := map[string]string{"#first-token": "13 ms", "#speed": "80.0", "#prompt-tokens": "6 tokens", "#swaps": "1"}
	for id, want := range figures {
		if got := b.text(id); got != want {
			t.Errorf("%s says %q, want the engine's %q", id, got, want)
		}
	}
	b.checkTip()
	b.checkLegendAndTable(len(read))
	if n := b.checkContrast(); n < 50 {
		t.Errorf("contrast was compared for %d elements only", n)
	}
	b.checkClean()
}

// checkTip opens the details of spans by pointer and by keyboard.
func (b *tab) checkTip() {
	b.t.Helper()
	var x, y float64
	box := eval[[]float64](b, `(() => { const r = document.querySelectorAll("#text mark")[1].getClientRects()[0]; return [r.x + r.width / 2, r.y + r.height / 2]; })()`)
	x, y = box[0], box[1]
	b.do(chromedp.MouseEvent(chromedp.MouseMoved, x, y))
	b.wait(`!document.querySelector("#tip").hidden`)
	const details = "Chunk 2, tokens 4–7fiction encoder 070.0 %legal encoder 230.0 %the router changed an encoder"
	if got := b.text("#tip"); got != details {
		b.t.Errorf("on hover the details say %q, want %q", got, details)
	}
	b.shot("tip", false)
	b.do(chromedp.MouseEvent(chromedp.MouseMoved, 2, 2))
	b.wait(`document.querySelector("#tip").hidden`)

	b.do(chromedp.Focus(chromedp.CSS("#text mark")))
	b.wait(`!document.querySelector("#tip").hidden`)
	if got := b.text("#tip"); !strings.HasPrefix(got, "Chunk 1, tokens 0–3") {
		b.t.Errorf("on focus the details say %q", got)
	}
	b.do(chromedp.KeyEvent(kb.ArrowRight))
	if got := b.text("#tip"); got != details {
		b.t.Errorf("after the arrow key the details say %q, want %q", got, details)
	}
	described := eval[bool](b, `document.activeElement.getAttribute("aria-describedby") === "tip" && document.querySelector("#tip").getAttribute("role") === "tooltip"`)
	if !described {
		b.t.Error("the focused span is not described by the details")
	}
	b.do(chromedp.KeyEvent(kb.Escape))
	b.wait(`document.querySelector("#tip").hidden`)
	if stops := eval[int](b, `document.querySelectorAll("#text mark[tabindex='0']").length`); stops != 1 {
		b.t.Errorf("the text has %d tab stops, want 1", stops)
	}
}

// checkLegendAndTable compares the legend's shares with the script's weights and
// opens the table.
func (b *tab) checkLegendAndTable(n int) {
	b.t.Helper()
	want := make([]float64, 4)
	for at := range 6 + n {
		switch {
		case at < 4:
			want[0] += 0.5
			want[1] += 0.5
		case at < 8:
			want[0] += 0.7
			want[2] += 0.3
		default:
			want[(at/4+1)%4] += 0.6
			want[at/4%4] += 0.4
		}
	}
	got := eval[map[string]float64](b, `Object.fromEntries([...document.querySelectorAll("#legend li")].map((li) => [li.childNodes[1].data.trim(), parseFloat(li.querySelector(".quiet").textContent)]))`)
	for e, w := range want {
		share := 100 * w / float64(6+n)
		if math.Abs(got[swarmInfo.Domains[e]]-share) > 0.051 {
			b.t.Errorf("the legend gives %s %v %%, want %.1f", swarmInfo.Domains[e], got[swarmInfo.Domains[e]], share)
		}
	}
	b.do(chromedp.Click(chromedp.CSS("#table summary")))
	b.wait(`document.querySelectorAll("#rows tr").length > 0`)
	rows := eval[[][]string](b, `[...document.querySelectorAll("#rows tr")].map((r) => [...r.cells].map((c) => c.textContent))`)
	if len(rows) != 2+(n-2+3)/4 {
		b.t.Errorf("the table has %d rows", len(rows))
	}
	second := []string{"2", "4–7", "fiction (0), 70.0 %legal (2), 30.0 %", "the router changed an encoder", "ed was" + words[0] + words[1]}
	if diff := cmp.Diff(second, rows[1]); diff != "" {
		b.t.Errorf("second row (-want +got):\n%s", diff)
	}
}

func TestBrowserStopStopsModel(t *testing.T) {
	stopped := make(chan struct{})
	e := &fakeEngine{info: swarmInfo, generate: func(ctx context.Context, r engine.Request, emit func(engine.Event) error) (engine.Result, error) {
		for {
			select {
			case <-ctx.Done():
				close(stopped)
				return engine.Result{FinishReason: engine.FinishCancelled}, ctx.Err()
			case <-time.After(10 * time.Millisecond):
				if err := emit(engine.Event{Text: "on ", Token: 1}); err != nil {
					close(stopped)
					return engine.Result{}, err
				}
			}
		}
	}}
	b, _ := open(t, e, 1000, 800)
	b.do(chromedp.SendKeys(chromedp.CSS("#prompt"), "on and"), chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	b.wait(`document.querySelector("#answer-text").textContent.length > 9`)
	b.do(chromedp.Click(chromedp.CSS("#stop-button")))
	select {
	case <-stopped:
	case <-time.After(2 * time.Minute):
		t.Fatal("the model still runs two minutes after Stop")
	}
	b.wait(`document.querySelector("#status").textContent === "Stopped."`)
	if !eval[bool](b, `document.querySelector("#stop-button").disabled && !document.querySelector("#generate-button").disabled`) {
		t.Error("the buttons are not ready for another run")
	}
	if b.text("#first-token") == "–" || b.text("#speed") == "–" {
		t.Error("a stopped run shows no measured times")
	}
	b.checkClean()
}

func TestBrowserSendsForm(t *testing.T) {
	got := make(chan engine.Request, 1)
	e := &fakeEngine{info: swarmInfo, generate: func(ctx context.Context, r engine.Request, emit func(engine.Event) error) (engine.Result, error) {
		got <- r
		return say(words)(ctx, r, emit)
	}}
	b, _ := open(t, e, 1000, 800)
	b.do(chromedp.Click(chromedp.CSS("#settings summary")))
	for field, value := range map[string]string{
		"prompt": "é\n🙂", "max_tokens": "7", "temperature": "0.7", "top_k": "40", "top_p": "0.9", "min_p": "0.05",
		"repetition_penalty": "1.25", "presence_penalty": "-0.5", "seed": "9007199254740991", "stop-strings": `end\n\\n`, "domain": "legal",
	} {
		b.do(chromedp.SetValue(chromedp.CSS("#"+field), value))
	}
	b.do(chromedp.Click(chromedp.CSS("#generate-button")))
	want := engine.Request{Prompt: "é\n🙂", Domain: "legal", MaxTokens: 7, Stop: []string{"end\n\\n"},
		Sampling: engine.Sampling{Temperature: 0.7, TopK: 40, TopP: 0.9, MinP: 0.05, RepetitionPenalty: 1.25, PresencePenalty: -0.5, Seed: 9007199254740991}}
	select {
	case r := <-got:
		if diff := cmp.Diff(want, r); diff != "" {
			t.Errorf("request (-form +engine):\n%s", diff)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the form was not sent")
	}
	b.wait(`document.querySelector("#seed-used").textContent === "9007199254740991"`)
}

func TestBrowserShowsFaults(t *testing.T) {
	e := &fakeEngine{info: swarmInfo, generate: say(words)}
	b, ts := open(t, e, 1000, 800)
	b.do(chromedp.Click(chromedp.CSS("#generate-button")))
	b.wait(`document.querySelector("#prompt-error").textContent !== ""`)
	if got := b.text("#prompt-error"); got != "There is no text; type some." {
		t.Errorf("empty prompt: %q", got)
	}
	b.do(chromedp.Click(chromedp.CSS(`[data-prompt^="The letter had come"]`)), chromedp.Click(chromedp.CSS("#settings summary")), chromedp.SetValue(chromedp.CSS("#top_p"), "1.5"), chromedp.SetValue(chromedp.CSS("#temperature"), "-1"), chromedp.Click(chromedp.CSS("#generate-button")))
	b.wait(`document.querySelector("#top_p-error").textContent !== ""`)
	if got := b.text("#top_p-error") + " " + b.text("#temperature-error") + " " + b.text("#prompt-error"); got != "1.5 is outside 0 to 1. -1 is outside 0 to 10. " {
		t.Errorf("faults: %q", got)
	}
	b.shot("faults", true)
	ts.CloseClientConnections()
	ts.Close()
	b.do(chromedp.SetValue(chromedp.CSS("#top_p"), "1"), chromedp.SetValue(chromedp.CSS("#temperature"), "1"), chromedp.Click(chromedp.CSS("#generate-button")))
	b.wait(`!document.querySelector("#error").hidden`)
	if got := b.text("#error"); !strings.HasPrefix(got, "The connection to the server was lost.") {
		t.Errorf("lost server: %q", got)
	}
	if b.text("#top_p-error") != "" {
		t.Error("an old fault is still shown")
	}
}

func TestBrowserLayouts(t *testing.T) {
	for name, c := range map[string]struct {
		width, height int64
		scheme        string
		info          engine.Info
	}{
		"desktop light": {1280, 900, "light", swarmInfo},
		"desktop dark":  {1280, 900, "dark", swarmInfo},
		"phone light":   {360, 740, "light", swarmInfo},
		"phone dark":    {360, 740, "dark", swarmInfo},
		"phone plain":   {360, 740, "light", engine.Info{Name: "mamba2-mini", ModelType: "mamba2", Parameters: 14_500_000, ActiveParameters: 14_500_000, NumEncoders: 1, NumLayers: 12, HiddenSize: 384, VocabSize: 8192, DType: "float32", Backend: "go"}},
	} {
		t.Run(name, func(t *testing.T) {
			generate := say(words)
			if c.info.NumEncoders == 1 {
				generate = plainSay
			}
			b, _ := open(t, &fakeEngine{info: c.info, generate: generate}, c.width, c.height)
			media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: c.scheme}}}
			if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, media); err != nil {
				t.Fatal(err)
			}
			dark := eval[bool](b, `(() => { const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number); return r + g + b < 200; })()`)
			if dark != (c.scheme == "dark") {
				t.Errorf("dark is %v in the %s scheme", dark, c.scheme)
			}
			b.checkFits()
			b.ask("Averyveryverylongwordthatdoesnotbreakanywhereintheprompt, read by the notary who")
			b.wait(`document.querySelector("#status").textContent.startsWith("Done")`)
			b.checkFits()
			b.shot(strings.ReplaceAll(name, " ", "-"), true)
			eval[bool](b, `document.querySelectorAll("details").forEach((d) => d.open = true) ?? true`)
			eval[bool](b, `document.querySelector("#text mark")?.focus() ?? true`)
			b.checkFits()
			b.checkContrast()
			b.shot(strings.ReplaceAll(name, " ", "-")+"-open", true)
			if marks := eval[int](b, `document.querySelectorAll("mark").length`); (marks == 0) != (c.info.NumEncoders == 1) {
				t.Errorf("%d spans for %d encoders", marks, c.info.NumEncoders)
			}
			b.checkClean()
		})
	}
}

// plainSay answers like a model without a router: chunks without encoders.
func plainSay(_ context.Context, r engine.Request, emit func(engine.Event) error) (engine.Result, error) {
	all := []engine.Chunk{{Start: 0, End: 3, Text: r.Prompt, Prompt: true}}
	if err := emit(engine.Event{Token: -1, Chunks: all}); err != nil {
		return engine.Result{}, err
	}
	for _, w := range words {
		if err := emit(engine.Event{Text: w, Token: 1}); err != nil {
			return engine.Result{}, err
		}
	}
	return engine.Result{Text: strings.Join(words, ""), PromptTokens: 3, CompletionTokens: len(words), FinishReason: engine.FinishStop, Chunks: all}, nil
}
