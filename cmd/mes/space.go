package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/client"
)

var spaceCommand = command{
	name: "space", summary: "manage a hub's Spaces",
	help: `
SPACE is namespace/name. mes repo create -sdk docker spaces/SPACE makes one.`,
	verbs: []command{
		spaceRuntimeCommand, spaceRestartCommand, spacePauseCommand, spaceHardwareCommand,
		spaceSecretCommand, spaceVariableCommand, spaceLogsCommand,
	},
}

// aboutSpace is about for a Space, whose id needs no prefix.
func aboutSpace(least, most int, build func(*flag.FlagSet) func(context.Context, *repoCall) error) func(*flag.FlagSet, *Main) func(context.Context, []string) error {
	return func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		work := about(least, most, build)(fs, m)
		return func(ctx context.Context, args []string) error {
			if len(args) > 0 && !strings.HasPrefix(args[0], "spaces/") {
				args = append([]string{"spaces/" + args[0]}, args[1:]...)
			}
			return work(ctx, args)
		}
	}
}

// runtime prints what a Space does.
func (r *repoCall) runtime(run client.Runtime) error {
	return r.result(run, "%s: %s on %s %s", r.repo, run.Stage, run.Hardware.Current, run.ErrorMessage)
}

var spaceRuntimeCommand = command{
	name: "runtime", args: "SPACE", summary: "show what a Space does",
	help: `
Example:
  mes space runtime -wait acme/demo`,
	flags: aboutSpace(0, 0, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		wait := fs.Bool("wait", false, "wait until it runs, or cannot")
		return func(ctx context.Context, r *repoCall) error {
			if !*wait {
				run, err := r.c.SpaceRuntime(ctx, r.repo.ID)
				if err != nil {
					return err
				}
				return r.runtime(run)
			}
			run, err := r.c.WaitSpace(ctx, r.repo.ID, func(run client.Runtime) { fmt.Fprintln(r.m.Stderr, run.Stage) })
			if err != nil {
				return err
			}
			return r.runtime(run)
		}
	}),
}

var spaceRestartCommand = command{
	name: "restart", args: "SPACE", summary: "start a Space anew",
	help: `
Example:
  mes space restart -rebuild acme/demo`,
	flags: aboutSpace(0, 0, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		rebuild := fs.Bool("rebuild", false, "build its image without a cache first")
		return func(ctx context.Context, r *repoCall) error {
			run, err := r.c.RestartSpace(ctx, r.repo.ID, *rebuild)
			if err != nil {
				return err
			}
			return r.runtime(run)
		}
	}),
}

var spacePauseCommand = command{
	name: "pause", args: "SPACE", summary: "stop a Space until it is restarted",
	help: `
Example:
  mes space pause acme/demo`,
	flags: aboutSpace(0, 0, func(*flag.FlagSet) func(context.Context, *repoCall) error {
		return func(ctx context.Context, r *repoCall) error {
			run, err := r.c.PauseSpace(ctx, r.repo.ID)
			if err != nil {
				return err
			}
			return r.runtime(run)
		}
	}),
}

var spaceHardwareCommand = command{
	name: "hardware", args: "SPACE FLAVOR", summary: "ask for other hardware",
	help: `
Example:
  mes space hardware -sleep 1h acme/demo cpu-upgrade`,
	flags: aboutSpace(1, 1, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		sleep := fs.Duration("sleep", 0, "idle `time` until it sleeps; 0 leaves it")
		return func(ctx context.Context, r *repoCall) error {
			run, err := r.c.SetHardware(ctx, r.repo.ID, r.args[0], *sleep)
			if err != nil {
				return err
			}
			return r.runtime(run)
		}
	}),
}

var spaceSecretCommand = command{
	name: "secret", args: "SPACE [KEY]", summary: "list, set or delete a Space's secrets",
	help: `
Without KEY the names are listed. With KEY the value is read from standard input, so
that it is never an argument, where others could see it.

Examples:
  mes space secret acme/demo HF_TOKEN < token.txt
  mes space secret -delete acme/demo HF_TOKEN`,
	flags: aboutSpace(0, 1, settings("secret", (*client.Client).Secrets, (*client.Client).SetSecret, (*client.Client).DeleteSecret)),
}

var spaceVariableCommand = command{
	name: "variable", args: "SPACE [KEY]", summary: "list, set or delete a Space's variables",
	help: `
Without KEY the variables are listed. With KEY the value is read from standard input.
Everybody can read a variable.

Example:
  echo acme/swarm | mes space variable acme/demo MODEL`,
	flags: aboutSpace(0, 1, settings("variable", (*client.Client).Variables, (*client.Client).SetVariable, (*client.Client).DeleteVariable)),
}

// settings is the command of secrets and that of variables.
func settings(
	noun string,
	list func(*client.Client, context.Context, string) (map[string]client.Setting, error),
	set func(*client.Client, context.Context, string, client.Setting) error,
	remove func(*client.Client, context.Context, string, string) error,
) func(*flag.FlagSet) func(context.Context, *repoCall) error {
	return func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		deletion := fs.Bool("delete", false, "delete it")
		yes := fs.Bool("yes", false, "do not ask")
		description := fs.String("description", "", "`text` about it")
		return func(ctx context.Context, r *repoCall) error {
			if len(r.args) == 0 {
				all, err := list(r.c, ctx, r.repo.ID)
				if err != nil {
					return err
				}
				return r.settings(all)
			}
			key := r.args[0]
			if *deletion {
				if err := r.m.confirm(*yes, "delete %s %s of %s?", noun, key, r.repo); err != nil {
					return err
				}
				if err := remove(r.c, ctx, r.repo.ID, key); err != nil {
					return err
				}
				return r.result(map[string]string{"deleted": key}, "deleted %s %s", noun, key)
			}
			value, err := io.ReadAll(io.LimitReader(r.m.Stdin, 1<<20))
			if err != nil {
				return fmt.Errorf("read the value: %w", err)
			}
			s := client.Setting{Key: key, Value: strings.TrimRight(string(value), "\r\n"), Description: *description}
			if err := set(r.c, ctx, r.repo.ID, s); err != nil {
				return err
			}
			return r.result(map[string]string{"set": key}, "set %s %s", noun, key)
		}
	}
}

// settings lists secrets or variables.
func (r *repoCall) settings(all map[string]client.Setting) error {
	if r.asJSON {
		return r.m.writeJSON(all)
	}
	var rows [][]any
	for _, key := range slices.Sorted(maps.Keys(all)) {
		rows = append(rows, []any{key, all[key].Value, all[key].Description})
	}
	return r.table(rows)
}

var spaceLogsCommand = command{
	name: "logs", args: "SPACE", summary: "show the log of a Space",
	help: `
Example:
  mes space logs -build acme/demo`,
	flags: aboutSpace(0, 0, func(fs *flag.FlagSet) func(context.Context, *repoCall) error {
		build := fs.Bool("build", false, "the log of the build")
		return func(ctx context.Context, r *repoCall) error {
			return r.c.SpaceLogs(ctx, r.repo.ID, *build, r.m.Stdout)
		}
	}),
}
