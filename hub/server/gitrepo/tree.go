package gitrepo

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// Entry is a file or a folder of a commit.
type Entry struct {
	Path string // from the root, with slashes
	Hash Hash   // of the blob or the tree
	Dir  bool
}

// maxTree is the size in bytes of a tree object that is read: a folder of a
// million files.
const maxTree = 64 << 20

// treeCache keeps the trees read last, up to a number of entries.
type treeCache struct {
	mu      sync.Mutex
	trees   map[Hash][]object.TreeEntry
	order   []Hash
	entries int
}

const cachedEntries = 150_000

func (c *treeCache) get(h Hash) ([]object.TreeEntry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tree, ok := c.trees[h]
	return tree, ok
}

func (c *treeCache) put(h Hash, tree []object.TreeEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.trees[h]; ok {
		return
	}
	if c.trees == nil {
		c.trees = map[Hash][]object.TreeEntry{}
	}
	c.trees[h] = tree
	c.order = append(c.order, h)
	c.entries += len(tree)
	for c.entries > cachedEntries && len(c.order) > 1 {
		c.entries -= len(c.trees[c.order[0]])
		delete(c.trees, c.order[0])
		c.order = c.order[1:]
	}
}

// tree reads the entries of a tree, in git's order. They must not be changed.
func (r *Repo) tree(h Hash) ([]object.TreeEntry, error) {
	if h == emptyTree {
		return nil, nil
	}
	if tree, ok := r.trees.get(h); ok {
		return tree, nil
	}
	var tree []object.TreeEntry
	err := r.read(func(st *filesystem.Storage) error {
		obj, err := st.EncodedObject(plumbing.TreeObject, h)
		if err != nil {
			return err
		}
		if obj.Size() > maxTree {
			return fmt.Errorf("%d bytes exceed the limit", obj.Size())
		}
		in, err := obj.Reader()
		if err != nil {
			return err
		}
		defer in.Close()
		data, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		tree, err = decodeTree(data)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read tree %s: %w", h, err)
	}
	r.trees.put(h, tree)
	return tree, nil
}

// decodeTree reads git's form: mode, blank, name, zero byte, 20 bytes of id.
// go-git's own reader takes a reader and a handle; this one needs neither, and
// one string holds all names of a folder.
func decodeTree(data []byte) ([]object.TreeEntry, error) {
	text := string(data)
	tree := make([]object.TreeEntry, 0, len(data)/40)
	for at := 0; at < len(text); {
		blank := strings.IndexByte(text[at:], ' ')
		zero := strings.IndexByte(text[at:], 0)
		if blank < 0 || zero < blank || len(text)-at-zero-1 < 20 {
			return nil, fmt.Errorf("damaged at byte %d", at)
		}
		mode, err := filemode.New(text[at : at+blank])
		if err != nil {
			return nil, fmt.Errorf("damaged mode at byte %d: %w", at, err)
		}
		entry := object.TreeEntry{Name: text[at+blank+1 : at+zero], Mode: mode}
		copy(entry.Hash[:], data[at+zero+1:])
		tree = append(tree, entry)
		at += zero + 21
	}
	return tree, nil
}

// encodeTree sorts entries as git does and writes its form.
func encodeTree(entries []object.TreeEntry) []byte {
	slices.SortFunc(entries, func(a, b object.TreeEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	var out bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&out, "%o %s\x00", uint32(e.Mode), e.Name)
		out.Write(e.Hash[:])
	}
	return out.Bytes()
}

// sortName is the name by which git sorts: a folder's ends in a slash.
func sortName(e object.TreeEntry) string {
	if e.Mode == filemode.Dir {
		return e.Name + "/"
	}
	return e.Name
}

var emptyTree = plumbing.ComputeHash(plumbing.TreeObject, nil)

// find gives an entry of a tree by name.
func find(tree []object.TreeEntry, name string) (object.TreeEntry, bool) {
	for _, key := range []string{name, name + "/"} {
		i, ok := slices.BinarySearchFunc(tree, key, func(e object.TreeEntry, key string) int {
			return strings.Compare(sortName(e), key)
		})
		if ok {
			return tree[i], true
		}
	}
	return object.TreeEntry{}, false
}

// Entry finds a path in a commit: ErrEntry when there is none. The empty path
// is the root folder.
func (r *Repo) Entry(commit Hash, path string) (Entry, error) {
	c, err := r.Commit(commit)
	if err != nil {
		return Entry{}, err
	}
	return r.entryIn(c.Tree, path)
}

func (r *Repo) entryIn(root Hash, path string) (Entry, error) {
	at := Entry{Path: path, Hash: root, Dir: true}
	if path == "" {
		return at, nil
	}
	for name := range strings.SplitSeq(path, "/") {
		if !at.Dir {
			return Entry{}, fmt.Errorf("%w: %s", ErrEntry, path)
		}
		tree, err := r.tree(at.Hash)
		if err != nil {
			return Entry{}, err
		}
		e, ok := find(tree, name)
		if !ok {
			return Entry{}, fmt.Errorf("%w: %s", ErrEntry, path)
		}
		at.Hash, at.Dir = e.Hash, e.Mode == filemode.Dir
	}
	return at, nil
}

// List gives up to limit entries of a folder, in the order of their paths, that
// come after a cursor (empty for the start), with everything below when recursive.
// A limit of zero is no limit.
func (r *Repo) List(folder Entry, recursive bool, after string, limit int) ([]Entry, error) {
	if !folder.Dir {
		return nil, fmt.Errorf("%w: %s is a file", ErrEntry, folder.Path)
	}
	l := &lister{repo: r, recursive: recursive, after: after, limit: limit}
	prefix := folder.Path
	if prefix != "" {
		prefix += "/"
	}
	if err := l.walk(folder.Hash, prefix, 0); err != nil {
		return nil, err
	}
	return l.found, nil
}

type lister struct {
	repo      *Repo
	recursive bool
	after     string
	limit     int
	found     []Entry
}

const maxDepth = 256

func (l *lister) walk(tree Hash, prefix string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("list %s: folders deeper than %d", prefix, maxDepth)
	}
	entries, err := l.repo.tree(tree)
	if err != nil {
		return err
	}
	from := 0
	if strings.HasPrefix(l.after, prefix) {
		// git's order is that of full paths, so a binary search skips what came before.
		from, _ = slices.BinarySearchFunc(entries, l.after, func(e object.TreeEntry, after string) int {
			path := prefix + sortName(e)
			if path <= after && !(e.Mode == filemode.Dir && strings.HasPrefix(after, path)) {
				return -1
			}
			return 1
		})
	}
	for _, e := range entries[from:] {
		if l.limit > 0 && len(l.found) >= l.limit {
			return nil
		}
		entry := Entry{Path: prefix + e.Name, Hash: e.Hash, Dir: e.Mode == filemode.Dir}
		if entry.Cursor() > l.after {
			l.found = append(l.found, entry)
		}
		if entry.Dir && l.recursive {
			if err := l.walk(e.Hash, entry.Path+"/", depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// Cursor is the place of an entry in the order of List: its path, with a slash
// at the end of a folder's.
func (e Entry) Cursor() string {
	if e.Dir {
		return e.Path + "/"
	}
	return e.Path
}
