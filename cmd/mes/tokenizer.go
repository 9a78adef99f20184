package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

var tokenizerCommand = command{
	name: "tokenizer", summary: "learn a tokenizer, turn text into ids and back",
	help: `
Works with the tokenizer of a folder alone; no model has to be there.

Example:
  mes tokenizer encode -model weights/mamba2-mini "The history of"`,
	verbs: []command{tokenizerTrain, tokenizerEncode, tokenizerDecode},
}

var tokenizerTrain = command{
	name: "train", args: "[FILE ...]", summary: "learn a byte-level BPE from texts",
	help: `
Learns a byte-level BPE from the lines of the files, or of standard input if there are
none or "-" is one, and writes tokenizer.json and tokenizer_config.json. HuggingFace's
library loads them with the same ids. The cleaning flags become part of the tokenizer.

Example:
  mes tokenizer train -vocab 8192 -o my-tokenizer corpus.txt`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		t := &train{m: m}
		fs.IntVar(&t.cfg.VocabSize, "vocab", 8192, "`tokens` to have at most: special ones, 256 bytes and what is learnt")
		fs.Int64Var(&t.cfg.MinFrequency, "min-frequency", 2, "`times` that a pair must occur to become a token")
		fs.Func("special", "special `token`; may be given several times; the first begins every text (default <|endoftext|>)", func(s string) error {
			t.cfg.SpecialTokens = append(t.cfg.SpecialTokens, s)
			return nil
		})
		fs.StringVar((*string)(&t.cfg.Preprocess.Form), "form", "", "Unicode normal `form` to bring texts to: NFC or NFKC; empty changes nothing")
		fs.BoolVar(&t.cfg.Preprocess.StripControl, "strip-control", false, "remove control characters but for tab and line ends")
		fs.BoolVar(&t.cfg.Preprocess.CollapseWhitespace, "collapse-whitespace", false, "make one space or line end of each run of white space")
		fs.StringVar(&t.out, "o", "", "`folder` to write; needed")
		return t.run
	},
}

// defaultSpecial begins and ends texts unless another special token is named.
const defaultSpecial = "<|endoftext|>"

// train is one run of the command.
type train struct {
	m   *Main
	cfg tokenizer.TrainConfig
	out string
}

func (t *train) run(ctx context.Context, args []string) error {
	if t.out == "" {
		return usageError("tokenizer train needs -o FOLDER; `mes help tokenizer train` shows an example")
	}
	if form := t.cfg.Preprocess.Form; form != "" && form != tokenizer.NFC && form != tokenizer.NFKC {
		return usageError("-form: %q is not NFC or NFKC", form)
	}
	if t.cfg.SpecialTokens == nil {
		t.cfg.SpecialTokens = []string{defaultSpecial}
	}
	if least := 256 + len(t.cfg.SpecialTokens); t.cfg.VocabSize < least {
		return usageError("-vocab: %d is below %d, the bytes and special tokens alone", t.cfg.VocabSize, least)
	}
	path := filepath.Join(t.out, "tokenizer.json")
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s exists; choose another folder or remove it", path)
	}
	if len(args) == 0 {
		args = []string{"-"}
	}
	total, err := sizes(args)
	if err != nil {
		return err
	}
	bar := t.m.progress("count words")
	stage := tokenizer.StageCount
	t.cfg.Progress = func(now string, done, of int64) {
		if now == tokenizer.StageCount {
			of = total
		} else if stage != now {
			bar.finish()
			stage, bar = now, t.m.progress("merge pairs")
		}
		bar.set(done, of)
	}
	learnt, err := tokenizer.Train(ctx, t.m.lines(args), t.cfg)
	bar.finish()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(t.out, 0o755); err != nil {
		return fmt.Errorf("write tokenizer: %w", err)
	}
	if err := learnt.Save(t.out); err != nil {
		return err
	}
	fmt.Fprintf(t.m.Stdout, "%s: %s\n", t.out, count(learnt.VocabSize(), "token"))
	return nil
}

