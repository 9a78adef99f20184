package server

import (
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
	onRepo, onRepo + "/revision/{rev}", onRepo + "/tree/{rev}/{path}", onRepo + "/refs", onRepo + "/commits/{rev}",
	resolvePattern,
}

const resolvePattern = "/{repo}/resolve/{rev}/{path}"

// fromUpstream answers a read of a repo that is not here from the Hub that is
// mirrored. It says whether the request is such a read. A token that is none of ours
// is the caller's for the other Hub; ours are never sent there.
func (c *call) fromUpstream(authErr error) (bool, error) {
	if c.s.mirror == nil || !slices.Contains(mirrored, c.route.Pattern) {
		return false, nil
	}
	if _, err := c.s.db.Repo(c.kind, c.ns, c.name); !errors.Is(err, meta.ErrNotFound) {
		return false, nil
	}
	q := mirror.Request{Path: strings.TrimPrefix(c.r.URL.EscapedPath(), c.s.prefix), Query: c.r.URL.RawQuery}
	if token, ok := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer "); ok && authErr != nil {
		q.Token = token
	}
	if c.route.Pattern == resolvePattern {
		return true, c.upstreamError(c.upstreamFile(q))
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
	q.Path = "/" + strings.Join(c.parts[:c.nameAt+2], "/") + "/resolve/" + info.Commit // no other commit may come between
	for part := range strings.SplitSeq(c.path, "/") {
		q.Path += "/" + url.PathEscape(part)
	}
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
