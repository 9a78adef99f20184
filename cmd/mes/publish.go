package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/mamba-encoder-swarm/mes/hub/client"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

var publishCommand = command{
	name: "publish", args: "SWARM", summary: "publish a swarm on the hub: model, weights, demo",
	help: `
Publishes the folder SWARM as three repos of a hub:

  OWNER/mamba-swarm-model    complete and ready to run, at the precision of -dtype
  OWNER/mamba-swarm-weights  the weights as SWARM has them, what was measured, where
                             training goes on
  OWNER/mamba-swarm-demo     a Space that runs the model; a static page with recorded
                             decisions of its router where the plan has no Docker

Only what the hub lacks is sent, so a second run changes nothing and one that failed
goes on. Weights that an earlier run published and this one does not are deleted;
everything else in the repos stays.

-run puts the newest whole checkpoint of a training run, with its configuration, plan
and records, into checkpoint/ of the weights repo, in place of the one before; mes train
goes on from there, as the repo's card shows. Without -run what is there stays.

-o writes the repos' folders and sends nothing: for git, or to look at them. The token
must be allowed to write.

Example:
  mes publish -dry-run -run runs/swarm runs/swarm/model`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		p := &publish{m: m, hub: m.hubFlags(fs)}
		p.hub.transferFlags(fs)
		fs.StringVar(&p.owner, "owner", "", "user or organisation that the repos belong to; empty is the token's `user`")
		fs.StringVar(&p.name, "name", "mamba-swarm", "`name` that those of the repos begin with")
		fs.StringVar(&p.dtype, "dtype", "", "`type` of the model repo's weight matrices: f32, bf16 or int8; empty is int8 where SWARM's are, else bf16")
		fs.Var(&p.evaluation, "evaluation", "`file` for the weights repo that says what was measured, may be repeated")
		fs.StringVar(&p.training, "run", "", "`folder` of the training run (mes train -o), whose newest checkpoint goes into the weights repo")
		fs.StringVar(&p.source, "source", ".", "`folder` with the program's source, which the Space compiles")
		fs.BoolVar(&p.private, "private", false, "make new repos private")
		fs.StringVar(&p.out, "o", "", "write the repos' folders below this `folder`, and send nothing")
		fs.BoolVar(&p.dryRun, "dry-run", false, "print every call, and change nothing")
		return p.run
	},
}

// publish is one run of the command.
type publish struct {
	m                     *Main
	hub                   *hubFlags
	owner, name, dtype    string
	evaluation            list
	training, source, out string
	private, dryRun       bool

	precision swarm.Precision
	c         *client.Client
}

// published is what became of one repo.
type published struct {
	Repo      string   `json:"repo"`
	URL       string   `json:"url"`
	Commit    string   `json:"commit"`
	Commits   int      `json:"commits"` // made now; 0 means that nothing changed
	Unchanged int      `json:"unchanged"`
	Deleted   []string `json:"deleted"`
	Note      string   `json:"note,omitempty"`
}

func (p *publish) run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return usageError("publish needs one swarm's folder; `mes help publish` shows an example")
	}
	var err error
	if p.dtype != "" {
		if p.precision, err = swarm.ParsePrecision(p.dtype); err != nil {
			return usageError("-dtype: %v", err)
		}
	}
	if err := p.connect(ctx); err != nil {
		return err
	}
	for _, repo := range p.repos() {
		if err := repo.Validate(); err != nil {
			return usageError("%v", err)
		}
	}
	dir, remove, err := p.folder(args[0])
	if err != nil {
		return err
	}
	defer remove()
	if err := p.stage(ctx, args[0], dir); err != nil {
		return err
	}
	if p.out != "" {
		fmt.Fprintf(p.m.Stdout, "%s: %s, %s, %s, %s\n", dir, p.repoName("model"), p.repoName("weights"), p.repoName("demo"), p.repoName("demo-static"))
		return nil
	}
	return p.send(ctx, dir)
}

