package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/diff"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// MergePlan says how a line of commits would come into another.
type MergePlan struct {
	Ours, Theirs Hash     // the two heads
	From         Hash     // the newest commit that is behind both
	Changes      []Change // what theirs did since then
	Conflicts    []string // paths that both changed, differently; never nil
}

// PlanMerge compares two heads with their common past, file by file: contents
// are not mixed within a file.
func (r *Repo) PlanMerge(ours, theirs Hash) (*MergePlan, error) {
	behind := map[Hash]bool{}
	err := r.walkHistory(ours, func(c *Commit) bool {
		behind[c.ID] = true
		return true
	})
	if err != nil {
		return nil, err
	}
	p := &MergePlan{Ours: ours, Theirs: theirs, Conflicts: []string{}}
	err = r.walkHistory(theirs, func(c *Commit) bool {
		if behind[c.ID] {
			p.From = c.ID
		}
		return p.From.IsZero()
	})
	if err != nil {
		return nil, err
	}
	var trees [3]Hash
	for i, h := range []Hash{p.From, ours, theirs} {
		trees[i] = emptyTree
		if h.IsZero() {
			continue
		}
		c, err := r.Commit(h)
		if err != nil {
			return nil, err
		}
		trees[i] = c.Tree
	}
	if p.Changes, err = r.changes(trees[0], trees[2], ""); err != nil {
		return nil, err
	}
	mine, err := r.changes(trees[0], trees[1], "")
	if err != nil {
		return nil, err
	}
	changed := map[string]Hash{}
	for _, c := range mine {
		changed[c.Path] = c.Blob
	}
	p.Changes = slices.DeleteFunc(p.Changes, func(c Change) bool {
		blob, both := changed[c.Path]
		if both && blob != c.Blob {
			p.Conflicts = append(p.Conflicts, c.Path)
		}
		return both && blob == c.Blob
	})
	return p, nil
}

// changes lists the files in which two trees differ, deletions first so that a
// folder can take the place of a file.
func (r *Repo) changes(from, to Hash, prefix string) ([]Change, error) {
	if from == to {
		return nil, nil
	}
	before, err := r.files(from)
	if err != nil {
		return nil, err
	}
	after, err := r.files(to)
	if err != nil {
		return nil, err
	}
	var gone, put []Change
	names := make([]string, 0, len(before)+len(after))
	for name := range before {
		names = append(names, name)
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		b, a := before[name], after[name]
		if a.Hash == b.Hash && a.Mode == b.Mode {
			continue
		}
		oldTree, newTree := emptyTree, emptyTree
		if b.Mode == filemode.Dir {
			oldTree = b.Hash
		} else if !b.Hash.IsZero() && (a.Hash.IsZero() || a.Mode == filemode.Dir) {
			gone = append(gone, Change{Path: prefix + name})
		}
		if a.Mode == filemode.Dir {
			newTree = a.Hash
		} else if !a.Hash.IsZero() {
			put = append(put, Change{Path: prefix + name, Blob: a.Hash})
		}
		inner, err := r.changes(oldTree, newTree, prefix+name+"/")
		if err != nil {
			return nil, err
		}
		for _, c := range inner {
			if c.Blob.IsZero() {
				gone = append(gone, c)
			} else {
				put = append(put, c)
			}
		}
	}
	return append(gone, put...), nil
}

func (r *Repo) files(tree Hash) (map[string]object.TreeEntry, error) {
	entries, err := r.tree(tree)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]object.TreeEntry, len(entries))
	for _, e := range entries {
		byName[e.Name] = e
	}
	return byName, nil
}

// DiffCut ends a difference of which not all is shown.
const DiffCut = "[the rest is not shown]\n"

