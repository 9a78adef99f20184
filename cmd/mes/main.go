// Command mes runs, grows, converts and serves Mamba language models and swarms of
// Mamba encoders.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes of every command.
const (
	exitOK          = 0
	exitFailed      = 1   // the work could not be done
	exitUsage       = 2   // wrong flags, arguments or configuration
	exitNotFound    = 3   // a file, folder or model that is not there
	exitInterrupted = 130 // Ctrl-C
)

// Main is the program with everything that it touches, so that tests can run it.
type Main struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Env            func(key string) string
}

// command is one verb.
type command struct {
	name    string
	args    string // after the flags, for the usage line
	summary string // one line
	help    string // what it does, and an example
	flags   func(*flag.FlagSet, *Main) func(context.Context, []string) error
	verbs   []command // instead of flags: what follows the name, as in `mes config print`
}

// commands lists all verbs in the order of the help text.
func commands() []command {
	return []command{
		generateCommand, encodeCommand, routeCommand,
		growCommand, exportEncoderCommand, convertCommand, inspectCommand, tokenizerCommand, dataCommand, trainCommand, workerCommand, evalCommand, configCommand,
		pullCommand, publishCommand,
		loginCommand, whoamiCommand, downloadCommand, uploadCommand, repoCommand, spaceCommand, cacheCommand,
		plotCommand, benchCommand, envCommand, serveCommand, hubCommand, versionCommand,
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	m := &Main{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Getenv}
	code := m.Run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// Run runs one command line and returns the exit code.
func (m *Main) Run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		m.usage(m.Stderr)
		return exitUsage
	}
	name := args[0]
	if name == "help" && len(args) > 1 {
		name, args = args[1], append(args[1:], "-h")
	}
	if name == "help" || name == "-h" || name == "-help" || name == "--help" {
		m.usage(m.Stdout)
		return exitOK
	}
	for _, c := range commands() {
		if c.name == name {
			return m.exit(ctx, m.run(ctx, c, args[1:]))
		}
	}
	fmt.Fprintf(m.Stderr, "mes: unknown command %q; `mes help` lists all commands\n", name)
	return exitUsage
}

// run parses a command's flags and runs it.
func (m *Main) run(ctx context.Context, c command, args []string) error {
	if c.verbs != nil {
		return m.runVerb(ctx, c, args)
	}
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	work := c.flags(fs, m)
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		c.printHelp(m.Stdout, fs)
		return nil
	}
	if err != nil {
		return usageError("%v; `mes help %s` shows the flags", err, c.name)
	}
	return work(ctx, fs.Args())
}

// runVerb runs a command's verb.
func (m *Main) runVerb(ctx context.Context, c command, args []string) error {
	var names []string
	for _, verb := range c.verbs {
		names = append(names, verb.name)
		if len(args) > 0 && args[0] == verb.name {
			verb.name = c.name + " " + verb.name
			return m.run(ctx, verb, args[1:])
		}
	}
	if len(args) == 0 || !strings.HasPrefix(args[0], "-h") && args[0] != "--help" {
		return usageError("%s needs one of %s first; `mes help %s` shows them", c.name, strings.Join(names, ", "), c.name)
	}
	fmt.Fprintf(m.Stdout, "mes %s: %s\n\n%s\n\nCommands:\n", c.name, c.summary, strings.TrimSpace(c.help))
	for _, verb := range c.verbs {
		fmt.Fprintf(m.Stdout, "  mes %-20s %s\n", c.name+" "+verb.name, verb.summary)
	}
	fmt.Fprintf(m.Stdout, "\n`mes help %s %s` shows its flags.\n%s", c.name, names[0], exitCodeHelp)
	return nil
}

func (c command) printHelp(w io.Writer, fs *flag.FlagSet) {
	fmt.Fprintf(w, "mes %s: %s\n\nUsage:\n  mes %s\n\n%s\n", c.name, c.summary,
		strings.TrimSpace(strings.Join([]string{c.name, "[flags]", c.args}, " ")), strings.TrimSpace(c.help))
	fmt.Fprintf(w, "\nFlags:\n")
	fs.SetOutput(w)
	fs.PrintDefaults()
	fmt.Fprint(w, exitCodeHelp)
}

const exitCodeHelp = `
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found, 130 interrupted.
`

func (m *Main) usage(w io.Writer) {
	fmt.Fprint(w, "mes runs, grows, converts and serves Mamba models and swarms of Mamba encoders.\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-15s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\n`mes help COMMAND` shows flags and an example. Results go to standard output, messages to standard error.\n", exitCodeHelp)
}
