package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
)

// folder is a folder that is written under another name beside its place.
type folder struct {
	path, temp string
	replace    bool
}

// newFolder makes the temporary folder. Data that is to be replaced must be prepared data,
// so that nothing else is ever deleted.
func newFolder(path string, replace bool) (*folder, error) {
	path = filepath.Clean(path)
	switch _, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("prepare data: %w", err)
	case !replace:
		return nil, fmt.Errorf("prepare data: %w: %s; choose another name, or have it replaced", ErrExists, path)
	default:
		if _, err := os.Stat(filepath.Join(path, ManifestFile)); err != nil {
			return nil, fmt.Errorf("prepare data: %w: %s is not replaced, because it holds no %s; remove it yourself", ErrExists, path, ManifestFile)
		}
	}
	f := &folder{path: path, temp: beside(path, "tmp"), replace: replace}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, fmt.Errorf("prepare data: %w", err)
	}
	if err := os.Mkdir(f.temp, 0o777); err != nil {
		return nil, fmt.Errorf("prepare data: %w", err)
	}
	return f, nil
}

// beside is a hidden name beside path that nothing has.
func beside(path, ending string) string {
	return filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%016x.%s", filepath.Base(path), rand.Uint64(), ending))
}

// discard removes what was not committed.
func (f *folder) discard() { os.RemoveAll(f.temp) }

// commit puts all names on the disk and gives the folder its own.
func (f *folder) commit() error {
	err := filepath.WalkDir(f.temp, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return syncDir(path)
	})
	if err != nil {
		return fmt.Errorf("prepare data: %w", err)
	}
	old := beside(f.path, "old")
	if f.replace {
		if err := os.Rename(f.path, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("prepare data: %w", err)
		}
	}
	if err := os.Rename(f.temp, f.path); err != nil {
		if _, there := os.Lstat(f.path); there == nil {
			return errors.Join(fmt.Errorf("prepare data: %w: %s was made in the meantime", ErrExists, f.path), os.RemoveAll(old))
		}
		if f.replace {
			err = errors.Join(err, os.Rename(old, f.path))
		}
		return fmt.Errorf("prepare data: %w", err)
	}
	if err := errors.Join(syncDir(filepath.Dir(f.path)), os.RemoveAll(old)); err != nil {
		return fmt.Errorf("prepare data: %w", err)
	}
	return nil
}

// syncDir puts a folder's names on the disk, where the system has a way to.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeFile writes a file of a folder that has not got its name yet.
func writeFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func writeManifest(dir string, m *Manifest) error {
	if err := m.check(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, ManifestFile), append(text, '\n'))
}
