package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
	"github.com/mamba-encoder-swarm/mes/hub/server/mirror"
)

// mirrored are the routes that another Hub answers for repos that are not here.
var mirrored = []string{
	onRepo, onRepo + "/revision/{rev}", onRepo + "/tree/{rev}/{path}", pathsInfoPattern, onRepo + "/refs", onRepo + "/commits/{rev}",
	resolvePattern, rawPattern,
}

const (
	pathsInfoPattern = onRepo + "/paths-info/{rev}"
	resolvePattern   = "/{repo}/resolve/{rev}/{path}"
	rawPattern       = "/{repo}/raw/{rev}/{path}"
)

// fromUpstream answers a read of a repo that is not here from the Hub that is
// mirrored. It says whether the request is such a read. A repo that the caller may
// not see is not here either, so that nobody can tell it from one that is nowhere.
// A token that is none of ours is the caller's for the other Hub; ours are never
// sent there.
func (c *call) fromUpstream(authErr error) (bool, error) {
	token := ""
	if bearer, ok := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer "); ok && authErr != nil {
		token = bearer
	}
	switch {
	case c.s.mirror == nil:
		return false, nil
	case slices.Contains(listed, c.route.Pattern) && strings.HasPrefix(c.r.URL.Query().Get("cursor"), upstreamCursor):
		return true, c.upstreamList(token)
	case slices.Contains(listed, c.route.Pattern):
		return true, c.listRepos()
	case !slices.Contains(mirrored, c.route.Pattern):
		return false, nil
	}
	r, err := c.s.db.Repo(c.kind, c.ns, c.name)
	if err != nil && !errors.Is(err, meta.ErrNotFound) {
		return true, err
	}
	if err == nil && c.s.level(c.caller, &r) >= reader {
		return false, nil
	}
	q := c.upstreamRequest()
	q.Token = token
	switch c.route.Pattern {
	case resolvePattern, rawPattern:
		return true, c.upstreamError(c.upstreamFile(q))
	case pathsInfoPattern:
		paths, expand, err := c.readPaths()
		if err != nil {
			return true, err
		}
		if q.Body, err = json.Marshal(map[string]any{"paths": paths, "expand": expand}); err != nil {
			return true, err
		}
	}
	a, err := c.s.mirror.JSON(c.r.Context(), q, c.s.base(c.r))
	if err != nil {
		return true, c.upstreamError(err)
	}
	for key := range a.Header {
		c.w.Header().Set(key, a.Header.Get(key))
	}
	c.w.Header().Set("Vary", "Authorization")
	_, err = c.w.Write(a.Body)
	return true, err
}

// upstreamRequest is the caller's request as the other Hub is asked.
func (c *call) upstreamRequest() mirror.Request {
	q := mirror.Request{Query: c.r.URL.RawQuery}
	at := c.nameAt + 3 // behind the repo and the verb
	if c.rev == "" {
		q.Before = "/" + strings.Join(c.parts, "/")
		return q
	}
	q.Before, q.Rev = "/"+strings.Join(c.parts[:at], "/")+"/", url.PathEscape(c.rev)
	if c.parts[at] == "refs" && len(c.parts) >= at+3 { // a revision that came in three parts
		at += 2
	}
	for _, part := range c.parts[at+1:] {
		q.After += "/" + part
	}
	return q
}

// upstreamFile sends a file: from the cache, or on its way there. A part of a file
// that is not in the cache is passed on.
func (c *call) upstreamFile(q mirror.Request) error {
	info, private, err := c.s.mirror.Info(c.r.Context(), q)
	if err != nil {
		return err
	}
	h := c.w.Header()
	c.fileHeaders(path.Base(c.path))
	if private {
		h.Set("Cache-Control", "private, no-cache")
	}
	h.Set("X-Repo-Commit", info.Commit)
	h.Set("ETag", `"`+info.Hash+`"`)
	if len(info.Hash) == 64 {
		h.Set("X-Linked-Etag", `"`+info.Hash+`"`)
		h.Set("X-Linked-Size", strconv.FormatInt(info.Size, 10))
	}
	q = q.Pinned(info.Commit) // no other commit may come between
	if f, err := c.s.mirror.Open(info); err == nil {
		defer f.Close()
		return c.serveContent(f, info.Size)
	}
	h.Set("Accept-Ranges", "bytes")
	if asked := c.r.Header.Get("Range"); asked != "" && c.r.Method == http.MethodGet {
		return c.upstreamRange(q, asked)
	}
	h.Set("Content-Length", strconv.FormatInt(info.Size, 10))
	if c.r.Method == http.MethodHead {
		c.w.WriteHeader(http.StatusOK)
		return nil
	}
	return c.s.mirror.Fetch(c.r.Context(), q, info, c.w) // after an error the length is wrong, which ends the connection
}

// upstreamRange passes a part of a file on.
func (c *call) upstreamRange(q mirror.Request, asked string) error {
	resp, err := c.s.mirror.Range(c.r.Context(), q, asked)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for _, key := range []string{"Content-Range", "Content-Length"} {
		if value := resp.Header.Get(key); value != "" {
			c.w.Header().Set(key, value)
		}
	}
	c.w.WriteHeader(resp.StatusCode)
	_, err = c.w.ReadFrom(resp.Body)
	return err
}

// upstreamError is how an error of the mirror is answered. That there is no such
// repo is said as for our own, so that a private one here is not told from it.
func (c *call) upstreamError(err error) error {
	var e *mirror.Error
	switch {
	case errors.As(err, &e):
		if e.Commit != "" {
			c.w.Header().Set("X-Repo-Commit", headerText(e.Commit))
		}
		if e.Status == http.StatusUnauthorized && e.Code != codeGated || e.Status == http.StatusNotFound && e.Code != codeEntry && e.Code != codeRevision {
			return absent(c.caller)
		}
		return &Error{e.Status, headerText(e.Code), headerText(e.Message)}
	case errors.Is(err, mirror.ErrUnreachable):
		c.s.log.Warn("mirror", "request", c.id, "error", err)
		return &Error{http.StatusBadGateway, "UpstreamUnreachable", mirror.ErrUnreachable.Error()}
	case err != nil:
		return fmt.Errorf("mirror: %w", err)
	}
	return nil
}
