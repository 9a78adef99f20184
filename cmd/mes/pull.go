package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/model/router"
)

var pullCommand = command{
	name: "pull", args: "OWNER/NAME[@REVISION]", summary: "bring a model from the hub",
	help: `
Brings a model into the cache that huggingface_hub uses, so that commands with
-model find it without a network. Of a swarm it brings the core and the encoders that
run before the router's first decision; with -all every encoder, with -text those that
the router picks for a text (only the router runs). Other encoders are fetched when a
text first needs them.

Example:
  mes pull -text letter.txt alice/mamba-swarm-model`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		p := &pull{m: m, hub: m.hubFlags(fs)}
		p.hub.transferFlags(fs)
		fs.BoolVar(&p.all, "all", false, "bring every encoder")
		fs.StringVar(&p.text, "text", "", "`file` with a text whose encoders are brought; - is standard input")
		return p.run
	},
}

// pull is one run of the command.
type pull struct {
	m    *Main
	hub  *hubFlags
	all  bool
	text string
}

// pulled is what the command writes as JSON.
type pulled struct {
	Model    string       `json:"model"`
	Commit   string       `json:"commit"`
	Folder   string       `json:"folder"`
	Encoders []int        `json:"encoders"` // that are there now and were asked for
	Files    []pulledFile `json:"files"`
	Bytes    int64        `json:"bytes"`
}

type pulledFile struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

func (p *pull) run(ctx context.Context, args []string) error {
	if len(args) != 1 || p.all && p.text != "" {
		return usageError("pull needs one model, OWNER/NAME or OWNER/NAME@REVISION, and -all or -text but not both; `mes help pull` shows an example")
	}
	if _, _, ok := hub.ParseName(args[0]); !ok {
		return usageError("%q is not the name of a model on a hub: OWNER/NAME or OWNER/NAME@REVISION", args[0])
	}
	if info, err := os.Stat(args[0]); err == nil && info.IsDir() {
		return usageError("%s is a folder here, which commands open instead of the hub's model; pull from another folder", args[0])
	}
	var repo *remote
	files, err := hub.FromPretrained(ctx, args[0], func(ctx context.Context, name, revision string) (_ hub.Remote, err error) {
		repo, err = openRemote(ctx, p.hub, name, revision)
		return repo, err
	})
	if err != nil {
		return err
	}
	defer files.Close()
	encoders, err := p.encoders(files)
	if err != nil {
		return err
	}
	if err := files.FetchEncoders(ctx, encoders); err != nil {
		return fmt.Errorf("pull %s: %w", args[0], err)
	}
	out := pulled{Model: files.Name, Commit: repo.commit, Folder: files.Dir, Encoders: encoders}
	for _, path := range slices.Sorted(maps.Keys(repo.fetched)) {
		out.Files = append(out.Files, pulledFile{path, repo.files[path]})
		out.Bytes += repo.files[path]
	}
	if p.hub.asJSON {
		return p.m.writeJSON(out)
	}
	_, err = fmt.Fprintf(p.m.Stdout, "%s at %.8s: %s, %s%s\n%s\n", out.Model, out.Commit, count(len(out.Files), "file"), size(out.Bytes), p.said(files, encoders), out.Folder)
	return err
}

// said names the encoders that are there.
func (p *pull) said(files *hub.Pretrained, encoders []int) string {
	if len(encoders) == 0 {
		return ""
	}
	c := files.Config.Swarm.Router
	var names []string
	for _, e := range encoders {
		names = append(names, encoderName(e, router.DomainOf(e, c.Domains)))
	}
	return fmt.Sprintf("; %d of %s: %s", len(encoders), count(c.NumEncoders, "encoder"), few(names))
}

// encoders lists which encoders to bring; none for a plain model.
func (p *pull) encoders(files *hub.Pretrained) ([]int, error) {
	c := files.Config.Swarm
	if c.Plain() {
		if p.text != "" {
			return nil, usageError("%s is a plain %s: all of it is needed for any text, leave -text out", files.Name, c.Base.Kind)
		}
		return []int{}, nil
	}
	picked := map[int]bool{}
	switch {
	case p.all:
		for e := range c.Router.NumEncoders {
			picked[e] = true
		}
	case p.text == "":
		for _, e := range c.Router.DefaultEncoders {
			picked[e] = true
		}
	default:
		text, err := p.read()
		if err != nil {
			return nil, err
		}
		chunks, _, err := plan(files, "", text)
		if err != nil {
			return nil, err
		}
		for _, chunk := range chunks {
			for _, e := range chunk.Slots {
				picked[e] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(picked)), nil
}

// read returns the text of -text.
func (p *pull) read() (string, error) {
	in := p.m.Stdin
	if p.text != "-" {
		f, err := os.Open(p.text)
		if err != nil {
			return "", fmt.Errorf("read the text: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, engine.DefaultMaxPromptBytes+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read the text: %w", err)
	case len(data) == 0:
		return "", engine.ErrEmptyPrompt
	case len(data) > engine.DefaultMaxPromptBytes:
		return "", fmt.Errorf("%w: more than %d bytes; -all brings every encoder", engine.ErrPromptTooLong, engine.DefaultMaxPromptBytes)
	}
	return string(data), nil
}
