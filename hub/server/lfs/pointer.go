package lfs

import (
	"bytes"
	"fmt"
	"strconv"
)

// Pointer stands for a large file in a commit.
type Pointer struct {
	SHA256 string // 64 hex digits
	Size   int64  // bytes
}

// MaxPointer is the size in bytes above which a blob is no pointer.
const MaxPointer = 1024

const pointerVersion = "version https://git-lfs.github.com/spec/v1\n"

// Text is the pointer as it stands in a blob.
func (p Pointer) Text() []byte {
	return fmt.Appendf(nil, "%soid sha256:%s\nsize %d\n", pointerVersion, p.SHA256, p.Size)
}

// ParsePointer reads a blob; false when it is an ordinary file. Only the form
// that git-lfs writes today counts: version, then lines in the order of their
// keys, oid and size among them.
func ParsePointer(blob []byte) (Pointer, bool) {
	rest, ok := bytes.CutPrefix(blob, []byte(pointerVersion))
	if !ok || len(blob) >= MaxPointer {
		return Pointer{}, false
	}
	var p Pointer
	last := ""
	for line := range bytes.SplitSeq(bytes.TrimSuffix(rest, []byte("\n")), []byte("\n")) {
		key, value, ok := bytes.Cut(line, []byte(" "))
		if !ok || string(key) <= last {
			return Pointer{}, false
		}
		last = string(key)
		switch last {
		case "oid":
			sha, ok := bytes.CutPrefix(value, []byte("sha256:"))
			if !ok || !IsSHA256(string(sha)) {
				return Pointer{}, false
			}
			p.SHA256 = string(sha)
		case "size":
			size, err := strconv.ParseInt(string(value), 10, 64)
			if err != nil || size < 0 || strconv.FormatInt(size, 10) != string(value) {
				return Pointer{}, false
			}
			p.Size = size
		}
	}
	if p.SHA256 == "" || last != "size" {
		return Pointer{}, false
	}
	return p, true
}

// IsSHA256 tells whether s is a hash as this package writes it: 64 digits, lower case.
func IsSHA256(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
