package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/mamba-encoder-swarm/mes/hub/client"
)

var uploadCommand = command{
	name: "upload", args: "REPO [LOCAL [PATH]]", summary: "upload files to a hub's repository",
	help: `
Commits LOCAL, a file or folder, to PATH in REPO, which is made if it does not exist.
LOCAL is the current folder if it is left out, PATH the root (for a file, its name).
Files that the hub has already are not sent again, so an upload that was cut goes
on when it is started again.

REPO is namespace/name of a model, or begins with datasets/ or spaces/. -delete
alone, without LOCAL, uploads nothing.

Examples:
  mes upload acme/swarm swarm
  mes upload -message "new card" acme/swarm README.md
  mes upload -delete old.bin -delete drafts/ acme/swarm`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		u := &uploading{hub: m.hubFlags(fs)}
		u.hub.transferFlags(fs)
		fs.StringVar(&u.o.Revision, "revision", "main", "`branch` to commit to")
		fs.StringVar(&u.o.Message, "message", "", "first `line` of the commit; empty is made from the files")
		fs.StringVar(&u.o.Description, "description", "", "`text` below it")
		fs.StringVar(&u.o.Parent, "parent", "", "`commit` that the branch must be at; empty is any")
		fs.BoolVar(&u.o.CreatePR, "pr", false, "open a pull request")
		fs.Var(&u.include, "include", "`pattern` of files to upload, may be repeated; none is all")
		fs.Var(&u.exclude, "exclude", "`pattern` of files to leave out, may be repeated")
		fs.Var(&u.deleted, "delete", "`path` in the repository to delete, a folder ends in /; may be repeated")
		fs.BoolVar(&u.private, "private", false, "if REPO is made, make it private")
		fs.StringVar(&u.sdk, "sdk", "", "if REPO is a Space and made, its `sdk`: docker, static or gradio")
		return u.run
	},
}

type uploading struct {
	hub                       *hubFlags
	o                         client.UploadOptions
	include, exclude, deleted list
	private                   bool
	sdk                       string
}

func (u *uploading) run(ctx context.Context, args []string) error {
	if len(args) < 1 || len(args) > 3 {
		return usageError("upload needs a repository, and at most a file or folder and a path; `mes help upload` shows an example")
	}
	repo, err := repoArg(args[0])
	if err != nil {
		return err
	}
	if u.o.Files, err = u.files(args[1:]); err != nil {
		return err
	}
	u.o.Delete = u.deleted
	c, err := u.hub.client(ctx)
	if err != nil {
		return err
	}
	if _, err := c.Info(ctx, repo, ""); errors.Is(err, client.ErrRepoNotFound) {
		_, err = c.CreateRepo(ctx, repo, client.CreateOptions{Private: u.private, SDK: u.sdk, ExistOK: true})
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	m := u.hub.m
	lean()
	bar := u.hub.progress("upload")
	u.o.Progress = bar.transfer
	u.o.ResumeDir = filepath.Join(hubEnv{m.Env}.home(), "mes", "uploads")
	made, err := c.Upload(ctx, repo, u.o)
	bar.finish()
	if err != nil {
		return err
	}
	if u.hub.asJSON {
		return m.writeJSON(made)
	}
	if made.Made == 0 {
		fmt.Fprintf(m.Stdout, "%s: nothing to commit, %s unchanged\n", repo, count(made.Unchanged, "file"))
		return nil
	}
	fmt.Fprintf(m.Stdout, "%s: commit %.8s, %s sent, %d unchanged\n", repo, made.OID, count(made.Sent, "file"), made.Unchanged)
	if made.PullRequest != "" {
		fmt.Fprintln(m.Stdout, made.PullRequest)
	}
	return nil
}

// files lists what the arguments name.
func (u *uploading) files(args []string) ([]client.File, error) {
	if len(args) == 0 && len(u.deleted) > 0 {
		return nil, nil
	}
	local, to := ".", ""
	if len(args) > 0 {
		local = args[0]
	}
	if len(args) > 1 {
		to = args[1]
	}
	info, err := os.Stat(local)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return client.Folder(local, to, u.include, u.exclude)
	}
	if to == "" {
		to = path.Base(filepath.ToSlash(local))
	}
	return []client.File{{Path: to, Local: local}}, nil
}