// connect opens the hub, and checks the token before anything is done. Without an
// upload only the owner's name is needed.
func (p *publish) connect(ctx context.Context) error {
	cfg, err := p.hub.config(ctx)
	if err != nil {
		return err
	}
	if p.out != "" && p.owner == "" {
		return usageError("-o needs -owner, whose name is in the cards")
	}
	if p.dryRun {
		cfg.Transport = newDryRun(p.m.Stdout, cfg.Transport)
	}
	if p.c, err = newClient(cfg); err != nil {
		return err
	}
	if p.out != "" {
		return nil
	}
	if cfg.Token == "" && p.dryRun && p.owner != "" {
		return nil
	}
	if cfg.Token == "" {
		return errors.New("there is no token: make one that may write on the hub's page of settings, and give it to `mes login` or in HF_TOKEN")
	}
	return p.checkToken(ctx)
}

// checkToken finds out whether the token may write for the owner.
func (p *publish) checkToken(ctx context.Context) error {
	user, err := p.c.Whoami(ctx)
	if err != nil {
		return err
	}
	if p.owner == "" {
		p.owner = user.Name
	}
	if user.Auth.AccessToken.Role == "read" {
		return fmt.Errorf("the token %q of %s may only read; make one that may write", user.Auth.AccessToken.DisplayName, user.Name)
	}
	names := []string{user.Name}
	for _, org := range user.Orgs {
		names = append(names, org.Name)
	}
	if !slices.Contains(names, p.owner) {
		return fmt.Errorf("the token belongs to %s, which cannot publish for %s; -owner takes one of %s", user.Name, p.owner, few(names))
	}
	return nil
}

// repoName is the name of a repo without its owner.
func (p *publish) repoName(what string) string { return p.name + "-" + what }

// repos lists the repos in the order in which they are published: the cards of later
// ones lead to earlier ones.
func (p *publish) repos() []client.Repo {
	id := func(what string) string { return p.owner + "/" + p.repoName(what) }
	return []client.Repo{{Type: client.Model, ID: id("weights")}, {Type: client.Model, ID: id("model")}, {Type: client.Space, ID: id("demo")}}
}

// folder returns where the repos' folders are written, and what removes it. Without
// -o it lies beside the swarm, so that files can be linked, or else where the system
// keeps temporary ones.
func (p *publish) folder(model string) (dir string, remove func(), err error) {
	if p.out != "" {
		return p.out, func() {}, os.MkdirAll(p.out, 0o755)
	}
	if model, err = filepath.Abs(model); err != nil {
		return "", nil, err
	}
	dir, err = os.MkdirTemp(filepath.Dir(model), ".mes-publish-")
	if err != nil {
		dir, err = os.MkdirTemp("", "mes-publish-")
	}
	if err != nil {
		return "", nil, fmt.Errorf("make a folder to publish from: %w", err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

// send publishes the folders and reports each as it is done.
func (p *publish) send(ctx context.Context, dir string) error {
	var all []published
	for _, repo := range p.repos() {
		what := repo.ID[len(p.owner)+1:]
		done, err := p.upload(ctx, repo, filepath.Join(dir, what))
		if err != nil {
			return fmt.Errorf("publish %s: %w; what is there stays, run it again to go on", repo, err)
		}
		all = append(all, done)
		if p.hub.asJSON {
			continue
		}
		if _, err := fmt.Fprintln(p.m.Stdout, done.said(p.dryRun)); err != nil {
			return err
		}
	}
	if p.hub.asJSON {
		return p.m.writeJSON(all)
	}
	return nil
}

// said is the line about a repo.
func (d published) said(dryRun bool) string {
	line := d.URL + ": "
	switch {
	case dryRun && d.Commits > 0:
		line += "would be changed"
	case d.Commits == 0:
		line += "unchanged"
	default:
		line += "commit " + d.Commit[:min(8, len(d.Commit))]
	}
	if len(d.Deleted) > 0 {
		line += ", deleted " + few(d.Deleted)
	}
	if d.Note != "" {
		line += "; " + d.Note
	}
	return line
}
