package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/mamba-encoder-swarm/mes/hub/client"
)

var loginCommand = command{
	name: "login", summary: "store a hub's token",
	help: `
Reads a token from standard input or -token-file, asks the hub whose it is, and
stores it where huggingface_hub looks for it ($HF_TOKEN_PATH, else $HF_HOME/token),
readable by you alone. A token is never an argument, where others could see it.

Example:
  mes login -token-file secret.txt`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		h := m.hubFlags(fs)
		return func(ctx context.Context, args []string) error { return m.login(ctx, h, args) }
	},
}

func (m *Main) login(ctx context.Context, h *hubFlags, args []string) error {
	if len(args) > 0 {
		return usageError("login takes no arguments: give the token on standard input or in -token-file")
	}
	token, err := m.askToken(h.tokenFile)
	if err != nil {
		return err
	}
	if token == "" {
		return usageError("there is no token; give it on standard input or in -token-file")
	}
	env := hubEnv{m.Env}
	asked := *m
	asked.Env = func(key string) string {
		if key == "HF_TOKEN" {
			return token
		}
		return m.Env(key)
	}
	h.m, h.tokenFile = &asked, ""
	c, err := h.client()
	if err != nil {
		return err
	}
	user, err := c.Whoami(ctx)
	if err != nil {
		return err
	}
	if err := writeToken(env.tokenFile(), token); err != nil {
		return err
	}
	if h.asJSON {
		return m.writeJSON(user)
	}
	fmt.Fprintf(m.Stdout, "logged in to %s as %s; the token is in %s\n", c.Endpoint(), user.Name, env.tokenFile())
	return nil
}

// askToken reads the token, without an echo if somebody types it.
func (m *Main) askToken(file string) (string, error) {
	if file != "" {
		return readToken(file)
	}
	if f, ok := m.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(m.Stderr, "token: ")
		typed, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(m.Stderr)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		return tokenFrom(strings.NewReader(string(typed)))
	}
	return tokenFrom(m.Stdin)
}

// writeToken stores a token so that nobody else can read it.
func writeToken(file, token string) (err error) {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store the token: %w", err)
	}
	f, err := os.CreateTemp(dir, "token-*.tmp") // mode 0600
	if err != nil {
		return fmt.Errorf("store the token: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = io.WriteString(f, token)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("store the token: %w", err)
	}
	return nil
}

var whoamiCommand = command{
	name: "whoami", summary: "show whose token is used",
	help: `
Asks the hub whose the token is, what it allows, and the organisations.

Example:
  mes whoami`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		h := m.hubFlags(fs)
		return func(ctx context.Context, args []string) error { return m.whoami(ctx, h, args) }
	},
}

func (m *Main) whoami(ctx context.Context, h *hubFlags, args []string) error {
	if len(args) > 0 {
		return usageError("whoami takes no arguments")
	}
	c, err := h.client()
	if err != nil {
		return err
	}
	user, err := c.Whoami(ctx)
	if err != nil {
		return err
	}
	if h.asJSON {
		return m.writeJSON(user)
	}
	return printUser(m.Stdout, user, c.Endpoint())
}

func printUser(w io.Writer, user client.User, endpoint string) error {
	orgs := make([]string, 0, len(user.Orgs))
	for _, o := range user.Orgs {
		orgs = append(orgs, o.Name)
	}
	line := user.Name
	if role := user.Auth.AccessToken.Role; role != "" {
		line += ", token " + role
	}
	if len(orgs) > 0 {
		line += ", in " + strings.Join(orgs, ", ")
	}
	_, err := fmt.Fprintf(w, "%s at %s\n", line, endpoint)
	return err
}

// writeJSON writes a result for programs.
func (m *Main) writeJSON(v any) error {
	enc := json.NewEncoder(m.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
