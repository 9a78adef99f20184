package tokenizer

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// matcher finds added tokens in a text: the leftmost, and of those the longest.
type matcher struct {
	byFirst [256][]pattern // by first byte, longest first
	some    bool
}

// pattern is an added token and the text that it is found by.
type pattern struct {
	text  string
	token addedToken
}

// add makes m find token where text stands.
func (m *matcher) add(token addedToken, text string) {
	if text == "" {
		return
	}
	list := &m.byFirst[text[0]]
	at, _ := slices.BinarySearchFunc(*list, len(text), func(p pattern, n int) int {
		if len(p.text) >= n {
			return -1
		}
		return 1
	})
	*list = slices.Insert(*list, at, pattern{text, token})
	m.some = true
}

// each cuts s into added tokens and the text between them, in order. It gives the byte range
// and the id of every part; the id of plain text is -1, and plain text is never empty.
func (m *matcher) each(s string, part func(lo, hi int, id int32)) {
	done := 0
	for at := 0; m.some && at < len(s); {
		p := m.at(s[at:])
		if p == nil {
			at++
			continue
		}
		lo, hi := at, at+len(p.text)
		at = hi
		if p.token.SingleWord && (endsInWord(s[:lo]) || beginsWithWord(s[hi:])) {
			continue
		}
		if p.token.LStrip {
			lo = max(done, len(strings.TrimRightFunc(s[:lo], isWhite)))
		}
		if p.token.RStrip {
			hi = len(s) - len(strings.TrimLeftFunc(s[hi:], isWhite))
		}
		if done < lo {
			part(done, lo, -1)
		}
		part(lo, hi, p.token.ID)
		done = hi
	}
	if done < len(s) {
		part(done, len(s), -1)
	}
}

// at returns the longest pattern that s begins with, or nil.
func (m *matcher) at(s string) *pattern {
	list := m.byFirst[s[0]]
	for i := range list {
		if strings.HasPrefix(s, list[i].text) {
			return &list[i]
		}
	}
	return nil
}

// isWhite reports whether r is Unicode white space.
func isWhite(r rune) bool { return unicode.Is(unicode.White_Space, r) }

// isWord reports whether r is a word character in the sense of Unicode Technical Standard 18.
func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc,
		unicode.Other_Alphabetic, unicode.Join_Control)
}

func endsInWord(s string) bool {
	r, size := utf8.DecodeLastRuneInString(s)
	return size > 0 && isWord(r)
}

func beginsWithWord(s string) bool {
	r, size := utf8.DecodeRuneInString(s)
	return size > 0 && isWord(r)
}

// spacesAround counts the characters of white space at both ends of a token, GPT-2's sign for a
// space included.
func spacesAround(token string) (lead, trail int) {
	space := func(r rune) bool { return r == byteChar[' '] || isWhite(r) }
	rest := strings.TrimLeftFunc(token, space)
	lead = utf8.RuneCountInString(token[:len(token)-len(rest)])
	rest = strings.TrimRightFunc(token, space)
	return lead, utf8.RuneCountInString(token[len(rest):])
}
