package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/model/data"
)

// tokenizerSum is the digest of the file by which a tokenizer is known. The error wraps
// fs.ErrNotExist where the folder has none.
func tokenizerSum(dir string) (string, error) {
	for _, name := range []string{"tokenizer.json", "tokenizer.model"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read tokenizer: %w", err)
		}
		sum := sha256.Sum256(text)
		return hex.EncodeToString(sum[:]), nil
	}
	return "", fmt.Errorf("%s has neither tokenizer.json nor tokenizer.model: %w", dir, fs.ErrNotExist)
}

// checkTokenizer refuses prepared data whose ids another tokenizer made than that in a
// folder, which the command line calls what.
func checkTokenizer(what, folder, prepared string) error {
	m, err := data.ReadManifest(prepared)
	if err != nil {
		return err
	}
	sum, err := tokenizerSum(folder)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if sum != m.Tokenizer.SHA256 {
		return usageError("%s has another tokenizer than the data in %s; `mes data prepare -tokenizer %s` makes data that fits", what, prepared, folder)
	}
	return nil
}

// checkVocabulary is checkTokenizer for a model, which may be one without a tokenizer.
func checkVocabulary(what string, p *hub.Pretrained, prepared string) error {
	if _, err := tokenizerSum(p.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return checkTokenizer(what, p.Dir, prepared)
}
