package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Discussion is a thread of a repository, which may be a pull request.
type Discussion struct {
	Num         int       `json:"num"`
	Title       string    `json:"title"`
	Status      string    `json:"status"` // draft, open, closed or merged
	PullRequest bool      `json:"isPullRequest"`
	CreatedAt   time.Time `json:"createdAt"`
	Author      struct {
		Name string `json:"name"`
	} `json:"author"`
	Events []DiscussionEvent `json:"events,omitempty"`
	Diff   string            `json:"diff,omitempty"` // of a pull request, when one is asked for
}

// DiscussionEvent is a comment or a change of a thread.
type DiscussionEvent struct {
	ID        string         `json:"id"`
	Type      string         `json:"type"`
	CreatedAt time.Time      `json:"createdAt"`
	Data      map[string]any `json:"data"`
}

// discussion is the path of a thread's calls.
func (r Repo) discussion(num int) string {
	return r.api() + "/discussions/" + strconv.Itoa(num)
}

// Discussions lists threads; status is all, open or closed ("" is all).
func (c *Client) Discussions(ctx context.Context, repo Repo, status string) ([]Discussion, error) {
	if err := repo.Validate(); err != nil {
		return nil, err
	}
	if status == "" {
		status = "all"
	}
	var all []Discussion
	for page := range maxPages {
		var out struct {
			Discussions []Discussion
			Count       int
		}
		path := fmt.Sprintf("%s/discussions?p=%d&type=all&status=%s", repo.api(), page, url.QueryEscape(status))
		if err := c.api(ctx, call{method: http.MethodGet, url: path}, nil, &out); err != nil {
			return nil, fmt.Errorf("list discussions of %s: %w", repo, err)
		}
		all = append(all, out.Discussions...)
		if len(out.Discussions) == 0 || len(all) >= out.Count {
			break
		}
	}
	return all, nil
}

// Discussion shows one thread with its events, and the diff of a pull request.
func (c *Client) Discussion(ctx context.Context, repo Repo, num int) (Discussion, error) {
	var d Discussion
	if err := repo.Validate(); err != nil {
		return d, err
	}
	if err := c.api(ctx, call{method: http.MethodGet, url: repo.discussion(num) + "?diff=1"}, nil, &d); err != nil {
		return d, fmt.Errorf("look up discussion %d of %s: %w", num, repo, err)
	}
	return d, nil
}

// CreateDiscussion begins a thread, or a pull request without commits; upload to
// revision refs/pr/N gives it some. It returns N.
func (c *Client) CreateDiscussion(ctx context.Context, repo Repo, title, description string, asPR bool) (num int, err error) {
	if err := repo.Validate(); err != nil {
		return 0, err
	}
	var out struct{ Num int }
	in := map[string]any{"title": title, "description": description, "pullRequest": asPR}
	if err := c.api(ctx, call{method: http.MethodPost, url: repo.api() + "/discussions"}, in, &out); err != nil {
		return 0, fmt.Errorf("begin a discussion of %s: %w", repo, err)
	}
	return out.Num, nil
}

// Comment adds a comment to a thread.
func (c *Client) Comment(ctx context.Context, repo Repo, num int, text string) error {
	return c.onDiscussion(ctx, repo, num, "comment", map[string]any{"comment": text})
}

// Retitle changes the title of a thread.
func (c *Client) Retitle(ctx context.Context, repo Repo, num int, title string) error {
	return c.onDiscussion(ctx, repo, num, "title", map[string]any{"title": title})
}

// SetStatus opens or closes a thread: status is open or closed.
func (c *Client) SetStatus(ctx context.Context, repo Repo, num int, status, comment string) error {
	if status != "open" && status != "closed" {
		return fmt.Errorf("status is %q, use open or closed", status)
	}
	in := map[string]any{"status": status}
	if comment != "" {
		in["comment"] = comment
	}
	return c.onDiscussion(ctx, repo, num, "status", in)
}

// Merge merges a pull request.
func (c *Client) Merge(ctx context.Context, repo Repo, num int, comment string) error {
	in := map[string]any{}
	if comment != "" {
		in["comment"] = comment
	}
	return c.onDiscussion(ctx, repo, num, "merge", in)
}

func (c *Client) onDiscussion(ctx context.Context, repo Repo, num int, verb string, in any) error {
	if err := repo.Validate(); err != nil {
		return err
	}
	if err := c.api(ctx, call{method: http.MethodPost, url: repo.discussion(num) + "/" + verb}, in, nil); err != nil {
		return fmt.Errorf("%s of discussion %d of %s: %w", verb, num, repo, err)
	}
	return nil
}
