package telemetry

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// serveLive serves the page of a run under a path, as cmd/mes may.
func serveLive(t *testing.T) (*Recorder, string) {
	t.Helper()
	r := opened(t, RecorderConfig{Dir: t.TempDir()})
	mux := http.NewServeMux()
	mux.Handle("/train/", http.StripPrefix("/train", Live(r)))
	ts := httptest.NewServer(mux)
	t.Cleanup(ts.Close)
	t.Cleanup(func() { r.Close() }) // first: it ends the streams that the server waits for
	return r, ts.URL + "/train/"
}

// get fetches an address.
func get(t *testing.T, url string) (status int, header http.Header, body string) {
	t.Helper()
	resp, err := http.Get(url)
	must(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, resp.Header, string(data)
}

func TestLive(t *testing.T) {
	r, url := serveLive(t)
	if _, _, body := get(t, url); !strings.Contains(body, "no record yet") {
		t.Errorf("before the first record:\n%s", body)
	}
	if status, _, body := get(t, url+"metrics"); status != 200 || body != "" {
		t.Errorf("metrics before the first record: %d %q", status, body)
	}
	records := run(40, 3)
	records[39].Phase = `<script>alert("x")</script>`
	addAll(t, r, records)
	status, header, body := get(t, url)
	if status != 200 || header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("page: %d %v", status, header)
	}
	if strings.Contains(body, "<script>alert") || !strings.Contains(body, "&lt;script&gt;alert") || !strings.Contains(body, "step 800/800") {
		t.Errorf("page:\n%s", body)
	}
	if external := regexp.MustCompile(`(src|href)="(https?:)?//`).FindString(body); external != "" {
		t.Errorf("the page loads %s", external)
	}
	for path, want := range map[string]string{"live.css": "text/css", "live.js": "text/javascript", "plots/loss.svg": "image/svg+xml", "metrics": "text/plain; version=0.0.4"} {
		status, header, body := get(t, url+path)
		if status != 200 || !strings.HasPrefix(header.Get("Content-Type"), want) || body == "" || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, status, header)
		}
	}
	for _, path := range []string{"plots/nothing.svg", "plots/loss.png", "plots/loss", "page.html", "live/page.html", "plots/..%2flive.css"} {
		if status, _, _ := get(t, url+path); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
	if resp, err := http.Post(url, "text/plain", nil); err != nil || resp.StatusCode != 405 {
		t.Errorf("POST: %v %v", resp, err)
	}
}

// TestEventStream follows a run to its end.
func TestEventStream(t *testing.T) {
	r, url := serveLive(t)
	records := run(40, 3)
	addAll(t, r, records[:10])
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"events", nil)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	next := func() (event string, s state) {
		t.Helper()
		for {
			line, err := in.ReadString('\n')
			must(t, err)
			if name, ok := strings.CutPrefix(line, "event: "); ok {
				event = strings.TrimSpace(name)
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				must(t, json.Unmarshal([]byte(data), &s))
				return event, s
			}
		}
	}
	event, s := next()
	if event != "record" || !strings.HasPrefix(s.Line, "seed step 200/800") || len(s.Figures) != 4 || s.Figures[0] != (figureState{"loss", "Loss by phase", "plots/loss.svg?step=200"}) {
		t.Errorf("first %s: %+v", event, s)
	}
	must(t, r.Add(records[10]))
	if event, s = next(); event != "record" || !strings.HasPrefix(s.Line, "seed step 220/800") || !strings.Contains(s.Line, "ETA") {
		t.Errorf("then %s: %+v", event, s)
	}
	must(t, r.Close())
	if event, _ = next(); event != "end" {
		t.Errorf("at the end %s", event)
	}
	if rest, err := io.ReadAll(in); err != nil || len(strings.TrimSpace(string(rest))) > 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}

// TestPrometheus compares with text written by hand from the format's description.
func TestPrometheus(t *testing.T) {
	r := Record{Step: 7, Tokens: 100, Loss: math.NaN(), LR: 0.5, DomainLoss: map[string]float64{"a\"b\\c\nd": 1, "z": 2}, EncoderUse: []float64{0.25, 0.75}}
	const want = `# HELP mes_train_step Optimizer steps done.
# TYPE mes_train_step gauge
mes_train_step 7
# HELP mes_train_loss Loss that is minimized, in nats.
# TYPE mes_train_loss gauge
mes_train_loss NaN
# HELP mes_train_domain_loss Cross-entropy by domain, in nats a token.
# TYPE mes_train_domain_loss gauge
mes_train_domain_loss{domain="a\"b\\c\nd"} 1
mes_train_domain_loss{domain="z"} 2
# HELP mes_train_learning_rate Learning rate.
# TYPE mes_train_learning_rate gauge
mes_train_learning_rate 0.5
# HELP mes_train_tokens Tokens read since the run began.
# TYPE mes_train_tokens gauge
mes_train_tokens 100
# HELP mes_train_encoder_use Share of the router's choices that fell on each encoder.
# TYPE mes_train_encoder_use gauge
mes_train_encoder_use{encoder="0"} 0.25
mes_train_encoder_use{encoder="1"} 0.75
`
	if got := prometheusText(&r); got != want {
		t.Errorf("text\n%s\nwant\n%s", got, want)
	}
	for _, s := range (&run(40, 3)[39]).scalars() { // every number has a name there
		group, _, _ := strings.Cut(s.name, "/")
		if prometheusNames[group].name == "" {
			t.Errorf("%s has no name", s.name)
		}
	}
}

// TestBrowser looks at the page in Chromium: it follows the run, all plots load, nothing
// is asked of another server, and the console is silent.
func TestBrowser(t *testing.T) {
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
	if testing.Short() {
		t.Skip("starts a browser")
	}
	r, url := serveLive(t)
	records := run(200, 19)
	addAll(t, r, records[:190])
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true), chromedp.WSURLReadTimeout(2*time.Minute))...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var complaints []string
	must(t, chromedp.Listen(ctx, func(ev any) {
		mu.Lock()
		defer mu.Unlock()
		switch ev := ev.(type) {
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(ev.Request.URL, url) && !strings.HasPrefix(ev.Request.URL, "data:") {
				complaints = append(complaints, "asked for "+ev.Request.URL)
			}
		case *runtime.EventConsoleAPICalled:
			complaints = append(complaints, string(ev.Type))
		case *cdplog.EventEntryAdded:
			complaints = append(complaints, ev.Entry.Text)
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, ev.ExceptionDetails.Text)
		}
	}))
	wait := func(expression string) {
		t.Helper()
		for range 2400 {
			ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
			must(t, err)
			if ok {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("it is not so that %s", expression)
	}
	must(t, chromedp.Do(ctx, chromedp.EmulateViewport(1400, 1000), chromedp.Navigate(url)))
	wait(`document.images.length === 6 && [...document.images].every((i) => i.complete && i.naturalWidth > 0)`)
	wait(`document.querySelector("#line").textContent.startsWith("joint step 3800/4000")`)
	addAll(t, r, records[190:])
	wait(`document.querySelector("#line").textContent.startsWith("joint step 4000/4000")`)
	must(t, r.Close())
	wait(`document.querySelector("#status").textContent === "The run has ended."`)
	wait(`document.documentElement.scrollWidth <= document.documentElement.clientWidth`)
	if dir := os.Getenv("MES_SCREENSHOTS"); dir != "" {
		shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		must(t, err)
		must(t, os.MkdirAll(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "training.png"), shot, 0o644))
	}
	mu.Lock()
	defer mu.Unlock()
	for _, c := range complaints {
		t.Error(c)
	}
}
