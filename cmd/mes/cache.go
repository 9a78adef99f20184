package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/mamba-encoder-swarm/mes/hub/client"
)

var cacheCommand = command{
	name: "cache", summary: "list, check and clean what was downloaded",
	help: `
The cache is that of huggingface_hub: $HF_HUB_CACHE, else $HF_HOME/hub, else
~/.cache/huggingface/hub. None of these commands asks a hub.`,
	verbs: []command{cacheListCommand, cacheVerifyCommand, cachePruneCommand, cacheRemoveCommand},
}

// cacheClient is a client of the cache alone.
func (m *Main) cacheClient() (*client.Client, error) {
	env := hubEnv{m.Env}
	return client.New(client.Config{Cache: env.cache(), Offline: true})
}

var cacheListCommand = command{
	name: "ls", summary: "list repositories and revisions",
	help: `
Example:
  mes cache ls`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		asJSON := fs.Bool("json", false, "write JSON")
		return func(_ context.Context, args []string) error { return m.cacheList(*asJSON, args) }
	},
}

func (m *Main) cacheList(asJSON bool, args []string) error {
	if len(args) > 0 {
		return usageError("cache ls takes no arguments")
	}
	c, err := m.cacheClient()
	if err != nil {
		return err
	}
	repos, err := c.CacheList()
	if err != nil {
		return err
	}
	if asJSON {
		if repos == nil {
			repos = []client.CachedRepo{}
		}
		return m.writeJSON(repos)
	}
	w := &printer{w: tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)}
	w.f("REPO\tREVISION\tREFS\tFILES\tSIZE\tMODIFIED\n")
	for _, r := range repos {
		for _, v := range r.Revisions {
			modified := "-"
			if v.Files > 0 {
				modified = v.Modified.Format("2006-01-02 15:04")
			}
			w.f("%s\t%.8s\t%s\t%d\t%s\t%s\n", r.Repo, v.Commit, strings.Join(v.Refs, " "), v.Files, size(v.Size), modified)
		}
		if r.Incomplete > 0 {
			w.f("%s\tincomplete\t\t\t%s\t\n", r.Repo, size(r.Incomplete))
		}
		for _, fault := range r.Faults {
			w.f("%s\tfault: %s\n", r.Repo, fault)
		}
	}
	if w.err != nil {
		return w.err
	}
	return w.w.Flush()
}

var cacheVerifyCommand = command{
	name: "verify", args: "REPO", summary: "compare files with their hashes",
	help: `
Reads every file of REPO in the cache and compares its hash. Exit code 1 if one
differs. Files of a commit that were not downloaded are counted.

Example:
  mes cache verify acme/swarm`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		asJSON := fs.Bool("json", false, "write JSON")
		revision := fs.String("revision", "", "branch, tag or `commit`; empty is all")
		return func(ctx context.Context, args []string) error { return m.cacheVerify(ctx, *asJSON, *revision, args) }
	},
}

func (m *Main) cacheVerify(ctx context.Context, asJSON bool, revision string, args []string) error {
	if len(args) != 1 {
		return usageError("cache verify needs one repository; `mes help cache verify` shows an example")
	}
	repo, err := repoArg(args[0])
	if err != nil {
		return err
	}
	c, err := m.cacheClient()
	if err != nil {
		return err
	}
	bar := m.progress("verify")
	check, err := c.CacheVerify(ctx, repo, revision, bar.transfer)
	bar.finish()
	if err != nil {
		return err
	}
	if asJSON {
		err = m.writeJSON(check)
	} else {
		for _, bad := range check.Bad {
			fmt.Fprintln(m.Stdout, bad.Error())
		}
		fmt.Fprintf(m.Stdout, "%s: %s read, %s, %d differ, %d not downloaded\n", repo, count(check.Files, "file"), size(check.Bytes), len(check.Bad), len(check.Absent))
	}
	if err == nil && len(check.Bad) > 0 {
		return fmt.Errorf("verify %s: %s differ; `mes cache rm %s` and download again", repo, count(len(check.Bad), "file"), repo)
	}
	return err
}

var cachePruneCommand = command{
	name: "prune", summary: "delete what no branch or tag names, and cut downloads",
	help: `
Shows and deletes revisions that no ref names any more, blobs that no revision uses,
and what is left of downloads that were cut. Asks first, unless -yes.

Example:
  mes cache prune`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		d := m.deletion(fs)
		return func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return usageError("cache prune takes no arguments")
			}
			return d.run(ctx, func(c *client.Client) (client.CachePlan, error) { return c.PlanPrune() })
		}
	},
}

var cacheRemoveCommand = command{
	name: "rm", args: "REPO [REVISION]", summary: "delete a repository or revision from the cache",
	help: `
Deletes REPO, or one REVISION of it, from the cache, not from the hub. Blobs that
another revision uses stay. Asks first, unless -yes.

Example:
  mes cache rm acme/swarm`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		d := m.deletion(fs)
		return func(ctx context.Context, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usageError("cache rm needs a repository, and at most a revision; `mes help cache rm` shows an example")
			}
			repo, err := repoArg(args[0])
			if err != nil {
				return err
			}
			revision := strings.Join(args[1:], "")
			return d.run(ctx, func(c *client.Client) (client.CachePlan, error) { return c.PlanRemove(repo, revision) })
		}
	},
}

// deletion shows a plan, asks and deletes.
type deletion struct {
	m                   *Main
	yes, dryRun, asJSON bool
}

func (m *Main) deletion(fs *flag.FlagSet) *deletion {
	d := &deletion{m: m}
	fs.BoolVar(&d.yes, "yes", false, "do not ask")
	fs.BoolVar(&d.dryRun, "dry-run", false, "show what would be deleted")
	fs.BoolVar(&d.asJSON, "json", false, "write JSON")
	return d
}

func (d *deletion) run(ctx context.Context, plan func(*client.Client) (client.CachePlan, error)) error {
	c, err := d.m.cacheClient()
	if err != nil {
		return err
	}
	p, err := plan(c)
	if err != nil {
		return err
	}
	if len(p.Repos) > 0 && !d.dryRun {
		for _, r := range p.Repos {
			fmt.Fprintf(d.m.Stderr, "%s: %s, %s\n", r.Repo, count(len(r.Revisions), "revision"), size(r.Bytes))
		}
		if err := d.m.confirm(d.yes, "delete %s from the cache?", size(p.Bytes())); err != nil {
			return err
		}
		if err := c.Apply(ctx, p); err != nil {
			return err
		}
	}
	if d.asJSON {
		return d.m.writeJSON(p)
	}
	verb := "deleted"
	if d.dryRun {
		verb = "would be deleted"
	}
	for _, r := range p.Repos {
		fmt.Fprintf(d.m.Stdout, "%s: %s, %s %s\n", r.Repo, count(len(r.Revisions), "revision"), size(r.Bytes), verb)
	}
	if len(p.Repos) == 0 {
		fmt.Fprintln(d.m.Stdout, "nothing to delete")
	}
	return nil
}
