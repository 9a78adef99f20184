package server

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/lfs"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// whoami says who the token belongs to.
func (c *call) whoami() error {
	orgs, roles, err := c.s.db.Orgs(c.user.Name)
	if err != nil {
		return err
	}
	list := []map[string]any{}
	for i, org := range orgs {
		list = append(list, map[string]any{"type": "org", "id": org.ID, "name": org.Name, "fullname": org.Fullname,
			"email": nil, "avatarUrl": "", "roleInOrg": roles[i], "isEnterprise": false, "canPay": false, "periodEnd": nil})
	}
	return c.json(map[string]any{
		"type": "user", "id": c.user.ID, "name": c.user.Name, "fullname": c.user.Fullname, "email": c.user.Email,
		"emailVerified": true, "isPro": false, "canPay": false, "periodEnd": nil, "avatarUrl": "", "orgs": list,
		"auth": map[string]any{"type": "access_token", "accessToken": map[string]any{
			"displayName": c.token.Label, "role": c.token.Kind, "createdAt": stamp(c.token.Created)}},
	})
}

// stamp is a time as the Hub writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

type createRequest struct {
	Name         string        `json:"name"`
	Organization *string       `json:"organization"`
	Type         string        `json:"type"`
	Visibility   string        `json:"visibility"`
	Private      bool          `json:"private"`
	SDK          string        `json:"sdk"`
	License      string        `json:"license"`
	Hardware     string        `json:"hardware"`
	Sleep        int           `json:"sleepTimeSeconds"`
	Secrets      []keyValue    `json:"secrets"`
	Variables    []keyValue    `json:"variables"`
	Files        []createdFile `json:"files"`
}

type keyValue struct {
	Key         string `json:"key"`
	Value       string `json:"value"`
	Description string `json:"description"`
}

type createdFile struct {
	Path     string `json:"path"`
	Content  string `json:"content"`
	Encoding string `json:"encoding"`
}

// target gives namespace and name, which may stand in one field.
func (c *call) namespaced(name string, organization *string) (string, string, error) {
	namespace := c.user.Name
	if organization != nil && *organization != "" {
		namespace = *organization
	}
	if ns, rest, ok := strings.Cut(name, "/"); ok {
		namespace, name = ns, rest
	}
	if err := meta.CheckName(name); err != nil {
		return "", "", err
	}
	return namespace, name, meta.CheckName(namespace)
}

func kindOf(text string) (string, error) {
	switch text {
	case "", meta.Model:
		return meta.Model, nil
	case meta.Dataset, meta.Space:
		return text, nil
	}
	return "", badRequest("Invalid type of repo %q: use model, dataset or space", headerText(text))
}

func privacy(visibility string, private bool) (bool, error) {
	switch visibility {
	case "":
		return private, nil
	case "public":
		return false, nil
	case "private", "protected":
		return true, nil
	}
	return false, badRequest("Invalid visibility %q: use public or private", headerText(visibility))
}

// createRepo makes a repo with its first commit.
func (c *call) createRepo() error {
	var req createRequest
	if err := c.decode(&req, maxListBody); err != nil {
		return err
	}
	kind, err := kindOf(req.Type)
	if err != nil {
		return err
	}
	namespace, name, err := c.namespaced(req.Name, req.Organization)
	if err != nil {
		return err
	}
	private, err := privacy(req.Visibility, req.Private)
	if err != nil {
		return err
	}
	if !c.s.mayCreate(c.caller, namespace, kind, name) {
		return &Error{http.StatusForbidden, codeForbidden, fmt.Sprintf("You don't have the rights to create a %s under the namespace %q", kind, namespace)}
	}
	r := meta.Repo{Type: kind, Namespace: namespace, Name: name, Private: private}
	if kind == meta.Space {
		if !slices.Contains([]string{"docker", "static", "gradio", "streamlit"}, req.SDK) {
			return badRequest("Invalid sdk %q of a Space: use docker, static or gradio", headerText(req.SDK))
		}
		r.Space = newSpace(req)
	}
	files, err := firstFiles(req)
	if err != nil {
		return err
	}
	return c.addRepo(r, func(g *gitrepo.Repo) (map[string]int64, error) {
		return nil, c.firstCommit(g, files)
	})
}

// addRepo makes a repo whose commits fill writes, and answers with its address.
// fill gives the large files, with their sizes, that the repo holds from its start.
func (c *call) addRepo(r meta.Repo, fill func(*gitrepo.Repo) (map[string]int64, error)) error {
	c.s.writes.RLock()
	defer c.s.writes.RUnlock()
	made, err := c.s.db.AddRepo(r, func(r meta.Repo) (map[string]int64, error) {
		g, err := gitrepo.Init(c.s.gitDir(r.ID), gitrepo.Options{Fault: c.s.cfg.Fault})
		if err != nil {
			return nil, err
		}
		large, err := fill(g)
		if err != nil {
			os.RemoveAll(g.Dir())
		}
		return large, err
	})
	answer := map[string]any{"url": c.s.base(c.r) + "/" + made.Path(), "name": made.FullName(), "id": made.ID}
	if errors.Is(err, meta.ErrExists) {
		// Clients read the address from this answer too.
		message := fmt.Sprintf("You already created this %s repo: %s", r.Type, r.FullName())
		c.w.Header().Set("X-Error-Code", codeConflict)
		c.w.Header().Set("X-Error-Message", message)
		answer["error"] = message
		return c.jsonStatus(http.StatusConflict, answer)
	}
	if err != nil {
		return err
	}
	return c.json(answer)
}

