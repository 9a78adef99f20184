package gitrepo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// goneList is the file that lists what a collection removes. While it is there, some
// of it may be gone, and the rest must go before anything is read or written: what is
// left of an unreachable commit could be taken for the whole of it.
const goneList = "gone-objects"

// CheckTags adds the tags between a ref's target and its commit to those seen.
func (r *Repo) CheckTags(h Hash, seen map[Hash]bool) error {
	return r.read(func(st *filesystem.Storage) error { return walkTags(st, h, seen) })
}

func walkTags(st *filesystem.Storage, h Hash, seen map[Hash]bool) error {
	commit, err := peel(st, h)
	for err == nil && h != commit {
		seen[h] = true
		var tag *object.Tag
		if tag, err = object.GetTag(st, h); err == nil {
			h = tag.Target
		}
	}
	return err
}

// Collect removes all objects but those to keep, with which everything behind them
// must be kept, and says how many they were. Packs that hold both are written anew.
// Nobody may write to the repository meanwhile. When it breaks off, FinishCollect
// does what is left.
func (r *Repo) Collect(keep map[Hash]bool) (removed int, err error) {
	if err := r.FinishCollect(); err != nil {
		return 0, err
	}
	gone, err := r.looseBut(keep)
	if err != nil {
		return 0, err
	}
	removed = len(gone)
	names, err := filepath.Glob(filepath.Join(r.dir, "objects", "pack", "pack-*.idx"))
	if err != nil {
		return 0, fmt.Errorf("list packs: %w", err)
	}
	w := r.NewWriter()
	defer w.Abort()
	for _, name := range names {
		hashes, err := packed(name)
		if err != nil {
			return 0, err
		}
		kept := slices.DeleteFunc(slices.Clone(hashes), func(h Hash) bool { return !keep[h] })
		if len(kept) == len(hashes) {
			continue
		}
		removed += len(hashes) - len(kept)
		if err := r.copyTo(w, kept); err != nil {
			return 0, err
		}
		base := "objects/pack/" + strings.TrimSuffix(filepath.Base(name), ".idx")
		gone = append(gone, base+".pack", base+".idx")
	}
	if len(gone) == 0 {
		return 0, nil
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	if err := r.writeFile("gone", goneList, []byte(strings.Join(gone, "\n"))); err != nil {
		return 0, err
	}
	return removed, r.FinishCollect()
}

// FinishCollect removes what a collection listed that broke off.
func (r *Repo) FinishCollect() error {
	list, err := os.ReadFile(filepath.Join(r.dir, goneList))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read list of unreachable objects: %w", err)
	}
	for name := range strings.SplitSeq(string(list), "\n") {
		if err := r.fault("gone:remove"); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		if err := os.Remove(filepath.Join(r.dir, filepath.FromSlash(name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	r.generation.Add(1) // what readers know of packs is old
	if err := os.Remove(filepath.Join(r.dir, goneList)); err != nil {
		return fmt.Errorf("remove list of unreachable objects: %w", err)
	}
	return syncDir(r.dir)
}

// looseBut lists the files of single objects that are not to keep.
func (r *Repo) looseBut(keep map[Hash]bool) (names []string, err error) {
	files, err := filepath.Glob(filepath.Join(r.dir, "objects", "[0-9a-f][0-9a-f]", "*"))
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", err)
	}
	for _, file := range files {
		prefix, rest := filepath.Base(filepath.Dir(file)), filepath.Base(file)
		if id := prefix + rest; isHex(id) && len(id) == 40 && !keep[plumbing.NewHash(id)] {
			names = append(names, "objects/"+prefix+"/"+rest)
		}
	}
	return names, nil
}

// packed lists the objects of a pack by its index.
func packed(index string) (hashes []Hash, err error) {
	f, err := os.Open(index)
	if err != nil {
		return nil, fmt.Errorf("read index of a pack: %w", err)
	}
	defer f.Close()
	table := idxfile.NewMemoryIndex()
	if err := idxfile.NewDecoder(f).Decode(table); err != nil {
		return nil, fmt.Errorf("read %s: %w", index, err)
	}
	entries, err := table.EntriesByOffset()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", index, err)
	}
	defer entries.Close()
	for {
		e, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return hashes, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", index, err)
		}
		hashes = append(hashes, e.Hash)
	}
}

// copyTo puts objects of the repository into a pack of their own.
func (r *Repo) copyTo(w *Writer, hashes []Hash) error {
	if len(hashes) == 0 {
		return nil
	}
	if w.pack == nil {
		// Always a pack: as loose objects they would be taken to be there already.
		if err := w.spill(); err != nil {
			return err
		}
	}
	for _, h := range hashes {
		var kind plumbing.ObjectType
		var data []byte
		err := r.read(func(st *filesystem.Storage) error {
			obj, err := st.EncodedObject(plumbing.AnyObject, h)
			if err != nil {
				return err
			}
			in, err := obj.Reader()
			if err != nil {
				return err
			}
			defer in.Close()
			kind = obj.Type()
			data, err = io.ReadAll(in)
			return err
		})
		if err != nil {
			return fmt.Errorf("read object %s: %w", h, err)
		}
		got, err := w.put(kind, data)
		if err != nil {
			return err
		}
		if got != h {
			return fmt.Errorf("object %s is damaged: its bytes have the id %s", h, got)
		}
	}
	return nil
}
