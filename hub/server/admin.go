package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// Admin is what the owner of a data folder may do beside the API. It works on a
// folder alone, and on one that a running server has open.
type Admin interface {
	// AddUser makes a user or an organization.
	AddUser(ctx context.Context, u meta.User) (meta.User, error)
	// AddToken makes a token and gives its secret, which is kept nowhere.
	AddToken(ctx context.Context, t meta.Token) (string, error)
	// Backup copies the data folder, as it is at one moment, to a folder that
	// does not exist yet.
	Backup(ctx context.Context, to string) error
	// Fsck lists what is wrong; full also reads every large file.
	Fsck(ctx context.Context, full bool) ([]string, error)
	// Collect removes what nothing leads to any more.
	Collect(ctx context.Context) (Collected, error)
	// Close lets go of the folder.
	Close() error
}

// AddUser implements Admin.
func (s *Server) AddUser(_ context.Context, u meta.User) (meta.User, error) { return s.db.AddUser(u) }

// AddToken implements Admin.
func (s *Server) AddToken(_ context.Context, t meta.Token) (string, error) { return s.db.AddToken(t) }

const socketName = "admin.sock"

// Connect gives the Admin of a data folder: through the server that has it open,
// or by opening it.
func Connect(dir string) (Admin, error) {
	s, err := New(Config{Dir: dir})
	if err == nil {
		return s, nil
	}
	if !errors.Is(err, meta.ErrLocked) {
		return nil, err
	}
	socket := filepath.Join(dir, socketName)
	conn, dialErr := net.Dial("unix", socket)
	if dialErr != nil {
		return nil, fmt.Errorf("%w, and it does not answer at %s", err, socket)
	}
	conn.Close()
	return &remote{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}, nil
}

// serveAdmin answers Connect until ctx ends. The socket can be used by the owner
// of the data folder alone.
func (s *Server) serveAdmin(ctx context.Context) error {
	path := filepath.Join(s.cfg.Dir, socketName)
	// We hold the database's lock, so a socket that is there is a leftover.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen for admin commands: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("listen for admin commands: %w", err)
	}
	srv := &http.Server{Handler: s.adminHandler(), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin commands: %w", err)
	}
	return nil
}

func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /user", adminCall(s.AddUser))
	mux.HandleFunc("POST /token", adminCall(s.AddToken))
	mux.HandleFunc("POST /backup", adminCall(func(ctx context.Context, to string) (bool, error) { return true, s.Backup(ctx, to) }))
	mux.HandleFunc("POST /fsck", adminCall(s.Fsck))
	mux.HandleFunc("POST /collect", adminCall(func(ctx context.Context, _ bool) (Collected, error) { return s.Collect(ctx) }))
	return mux
}

type adminReply[T any] struct {
	Value T
	Error string
}

func adminCall[In, Out any](work func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&in); err != nil {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		var reply adminReply[Out]
		var err error
		if reply.Value, err = work(r.Context(), in); err != nil {
			reply.Error = err.Error()
		}
		_ = json.NewEncoder(w).Encode(reply) // the caller went away
	}
}

// remote is the Admin of a folder that a server has open.
type remote struct{ client *http.Client }

func (r *remote) AddUser(ctx context.Context, u meta.User) (meta.User, error) {
	return ask[meta.User](ctx, r, "user", u)
}

func (r *remote) AddToken(ctx context.Context, t meta.Token) (string, error) {
	return ask[string](ctx, r, "token", t)
}

func (r *remote) Backup(ctx context.Context, to string) error {
	_, err := ask[bool](ctx, r, "backup", to)
	return err
}

func (r *remote) Fsck(ctx context.Context, full bool) ([]string, error) {
	return ask[[]string](ctx, r, "fsck", full)
}

func (r *remote) Collect(ctx context.Context) (Collected, error) {
	return ask[Collected](ctx, r, "collect", true)
}

func (r *remote) Close() error {
	r.client.CloseIdleConnections()
	return nil
}

func ask[Out any](ctx context.Context, r *remote, verb string, in any) (out Out, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("encode admin command: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://hub/"+verb, bytes.NewReader(body))
	if err != nil {
		return out, fmt.Errorf("make admin command: %w", err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return out, fmt.Errorf("send admin command: %w", err)
	}
	defer resp.Body.Close()
	var reply adminReply[Out]
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
		return out, fmt.Errorf("read answer of the server: %w", err)
	}
	if reply.Error != "" {
		return out, errors.New(reply.Error)
	}
	return reply.Value, nil
}
