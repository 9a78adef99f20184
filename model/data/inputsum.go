package data

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
)

// InputSum is a SHA-256 over what [Prepare] reads of an input: the names and bytes of its
// files. An input with the same sum gives the same data.
func InputSum(ctx context.Context, input string) (string, error) {
	all := sha256.New()
	err := walk(input, func(path string, p place) error {
		if path == "" || ctx.Err() != nil {
			return ctx.Err()
		}
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("read input: %w", err)
		}
		defer f.Close()
		file := sha256.New()
		if _, err := io.Copy(file, f); err != nil {
			return fmt.Errorf("read input: %w", err)
		}
		fmt.Fprintf(all, "%x  %q\n", file.Sum(nil), strings.Join(p.parts, "/"))
		return nil
	})
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}
