package ckpt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/mamba-encoder-swarm/mes/internal/atomicfile"
)

// Folders below the manager's.
const (
	objectsDir = "objects"
	stepsDir   = "steps"
	tempDir    = "tmp"
)

// store does the files of a manager. Whatever links the folder holds, nothing outside it
// is touched. Only one goroutine at a time uses it.
type store struct {
	root  *os.Root
	fault func(op, name string) error // for tests: called before every change of the disk

	// sound holds the objects that are known to be on the disk with the bytes that their
	// names promise, because they were written or read since the folder was opened.
	sound map[string]bool
	dirs  map[string]bool // folders with names that are not on the disk yet
}

// before gives tests the moment before a change.
func (s *store) before(op, name string) error {
	if s.fault == nil {
		return nil
	}
	return s.fault(op, name)
}

// prepare makes the folders and removes what a killed process was writing.
func (s *store) prepare() error {
	for _, dir := range []string{objectsDir, stepsDir, tempDir} {
		if err := s.root.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	if err := atomicfile.SyncDirIn(s.root, "."); err != nil {
		return err
	}
	torn, err := s.list(tempDir)
	if err != nil {
		return err
	}
	for _, e := range torn {
		if err := s.root.RemoveAll(path.Join(tempDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// list returns the entries of a folder.
func (s *store) list(dir string) ([]fs.DirEntry, error) {
	f, err := s.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

// objectPath is where the bytes with a hash are.
func objectPath(hash string) string { return path.Join(objectsDir, hash[:2], hash) }

// stepPath is where the manifest of a step is.
func stepPath(step int64) string { return path.Join(stepsDir, strconv.FormatInt(step, 10)+".json") }

// stepOf reads a manifest's file name.
func stepOf(name string) (int64, bool) {
	digits, ok := strings.CutSuffix(name, ".json")
	step, err := strconv.ParseInt(digits, 10, 64)
	return step, ok && err == nil && step >= 0 && path.Base(stepPath(step)) == name
}

// put stores bytes under their hash, unless they are there, and tells whether it wrote.
func (s *store) put(hash string, data []byte) (wrote bool, err error) {
	name := objectPath(hash)
	if s.present(hash, int64(len(data))) == nil {
		if s.sound[hash] {
			return false, nil
		}
		there, err := s.root.ReadFile(name)
		if err != nil {
			return false, err
		}
		if bytes.Equal(there, data) {
			s.sound[hash] = true
			s.dirs[path.Dir(name)] = true // a killed process may have left the name unsynced
			return false, nil
		}
	}
	if _, err := s.root.Lstat(path.Dir(name)); err != nil {
		if err := s.before("mkdir", path.Dir(name)); err != nil {
			return false, err
		}
		if err := s.root.Mkdir(path.Dir(name), 0o777); err != nil {
			return false, err
		}
		s.dirs[objectsDir] = true
	}
	if err := s.write(name, data); err != nil {
		return false, err
	}
	s.sound[hash] = true
	return true, nil
}

// present says why an object of so many bytes is not there.
func (s *store) present(hash string, size int64) error {
	info, err := s.root.Lstat(objectPath(hash))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is missing", objectPath(hash))
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file", objectPath(hash))
	case info.Size() != size:
		return fmt.Errorf("%s has %d bytes instead of %d", objectPath(hash), info.Size(), size)
	}
	return nil
}

// errContent says that an object holds other bytes than its name promises.
var errContent = errors.New("does not have its sha256")

// get reads an object and compares its hash.
func (s *store) get(hash string) ([]byte, error) {
	data, err := s.root.ReadFile(objectPath(hash))
	if err != nil {
		return nil, err
	}
	if hashOf(data) != hash {
		delete(s.sound, hash)
		return nil, fmt.Errorf("%s %w", objectPath(hash), errContent)
	}
	s.sound[hash] = true
	return data, nil
}

// write puts a file in place; its name is on the disk after the next flush.
func (s *store) write(name string, data []byte) (err error) {
	temp := path.Join(tempDir, path.Base(name))
	if err := s.before("create", name); err != nil {
		return err
	}
	f, err := s.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			s.root.Remove(temp)
		}
	}()
	for _, half := range [][]byte{data[:len(data)/2], data[len(data)/2:]} {
		if err := s.before("write", name); err != nil {
			return err
		}
		if _, err := io.Copy(f, bytes.NewReader(half)); err != nil {
			return err
		}
	}
	if err := s.before("sync", name); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := s.before("rename", name); err != nil {
		return err
	}
	if err := s.root.Rename(temp, name); err != nil {
		return err
	}
	s.dirs[path.Dir(name)] = true
	return nil
}

// remove deletes a file; its name is off the disk after the next flush.
func (s *store) remove(name string) error {
	if err := s.before("remove", name); err != nil {
		return err
	}
	if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.dirs[path.Dir(name)] = true
	return nil
}

// flush puts the names that changed on the disk.
func (s *store) flush() error {
	for dir := range s.dirs {
		if err := s.before("sync folder", dir); err != nil {
			return err
		}
		if err := atomicfile.SyncDirIn(s.root, dir); err != nil {
			return err
		}
		delete(s.dirs, dir)
	}
	return nil
}

// sweep deletes the objects that are not in use.
func (s *store) sweep(used map[string]bool) error {
	shelves, err := s.list(objectsDir)
	if err != nil {
		return err
	}
	for _, shelf := range shelves {
		if !shelf.IsDir() {
			continue
		}
		objects, err := s.list(path.Join(objectsDir, shelf.Name()))
		if err != nil {
			return err
		}
		for _, o := range objects {
			hash := o.Name()
			if used[hash] || !isHash(hash) || hash[:2] != shelf.Name() {
				continue
			}
			if err := s.remove(objectPath(hash)); err != nil {
				return err
			}
			delete(s.sound, hash)
		}
	}
	return s.flush()
}
