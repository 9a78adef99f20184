package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Entry is a file or a folder of a commit.
type Entry struct {
	Type string `json:"type"` // "file" or "directory"
	OID  string `json:"oid"`  // git's id of the blob or tree
	Size int64  `json:"size"` // bytes of the content, also for LFS
	Path string `json:"path"`
	LFS  *LFS   `json:"lfs,omitempty"`
}

// LFS is what a pointer file says.
type LFS struct {
	OID         string `json:"oid"` // sha256 of the content
	Size        int64  `json:"size"`
	PointerSize int64  `json:"pointerSize"`
}

// Hash is the name of the content: sha256 for an LFS object, git's blob id else.
func (e Entry) Hash() string {
	if e.LFS != nil {
		return e.LFS.OID
	}
	return e.OID
}

// check refuses what no honest server says of a file.
func (e Entry) check() error {
	if err := checkPath(e.Path); err != nil {
		return err
	}
	if e.Size < 0 || e.LFS != nil && (e.LFS.Size < 0 || e.LFS.Size != e.Size) {
		return fmt.Errorf("file %q has sizes that are negative or differ", e.Path)
	}
	if e.Type == "file" && !isHash(e.Hash(), 40) && !isHash(e.Hash(), 64) {
		return fmt.Errorf("file %q has the hash %q, which is none", e.Path, e.Hash())
	}
	if e.LFS != nil && !isHash(e.LFS.OID, 64) {
		return fmt.Errorf("file %q has an LFS hash that is no sha256", e.Path)
	}
	return nil
}

// Tree lists the files of a folder ("" is the repository's) at a revision, and the
// folders in it unless recursive, which lists the files below them instead.
// Names that are unsafe as paths are an error.
func (c *Client) Tree(ctx context.Context, repo Repo, revision, folder string, recursive bool) ([]Entry, error) {
	if err := first(repo.Validate(), checkRevision(revision)); err != nil {
		return nil, err
	}
	address := repo.api() + "/tree/" + url.PathEscape(revision)
	if folder != "" {
		if err := checkPath(folder); err != nil {
			return nil, err
		}
		address += "/" + escapePath(folder)
	}
	all, err := pages[Entry](ctx, c, address+"?recursive="+strconv.FormatBool(recursive))
	if err != nil {
		return nil, fmt.Errorf("list files of %s at %s: %w", repo, revision, err)
	}
	entries := all[:0]
	for _, e := range all {
		if recursive && e.Type != "file" {
			continue
		}
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("list files of %s at %s: %w", repo, revision, err)
		}
		entries = append(entries, e)
	}
	if err := checkClashes(entries); err != nil {
		return nil, fmt.Errorf("list files of %s at %s: %w", repo, revision, err)
	}
	return entries, nil
}

// checkClashes refuses two entries of one name, and a file where others have a
// folder.
func checkClashes(entries []Entry) error {
	files := make(map[string]bool, len(entries))
	for _, e := range entries {
		if files[e.Path] {
			return fmt.Errorf("file %q is listed twice", e.Path)
		}
		files[e.Path] = e.Type == "file"
	}
	for _, e := range entries {
		for i, char := range e.Path {
			if char == '/' && files[e.Path[:i]] {
				return fmt.Errorf("%q is a file and the folder of %q", e.Path[:i], e.Path)
			}
		}
	}
	return nil
}

// PathsInfo describes the paths that exist at a revision; others are left out.
func (c *Client) PathsInfo(ctx context.Context, repo Repo, revision string, paths []string) ([]Entry, error) {
	if err := first(repo.Validate(), checkRevision(revision)); err != nil {
		return nil, err
	}
	var entries []Entry
	for len(paths) > 0 {
		n := min(len(paths), 1000)
		var some []Entry
		k := call{method: http.MethodPost, url: repo.api() + "/paths-info/" + url.PathEscape(revision), again: true}
		in := map[string]any{"paths": paths[:n], "expand": false}
		if err := c.api(ctx, k, in, &some); err != nil {
			return nil, fmt.Errorf("look up files of %s at %s: %w", repo, revision, err)
		}
		for _, e := range some {
			if err := e.check(); err != nil {
				return nil, fmt.Errorf("look up files of %s at %s: %w", repo, revision, err)
			}
		}
		entries, paths = append(entries, some...), paths[n:]
	}
	return entries, nil
}

// RepoInfo is what a hub says of a repository at a revision.
type RepoInfo struct {
	ID           string          `json:"id"`
	SHA          string          `json:"sha"` // the commit
	Author       string          `json:"author"`
	Private      bool            `json:"private"`
	Gated        any             `json:"gated"` // false, "auto" or "manual"
	Disabled     bool            `json:"disabled"`
	Downloads    int64           `json:"downloads"`
	Likes        int64           `json:"likes"`
	Tags         []string        `json:"tags"`
	CreatedAt    time.Time       `json:"createdAt"`
	LastModified time.Time       `json:"lastModified"`
	CardData     json.RawMessage `json:"cardData,omitempty"`
}

