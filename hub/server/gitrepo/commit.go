package gitrepo

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// Author is who made a commit, and when.
type Author struct {
	Name, Email string
	When        time.Time
}

// Commit is what a commit says.
type Commit struct {
	ID      Hash
	Tree    Hash
	Parents []Hash
	Author  Author
	Message string // title, blank line, description
}

// Title is the first line of the message.
func (c *Commit) Title() string {
	title, _, _ := strings.Cut(c.Message, "\n")
	return title
}

// Description is the message after the title.
func (c *Commit) Description() string {
	_, rest, _ := strings.Cut(c.Message, "\n")
	return strings.TrimSpace(rest)
}

// Commit reads one commit.
func (r *Repo) Commit(h Hash) (c *Commit, err error) {
	err = r.read(func(st *filesystem.Storage) error {
		found, err := object.GetCommit(st, h)
		if err != nil {
			return err
		}
		c = &Commit{
			ID: h, Tree: found.TreeHash, Parents: found.ParentHashes, Message: found.Message,
			Author: Author{found.Author.Name, found.Author.Email, found.Author.When},
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", h, err)
	}
	return c, nil
}

// Change is one step of an edit. Exactly one of the three is meant: a file with
// a blob, a file to delete, a folder to delete.
type Change struct {
	Path   string
	Blob   Hash // of the new content; zero deletes
	Folder bool // delete the folder with all below
}

// ErrClash is wrapped when one path would be a file and a folder.
var ErrClash = errors.New("a file and a folder have the same path")

// Edit applies changes, in order, to the tree of a commit (zero for an empty
// one), adds the new trees to w and gives the root. ErrEntry when something to
// delete is not there, ErrPath and ErrClash for paths that cannot be.
func (r *Repo) Edit(w *Writer, base Hash, changes []Change) (Hash, error) {
	root := &node{tree: emptyTree}
	if !base.IsZero() {
		c, err := r.Commit(base)
		if err != nil {
			return Hash{}, err
		}
		root.tree = c.Tree
	}
	for _, change := range changes {
		if err := CheckPath(change.Path); err != nil {
			return Hash{}, err
		}
		if err := r.apply(root, change); err != nil {
			return Hash{}, err
		}
	}
	return root.write(w)
}

// node is a folder under edit. Its entries are read when it is first touched.
type node struct {
	tree    Hash
	entries map[string]object.TreeEntry // nil: not touched
	folders map[string]*node            // those touched
}

func (n *node) open(r *Repo) error {
	if n.entries != nil {
		return nil
	}
	tree, err := r.tree(n.tree)
	if err != nil {
		return err
	}
	n.entries, n.folders = make(map[string]object.TreeEntry, len(tree)), map[string]*node{}
	for _, e := range tree {
		n.entries[e.Name] = e
	}
	return nil
}

func (r *Repo) apply(root *node, change Change) error {
	parts := strings.Split(change.Path, "/")
	name := parts[len(parts)-1]
	deletes := change.Blob.IsZero()
	at := root
	if err := at.open(r); err != nil {
		return err
	}
	for _, part := range parts[:len(parts)-1] {
		e, ok := at.entries[part]
		if ok && e.Mode != filemode.Dir && !deletes {
			return fmt.Errorf("%w: %s", ErrClash, change.Path)
		}
		if (!ok || e.Mode != filemode.Dir) && deletes {
			return fmt.Errorf("%w: %s", ErrEntry, change.Path)
		}
		next := at.folders[part]
		if next == nil {
			next = &node{tree: emptyTree}
			if ok {
				next.tree = e.Hash
			}
			at.folders[part] = next
			at.entries[part] = object.TreeEntry{Name: part, Mode: filemode.Dir}
		}
		at = next
		if err := at.open(r); err != nil {
			return err
		}
	}
	e, ok := at.entries[name]
	switch {
	case deletes:
		if !ok || (e.Mode == filemode.Dir) != change.Folder {
			return fmt.Errorf("%w: %s", ErrEntry, change.Path)
		}
		delete(at.entries, name)
		delete(at.folders, name)
	case ok && e.Mode == filemode.Dir && !at.folders[name].empty():
		return fmt.Errorf("%w: %s", ErrClash, change.Path)
	default:
		mode := filemode.Regular
		if ok && e.Mode == filemode.Executable {
			mode = e.Mode
		}
		delete(at.folders, name)
		at.entries[name] = object.TreeEntry{Name: name, Mode: mode, Hash: change.Blob}
	}
	return nil
}

// empty tells whether a folder is left without files by the edit.
func (n *node) empty() bool {
	if n == nil || n.entries == nil {
		return false
	}
	for name, e := range n.entries {
		if e.Mode != filemode.Dir || !n.folders[name].empty() {
			return false
		}
	}
	return true
}

// write stores the touched folders from below and drops empty ones, as git has none.
func (n *node) write(w *Writer) (Hash, error) {
	if n.entries == nil {
		return n.tree, nil
	}
	for name, folder := range n.folders {
		h, err := folder.write(w)
		if err != nil {
			return Hash{}, err
		}
		if h == emptyTree {
			delete(n.entries, name)
			continue
		}
		n.entries[name] = object.TreeEntry{Name: name, Mode: filemode.Dir, Hash: h}
	}
	list := make([]object.TreeEntry, 0, len(n.entries))
	for _, e := range n.entries {
		list = append(list, e)
	}
	return w.put(plumbing.TreeObject, encodeTree(list))
}

// NewCommit adds a commit object to w.
func (r *Repo) NewCommit(w *Writer, tree Hash, parents []Hash, author Author, message string) (Hash, error) {
	who := object.Signature{Name: clean(author.Name), Email: clean(author.Email), When: author.When}
	c := object.Commit{Author: who, Committer: who, Message: message, TreeHash: tree, ParentHashes: parents}
	var obj plumbing.MemoryObject
	if err := c.Encode(&obj); err != nil {
		return Hash{}, fmt.Errorf("encode commit: %w", err)
	}
	data, err := content(&obj)
	if err != nil {
		return Hash{}, fmt.Errorf("encode commit: %w", err)
	}
	return w.put(plumbing.CommitObject, data)
}

// NewTag adds an annotated tag of a commit to w.
func (r *Repo) NewTag(w *Writer, name string, commit Hash, author Author, message string) (Hash, error) {
	tag := object.Tag{
		Name: name, Tagger: object.Signature{Name: clean(author.Name), Email: clean(author.Email), When: author.When},
		Message: message, TargetType: plumbing.CommitObject, Target: commit,
	}
	var obj plumbing.MemoryObject
	if err := tag.Encode(&obj); err != nil {
		return Hash{}, fmt.Errorf("encode tag: %w", err)
	}
	data, err := content(&obj)
	if err != nil {
		return Hash{}, fmt.Errorf("encode tag: %w", err)
	}
	return w.put(plumbing.TagObject, data)
}

func content(obj *plumbing.MemoryObject) ([]byte, error) {
	in, err := obj.Reader()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var out bytes.Buffer
	_, err = out.ReadFrom(in)
	return out.Bytes(), err
}

// clean drops what would break the line of a name in a commit.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '<' || c == '>' || c < ' ' {
			return -1
		}
		return c
	}, s)
}

