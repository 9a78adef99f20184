package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// Fsck implements Admin. It reads every commit of every ref with its files,
// looks for each large file that one names, and for what belongs to nothing.
func (s *Server) Fsck(ctx context.Context, full bool) ([]string, error) {
	s.upkeep.Lock()
	defer s.upkeep.Unlock()
	faults := []string{}
	for _, err := range s.db.Check() {
		faults = append(faults, err.Error())
	}
	repos, err := s.db.Repos("")
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	checked := map[string]bool{}
	for i := range repos {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r := &repos[i]
		known[r.ID+".git"] = true
		for _, fault := range s.checkRepo(ctx, r, full, checked) {
			faults = append(faults, fmt.Sprintf("%s %s: %s", r.Type, r.FullName(), fault))
		}
	}
	folders, err := filepath.Glob(filepath.Join(s.cfg.Dir, "git", "*", "*"))
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	for _, folder := range folders {
		if !known[filepath.Base(folder)] {
			faults = append(faults, fmt.Sprintf("%s belongs to no repo and can be removed", folder))
		}
	}
	return faults, nil
}

// checkRepo checks one repo; checked holds the large files read already.
func (s *Server) checkRepo(ctx context.Context, r *meta.Repo, full bool, checked map[string]bool) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if _, err := os.Stat(s.gitDir(r.ID)); err != nil {
		fault("its git repository is missing")
		return faults
	}
	g := gitrepo.Open(s.gitDir(r.ID), gitrepo.Options{}) // what is on disk, not what was read before
	refs, err := g.Refs("refs/")
	if err != nil {
		fault("%v", err)
		return faults
	}
	if len(refs) == 0 {
		fault("it has no branch")
	}
	seen := map[gitrepo.Hash]bool{}
	for _, ref := range refs {
		err := g.CheckHistory(ref.Commit, seen, func(path string, h gitrepo.Hash) error {
			info, err := readBlobInfo(g, h)
			if err != nil || info.SHA == "" {
				return err
			}
			if size, err := s.HasLFS(r.ID, info.SHA); err != nil || size != info.Size {
				fault("the large file of %s (%s) is missing", path, info.SHA)
			} else if full && !checked[info.SHA] {
				checked[info.SHA] = true
				if err := s.lfs.Check(ctx, info.SHA); err != nil {
					fault("%s: %v", path, err)
				}
			}
			return nil
		})
		if err != nil {
			fault("%s: %s", strings.TrimPrefix(ref.Name, "refs/"), err)
		}
	}
	return faults
}
