package safetensors

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/mamba-encoder-swarm/mes/internal/atomicfile"
)

// tempFile is a file under a name of its own beside the path that it will replace.
type tempFile struct {
	*os.File
	path string // target
}

// createTemp creates the file with the permissions that the umask leaves.
func createTemp(path string) (*tempFile, error) {
	name := fmt.Sprintf(".%s.%016x.tmp", filepath.Base(path), rand.Uint64())
	f, err := os.OpenFile(filepath.Join(filepath.Dir(path), name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	return &tempFile{File: f, path: path}, nil
}

// commit puts the file on the disk, gives it its name and puts the name on the disk.
// A file that cannot be put in place is removed.
func (t *tempFile) commit() error {
	err := t.Sync()
	err = errors.Join(err, t.Close())
	if err == nil {
		err = os.Rename(t.Name(), t.path)
	}
	if err != nil {
		os.Remove(t.Name())
		return fmt.Errorf("write %s: %w", t.path, err)
	}
	if err := atomicfile.SyncDir(filepath.Dir(t.path)); err != nil {
		return fmt.Errorf("write %s: %w", t.path, err)
	}
	return nil
}

// remove closes and deletes the file.
func (t *tempFile) remove() {
	t.Close()
	os.Remove(t.Name())
}
