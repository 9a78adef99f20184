package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

const hubAddr = "127.0.0.1:8080"

// lean makes the collector work harder once the heap has some MB: a Hub and its
// clients hold little, and are often guests on their machine. A command that may
// hold a model does not call it.
func lean() { debug.SetMemoryLimit(48 << 20) }

var hubCommand = command{
	name: "hub", summary: "run a private Hub, and manage its users and data",
	help: `
A Hub of one's own in a plain folder: the clients of HuggingFace's Hub upload to
it and download from it when HF_ENDPOINT names its address.

Example:
  mes hub user add -data myhub alice
  export HF_TOKEN=$(mes hub token add -data myhub -user alice -role write)
  mes hub serve -data myhub &
  HF_ENDPOINT=http://127.0.0.1:8080 hf upload alice/model folder`,
	verbs: []command{
		hubServeCommand,
		{name: "user", summary: "manage users", help: "Users own repos and have tokens.", verbs: []command{hubUserCommand}},
		{name: "org", summary: "manage organizations", help: "Organizations own repos that several users work on.", verbs: []command{hubOrgCommand}},
		{name: "token", summary: "manage tokens", help: "Clients show who they are with a token.", verbs: []command{hubTokenCommand}},
		hubFsckCommand, hubCollectCommand, hubBackupCommand,
	},
}

var hubServeCommand = command{
	name: "serve", summary: "serve a Hub from a folder",
	help: `
Serves the folder until interrupted. Only this machine can reach it unless -addr
says otherwise; give certificate and key for TLS, or put it behind a proxy and
name the address that clients use with -url. Clone and fetch need git on the
server's machine; everything else, push included, does not. With -upstream, a
repo that is not here is read from another Hub, file by file, and kept: with the
caller's own token where one is needed, and without that Hub later if the repo is
public. -mirror-max bounds what is kept; the last used stays.

Example:
  mes hub serve -data myhub -addr 127.0.0.1:8080`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		s := &hubServe{m: m}
		fs.StringVar(&s.dir, "data", "", "data `folder`; made when it is not there")
		fs.StringVar(&s.addr, "addr", hubAddr, "`host:port` to listen on; port 0 takes a free one")
		fs.StringVar(&s.cert, "tls-cert", "", "`file` with the certificate")
		fs.StringVar(&s.key, "tls-key", "", "`file` with the certificate's key")
		fs.StringVar(&s.url, "url", "", "`address` that clients use, when it is not the one listened on")
		fs.StringVar(&s.upstream, "upstream", "", "`address` of a Hub whose repos are read through a cache when they are not here")
		fs.Var(&s.mirrorMax, "mirror-max", "most `bytes` of that cache, as 500M or 100G; 0 is no limit")
		fs.Var(&s.repoMax, "repo-max", "most `bytes` of the large files of one repo, as 500M or 100G; 0 is no limit")
		fs.Int64Var(&s.multipart, "multipart", server.DefaultMultipartFrom, "files of so many `bytes` come in parts of 64 MiB, as a proxy that bounds requests needs")
		fs.BoolVar(&s.quiet, "quiet", false, "log only what goes wrong")
		return s.run
	},
}

type hubServe struct {
	m                         *Main
	dir, addr, cert, key, url string
	upstream                  string
	mirrorMax, repoMax        byteCount
	multipart                 int64
	quiet                     bool
}

func (h *hubServe) run(ctx context.Context, args []string) error {
	if len(args) > 0 || h.dir == "" {
		return usageError("hub serve takes no arguments and needs -data FOLDER")
	}
	if h.multipart <= 0 {
		return usageError("-multipart must be above 0")
	}
	if (h.cert == "") != (h.key == "") {
		return usageError("-tls-cert and -tls-key belong together")
	}
	level := slog.LevelInfo
	if h.quiet {
		level = slog.LevelWarn
	}
	logger := slog.New(slog.NewTextHandler(h.m.Stderr, &slog.HandlerOptions{Level: level}))
	lean()
	git, _ := exec.LookPath("git") // empty when there is none: clone then says so
	s, err := server.New(server.Config{Dir: h.dir, PublicURL: h.url, Upstream: h.upstream, MirrorMax: int64(h.mirrorMax), MaxRepoBytes: int64(h.repoMax), MultipartFrom: h.multipart, Proxy: http.ProxyFromEnvironment, Git: git, Logger: logger})
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := net.Listen("tcp", h.addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	scheme := "http"
	if h.cert != "" {
		scheme = "https"
	}
	fmt.Fprintf(h.m.Stdout, "%s://%s\n", scheme, l.Addr())
	return s.Serve(ctx, l, h.cert, h.key)
}

// admin runs a command on a data folder, whether or not a server has it open.
func (m *Main) admin(dir string, work func(server.Admin) error) error {
	if dir == "" {
		return usageError("name the data folder with -data")
	}
	a, err := server.Connect(dir)
	if err != nil {
		return err
	}
	defer a.Close()
	return work(a)
}

var hubUserCommand = command{
	name: "add", args: "NAME", summary: "add a user",
	help: `
Example:
  mes hub user add -data myhub alice`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		dir := fs.String("data", "", "data `folder`")
		full := fs.String("fullname", "", "`name` to show; NAME when empty")
		email := fs.String("email", "", "`address` that commits carry")
		return func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return usageError("hub user add takes one NAME, after the flags")
			}
			return m.admin(*dir, func(a server.Admin) error {
				u, err := a.AddUser(ctx, meta.User{Name: args[0], Fullname: *full, Email: *email})
				if err == nil {
					fmt.Fprintf(m.Stdout, "user %s\n", u.Name)
				}
				return err
			})
		}
	},
}

