package server

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
)

// listRefs lists branches and tags, and pull requests when asked.
func (c *call) listRefs() error {
	refs, err := c.git().Refs("refs/")
	if err != nil {
		return err
	}
	type named struct {
		Name         string `json:"name"`
		Ref          string `json:"ref"`
		TargetCommit string `json:"targetCommit"`
	}
	answer := map[string][]named{"branches": {}, "tags": {}, "converts": {}}
	withPRs := c.r.URL.Query().Get("include_prs")
	if withPRs == "1" || strings.EqualFold(withPRs, "true") {
		answer["pullRequests"] = []named{}
	}
	for _, ref := range refs {
		n := named{ref.Short(), ref.Name, ref.Commit.String()}
		switch {
		case strings.HasPrefix(ref.Name, "refs/heads/"):
			answer["branches"] = append(answer["branches"], n)
		case strings.HasPrefix(ref.Name, "refs/tags/"):
			answer["tags"] = append(answer["tags"], n)
		case strings.HasPrefix(ref.Name, "refs/pr/") && answer["pullRequests"] != nil:
			answer["pullRequests"] = append(answer["pullRequests"], n)
		}
	}
	return c.json(answer)
}

// commits lists the history of a revision, a page at a time.
func (c *call) commits() error {
	from, err := c.commit()
	if err != nil {
		return err
	}
	limit, skip := c.page(maxPageItems)
	page, total, err := c.git().Log(from, skip, limit)
	if err != nil {
		return err
	}
	list := []map[string]any{}
	for _, commit := range page {
		entry := map[string]any{
			"id": commit.ID.String(), "title": commit.Title(), "message": commit.Description(), "date": stamp(commit.Author.When),
			"authors": []any{map[string]any{"user": commit.Author.Name, "avatar": ""}}, "parents": texts(commit.Parents),
		}
		if c.wants("formatted") {
			entry["formatted"] = map[string]string{"title": escapeHTML(commit.Title()), "message": escapeHTML(commit.Description())}
		}
		list = append(list, entry)
	}
	c.w.Header().Set("X-Total-Count", strconv.Itoa(total))
	if skip+len(page) < total {
		c.next("p", strconv.Itoa(skip/limit+1))
	}
	return c.json(list)
}

func texts(hashes []gitrepo.Hash) []string {
	list := make([]string, 0, len(hashes))
	for _, h := range hashes {
		list = append(list, h.String())
	}
	return list
}

var escapeHTML = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;").Replace

// wants tells whether expand (or expand[]) names a field.
func (c *call) wants(field string) bool {
	q := c.r.URL.Query()
	for _, value := range append(q["expand"], q["expand[]"]...) {
		if value == field {
			return true
		}
	}
	return false
}

// createBranch makes a branch from a revision, main when none is named.
func (c *call) createBranch() error {
	var req struct {
		StartingPoint string `json:"startingPoint"`
		EmptyBranch   bool   `json:"emptyBranch"`
		Overwrite     bool   `json:"overwrite"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	name := "refs/heads/" + c.rev
	if strings.HasPrefix(c.rev, "refs/") {
		return badRequest("Invalid name of a branch: it begins with refs/")
	}
	if err := gitrepo.CheckRefName(name); err != nil {
		return err
	}
	from := req.StartingPoint
	if from == "" {
		from = gitrepo.DefaultBranch
	}
	c.s.writes.RLock()
	defer c.s.writes.RUnlock()
	start, _, err := c.git().Resolve(from)
	if err != nil {
		return err
	}
	if req.EmptyBranch {
		w := c.git().NewWriter()
		defer w.Abort()
		tree, err := c.git().Edit(w, gitrepo.Hash{}, nil)
		if err != nil {
			return err
		}
		if start, err = c.git().NewCommit(w, tree, nil, c.author(), "initial commit"); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	var old gitrepo.Hash
	if ref, err := c.git().Ref(name); err == nil && req.Overwrite {
		old = ref.Target
	}
	err = c.git().SetRef(name, old, start)
	if errors.Is(err, gitrepo.ErrExists) {
		return conflict("Reference %s already exists", name)
	}
	if err != nil {
		return err
	}
	return c.ok()
}

// deleteBranch removes a branch other than main.
func (c *call) deleteBranch() error {
	name := "refs/heads/" + c.rev
	if c.rev == gitrepo.DefaultBranch {
		return &Error{http.StatusForbidden, codeForbidden, "Cannot delete " + name}
	}
	return c.deleteRef(name)
}

func (c *call) deleteRef(name string) error {
	ref, err := c.git().Ref(name)
	if errors.Is(err, gitrepo.ErrRevision) {
		return fmt.Errorf("%w: %s", gitrepo.ErrRevision, c.rev)
	}
	if err != nil {
		return err
	}
	c.s.writes.RLock()
	defer c.s.writes.RUnlock()
	if err := c.git().DeleteRef(name, ref.Target); err != nil {
		return err
	}
	return c.ok()
}

// createTag tags a revision. A message makes it an annotated tag.
func (c *call) createTag() error {
	var req struct {
		Tag     string `json:"tag"`
		Message string `json:"message"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	name := "refs/tags/" + req.Tag
	if err := gitrepo.CheckRefName(name); err != nil {
		return err
	}
	c.s.writes.RLock()
	defer c.s.writes.RUnlock()
	target, err := c.commit()
	if err != nil {
		return err
	}
	if req.Message != "" {
		w := c.git().NewWriter()
		defer w.Abort()
		if target, err = c.git().NewTag(w, req.Tag, target, c.author(), req.Message+"\n"); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	err = c.git().SetRef(name, gitrepo.Hash{}, target)
	if errors.Is(err, gitrepo.ErrExists) {
		return conflict("Tag reference %s already exists", name)
	}
	if err != nil {
		return err
	}
	return c.ok()
}

// deleteTag removes a tag.
func (c *call) deleteTag() error { return c.deleteRef("refs/tags/" + c.rev) }

// superSquash replaces a branch's history by one commit of its present files.
func (c *call) superSquash() error {
	var req struct {
		Message string `json:"message"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	if req.Message == "" {
		req.Message = "Super-squash branch '" + c.rev + "' using the API"
	}
	st := c.s.state(c.repo.ID)
	st.commit.Lock()
	defer st.commit.Unlock()
	c.s.writes.RLock()
	defer c.s.writes.RUnlock()
	ref, err := st.git.Ref("refs/heads/" + c.rev)
	if errors.Is(err, gitrepo.ErrRevision) {
		return fmt.Errorf("%w: %s", gitrepo.ErrRevision, c.rev)
	}
	if err != nil {
		return err
	}
	head, err := st.git.Commit(ref.Commit)
	if err != nil {
		return err
	}
	w := st.git.NewWriter()
	defer w.Abort()
	id, err := st.git.NewCommit(w, head.Tree, nil, c.author(), req.Message)
	if err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := st.git.SetRef(ref.Name, ref.Target, id); err != nil {
		return err
	}
	if err := c.s.touched(c.repo.ID); err != nil {
		return err
	}
	return c.json(map[string]string{"commitOid": id.String()})
}
