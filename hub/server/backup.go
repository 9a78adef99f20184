package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// Backup implements Admin. Writers are held up only while the database's state
// and the refs are noted; objects and large files never change once they have
// their name, so they are copied afterwards.
func (s *Server) Backup(ctx context.Context, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("back up to %s: it exists already, name a new folder", to)
	}
	s.upkeep.Lock()
	defer s.upkeep.Unlock()
	temp := to + ".incomplete"
	if err := os.Mkdir(temp, 0o700); err != nil {
		return fmt.Errorf("make folder for backup: %w", err)
	}
	if err := s.backup(ctx, temp); err != nil {
		os.RemoveAll(temp)
		return err
	}
	if err := os.Rename(temp, to); err != nil {
		return fmt.Errorf("finish backup: %w", err)
	}
	return nil
}

func (s *Server) backup(ctx context.Context, to string) error {
	refs, snapshot, err := s.moment()
	if err != nil {
		return err
	}
	defer snapshot.Close()
	db, err := os.OpenFile(filepath.Join(to, database), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("back up database: %w", err)
	}
	_, err = snapshot.WriteTo(db)
	if err := errors.Join(err, db.Sync(), db.Close()); err != nil {
		return fmt.Errorf("back up database: %w", err)
	}
	for name, data := range refs {
		if err := writeBackup(filepath.Join(to, name), strings.NewReader(data)); err != nil {
			return err
		}
	}
	for _, top := range []string{"git", "lfs/objects"} {
		if err := s.copyFixed(ctx, top, to); err != nil {
			return err
		}
	}
	return nil
}

// moment notes, while nobody writes, all files of the git folders that can
// change, and begins a snapshot of the database.
func (s *Server) moment() (map[string]string, *meta.Snapshot, error) {
	s.writes.Lock()
	defer s.writes.Unlock()
	refs := map[string]string{}
	err := filepath.WalkDir(filepath.Join(s.cfg.Dir, "git"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == "objects" || strings.HasPrefix(d.Name(), "tmp-") {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasPrefix(d.Name(), "tmp_") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(s.cfg.Dir, path)
		refs[name] = string(data)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("note refs: %w", err)
	}
	snapshot, err := s.db.Snapshot()
	return refs, snapshot, err
}

// copyFixed copies the files below a folder that never change: git's objects and
// large files. Packs' indexes go last among equals only by chance, which does not
// matter: nothing reads a backup while it is written.
func (s *Server) copyFixed(ctx context.Context, top, to string) error {
	return filepath.WalkDir(filepath.Join(s.cfg.Dir, filepath.FromSlash(top)), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a repo deleted meanwhile
		}
		if err != nil {
			return fmt.Errorf("back up: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name, err := filepath.Rel(s.cfg.Dir, path)
		if err != nil {
			return fmt.Errorf("back up: %w", err)
		}
		temporary := strings.HasPrefix(d.Name(), "tmp_") || strings.HasPrefix(d.Name(), "tmp-")
		if d.IsDir() {
			if temporary {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		if temporary || top == "git" && !strings.Contains(name, "/objects/") {
			return nil
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("back up: %w", err)
		}
		defer f.Close()
		return writeBackup(filepath.Join(to, name), f)
	})
}

func writeBackup(path string, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	_, err = io.Copy(f, r)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("back up %s: %w", path, err)
	}
	return nil
}
