package gitrepo

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrPath is wrapped by errors about names that no commit may hold.
var ErrPath = errors.New("not a valid path")

// CheckPath tells whether a file of a repository may have this path: relative,
// slashes only, no `.`, `..` or `.git` part, valid UTF-8 without control
// characters or backslashes.
func CheckPath(path string) error {
	switch {
	case path == "":
		return fmt.Errorf("%w: it is empty", ErrPath)
	case len(path) > 1024:
		return fmt.Errorf("%w: it is longer than 1024 bytes", ErrPath)
	case !utf8.ValidString(path):
		return fmt.Errorf("%w: it is not UTF-8", ErrPath)
	}
	for _, c := range path {
		if c == '\\' || unicode.IsControl(c) || ignored(c) {
			return fmt.Errorf("%w: %q has the character %q", ErrPath, path, c)
		}
	}
	for part := range strings.SplitSeq(path, "/") {
		if err := checkPart(path, part); err != nil {
			return err
		}
	}
	return nil
}

func checkPart(path, part string) error {
	low := strings.ToLower(strings.TrimRight(part, " ."))
	switch {
	case part == "":
		return fmt.Errorf("%w: %q has an empty part", ErrPath, path)
	case part == "." || part == "..":
		return fmt.Errorf("%w: %q has a part %q", ErrPath, path, part)
	case low == ".git" || low == "git~1" || strings.HasPrefix(low, ".git:"):
		return fmt.Errorf("%w: %q has a part that git keeps for itself", ErrPath, path)
	case len(part) > 255:
		return fmt.Errorf("%w: %q has a part longer than 255 bytes", ErrPath, path)
	}
	return nil
}

// ignored lists characters that some file systems drop from names, so that
// ".g\u200cit" becomes ".git" there.
func ignored(c rune) bool {
	return c >= 0x200b && c <= 0x200f || c >= 0x202a && c <= 0x202e || c >= 0x206a && c <= 0x206f || c == 0xfeff
}
