package gitrepo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// ErrPush is wrapped by what is wrong with a push.
var ErrPush = errors.New("the push is refused")

// Quarantine holds the pack of a push apart until it has been checked. Its
// objects are seen by nobody else.
type Quarantine struct {
	repo  *Repo
	dir   string
	pack  string // temporary file; empty when the push brought no objects
	id    Hash
	index *idxfile.Writer
	view  *Repo         // the repository with the pushed objects on top
	seen  map[Hash]bool // what Check has looked at
}

// Receive reads a pack within limits into quarantine. A nil in is a push without
// objects. Discard must be called.
func (r *Repo) Receive(in io.Reader, limits PushLimits) (q *Quarantine, err error) {
	dir, err := os.MkdirTemp(r.dir, "tmp-push-*")
	if err != nil {
		return nil, fmt.Errorf("make quarantine: %w", err)
	}
	q = &Quarantine{repo: r, dir: dir, seen: map[Hash]bool{}}
	defer func() {
		if err != nil {
			q.Discard()
		}
	}()
	for _, sub := range []string{"objects/pack", "objects/info", "refs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return q, fmt.Errorf("make quarantine: %w", err)
		}
	}
	objects := filepath.Join(r.dir, "objects")
	if abs, err := filepath.Abs(objects); err == nil {
		objects = abs
	}
	if err := os.WriteFile(filepath.Join(dir, "objects/info/alternates"), []byte(objects+"\n"), 0o600); err != nil {
		return q, fmt.Errorf("make quarantine: %w", err)
	}
	if in != nil {
		if err := q.store(in, limits.orDefaults()); err != nil {
			return q, err
		}
	}
	q.view = Open(dir, Options{})
	q.view.handles.New = func() any {
		return &handle{Storage: filesystem.NewStorageWithOptions(osfs.New(dir), cache.NewObjectLRU(256*cache.KiByte),
			filesystem.Options{LargeObjectThreshold: streamFrom, AlternatesFS: osfs.New("/")})}
	}
	return q, nil
}

// store writes the pack and indexes it, which checks every object's hash.
func (q *Quarantine) store(in io.Reader, limits PushLimits) error {
	if err := q.repo.fault("push:write"); err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	f, err := os.Create(filepath.Join(q.dir, "objects", "pack", "incoming"))
	if err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(in, limits.Pack+1))
	if err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	if n > limits.Pack {
		return fmt.Errorf("%w: its pack is longer than %d bytes; large files belong into git-lfs", ErrPush, limits.Pack)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read pack back: %w", err)
	}
	scratch, err := os.Create(filepath.Join(q.dir, "scratch"))
	if err != nil {
		return fmt.Errorf("unfold pack: %w", err)
	}
	defer os.Remove(scratch.Name())
	defer scratch.Close()
	if q.id, q.index, err = indexPack(f, n, scratch, limits); err != nil {
		return err
	}
	if err := q.repo.fault("push:sync"); err != nil {
		return fmt.Errorf("sync pack: %w", err)
	}
	if err := errors.Join(f.Chmod(0o400), f.Sync()); err != nil {
		return fmt.Errorf("sync pack: %w", err)
	}
	// Under its name in the quarantine, so that the view finds it.
	table, err := q.index.Index()
	if err != nil {
		return fmt.Errorf("index pack: %w", err)
	}
	base := filepath.Join(q.dir, "objects", "pack", "pack-"+q.id.String())
	idx, err := os.Create(base + ".idx")
	if err != nil {
		return fmt.Errorf("index pack: %w", err)
	}
	_, err = idxfile.NewEncoder(idx).Encode(table)
	if err := errors.Join(err, idx.Close()); err != nil {
		return fmt.Errorf("index pack: %w", err)
	}
	q.pack = base + ".pack"
	return os.Rename(f.Name(), q.pack)
}

// Repo is the repository with the pushed objects on top, for reading.
func (q *Quarantine) Repo() *Repo { return q.view }

