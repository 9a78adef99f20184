package gitrepo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// Ref is a name and the object that it stands for.
type Ref struct {
	Name   string // refs/heads/main
	Target Hash   // for an annotated tag, the tag
	Commit Hash   // the commit behind it
}

// Short is the name without refs/heads/ or refs/tags/.
func (r Ref) Short() string {
	return strings.TrimPrefix(strings.TrimPrefix(r.Name, "refs/heads/"), "refs/tags/")
}

// CheckRefName tells whether git allows a full name such as refs/heads/main.
func CheckRefName(name string) error {
	if len(name) > 250 {
		return fmt.Errorf("%w: longer than 250 bytes", ErrRefName)
	}
	if err := plumbing.ReferenceName(name).Validate(); err != nil {
		return fmt.Errorf("%w: %q", ErrRefName, name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") || strings.HasPrefix(part, "-") || strings.HasPrefix(part, "tmp_") || strings.HasSuffix(part, ".lock") {
			return fmt.Errorf("%w: %q", ErrRefName, name)
		}
	}
	if strings.ContainsAny(name, "\\~^:?*[ \x7f") || strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.HasSuffix(name, ".") {
		return fmt.Errorf("%w: %q", ErrRefName, name)
	}
	return nil
}

// Refs lists the refs below a prefix such as "refs/heads/", by name.
func (r *Repo) Refs(prefix string) ([]Ref, error) {
	var refs []Ref
	err := r.read(func(st *filesystem.Storage) error {
		iter, err := st.IterReferences()
		if err != nil {
			return err
		}
		return iter.ForEach(func(ref *plumbing.Reference) error {
			name := ref.Name().String()
			if ref.Type() != plumbing.HashReference || !strings.HasPrefix(name, prefix) || strings.Contains(name, "/tmp_") {
				return nil
			}
			commit, err := peel(st, ref.Hash())
			if err != nil {
				return fmt.Errorf("read ref %s: %w", name, err)
			}
			refs = append(refs, Ref{Name: name, Target: ref.Hash(), Commit: commit})
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list refs: %w", err)
	}
	slices.SortFunc(refs, func(a, b Ref) int { return strings.Compare(a.Name, b.Name) })
	return refs, nil
}

// Ref reads one ref; ErrRevision when it does not exist.
func (r *Repo) Ref(name string) (ref Ref, err error) {
	err = r.read(func(st *filesystem.Storage) error {
		ref, err = readRef(st, name)
		return err
	})
	return ref, err
}

func readRef(st *filesystem.Storage, name string) (Ref, error) {
	if CheckRefName(name) != nil {
		return Ref{}, ErrRevision
	}
	found, err := st.Reference(plumbing.ReferenceName(name))
	if err != nil || found.Type() != plumbing.HashReference {
		return Ref{}, ErrRevision
	}
	commit, err := peel(st, found.Hash())
	if err != nil {
		return Ref{}, fmt.Errorf("read ref %s: %w", name, err)
	}
	return Ref{Name: name, Target: found.Hash(), Commit: commit}, nil
}

// peel gives the commit behind a commit or a tag.
func peel(st *filesystem.Storage, h Hash) (Hash, error) {
	for range 8 {
		obj, err := st.EncodedObject(plumbing.AnyObject, h)
		if err != nil {
			return Hash{}, fmt.Errorf("read object %s: %w", h, err)
		}
		switch obj.Type() {
		case plumbing.CommitObject:
			return h, nil
		case plumbing.TagObject:
			tag, err := object.DecodeTag(st, obj)
			if err != nil {
				return Hash{}, fmt.Errorf("read tag %s: %w", h, err)
			}
			h = tag.Target
		default:
			return Hash{}, fmt.Errorf("object %s is no commit", h)
		}
	}
	return Hash{}, fmt.Errorf("object %s: tags of tags of tags", h)
}

// Resolve finds the commit that a revision names: HEAD, a branch, a tag, a full
// ref, a commit id, or its first characters (at least 7). The ref is empty when
// the revision is an id.
func (r *Repo) Resolve(rev string) (commit Hash, ref string, err error) {
	err = r.read(func(st *filesystem.Storage) error {
		commit, ref, err = resolve(st, rev)
		return err
	})
	return commit, ref, err
}

func resolve(st *filesystem.Storage, rev string) (Hash, string, error) {
	if rev == "HEAD" {
		rev = DefaultBranch
	}
	if isHex(rev) && len(rev) == 40 {
		h := plumbing.NewHash(rev)
		if commit, err := peel(st, h); err == nil && commit == h {
			return h, "", nil
		}
		return Hash{}, "", fmt.Errorf("%w: %s", ErrRevision, rev)
	}
	names := []string{"refs/heads/" + rev, "refs/tags/" + rev}
	if strings.HasPrefix(rev, "refs/") {
		names = append([]string{rev}, names...)
	}
	for _, name := range names {
		ref, err := readRef(st, name)
		if err == nil {
			return ref.Commit, name, nil
		}
		if !errors.Is(err, ErrRevision) {
			return Hash{}, "", err
		}
	}
	if isHex(rev) && len(rev) >= 7 && len(rev) < 40 {
		if h, ok := byPrefix(st, rev); ok {
			return h, "", nil
		}
	}
	return Hash{}, "", fmt.Errorf("%w: %s", ErrRevision, rev)
}

// byPrefix finds the only commit whose id begins so.
func byPrefix(st *filesystem.Storage, rev string) (Hash, bool) {
	even := rev[:len(rev)/2*2]
	full := plumbing.NewHash(even + strings.Repeat("0", 40-len(even)))
	hashes, err := st.HashesWithPrefix(full[:len(even)/2])
	if err != nil {
		return Hash{}, false
	}
	found := map[Hash]bool{}
	for _, h := range hashes {
		if !strings.HasPrefix(h.String(), rev) {
			continue
		}
		if obj, err := st.EncodedObject(plumbing.CommitObject, h); err == nil {
			found[obj.Hash()] = true
		}
	}
	for h := range found {
		return h, len(found) == 1
	}
	return Hash{}, false
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef") == ""
}

// SetRef moves a ref from old to new, and does nothing with ErrConflict when it
// is elsewhere. A zero old makes the ref and wants it absent (ErrExists). The
// objects behind new must be stored already.
func (r *Repo) SetRef(name string, old, new Hash) error {
	if err := CheckRefName(name); err != nil {
		return err
	}
	r.refs.Lock()
	defer r.refs.Unlock()
	if err := r.expect(name, old); err != nil {
		return err
	}
	return r.writeRef(name, new)
}

// DeleteRef removes a ref that is at old.
func (r *Repo) DeleteRef(name string, old Hash) error {
	if err := CheckRefName(name); err != nil {
		return err
	}
	r.refs.Lock()
	defer r.refs.Unlock()
	if err := r.expect(name, old); err != nil {
		return err
	}
	if err := r.fault("ref:delete"); err != nil {
		return fmt.Errorf("delete ref %s: %w", name, err)
	}
	err := r.read(func(st *filesystem.Storage) error {
		return st.RemoveReference(plumbing.ReferenceName(name))
	})
	if err != nil {
		return fmt.Errorf("delete ref %s: %w", name, err)
	}
	// An empty folder would keep a branch of the folder's name from being made.
	dir := filepath.Dir(filepath.Join(r.dir, filepath.FromSlash(name)))
	for top := filepath.Join(r.dir, "refs"); filepath.Dir(dir) != top && os.Remove(dir) == nil; {
		dir = filepath.Dir(dir)
	}
	return syncDir(filepath.Join(r.dir, "refs"))
}

// expect checks where a ref is; the caller holds the lock.
func (r *Repo) expect(name string, old Hash) error {
	var at Hash
	err := r.read(func(st *filesystem.Storage) error {
		ref, err := st.Reference(plumbing.ReferenceName(name))
		if err == nil {
			at = ref.Hash()
		}
		return err
	})
	if err != nil && !errors.Is(err, plumbing.ErrReferenceNotFound) && !errors.Is(err, os.ErrNotExist) {
		if old.IsZero() {
			return fmt.Errorf("%w: %s", ErrExists, name)
		}
		return fmt.Errorf("read ref %s: %w", name, err)
	}
	switch {
	case at == old:
		return nil
	case old.IsZero():
		return fmt.Errorf("%w: %s", ErrExists, name)
	}
	return fmt.Errorf("%w: %s is at %s, not at %s", ErrConflict, name, at, old)
}

func (r *Repo) writeRef(name string, to Hash) error {
	path := filepath.Join(r.dir, filepath.FromSlash(name))
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("%w: %s is the first part of other names", ErrExists, name)
	}
	for dir := filepath.Dir(path); dir != r.dir && len(dir) > len(r.dir); dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			return fmt.Errorf("%w: a part of %s is a ref of its own", ErrExists, name)
		}
	}
	return r.writeFile("ref", name, []byte(to.String()+"\n"))
}
