package web_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestBrowserAddress asks a server that already runs, at MES_TEST_ADDRESS: the demo's
// Space, see scripts/space.sh.
func TestBrowserAddress(t *testing.T) {
	address := os.Getenv("MES_TEST_ADDRESS")
	if address == "" {
		t.Skip("MES_TEST_ADDRESS names no server")
	}
	b := openTab(t, address, 1280, 900)
	const prompt = "The letter had come on Tuesday, and by Thursday the whole parish knew"
	b.do(chromedp.Click(chromedp.CSS("#settings summary")), chromedp.SetValue(chromedp.CSS("#max_tokens"), "24"),
		chromedp.SetValue(chromedp.CSS("#prompt"), prompt), chromedp.Click(chromedp.CSS("#generate-button")))
	b.waitFor(5*time.Minute, `document.querySelector("#status").textContent.startsWith("Done")`)
	b.shot("address", true)
	if got := b.text("#prompt-text"); got != prompt {
		t.Errorf("the page shows the prompt as %q", got)
	}
	if b.text("#answer-text") == "" {
		t.Error("the answer is empty")
	}
	marks := eval[string](b, `[...document.querySelectorAll("#text mark")].map((m) => m.textContent).join("")`)
	if !strings.HasPrefix(marks, prompt) {
		t.Errorf("the spans of the routing cover %q", marks)
	}
	b.checkClean()
}