// Diff writes the difference of two commits as git does, up to limit bytes; what
// goes beyond is cut at a line and said so.
func (r *Repo) Diff(ctx context.Context, from, to Hash, limit int) (string, error) {
	var out bytes.Buffer
	err := r.read(func(st *filesystem.Storage) error {
		var trees [2]*object.Tree
		for i, h := range []Hash{from, to} {
			trees[i] = &object.Tree{}
			if h.IsZero() {
				continue
			}
			c, err := object.GetCommit(st, h)
			if err != nil {
				return err
			}
			if trees[i], err = c.Tree(); err != nil {
				return err
			}
		}
		changes, err := object.DiffTreeContext(ctx, trees[0], trees[1])
		if err != nil {
			return err
		}
		for _, change := range changes {
			if out.Len() > limit {
				return nil
			}
			patch, err := change.PatchContext(ctx)
			if err != nil {
				return err
			}
			if err := diff.NewUnifiedEncoder(&out, diff.DefaultContextLines).Encode(patch); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("compare commits: %w", err)
	}
	text := out.String()
	if len(text) > limit {
		text = text[:strings.LastIndexByte(text[:limit], '\n')+1] + DiffCut
	}
	return text, nil
}

// CopyCommit puts the files of a commit of another repository here, as the first
// commit of the default branch.
func (r *Repo) CopyCommit(from *Repo, commit Hash, author Author, message string) error {
	c, err := from.Commit(commit)
	if err != nil {
		return err
	}
	w := r.NewWriter()
	defer w.Abort()
	if err := copyTree(from, w, c.Tree, 0); err != nil {
		return err
	}
	id, err := r.NewCommit(w, c.Tree, nil, author, message)
	if err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return r.SetRef("refs/heads/"+DefaultBranch, Hash{}, id)
}

func copyTree(from *Repo, w *Writer, tree Hash, depth int) error {
	if depth > maxDepth {
		return errors.New("copy files: folders are nested too deep")
	}
	entries, err := from.tree(tree)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if w.seen[e.Hash] {
			continue
		}
		if e.Mode == filemode.Dir {
			if err := copyTree(from, w, e.Hash, depth+1); err != nil {
				return err
			}
			continue
		}
		data, err := from.ReadBlob(e.Hash, maxTree)
		if err != nil {
			return err
		}
		if _, err := w.Blob(data); err != nil {
			return err
		}
	}
	_, err = w.put(plumbing.TreeObject, encodeTree(slices.Clone(entries)))
	return err
}

// CheckHistory reads every commit, folder and file behind a commit that seen does
// not hold, compares each with its id and calls blob for the files.
func (r *Repo) CheckHistory(from Hash, seen map[Hash]bool, blob func(path string, h Hash) error) error {
	return r.walkHistoryOnce(from, seen, func(c *Commit) error { return r.checkTree(c.Tree, "", seen, blob) })
}

func (r *Repo) walkHistoryOnce(from Hash, seen map[Hash]bool, visit func(*Commit) error) error {
	queue := []Hash{from}
	for len(queue) > 0 {
		h := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if seen[h] {
			continue
		}
		seen[h] = true
		c, err := r.Commit(h)
		if err == nil {
			err = r.checkHash(h)
		}
		if err == nil {
			err = visit(c)
		}
		if err != nil {
			return err
		}
		queue = append(queue, c.Parents...)
	}
	return nil
}

func (r *Repo) checkTree(tree Hash, prefix string, seen map[Hash]bool, blob func(string, Hash) error) error {
	if seen[tree] || tree == emptyTree {
		return nil
	}
	seen[tree] = true
	if err := r.checkHash(tree); err != nil {
		return err
	}
	entries, err := r.tree(tree)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Mode == filemode.Dir {
			if err := r.checkTree(e.Hash, prefix+e.Name+"/", seen, blob); err != nil {
				return err
			}
			continue
		}
		if seen[e.Hash] {
			continue
		}
		seen[e.Hash] = true
		if err := r.checkHash(e.Hash); err != nil {
			return fmt.Errorf("%s: %w", prefix+e.Name, err)
		}
		if err := blob(prefix+e.Name, e.Hash); err != nil {
			return err
		}
	}
	return nil
}

// checkHash reads an object and compares it with its id.
func (r *Repo) checkHash(h Hash) error {
	return r.read(func(st *filesystem.Storage) error {
		obj, err := st.EncodedObject(plumbing.AnyObject, h)
		if err != nil {
			return fmt.Errorf("object %s: %w", h, err)
		}
		in, err := obj.Reader()
		if err != nil {
			return fmt.Errorf("object %s: %w", h, err)
		}
		defer in.Close()
		hasher := plumbing.NewHasher(obj.Type(), obj.Size())
		if _, err := io.Copy(hasher, in); err != nil {
			return fmt.Errorf("object %s: %w", h, err)
		}
		if got := hasher.Sum(); got != h {
			return fmt.Errorf("object %s is damaged: its bytes have the id %s", h, got)
		}
		return nil
	})
}
