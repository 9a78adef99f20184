package web

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzDecodeRequest checks against encoding/json: what is accepted is a JSON
// object, the strings are valid and equal to those that the standard decoder
// finds under the same exact keys.
func FuzzDecodeRequest(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"prompt":"a"}`, `{"prompt":"\ud83d\ude00","stop":["x","\ufffd"]}`, `{"prompt":"\ud83d"}`, `{"seed":18446744073709551615}`,
		`{"seed":1e3}`, `{"prompt":"a"}}`, `{"a":{"b":[1,2]}}`, `{]`, "{\"prompt\":\"\xff\"}", `{"top_p":1e999}`, `{"prompt":"a",}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decodeRequest(body)
		if err != nil {
			if e, ok := err.(*Error); !ok || e.Status != 400 || e.Error() == "" {
				t.Fatalf("error %#v", err)
			}
			return
		}
		if !json.Valid(body) || !utf8.ValidString(got.Prompt) {
			t.Fatalf("accepted %q", body)
		}
		var want struct {
			Prompt      string   `json:"prompt"`
			Stop        []string `json:"stop"`
			Temperature float64  `json:"temperature"`
			TopK        int      `json:"top_k"`
		}
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", body, err)
		}
		if got.Prompt != want.Prompt || got.Temperature != want.Temperature || got.TopK != want.TopK || !cmp.Equal(got.Stop, want.Stop, cmpopts.EquateEmpty()) {
			t.Fatalf("%q gives %+v, encoding/json %+v", body, got, want)
		}
	})
}
