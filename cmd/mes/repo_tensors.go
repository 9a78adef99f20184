package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/client"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
)

var repoTensorsCommand = command{
	name: "tensors", args: "REPO [FILE...]", summary: "list tensors of a repository's weights",
	help: `
Reads only the headers of the safetensors files, or of those named, and checks them.

Example:
  mes repo tensors acme/swarm model-core.safetensors`,
	flags: about(0, 1000, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		revision := fs.String("revision", "main", "branch, tag or `commit`")
		return func(ctx context.Context, r *repoCall) error { return r.tensors(ctx, *revision) }
	}),
}

// tensorsOf is what the header of a file says.
type tensorsOf struct {
	File     string                    `json:"file"`
	Metadata map[string]string         `json:"metadata"`
	Tensors  []safetensors.Description `json:"tensors"`
}

func (r *repoCall) tensors(ctx context.Context, revision string) error {
	info, err := r.c.Info(ctx, r.repo, revision)
	if err != nil {
		return err
	}
	entries, err := r.c.Tree(ctx, r.repo, info.SHA, "", true)
	if err != nil {
		return err
	}
	for _, file := range r.args {
		if !slices.ContainsFunc(entries, func(e client.Entry) bool { return e.Path == file }) {
			return fmt.Errorf("%s has no file %s at %s: %w", r.repo, file, revision, fs.ErrNotExist)
		}
	}
	list := []tensorsOf{}
	rows := [][]any{{"TENSOR", "TYPE", "SHAPE", "FILE"}}
	for _, e := range entries {
		wanted := slices.Contains(r.args, e.Path) || len(r.args) == 0 && strings.HasSuffix(e.Path, ".safetensors")
		if !wanted {
			continue
		}
		t, err := r.header(ctx, info.SHA, e)
		if err != nil {
			return fmt.Errorf("read the header of %s: %w", e.Path, err)
		}
		list = append(list, t)
		for _, d := range t.Tensors {
			rows = append(rows, []any{d.Name, d.DType, fmt.Sprint(d.Shape), e.Path})
		}
	}
	if r.asJSON {
		return r.m.writeJSON(list)
	}
	return r.table(rows)
}

// headStart is how much of a file is asked for at first; most headers are shorter.
const headStart = 64 << 10

// header reads the header of a file, in one request or two.
func (r *repoCall) header(ctx context.Context, commit string, e client.Entry) (tensorsOf, error) {
	head, err := r.c.ReadRange(ctx, r.repo, commit, e, 0, headStart)
	if err != nil {
		return tensorsOf{}, err
	}
	end, err := safetensors.HeaderBytes(bytes.NewReader(head), e.Size)
	if err != nil {
		return tensorsOf{}, err
	}
	if missing := int64(len(head)); end > missing {
		rest, err := r.c.ReadRange(ctx, r.repo, commit, e, missing, end)
		if err != nil {
			return tensorsOf{}, err
		}
		head = append(head, rest...)
	}
	tensors, metadata, err := safetensors.Describe(bytes.NewReader(head), e.Size)
	return tensorsOf{File: e.Path, Metadata: metadata, Tensors: tensors}, err
}
