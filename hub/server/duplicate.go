package server

import (
	"fmt"
	"net/http"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// duplicate copies the head of main, and the large files that it needs, to a new repo.
func (c *call) duplicate() error {
	if c.user == nil {
		return errSignIn
	}
	var req struct {
		createRequest
		Repository string `json:"repository"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	namespace, name, err := c.namespaced(req.Repository, nil)
	if err != nil {
		return err
	}
	private, err := privacy(req.Visibility, req.Private || req.Visibility == "" && c.repo.Private)
	if err != nil {
		return err
	}
	if !c.s.mayCreate(c.caller, namespace, c.repo.Type, name) {
		return &Error{http.StatusForbidden, codeForbidden, fmt.Sprintf("You don't have the rights to create a repo under the namespace %q", namespace)}
	}
	r := meta.Repo{Type: c.repo.Type, Namespace: namespace, Name: name, Private: private}
	if c.repo.Space != nil {
		req.SDK = c.repo.Space.SDK
		r.Space = newSpace(req.createRequest)
	}
	head, _, err := c.git().Resolve(gitrepo.DefaultBranch)
	if err != nil {
		return err
	}
	return c.addRepo(r, func(g *gitrepo.Repo) (map[string]int64, error) {
		if err := g.CopyCommit(c.git(), head, c.author(), "Duplicate from "+c.repo.FullName()); err != nil {
			return nil, err
		}
		return c.s.largeFiles(&c.repo, head)
	})
}
