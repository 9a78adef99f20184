package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/model/eval"
	"github.com/mamba-encoder-swarm/mes/model/queue"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
	"github.com/mamba-encoder-swarm/mes/model/trainer"
)

// errUsage is wrapped by errors about flags and arguments.
var errUsage = errors.New("wrong usage")

type usage struct{ error }

func (usage) Is(target error) bool { return target == errUsage }

// usageError is an error that exits with code 2.
func usageError(format string, args ...any) error { return usage{fmt.Errorf(format, args...)} }

// stopped tells whether an error says that ctx ended.
func stopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// exit prints an error as a sentence and returns the exit code that it has.
func (m *Main) exit(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	if stopped(ctx, err) {
		fmt.Fprintln(m.Stderr, "mes: interrupted")
		return exitInterrupted
	}
	fmt.Fprintf(m.Stderr, "mes: %v\n", err)
	var faults *config.FaultError
	switch {
	case errors.Is(err, errUsage), errors.As(err, &faults),
		errors.Is(err, engine.ErrEmptyPrompt), errors.Is(err, engine.ErrPromptTooLong),
		errors.Is(err, engine.ErrBadRequest), errors.Is(err, tokenizer.ErrInvalidUTF8),
		errors.Is(err, tokenizer.ErrNoChatTemplate), errors.Is(err, data.ErrConfig), errors.Is(err, eval.ErrConfig),
		errors.Is(err, trainer.ErrDevices), errors.Is(err, queue.ErrConfig):
		return exitUsage
	case errors.Is(err, os.ErrNotExist), errors.Is(err, safetensors.ErrNoModel), errors.Is(err, safetensors.ErrShardMissing):
		return exitNotFound
	}
	return exitFailed
}
