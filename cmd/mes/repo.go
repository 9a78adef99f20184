package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/url"
	"text/tabwriter"

	"github.com/mamba-encoder-swarm/mes/hub/client"
)

var repoCommand = command{
	name: "repo", summary: "manage repositories of a hub",
	help: `
REPO is namespace/name of a model, or begins with datasets/ or spaces/. What belongs
to a Space alone is under mes space.`,
	verbs: []command{
		repoCreateCommand, repoDeleteCommand, repoMoveCommand, repoCopyCommand, repoSettingsCommand,
		repoInfoCommand, repoListCommand, repoFilesCommand, repoTensorsCommand,
		repoRefsCommand, repoBranchCommand, repoTagCommand, repoCommitsCommand, repoSquashCommand,
		repoDiscussionsCommand, repoDiscussCommand, repoCommentCommand, repoStatusCommand, repoMergeCommand,
	},
}

// repoCall is a command about one repository, once its arguments are read.
type repoCall struct {
	m      *Main
	c      *client.Client
	repo   client.Repo
	args   []string // after the repository
	asJSON bool
}

// result prints what a call gave: v for programs, else the text.
func (r *repoCall) result(v any, format string, args ...any) error {
	if r.asJSON {
		return r.m.writeJSON(v)
	}
	_, err := fmt.Fprintf(r.m.Stdout, format+"\n", args...)
	return err
}

// table prints rows of cells.
func (r *repoCall) table(rows [][]any) error {
	w := &printer{w: tabwriter.NewWriter(r.m.Stdout, 0, 0, 2, ' ', 0)}
	for _, row := range rows {
		for i, cell := range row {
			end := "\t"
			if i == len(row)-1 {
				end = "\n"
			}
			w.f("%v%s", cell, end)
		}
	}
	if w.err != nil {
		return w.err
	}
	return w.w.Flush()
}

// about fills the flags of a command whose first argument is a repository, followed
// by least to most others.
func about(least, most int, build func(*flag.FlagSet) func(context.Context, *repoCall) error) func(*flag.FlagSet, *Main) func(context.Context, []string) error {
	return func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		h := m.hubFlags(fs)
		work := build(fs)
		return func(ctx context.Context, args []string) error {
			if len(args) < 1+least || len(args) > 1+most {
				return usageError("wrong number of arguments; `mes help repo` lists the commands, `mes repo COMMAND -h` shows one")
			}
			repo, err := repoArg(args[0])
			if err != nil {
				return err
			}
			lean()
			c, err := h.client(ctx)
			if err != nil {
				return err
			}
			return work(ctx, &repoCall{m: m, c: c, repo: repo, args: args[1:], asJSON: h.asJSON})
		}
	}
}

// plainly is about for a command without flags of its own.
func plainly(least, most int, work func(context.Context, *repoCall) error) func(*flag.FlagSet, *Main) func(context.Context, []string) error {
	return about(least, most, func(*flag.FlagSet) func(context.Context, *repoCall) error { return work })
}

var repoCreateCommand = command{
	name: "create", args: "REPO", summary: "make a repository",
	help: `
Example:
  mes repo create -private acme/swarm`,
	flags: about(0, 0, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		var o client.CreateOptions
		fs.BoolVar(&o.Private, "private", false, "only you and your organisation see it")
		fs.BoolVar(&o.ExistOK, "exist-ok", false, "one that exists already is no error")
		fs.StringVar(&o.SDK, "sdk", "", "`sdk` of a Space: docker, static or gradio")
		fs.StringVar(&o.Hardware, "hardware", "", "`hardware` of a Space")
		return func(ctx context.Context, r *repoCall) error {
			address, err := r.c.CreateRepo(ctx, r.repo, o)
			if err != nil {
				return err
			}
			return r.result(map[string]string{"url": address}, "%s", address)
		}
	}),
}

var repoDeleteCommand = command{
	name: "delete", args: "REPO", summary: "delete a repository for good",
	help: `
Asks first, unless -yes.

Example:
  mes repo delete acme/swarm`,
	flags: about(0, 0, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		yes := fs.Bool("yes", false, "do not ask")
		return func(ctx context.Context, r *repoCall) error {
			if err := r.m.confirm(*yes, "delete %s at %s, with all its commits, for good?", r.repo, r.c.Endpoint()); err != nil {
				return err
			}
			if err := r.c.DeleteRepo(ctx, r.repo); err != nil {
				return err
			}
			return r.result(map[string]string{"deleted": r.repo.String()}, "deleted %s", r.repo)
		}
	}),
}

