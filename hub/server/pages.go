package server

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/a-h/templ"

	"github.com/mamba-encoder-swarm/mes/hub/pickle"
	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
	"github.com/mamba-encoder-swarm/mes/hub/server/view"
)

// What pages show at once.
const (
	pageRepos   = 50
	pageFiles   = 500
	pageCommits = 50
	pageText    = 256 << 10 // bytes of a text file
)

// pagePolicy allows the server's own style sheet and images, and nothing else: no
// script, no frame, no other server.
const pagePolicy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// pageRoutes are those that people look at in a browser. They only read.
func pageRoutes() []route {
	return []route{
		{Method: get, Pattern: "/", Handler: (*call).listPage, page: true},
		{Method: get, Pattern: "/models", Handler: (*call).listPage, page: true},
		{Method: get, Pattern: "/datasets", Handler: (*call).listPage, page: true},
		{Method: get, Pattern: "/spaces", Handler: (*call).listPage, page: true},
		{Method: get, Pattern: "/_signin", Access: user, Handler: (*call).signIn, page: true},
		{Method: get, Pattern: "/_static/{name}", Handler: (*call).static},
		{Method: get, Pattern: "/{repo}", Access: reader, Handler: (*call).cardPage, page: true},
		{Method: get, Pattern: "/{repo}/tree/{rev}/{path}", Access: reader, Handler: (*call).folderPage, page: true},
		{Method: get, Pattern: "/{repo}/blob/{rev}/{path}", Access: content, Handler: (*call).filePage, page: true},
		{Method: get, Pattern: "/{repo}/commits/{rev}", Access: reader, Handler: (*call).historyPage, page: true},
		{Method: get, Pattern: "/{repo}/commit/{rev}", Access: reader, Handler: (*call).folderPage, page: true},
		{Method: get, Pattern: "/{repo}/discussions", Access: reader, Handler: (*call).talksPage, page: true},
		{Method: get, Pattern: "/{repo}/discussions/{num}", Access: reader, Handler: (*call).talkPage, page: true},
	}
}

// show sends a page.
func (c *call) show(status int, page templ.Component) error {
	var body bytes.Buffer
	if err := page.Render(c.r.Context(), &body); err != nil {
		return fmt.Errorf("render page: %w", err)
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Vary", "Authorization")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	c.w.WriteHeader(status)
	_, err := c.w.Write(body.Bytes())
	return err
}

// fault sends an error as a page. It names nothing of the request, so that a repo
// that may not be seen looks as one that is not there.
func (c *call) fault(e *Error) {
	page := view.Page{Title: http.StatusText(e.Status), Root: c.s.prefix}
	if err := c.show(e.Status, view.FaultPage(view.Fault{Page: page, Message: e.Message})); err != nil {
		c.s.log.Debug("send error page", "request", c.id, "error", err)
	}
}

func (c *call) newPage(title string) view.Page {
	p := view.Page{Title: title, Root: c.s.prefix}
	if c.user != nil {
		p.User = c.user.Name
	}
	return p
}

// signIn makes the browser ask for user name and token, and goes to the list.
func (c *call) signIn() error {
	http.Redirect(c.w, c.r, c.s.prefix+"/", http.StatusSeeOther)
	return nil
}

// static sends the style sheet or the icon.
func (c *call) static() error {
	data, err := view.Static.ReadFile("static/" + c.vars["name"])
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return notFound("There is nothing at this address")
	}
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", mime.TypeByExtension(path.Ext(c.vars["name"])))
	h.Set("Cache-Control", "max-age=300")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
	_, err = c.w.Write(data)
	return err
}

// listPage lists the repos of a type that the caller may see, the last changed
// first.
func (c *call) listPage() error {
	kind := "models"
	if len(c.parts) > 0 {
		kind = c.parts[0]
	}
	repos, err := c.s.db.Repos(strings.TrimSuffix(kind, "s"))
	if err != nil {
		return err
	}
	q := c.r.URL.Query()
	repos = slices.DeleteFunc(repos, func(r meta.Repo) bool {
		return c.s.level(c.caller, &r) < reader || !matchesName(&r, q)
	})
	slices.SortStableFunc(repos, func(a, b meta.Repo) int { return b.Modified.Compare(a.Modified) })
	limit, skip := c.page(pageRepos)
	list := view.List{Page: c.newPage(strings.ToUpper(kind[:1]) + kind[1:]), Kind: kind, Query: q.Get("search")}
	for i := skip; i < min(skip+limit, len(repos)); i++ {
		line, err := c.repoLine(&repos[i])
		if err != nil {
			return err
		}
		list.Repos = append(list.Repos, line)
	}
	if skip+limit < len(repos) {
		list.Next = c.pageLink(skip/limit + 1)
	}
	return c.show(http.StatusOK, view.ListPage(list))
}

