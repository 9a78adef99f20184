package server

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/lfs"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// postCommit makes a commit of the lines of the body, on a branch or as a new
// pull request.
func (c *call) postCommit() error {
	asPR := c.r.URL.Query().Get("create_pr") == "1"
	ref, err := c.commitRef(asPR || c.ownPR(c.rev))
	if err != nil {
		return err
	}
	w := c.git().NewWriter()
	defer w.Abort()
	body, err := c.readCommit(w)
	if err != nil {
		return err
	}
	if asPR {
		return c.commitPR(ref, w, body)
	}
	id, err := c.s.commitTo(&c.repo, ref, w, body, c.author())
	if err != nil {
		return err
	}
	return c.committed(id, body, nil)
}

// warnAlike tells the client of new files that some systems cannot keep side by side.
// The commit is made, so nothing that goes wrong here is an error of it.
func (c *call) warnAlike(id gitrepo.Hash, body *commitBody) {
	var paths []string
	for _, change := range body.changes {
		if !change.Blob.IsZero() {
			paths = append(paths, change.Path)
		}
	}
	pairs, err := c.git().Alike(id, paths, 1)
	if err != nil {
		c.s.log.Warn("look for names that are alike", "request", c.id, "error", err)
	}
	if len(pairs) > 0 {
		c.w.Header().Set("X-HF-Warning", "names; "+alikeText(pairs[0]))
	}
}

// alikeText says in ASCII what is wrong with two names.
func alikeText(pair [2]string) string {
	return fmt.Sprintf("%+q and %+q differ only in case or Unicode form: on macOS and Windows one replaces the other, so rename one of them", pair[0], pair[1])
}

// commitRef is the branch or pull request that the request names, after a look
// at whether the caller may commit there.
func (c *call) commitRef(asPR bool) (string, error) {
	if err := c.s.needCommit(c.caller, &c.repo, asPR); err != nil {
		return "", err
	}
	_, ref, err := c.git().Resolve(c.rev)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(ref, "refs/heads/") && !strings.HasPrefix(ref, "refs/pr/") {
		return "", fmt.Errorf("%w: %s", gitrepo.ErrRevision, c.rev)
	}
	return ref, nil
}

// needCommit lets anybody propose a change whose token may write here, and writers
// make one.
func (s *Server) needCommit(who caller, r *meta.Repo, asPR bool) error {
	if !asPR {
		return s.need(who, r, writer)
	}
	if err := mayAct(who, r); err != nil {
		return err
	}
	return s.gate(who, r, s.level(who, r))
}

// commitBody is what a commit is to change.
type commitBody struct {
	summary, description, parent string
	changes                      []gitrepo.Change
	infos                        map[string]meta.BlobInfo
}

func (b *commitBody) message() string {
	message := strings.TrimSpace(b.summary)
	if message == "" {
		message = "Update files"
	}
	if d := strings.TrimSpace(b.description); d != "" {
		message += "\n\n" + d
	}
	return message
}

