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
}

// commands lists all verbs in the order of the help text.
func commands() []command {
	return []command{
		generateCommand, growCommand, exportEncoderCommand, convertCommand, inspectCommand,
		benchCommand,
		envCommand, serveCommand, versionCommand,
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
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
		name, args = args[1], []string{args[1], "-h"}
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