// pageLink is this address with another number of the page.
func (c *call) pageLink(p int) string {
	q := c.r.URL.Query()
	q.Set("p", strconv.Itoa(p))
	return c.r.URL.EscapedPath() + "?" + q.Encode()
}

func (c *call) repoLine(r *meta.Repo) (view.RepoLine, error) {
	sum, err := c.s.summary(r)
	if err != nil {
		return view.RepoLine{}, err
	}
	line := view.RepoLine{
		Name: r.FullName(), Href: c.s.prefix + "/" + r.Path(), Private: r.Private, Gated: r.Gated != "",
		Modified: r.Modified.UTC().Format("2 January 2006"),
	}
	var count int64
	for _, n := range sum.Parameters {
		count += n
	}
	notes := []string{sum.Pipeline, sum.Library, sum.SDK}
	if count > 0 {
		notes = append(notes, countText(count)+" parameters")
	}
	line.Notes = slices.DeleteFunc(notes, func(s string) bool { return s == "" })
	return line, nil
}

// repoHead is what every page of the request's repo begins with.
func (c *call) repoHead(tags []string) view.Repo {
	rev := cmp.Or(c.rev, gitrepo.DefaultBranch)
	return view.Repo{
		Kind: c.repo.Type + "s", Name: c.repo.FullName(), Href: c.s.prefix + "/" + c.repo.Path(),
		Files: c.at("tree", rev, ""), History: c.at("commits", rev, ""), Revision: rev,
		Talks:   c.s.prefix + "/" + c.repo.Path() + "/discussions",
		Private: c.repo.Private, Gated: c.repo.Gated != "", Tags: tags,
	}
}

// at is the address of a page or file of the request's repo.
func (c *call) at(verb, rev, name string) string {
	address := c.s.prefix + "/" + c.repo.Path() + "/" + verb + "/" + url.PathEscape(rev)
	if name == "" {
		return address
	}
	for part := range strings.SplitSeq(name, "/") {
		address += "/" + url.PathEscape(part)
	}
	return address
}

// trail leads from the repo's root to a path.
func (c *call) trail(rev, name string) []view.Link {
	links := []view.Link{{Text: c.repo.Name, Href: c.at("tree", rev, "")}}
	if name == "" {
		return links
	}
	parts := strings.Split(name, "/")
	for i, part := range parts {
		links = append(links, view.Link{Text: part, Href: c.at("tree", rev, strings.Join(parts[:i+1], "/"))})
	}
	return links
}

// cardPage is a repo's first page.
func (c *call) cardPage() error {
	sum, err := c.s.summary(&c.repo)
	if err != nil {
		return err
	}
	head := c.repoHead(sum.Tags)
	page := view.Card{Page: c.newPage(c.repo.FullName()), Repo: head, Facts: c.repoFacts(sum), Ways: c.ways(), Note: "This repo has no card."}
	commit, err := c.commit()
	if err != nil && !errors.Is(err, gitrepo.ErrRevision) {
		return err
	}
	if err == nil {
		if card := small(c.git(), commit, "README.md"); card != nil {
			places := view.Places{Files: c.at("blob", head.Revision, "") + "/", Raw: c.at("resolve", head.Revision, "") + "/"}
			if page.HTML, err = view.RenderCard(card, places); err != nil {
				page.Note = "The card cannot be shown: " + err.Error()
			}
		}
	}
	return c.show(http.StatusOK, view.CardPage(page))
}

// repoFacts are the figures beside a card.
func (c *call) repoFacts(sum *meta.Summary) []view.Fact {
	facts := []view.Fact{{Term: "Task", Value: sum.Pipeline}, {Term: "Library", Value: sum.Library}, {Term: "SDK", Value: sum.SDK}}
	for _, tag := range sum.Tags {
		if license, ok := strings.CutPrefix(tag, "license:"); ok {
			facts = append(facts, view.Fact{Term: "Licence", Value: license})
		}
	}
	for _, dtype := range slices.Sorted(maps.Keys(sum.Parameters)) {
		facts = append(facts, view.Fact{Term: "Parameters " + dtype, Value: groupDigits(sum.Parameters[dtype])})
	}
	if sum.UsedStorage > 0 {
		facts = append(facts, view.Fact{Term: "Large files", Value: sizeText(sum.UsedStorage)})
	}
	facts = append(facts, view.Fact{Term: "Changed", Value: c.repo.Modified.UTC().Format("2 January 2006, 15:04 UTC")})
	return slices.DeleteFunc(facts, func(f view.Fact) bool { return f.Value == "" })
}

