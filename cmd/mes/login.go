package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"

	"github.com/mamba-encoder-swarm/mes/hub/client"
)

var loginCommand = command{
	name: "login", summary: "store a hub's token",
	help: `
Reads a token from standard input or -token-file, asks the hub whose it is, and
stores it where huggingface_hub looks for it ($HF_TOKEN_PATH, else $HF_HOME/token),
readable by you alone. A token is never an argument, where others could see it.

Beside it, in stored_tokens, all tokens are kept by name, as of hf auth: -list shows
them and -switch makes another one the token that is used.

Examples:
  mes login -token-file secret.txt
  mes login -switch work`,
	flags: func(set *flag.FlagSet, m *Main) func(context.Context, []string) error {
		l := &login{hub: m.hubFlags(set), m: m}
		set.StringVar(&l.name, "name", "", "`name` to keep the token by; empty is what the hub calls it")
		set.StringVar(&l.switchTo, "switch", "", "use the stored token of this `name`")
		set.BoolVar(&l.list, "list", false, "list the stored tokens")
		return l.run
	},
}

type login struct {
	hub            *hubFlags
	m              *Main
	name, switchTo string
	list           bool
}

func (l *login) run(ctx context.Context, args []string) error {
	switch {
	case len(args) > 0:
		return usageError("login takes no arguments: give the token on standard input or in -token-file")
	case l.list && l.switchTo != "" || l.name != "" && (l.list || l.switchTo != ""):
		return usageError("give one of -name, -switch and -list")
	case l.list:
		return l.showStored()
	case l.switchTo != "":
		return l.use(l.switchTo)
	case l.name != "":
		if err := checkTokenName(l.name); err != nil {
			return err
		}
	}
	return l.store(ctx)
}

// store reads a token, asks whose it is and keeps it.
func (l *login) store(ctx context.Context) error {
	token, err := l.m.askToken(l.hub.tokenFile)
	if err != nil {
		return err
	}
	if token == "" {
		return usageError("there is no token; give it on standard input or in -token-file")
	}
	cfg := l.hub.anonymous()
	cfg.Token = token
	c, err := newClient(cfg)
	if err != nil {
		return err
	}
	user, err := c.Whoami(ctx)
	if err != nil {
		return err
	}
	env := hubEnv{l.m.Env}
	stored, err := readStoredTokens(env.storedTokens())
	if err != nil {
		return err
	}
	name := l.name
	for _, other := range []string{user.Auth.AccessToken.DisplayName, user.Name} {
		if name == "" && checkTokenName(other) == nil {
			name = other
		}
	}
	if name == "" {
		return usageError("what the hub calls the token cannot be its name here; give one with -name")
	}
	stored[name] = map[string]string{tokenKey: token} // with nothing of an older one
	if err := writeSecret(env.storedTokens(), stored.text()); err != nil {
		return err
	}
	if err := writeSecret(env.tokenFile(), token); err != nil {
		return err
	}
	if l.hub.asJSON {
		return l.m.writeJSON(user)
	}
	fmt.Fprintf(l.m.Stdout, "logged in to %s as %s; the token is in %s\n", c.Endpoint(), user.Name, env.tokenFile())
	return nil
}

// use makes a stored token the one that is used.
func (l *login) use(name string) error {
	env := hubEnv{l.m.Env}
	stored, err := readStoredTokens(env.storedTokens())
	if err != nil {
		return err
	}
	token := stored[name][tokenKey]
	if token == "" {
		return fmt.Errorf("no token is stored by the name %q; `mes login -list` shows them: %w", name, fs.ErrNotExist)
	}
	if err := writeSecret(env.tokenFile(), token); err != nil {
		return err
	}
	fmt.Fprintf(l.m.Stdout, "the token %s is used\n", name)
	if other := env.first("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"); other != "" && other != token {
		fmt.Fprintln(l.m.Stderr, "HF_TOKEN is set to another one, which is used instead")
	}
	return nil
}

// storedToken is what is shown of a token.
type storedToken struct {
	Name   string `json:"name"`
	Token  string `json:"token"` // masked
	Active bool   `json:"active"`
}

// showStored lists the stored tokens, the one that is used with a star.
func (l *login) showStored() error {
	env := hubEnv{l.m.Env}
	stored, err := readStoredTokens(env.storedTokens())
	if err != nil {
		return err
	}
	active, err := readToken(env.tokenFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	list := []storedToken{}
	for _, name := range slices.Sorted(maps.Keys(stored)) {
		token := stored[name][tokenKey]
		list = append(list, storedToken{name, masked(token), token != "" && token == active})
	}
	if l.hub.asJSON {
		return l.m.writeJSON(list)
	}
	w := &printer{w: tabwriter.NewWriter(l.m.Stdout, 0, 0, 2, ' ', 0)}
	for _, t := range list {
		star := ""
		if t.Active {
			star = "*"
		}
		w.f("%s\t%s\t%s\n", star, t.Name, t.Token)
	}
	if w.err != nil {
		return w.err
	}
	return w.w.Flush()
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

// writeSecret stores a text so that nobody else can read it.
func writeSecret(file, text string) (err error) {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store the token: %w", err)
	}
	f, err := os.CreateTemp(dir, "token-*.tmp") // mode 0600
	if err != nil {
		return fmt.Errorf("store the token: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = io.WriteString(f, text)
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
	c, err := h.client(ctx)
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