// firstFiles are those of the first commit: .gitattributes, and what the client sent.
func firstFiles(req createRequest) (map[string][]byte, error) {
	files := map[string][]byte{".gitattributes": []byte(defaultAttributes())}
	if req.License != "" {
		files["README.md"] = fmt.Appendf(nil, "---\nlicense: %s\n---\n", strings.TrimSpace(headerText(req.License)))
	}
	if req.Type == meta.Space {
		files["README.md"] = fmt.Appendf(nil, "---\ntitle: %s\nsdk: %s\n---\n", req.Name, req.SDK)
	}
	for _, f := range req.Files {
		if err := gitrepo.CheckPath(f.Path); err != nil {
			return nil, err
		}
		data := []byte(f.Content)
		if f.Encoding == "base64" {
			decoded, err := base64.StdEncoding.DecodeString(f.Content)
			if err != nil {
				return nil, badRequest("The content of %s is not base64", f.Path)
			}
			data = decoded
		}
		if _, ok := lfs.ParsePointer(data); ok {
			return nil, invalid("%s points to a large file, and a repo that is not there yet holds none: commit it after you sent the file", f.Path)
		}
		if len(data) > maxRegular {
			return nil, invalid("%s has %d bytes: commit files above 10 MiB to the repo once it is there", f.Path, len(data))
		}
		files[f.Path] = data
	}
	return files, nil
}

// firstCommit puts files into a new repo.
func (c *call) firstCommit(g *gitrepo.Repo, files map[string][]byte) error {
	w := g.NewWriter()
	defer w.Abort()
	var changes []gitrepo.Change
	for path, data := range files {
		h, err := w.Blob(data)
		if err != nil {
			return err
		}
		changes = append(changes, gitrepo.Change{Path: path, Blob: h})
	}
	tree, err := g.Edit(w, gitrepo.Hash{}, changes)
	if err != nil {
		return err
	}
	h, err := g.NewCommit(w, tree, nil, c.author(), "initial commit")
	if err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return g.SetRef("refs/heads/"+gitrepo.DefaultBranch, gitrepo.Hash{}, h)
}

// author is the caller as the author of a commit made now.
func (c *call) author() gitrepo.Author {
	email := c.user.Email
	if email == "" {
		email = strings.ToLower(c.user.Name) + "@users.noreply.hub.invalid"
	}
	return gitrepo.Author{Name: c.user.Name, Email: email, When: time.Now().UTC()}
}

// named finds the repo that a body names, by its present name.
func (c *call) named(kind, name string, organization *string, need access) (meta.Repo, error) {
	kind, err := kindOf(kind)
	if err != nil {
		return meta.Repo{}, err
	}
	namespace, name, err := c.namespaced(name, organization)
	if err != nil {
		return meta.Repo{}, err
	}
	return c.s.repoFor(c.caller, kind, namespace, name, need)
}

// deleteRepo removes a repo and what only it held.
func (c *call) deleteRepo() error {
	var req struct {
		Name         string  `json:"name"`
		Organization *string `json:"organization"`
		Type         string  `json:"type"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	r, err := c.named(req.Type, req.Name, req.Organization, owner)
	if err != nil {
		return err
	}
	if err := c.s.removeRepo(r.ID); err != nil {
		return err
	}
	return c.ok()
}

// removeRepo forgets a repo first and removes its files then: a process killed
// between leaves files that nothing names, which fsck shows.
func (s *Server) removeRepo(id string) error {
	s.writes.Lock()
	orphans, err := s.db.DeleteRepo(id)
	for _, sha := range orphans {
		err = errors.Join(err, s.lfs.Remove(sha))
	}
	s.writes.Unlock()
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.repos, id)
	s.mu.Unlock()
	if err := os.RemoveAll(s.gitDir(id)); err != nil {
		return fmt.Errorf("remove repository: %w", err)
	}
	return nil
}

// moveRepo gives a repo another name or owner.
func (c *call) moveRepo() error {
	var req struct{ FromRepo, ToRepo, Type string }
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	r, err := c.named(req.Type, req.FromRepo, nil, owner)
	if err != nil {
		return err
	}
	namespace, name, err := c.namespaced(req.ToRepo, nil)
	if err != nil {
		return err
	}
	if !c.s.mayCreate(c.caller, namespace, r.Type, name) {
		return &Error{http.StatusForbidden, codeForbidden, fmt.Sprintf("You don't have the rights to move a repo to the namespace %q", namespace)}
	}
	c.s.writes.RLock()
	defer c.s.writes.RUnlock()
	moved, err := c.s.db.MoveRepo(r.ID, namespace, name)
	if errors.Is(err, meta.ErrExists) {
		return conflict("A %s repository called %s/%s already exists", r.Type, namespace, name)
	}
	if err != nil {
		return err
	}
	return c.json(map[string]any{"url": c.s.base(c.r) + "/" + moved.Path(), "name": moved.FullName()})
}

// settings changes who may see a repo.
func (c *call) settings() error {
	var req struct {
		Private    *bool  `json:"private"`
		Visibility string `json:"visibility"`
		Gated      any    `json:"gated"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	private := c.repo.Private
	if req.Private != nil {
		private = *req.Private
	}
	private, err := privacy(req.Visibility, private)
	if err != nil {
		return err
	}
	gated := c.repo.Gated
	switch req.Gated {
	case nil:
	case false:
		gated = ""
	case "auto", "manual":
		gated = req.Gated.(string)
	default:
		return badRequest("Invalid value of gated: use false, \"auto\" or \"manual\"")
	}
	r, err := c.s.db.UpdateRepo(c.repo.ID, func(r *meta.Repo) error {
		r.Private, r.Gated = private, gated
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(map[string]any{"private": r.Private, "gated": gatedValue(&r)})
}

func gatedValue(r *meta.Repo) any {
	if r.Gated == "" {
		return false
	}
	return r.Gated
}
