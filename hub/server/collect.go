package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// leftoverAge is how old what belongs to nothing must be to be removed: an upload
// that is going on may be about to name it.
const leftoverAge = 48 * time.Hour

// Collected counts what Collect has removed.
type Collected struct {
	Objects int `json:"objects"` // of git
	Files   int `json:"files"`   // large ones
}

// Collect implements Admin. It removes what no branch, tag or pull request of a repo
// reaches: the objects of deleted branches and squashed histories, and the large files
// that only these named and that were not sent in the last two days.
func (s *Server) Collect(ctx context.Context) (Collected, error) {
	return s.collect(ctx, time.Now().Add(-leftoverAge))
}

// collect takes what belongs to nothing for given up when it is from before a time.
// What is wrong with one repo keeps no other from being collected.
func (s *Server) collect(ctx context.Context, before time.Time) (done Collected, err error) {
	s.upkeep.Lock()
	defer s.upkeep.Unlock()
	repos, err := s.db.Repos("")
	if err != nil {
		return done, err
	}
	var faults error
	for i := range repos {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		if err := s.collectRepo(&repos[i], before, &done); err != nil {
			faults = errors.Join(faults, fmt.Errorf("%s %s: %w", repos[i].Type, repos[i].FullName(), err))
		}
	}
	faults = errors.Join(faults, s.collectFolders(before))
	files, err := s.lfs.Collect(before, func(sha string) (bool, error) {
		s.writes.Lock() // nothing may link the file between the look and the removal
		defer s.writes.Unlock()
		held, err := s.db.HeldLFS(sha)
		if held || err != nil {
			return false, err
		}
		return true, s.lfs.Remove(sha)
	})
	done.Files += files
	return done, errors.Join(faults, err)
}

// reach is what the refs of a repo lead to.
type reach struct {
	objects map[gitrepo.Hash]bool
	large   map[string]bool
}

// find adds what the refs reach and it does not hold yet.
func (f *reach) find(g *gitrepo.Repo) error {
	refs, err := g.Refs("refs/")
	if err != nil {
		return err
	}
	for _, ref := range refs {
		err := g.CheckTags(ref.Target, f.objects)
		if err == nil {
			err = g.CheckHistory(ref.Commit, f.objects, func(_ string, h gitrepo.Hash) error {
				info, err := readBlobInfo(g, h)
				if info.SHA != "" {
					f.large[info.SHA] = true
				}
				return err
			})
		}
		if err != nil {
			return fmt.Errorf("%s: %w", ref.Name, err)
		}
	}
	return nil
}

// collectRepo removes what one repo does not need. It looks through the repo before
// it keeps writers out, and then only at what is new.
func (s *Server) collectRepo(r *meta.Repo, before time.Time, done *Collected) error {
	g := s.state(r.ID).git
	found := reach{map[gitrepo.Hash]bool{}, map[string]bool{}}
	if err := found.find(g); err != nil {
		return err
	}
	s.writes.Lock()
	defer s.writes.Unlock()
	if _, err := s.db.RepoByID(r.ID); err != nil {
		return nil // deleted meanwhile
	}
	if err := found.find(g); err != nil {
		return err
	}
	removed, err := g.Collect(found.objects)
	done.Objects += removed
	if err == nil && removed > 0 {
		err = s.db.DropBlobs(r.ID)
	}
	if err != nil {
		return err
	}
	for after := ""; ; {
		shas, links, err := s.db.LFSLinks(r.ID, after, maxPageItems)
		if err != nil || len(shas) == 0 {
			return err
		}
		after = shas[len(shas)-1]
		for i, sha := range shas {
			if found.large[sha] || links[i].Added.After(before) {
				continue
			}
			orphan, err := s.db.UnlinkLFS(r.ID, sha)
			if err == nil && orphan {
				done.Files++
				err = s.lfs.Remove(sha)
			}
			if err != nil {
				return err
			}
		}
	}
}

// collectFolders removes the folders of repos that are no more, and what pushes left
// that were killed.
func (s *Server) collectFolders(before time.Time) error {
	s.writes.Lock()
	defer s.writes.Unlock()
	var folders []string
	for _, pattern := range []string{"*.git", "tmp-*", "*/tmp-*", "*/tmp_*", "*/objects/*/tmp_*"} {
		found, err := filepath.Glob(filepath.Join(s.cfg.Dir, "git", "*", pattern))
		if err != nil {
			return fmt.Errorf("list repositories: %w", err)
		}
		folders = append(folders, found...)
	}
	for _, folder := range folders {
		info, err := os.Lstat(folder)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at %s: %w", folder, err)
		}
		if id, ok := strings.CutSuffix(filepath.Base(folder), ".git"); ok {
			if _, err := s.db.RepoByID(id); !errors.Is(err, meta.ErrNotFound) {
				continue
			}
		}
		if info.ModTime().After(before) {
			continue
		}
		if err := os.RemoveAll(folder); err != nil {
			return fmt.Errorf("remove what belongs to nothing: %w", err)
		}
	}
	return nil
}

// finishCollect ends, for every repo, a collection that was killed.
func (s *Server) finishCollect() error {
	folders, err := filepath.Glob(filepath.Join(s.cfg.Dir, "git", "*", "*.git"))
	for _, folder := range folders {
		err = errors.Join(err, gitrepo.Open(folder, gitrepo.Options{Fault: s.cfg.Fault}).FinishCollect())
	}
	return err
}

// renewLFS notes that a client means to name a large file of the repo that it need
// not send: it is not removed in the next two days.
func (s *Server) renewLFS(repoID, sha string) error {
	s.writes.RLock()
	defer s.writes.RUnlock()
	return s.db.RenewLFS(repoID, sha, time.Hour)
}

// holdAll tells whether a repo still holds the large files that new commits name.
// Under the lock of writers it is the last word.
func (s *Server) holdAll(repoID string, infos map[string]meta.BlobInfo) error {
	for _, info := range infos {
		if info.SHA == "" {
			continue
		}
		if size, err := s.HasLFS(repoID, info.SHA); err != nil || size != info.Size {
			return invalid("The large file %s was removed from this repo meanwhile: send it again", info.SHA)
		}
	}
	return nil
}
