package main

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/client"
)

var repoRefsCommand = command{
	name: "refs", args: "REPO", summary: "list branches, tags and pull requests",
	help: `
Example:
  mes repo refs acme/swarm`,
	flags: plainly(0, 0, func(ctx context.Context, r *repoCall) error {
		refs, err := r.c.Refs(ctx, r.repo)
		if err != nil {
			return err
		}
		if r.asJSON {
			return r.m.writeJSON(refs)
		}
		var rows [][]any
		for _, group := range [][]client.Ref{refs.Branches, refs.Tags, refs.PullRequests} {
			for _, ref := range group {
				rows = append(rows, []any{ref.Ref, ref.Commit})
			}
		}
		return r.table(rows)
	}),
}

var repoBranchCommand = command{
	name: "branch", args: "REPO NAME [REVISION]", summary: "make or delete a branch",
	help: `
Makes branch NAME at REVISION (the head of main if it is left out), or deletes it.

Examples:
  mes repo branch acme/swarm next v1
  mes repo branch -delete acme/swarm next`,
	flags: about(1, 2, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		remove := refDeletion(fs)
		return func(ctx context.Context, r *repoCall) error {
			name, revision := r.args[0], strings.Join(r.args[1:], "")
			if remove.wanted {
				return remove.run(ctx, r, "branch", revision, r.c.DeleteBranch)
			}
			if err := r.c.CreateBranch(ctx, r.repo, name, revision); err != nil {
				return err
			}
			return r.result(map[string]string{"branch": name}, "made branch %s of %s", name, r.repo)
		}
	}),
}

var repoTagCommand = command{
	name: "tag", args: "REPO NAME [REVISION]", summary: "make or delete a tag",
	help: `
Names REVISION (the head of main if it is left out), or deletes the name.

Examples:
  mes repo tag -message "as published" acme/swarm v1
  mes repo tag -delete acme/swarm v1`,
	flags: about(1, 2, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		remove := refDeletion(fs)
		message := fs.String("message", "", "`text` of the tag")
		return func(ctx context.Context, r *repoCall) error {
			name, revision := r.args[0], strings.Join(r.args[1:], "")
			if remove.wanted {
				return remove.run(ctx, r, "tag", revision, r.c.DeleteTag)
			}
			if err := r.c.CreateTag(ctx, r.repo, name, revision, *message); err != nil {
				return err
			}
			return r.result(map[string]string{"tag": name}, "made tag %s of %s", name, r.repo)
		}
	}),
}

// refDeleter deletes a branch or tag when asked to.
type refDeleter struct{ wanted, yes bool }

func refDeletion(fs *flag.FlagSet) *refDeleter {
	d := &refDeleter{}
	fs.BoolVar(&d.wanted, "delete", false, "delete it")
	fs.BoolVar(&d.yes, "yes", false, "do not ask")
	return d
}

func (d *refDeleter) run(ctx context.Context, r *repoCall, noun, revision string, remove func(context.Context, client.Repo, string) error) error {
	name := r.args[0]
	if revision != "" {
		return usageError("-delete takes a name and no revision")
	}
	if err := r.m.confirm(d.yes, "delete %s %s of %s?", noun, name, r.repo); err != nil {
		return err
	}
	if err := remove(ctx, r.repo, name); err != nil {
		return err
	}
	return r.result(map[string]string{"deleted": name}, "deleted %s %s of %s", noun, name, r.repo)
}

var repoCommitsCommand = command{
	name: "commits", args: "REPO [REVISION]", summary: "show the history",
	help: `
Example:
  mes repo commits -limit 5 acme/swarm`,
	flags: about(0, 1, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		limit := fs.Int("limit", 20, "at most so `many`; 0 is all")
		return func(ctx context.Context, r *repoCall) error {
			list, err := r.c.Commits(ctx, r.repo, strings.Join(r.args, ""), *limit)
			if err != nil {
				return err
			}
			if r.asJSON {
				return r.m.writeJSON(list)
			}
			var rows [][]any
			for _, c := range list {
				rows = append(rows, []any{fmt.Sprintf("%.12s", c.ID), c.Date.Format("2006-01-02 15:04"), c.Title})
			}
			return r.table(rows)
		}
	}),
}