// Info asks for a repository at a revision; "" is the newest commit of the main
// branch.
func (c *Client) Info(ctx context.Context, repo Repo, revision string) (RepoInfo, error) {
	var info RepoInfo
	if err := repo.Validate(); err != nil {
		return info, err
	}
	address := repo.api()
	if revision != "" {
		if err := checkRevision(revision); err != nil {
			return info, err
		}
		address += "/revision/" + url.PathEscape(revision)
	}
	if err := c.api(ctx, call{method: http.MethodGet, url: address}, nil, &info); err != nil {
		return info, fmt.Errorf("look up %s: %w", repo, err)
	}
	return info, nil
}

// Commit id of a revision; a full commit id needs no question.
func (c *Client) commitOf(ctx context.Context, repo Repo, revision string) (string, error) {
	if err := first(repo.Validate(), checkRevision(revision)); err != nil {
		return "", err
	}
	if isCommit(revision) {
		return revision, nil
	}
	var info struct{ SHA string }
	k := call{method: http.MethodGet, url: repo.api() + "/revision/" + url.PathEscape(revision) + "?expand=sha", brief: true}
	if err := c.api(ctx, k, nil, &info); err != nil {
		return "", fmt.Errorf("look up revision %s of %s: %w", revision, repo, err)
	}
	if !isCommit(info.SHA) {
		return "", fmt.Errorf("look up revision %s of %s: the server names the commit %q, which is none", revision, repo, info.SHA)
	}
	return info.SHA, nil
}

// List asks for repositories of a type; search, author, filter and sort are as on
// the hub's page, "" leaves them out. limit 0 is all.
func (c *Client) List(ctx context.Context, kind string, query url.Values, limit int) ([]RepoInfo, error) {
	if err := (Repo{Type: kind, ID: "any"}).Validate(); err != nil {
		return nil, err
	}
	if query == nil {
		query = url.Values{}
	}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	list, err := pagesUpTo[RepoInfo](ctx, c, "/api/"+Repo{Type: kind}.kind()+"s?"+query.Encode(), limit)
	if err != nil {
		return nil, fmt.Errorf("list %ss: %w", Repo{Type: kind}.kind(), err)
	}
	return list, nil
}

// maxPages ends a list that a server never ends.
const maxPages = 10_000

// pages reads a list to its last page.
func pages[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	return pagesUpTo[T](ctx, c, path, 0)
}

// pagesUpTo reads a list until it has limit items; 0 is all.
func pagesUpTo[T any](ctx context.Context, c *Client, path string, limit int) ([]T, error) {
	var all []T
	address := c.base + path
	seen := map[string]bool{}
	for range maxPages {
		seen[address] = true
		resp, err := c.send(ctx, call{method: http.MethodGet, url: address})
		if err != nil {
			return nil, err
		}
		var page []T
		if err := c.decode(http.MethodGet, resp, &page); err != nil {
			return nil, err
		}
		all = append(all, page...)
		if limit > 0 && len(all) >= limit {
			return all[:limit], nil
		}
		link := nextLink(resp.Header.Values("Link"))
		if link == "" {
			return all, nil
		}
		next, err := c.here(resp.Request.URL, link)
		if err != nil {
			return nil, err
		}
		if address = next.String(); seen[address] {
			return nil, fmt.Errorf("GET %s: the pages of the list lead in a circle", c.shown(next))
		}
	}
	return nil, fmt.Errorf("GET %s: the list has more than %d pages", c.mask(bare(address)), maxPages)
}

// nextLink finds the address with rel="next" in Link headers (RFC 8288), "" if
// there is none.
func nextLink(headers []string) string {
	for _, h := range headers {
		for h != "" {
			_, rest, ok := strings.Cut(h, "<")
			if !ok {
				break
			}
			address, params, ok := strings.Cut(rest, ">")
			if !ok {
				break
			}
			var found bool
			found, h = relNext(params)
			if found {
				return strings.TrimSpace(address)
			}
		}
	}
	return ""
}

// relNext reads the parameters of one link, and returns what follows its comma.
func relNext(s string) (found bool, rest string) {
	for {
		s = strings.TrimLeft(s, " \t;")
		if s == "" || s[0] == ',' {
			return found, strings.TrimPrefix(s, ",")
		}
		end := strings.IndexAny(s, "=;,")
		if end < 0 {
			return found, ""
		}
		name := strings.TrimSpace(s[:end])
		if s[end] != '=' {
			s = s[end:]
			continue
		}
		var value string
		if s = strings.TrimLeft(s[end+1:], " \t"); strings.HasPrefix(s, `"`) {
			var ok bool
			if value, s, ok = strings.Cut(s[1:], `"`); !ok {
				return found, ""
			}
		} else {
			end = strings.IndexAny(s+",", ";,")
			value, s = strings.TrimSpace(s[:end]), s[end:]
		}
		for rel := range strings.FieldsSeq(value) {
			found = found || strings.EqualFold(name, "rel") && strings.EqualFold(rel, "next")
		}
	}
}
