package web_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/web"
)

// TestControlsBeginWithTheModelsValues: the settings start with what the model's
// authors recommend, and else with the page's own.
func TestControlsBeginWithTheModelsValues(t *testing.T) {
	for name, c := range map[string]struct {
		sampling engine.Sampling
		want     map[string]string
	}{
		"none":          {engine.Sampling{}, map[string]string{"temperature": "0.8", "top_k": "0", "top_p": "0.95", "min_p": "0", "repetition_penalty": "1.1"}},
		"penalty alone": {engine.Sampling{RepetitionPenalty: 1.3}, map[string]string{"temperature": "0.8", "repetition_penalty": "1.3"}},
		"all":           {engine.Sampling{Temperature: 0.65, TopK: 3, TopP: 0.9, MinP: 0.02, RepetitionPenalty: 1.05}, map[string]string{"temperature": "0.65", "top_k": "3", "top_p": "0.9", "min_p": "0.02", "repetition_penalty": "1.05"}},
		"some":          {engine.Sampling{Temperature: 1}, map[string]string{"temperature": "1", "top_k": "0", "top_p": "1", "repetition_penalty": "1"}},
		"more than ids": {engine.Sampling{Temperature: 1, TopK: 1 << 30}, map[string]string{"top_k": strconv.Itoa(swarmInfo.VocabSize)}},
	} {
		ts := serve(t, web.Config{Engine: &fakeEngine{info: swarmInfo}, Sampling: c.sampling})
		_, _, page := call(t, "GET", ts.URL+"/", "", nil)
		for field, want := range c.want {
			control := regexp.MustCompile(`<input[^>]*name="` + field + `"[^>]*>`).FindString(page)
			if !strings.Contains(control, `value="`+want+`"`) {
				t.Errorf("%s: %s is %s, want %s", name, field, control, want)
			}
		}
	}
}