// readCommit reads the lines of the body and puts files into w as they come.
func (c *call) readCommit(w *gitrepo.Writer) (*commitBody, error) {
	body := &commitBody{infos: map[string]meta.BlobInfo{}}
	lines := &lineReader{in: bufio.NewReaderSize(c.r.Body, 64<<10), dir: filepath.Join(c.s.cfg.Dir, "lfs", "temp"), turn: c.s.bigLine, left: maxCommit}
	defer lines.done()
	first := true
	for ; ; first = false {
		text, err := lines.next(c.r.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line, err := parseCommitLine(text)
		if err != nil {
			return nil, err
		}
		if first != (line.Key == "header") {
			return nil, badRequest("Bad request for commit endpoint: the header must be the first line and the only one of its kind")
		}
		if err := c.takeLine(w, body, line); err != nil {
			return nil, err
		}
		lines.done()
	}
	if first {
		return nil, badRequest("Bad request for commit endpoint: the body is empty")
	}
	return body, nil
}

func (c *call) takeLine(w *gitrepo.Writer, body *commitBody, line *commitLine) error {
	v := &line.Value
	change := gitrepo.Change{Path: v.Path}
	switch line.Key {
	case "header":
		body.summary, body.description, body.parent = v.Summary, v.Description, v.ParentCommit
		return nil
	case "deletedFile", "deletedFolder":
		change.Folder = line.Key == "deletedFolder"
		body.changes = append(body.changes, change)
		return nil
	}
	data, err := c.lineBlob(line)
	if err != nil {
		return err
	}
	if change.Blob, err = w.Blob(data); err != nil {
		return err
	}
	body.infos[change.Blob.String()] = infoOf(data)
	body.changes = append(body.changes, change)
	return nil
}

// lineBlob gives what git keeps for a line: the file, or a pointer to a large
// one that this repo holds.
func (c *call) lineBlob(line *commitLine) ([]byte, error) {
	v := &line.Value
	if line.Key == "lfsFile" {
		size, err := c.s.HasLFS(c.repo.ID, v.OID)
		if errors.Is(err, lfs.ErrNotFound) {
			return nil, invalid("The large file of %s was not sent to this repo: send it first", v.Path)
		}
		if err != nil {
			return nil, err
		}
		if v.Size != nil && *v.Size != size {
			return nil, invalid("%s has %d bytes, not %d", v.Path, size, *v.Size)
		}
		return lfs.Pointer{SHA256: v.OID, Size: size}.Text(), nil
	}
	data, err := line.bytes()
	if err != nil {
		return nil, err
	}
	if p, ok := lfs.ParsePointer(data); ok {
		if size, err := c.s.HasLFS(c.repo.ID, p.SHA256); err != nil || size != p.Size {
			return nil, invalid("%s points to a large file that was not sent to this repo", v.Path)
		}
	}
	if len(data) <= maxRegular {
		return data, nil
	}
	sha := sha256Hex(data)
	if err := c.s.PutLFS(c.r.Context(), c.repo.ID, sha, int64(len(data)), bytes.NewReader(data)); err != nil {
		return nil, err
	}
	return lfs.Pointer{SHA256: sha, Size: int64(len(data))}.Text(), nil
}

// commitTo makes a commit on a ref and moves the ref, and gives the id. A commit
// that changes nothing is not made: a client whose answer was lost may send again.
func (s *Server) commitTo(r *meta.Repo, ref string, w *gitrepo.Writer, body *commitBody, author gitrepo.Author) (gitrepo.Hash, error) {
	st := s.state(r.ID)
	st.commit.Lock()
	defer st.commit.Unlock()
	s.writes.RLock()
	defer s.writes.RUnlock()
	at, err := st.git.Ref(ref)
	if err != nil {
		return gitrepo.Hash{}, err
	}
	if !strings.HasPrefix(at.Commit.String(), body.parent) {
		return gitrepo.Hash{}, errStale
	}
	if err := s.holdAll(r.ID, body.infos); err != nil {
		return gitrepo.Hash{}, err
	}
	id, err := makeCommit(st.git, w, at.Commit, body, author)
	if err != nil || id == at.Commit {
		return id, err
	}
	if err := s.db.PutBlobs(r.ID, body.infos); err != nil {
		return id, err
	}
	if err := st.git.SetRef(ref, at.Target, id); err != nil {
		return id, err
	}
	return id, s.touched(r.ID)
}

// makeCommit stores a commit on a parent without moving any ref.
func makeCommit(g *gitrepo.Repo, w *gitrepo.Writer, parent gitrepo.Hash, body *commitBody, author gitrepo.Author) (gitrepo.Hash, error) {
	before, err := g.Commit(parent)
	if err != nil {
		return parent, err
	}
	tree, err := g.Edit(w, parent, body.changes)
	if err != nil || tree == before.Tree {
		return parent, err
	}
	id, err := g.NewCommit(w, tree, []gitrepo.Hash{parent}, author, body.message())
	if err != nil {
		return parent, err
	}
	return id, w.Flush()
}

// touched notes that a repo has changed.
func (s *Server) touched(id string) error {
	_, err := s.db.UpdateRepo(id, func(r *meta.Repo) error {
		r.Modified = time.Now().UTC()
		return nil
	})
	return err
}

// commitPR makes a commit as a new pull request.
func (c *call) commitPR(ref string, w *gitrepo.Writer, body *commitBody) error {
	if !strings.HasPrefix(ref, "refs/heads/") {
		return fmt.Errorf("%w: %s", gitrepo.ErrRevision, c.rev)
	}
	from := c.rev
	if body.parent != "" {
		from = body.parent
	}
	c.s.writes.RLock()
	defer c.s.writes.RUnlock()
	base, _, err := c.git().Resolve(from)
	if err == nil {
		err = c.s.holdAll(c.repo.ID, body.infos)
	}
	if err != nil {
		return err
	}
	id, err := makeCommit(c.git(), w, base, body, c.author())
	if err != nil {
		return err
	}
	if err := c.s.db.PutBlobs(c.repo.ID, body.infos); err != nil {
		return err
	}
	title := strings.TrimSpace(body.summary)
	d, err := c.s.openPR(&c.repo, c.user.Name, title, body.description, ref, id, meta.StatusOpen)
	if err != nil {
		return err
	}
	return c.committed(id, body, &d)
}

func (c *call) committed(id gitrepo.Hash, body *commitBody, pr *meta.Discussion) error {
	c.warnAlike(id, body)
	at := c.s.base(c.r) + "/" + c.repo.Path()
	answer := map[string]any{"success": true, "commitOid": id.String(), "commitUrl": at + "/commit/" + id.String(),
		"pullRequestUrl": nil, "hookOutput": ""}
	if pr != nil {
		answer["pullRequestUrl"] = fmt.Sprintf("%s/discussions/%d", at, pr.Num)
	}
	return c.json(answer)
}
