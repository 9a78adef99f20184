package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/mirror"
)

// upstreamCursor begins the cursors of pages that another Hub makes: in lists they
// follow the repos that are here.
const upstreamCursor = "upstream:"

var listed = []string{"/api/models", "/api/datasets", "/api/spaces"}

// upstreamList answers a page of a list of repos as the other Hub does, without
// those that a repo here hides. While that Hub is gone, and for a page that it never
// made, the list ends.
func (c *call) upstreamList(token string) error {
	params := c.r.URL.Query()
	if cursor := strings.TrimPrefix(params.Get("cursor"), upstreamCursor); cursor != "" {
		params.Set("cursor", cursor)
	} else {
		params.Del("cursor")
	}
	q := mirror.Request{Before: "/" + strings.Join(c.parts, "/"), Query: params.Encode(), Token: token}
	a, err := c.s.mirror.JSON(c.r.Context(), q, c.s.base(c.r))
	if errors.Is(err, mirror.ErrUnreachable) {
		c.w.Header().Set("X-HF-Warning", "upstream; "+mirror.ErrUnreachable.Error())
		return c.json([]any{})
	}
	if err != nil {
		return c.upstreamError(err)
	}
	var repos []map[string]json.RawMessage
	if err := json.Unmarshal(a.Body, &repos); err != nil {
		return fmt.Errorf("read list of the upstream hub: %w", err)
	}
	repos = slices.DeleteFunc(repos, c.hides)
	if cursor := nextCursor(a.Header); cursor != "" {
		c.next("cursor", upstreamCursor+cursor)
	}
	c.w.Header().Set("Vary", "Authorization")
	return c.json(append([]map[string]json.RawMessage{}, repos...))
}

// hides tells whether there is a repo here of the same name that the caller sees.
func (c *call) hides(theirs map[string]json.RawMessage) bool {
	var id string
	if json.Unmarshal(theirs["id"], &id) != nil {
		return false
	}
	ns, name, _ := strings.Cut(id, "/")
	r, err := c.s.db.Repo(strings.TrimSuffix(c.parts[1], "s"), ns, name)
	return err == nil && c.s.level(c.caller, &r) >= reader
}

var nextLink = regexp.MustCompile(`<([^<>]*)>; *rel="?next"?`)

// nextCursor is the cursor in the address of the next page.
func nextCursor(h http.Header) string {
	link := nextLink.FindStringSubmatch(h.Get("Link"))
	if link == nil {
		return ""
	}
	next, err := url.Parse(link[1])
	if err != nil {
		return ""
	}
	return next.Query().Get("cursor")
}
