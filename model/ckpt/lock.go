package ckpt

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// errNoLocks is the answer of a file system that has no locks.
var errNoLocks = errors.New("the file system has no locks")

// takeLock takes the folder. The system frees the lock when the process ends, however it
// ends; the file only says who has it.
func (m *Manager) takeLock() error {
	f, err := m.store.root.OpenFile("lock", os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return fmt.Errorf("open checkpoints in %s: %w", m.cfg.Dir, err)
	}
	m.lock = f // closed by release
	held, err := tryLock(f)
	switch {
	case errors.Is(err, errNoLocks):
		m.cfg.Logger.Warn("checkpoints are not locked: start one training at a time", "dir", m.cfg.Dir, "error", err)
		return nil
	case err != nil:
		return fmt.Errorf("lock checkpoints in %s: %w", m.cfg.Dir, err)
	case !held:
		holder, _ := io.ReadAll(io.LimitReader(f, 256))
		name := strings.TrimSpace(string(holder))
		if name == "" {
			name = "another process"
		}
		return &LockedError{Dir: m.cfg.Dir, Holder: name}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(f, "process %d on %s\n", os.Getpid(), host)
	}
	if err != nil { // the lock holds all the same, and a full disk must not keep anybody from reading
		m.cfg.Logger.Warn("lock without a name", "dir", m.cfg.Dir, "error", err)
	}
	return nil
}