var hubOrgCommand = command{
	name: "add", args: "NAME", summary: "add an organization",
	help: `
Members are users that exist, each with admin, write or read.

Example:
  mes hub org add -data myhub -members alice:admin,bob:read acme`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		dir := fs.String("data", "", "data `folder`")
		full := fs.String("fullname", "", "`name` to show; NAME when empty")
		members := fs.String("members", "", "`list` such as alice:admin,bob:read")
		return func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return usageError("hub org add takes one NAME, after the flags")
			}
			roles, err := parseMembers(*members)
			if err != nil {
				return err
			}
			return m.admin(*dir, func(a server.Admin) error {
				u, err := a.AddUser(ctx, meta.User{Name: args[0], Fullname: *full, Org: true, Members: roles})
				if err == nil {
					fmt.Fprintf(m.Stdout, "organization %s\n", u.Name)
				}
				return err
			})
		}
	},
}

func parseMembers(list string) (map[string]string, error) {
	roles := map[string]string{}
	for entry := range strings.SplitSeq(list, ",") {
		if entry == "" {
			continue
		}
		name, role, _ := strings.Cut(entry, ":")
		switch role {
		case meta.RoleAdmin, meta.RoleWrite, meta.RoleRead:
			roles[strings.ToLower(name)] = role
		default:
			return nil, usageError("member %q: write NAME:admin, NAME:write or NAME:read", entry)
		}
	}
	return roles, nil
}

var hubTokenCommand = command{
	name: "add", summary: "add a token and print it, this once",
	help: `
The token goes to standard output. The server keeps only a hash of it.
A fine-grained token may do only what its scopes say: type/namespace/name for
one repo, a namespace for all of its repos, with :write at the end for writing.

Example:
  mes hub token add -data myhub -user alice -role write
  mes hub token add -data myhub -user alice -role fineGrained -scope model/alice/m:write`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		dir := fs.String("data", "", "data `folder`")
		t := meta.Token{}
		fs.StringVar(&t.User, "user", "", "`name` of the token's user")
		fs.StringVar(&t.Kind, "role", meta.TokenWrite, "`role`: read, write or fineGrained")
		fs.StringVar(&t.Label, "label", "cli", "`text` by which to know the token again")
		days := fs.Int("days", 0, "`days` until it expires; 0 is never")
		scopes := fs.String("scope", "", "`list` of what a fine-grained token may do")
		return func(ctx context.Context, args []string) error {
			if len(args) > 0 || t.User == "" {
				return usageError("hub token add takes no arguments and needs -user NAME")
			}
			if *days > 0 {
				t.Expires = time.Now().UTC().AddDate(0, 0, *days)
			}
			for scope := range strings.SplitSeq(*scopes, ",") {
				if target, write := strings.CutSuffix(scope, ":write"); target != "" {
					t.Scopes = append(t.Scopes, meta.Scope{Target: target, Write: write})
				}
			}
			return m.admin(*dir, func(a server.Admin) error {
				secret, err := a.AddToken(ctx, t)
				if err == nil {
					fmt.Fprintln(m.Stdout, secret)
				}
				return err
			})
		}
	},
}

var hubFsckCommand = command{
	name: "fsck", summary: "check a Hub's data folder",
	help: `
Reads every commit and file of every repo and compares it with its hash. With
-full large files too. Also while a server runs.

Example:
  mes hub fsck -data myhub`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		dir := fs.String("data", "", "data `folder`")
		full := fs.Bool("full", false, "read large files too")
		return func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return usageError("hub fsck takes no arguments")
			}
			return m.admin(*dir, func(a server.Admin) error {
				faults, err := a.Fsck(ctx, *full)
				if err != nil {
					return err
				}
				for _, fault := range faults {
					fmt.Fprintln(m.Stdout, fault)
				}
				if len(faults) > 0 {
					return fmt.Errorf("%d faults in %s", len(faults), *dir)
				}
				fmt.Fprintln(m.Stdout, "no faults")
				return nil
			})
		}
	},
}

var hubCollectCommand = command{
	name: "gc", summary: "remove what nothing leads to any more",
	help: `
Removes the commits and files that no branch, tag or pull request reaches, as a
squash or a deleted branch leaves them, and large files that no commit names and
that were not sent in the last two days. They cannot be brought back. Also while
a server runs.

Example:
  mes hub gc -data myhub`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		dir := fs.String("data", "", "data `folder`")
		return func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return usageError("hub gc takes no arguments")
			}
			return m.admin(*dir, func(a server.Admin) error {
				done, err := a.Collect(ctx)
				if err == nil {
					fmt.Fprintf(m.Stdout, "removed %d objects and %d large files\n", done.Objects, done.Files)
				}
				return err
			})
		}
	},
}

var hubBackupCommand = command{
	name: "backup", args: "FOLDER", summary: "copy a Hub's data folder, also while it is served",
	help: `
Copies all data, as they are at one moment, to a folder that is not there yet.
To restore, serve the copy.

Example:
  mes hub backup -data myhub backups/today`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		dir := fs.String("data", "", "data `folder`")
		return func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return usageError("hub backup takes one FOLDER, after the flags")
			}
			to, err := filepath.Abs(args[0])
			if err != nil {
				return fmt.Errorf("find folder: %w", err)
			}
			return m.admin(*dir, func(a server.Admin) error { return a.Backup(ctx, to) })
		}
	},
}
