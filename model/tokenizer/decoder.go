package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Stream turns ids, one at a time, into text. It gives out only whole characters, and what it
// gives out adds up to what Decode makes of all the ids. Every Push costs the same, however
// long the stream is. A Stream is for one goroutine.
type Stream struct {
	t           Tokenizer
	skipSpecial bool

	bytes   bool   // tokens are bytes: pending holds those of an unfinished character
	pending []byte // at most 3 bytes

	// For other tokenizers, whose tokens may read differently after others: the tokens that were
	// given out last, how they read, and those that wait.
	shown   []int32
	text    string
	waiting []int32
}

// NewStream returns a Stream of t. skipSpecial leaves special tokens out, as in Decode.
func NewStream(t Tokenizer, skipSpecial bool) *Stream {
	if p, ok := t.(*preprocessed); ok {
		t = p.Tokenizer // decoding is the same
	}
	b, ok := t.(interface{ byteLevel() bool })
	return &Stream{t: t, skipSpecial: skipSpecial, bytes: ok && b.byteLevel()}
}

// Push adds one id and returns the text that it completes, often empty.
func (s *Stream) Push(id int32) (string, error) {
	if err := checkIDs([]int32{id}); err != nil {
		return "", err
	}
	token, ok := s.t.TokenText(id)
	if !ok || s.skipSpecial && s.t.IsSpecial(id) {
		return "", nil
	}
	if s.bytes {
		text, rest := appendLossy(nil, appendTokenBytes(s.pending, token), false)
		s.pending = append(s.pending[:0], rest...)
		return string(text), nil
	}
	s.waiting = append(s.waiting, id)
	if isByteToken(token) {
		return "", nil // a run of bytes is read as a whole
	}
	return s.show(false)
}

// Flush ends the stream and returns what is left; a character that was not finished becomes
// U+FFFD. The Stream then begins anew.
func (s *Stream) Flush() (string, error) {
	text, err := "", error(nil)
	if s.bytes {
		raw, _ := appendLossy(nil, s.pending, true)
		text = string(raw)
	} else if len(s.waiting) > 0 {
		text, err = s.show(true)
	}
	*s = Stream{t: s.t, skipSpecial: s.skipSpecial, bytes: s.bytes}
	return text, err
}

// maxSilent bounds the tokens that wait: those without text at the beginning of a stream, where
// they may decide how the first text reads, and those after which a character is unfinished.
const maxSilent = 16

// show returns what the waiting tokens add to the text of those before them; final says that no
// more will come.
func (s *Stream) show(final bool) (string, error) {
	all, err := s.t.Decode(append(s.shown, s.waiting...), s.skipSpecial)
	if err != nil {
		return "", err
	}
	added := all[sharedPrefix(all, s.text):]
	if strings.HasSuffix(added, "\uFFFD") && len(s.waiting) < maxSilent && !final {
		return "", nil // perhaps the beginning of a character
	}
	if added == "" {
		if len(s.shown) > 0 || len(s.waiting) > maxSilent {
			s.waiting = s.waiting[:0]
		}
		return "", nil
	}
	if s.text, err = s.t.Decode(s.waiting, s.skipSpecial); err != nil {
		return "", err
	}
	s.shown, s.waiting = append(s.shown[:0], s.waiting...), s.waiting[:0]
	return added, nil
}

// sharedPrefix returns how many bytes of whole characters a and b have in common at the beginning.
func sharedPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && n < len(a) && !utf8.RuneStart(a[n]) {
		n--
	}
	return n
}

// isByteToken reports whether a token stands for one byte, as "<0x0A>" does.
func isByteToken(token string) bool {
	return len(token) == 6 && strings.HasPrefix(token, "<0x") && token[5] == '>'
}

// appendLossy appends src to dst with every maximal part of a character that is not whole
// replaced by U+FFFD (Unicode Standard, section 3.9). Unless final, the beginning of a character
// at the end of src is not appended but returned as rest.
func appendLossy(dst, src []byte, final bool) (text, rest []byte) {
	for len(src) > 0 {
		r, size := utf8.DecodeRune(src)
		if r == utf8.RuneError && size == 1 {
			n := beginning(src)
			if n == len(src) && !final && !utf8.FullRune(src) {
				return dst, src
			}
			dst = append(dst, "\uFFFD"...)
			src = src[n:]
			continue
		}
		dst = append(dst, src[:size]...)
		src = src[size:]
	}
	return dst, nil
}

// beginning returns how many bytes of src, which does not begin with a whole character, begin
// one; at least 1.
func beginning(src []byte) int {
	n := 1
	for n < len(src) && n < utf8.UTFMax && !utf8.FullRune(src[:n]) {
		n++
	}
	if n > 1 && utf8.FullRune(src[:n]) {
		n-- // the last byte does not continue the character
	}
	return n
}
