package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/web"
)

// call sends one request and returns status, headers and body.
func call(t *testing.T, method, url, body string, header map[string]string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

func TestScenarios(t *testing.T) {
	ran := 0
	engineFake := &fakeEngine{info: swarmInfo, generate: func(ctx context.Context, r engine.Request, emit func(engine.Event) error) (engine.Result, error) {
		ran++
		return say([]string{" one", " two"})(ctx, r, emit)
	}}
	ts := serve(t, web.Config{Engine: engineFake, MaxPromptBytes: 1000, MaxTokens: 500})
	const id = "test-1"
	refusal := func(message, faults string) string {
		return `{"error":{"message":"` + message + `"` + faults + `,"request_id":"` + id + `"}}`
	}
	const unfit = "The request cannot be answered as it is."
	for name, c := range map[string]struct {
		method, path, body string
		header             map[string]string
		status             int
		want               string // the whole body
	}{
		"health":       {"GET", "/healthz", "", nil, 200, `{"status":"ok"}`},
		"head":         {"HEAD", "/healthz", "", nil, 200, ``},
		"lost":         {"GET", "/nothing", "", nil, 404, refusal("There is nothing at this address; the page is at /.", "")},
		"lost file":    {"GET", "/static/none.js", "", nil, 404, refusal("There is nothing at this address; the page is at /.", "")},
		"method":       {"GET", "/api/generate", "", nil, 405, refusal("This address does not accept this HTTP method.", "")},
		"other host":   {"GET", "/", "", map[string]string{"Host": "evil.example:7860"}, 403, refusal("This server answers on this machine only; open it as localhost or 127.0.0.1.", "")},
		"other origin": {"POST", "/api/generate", `{"prompt":"a"}`, map[string]string{"Origin": "https://evil.example"}, 403, refusal("The request was sent by a page of another site; only this server's own page may use it.", "")},
		"form":         {"POST", "/api/generate", `prompt=a`, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 415, refusal("Send the request as JSON, with Content-Type: application/json.", "")},
		"no JSON":      {"POST", "/api/generate", `prompt`, nil, 400, refusal("The request is not a JSON object.", "")},
		"empty body":   {"POST", "/api/generate", ``, nil, 400, refusal("The request is not a JSON object.", "")},
		"array":        {"POST", "/api/generate", `[]`, nil, 400, refusal("The request is not a JSON object.", "")},
		"cut short":    {"POST", "/api/generate", `{"prompt":"a"`, nil, 400, refusal("The request is not valid JSON: the object is not closed.", "")},
		"more after":   {"POST", "/api/generate", `{"prompt":"a"} {}`, nil, 400, refusal("The request has more after its JSON object.", "")},
		"unknown field": {"POST", "/api/generate", `{"prompt":"a","ids":[1,99999],"Prompt":"b"}`, nil, 400,
			refusal("The request is not understood.", `,"faults":[{"field":"ids","message":"is not a field of this request"},{"field":"Prompt","message":"is not a field of this request"}]`)},
		"twice": {"POST", "/api/generate", `{"prompt":"a","prompt":"b"}`, nil, 400,
			refusal("The request is not understood.", `,"faults":[{"field":"prompt","message":"is given twice"}]`)},
		"wrong types": {"POST", "/api/generate", `{"prompt":7,"top_k":1.5,"stop":"x","seed":-1,"temperature":"hot","min_p":null}`, nil, 400,
			refusal("The request is not understood.", `,"faults":[{"field":"prompt","message":"must be a string, not number"},{"field":"top_k","message":"must be a whole number, not number 1.5"},{"field":"stop","message":"must be a list of strings, not string"},{"field":"seed","message":"must be a whole number from 0 to 18446744073709551615, not number -1"},{"field":"temperature","message":"must be a number, not string"},{"field":"min_p","message":"must be a number, not null"}]`)},
		"invalid UTF-8": {"POST", "/api/generate", "{\"prompt\":\"a\xffb\"}", nil, 400, refusal("The request is not valid UTF-8 (byte 12); send the text as UTF-8.", "")},
		"half a surrogate pair": {"POST", "/api/generate", `{"prompt":"a\ud83d"}`, nil, 400,
			refusal("The request is not understood.", `,"faults":[{"field":"prompt","message":"holds half of a surrogate pair, which is no character"}]`)},
		"empty prompt": {"POST", "/api/generate", `{"prompt":""}`, nil, 422, refusal(unfit, `,"faults":[{"field":"prompt","message":"there is no text; type some"}]`)},
		"out of range": {"POST", "/api/generate", `{"prompt":"a","domain":"cooking","max_tokens":501,"temperature":-1,"top_k":9000,"top_p":1.5,"min_p":-0.1,"repetition_penalty":11,"presence_penalty":-11,"logprobs":21,"stop":["a",""]}`, nil, 422,
			refusal(unfit, `,"faults":[{"field":"domain","message":"this model has no domain \"cooking\""},{"field":"max_tokens","message":"501 is outside 0 to 500"},{"field":"temperature","message":"-1 is outside 0 to 10"},{"field":"top_k","message":"9000 is outside 0 to 8192"},{"field":"top_p","message":"1.5 is outside 0 to 1"},{"field":"min_p","message":"-0.1 is outside 0 to 1"},{"field":"repetition_penalty","message":"11 is outside 0 to 10"},{"field":"presence_penalty","message":"-11 is outside -10 to 10"},{"field":"logprobs","message":"21 is outside 0 to 20"},{"field":"stop","message":"string 2 has 0 bytes; 1 to 256 are allowed"}]`)},
		"long prompt": {"POST", "/api/generate", `{"prompt":"` + strings.Repeat("a", 1001) + `"}`, nil, 413, refusal("The prompt is longer than this server accepts (1000 bytes); shorten it.", "")},
		"prompt of 10 MB": {"POST", "/api/generate", `{"prompt":"` + strings.Repeat("a", 10_000_000) + `"}`, nil, 413,
			refusal("The prompt is longer than this server accepts (1000 bytes); shorten it.", "")},
	} {
		t.Run(name, func(t *testing.T) {
			header := map[string]string{"X-Request-Id": id}
			for k, v := range c.header {
				header[k] = v
			}
			status, got, body := call(t, c.method, ts.URL+c.path, c.body, header)
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			if diff := cmp.Diff(c.want, body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if got.Get("X-Request-Id") != id {
				t.Errorf("request id %q, want %q", got.Get("X-Request-Id"), id)
			}
		})
	}
	if ran != 0 {
		t.Errorf("the engine ran %d times for refused requests", ran)
	}
}

func TestTenMegabytesAgainstDefaultLimit(t *testing.T) {
	ts := serve(t, web.Config{Engine: &fakeEngine{info: swarmInfo}})
	status, _, body := call(t, "POST", ts.URL+"/api/generate", `{"prompt":"`+strings.Repeat("é", 5_000_000)+`"}`, nil)
	if status != 413 || !strings.Contains(body, "longer than this server accepts (1048576 bytes)") {
		t.Errorf("status %d, body %s", status, body)
	}
}

func TestRequestReachesEngine(t *testing.T) {
	var got engine.Request
	ts := serve(t, web.Config{Engine: &fakeEngine{info: swarmInfo, generate: func(_ context.Context, r engine.Request, _ func(engine.Event) error) (engine.Result, error) {
		got = r
		return engine.Result{}, nil
	}}})
	call(t, "POST", ts.URL+"/api/generate", `{"prompt":"é\n\ud83d\ude00\ufffd","domain":"legal","max_tokens":7,"stop":["\n\n","end"],"logprobs":2,"temperature":0.5,"top_k":40,"top_p":0.9,"min_p":0.05,"repetition_penalty":1.2,"presence_penalty":-0.5,"seed":18446744073709551615}`, nil)
	want := engine.Request{Prompt: "é\n😀\uFFFD", Domain: "legal", MaxTokens: 7, Stop: []string{"\n\n", "end"}, Logprobs: 2,
		Sampling: engine.Sampling{Temperature: 0.5, TopK: 40, TopP: 0.9, MinP: 0.05, RepetitionPenalty: 1.2, PresencePenalty: -0.5, Seed: 18446744073709551615}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	seeds := map[uint64]bool{}
	for range 4 {
		call(t, "POST", ts.URL+"/api/generate", `{"prompt":"a"}`, nil)
		seeds[got.Seed] = true
		if got.Seed >= 1<<32 {
			t.Errorf("drawn seed %d is too long to retype", got.Seed)
		}
	}
	if len(seeds) != 4 {
		t.Errorf("4 requests without a seed got %d different ones", len(seeds))
	}
}

func TestStream(t *testing.T) {
	ts := serve(t, web.Config{Engine: &fakeEngine{info: swarmInfo, generate: say([]string{" one", " two\n", " \"three\""})}})
	status, header, body := call(t, "POST", ts.URL+"/api/generate", `{"prompt":"abcd","seed":5}`, nil)
	if status != 200 || header.Get("Content-Type") != "text/event-stream" || header.Get("X-Accel-Buffering") != "no" {
		t.Fatalf("status %d, header %v", status, header)
	}
	want := []event{
		{"routing", json.RawMessage(`{"chunks":[{"start":0,"end":4,"text":"ab","prompt":true,"encoders":[{"slot":0,"encoder":0,"domain":"fiction","weight":0.5,"changed":false},{"slot":1,"encoder":1,"domain":"code-go","weight":0.5,"changed":false}],"reason":"default"},{"start":4,"end":6,"text":"cd","prompt":true,"encoders":[{"slot":0,"encoder":0,"domain":"fiction","weight":0.7,"changed":false},{"slot":1,"encoder":2,"domain":"legal","weight":0.3,"changed":false}],"reason":"swapped"}]}`)},
		{"token", json.RawMessage(`{"text":" one","token":100,"logprob":-1.5}`)},
		{"token", json.RawMessage(`{"text":" two\n","token":101,"logprob":-1.5,"chunks":[{"start":4,"end":7,"text":"cd one","prompt":true,"encoders":[{"slot":0,"encoder":0,"domain":"fiction","weight":0.7,"changed":false},{"slot":1,"encoder":2,"domain":"legal","weight":0.3,"changed":false}],"reason":"swapped"}]}`)},
		{"token", json.RawMessage(`{"text":" \"three\"","token":102,"logprob":-1.5,"chunks":[{"start":4,"end":8,"text":"cd one two\n","prompt":true,"encoders":[{"slot":0,"encoder":0,"domain":"fiction","weight":0.7,"changed":false},{"slot":1,"encoder":2,"domain":"legal","weight":0.3,"changed":false}],"reason":"swapped"}]}`)},
	}
	got := readEvents(t, strings.NewReader(body))
	if len(got) != 5 || got[4].Name != "done" {
		t.Fatalf("events: %s", body)
	}
	if diff := cmp.Diff(want, got[:4]); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	var res engine.Result
	if err := json.Unmarshal(got[4].Data, &res); err != nil {
		t.Fatal(err)
	}
	if res.Text != " one two\n \"three\"" || res.Seed != 5 || res.FinishReason != engine.FinishLength || len(res.Chunks) != 2 || res.Chunks[1].Text != "cd one two\n" {
		t.Errorf("result %+v", res)
	}
}

// TestLateChunksBelongToAnswer sends what an engine reports after the last token:
// the chunk that it read last, without text.
func TestLateChunksBelongToAnswer(t *testing.T) {
	ts := serve(t, web.Config{Engine: &fakeEngine{info: swarmInfo, generate: func(_ context.Context, _ engine.Request, emit func(engine.Event) error) (engine.Result, error) {
		chunk := []engine.Chunk{{Start: 0, End: 2, Text: "ab", Prompt: true}}
		return engine.Result{}, errors.Join(emit(engine.Event{Token: -1, Chunks: chunk}), emit(engine.Event{Text: "b", Token: 3}), emit(engine.Event{Token: -1, Chunks: chunk}))
	}}})
	_, _, body := call(t, "POST", ts.URL+"/api/generate", `{"prompt":"a"}`, nil)
	var names []string
	for _, e := range readEvents(t, strings.NewReader(body)) {
		names = append(names, e.Name)
	}
	if diff := cmp.Diff([]string{"routing", "token", "token", "done"}, names); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestEngineRefusals: what the engine finds wrong with a request is told.
func TestEngineRefusals(t *testing.T) {
	for want, err := range map[string]error{
		`500 {"error":{"message":"Encoder 3: the model's logits are not finite.","request_id":"r"}}`:                                                                                 fmt.Errorf("encoder 3: %w", engine.ErrDamaged),
		`503 {"error":{"message":"Encoder 3, which the router picked, could not be fetched from the hub; try again later, or a text for encoders that are here.","request_id":"r"}}`: &engine.FetchError{Encoder: 3, Err: errors.New("secret path")},
		`422 {"error":{"message":"The prompt is empty; give at least one character.","request_id":"r"}}`:                                                                             engine.ErrEmptyPrompt,
		`413 {"error":{"message":"The prompt is too long: 9 bytes, at most 8 are allowed.","request_id":"r"}}`:                                                                       fmt.Errorf("%w: 9 bytes, at most 8 are allowed", engine.ErrPromptTooLong),
		`422 {"error":{"message":"The request is invalid: logprobs: 21 must be at most 20.","request_id":"r"}}`:                                                                      fmt.Errorf("%w: logprobs: 21 must be at most 20", engine.ErrBadRequest),
	} {
		ts := serve(t, web.Config{Engine: &fakeEngine{info: swarmInfo, generate: func(context.Context, engine.Request, func(engine.Event) error) (engine.Result, error) {
			return engine.Result{}, err
		}}})
		status, _, body := call(t, "POST", ts.URL+"/api/generate", `{"prompt":"a"}`, map[string]string{"X-Request-Id": "r"})
		if got := fmt.Sprint(status, " ", body); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// logTo returns a logger for a server that serves one request at a time.
func logTo(b *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

func TestEngineErrors(t *testing.T) {
	secret := errors.New("read /home/x/model.safetensors: tensor norm_f: 3 values are NaN")
	token := engine.Event{Text: "hello", Token: 1}
	for name, c := range map[string]struct {
		generate func(context.Context, engine.Request, func(engine.Event) error) (engine.Result, error)
		status   int
		events   []string
	}{
		"before the first event": {func(context.Context, engine.Request, func(engine.Event) error) (engine.Result, error) {
			return engine.Result{}, secret
		}, 500, nil},
		"after it": {func(_ context.Context, _ engine.Request, emit func(engine.Event) error) (engine.Result, error) {
			return engine.Result{}, errors.Join(emit(token), secret)
		}, 200, []string{"token", "error"}},
		"panic before": {func(context.Context, engine.Request, func(engine.Event) error) (engine.Result, error) {
			panic(secret)
		}, 500, nil},
		"panic after": {func(_ context.Context, _ engine.Request, emit func(engine.Event) error) (engine.Result, error) {
			emit(token)
			panic(secret)
		}, 200, []string{"token", "error"}},
	} {
		t.Run(name, func(t *testing.T) {
			var logs bytes.Buffer
			ts := serve(t, web.Config{Engine: &fakeEngine{info: swarmInfo, generate: c.generate}, Logger: logTo(&logs)})
			status, _, body := call(t, "POST", ts.URL+"/api/generate", `{"prompt":"a"}`, map[string]string{"X-Request-Id": "r-9"})
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			if c.events != nil {
				var names []string
				for _, e := range readEvents(t, strings.NewReader(body)) {
					names = append(names, e.Name)
				}
				if diff := cmp.Diff(c.events, names); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
			}
			const sentence = `{"error":{"message":"Internal error: the model could not answer; the server's log says why under this request id.","request_id":"r-9"}}`
			if !strings.Contains(body, sentence) || strings.Contains(body, "NaN") {
				t.Errorf("body %s", body)
			}
			if _, _, ok := call(t, "GET", ts.URL+"/healthz", "", nil); ok != `{"status":"ok"}` {
				t.Error("the server is gone")
			}
			ts.Close() // all handlers are done: the log is complete
			if !strings.Contains(logs.String(), "3 values are NaN") || !strings.Contains(logs.String(), "request_id=r-9") {
				t.Errorf("log %s", &logs)
			}
		})
	}
}

func TestLogHoldsNoUserText(t *testing.T) {
	var logs bytes.Buffer
	ts := serve(t, web.Config{Engine: &fakeEngine{info: swarmInfo, generate: say([]string{"ANSWERTEXT"})}, Logger: logTo(&logs)})
	call(t, "POST", ts.URL+"/api/generate", `{"prompt":"PROMPTTEXT"}`, nil)
	call(t, "GET", ts.URL+"/PATHTEXT?QUERYTEXT", "", nil)
	ts.Close()
	if strings.Contains(logs.String(), "TEXT") {
		t.Errorf("log %s", &logs)
	}
	if !strings.Contains(logs.String(), "route=/api/generate status=200") {
		t.Errorf("log has no line for the request: %s", &logs)
	}
}

func TestDisconnectCancelsModel(t *testing.T) {
	ended := make(chan error, 1)
	ts := serve(t, web.Config{Engine: &fakeEngine{info: swarmInfo, generate: func(ctx context.Context, _ engine.Request, emit func(engine.Event) error) (engine.Result, error) {
		if err := emit(engine.Event{Text: "a", Token: 1}); err != nil {
			return engine.Result{}, err
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return engine.Result{FinishReason: engine.FinishCancelled}, nil
	}}})
	resp, err := http.Post(ts.URL+"/api/generate", "application/json", strings.NewReader(`{"prompt":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the model's context ended with %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the model still runs two minutes after its reader left")
	}
}

func TestInfoAndPage(t *testing.T) {
	ts := serve(t, web.Config{Engine: &fakeEngine{info: swarmInfo}})
	_, header, body := call(t, "GET", ts.URL+"/api/info", "", nil)
	var info engine.Info
	if err := json.Unmarshal([]byte(body), &info); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(swarmInfo, info); diff != "" {
		t.Errorf("info (-want +got):\n%s", diff)
	}
	const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; frame-ancestors 'self'"
	if header.Get("Content-Security-Policy") != policy || header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("header %v", header)
	}
	status, header, page := call(t, "GET", ts.URL+"/", "", nil)
	if status != 200 || header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("status %d, header %v", status, header)
	}
	for _, want := range []string{
		"mini-swarm", "mamba_swarm over mamba2", "21\u202f345\u202f678", "16\u202f789\u202f012 (79 %)",
		"E = 4, of which k = 2 run", "Lₑ = 2 of 12", "<dt>Chunk length</dt><dd>4 tokens</dd>", "float32",
		"All 4 encoders are still copies of mamba2-mini", "<option>biology</option><option>code-go</option>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if n := strings.Count(page, "data-prompt="); n != 19 {
		t.Errorf("the page offers %d examples, want 19", n)
	}
	if strings.Contains(page, "http://") || strings.Contains(page, "https://") || strings.Contains(page, "style=") {
		t.Error("the page names another address or styles inline")
	}
}

func TestPlainModelSaysSo(t *testing.T) {
	plain := engine.Info{Name: "mamba2-mini", ModelType: "mamba2", Parameters: 10, ActiveParameters: 10, NumEncoders: 1, NumLayers: 12, VocabSize: 8192}
	ts := serve(t, web.Config{Engine: &fakeEngine{info: plain}})
	_, _, page := call(t, "GET", ts.URL+"/", "", nil)
	if !strings.Contains(page, "it has one encoder and no router") || strings.Contains(page, `id="legend"`) || !strings.Contains(page, "this model names no domains") {
		t.Error("the page of a plain model speaks of routing")
	}
}

func TestNamesAreEscaped(t *testing.T) {
	info := swarmInfo
	info.Name = `<script>alert(1)</script>`
	info.Domains = []string{`"><b>`}
	ts := serve(t, web.Config{Engine: &fakeEngine{info: info}, Examples: []web.Example{{Domain: "<i>", Prompt: `"<u>`}}})
	_, _, page := call(t, "GET", ts.URL+"/", "", nil)
	for _, raw := range []string{"<script>alert", "<b>", "<i>", "<u>"} {
		if strings.Contains(page, raw) {
			t.Errorf("the page holds %s unescaped", raw)
		}
	}
}

func TestStaticFiles(t *testing.T) {
	ts := serve(t, web.Config{Engine: &fakeEngine{info: swarmInfo}})
	for name, kind := range map[string]string{"app.js": "text/javascript; charset=utf-8", "app.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"} {
		status, header, body := call(t, "GET", ts.URL+"/static/"+name, "", nil)
		if status != 200 || header.Get("Content-Type") != kind || body == "" {
			t.Errorf("%s: status %d, type %q, %d bytes", name, status, header.Get("Content-Type"), len(body))
		}
		status, _, body = call(t, "GET", ts.URL+"/static/"+name, "", map[string]string{"If-None-Match": header.Get("ETag")})
		if status != 304 || body != "" {
			t.Errorf("%s again: status %d, %d bytes", name, status, len(body))
		}
	}
}

func TestRequestID(t *testing.T) {
	ts := serve(t, web.Config{Engine: &fakeEngine{info: swarmInfo}})
	for sent, kept := range map[string]bool{"abc-1.2_3": true, "": false, "a b": false, strings.Repeat("x", 65): false} {
		_, header, _ := call(t, "GET", ts.URL+"/healthz", "", map[string]string{"X-Request-Id": sent})
		if got := header.Get("X-Request-Id"); (got == sent) != kept || got == "" {
			t.Errorf("sent %q, got %q", sent, got)
		}
	}
}
