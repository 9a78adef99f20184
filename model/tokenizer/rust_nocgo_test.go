//go:build !cgo

package tokenizer

import (
	"strings"
	"testing"
)

// TestOnlyInRust says which build reads a file that the Go implementation does not.
func TestOnlyInRust(t *testing.T) {
	_, err := Load("testdata/unigram")
	if err == nil || !strings.Contains(err.Error(), `its model is "Unigram", not BPE`) || !strings.Contains(err.Error(), "built with cgo") {
		t.Errorf("error %v", err)
	}
}
