//go:build cgo

package tokenizer

import (
	"fmt"
	"testing"
)

// TestDecodeNUL: the byte token of NUL reads as NUL, as every byte token reads as its
// byte, and as U+FFFD in a run of bytes that is no text.
func TestDecodeNUL(t *testing.T) {
	tok := load(t, "testdata/unigram")
	id := func(token string) int32 {
		id, ok := tok.TokenID(token)
		if !ok {
			t.Fatalf("no token %q", token)
		}
		return id
	}
	for _, c := range []struct {
		tokens []string
		want   string
	}{
		{[]string{"<0x00>"}, "\x00"},
		{[]string{"▁the", "<0x00>", "t", "▁the"}, "the\x00t the"},
		{[]string{"<0x01>", "<0x00>", "<0x02>", "<0x00>", "t"}, "\x01\x00\x02\x00t"},
		{[]string{"<0x00>", "<0xFF>", "t"}, "\uFFFD\uFFFDt"},
	} {
		ids, given := []int32{}, ""
		s := NewStream(tok, true)
		for _, token := range c.tokens {
			ids = append(ids, id(token))
			text, err := s.Push(id(token))
			if err != nil {
				t.Errorf("%q: %v", c.tokens, err)
			}
			given += text
		}
		rest, err := s.Flush()
		if err != nil || given+rest != c.want {
			t.Errorf("%q: streamed %q, want %q (%v)", c.tokens, given+rest, c.want, err)
		}
		if got, err := tok.Decode(ids, true); err != nil || got != c.want {
			t.Errorf("%q: %q, want %q (%v)", c.tokens, got, c.want, err)
		}
	}
	every := []int32{} // no control character is left to stand in
	for c := range 32 {
		every = append(every, id(fmt.Sprintf("<0x%02X>", c)))
	}
	if got, err := tok.Decode(every, true); err == nil {
		t.Errorf("every control character: %q, want an error", got)
	}
}
