package main

import (
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/engine"
)

// maxPromptFlag is the flag of commands that read a prompt.
func maxPromptFlag(fs *flag.FlagSet) *int {
	return fs.Int("max-prompt", engine.DefaultMaxPromptBytes, "`bytes` of the longest prompt that is accepted")
}

// prompt returns the text of the arguments or of standard input, which must have at
// least one byte and at most limit.
func (m *Main) prompt(args []string, limit int) (string, error) {
	text, err := m.text(args, limit)
	switch {
	case err != nil:
		return "", err
	case text == "":
		return "", engine.ErrEmptyPrompt
	case len(text) > limit:
		return "", fmt.Errorf("%w: more than %d bytes; -max-prompt raises the limit", engine.ErrPromptTooLong, limit)
	}
	return text, nil
}

// text returns the arguments as one text, or standard input if there are none or "-".
// Of standard input it reads no more than one byte over the limit.
func (m *Main) text(args []string, limit int) (string, error) {
	if len(args) > 0 && !(len(args) == 1 && args[0] == "-") {
		return strings.Join(args, " "), nil
	}
	data, err := io.ReadAll(io.LimitReader(m.Stdin, int64(limit)+1))
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	return string(data), nil
}
