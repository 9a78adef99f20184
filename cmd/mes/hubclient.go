package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/client"
)

// hubClient returns a client as the environment configures it, by the variables of
// huggingface_hub.
func (m *Main) hubClient() (*client.Client, error) {
	cfg, err := m.hubConfig()
	if err != nil {
		return nil, err
	}
	return client.New(cfg)
}

func (m *Main) hubConfig() (client.Config, error) {
	cfg := client.Config{
		Endpoint:   m.Env("HF_ENDPOINT"),
		UserAgent:  "mes/" + version,
		Cache:      m.firstEnv("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"),
		Offline:    m.isSet("HF_HUB_OFFLINE") || m.isSet("TRANSFORMERS_OFFLINE"),
		NoSymlinks: m.isSet("HF_HUB_DISABLE_SYMLINKS"),
		Transport:  client.NewTransport(http.ProxyFromEnvironment),
		Logger:     slog.New(slog.NewTextHandler(m.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if cfg.Cache == "" && m.hubHome() != "" {
		cfg.Cache = filepath.Join(m.hubHome(), "hub")
	}
	if m.isSet("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
		return cfg, nil
	}
	var err error
	cfg.Token, err = m.hubToken()
	return cfg, err
}

// hubHome is the folder of huggingface_hub's files; empty if there is no home.
func (m *Main) hubHome() string {
	if home := m.Env("HF_HOME"); home != "" {
		return home
	}
	if cache := m.Env("XDG_CACHE_HOME"); cache != "" {
		return filepath.Join(cache, "huggingface")
	}
	if home := m.Env("HOME"); home != "" {
		return filepath.Join(home, ".cache", "huggingface")
	}
	return ""
}

// hubToken returns the token of the environment or of the token file; empty is none.
func (m *Main) hubToken() (string, error) {
	if token := m.firstEnv("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"); token != "" {
		return token, nil
	}
	path := m.Env("HF_TOKEN_PATH")
	if path == "" {
		if m.hubHome() == "" {
			return "", nil
		}
		path = filepath.Join(m.hubHome(), "token")
	}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the token: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// firstEnv returns the first variable that is not empty, without blanks around it.
func (m *Main) firstEnv(keys ...string) string {
	for _, key := range keys {
		if v := strings.TrimSpace(m.Env(key)); v != "" {
			return v
		}
	}
	return ""
}

// isSet reports whether a variable is one of huggingface_hub's words for yes.
func (m *Main) isSet(key string) bool {
	return slices.Contains([]string{"1", "ON", "YES", "TRUE"}, strings.ToUpper(m.Env(key)))
}