var repoMoveCommand = command{
	name: "move", args: "REPO ID", summary: "rename a repository, or give it to another namespace",
	help: `
Example:
  mes repo move acme/swarm acme/bees`,
	flags: plainly(1, 1, func(ctx context.Context, r *repoCall) error {
		if err := r.c.MoveRepo(ctx, r.repo, r.args[0]); err != nil {
			return err
		}
		return r.result(map[string]string{"moved": r.args[0]}, "%s is now %s", r.repo, r.args[0])
	}),
}

var repoCopyCommand = command{
	name: "copy", args: "REPO ID", summary: "copy a repository on the hub",
	help: `
Example:
  mes repo copy acme/swarm alice/swarm`,
	flags: about(1, 1, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		private := fs.Bool("private", false, "make the copy private")
		return func(ctx context.Context, r *repoCall) error {
			address, err := r.c.Duplicate(ctx, r.repo, r.args[0], *private)
			if err != nil {
				return err
			}
			return r.result(map[string]string{"url": address}, "%s", address)
		}
	}),
}

var repoSettingsCommand = command{
	name: "settings", args: "REPO", summary: "change who sees a repository",
	help: `
Example:
  mes repo settings -visibility private -gated manual acme/swarm`,
	flags: about(0, 0, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		visibility := fs.String("visibility", "", "public or private; empty leaves it")
		gated := fs.String("gated", "", "none, auto or manual; empty leaves it")
		return func(ctx context.Context, r *repoCall) error {
			s := client.RepoSettings{Gated: *gated}
			switch *visibility {
			case "":
			case "public", "private":
				private := *visibility == "private"
				s.Private = &private
			default:
				return usageError("-visibility is %q, use public or private", *visibility)
			}
			if s == (client.RepoSettings{}) {
				return usageError("repo settings needs -visibility or -gated")
			}
			if err := r.c.SetRepo(ctx, r.repo, s); err != nil {
				return err
			}
			return r.result(map[string]string{"changed": r.repo.String()}, "changed %s", r.repo)
		}
	}),
}

var repoInfoCommand = command{
	name: "info", args: "REPO [REVISION]", summary: "show what the hub says of a repository",
	help: `
Example:
  mes repo info acme/swarm`,
	flags: plainly(0, 1, func(ctx context.Context, r *repoCall) error {
		revision := ""
		if len(r.args) > 0 {
			revision = r.args[0]
		}
		info, err := r.c.Info(ctx, r.repo, revision)
		if err != nil {
			return err
		}
		return r.result(info, "%s at %s, private %t, gated %v, %d downloads, %d likes", info.ID, info.SHA, info.Private, info.Gated, info.Downloads, info.Likes)
	}),
}

var repoListCommand = command{
	name: "list", args: "TYPE", summary: "list repositories of a hub",
	help: `
TYPE is model, dataset or space.

Example:
  mes repo list -author acme model`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		h := m.hubFlags(fs)
		author := fs.String("author", "", "`namespace`")
		search := fs.String("search", "", "`words` of the name")
		limit := fs.Int("limit", 20, "at most so `many`; 0 is all")
		return func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return usageError("repo list needs a type: model, dataset or space")
			}
			c, err := h.client(ctx)
			if err != nil {
				return err
			}
			query := url.Values{}
			for key, value := range map[string]string{"author": *author, "search": *search} {
				if value != "" {
					query.Set(key, value)
				}
			}
			list, err := c.List(ctx, args[0], query, *limit)
			if err != nil {
				return err
			}
			r := &repoCall{m: m, asJSON: h.asJSON}
			if h.asJSON {
				return m.writeJSON(list)
			}
			var rows [][]any
			for _, one := range list {
				rows = append(rows, []any{one.ID, one.LastModified.Format("2006-01-02"), fmt.Sprintf("%d downloads", one.Downloads), fmt.Sprintf("%d likes", one.Likes)})
			}
			return r.table(rows)
		}
	},
}

var repoFilesCommand = command{
	name: "files", args: "REPO [FOLDER]", summary: "list files of a repository",
	help: `
Example:
  mes repo files -revision v1 acme/swarm`,
	flags: about(0, 1, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		revision := fs.String("revision", "main", "branch, tag or `commit`")
		return func(ctx context.Context, r *repoCall) error {
			folder := ""
			if len(r.args) > 0 {
				folder = r.args[0]
			}
			entries, err := r.c.Tree(ctx, r.repo, *revision, folder, true)
			if err != nil {
				return err
			}
			if r.asJSON {
				return r.m.writeJSON(entries)
			}
			out := bufio.NewWriter(r.m.Stdout) // not a table, whose cells would all be in memory
			for _, e := range entries {
				fmt.Fprintf(out, "%.12s %10s  %s\n", e.Hash(), size(e.Size), e.Path)
			}
			return out.Flush()
		}
	}),
}
