package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/client"
)

// hubEnv reads the environment variables of huggingface_hub, with its precedence.
// Nothing else in the program reads them.
type hubEnv struct{ env func(string) string }

// first is the first variable that is set.
func (e hubEnv) first(keys ...string) string {
	for _, key := range keys {
		if v := e.env(key); v != "" {
			return v
		}
	}
	return ""
}

// on reports whether one of the variables says yes.
func (e hubEnv) on(keys ...string) bool {
	for _, key := range keys {
		switch strings.ToUpper(e.env(key)) {
		case "1", "ON", "YES", "TRUE":
			return true
		}
	}
	return false
}

// seconds reads a time, 0 if there is none.
func (e hubEnv) seconds(key string) time.Duration {
	n, err := strconv.Atoi(e.env(key))
	if err != nil || n < 0 || n > 1<<20 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// path expands a leading ~.
func (e hubEnv) path(p string) string {
	if p == "~" || strings.HasPrefix(p, "~/") {
		return filepath.Join(e.env("HOME"), p[1:])
	}
	return p
}

// home is HF_HOME.
func (e hubEnv) home() string {
	if h := e.first("HF_HOME"); h != "" {
		return e.path(h)
	}
	cache := e.first("XDG_CACHE_HOME")
	if cache == "" {
		cache = "~/.cache"
	}
	return filepath.Join(e.path(cache), "huggingface")
}

func (e hubEnv) cache() string {
	if c := e.first("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"); c != "" {
		return e.path(c)
	}
	return filepath.Join(e.home(), "hub")
}

func (e hubEnv) tokenFile() string {
	if f := e.first("HF_TOKEN_PATH"); f != "" {
		return e.path(f)
	}
	return filepath.Join(e.home(), "token")
}

// storedTokens is the file of all tokens with their names.
func (e hubEnv) storedTokens() string {
	return filepath.Join(filepath.Dir(e.tokenFile()), "stored_tokens")
}

// token is the token to send, "" if there is none or none is to be sent. A service
// that proves who it is gets one from the hub, which cfg says how to ask.
func (e hubEnv) token(ctx context.Context, cfg client.Config) (string, error) {
	if e.on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
		return "", nil
	}
	if resource := e.env("HF_OIDC_RESOURCE"); resource != "" && !cfg.Offline {
		return e.exchanged(ctx, cfg, resource)
	}
	for _, key := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if t := strings.TrimSpace(e.env(key)); t != "" {
			return t, nil
		}
	}
	t, err := readToken(e.tokenFile())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return t, err
}

// readToken reads a token from a file.
func readToken(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return tokenFrom(f)
}

// tokenFrom reads a token, which is one word.
func tokenFrom(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, 64<<10))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if strings.ContainsAny(token, " \t\r\n") {
		return "", usageError("the token is more than one word")
	}
	return token, nil
}

// hubFlags are the flags of commands that ask a hub.
type hubFlags struct {
	m                    *Main
	endpoint, tokenFile  string
	workers, connections int
	bandwidth            byteCount
	asJSON               bool
}

func (m *Main) hubFlags(fs *flag.FlagSet) *hubFlags {
	h := &hubFlags{m: m}
	fs.StringVar(&h.endpoint, "endpoint", "", "`address` of the hub; empty is $HF_ENDPOINT, else "+client.DefaultEndpoint)
	fs.StringVar(&h.tokenFile, "token-file", "", "`file` that holds the token; empty is $HF_TOKEN, else what `mes login` stored")
	fs.BoolVar(&h.asJSON, "json", false, "write JSON; also how far a transfer is, to standard error")
	return h
}

// transferFlags are the flags of commands that move files.
func (h *hubFlags) transferFlags(fs *flag.FlagSet) {
	fs.IntVar(&h.workers, "workers", 8, "`files` moved at once")
	fs.IntVar(&h.connections, "connections", 4, "`parts` of a large file moved at once")
	fs.Var(&h.bandwidth, "max-bandwidth", "`bytes` a second, as 500k or 10M; 0 is no limit")
}

// client makes the client that flags and environment ask for.
func (h *hubFlags) client(ctx context.Context) (*client.Client, error) {
	cfg, err := h.config(ctx)
	if err != nil {
		return nil, err
	}
	return newClient(cfg)
}

// newClient makes a client; what is wrong with its configuration is wrong usage.
func newClient(cfg client.Config) (*client.Client, error) {
	c, err := client.New(cfg)
	if err != nil {
		return nil, usageError("%v", err)
	}
	return c, nil
}

// config is what flags and environment say of a client.
func (h *hubFlags) config(ctx context.Context) (client.Config, error) {
	cfg := h.anonymous()
	var err error
	if h.tokenFile != "" {
		cfg.Token, err = readToken(h.tokenFile)
	} else {
		cfg.Token, err = hubEnv{h.m.Env}.token(ctx, cfg)
	}
	return cfg, err
}

// anonymous is config without a token.
func (h *hubFlags) anonymous() client.Config {
	env := hubEnv{h.m.Env}
	cfg := client.Config{
		Endpoint: h.endpoint, UserAgent: "mes/" + version, Cache: env.cache(),
		NoSymlinks: env.on("HF_HUB_DISABLE_SYMLINKS"), Offline: env.on("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"),
		Transport: client.NewTransport(http.ProxyFromEnvironment),
		Workers:   h.workers, Connections: h.connections, Bandwidth: int64(h.bandwidth),
		Logger: slog.New(slog.NewTextHandler(h.m.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if cfg.Endpoint == "" {
		cfg.Endpoint = env.env("HF_ENDPOINT")
	}
	cfg.AskTimeout = env.seconds("HF_HUB_ETAG_TIMEOUT")
	cfg.IdleTimeout = env.seconds("HF_HUB_DOWNLOAD_TIMEOUT")
	return cfg
}

// progress is the bar of a transfer, which the environment can turn off.
func (h *hubFlags) progress(name string) *progress {
	bar := h.m.progress(name)
	bar.asJSON = h.asJSON
	if (hubEnv{h.m.Env}).on("HF_HUB_DISABLE_PROGRESS_BARS") {
		bar.w = io.Discard
	}
	return bar
}

// repoArg reads a repository from the command line.
func repoArg(s string) (client.Repo, error) {
	r, err := client.ParseRepo(s)
	if err != nil {
		return r, usageError("%v", err)
	}
	return r, nil
}

// byteCount is a flag in bytes, or in bytes a second.
type byteCount int64

func (b *byteCount) String() string { return strconv.FormatInt(int64(*b), 10) }

func (b *byteCount) Set(s string) error {
	unit := int64(1)
	switch {
	case strings.HasSuffix(s, "k"):
		unit = 1e3
	case strings.HasSuffix(s, "M"):
		unit = 1e6
	case strings.HasSuffix(s, "G"):
		unit = 1e9
	}
	n, err := strconv.ParseInt(strings.TrimRight(s, "kMG"), 10, 32)
	if err != nil || n < 0 {
		return errors.New("is a number of bytes, as 500k or 10M")
	}
	*b = byteCount(n * unit)
	return nil
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// confirm asks before something is deleted.
func (m *Main) confirm(yes bool, format string, args ...any) error {
	if yes {
		return nil
	}
	fmt.Fprintf(m.Stderr, format+" [y/N] ", args...)
	line, _ := bufio.NewReader(m.Stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	fmt.Fprintln(m.Stderr)
	return usageError("nothing was deleted; answer y, or add -yes")
}
