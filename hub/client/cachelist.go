package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// CachedRepo is a repository in the cache.
type CachedRepo struct {
	Repo       Repo             `json:"repo"`
	Size       int64            `json:"size"` // bytes of all blobs that a revision uses, each once
	Revisions  []CachedRevision `json:"revisions"`
	Incomplete int64            `json:"incomplete"` // bytes of downloads that were cut, and of what arrived damaged
	Faults     []string         `json:"faults,omitempty"`

	blobs  map[string]int64 // every file in blobs that is complete → bytes
	cut    map[string]int64 // and the others
	usedBy map[string]int   // blob → revisions that use it
}

// CachedRevision is one commit of a repository in the cache.
type CachedRevision struct {
	Commit   string    `json:"commit"`
	Refs     []string  `json:"refs"`
	Files    int       `json:"files"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`

	uses map[string]bool // blobs
}

// CacheList lists what the cache holds. What does not belong there is a fault of
// its repository, or left out.
func (c *Client) CacheList() ([]CachedRepo, error) {
	entries, err := os.ReadDir(c.cache)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the cache: %w", err)
	}
	var list []CachedRepo
	for _, e := range entries {
		repo, err := repoOf(e.Name())
		if err != nil {
			continue
		}
		one, err := c.scan(repo)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

// scan reads one repository's folder.
func (c *Client) scan(repo Repo) (CachedRepo, error) {
	s, err := c.openStore(repo, false)
	if err != nil {
		return CachedRepo{}, err
	}
	defer s.close()
	r := CachedRepo{Repo: repo, blobs: map[string]int64{}, cut: map[string]int64{}, usedBy: map[string]int{}}
	tree := s.root.FS()
	blobs, _ := fs.ReadDir(tree, blobsDir)
	for _, b := range blobs {
		info, err := b.Info()
		if err != nil {
			continue // removed meanwhile
		}
		switch name := b.Name(); {
		case strings.HasSuffix(name, partSuffix), strings.HasSuffix(name, partSuffix+".json"), strings.HasSuffix(name, ".tmp"):
			r.cut[name] = info.Size()
			r.Incomplete += info.Size()
		default:
			r.blobs[name] = info.Size()
		}
	}
	snapshots, _ := fs.ReadDir(tree, snapshotsDir)
	for _, d := range snapshots {
		if !d.IsDir() || !isCommit(d.Name()) {
			r.Faults = append(r.Faults, "snapshots holds "+d.Name()+", which is no commit")
			continue
		}
		r.Revisions = append(r.Revisions, r.revision(s, d.Name()))
	}
	r.refs(s)
	for blob := range r.usedBy {
		r.Size += r.blobs[blob]
	}
	return r, nil
}

// revision reads one snapshot. Files that are no links count for themselves.
func (r *CachedRepo) revision(s *store, commit string) CachedRevision {
	v := CachedRevision{Commit: commit, uses: map[string]bool{}, Refs: []string{}}
	_ = fs.WalkDir(s.root.FS(), path.Join(snapshotsDir, commit), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		info, err := s.root.Stat(name)
		if err != nil {
			r.Faults = append(r.Faults, name+" is a link to nothing")
			return nil
		}
		v.Files++
		if info.ModTime().After(v.Modified) {
			v.Modified = info.ModTime()
		}
		blob := s.blobOf(name)
		if blob == "" {
			v.Size += info.Size()
			r.Size += info.Size()
			return nil
		}
		if !v.uses[blob] {
			v.uses[blob] = true
			r.usedBy[blob]++
			v.Size += info.Size()
		}
		return nil
	})
	return v
}

// blobOf is the blob that a snapshot's file links to, "" if it is no link.
func (s *store) blobOf(name string) string {
	to, err := s.root.Readlink(name)
	if err != nil {
		return ""
	}
	return path.Base(to)
}

// refs gives every revision the refs that name it.
func (r *CachedRepo) refs(s *store) {
	_ = fs.WalkDir(s.root.FS(), refsDir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, ".tmp") {
			return nil
		}
		ref := strings.TrimPrefix(name, refsDir+"/")
		commit := s.ref(ref)
		for i := range r.Revisions {
			if r.Revisions[i].Commit == commit {
				r.Revisions[i].Refs = append(r.Revisions[i].Refs, ref)
				return nil
			}
		}
		r.Faults = append(r.Faults, "ref "+ref+" names a commit that is not there")
		return nil
	})
}

// CacheCheck is the result of CacheVerify.
type CacheCheck struct {
	Files  int               `json:"files"` // that were read
	Bytes  int64             `json:"bytes"`
	Bad    []MismatchError   `json:"bad"`
	Absent map[string]string `json:"absent"` // files of the commit that are not in the cache → the commit
}

// CacheVerify reads all files of a repository in the cache, of a revision ("" is
// all), and compares their hashes.
func (c *Client) CacheVerify(ctx context.Context, repo Repo, revision string, report func(Progress)) (CacheCheck, error) {
	check := CacheCheck{Bad: []MismatchError{}, Absent: map[string]string{}}
	r, err := c.scan(repo)
	if err != nil {
		return check, err
	}
	s, err := c.openStore(repo, false)
	if err != nil {
		return check, err
	}
	defer s.close()
	wanted, err := r.choose(s, revision)
	if err != nil {
		return check, err
	}
	var total int64
	for _, v := range wanted {
		total += v.Size
	}
	m := newMeter(total, report)
	seen := map[string]bool{}
	for _, v := range wanted {
		hashes := map[string]string{}
		for _, e := range s.tree(v.Commit) {
			hashes[e.Path] = e.Hash()
			if !s.has(v.Commit, e.Path) {
				check.Absent[e.Path] = v.Commit
			}
		}
		for _, e := range s.present(v.Commit) {
			if err := ctx.Err(); err != nil {
				return check, err
			}
			if err := check.file(s, v.Commit, e, hashes[e.Path], seen); err != nil {
				return check, err
			}
			m.set(v.Commit+"/"+e.Path, e.Size, e.Size)
		}
	}
	return check, nil
}

// choose finds a revision among those in the cache; "" is all of them.
func (r *CachedRepo) choose(s *store, revision string) ([]CachedRevision, error) {
	if revision == "" {
		return r.Revisions, nil
	}
	commit := s.ref(revision)
	for _, v := range r.Revisions {
		if v.Commit == commit {
			return []CachedRevision{v}, nil
		}
	}
	return nil, fmt.Errorf("find revision %s of %s in the cache: %w", revision, r.Repo, fs.ErrNotExist)
}

// file checks one file of a snapshot; want is its hash, which else is the name of
// its blob.
func (k *CacheCheck) file(s *store, commit string, e Entry, want string, seen map[string]bool) error {
	name := s.file(commit, e.Path)
	blob := s.blobOf(name)
	if want == "" {
		want = blob
	}
	if blob != "" && seen[blob+" "+want] {
		return nil
	}
	seen[blob+" "+want] = true
	h, what := newHash(want, e.Size)
	if h == nil {
		return nil // nobody knows what it should be
	}
	f, err := s.root.Open(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	defer f.Close()
	got, err := hashOf(f, want, e.Size)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	k.Files++
	k.Bytes += e.Size
	if got != want {
		k.Bad = append(k.Bad, MismatchError{Path: name, What: what, Want: want, Got: got})
	}
	return nil
}
