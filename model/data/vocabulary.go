package data

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

// tokenizerFiles are the files by which a tokenizer is known; the first that is there counts,
// as in tokenizer.Load.
var tokenizerFiles = []string{"tokenizer.json", "tokenizer.model"}

// tokenizerSettings may stand beside them.
var tokenizerSettings = []string{"tokenizer_config.json", "chat_template.jinja"}

// copyTokenizer copies a tokenizer into a data folder and opens the copy. from is a folder,
// or one of tokenizerFiles.
func copyTokenizer(from, dir string) (TokenizerInfo, tokenizer.Tokenizer, error) {
	fail := func(err error) (TokenizerInfo, tokenizer.Tokenizer, error) {
		return TokenizerInfo{}, nil, fmt.Errorf("prepare data: %w", err)
	}
	main, err := findTokenizer(from)
	if err != nil {
		return fail(err)
	}
	content, err := os.ReadFile(main)
	if err != nil {
		return fail(fmt.Errorf("read tokenizer: %w", err))
	}
	to := filepath.Join(dir, TokenizerDir)
	if err := os.Mkdir(to, 0o777); err != nil {
		return fail(err)
	}
	info := TokenizerInfo{File: filepath.Base(main), SHA256: hexSHA256(content)}
	if err := writeFile(filepath.Join(to, info.File), content); err != nil {
		return fail(err)
	}
	for _, name := range tokenizerSettings {
		content, err := os.ReadFile(filepath.Join(filepath.Dir(main), name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = writeFile(filepath.Join(to, name), content)
		}
		if err != nil {
			return fail(err)
		}
	}
	tok, err := tokenizer.Load(to)
	if err != nil {
		return fail(fmt.Errorf("open tokenizer %s: %w", from, err))
	}
	info.VocabSize, info.Preprocess = tok.VocabSize(), tok.Config().Preprocess
	return info, tok, nil
}

// findTokenizer gives the path of the file by which a tokenizer is known.
func findTokenizer(from string) (string, error) {
	stat, err := os.Stat(from)
	if err != nil {
		return "", fmt.Errorf("read tokenizer: %w", err)
	}
	if !stat.IsDir() {
		for _, name := range tokenizerFiles {
			if filepath.Base(from) == name {
				return from, nil
			}
		}
		return "", wrongConfig("tokenizer %s: give a folder, or a file named tokenizer.json or tokenizer.model", from)
	}
	for _, name := range tokenizerFiles {
		if path := filepath.Join(from, name); exists(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("tokenizer %s: the folder has neither tokenizer.json nor tokenizer.model; `mes tokenizer train` makes one: %w", from, fs.ErrNotExist)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func hexSHA256(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
