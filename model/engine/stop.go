package engine

import "strings"

// stopText holds text back until it cannot be the beginning of a stop string.
type stopText struct {
	stops []string
	held  string
}

// push adds text and returns what is final: everything before the stop string that
// is complete first (of several the longest), wherever the text is cut into pieces;
// or all but an end that a stop string may begin with.
func (s *stopText) push(text string) (final string, stopped bool) {
	s.held += text
	start, end := 0, len(s.held)+1
	for _, stop := range s.stops {
		i := strings.Index(s.held, stop)
		if j := i + len(stop); i >= 0 && (j < end || j == end && i < start) {
			start, end = i, j
		}
	}
	if end <= len(s.held) {
		final, s.held = s.held[:start], ""
		return final, true
	}
	keep := 0
	for _, stop := range s.stops {
		for n := min(len(stop)-1, len(s.held)); n > keep; n-- {
			if strings.HasSuffix(s.held, stop[:n]) {
				keep = n
			}
		}
	}
	final, s.held = s.held[:len(s.held)-keep], s.held[len(s.held)-keep:]
	return final, false
}

// flush returns what was held back.
func (s *stopText) flush() string {
	rest := s.held
	s.held = ""
	return rest
}
