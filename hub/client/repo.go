package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// User is who a token belongs to.
type User struct {
	Type          string `json:"type"` // "user" or "org"
	ID            string `json:"id"`
	Name          string `json:"name"`
	FullName      string `json:"fullname"`
	Email         string `json:"email,omitempty"`
	EmailVerified bool   `json:"emailVerified"`
	IsPro         bool   `json:"isPro"`
	Orgs          []struct {
		Name      string `json:"name"`
		RoleInOrg string `json:"roleInOrg"`
	} `json:"orgs"`
	Auth struct {
		Type        string `json:"type"`
		AccessToken struct {
			DisplayName string `json:"displayName"`
			Role        string `json:"role"` // read, write or fineGrained
		} `json:"accessToken"`
	} `json:"auth"`
}

// Whoami asks who the token belongs to.
func (c *Client) Whoami(ctx context.Context) (User, error) {
	var u User
	if err := c.api(ctx, call{method: http.MethodGet, url: "/api/whoami-v2"}, nil, &u); err != nil {
		return u, fmt.Errorf("ask who the token belongs to: %w", err)
	}
	return u, nil
}

// Setting is a secret or variable of a Space.
type Setting struct {
	Key         string    `json:"key"`
	Value       string    `json:"value,omitempty"` // never shown of a secret
	Description string    `json:"description,omitempty"`
	UpdatedAt   time.Time `json:"updatedAt,omitzero"`
}

// CreateOptions says how a repository begins.
type CreateOptions struct {
	Private   bool
	ExistOK   bool      // one that exists already is not an error, and stays as it is
	SDK       string    // of a Space, needed there: docker, static or gradio
	Hardware  string    // of a Space; "" is the free one
	Secrets   []Setting // of a Space
	Variables []Setting // of a Space
}

// CreateRepo makes a repository and returns the address of its page. A bare id is
// made in the user's own namespace.
func (c *Client) CreateRepo(ctx context.Context, repo Repo, o CreateOptions) (address string, err error) {
	if err := repo.Validate(); err != nil {
		return "", err
	}
	namespace, name := repo.split()
	visibility := "public"
	if o.Private {
		visibility = "private"
	}
	in := map[string]any{"name": name, "organization": nil, "type": repo.kind(), "visibility": visibility, "private": o.Private}
	if namespace != "" {
		in["organization"] = namespace
	}
	if repo.kind() == Space {
		if o.SDK == "" {
			return "", fmt.Errorf("create %s: a Space needs an SDK: docker, static or gradio", repo)
		}
		in["sdk"] = o.SDK
		for key, value := range map[string]any{"secrets": o.Secrets, "variables": o.Variables, "hardware": o.Hardware} {
			switch v := value.(type) {
			case []Setting:
				if len(v) > 0 {
					in[key] = v
				}
			case string:
				if v != "" {
					in[key] = v
				}
			}
		}
	}
	var out struct{ URL string }
	err = c.api(ctx, call{method: http.MethodPost, url: "/api/repos/create"}, in, &out)
	var answer *Error
	switch {
	case err == nil:
		return out.URL, nil
	case !o.ExistOK || !errors.As(err, &answer):
	case answer.Status == http.StatusConflict && answer.url != "":
		return answer.url, nil
	case answer.Status == http.StatusConflict, answer.Kind == ErrForbidden, answer.Kind == ErrPayment:
		// a token may be allowed to write to a repository and not to make one
		if info, infoErr := c.Info(ctx, repo, ""); infoErr == nil {
			return c.base + "/" + Repo{Type: repo.Type, ID: info.ID}.String(), nil
		}
	}
	return "", fmt.Errorf("create %s: %w", repo, err)
}

// DeleteRepo deletes a repository for good.
func (c *Client) DeleteRepo(ctx context.Context, repo Repo) error {
	if err := repo.Validate(); err != nil {
		return err
	}
	namespace, name := repo.split()
	in := map[string]any{"name": name, "type": repo.kind(), "organization": nil}
	if namespace != "" {
		in["organization"] = namespace
	}
	if err := c.api(ctx, call{method: http.MethodDelete, url: "/api/repos/delete"}, in, nil); err != nil {
		return fmt.Errorf("delete %s: %w", repo, err)
	}
	return nil
}

// MoveRepo renames a repository, or gives it to another namespace.
func (c *Client) MoveRepo(ctx context.Context, repo Repo, to string) error {
	if err := first(repo.Validate(), Repo{Type: repo.Type, ID: to}.Validate()); err != nil {
		return err
	}
	in := map[string]any{"fromRepo": repo.ID, "toRepo": to, "type": repo.kind()}
	if err := c.api(ctx, call{method: http.MethodPost, url: "/api/repos/move"}, in, nil); err != nil {
		return fmt.Errorf("move %s to %s: %w", repo, to, err)
	}
	return nil
}

// Duplicate copies a repository on the hub and returns the address of the copy.
func (c *Client) Duplicate(ctx context.Context, repo Repo, to string, private bool) (string, error) {
	if err := first(repo.Validate(), Repo{Type: repo.Type, ID: to}.Validate()); err != nil {
		return "", err
	}
	var out struct{ URL string }
	in := map[string]any{"repository": to, "private": private}
	if err := c.api(ctx, call{method: http.MethodPost, url: repo.api() + "/duplicate"}, in, &out); err != nil {
		return "", fmt.Errorf("copy %s to %s: %w", repo, to, err)
	}
	return out.URL, nil
}

// RepoSettings are the settings to change; nil and "" leave one as it is.
type RepoSettings struct {
	Private *bool
	Gated   string // "none", "auto" or "manual"
}

