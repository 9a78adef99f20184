package server

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// maxDiff is how many bytes of a pull request's diff are shown.
const maxDiff = 1 << 20

func prRef(num uint64) string { return "refs/pr/" + strconv.FormatUint(num, 10) }

// openPR makes a pull request whose ref is at a commit. The ref is written inside
// the transaction that gives the number: a process killed between leaves a ref
// without a thread, whose number the next one takes over.
func (s *Server) openPR(r *meta.Repo, author, title, description, base string, at gitrepo.Hash, status string) (meta.Discussion, error) {
	d := meta.Discussion{Title: title, Status: status, Author: author, PullRequest: true, Base: base}
	d.Events = []meta.Event{commentEvent(author, description)}
	g := s.state(r.ID).git
	return s.db.AddDiscussion(r.ID, d, func(d meta.Discussion) error {
		var old gitrepo.Hash
		if left, err := g.Ref(prRef(d.Num)); err == nil {
			old = left.Target
		}
		return g.SetRef(prRef(d.Num), old, at)
	})
}

func commentEvent(author, text string) meta.Event {
	return meta.NewEvent("comment", author, map[string]any{"edited": false, "hidden": false, "raw": text})
}

// ownPR tells whether a revision is that of an open pull request of the caller, who
// may add to it without being a writer.
func (c *call) ownPR(rev string) bool {
	num, ok := strings.CutPrefix(rev, "refs/pr/")
	n, err := strconv.ParseUint(num, 10, 64)
	if !ok || err != nil || c.user == nil {
		return false
	}
	d, err := c.s.db.Discussion(c.repo.ID, n)
	return err == nil && isOwnPR(&d, c.user)
}

// isOwnPR tells whether a thread is an open pull request of a user.
func isOwnPR(d *meta.Discussion, u *meta.User) bool {
	return d.PullRequest && isOpen(d) && d.Author == u.Name
}

// describeDiscussion gives what lists show.
func (c *call) describeDiscussion(d *meta.Discussion) map[string]any {
	return map[string]any{
		"num": d.Num, "title": d.Title, "status": d.Status, "author": map[string]string{"name": d.Author}, "createdAt": stamp(d.Created),
		"isPullRequest": d.PullRequest, "numComments": len(d.Events), "pinned": false,
		"repo": map[string]string{"name": c.repo.FullName(), "type": c.repo.Type},
	}
}

// discussions lists threads, the newest first, 50 a page.
func (c *call) discussions() error {
	all, err := c.s.db.Discussions(c.repo.ID)
	if err != nil {
		return err
	}
	q := c.r.URL.Query()
	var found []map[string]any
	for i := range all {
		d := &all[i]
		kind := "discussion"
		if d.PullRequest {
			kind = "pull_request"
		}
		open := isOpen(d)
		switch {
		case q.Get("type") != "" && q.Get("type") != "all" && q.Get("type") != kind:
		case q.Get("status") == "open" && !open, q.Get("status") == "closed" && open:
		case q.Get("author") != "" && !strings.EqualFold(q.Get("author"), d.Author):
		default:
			found = append(found, c.describeDiscussion(d))
		}
	}
	limit, skip := c.page(50)
	start := min(skip, len(found))
	page := append([]map[string]any{}, found[start:min(start+limit, len(found))]...)
	return c.json(map[string]any{"discussions": page, "count": len(found), "start": start})
}

// isOpen tells whether a thread waits for something.
func isOpen(d *meta.Discussion) bool {
	return d.Status == meta.StatusOpen || d.Status == meta.StatusDraft
}

