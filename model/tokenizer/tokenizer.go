// Package tokenizer turns text into the ids that a model reads, and ids back into text.
//
// [Load] opens the tokenizer of a model folder in HuggingFace's layout:
//
//   - tokenizer.json, through the Rust library that HuggingFace itself uses
//     (github.com/daulet/tokenizers). A program built without cgo reads byte-level BPE files
//     with this package's own implementation, which gives the same ids;
//   - tokenizer.model, a SentencePiece BPE model, through go-huggingface.
//
// [Train] learns a byte-level BPE whose file HuggingFace's library loads with the same ids,
// [NewStream] turns a stream of ids into text without ever splitting a character, and
// [Config.ApplyChatTemplate] renders a conversation into a prompt.
//
// Sources: Sennrich et al. 2016 (byte-pair encoding), Radford et al. 2019 (byte-level BPE, its
// splitting rule), Kudo and Richardson 2018 (SentencePiece).
package tokenizer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unicode/utf8"
)

// Tokenizer maps text to ids and back. Its methods may be called from several goroutines at
// once, Close excepted.
type Tokenizer interface {
	// Encode returns the ids of text, with the special tokens that the tokenizer's own file
	// adds. Text that names a special token, such as "<|endoftext|>", yields that token.
	// Text that is not UTF-8 is an [InvalidUTF8Error]; nothing is ever replaced.
	Encode(text string) ([]int32, error)

	// EncodeOffsets is Encode with, for every id, the half-open byte range of text that it
	// covers. A token that holds part of a character covers the whole of it; a special token
	// that is not in text has the range [0, 0].
	EncodeOffsets(text string) (ids []int32, offsets [][2]int, err error)

	// EncodePlain is Encode without the special tokens that the file adds. It suits a piece of
	// a longer text, and a prompt made by a chat template, which holds its special tokens.
	EncodePlain(text string) ([]int32, error)

	// Decode returns the text of ids. Bytes that do not form a character become U+FFFD. As in
	// HuggingFace's library, an id without a token adds nothing; a negative id is an error.
	// skipSpecial leaves special tokens out.
	Decode(ids []int32, skipSpecial bool) (string, error)

	// VocabSize returns how many rows the embedding of a model needs: the largest id plus one.
	VocabSize() int

	// TokenText returns the token of id as the file spells it, and whether there is one.
	// Byte-level tokens are spelt in GPT-2's byte alphabet, where "Ġ" stands for a space.
	TokenText(id int32) (string, bool)

	// TokenID returns the id of the token that the file spells as text, and whether there is one.
	TokenID(text string) (int32, bool)

	// SpecialIDs returns the ids of all special tokens in rising order.
	SpecialIDs() []int32

	// IsSpecial reports whether id is a special token.
	IsSpecial(id int32) bool

	// Config returns what tokenizer_config.json says; never nil.
	Config() *Config

	// Close frees memory that Go does not manage. The tokenizer is of no use afterwards.
	Close() error
}

// ErrInvalidUTF8 is what errors.Is finds in an [InvalidUTF8Error].
var ErrInvalidUTF8 = errors.New("text is not valid UTF-8")

// InvalidUTF8Error says where text stops being UTF-8.
type InvalidUTF8Error struct {
	Offset int // bytes from the start of the text
}

func (e *InvalidUTF8Error) Error() string {
	return fmt.Sprintf("%v at byte %d: convert it to UTF-8 first", ErrInvalidUTF8, e.Offset)
}

func (e *InvalidUTF8Error) Unwrap() error { return ErrInvalidUTF8 }

// ErrClosed is returned by a tokenizer that was closed.
var ErrClosed = errors.New("tokenizer is closed")

// Load opens the tokenizer in dir: tokenizer.json, else tokenizer.model. Either may stand beside
// a tokenizer_config.json. It returns an error that wraps fs.ErrNotExist when dir has neither.
func Load(dir string) (Tokenizer, error) {
	cfg, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	var t Tokenizer
	path := filepath.Join(dir, "tokenizer.json")
	data, err := os.ReadFile(path)
	switch {
	case err == nil:
		t, err = loadHF(path, data, cfg)
	case errors.Is(err, fs.ErrNotExist):
		t, err = loadSentencePiece(dir, cfg)
	default:
		err = fmt.Errorf("read tokenizer: %w", err)
	}
	if err != nil {
		return nil, err
	}
	if cfg.Preprocess != (Preprocess{}) {
		t = &preprocessed{Tokenizer: t, pre: cfg.Preprocess}
	}
	return t, nil
}

// ForMany returns a tokenizer with the ids of t for the work of encoding many texts: the
// implementation in Go where t is a byte-level BPE, which takes a fraction of the library's time
// over a corpus, else t itself. It is of use as long as t is not closed.
func ForMany(t Tokenizer) Tokenizer {
	switch t := t.(type) {
	case *preprocessed:
		return &preprocessed{Tokenizer: ForMany(t.Tokenizer), pre: t.pre}
	case interface{ plainGo() (*bpe, bool) }:
		if own, ok := t.plainGo(); ok {
			return own
		}
	}
	return t
}

// checkUTF8 returns an InvalidUTF8Error for the first byte of text that is not UTF-8.
func checkUTF8(text string) error {
	if utf8.ValidString(text) {
		return nil
	}
	for i, r := range text {
		if r != utf8.RuneError {
			continue
		}
		if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
			return &InvalidUTF8Error{Offset: i}
		}
	}
	return nil
}

// checkIDs returns an error for the first negative id.
func checkIDs(ids []int32) error {
	for i, id := range ids {
		if id < 0 {
			return fmt.Errorf("decode: id %d at position %d is negative", id, i)
		}
	}
	return nil
}
