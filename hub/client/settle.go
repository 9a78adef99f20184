package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// begun reports whether there is a part under temp that can be gone on with: a file of
// ours alone, since whoever else has it open, or under another name, could still change
// it when it was checked. Anything else is removed; if it cannot be, clear is false.
func begun(root *os.Root, temp string) (is, clear bool) {
	info, err := root.Lstat(temp)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, true
	case err == nil && info.Mode().IsRegular() && owned(info):
		return true, true
	}
	return false, root.Remove(temp) == nil
}

// partFor is the name to write a part under: temp if it is locked and can be gone on with
// or made anew, else one that nobody else uses. done removes what is left under such a
// name, where nobody would find it again.
func partFor(root *os.Root, temp string, locked bool) (name string, done func()) {
	if _, clear := begun(root, temp); locked && clear {
		return temp, func() {}
	}
	name = strings.TrimSuffix(temp, partSuffix) + "." + randomHex() + partSuffix
	return name, func() { _ = root.Remove(name) }
}

// likeNew gives a file the mode that a new one gets beside it: whoever began it may
// have been more careful, or less.
func likeNew(root *os.Root, f *os.File, name string) error {
	probe := path.Join(path.Dir(name), randomHex()+".tmp")
	p, err := root.OpenFile(probe, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	info, err := p.Stat()
	if err = errors.Join(err, p.Close(), root.Remove(probe)); err != nil {
		return err
	}
	return f.Chmod(info.Mode().Perm())
}

// settle gives a file that was checked its name, and makes sure that this file got it:
// between the check and the new name another program may have written to it or put
// another in its place.
func settle(root *os.Root, temp, target string, w want, checked fs.FileInfo) error {
	if err := stillSame(root, temp, w, checked); err != nil {
		return err
	}
	if err := root.Rename(temp, target); err != nil {
		return fmt.Errorf("name %s: %w", w.path, err)
	}
	err := stillSame(root, target, w, checked)
	if errors.As(err, new(*MismatchError)) {
		if moveErr := root.Rename(target, temp); moveErr != nil { // fetch sets it aside
			return fmt.Errorf("%w; and taking its name from it: %w", err, moveErr)
		}
	}
	return err
}

// stillSame is an error if a file is no longer the one that was checked. One that looks
// different is read once more: file systems exist that give a file a new identity
// when it is renamed.
func stillSame(root *os.Root, name string, w want, checked fs.FileInfo) error {
	info, err := root.Lstat(name)
	if err != nil {
		return fmt.Errorf("%s was taken away while it was downloaded, download it again: %w", w.path, err)
	}
	if untouched(info, checked) {
		return nil
	}
	bad := &MismatchError{Path: w.path, What: "content, after it was checked,", Want: w.etag, Got: "what another program wrote"}
	if !info.Mode().IsRegular() || info.Size() != w.size {
		return bad
	}
	if h, _ := newHash(w.etag, w.size); h == nil {
		return nil // there was nothing to check it by
	}
	f, err := root.Open(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", w.path, err)
	}
	defer f.Close()
	if got, err := hashOf(f, w.etag, info.Size()); err != nil || got != w.etag {
		return bad
	}
	return nil
}

// untouched reports whether two looks saw the same file with nothing written between.
func untouched(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
