package server

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
	"github.com/mamba-encoder-swarm/mes/hub/server/view"
)

// What pages of discussions show at once.
const (
	pageTalks = 50
	pageDiff  = 3000 // lines
)

const pageTime = "2 January 2006, 15:04 UTC"

// talksPage lists the discussions of a repo: the open ones, or with ?status=closed
// the others.
func (c *call) talksPage() error {
	all, err := c.s.db.Discussions(c.repo.ID)
	if err != nil {
		return err
	}
	head := c.repoHead(nil)
	page := view.Talks{Page: c.newPage("Discussions of " + c.repo.FullName()), Repo: head}
	closed := c.r.URL.Query().Get("status") == "closed"
	var shown []*meta.Discussion
	for i := range all {
		if isOpen(&all[i]) != closed {
			shown = append(shown, &all[i])
		}
	}
	counts := [2]int{len(shown), len(all) - len(shown)}
	if closed {
		counts[0], counts[1] = counts[1], counts[0]
	}
	page.Choices = []view.Choice{
		{Text: fmt.Sprintf("Open (%d)", counts[0]), Href: head.Talks, Shown: !closed},
		{Text: fmt.Sprintf("Closed (%d)", counts[1]), Href: head.Talks + "?status=closed", Shown: closed},
	}
	limit, skip := c.page(pageTalks)
	for i := skip; i < min(skip+limit, len(shown)); i++ {
		page.Lines = append(page.Lines, talkLine(head, shown[i]))
	}
	if skip+limit < len(shown) {
		page.Next = c.pageLink(skip/limit + 1)
	}
	return c.show(http.StatusOK, view.TalksPage(page))
}

func talkLine(head view.Repo, d *meta.Discussion) view.TalkLine {
	line := view.TalkLine{
		Href: fmt.Sprintf("%s/%d", head.Talks, d.Num), Title: d.Title, Author: d.Author, When: d.Created.UTC().Format(pageTime),
		Number: fmt.Sprintf("#%d", d.Num), Kind: "Discussion", Status: d.Status,
	}
	if d.PullRequest {
		line.Kind = "Pull request"
	}
	comments := 0
	for _, e := range d.Events {
		if e.Type == "comment" {
			comments++
		}
	}
	if line.Comments = fmt.Sprintf("%d comments", comments); comments == 1 {
		line.Comments = "1 comment"
	}
	return line
}

// talkPage shows one discussion and, of a pull request, its changes.
func (c *call) talkPage() error {
	d, err := c.thread()
	if err != nil {
		return err
	}
	head := c.repoHead(nil)
	page := view.Talk{Page: c.newPage(fmt.Sprintf("%s · %s", d.Title, c.repo.FullName())), Repo: head, Line: talkLine(head, &d)}
	places := view.Places{Files: c.at("blob", head.Revision, "") + "/", Raw: c.at("resolve", head.Revision, "") + "/"}
	for i := range d.Events {
		page.Events = append(page.Events, talkEvent(&d.Events[i], places))
	}
	if d.PullRequest {
		page.Base = strings.TrimPrefix(d.Base, "refs/heads/")
		if page.Change, err = c.talkChange(&d); err != nil {
			return err
		}
	}
	return c.show(http.StatusOK, view.TalkPage(page))
}

// talkEvent says what happened.
func talkEvent(e *meta.Event, places view.Places) view.Event {
	out := view.Event{ID: e.ID, Author: e.Author, When: e.Created.UTC().Format(pageTime)}
	text := func(key string) string {
		value, _ := e.Data[key].(string)
		return value
	}
	switch e.Type {
	case "comment":
		out.Edited, _ = e.Data["edited"].(bool)
		hidden, _ := e.Data["hidden"].(bool)
		html, err := view.RenderComment(text("raw"), places)
		switch {
		case hidden:
			out.Text = "wrote a comment that has been hidden."
		case err != nil:
			out.Text = "wrote a comment that is too long to be shown."
		case strings.TrimSpace(html) == "":
			out.Text = "wrote nothing."
		default:
			out.HTML = html
		}
	case "status-change":
		out.Text = "set the status to " + text("status") + "."
	case "title-change":
		out.Text = fmt.Sprintf("changed the title from %q to %q.", text("from"), text("to"))
	}
	return out
}

// talkChange is what a pull request does to the files, as far as the caller may read
// them.
func (c *call) talkChange(d *meta.Discussion) (*view.Change, error) {
	if err := c.s.need(c.caller, &c.repo, content); err != nil {
		return &view.Change{Note: "Only those who were let in see the files of this repo."}, nil
	}
	plan, err := c.plan(d)
	if err != nil {
		return nil, err
	}
	change := &view.Change{}
	if isOpen(d) {
		change.Conflicts = plan.Conflicts
	}
	diff, err := c.git().Diff(c.r.Context(), plan.From, plan.Theirs, maxDiff)
	if err != nil {
		return nil, err
	}
	var cut bool
	change.Files, cut = splitDiff(diff, pageDiff)
	switch {
	case len(change.Files) == 0:
		change.Note = "No files are changed yet: commit to " + prRef(d.Num) + "."
	case cut || strings.HasSuffix(diff, gitrepo.DiffCut):
		change.Note = "The changes are longer than what is shown here."
	}
	return change, nil
}

// splitDiff cuts git's text of a difference into files with at most so many lines
// together, and says whether there were more.
func splitDiff(text string, most int) (files []view.FileDiff, cut bool) {
	body := false // behind the first @@ of a file
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if name, ok := strings.CutPrefix(line, "diff --git "); ok {
			files = append(files, view.FileDiff{Name: diffName(name)})
			body = false
			continue
		}
		if len(files) == 0 {
			continue
		}
		body = body || strings.HasPrefix(line, "@@")
		kind := diffKind(line)
		if !body && (kind != "at" || strings.HasPrefix(line, "index ")) {
			continue // the lines that name the file again
		}
		if most--; most < 0 {
			return files, true
		}
		f := &files[len(files)-1]
		f.Lines = append(f.Lines, view.DiffLine{Kind: kind, Text: line})
	}
	return files, false
}

func diffKind(line string) string {
	switch {
	case strings.HasPrefix(line, "+"):
		return "add"
	case strings.HasPrefix(line, "-"):
		return "del"
	case strings.HasPrefix(line, " ") || line == "":
		return "same"
	}
	return "at"
}

// diffName takes the name out of "a/NAME b/NAME".
func diffName(both string) string {
	if n := (len(both) - 5) / 2; n > 0 && both == "a/"+both[2:2+n]+" b/"+both[2:2+n] {
		return both[2 : 2+n]
	}
	return both
}