// sizes adds up the bytes of files, and finds out that they are there. With
// standard input among them the sum is unknown, 0.
func sizes(files []string) (int64, error) {
	var total int64
	stdin := false
	for _, name := range files {
		if name == "-" {
			stdin = true
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return 0, fmt.Errorf("read texts: %w", err)
		}
		if info.IsDir() {
			return 0, fmt.Errorf("read texts: %s is a folder; name files", name)
		}
		total += info.Size()
	}
	if stdin {
		return 0, nil
	}
	return total, nil
}

// lines gives the lines of files, "-" being standard input, with their line ends, as
// HuggingFace's trainer reads files.
func (m *Main) lines(files []string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, name := range files {
			if !m.linesOf(name, yield) {
				return
			}
		}
	}
}

// linesOf yields the lines of one file and reports whether to go on.
func (m *Main) linesOf(name string, yield func(string, error) bool) bool {
	in := m.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return yield("", err)
		}
		defer f.Close()
		in = f
	}
	r := bufio.NewReaderSize(in, 1<<16)
	for {
		line, err := r.ReadString('\n')
		if line != "" && !yield(line, nil) {
			return false
		}
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			return yield("", fmt.Errorf("%s: %w", name, err))
		}
	}
}

var tokenizerEncode = command{
	name: "encode", args: "[TEXT]", summary: "turn a text into ids",
	help: `
Writes the ids of TEXT, or of standard input if there is none or it is "-".

Example:
  mes tokenizer encode -model weights/mamba2-mini "The history of"`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		dir := fs.String("model", defaultModel, "`folder` with a tokenizer")
		plain := fs.Bool("plain", false, "leave out the special tokens that the tokenizer adds")
		asJSON := fs.Bool("json", false, "write one JSON object with ids and tokens")
		return func(_ context.Context, args []string) error {
			text, err := m.text(args, maxText)
			if err != nil {
				return err
			}
			tok, err := tokenizer.Load(*dir)
			if err != nil {
				return err
			}
			defer tok.Close()
			encode := tok.Encode
			if *plain {
				encode = tok.EncodePlain
			}
			ids, err := encode(text)
			if err != nil {
				return err
			}
			return m.printEncoded(tok, encoded{IDs: ids}, *asJSON)
		}
	},
}

// maxText is the most bytes of a text that is held in memory at once.
const maxText = 1 << 30

var tokenizerDecode = command{
	name: "decode", args: "[ID ...]", summary: "turn ids into a text",
	help: `
Writes the text of the ids, which spaces or commas separate; without arguments those
on standard input.

Example:
  mes tokenizer decode -model weights/mamba2-mini 533 6133 286`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		dir := fs.String("model", defaultModel, "`folder` with a tokenizer")
		skip := fs.Bool("skip-special", false, "leave out special tokens")
		asJSON := fs.Bool("json", false, "write a JSON object with the text")
		return func(_ context.Context, args []string) error {
			text, err := m.text(args, maxText)
			if err != nil {
				return err
			}
			tok, err := tokenizer.Load(*dir)
			if err != nil {
				return err
			}
			defer tok.Close()
			ids, err := parseIDs(text, tok.VocabSize())
			if err != nil {
				return err
			}
			if text, err = tok.Decode(ids, *skip); err != nil {
				return err
			}
			if *asJSON {
				enc := json.NewEncoder(m.Stdout)
				enc.SetEscapeHTML(false)
				return enc.Encode(struct {
					Text string `json:"text"`
				}{text})
			}
			_, err = fmt.Fprintln(m.Stdout, text)
			return err
		}
	},
}

// parseIDs reads ids of a vocabulary.
func parseIDs(text string, vocab int) ([]int32, error) {
	fields := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n,[]", r) })
	ids := make([]int32, len(fields))
	for i, field := range fields {
		id, err := strconv.Atoi(field)
		if err != nil {
			return nil, usageError("%q is not an id; give numbers from 0 to %d", field, vocab-1)
		}
		if id < 0 || id >= vocab {
			return nil, usageError("id %d is out of range; the tokenizer has 0 to %d", id, vocab-1)
		}
		ids[i] = int32(id)
	}
	return ids, nil
}
