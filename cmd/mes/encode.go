package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

var encodeCommand = command{
	name: "encode", args: "[TEXT]", summary: "turn a text into token ids, or into a vector",
	help: `
Writes the ids of TEXT, or of standard input if there is none or it is "-", as the
model's tokenizer makes them. With -vectors it runs the model and writes one vector:
the mean over the tokens of the hidden states after the final norm.

Example:
  mes encode -vectors -json -model weights/mes-mini "The history of"`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		e := &encode{m: m, model: m.modelFlags(fs), maxPrompt: maxPromptFlag(fs)}
		fs.BoolVar(&e.vectors, "vectors", false, "run the model and write the text's vector")
		fs.BoolVar(&e.json, "json", false, "write one JSON object with ids, tokens and vector")
		return e.run
	},
}

// encode is one run of the command.
type encode struct {
	m             *Main
	model         *modelFlags
	maxPrompt     *int
	vectors, json bool
}

func (e *encode) run(ctx context.Context, args []string) error {
	text, err := e.m.prompt(args, *e.maxPrompt)
	if err != nil {
		return err
	}
	if e.vectors {
		return e.runModel(ctx, text)
	}
	files, err := e.m.openModel(ctx, e.model.dir)
	if err != nil {
		return err
	}
	defer files.Close()
	tok, err := files.Tokenizer()
	if err != nil {
		return err
	}
	defer tok.Close()
	ids, err := tok.Encode(text)
	if err != nil {
		return err
	}
	return e.m.printEncoded(tok, encoded{IDs: ids}, e.json)
}

// runModel writes the text's vector.
func (e *encode) runModel(ctx context.Context, text string) error {
	l, err := e.model.load(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	ids, err := l.tok.Encode(text)
	if err != nil {
		return err
	}
	s, err := l.model.NewSession("")
	if err != nil {
		return err
	}
	defer s.Close()
	vector, _, err := s.Encode(ctx, ids)
	if err != nil {
		return err
	}
	return e.m.printEncoded(l.tok, encoded{IDs: ids, Vector: vector}, e.json)
}

// encoded is what the command writes as JSON.
type encoded struct {
	IDs    []int32   `json:"ids"`
	Tokens []string  `json:"tokens"` // as the tokenizer's file spells them
	Vector []float32 `json:"vector,omitempty"`
}

// printEncoded writes the vector or, without one, the ids; as JSON both.
func (m *Main) printEncoded(tok tokenizer.Tokenizer, e encoded, asJSON bool) error {
	if asJSON {
		e.Tokens = make([]string, len(e.IDs))
		for i, id := range e.IDs {
			e.Tokens[i], _ = tok.TokenText(id)
		}
		if e.IDs == nil {
			e.IDs = []int32{}
		}
		enc := json.NewEncoder(m.Stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(e)
	}
	numbers := fmt.Sprint(e.IDs)
	if e.Vector != nil {
		numbers = fmt.Sprint(e.Vector)
	}
	_, err := fmt.Fprintln(m.Stdout, strings.Trim(numbers, "[]"))
	return err
}
