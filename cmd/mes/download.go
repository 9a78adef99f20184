package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/mamba-encoder-swarm/mes/hub/client"
	"github.com/mamba-encoder-swarm/mes/hub/pickle"
)

var downloadCommand = command{
	name: "download", args: "REPO [FILE...]", summary: "download files of a hub's repository",
	help: `
Brings files of REPO into the cache that huggingface_hub uses, or into -local-dir,
and prints the folder, or the file if it is one. REPO is namespace/name of a model,
or begins with datasets/ or spaces/. Every file is checked against its hash. What
was cut goes on where it ended.

With HF_HUB_OFFLINE=1 nothing is asked, and files that the cache lacks are named.

Examples:
  mes download acme/swarm
  mes download -include '*.json' -exclude 'old/*' -local-dir swarm acme/swarm
  mes download -revision v1 datasets/acme/texts train.txt`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		d := &download{hub: m.hubFlags(fs)}
		d.hub.transferFlags(fs)
		fs.StringVar(&d.revision, "revision", "main", "branch, tag or `commit`")
		fs.Var(&d.include, "include", "`pattern` of files to bring, may be repeated; none is all")
		fs.Var(&d.exclude, "exclude", "`pattern` of files to leave out, may be repeated")
		fs.StringVar(&d.localDir, "local-dir", "", "`folder` to download to, as plain files")
		fs.BoolVar(&d.dryRun, "dry-run", false, "show what would be downloaded")
		return d.run
	},
}

type download struct {
	hub                *hubFlags
	revision, localDir string
	include, exclude   list
	dryRun             bool
}

func (d *download) run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return usageError("download needs a repository; `mes help download` shows an example")
	}
	repo, err := repoArg(args[0])
	if err != nil {
		return err
	}
	files := args[1:]
	if len(files) > 0 && len(d.include)+len(d.exclude) > 0 {
		return usageError("give files or patterns, not both")
	}
	o := client.SnapshotOptions{Include: d.include, Exclude: d.exclude, LocalDir: d.localDir, DryRun: d.dryRun}
	for _, f := range files {
		o.Include = append(o.Include, literal.Replace(f))
	}
	c, err := d.hub.client(ctx)
	if err != nil {
		return err
	}
	lean()
	bar := d.hub.progress("download")
	o.Progress = bar.transfer
	s, err := c.Snapshot(ctx, repo, d.revision, o)
	bar.finish()
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, f := range s.Files {
		there[f.Path] = true
	}
	for _, f := range files {
		if !there[f] && s.Partial {
			return fmt.Errorf("the cache has no file %s of %s at %s, and the hub cannot be asked: %w", f, repo, d.revision, fs.ErrNotExist)
		}
		if !there[f] {
			return fmt.Errorf("%s has no file %s at %s: %w", repo, f, d.revision, fs.ErrNotExist)
		}
	}
	d.warn(s)
	return d.show(s, files)
}

// warn names files that are not harmless to load.
func (d *download) warn(s client.Snapshot) {
	var names []string
	for _, f := range s.Files {
		if pickle.MayRun(f.Path) {
			names = append(names, f.Path)
		}
	}
	if len(names) > 0 {
		fmt.Fprintf(d.hub.m.Stderr, "mes: warning: loading %s in Python may run code that is in there: do so only if you trust who made it, and prefer safetensors\n", few(names))
	}
}

// literal makes a pattern that matches a name alone.
var literal = strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]")

// show prints where the files are, or what would be downloaded.
func (d *download) show(s client.Snapshot, files []string) error {
	m := d.hub.m
	if d.hub.asJSON {
		return m.writeJSON(s)
	}
	if !d.dryRun {
		place := s.Dir
		if len(files) == 1 {
			place = filepath.Join(s.Dir, filepath.FromSlash(files[0]))
		}
		fmt.Fprintln(m.Stdout, place)
		return nil
	}
	w := &printer{w: tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)}
	var bytes int64
	missing := 0
	for _, f := range s.Files {
		state := "there"
		if !f.Cached {
			state, bytes, missing = "to download", bytes+f.Size, missing+1
		}
		w.f("%s\t%s\t%s\n", f.Path, size(f.Size), state)
	}
	w.f("%s of commit %.8s to download, %s\n", count(missing, "file"), s.Commit, size(bytes))
	if w.err != nil {
		return w.err
	}
	return w.w.Flush()
}
