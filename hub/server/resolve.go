package server

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// resolve sends a file of a revision.
func (c *call) resolve() error { return c.sendFile(true) }

// raw sends what git keeps: for a large file, the pointer.
func (c *call) raw() error { return c.sendFile(false) }

// fileEntry finds the file that the address names, and what is known of it.
func (c *call) fileEntry() (gitrepo.Entry, meta.BlobInfo, error) {
	_, e, err := c.entry(false)
	if err != nil {
		return e, meta.BlobInfo{}, err
	}
	infos, err := c.s.blobInfo(&c.repo, []gitrepo.Entry{e})
	return e, infos[e.Hash.String()], err
}

// entry finds the folder, or the file, that the address names, and its commit.
func (c *call) entry(folder bool) (gitrepo.Hash, gitrepo.Entry, error) {
	commit, err := c.commit()
	if err != nil {
		return commit, gitrepo.Entry{}, err
	}
	e, err := c.git().Entry(commit, c.path)
	if err == nil && e.Dir != folder {
		err = gitrepo.ErrEntry
	}
	return commit, e, err
}

func (c *call) sendFile(follow bool) error {
	e, info, err := c.fileEntry()
	if err != nil {
		return err
	}
	h := c.w.Header()
	c.fileHeaders(path.Base(e.Path))
	if follow && info.SHA != "" {
		h.Set("X-Linked-Etag", `"`+info.SHA+`"`)
		h.Set("X-Linked-Size", strconv.FormatInt(info.Size, 10))
		return c.sendLFS(c.repo.ID, info.SHA)
	}
	h.Set("ETag", `"`+e.Hash.String()+`"`)
	blob, err := c.git().Blob(e.Hash)
	if err != nil {
		return err
	}
	defer blob.Close()
	if blob.Size() > 256<<10 {
		return c.serveContent(blob, blob.Size())
	}
	// A small one is read at once, so that a slow receiver holds no handle.
	data, err := io.ReadAll(blob)
	if err != nil {
		return fmt.Errorf("read blob: %w", err)
	}
	blob.Close()
	return c.serveContent(bytes.NewReader(data), int64(len(data)))
}

// fileHeaders keep a browser from showing a file as a page of this server.
func (c *call) fileHeaders(name string) {
	h := c.w.Header()
	ascii := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '_'
		}
		return r
	}, name)
	escaped := strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename*=UTF-8''%s; filename="%s";`, escaped, ascii))
	h.Set("Content-Type", contentType(name))
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", "no-cache")
	if c.repo.Private || c.repo.Gated != "" {
		h.Set("Cache-Control", "private, no-cache")
	}
	h.Set("Vary", "Authorization")
}

// contentType is text for what people read and bytes for the rest; never HTML.
func contentType(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".json":
		return "application/json"
	case ".md", ".txt", ".py", ".yaml", ".yml", ".csv", ".jsonl", ".toml", ".cfg", ".jinja", ".gitattributes", ".gitignore", "":
		return "text/plain; charset=utf-8"
	case ".png", ".jpg", ".jpeg", ".gif", ".webp": // shown in cards
		return "image/" + strings.Replace(strings.TrimPrefix(strings.ToLower(path.Ext(name)), "."), "jpg", "jpeg", 1)
	}
	return "application/octet-stream"
}

// sendLFS sends a large file that a repo holds.
func (c *call) sendLFS(repoID, sha string) error {
	f, err := c.s.OpenLFS(repoID, sha)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read large file: %w", err)
	}
	h := c.w.Header()
	h.Set("ETag", `"`+sha+`"`)
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/octet-stream")
	}
	return c.serveContent(f, info.Size())
}

// serveContent answers ranges and conditions. Several ranges at once are
// answered with the whole file: no client of a Hub asks for them.
func (c *call) serveContent(content io.ReadSeeker, size int64) error {
	c.w.Header().Set("Accept-Ranges", "bytes")
	if asked := c.r.Header.Get("Range"); asked != "" {
		kind, err := checkRange(asked, size)
		if err != nil {
			if !c.unchanged() {
				c.w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", size))
				return err
			}
		}
		switch kind {
		case wholeFile:
			c.r.Header.Del("Range")
		case openRange:
			first, _, _ := strings.Cut(asked, "-")
			c.r.Header.Set("Range", first+"-")
		}
	}
	http.ServeContent(c.w, c.r, "", time.Time{}, content)
	return nil
}

// unchanged tells whether the client has the file already or wants another.
func (c *call) unchanged() bool {
	etag := c.w.Header().Get("ETag")
	match, ifRange := c.r.Header.Get("If-None-Match"), c.r.Header.Get("If-Range")
	return match != "" && strings.Contains(match, etag) || ifRange != "" && ifRange != etag
}

type rangeKind int

const (
	wholeFile rangeKind = iota
	oneRange
	openRange // to a number that no file reaches
)

// checkRange reads a Range header. What is malformed, of another unit or of
// several ranges is to be ignored; a range that begins after the end is an error.
func checkRange(text string, size int64) (rangeKind, error) {
	spec, ok := strings.CutPrefix(text, "bytes=")
	first, last, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok || !dash || strings.Contains(spec, ",") || !digits(first) || !digits(last) || first+last == "" {
		return wholeFile, nil
	}
	outside := &Error{http.StatusRequestedRangeNotSatisfiable, "RangeNotSatisfiable", fmt.Sprintf("The file has %d bytes", size)}
	if first == "" {
		if strings.Trim(last, "0") == "" || size == 0 {
			return wholeFile, outside
		}
		return oneRange, nil
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from >= size {
		return wholeFile, outside
	}
	if to, err := strconv.ParseInt(last, 10, 64); last != "" {
		switch {
		case err != nil:
			return openRange, nil
		case to < from:
			return wholeFile, nil
		}
	}
	return oneRange, nil
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }
