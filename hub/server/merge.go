package server

import (
	"fmt"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// plan is how a pull request would be merged now.
func (c *call) plan(d *meta.Discussion) (*gitrepo.MergePlan, error) {
	head, err := c.git().Ref(prRef(d.Num))
	if err != nil {
		return nil, err
	}
	ours, err := c.branchBefore(d)
	if err != nil {
		return nil, err
	}
	return c.git().PlanMerge(ours, head.Commit)
}

// branchBefore is where a pull request's branch is, or was before its merge.
func (c *call) branchBefore(d *meta.Discussion) (gitrepo.Hash, error) {
	if d.Merge == "" {
		ref, err := c.git().Ref(d.Base)
		return ref.Commit, err
	}
	merged, _, err := c.git().Resolve(d.Merge)
	if err != nil {
		return merged, err
	}
	commit, err := c.git().Commit(merged)
	if err != nil || len(commit.Parents) == 0 {
		return merged, err
	}
	return commit.Parents[0], nil
}

// merge brings a pull request into its branch. When the process dies after the
// branch has moved, the next try finds the commit there and only notes it.
func (c *call) merge() error {
	var req struct {
		Comment string `json:"comment"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	d, err := c.thread()
	if err != nil {
		return err
	}
	if !d.PullRequest || d.Status != meta.StatusOpen && d.Status != meta.StatusDraft {
		return badRequest("Only an open pull request can be merged")
	}
	if d.Status == meta.StatusDraft {
		return badRequest("This pull request is a draft: set its status to open first")
	}
	id, err := c.mergeInto(&d)
	if err != nil {
		return err
	}
	_, err = c.s.db.UpdateDiscussion(c.repo.ID, d.Num, func(d *meta.Discussion) error {
		d.Merge = id.String()
		changeStatus(d, c.user.Name, meta.StatusMerged, req.Comment)
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(map[string]string{"mergeCommitId": id.String()})
}

func (c *call) mergeInto(d *meta.Discussion) (gitrepo.Hash, error) {
	st := c.s.state(c.repo.ID)
	st.commit.Lock()
	defer st.commit.Unlock()
	c.s.writes.RLock()
	defer c.s.writes.RUnlock()
	plan, err := c.plan(d)
	if err != nil {
		return gitrepo.Hash{}, err
	}
	if plan.From == plan.Theirs {
		return plan.Ours, nil
	}
	if len(plan.Conflicts) > 0 {
		return gitrepo.Hash{}, conflict("This pull request has conflicts with its branch in %s", strings.Join(plan.Conflicts, ", "))
	}
	w := st.git.NewWriter()
	defer w.Abort()
	tree, err := st.git.Edit(w, plan.Ours, plan.Changes)
	if err != nil {
		return gitrepo.Hash{}, err
	}
	id, err := st.git.NewCommit(w, tree, []gitrepo.Hash{plan.Ours, plan.Theirs}, c.author(), fmt.Sprintf("%s (#%d)", d.Title, d.Num))
	if err != nil {
		return gitrepo.Hash{}, err
	}
	if err := w.Flush(); err != nil {
		return gitrepo.Hash{}, err
	}
	if err := st.git.SetRef(d.Base, plan.Ours, id); err != nil {
		return gitrepo.Hash{}, err
	}
	return id, c.s.touched(c.repo.ID)
}