// ways are commands that download the request's repo.
func (c *call) ways() []view.Way {
	base, name := c.s.base(c.r), c.repo.FullName()
	kind := ""
	if c.repo.Type != meta.Model {
		kind = " --repo-type " + c.repo.Type
	}
	token := ""
	if c.repo.Private || c.repo.Gated != "" {
		token = "export HF_TOKEN=...\n"
	}
	ways := []view.Way{{Name: "Python", Commands: fmt.Sprintf("%sexport HF_ENDPOINT=%s\nhf download %s%s", token, base, name, kind)}}
	if c.repo.Type == meta.Model {
		ways = append([]view.Way{{Name: "mes", Commands: fmt.Sprintf("%sexport HF_ENDPOINT=%s\nmes pull %s", token, base, name)}}, ways...)
	}
	return append(ways, view.Way{Name: "git", Commands: fmt.Sprintf("git lfs install\ngit clone %s/%s", base, c.repo.Path())})
}

// folderPage lists a folder.
func (c *call) folderPage() error {
	_, folder, err := c.entry(true)
	if err != nil {
		return err
	}
	entries, err := c.git().List(folder, false, c.r.URL.Query().Get("cursor"), pageFiles+1)
	if err != nil {
		return err
	}
	page := view.Folder{Page: c.newPage(path.Join(c.repo.FullName(), c.path)), Repo: c.repoHead(nil), Path: c.trail(c.rev, c.path)}
	if len(entries) > pageFiles {
		entries = entries[:pageFiles]
		page.Next = c.at("tree", c.rev, c.path) + "?" + url.Values{"cursor": {entries[pageFiles-1].Cursor()}}.Encode()
	}
	infos, err := c.s.blobInfo(&c.repo, entries)
	if err != nil {
		return err
	}
	slices.SortStableFunc(entries, func(a, b gitrepo.Entry) int { return boolInt(b.Dir) - boolInt(a.Dir) })
	for _, e := range entries {
		line := view.Entry{Name: path.Base(e.Path), Dir: e.Dir, Href: c.at("tree", c.rev, e.Path)}
		if !e.Dir {
			line.Href, line.Download = c.at("blob", c.rev, e.Path), c.at("resolve", c.rev, e.Path)
			line.Size = sizeText(infos[e.Hash.String()].Size)
			line.MayRun = pickle.MayRun(e.Path)
		}
		page.Entries = append(page.Entries, line)
	}
	return c.show(http.StatusOK, view.FolderPage(page))
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// filePage shows one file: text, or the tensors of a safetensors file.
func (c *call) filePage() error {
	e, info, err := c.fileEntry()
	if err != nil {
		return err
	}
	page := view.File{
		Page: c.newPage(path.Join(c.repo.FullName(), c.path)), Repo: c.repoHead(nil), Path: c.trail(c.rev, c.path),
		Download: c.at("resolve", c.rev, c.path),
		Facts:    []view.Fact{{Term: "Size", Value: sizeText(info.Size)}},
	}
	if pickle.MayRun(c.path) {
		page.Warning = "Loading this file in Python may run code that it holds: do so only if you trust who made it, and prefer safetensors."
	}
	switch {
	case info.SHA != "":
		page.Facts = append(page.Facts, view.Fact{Term: "sha256", Value: info.SHA})
		page.Note = "A large file, kept beside the commits."
		if strings.HasSuffix(c.path, ".safetensors") {
			page.Tensors, page.Note = c.tensors(info.SHA)
		}
	case info.Size > pageText:
		page.Note = "The file is too long to be shown here."
	default:
		data, err := c.git().ReadBlob(e.Hash, pageText)
		if err != nil {
			return err
		}
		if utf8.Valid(data) && !bytes.ContainsRune(data, 0) {
			page.Text = string(data)
		} else {
			page.Note = "The file is not text."
		}
	}
	return c.show(http.StatusOK, view.FilePage(page))
}

// historyPage lists the commits behind a revision.
func (c *call) historyPage() error {
	from, err := c.commit()
	if err != nil {
		return err
	}
	limit, skip := c.page(pageCommits)
	commits, total, err := c.git().Log(from, skip, limit)
	if err != nil {
		return err
	}
	page := view.History{Page: c.newPage("History of " + c.repo.FullName()), Repo: c.repoHead(nil)}
	for _, commit := range commits {
		id := commit.ID.String()
		page.Commits = append(page.Commits, view.Commit{
			ID: id, Short: id[:7], Title: cmp.Or(commit.Title(), "(no title)"), Author: commit.Author.Name,
			When: commit.Author.When.UTC().Format("2 January 2006, 15:04 UTC"), Href: c.at("tree", id, ""),
		})
	}
	if skip+len(commits) < total {
		page.Next = c.pageLink(skip/limit + 1)
	}
	return c.show(http.StatusOK, view.HistoryPage(page))
}
