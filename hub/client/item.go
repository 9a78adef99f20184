package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// item is a file or a deletion.
type item struct {
	File
	size   int64
	remove bool // Path may end in a slash
	lfs    bool
	hash   string      // sha256 or git's blob id
	hashed fs.FileInfo // Local when the hash was begun
	fresh  bool        // it was written so shortly before that its time may not show a change
}

// content is read from the start, and at any place.
type content interface {
	io.ReadCloser
	io.ReaderAt
}

// memory is content that has no file.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// open opens the content.
func (i *item) open() (content, error) {
	if i.Local == "" {
		return memory{bytes.NewReader(i.Bytes)}, nil
	}
	var f *os.File
	var err error
	if i.dir == "" {
		f, err = os.Open(i.Local)
	} else {
		f, err = os.OpenInRoot(i.dir, i.name)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != i.size {
		err = changedError(i.Local)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// changedError is the end of an upload whose file changed meanwhile.
func changedError(name string) error {
	return fmt.Errorf("%s changed while it was uploaded, upload it again", name)
}

// changed is an error if a file no longer has the hash by which it is to be committed,
// whatever its server thinks of what it got. One that nobody touched is not read again.
func (i *item) changed() error {
	if i.Local == "" {
		return nil
	}
	f, err := i.open()
	if err != nil {
		return err
	}
	info, err := f.(*os.File).Stat()
	if err = errors.Join(err, f.Close()); err != nil || untouched(info, i.hashed) && !i.fresh {
		return err
	}
	again := *i
	if err := again.measure(); err != nil || again.hash == i.hash {
		return err
	}
	return changedError(i.Local)
}

// freshly is how little time between two changes a file system may not tell apart.
const freshly = 100 * time.Millisecond

// measure computes the hash.
func (i *item) measure() error {
	r, err := i.open()
	if err != nil {
		return err
	}
	defer r.Close()
	if f, ok := r.(*os.File); ok {
		if i.hashed, err = f.Stat(); err != nil {
			return err
		}
		i.fresh = time.Since(i.hashed.ModTime()) < freshly
	}
	kind := strings.Repeat("0", 40)
	if i.lfs {
		kind = strings.Repeat("0", 64)
	}
	if i.hash, err = hashOf(r, kind, i.size); err != nil {
		return fmt.Errorf("read %s: %w", i.Path, err)
	}
	return nil
}
