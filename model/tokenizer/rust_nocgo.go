//go:build !cgo

package tokenizer

import "fmt"

// loadHF opens a tokenizer.json, read from path, in Go alone.
func loadHF(path string, data []byte, cfg *Config) (Tokenizer, error) {
	f, v, err := parseHF(path, data)
	if err != nil {
		return nil, err
	}
	b, err := newBPE(f, v, cfg)
	if err != nil {
		return nil, fmt.Errorf("read tokenizer %s: %w: it takes a program built with cgo (CGO_ENABLED=1)", path, err)
	}
	return b, nil
}
