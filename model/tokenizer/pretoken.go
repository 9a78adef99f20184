package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// GPT-2 splits text, before byte-pair merging, at the matches of
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// (Radford et al. 2019). nextPiece is that expression written out, since Go's regexp package has
// no look-ahead and is slower.

// charClass is what the expression tells characters apart by.
type charClass uint8

const (
	classOther charClass = iota
	classSpace
	classLetter
	classNumber
)

// asciiClass holds the class of every ASCII character.
var asciiClass = func() (t [utf8.RuneSelf]charClass) {
	for r := range rune(utf8.RuneSelf) {
		t[r] = wideClass(r)
	}
	return t
}()

// wideClass returns the class of any character.
func wideClass(r rune) charClass {
	switch {
	case unicode.IsLetter(r):
		return classLetter
	case unicode.IsNumber(r):
		return classNumber
	case unicode.Is(unicode.White_Space, r):
		return classSpace
	}
	return classOther
}

// classAt returns the class and size in bytes of the first character of s, which is not empty.
func classAt(s string) (charClass, int) {
	if s[0] < utf8.RuneSelf {
		return asciiClass[s[0]], 1
	}
	r, size := utf8.DecodeRuneInString(s)
	return wideClass(r), size
}

// nextPiece returns the length in bytes of the piece that s, which is not empty, begins with.
func nextPiece(s string) int {
	if s[0] == '\'' {
		if n := contraction(s); n > 0 {
			return n
		}
	}
	i := 0
	if s[0] == ' ' && len(s) > 1 {
		i = 1
	}
	class, size := classAt(s[i:])
	if class == classSpace {
		return spacePiece(s)
	}
	for i += size; i < len(s); i += size {
		var c charClass
		if c, size = classAt(s[i:]); c != class {
			break
		}
	}
	return i
}

// contraction returns the length of the English contraction that s begins with, or 0.
func contraction(s string) int {
	if len(s) >= 3 {
		switch s[:3] {
		case "'re", "'ve", "'ll":
			return 3
		}
	}
	if len(s) >= 2 && strings.IndexByte("stmd", s[1]) >= 0 {
		return 2
	}
	return 0
}

// spacePiece returns the length of the white space that s begins with, but leaves its last
// character to the text after it when there is more than one.
func spacePiece(s string) int {
	end := spaceRun(s)
	if end == len(s) {
		return end
	}
	if _, size := utf8.DecodeLastRuneInString(s[:end]); size < end {
		return end - size
	}
	return end
}

// spaceRun returns the length of the white space that s begins with.
func spaceRun(s string) int {
	n := 0
	for n < len(s) {
		class, size := classAt(s[n:])
		if class != classSpace {
			break
		}
		n += size
	}
	return n
}