// Log lists commits from one backwards, along all parents, newest first, and
// says how many there are. It gives those from skip on, at most limit.
func (r *Repo) Log(from Hash, skip, limit int) (page []*Commit, total int, err error) {
	err = r.walkHistory(from, func(c *Commit) bool {
		if total >= skip && len(page) < limit {
			page = append(page, c)
		}
		total++
		return true
	})
	return page, total, err
}

// walkHistory visits the commits behind one, newest first, until visit says stop.
func (r *Repo) walkHistory(from Hash, visit func(*Commit) bool) error {
	first, err := r.Commit(from)
	if err != nil {
		return err
	}
	seen := map[Hash]bool{from: true}
	// Sorted by time, the newest at the end; children always go before parents
	// of equal times because a parent is put in when its child is taken out.
	queue := []*Commit{first}
	for len(queue) > 0 {
		c := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if !visit(c) {
			return nil
		}
		for _, parent := range c.Parents {
			if seen[parent] {
				continue
			}
			seen[parent] = true
			p, err := r.Commit(parent)
			if err != nil {
				return err
			}
			i, _ := slices.BinarySearchFunc(queue, p, func(a, b *Commit) int { return a.Author.When.Compare(b.Author.When) })
			queue = slices.Insert(queue, i, p)
		}
	}
	return nil
}

// IsAncestor tells whether one commit is another or lies behind it.
func (r *Repo) IsAncestor(old, new Hash) (bool, error) {
	found := false
	err := r.walkHistory(new, func(c *Commit) bool {
		found = c.ID == old
		return !found
	})
	return found, err
}

// LastCommits finds for each path the newest commit, along first parents, that
// changed it. At most depth commits are looked at; a path not settled by then is
// given the last of them.
func (r *Repo) LastCommits(from Hash, paths []string, depth int) (map[string]*Commit, error) {
	found := make(map[string]*Commit, len(paths))
	c, err := r.Commit(from)
	if err != nil {
		return nil, err
	}
	for ; len(found) < len(paths); depth-- {
		if len(c.Parents) == 0 || depth <= 0 {
			for _, path := range paths {
				if found[path] == nil {
					found[path] = c
				}
			}
			return found, nil
		}
		parent, err := r.Commit(c.Parents[0])
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if found[path] != nil {
				continue
			}
			now, err := r.entryIn(c.Tree, path)
			if err != nil {
				return nil, err
			}
			before, err := r.entryIn(parent.Tree, path)
			if err != nil && !errors.Is(err, ErrEntry) {
				return nil, err
			}
			if err != nil || before.Hash != now.Hash {
				found[path] = c
			}
		}
		c = parent
	}
	return found, nil
}
