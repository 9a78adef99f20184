package client

import (
	"strings"
	"unicode/utf8"
)

// Match reports whether a path is chosen by patterns as huggingface_hub reads
// them: '*' is any text with slashes, '?' one character, [a-z] and [!a-z] a set; a
// pattern that ends in '/' is all of that folder. No include pattern includes all;
// exclude wins.
func Match(path string, include, exclude []string) bool {
	return (len(include) == 0 || matchAny(path, include)) && !matchAny(path, exclude)
}

func matchAny(path string, patterns []string) bool {
	for _, p := range patterns {
		if strings.HasSuffix(p, "/") {
			p += "*"
		}
		if glob(p, path) {
			return true
		}
	}
	return false
}

// glob matches with one place to return to, the last star, so its time is at most
// the product of both lengths.
func glob(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			star, mark = p, i
			p++
			continue
		}
		if pn, sn, ok := matchOne(pattern[p:], s[i:]); ok {
			p, i = p+pn, i+sn
			continue
		}
		if star < 0 {
			return false
		}
		_, n := utf8.DecodeRuneInString(s[mark:])
		mark += n
		p, i = star+1, mark
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches the first element of a pattern with the first character of s.
func matchOne(pattern, s string) (pn, sn int, ok bool) {
	if pattern == "" {
		return 0, 0, false
	}
	c, sn := utf8.DecodeRuneInString(s)
	want, pn := utf8.DecodeRuneInString(pattern)
	switch want {
	case '?':
		return pn, sn, true
	case '[':
		if n, ok := matchSet(pattern, c); n > 0 {
			return n, sn, ok
		}
	}
	return pn, sn, want == c && pattern[:pn] == s[:sn]
}

// matchSet matches [...] at the start of pattern; n is 0 if it has no end.
func matchSet(pattern string, c rune) (n int, ok bool) {
	i := 1
	not := strings.HasPrefix(pattern[i:], "!")
	if not {
		i++
	}
	for first := true; i < len(pattern); first = false {
		low, size := utf8.DecodeRuneInString(pattern[i:])
		if low == ']' && !first {
			return i + 1, ok != not
		}
		i += size
		high := low
		if rest := pattern[i:]; len(rest) > 1 && rest[0] == '-' && rest[1] != ']' {
			high, size = utf8.DecodeRuneInString(rest[1:])
			i += 1 + size
		}
		ok = ok || low <= c && c <= high
	}
	return 0, false
}