var repoSquashCommand = command{
	name: "squash", args: "REPO [BRANCH]", summary: "make one commit of a branch's history",
	help: `
The history of BRANCH (main if it is left out) is lost. Asks first, unless -yes.

Example:
  mes repo squash acme/swarm`,
	flags: about(0, 1, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		yes := fs.Bool("yes", false, "do not ask")
		message := fs.String("message", "", "first `line` of the commit")
		return func(ctx context.Context, r *repoCall) error {
			branch := strings.Join(r.args, "")
			if branch == "" {
				branch = "main"
			}
			if err := r.m.confirm(*yes, "delete the history of branch %s of %s?", branch, r.repo); err != nil {
				return err
			}
			if err := r.c.SuperSquash(ctx, r.repo, branch, *message); err != nil {
				return err
			}
			return r.result(map[string]string{"squashed": branch}, "squashed branch %s of %s", branch, r.repo)
		}
	}),
}

var repoDiscussionsCommand = command{
	name: "discussions", args: "REPO [NUMBER]", summary: "list discussions and pull requests, or show one",
	help: `
Example:
  mes repo discussions -status open acme/swarm`,
	flags: about(0, 1, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		status := fs.String("status", "all", "all, open or closed")
		return func(ctx context.Context, r *repoCall) error {
			if len(r.args) == 1 {
				return showDiscussion(ctx, r)
			}
			list, err := r.c.Discussions(ctx, r.repo, *status)
			if err != nil {
				return err
			}
			if r.asJSON {
				return r.m.writeJSON(list)
			}
			var rows [][]any
			for _, d := range list {
				kind := "discussion"
				if d.PullRequest {
					kind = "pull request"
				}
				rows = append(rows, []any{d.Num, kind, d.Status, d.Author.Name, d.Title})
			}
			return r.table(rows)
		}
	}),
}

func showDiscussion(ctx context.Context, r *repoCall) error {
	num, err := discussionNumber(r)
	if err != nil {
		return err
	}
	d, err := r.c.Discussion(ctx, r.repo, num)
	if err != nil {
		return err
	}
	return r.result(d, "%d, %s, by %s: %s\n%s", d.Num, d.Status, d.Author.Name, d.Title, d.Diff)
}

// discussionNumber reads the number of a discussion, the first argument.
func discussionNumber(r *repoCall) (int, error) {
	num, err := strconv.Atoi(r.args[0])
	if err != nil || num < 1 {
		return 0, usageError("%q is not the number of a discussion", r.args[0])
	}
	return num, nil
}

var repoDiscussCommand = command{
	name: "discuss", args: "REPO TITLE", summary: "begin a discussion or pull request",
	help: `
A pull request begins without commits; upload to revision refs/pr/N gives it some.

Example:
  mes repo discuss -text "which licence?" acme/swarm "Licence"`,
	flags: about(1, 1, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		text := fs.String("text", "", "first `comment`")
		pr := fs.Bool("pr", false, "begin a pull request")
		return func(ctx context.Context, r *repoCall) error {
			num, err := r.c.CreateDiscussion(ctx, r.repo, r.args[0], *text, *pr)
			if err != nil {
				return err
			}
			return r.result(map[string]int{"num": num}, "%d", num)
		}
	}),
}

var repoCommentCommand = command{
	name: "comment", args: "REPO NUMBER TEXT", summary: "comment on a discussion",
	help: `
Example:
  mes repo comment acme/swarm 3 "done"`,
	flags: plainly(2, 2, func(ctx context.Context, r *repoCall) error {
		num, err := discussionNumber(r)
		if err != nil {
			return err
		}
		if err := r.c.Comment(ctx, r.repo, num, r.args[1]); err != nil {
			return err
		}
		return r.result(map[string]int{"num": num}, "commented on %d", num)
	}),
}

var repoStatusCommand = command{
	name: "status", args: "REPO NUMBER STATUS", summary: "open or close a discussion",
	help: `
STATUS is open or closed. A pull request that is a draft becomes open.

Example:
  mes repo status acme/swarm 3 closed`,
	flags: plainly(2, 2, func(ctx context.Context, r *repoCall) error {
		num, err := discussionNumber(r)
		if err != nil {
			return err
		}
		if err := r.c.SetStatus(ctx, r.repo, num, r.args[1], ""); err != nil {
			return err
		}
		return r.result(map[string]string{"status": r.args[1]}, "%d is %s", num, r.args[1])
	}),
}

var repoMergeCommand = command{
	name: "merge", args: "REPO NUMBER", summary: "merge a pull request",
	help: `
Example:
  mes repo merge acme/swarm 3`,
	flags: plainly(1, 1, func(ctx context.Context, r *repoCall) error {
		num, err := discussionNumber(r)
		if err != nil {
			return err
		}
		if err := r.c.Merge(ctx, r.repo, num, ""); err != nil {
			return err
		}
		return r.result(map[string]int{"merged": num}, "merged %d", num)
	}),
}