// openDiscussion begins a thread, or a pull request without changes yet.
func (c *call) openDiscussion() error {
	if err := mayAct(c.caller, &c.repo); err != nil {
		return err
	}
	var req struct {
		Title       string `json:"title"`
		Description string `json:"description"`
		PullRequest bool   `json:"pullRequest"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	if len([]rune(strings.TrimSpace(req.Title))) < 3 {
		return badRequest("A title has at least 3 characters")
	}
	var d meta.Discussion
	var err error
	if req.PullRequest {
		c.s.writes.RLock()
		defer c.s.writes.RUnlock()
		head, _, resolveErr := c.git().Resolve(gitrepo.DefaultBranch)
		if resolveErr != nil {
			return resolveErr
		}
		d, err = c.s.openPR(&c.repo, c.user.Name, req.Title, req.Description, "refs/heads/"+gitrepo.DefaultBranch, head, meta.StatusDraft)
	} else {
		d = meta.Discussion{Title: req.Title, Status: meta.StatusOpen, Author: c.user.Name, Events: []meta.Event{commentEvent(c.user.Name, req.Description)}}
		d, err = c.s.db.AddDiscussion(c.repo.ID, d, func(meta.Discussion) error { return nil })
	}
	if err != nil {
		return err
	}
	answer := c.describeDiscussion(&d)
	answer["pullRequest"] = d.PullRequest
	answer["url"] = fmt.Sprintf("%s/%s/discussions/%d", c.s.base(c.r), c.repo.Path(), d.Num)
	return c.json(answer)
}

// thread finds the discussion that the path names.
func (c *call) thread() (meta.Discussion, error) {
	num, err := strconv.ParseUint(c.vars["num"], 10, 64)
	if err != nil {
		return meta.Discussion{}, notFound("Discussion not found")
	}
	d, err := c.s.db.Discussion(c.repo.ID, num)
	if errors.Is(err, meta.ErrNotFound) {
		return d, notFound("Discussion not found")
	}
	return d, err
}

// discussion shows one thread with its events and, for a pull request, its diff.
func (c *call) discussion() error {
	d, err := c.thread()
	if err != nil {
		return err
	}
	answer := c.describeDiscussion(&d)
	events := []map[string]any{}
	for _, e := range d.Events {
		events = append(events, describeEvent(e))
	}
	answer["events"] = events
	answer["filesWithConflicts"] = []string{}
	if !d.PullRequest {
		return c.json(answer)
	}
	var merge any
	if d.Merge != "" {
		merge = d.Merge
	}
	answer["changes"] = map[string]any{"base": d.Base, "mergeCommitId": merge}
	plan, err := c.plan(&d)
	if err != nil {
		return err
	}
	if d.Status != meta.StatusMerged {
		answer["filesWithConflicts"] = plan.Conflicts
	}
	if c.r.URL.Query().Get("diff") != "" {
		if err := c.s.need(c.caller, &c.repo, content); err != nil {
			return err
		}
		if answer["diff"], err = c.git().Diff(c.r.Context(), plan.From, plan.Theirs, maxDiff); err != nil {
			return err
		}
	}
	return c.json(answer)
}

func describeEvent(e meta.Event) map[string]any {
	data := e.Data
	if e.Type == "comment" {
		raw, _ := data["raw"].(string)
		hidden, _ := data["hidden"].(bool)
		if hidden {
			raw = "This comment has been hidden"
		}
		data = map[string]any{"edited": data["edited"], "hidden": hidden, "numEdits": 0, "history": []any{},
			"latest": map[string]any{"raw": raw, "html": escapeHTML(raw), "updatedAt": stamp(e.Created), "author": map[string]string{"name": e.Author}}}
	}
	return map[string]any{"id": e.ID, "type": e.Type, "createdAt": stamp(e.Created), "author": map[string]string{"name": e.Author}, "data": data}
}

// amend changes the thread of the path and answers with the event that came of it.
func (c *call) amend(change func(*meta.Discussion) (meta.Event, error)) error {
	d, err := c.thread()
	if err != nil {
		return err
	}
	var event meta.Event
	_, err = c.s.db.UpdateDiscussion(c.repo.ID, d.Num, func(d *meta.Discussion) error {
		event, err = change(d)
		return err
	})
	if err != nil {
		return err
	}
	described := describeEvent(event)
	return c.json(map[string]any{"newMessage": described, "updatedComment": described, "newTitle": described, "newStatus": described})
}

// comment adds a comment.
func (c *call) comment() error {
	if err := mayAct(c.caller, &c.repo); err != nil {
		return err
	}
	var req struct {
		Comment string `json:"comment"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	if strings.TrimSpace(req.Comment) == "" {
		return badRequest("A comment is not empty")
	}
	return c.amend(func(d *meta.Discussion) (meta.Event, error) {
		event := commentEvent(c.user.Name, req.Comment)
		d.Events = append(d.Events, event)
		return event, nil
	})
}

// editComment changes the text of the caller's own comment.
func (c *call) editComment() error {
	var req struct {
		Content string `json:"content"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	return c.changeComment(false, func(data map[string]any) { data["raw"], data["edited"] = req.Content, true })
}

// hideComment hides a comment: the caller's own, or any as a writer of the repo.
func (c *call) hideComment() error {
	return c.changeComment(true, func(data map[string]any) { data["raw"], data["hidden"] = "", true })
}

func (c *call) changeComment(moderate bool, change func(map[string]any)) error {
	if err := mayAct(c.caller, &c.repo); err != nil {
		return err
	}
	return c.amend(func(d *meta.Discussion) (meta.Event, error) {
		for i := range d.Events {
			e := &d.Events[i]
			if e.ID != c.vars["id"] || e.Type != "comment" {
				continue
			}
			if e.Author != c.user.Name && (!moderate || c.s.level(c.caller, &c.repo) < writer) {
				return meta.Event{}, &Error{http.StatusForbidden, codeForbidden, "This comment is somebody else's"}
			}
			if hidden, _ := e.Data["hidden"].(bool); hidden {
				return meta.Event{}, badRequest("This comment is hidden")
			}
			change(e.Data)
			return *e, nil
		}
		return meta.Event{}, notFound("Comment not found")
	})
}

// mayManage lets the author of a thread and writers of the repo change it.
func (c *call) mayManage(d *meta.Discussion) error {
	if d.Author == c.user.Name {
		return nil
	}
	return c.s.need(c.caller, &c.repo, writer)
}

// retitle changes a thread's title.
func (c *call) retitle() error {
	if err := mayAct(c.caller, &c.repo); err != nil {
		return err
	}
	var req struct {
		Title string `json:"title"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	if len([]rune(strings.TrimSpace(req.Title))) < 3 {
		return badRequest("A title has at least 3 characters")
	}
	return c.amend(func(d *meta.Discussion) (meta.Event, error) {
		if err := c.mayManage(d); err != nil {
			return meta.Event{}, err
		}
		event := meta.NewEvent("title-change", c.user.Name, map[string]any{"from": d.Title, "to": req.Title})
		d.Title = req.Title
		d.Events = append(d.Events, event)
		return event, nil
	})
}

// setStatus opens or closes a thread.
func (c *call) setStatus() error {
	if err := mayAct(c.caller, &c.repo); err != nil {
		return err
	}
	var req struct {
		Status  string `json:"status"`
		Comment string `json:"comment"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	if req.Status != meta.StatusOpen && req.Status != meta.StatusClosed {
		return badRequest("The status of a discussion is open or closed")
	}
	return c.amend(func(d *meta.Discussion) (meta.Event, error) {
		if err := c.mayManage(d); err != nil {
			return meta.Event{}, err
		}
		if d.Status == meta.StatusMerged {
			return meta.Event{}, badRequest("This pull request is merged")
		}
		return changeStatus(d, c.user.Name, req.Status, req.Comment), nil
	})
}

func changeStatus(d *meta.Discussion, who, status, comment string) meta.Event {
	if comment != "" {
		d.Events = append(d.Events, commentEvent(who, comment))
	}
	event := meta.NewEvent("status-change", who, map[string]any{"status": status})
	d.Status = status
	d.Events = append(d.Events, event)
	return event
}
