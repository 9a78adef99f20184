package server

import (
	"errors"

	"github.com/mamba-encoder-swarm/mes/hub/server/lfs"
)

// lfsFiles lists the large files that a repo holds.
func (c *call) lfsFiles() error {
	shas, links, err := c.s.db.LFSLinks(c.repo.ID, c.r.URL.Query().Get("cursor"), maxPageItems)
	if err != nil {
		return err
	}
	names := map[string]string{}
	if head, _, err := c.git().Resolve("HEAD"); err == nil {
		if names, err = c.s.largeNames(&c.repo, head); err != nil {
			return err
		}
	}
	list := []map[string]any{}
	for i, sha := range shas {
		list = append(list, map[string]any{"fileOid": sha, "oid": sha, "filename": names[sha],
			"pushedAt": stamp(links[i].Added), "ref": "main", "size": links[i].Size})
	}
	if len(shas) == maxPageItems {
		c.next("cursor", shas[len(shas)-1])
	}
	return c.json(list)
}

// deleteLFSFiles lets large files of a repo go for good. Pointers to them stay in
// the history, which is never rewritten: that would change the ids of its commits.
func (c *call) deleteLFSFiles() error {
	var req struct {
		Deletions struct {
			SHA []string `json:"sha"`
		} `json:"deletions"`
	}
	if err := c.decode(&req, maxListBody); err != nil {
		return err
	}
	// The exclusive lock: nothing may link a file between the two steps.
	c.s.writes.Lock()
	defer c.s.writes.Unlock()
	for _, sha := range req.Deletions.SHA {
		if _, err := c.s.HasLFS(c.repo.ID, sha); err != nil {
			continue
		}
		orphan, err := c.s.db.UnlinkLFS(c.repo.ID, sha)
		if err != nil {
			return err
		}
		if orphan {
			if err := c.s.lfs.Remove(sha); err != nil {
				return err
			}
		}
	}
	return c.ok()
}

// duplicateLFSFiles lets another repo of the caller's hold files of this one.
// Only what the head of a branch or an old commit of this repo holds can be
// named, because the link is looked up here.
func (c *call) duplicateLFSFiles() error {
	if c.user == nil {
		return errSignIn
	}
	var req struct {
		Target struct {
			Type string `json:"type"`
			Name string `json:"name"`
		} `json:"target"`
		Files []struct {
			SHA256   string `json:"sha256"`
			Filename string `json:"filename"`
		} `json:"files"`
	}
	if err := c.decode(&req, maxListBody); err != nil {
		return err
	}
	target, err := c.named(req.Target.Type, req.Target.Name, nil, writer)
	if err != nil {
		return err
	}
	failed := []map[string]string{}
	done := []map[string]string{}
	for _, f := range req.Files {
		size, err := c.s.HasLFS(c.repo.ID, f.SHA256)
		if err == nil {
			err = c.s.linkLFS(target.ID, f.SHA256, size)
		}
		if errors.Is(err, lfs.ErrNotFound) {
			failed = append(failed, map[string]string{"sha256": f.SHA256, "error": "This repo has no such file"})
			continue
		}
		if err != nil {
			return err
		}
		done = append(done, map[string]string{"sha256": f.SHA256})
	}
	return c.json(map[string]any{"success": done, "failed": failed})
}