// Check goes through all commits behind new, a commit or a tag, that the repository
// does not hold yet, and through their files that are new, and calls blob for each
// of these. It refuses what no commit may hold: bad paths, links, submodules, missing
// objects. It gives the commit that new stands for.
func (q *Quarantine) Check(new Hash, blob func(path string, h Hash) error) (commit Hash, err error) {
	if commit, err = q.checkTags(new); err != nil {
		return commit, err
	}
	queue := []Hash{commit}
	for len(queue) > 0 {
		h := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if q.seen[h] || q.repo.Has(h) {
			continue
		}
		q.seen[h] = true
		c, err := q.view.Commit(h)
		if err != nil {
			return commit, fmt.Errorf("%w: commit %s cannot be read", ErrPush, h)
		}
		if !q.seen[c.Tree] && !q.repo.Has(c.Tree) {
			q.seen[c.Tree] = true
			if err := q.checkTree(c.Tree, "", blob, 0); err != nil {
				return commit, err
			}
		}
		queue = append(queue, c.Parents...)
	}
	return commit, nil
}

// checkTags goes through the tags between an id and its commit.
func (q *Quarantine) checkTags(h Hash) (commit Hash, err error) {
	err = q.view.read(func(st *filesystem.Storage) error {
		if commit, err = peel(st, h); err != nil {
			return err
		}
		return walkTags(st, h, q.seen)
	})
	if err != nil {
		return commit, fmt.Errorf("%w: %s is no commit", ErrPush, h)
	}
	return commit, nil
}

func (q *Quarantine) checkTree(tree Hash, prefix string, blob func(string, Hash) error, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: folders deeper than %d", ErrPush, maxDepth)
	}
	entries, err := q.view.tree(tree)
	if err != nil {
		return fmt.Errorf("%w: folder %q cannot be read", ErrPush, prefix)
	}
	names := map[string]bool{}
	for _, e := range entries {
		path := prefix + e.Name
		if err := CheckPath(path); err != nil {
			return fmt.Errorf("%w: %w", ErrPush, err)
		}
		if names[e.Name] {
			return fmt.Errorf("%w: %q is there twice", ErrPush, path)
		}
		names[e.Name] = true
		switch e.Mode {
		case filemode.Dir:
			if q.seen[e.Hash] || q.repo.Has(e.Hash) {
				continue
			}
			q.seen[e.Hash] = true
			if err := q.checkTree(e.Hash, path+"/", blob, depth+1); err != nil {
				return err
			}
		case filemode.Regular, filemode.Executable, filemode.Deprecated:
			if q.seen[e.Hash] || q.repo.Has(e.Hash) {
				continue
			}
			q.seen[e.Hash] = true
			if !q.view.Has(e.Hash) {
				return fmt.Errorf("%w: the content of %q is missing", ErrPush, path)
			}
			if err := blob(path, e.Hash); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: %q is a link or a submodule; only files and folders are taken", ErrPush, path)
		}
	}
	return nil
}

// Accept moves the pushed objects into the repository. Refs are not touched. An
// object that Check has not come by is refused with the whole push: once it is in the
// repository, another push could name it and nobody would look at it.
func (q *Quarantine) Accept() error {
	if q.pack == "" {
		return nil
	}
	if err := q.unreached(); err != nil {
		return err
	}
	if err := q.repo.installPack(q.pack, q.id, q.index); err != nil {
		return err
	}
	q.pack = ""
	q.repo.generation.Add(1)
	return nil
}

func (q *Quarantine) unreached() error {
	table, err := q.index.Index()
	if err != nil {
		return fmt.Errorf("index pack: %w", err)
	}
	entries, err := table.Entries()
	if err != nil {
		return fmt.Errorf("index pack: %w", err)
	}
	defer entries.Close()
	for {
		e, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("index pack: %w", err)
		}
		if !q.seen[e.Hash] && !q.repo.Has(e.Hash) {
			return fmt.Errorf("%w: no pushed branch or tag needs the object %s of its pack", ErrPush, e.Hash)
		}
	}
}

// Discard removes the quarantine.
func (q *Quarantine) Discard() { os.RemoveAll(q.dir) }
