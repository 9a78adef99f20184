package web_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/web"
)

// A request is answered by server-sent events, the last of which holds the result.
func ExampleServer_Handler() {
	s, err := web.New(web.Config{Engine: &fakeEngine{generate: func(_ context.Context, r engine.Request, emit func(engine.Event) error) (engine.Result, error) {
		return engine.Result{Text: "!", CompletionTokens: 1, FinishReason: engine.FinishStop, Seed: r.Seed}, emit(engine.Event{Text: "!", Token: 0})
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ts := httptest.NewServer(s.Handler())
	defer ts.Close()
	resp, err := http.Post(ts.URL+"/api/generate", "application/json", strings.NewReader(`{"prompt": "Hello, world", "seed": 7}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	stream, err := io.ReadAll(resp.Body)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(stream))
	// Output:
	// event: token
	// data: {"text":"!","token":0,"logprob":0}
	//
	// event: done
	// data: {"text":"!","prompt_tokens":0,"completion_tokens":1,"finish_reason":"stop","first_token_ms":0,"tokens_per_second":0,"encoder_swaps":0,"seed":7}
}
