package web_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// tab is one page of a headless Chromium. It notes every address that the page
// asks for and every complaint of its console.
type tab struct {
	t      *testing.T
	ctx    context.Context
	origin string

	mu        sync.Mutex
	requested []string
	complains []string
}

// openTab starts Chromium and opens url in it. Without Chromium the test is
// skipped; with CI=true that is a failure.
func openTab(t *testing.T, url string, width, height int64) *tab {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		const missing = "BROWSER TEST NOT RUN: no Chromium on PATH; install it with: apt-get install chromium"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true), chromedp.WSURLReadTimeout(2*time.Minute), chromedp.WindowSize(int(width), int(height)))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 10*time.Minute)
	t.Cleanup(cancel)

	b := &tab{t: t, ctx: ctx, origin: url + "/"}
	if err := chromedp.Listen(ctx, b.note); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.EmulateViewport(width, height), chromedp.Navigate(b.origin), chromedp.WaitVisible(chromedp.CSS("#form")))
	return b
}

// note records requests, console errors and uncaught exceptions.
func (b *tab) note(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		b.requested = append(b.requested, ev.Request.URL)
	case *runtime.EventConsoleAPICalled:
		b.complains = append(b.complains, string(ev.Type))
	case *cdplog.EventEntryAdded: // among others, what the content policy blocked
		b.complains = append(b.complains, ev.Entry.Text)
	case *runtime.EventExceptionThrown:
		b.complains = append(b.complains, ev.ExceptionDetails.Text)
	}
}

// do runs actions and fails the test if one does not succeed.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// eval returns the value of a JavaScript expression.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// wait polls until a JavaScript expression is true, for two minutes at most.
func (b *tab) wait(expression string) {
	b.t.Helper()
	b.waitFor(2*time.Minute, expression)
}

// waitFor is wait with another limit.
func (b *tab) waitFor(limit time.Duration, expression string) {
	b.t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if eval[bool](b, expression) {
			return
		}
	}
	b.t.Fatalf("after %v it is not so that %s; status %q, error %q", limit, expression,
		eval[string](b, `document.querySelector("#status").textContent`), eval[string](b, `document.querySelector("#error").textContent`))
}

// text returns the text of the first element that selector matches.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return eval[string](b, `document.querySelector('`+selector+`').textContent`)
}

// shot saves a picture of the whole page, or of the window, in the folder that
// MES_SCREENSHOTS names, if it names one.
func (b *tab) shot(name string, whole bool) {
	b.t.Helper()
	dir := os.Getenv("MES_SCREENSHOTS")
	if dir == "" {
		return
	}
	take := chromedp.CaptureScreenshot()
	if whole {
		take = chromedp.FullScreenshot(100)
	}
	png, err := chromedp.Run(b.ctx, take)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// checkClean fails if the page asked anything of another origin, or if its
// scripts complained.
func (b *tab) checkClean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.requested) == 0 {
		b.t.Error("no request was seen: the check of origins checks nothing")
	}
	for _, url := range b.requested {
		if !strings.HasPrefix(url, b.origin) {
			b.t.Errorf("the page asked for %s", url)
		}
	}
	for _, c := range b.complains {
		b.t.Errorf("the console says %s", c)
	}
}

// checkFits fails if any visible part of the page is wider than the window,
// except inside a region that scrolls by itself.
func (b *tab) checkFits() {
	b.t.Helper()
	wide := eval[[]string](b, `(() => {
		const width = document.documentElement.clientWidth, found = [];
		if (document.documentElement.scrollWidth > width) found.push("page: " + document.documentElement.scrollWidth);
		for (const e of document.body.querySelectorAll("*")) {
			const box = e.getBoundingClientRect();
			if (box.width && !e.closest(".scroll table") && (box.right > width + 0.5 || box.left < -0.5)) found.push(e.tagName + "." + e.className + ": " + box.left + " to " + box.right);
		}
		return found;
	})()`)
	for _, w := range wide {
		b.t.Errorf("wider than the window: %s", w)
	}
}

// checkContrast fails for visible text whose contrast with its background is
// below 4.5 to 1 (WCAG 2.2, 1.4.3), disabled controls excepted. It returns how
// many elements it compared.
func (b *tab) checkContrast() int {
	b.t.Helper()
	b.wait(`document.getAnimations().length === 0`) // a colour on its way counts for nothing
	type pair struct {
		What  string
		Ratio float64
	}
	pairs := eval[[]pair](b, `(() => {
		const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
		const over = (colours) => {
			canvas.clearRect(0, 0, 1, 1);
			for (const c of colours) { canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); }
			return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
		};
		const luminance = (rgb) => {
			const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
			return 0.2126 * r + 0.7152 * g + 0.0722 * b;
		};
		const pairs = [];
		for (const e of document.body.querySelectorAll("*")) {
			const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.matches("input, select, textarea");
			if (!own || !e.checkVisibility() || e.matches(":disabled, option") || e.closest("noscript")) continue;
			const behind = [];
			for (let p = e; p; p = p.parentElement) behind.unshift(getComputedStyle(p).backgroundColor);
			const ground = over(behind), ink = over([...behind, getComputedStyle(e).color]);
			const [hi, lo] = [luminance(ground), luminance(ink)].sort((a, b) => b - a);
			pairs.push({ What: e.tagName + "." + e.className + " " + e.textContent.trim().slice(0, 30), Ratio: (hi + 0.05) / (lo + 0.05) });
		}
		return pairs;
	})()`)
	for _, p := range pairs {
		if p.Ratio < 4.5 {
			b.t.Errorf("contrast %.2f: %s", p.Ratio, p.What)
		}
	}
	return len(pairs)
}