// SetRepo changes settings of a repository.
func (c *Client) SetRepo(ctx context.Context, repo Repo, s RepoSettings) error {
	if err := repo.Validate(); err != nil {
		return err
	}
	in := map[string]any{}
	if s.Private != nil {
		in["private"] = *s.Private
		in["visibility"] = map[bool]string{true: "private", false: "public"}[*s.Private]
	}
	switch s.Gated {
	case "":
	case "none":
		in["gated"] = false
	case "auto", "manual":
		in["gated"] = s.Gated
	default:
		return fmt.Errorf("gated is %q, use none, auto or manual", s.Gated)
	}
	if err := c.api(ctx, call{method: http.MethodPut, url: repo.api() + "/settings"}, in, nil); err != nil {
		return fmt.Errorf("change settings of %s: %w", repo, err)
	}
	return nil
}

// Ref is a branch, tag or pull request.
type Ref struct {
	Name   string `json:"name"`
	Ref    string `json:"ref"` // refs/heads/main
	Commit string `json:"targetCommit"`
}

// Refs are all refs of a repository.
type Refs struct {
	Branches     []Ref `json:"branches"`
	Tags         []Ref `json:"tags"`
	PullRequests []Ref `json:"pullRequests"`
}

// Refs lists branches, tags and pull requests.
func (c *Client) Refs(ctx context.Context, repo Repo) (Refs, error) {
	var refs Refs
	if err := repo.Validate(); err != nil {
		return refs, err
	}
	if err := c.api(ctx, call{method: http.MethodGet, url: repo.api() + "/refs?include_prs=1"}, nil, &refs); err != nil {
		return refs, fmt.Errorf("list refs of %s: %w", repo, err)
	}
	return refs, nil
}

// CreateBranch makes a branch at a revision; "" is the head of main.
func (c *Client) CreateBranch(ctx context.Context, repo Repo, branch, revision string) error {
	in := map[string]any{}
	if revision != "" {
		in["startingPoint"] = revision
	}
	return c.onRef(ctx, repo, "create branch", http.MethodPost, "/branch/", branch, in)
}

// DeleteBranch deletes a branch.
func (c *Client) DeleteBranch(ctx context.Context, repo Repo, branch string) error {
	return c.onRef(ctx, repo, "delete branch", http.MethodDelete, "/branch/", branch, nil)
}

// CreateTag names a revision; "" is the head of main.
func (c *Client) CreateTag(ctx context.Context, repo Repo, tag, revision, message string) error {
	if err := checkRevision(tag); err != nil {
		return err
	}
	if revision == "" {
		revision = "main"
	}
	return c.onRef(ctx, repo, "create tag "+tag+" at", http.MethodPost, "/tag/", revision, map[string]any{"tag": tag, "message": message})
}

// DeleteTag deletes a tag.
func (c *Client) DeleteTag(ctx context.Context, repo Repo, tag string) error {
	return c.onRef(ctx, repo, "delete tag", http.MethodDelete, "/tag/", tag, nil)
}

// SuperSquash makes one commit of a branch's whole history.
func (c *Client) SuperSquash(ctx context.Context, repo Repo, branch, message string) error {
	in := map[string]any{}
	if message != "" {
		in["message"] = message
	}
	return c.onRef(ctx, repo, "squash", http.MethodPost, "/super-squash/", branch, in)
}

// onRef sends a call about a ref.
func (c *Client) onRef(ctx context.Context, repo Repo, what, method, path, ref string, in any) error {
	if err := first(repo.Validate(), checkRevision(ref)); err != nil {
		return err
	}
	if err := c.api(ctx, call{method: method, url: repo.api() + path + url.PathEscape(ref)}, in, nil); err != nil {
		return fmt.Errorf("%s %s of %s: %w", what, ref, repo, err)
	}
	return nil
}

// CommitInfo is a commit of a history.
type CommitInfo struct {
	ID      string    `json:"id"`
	Title   string    `json:"title"`
	Message string    `json:"message"`
	Date    time.Time `json:"date"`
	Authors []struct {
		User string `json:"user"`
	} `json:"authors"`
}

// Commits lists the history of a revision, newest first; limit 0 is all.
func (c *Client) Commits(ctx context.Context, repo Repo, revision string, limit int) ([]CommitInfo, error) {
	if revision == "" {
		revision = "main"
	}
	if err := first(repo.Validate(), checkRevision(revision)); err != nil {
		return nil, err
	}
	path := repo.api() + "/commits/" + url.PathEscape(revision)
	if limit > 0 {
		path += "?limit=" + strconv.Itoa(limit)
	}
	list, err := pagesUpTo[CommitInfo](ctx, c, path, limit)
	if err != nil {
		return nil, fmt.Errorf("list commits of %s: %w", repo, err)
	}
	return list, nil
}

// ValidateCard asks the hub whether a README is a valid card of a repository type.
// Its warnings are logged; its errors are one error.
func (c *Client) ValidateCard(ctx context.Context, kind string, content []byte) error {
	type message struct{ Message string }
	var out struct{ Errors, Warnings []message }
	in := map[string]any{"content": string(content), "repoType": Repo{Type: kind}.kind()}
	err := c.api(ctx, call{method: http.MethodPost, url: "/api/validate-yaml", again: true}, in, &out)
	if err != nil {
		return fmt.Errorf("check README.md: %w", err)
	}
	for _, w := range out.Warnings {
		c.log.Warn("the hub warns of README.md", "message", c.mask(w.Message))
	}
	var faults []string
	for _, e := range out.Errors {
		faults = append(faults, c.mask(e.Message))
	}
	if len(faults) > 0 {
		return fmt.Errorf("check README.md: %s", strings.Join(faults, "; "))
	}
	return nil
}
