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

// wholeRunes moves the ends of offsets that are within a character of text to its beginning.
// HuggingFace's library leaves such ends where it trims a space that it had put before a text.
func wholeRunes(text string, offsets [][2]int) [][2]int {
	for i := range offsets {
		for j, at := range offsets[i] {
			for at > 0 && at < len(text) && !utf8.RuneStart(text[at]) {
				at--
			}
			offsets[i][j] = at
		}
	}
	return offsets
}

// sinceUnicode9 holds the characters with a combining class or a composition that Unicode got
// after version 9.0, whose normal forms HuggingFace's library uses.
var sinceUnicode9 = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x07FD, 0x07FD, 1}, {0x0898, 0x089F, 1}, {0x08CA, 0x08D3, 1}, {0x09FE, 0x09FE, 1},
		{0x0C3C, 0x0C3C, 1}, {0x0D3B, 0x0D3C, 1}, {0x0EBA, 0x0EBA, 1}, {0x1715, 0x1715, 1},
		{0x1ABF, 0x1ACE, 1}, {0x1DF6, 0x1DFA, 1}, {0xA82C, 0xA82C, 1},
	},
	R32: []unicode.Range32{
		{0x10D24, 0x10D27, 1}, {0x10EAB, 0x10EAC, 1}, {0x10EFD, 0x10EFF, 1}, {0x10F46, 0x10F50, 1},
		{0x10F82, 0x10F85, 1}, {0x11070, 0x11070, 1}, {0x1133B, 0x1133B, 1}, {0x1145E, 0x1145E, 1},
		{0x11839, 0x1183A, 1}, {0x11930, 0x11930, 1}, {0x11938, 0x11938, 1}, {0x1193D, 0x1193E, 1},
		{0x11943, 0x11943, 1}, {0x119E0, 0x119E0, 1}, {0x11A34, 0x11A34, 1}, {0x11A47, 0x11A47, 1},
		{0x11A99, 0x11A99, 1}, {0x11D42, 0x11D42, 1}, {0x11D44, 0x11D45, 1}, {0x11D97, 0x11D97, 1},
		{0x11F41, 0x11F42, 1}, {0x16FF0, 0x16FF1, 1}, {0x1E08F, 0x1E08F, 1}, {0x1E130, 0x1E136, 1},
		{0x1E2AE, 0x1E2AE, 1}, {0x1E2EC, 0x1E2EF, 1}, {0x1E4EC, 0x1E4EF, 1},
	},
}
