package web_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/web"
)

func TestPortInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	addr := ln.Addr().String()
	s, err := web.New(web.Config{Addr: addr, Engine: &fakeEngine{}})
	if err != nil {
		t.Fatal(err)
	}
	err = s.ListenAndServe(t.Context())
	want := "listen on " + addr + ": address already in use; choose another with -addr or stop the other program"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestConfigErrors(t *testing.T) {
	for want, c := range map[string]web.Config{
		"new web server: no engine given; set Config.Engine":                                     {},
		`new web server: address "7860" is not host:port: address 7860: missing port in address`: {Engine: &fakeEngine{}, Addr: "7860"},
		"new web server: MaxPromptBytes -1, MaxTokens 0 and Grace 0s must not be negative":       {Engine: &fakeEngine{}, MaxPromptBytes: -1},
	} {
		if _, err := web.New(c); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// start serves e until the returned function is called, which returns what Serve
// returned.
func start(t *testing.T, e web.Engine, grace time.Duration) (url string, stop func() error) {
	t.Helper()
	s, err := web.New(web.Config{Engine: e, Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := web.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	return "http://" + ln.Addr().String(), func() error { cancel(); return <-done }
}

func TestShutdownLetsAnswersFinish(t *testing.T) {
	release := make(chan struct{})
	e := &fakeEngine{info: swarmInfo, generate: func(ctx context.Context, _ engine.Request, emit func(engine.Event) error) (engine.Result, error) {
		if err := emit(engine.Event{Text: "a", Token: 1}); err != nil {
			return engine.Result{}, err
		}
		<-release
		return engine.Result{Text: "a"}, ctx.Err()
	}}
	url, stop := start(t, e, time.Minute)
	resp, err := http.Post(url+"/api/generate", "application/json", strings.NewReader(`{"prompt":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	events := readEvents(t, resp.Body)
	if len(events) != 2 || events[1].Name != "done" {
		t.Errorf("events %v", events)
	}
	if _, err := http.Get(url + "/healthz"); err == nil {
		t.Error("the server still answers")
	}
}

func TestShutdownCancelsLongAnswers(t *testing.T) {
	e := &fakeEngine{info: swarmInfo, generate: func(ctx context.Context, _ engine.Request, emit func(engine.Event) error) (engine.Result, error) {
		if err := emit(engine.Event{Text: "a", Token: 1}); err != nil {
			return engine.Result{}, err
		}
		<-ctx.Done()
		return engine.Result{FinishReason: engine.FinishCancelled}, nil
	}}
	url, stop := start(t, e, 10*time.Millisecond)
	resp, err := http.Post(url+"/api/generate", "application/json", strings.NewReader(`{"prompt":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	if e, err := readEvent(in); err != nil || e.Name != "token" {
		t.Fatalf("event %v, error %v", e, err)
	}
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	last, err := readEvent(in)
	if err != nil || last.Name != "error" || !strings.Contains(string(last.Data), "The server is stopping, so the answer ends here.") {
		t.Errorf("event %s %s, error %v", last.Name, last.Data, err)
	}
}

// TestFrameAncestors: a page that is shown inside another site says so, and only an
// origin gets into its security policy.
func TestFrameAncestors(t *testing.T) {
	ts := serve(t, web.Config{Engine: &fakeEngine{info: swarmInfo}, FrameAncestors: []string{"https://huggingface.co", "http://127.0.0.1:8080"}})
	_, header, _ := call(t, "GET", ts.URL+"/", "", nil)
	if policy := header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "; frame-ancestors 'self' https://huggingface.co http://127.0.0.1:8080") {
		t.Errorf("policy %q", policy)
	}
	for _, bad := range []string{"", "*", "https://*", "huggingface.co", "https://huggingface.co/", "https://a; script-src *", "https://a 'unsafe-inline'", "data:x", "https://"} {
		if _, err := web.New(web.Config{Engine: &fakeEngine{}, FrameAncestors: []string{bad}}); err == nil {
			t.Errorf("origin %q was taken", bad)
		}
	}
}
