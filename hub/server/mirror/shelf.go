package mirror

import (
	"container/list"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/mamba-encoder-swarm/mes/internal/atomicfile"
)

// shelf is the folder of what is kept. It knows the size and the last use of each
// file, and removes those that were not used for longest where others need their
// place. A file in use stays. Its methods may be called from several goroutines.
type shelf struct {
	dir string
	max int64 // bytes; zero for no limit

	mu       sync.Mutex
	size     int64
	busy     int64 // bytes of files in use
	promised int64 // bytes of files on their way here
	items    map[string]*item
	order    list.List // of *item, the last used first
}

type item struct {
	name   string // below the folder
	size   int64
	users  int
	gone   bool // removed while in use
	proved bool // its hash was seen to be right by this process
	at     *list.Element
}

// openShelf looks at what is kept in the sub-folders of a folder.
func openShelf(dir string, max int64, subs ...string) (*shelf, error) {
	s := &shelf{dir: dir, max: max, items: map[string]*item{}}
	type found struct {
		name string
		info fs.FileInfo
	}
	var all []found
	for _, sub := range subs {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			all = append(all, found{filepath.Join(sub, e.Name()), info})
		}
	}
	slices.SortFunc(all, func(a, b found) int { return a.info.ModTime().Compare(b.info.ModTime()) })
	for _, f := range all {
		s.add(f.name, f.info.Size(), false)
	}
	s.promise(0) // removes what is too much by a new limit
	return s, nil
}

// add notes that a file is there, in place of one of the same name.
func (s *shelf) add(name string, size int64, proved bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[name]
	if it == nil {
		it = &item{name: name}
		it.at = s.order.PushFront(it)
		s.items[name] = it
	}
	s.size += size - it.size
	if it.users > 0 {
		s.busy += size - it.size
	}
	it.size, it.proved = size, proved
	s.order.MoveToFront(it.at)
}

// promise makes room for a file on its way here. If there cannot be enough it
// returns false and removes nothing.
func (s *shelf) promise(size int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.max > 0 {
		if s.busy+s.promised+size > s.max {
			return false
		}
		for at := s.order.Back(); at != nil && s.size+s.promised+size > s.max; {
			it := at.Value.(*item)
			at = at.Prev()
			if it.users == 0 {
				s.remove(it)
			}
		}
	}
	s.promised += size
	return true
}

// fulfil ends a promise.
func (s *shelf) fulfil(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.promised -= size
}

// hold keeps a file from being removed and notes that it is used; nil if it is not
// there. Let it go.
func (s *shelf) hold(name string) *item {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[name]
	if it == nil {
		return nil
	}
	if it.users++; it.users == 1 {
		s.busy += it.size
	}
	s.order.MoveToFront(it.at)
	now := time.Now()
	os.Chtimes(filepath.Join(s.dir, name), now, now) // only the order after the next start depends on it
	return it
}

func (s *shelf) letGo(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if it.users--; it.users == 0 && !it.gone {
		s.busy -= it.size
	}
}

// drop removes a file, also one in use: who reads it reads on.
func (s *shelf) drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if it := s.items[name]; it != nil {
		s.remove(it)
	}
}

// remove is called with the lock held. A file that cannot be removed is counted
// again at the next start.
func (s *shelf) remove(it *item) {
	os.Remove(filepath.Join(s.dir, it.name))
	s.order.Remove(it.at)
	delete(s.items, it.name)
	s.size -= it.size
	if it.users > 0 {
		s.busy -= it.size
	}
	it.gone = true
}

// proved says whether a file's hash was seen to be right; prove notes it.
func (s *shelf) proved(it *item) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return it.proved
}

func (s *shelf) prove(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it.proved = true
}

// put moves a finished file to its place.
func (s *shelf) put(temp, name string, size int64) error {
	if err := os.Rename(temp, filepath.Join(s.dir, name)); err != nil {
		return err
	}
	s.add(name, size, true)
	return atomicfile.SyncDir(filepath.Dir(filepath.Join(s.dir, name)))
}
