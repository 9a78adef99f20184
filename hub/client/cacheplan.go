package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// CachePlan is what to delete from the cache. Nothing is deleted before Apply.
type CachePlan struct {
	Repos []RepoPlan `json:"repos"`
}

// RepoPlan is what to delete of one repository.
type RepoPlan struct {
	Repo      Repo     `json:"repo"`
	Whole     bool     `json:"whole"` // the whole folder
	Revisions []string `json:"revisions"`
	Bytes     int64    `json:"bytes"`

	names []string // below the repository's folder
	cut   []string // blobs of cut downloads
}

// Bytes is what a plan frees.
func (p CachePlan) Bytes() int64 {
	var sum int64
	for _, r := range p.Repos {
		sum += r.Bytes
	}
	return sum
}

// PlanPrune plans to delete revisions without a ref, blobs that no revision uses,
// and what is left of downloads that were cut.
func (c *Client) PlanPrune() (CachePlan, error) {
	var p CachePlan
	list, err := c.CacheList()
	if err != nil {
		return p, err
	}
	for _, r := range list {
		plan := r.plan(func(v CachedRevision) bool { return len(v.Refs) == 0 })
		if plan.Whole || len(plan.names)+len(plan.cut) > 0 {
			p.Repos = append(p.Repos, plan)
		}
	}
	return p, nil
}

// PlanRemove plans to delete a repository, or one of its revisions, from the cache.
func (c *Client) PlanRemove(repo Repo, revision string) (CachePlan, error) {
	r, err := c.scan(repo)
	if err != nil {
		return CachePlan{}, err
	}
	s, err := c.openStore(repo, false)
	if err != nil {
		return CachePlan{}, err
	}
	defer s.close()
	if revision == "" {
		plan := r.plan(func(CachedRevision) bool { return true })
		plan.Whole = true
		return CachePlan{Repos: []RepoPlan{plan}}, nil
	}
	wanted, err := r.choose(s, revision)
	if err != nil {
		return CachePlan{}, err
	}
	plan := r.plan(func(v CachedRevision) bool { return v.Commit == wanted[0].Commit })
	return CachePlan{Repos: []RepoPlan{plan}}, nil
}

// plan plans to delete revisions with all that nothing else uses.
func (r *CachedRepo) plan(remove func(CachedRevision) bool) RepoPlan {
	p := RepoPlan{Repo: r.Repo, Revisions: []string{}}
	left := map[string]int{}
	for blob, n := range r.usedBy {
		left[blob] = n
	}
	for _, v := range r.Revisions {
		if !remove(v) {
			continue
		}
		p.Revisions = append(p.Revisions, v.Commit)
		p.names = append(p.names, path.Join(snapshotsDir, v.Commit), path.Join(absentDir, v.Commit), path.Join(treesDir, v.Commit+".json"))
		for _, ref := range v.Refs {
			p.names = append(p.names, path.Join(refsDir, ref))
		}
		p.Bytes += v.Size
		for blob := range v.uses {
			left[blob]--
			p.Bytes -= r.blobs[blob] // counted below if it goes
		}
	}
	for blob, bytes := range r.blobs {
		if left[blob] == 0 {
			p.names = append(p.names, path.Join(blobsDir, blob))
			p.Bytes += bytes
		}
	}
	for name, bytes := range r.cut {
		p.cut = append(p.cut, name)
		p.Bytes += bytes
	}
	p.Whole = len(p.Revisions) > 0 && len(p.Revisions) == len(r.Revisions)
	slices.Sort(p.names)
	slices.Sort(p.cut)
	return p
}

// Apply deletes what a plan says. A download that runs keeps its part.
func (c *Client) Apply(ctx context.Context, p CachePlan) error {
	for _, r := range p.Repos {
		if err := c.applyRepo(ctx, r); err != nil {
			return fmt.Errorf("delete %s from the cache: %w", r.Repo, err)
		}
	}
	return nil
}

func (c *Client) applyRepo(ctx context.Context, p RepoPlan) error {
	if p.Whole {
		root, err := os.OpenRoot(c.cache)
		if err != nil {
			return err
		}
		defer root.Close()
		return root.RemoveAll(p.Repo.folder())
	}
	s, err := c.openStore(p.Repo, false)
	if err != nil {
		return err
	}
	defer s.close()
	// what is cut off in the middle leaves blobs that nobody uses, and no ref or link
	// to what is gone
	slices.SortStableFunc(p.names, func(a, b string) int { return order(a) - order(b) })
	for _, name := range p.names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.root.RemoveAll(name); err != nil {
			return err
		}
	}
	for _, name := range p.cut {
		s.dropPart(name)
	}
	return nil
}

// order sorts what is deleted: refs, snapshots and the rest, then blobs.
func order(name string) int {
	switch {
	case strings.HasPrefix(name, refsDir+"/"):
		return 0
	case strings.HasPrefix(name, blobsDir+"/"):
		return 2
	}
	return 1
}

// dropPart deletes what is left of a download, unless its lock is held.
func (s *store) dropPart(name string) {
	etag, _, _ := strings.Cut(name, ".")
	f, _, err := s.openLock(etag)
	if err != nil {
		return
	}
	defer f.Close()
	if held, err := tryLock(f); held || errors.Is(err, errNoLocks) {
		_ = s.root.Remove(blobsDir + "/" + name)
	}
}
