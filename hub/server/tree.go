package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// Pages of a listing; with the last commits they cost more and are shorter.
const (
	expandedPage = 100
	historyDepth = 5000 // commits looked at for the last change of a path
)

type lfsInfo struct {
	OID         string `json:"oid"`
	Size        int64  `json:"size"`
	PointerSize int64  `json:"pointerSize"`
}

type commitInfo struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Date  string `json:"date"`
}

// security is what a scan of a file found; nothing is scanned here.
type security struct {
	Status string `json:"status"`
	AV     any    `json:"avScan"`
	Pickle any    `json:"pickleImportScan"`
}

var unscanned = &security{Status: "unscanned"}

type treeEntry struct {
	Type       string      `json:"type"`
	OID        string      `json:"oid"`
	Size       int64       `json:"size"`
	Path       string      `json:"path"`
	LFS        *lfsInfo    `json:"lfs,omitempty"`
	LastCommit *commitInfo `json:"lastCommit,omitempty"`
	Security   *security   `json:"securityFileStatus,omitempty"`
}

// tree lists a folder of a revision.
func (c *call) tree() error {
	commit, folder, err := c.entry(true)
	if err != nil {
		return err
	}
	q := c.r.URL.Query()
	expand := truthy(q.Get("expand"))
	most := maxPageItems
	if expand {
		most = expandedPage
	}
	limit, _ := c.page(most)
	page, err := c.git().List(folder, truthy(q.Get("recursive")), q.Get("cursor"), limit+1)
	if err != nil {
		return err
	}
	if len(page) > limit {
		page = page[:limit]
		c.next("cursor", page[limit-1].Cursor())
	}
	entries, err := c.describe(commit, page, expand)
	if err != nil {
		return err
	}
	return c.json(entries)
}

func truthy(s string) bool { return s == "1" || strings.EqualFold(s, "true") }

// describe makes entries as clients read them.
func (c *call) describe(commit gitrepo.Hash, page []gitrepo.Entry, expand bool) ([]treeEntry, error) {
	infos, err := c.s.blobInfo(&c.repo, page)
	if err != nil {
		return nil, err
	}
	var last map[string]*gitrepo.Commit
	if expand {
		paths := make([]string, len(page))
		for i, e := range page {
			paths[i] = e.Path
		}
		if last, err = c.git().LastCommits(commit, paths, historyDepth); err != nil {
			return nil, err
		}
	}
	entries := make([]treeEntry, 0, len(page))
	for _, e := range page {
		entry := treeEntry{Type: "directory", OID: e.Hash.String(), Path: e.Path}
		if !e.Dir {
			info := infos[e.Hash.String()]
			entry.Type, entry.Size, entry.LFS = "file", info.Size, lfsOf(info)
		}
		if expand {
			by := last[e.Path]
			entry.LastCommit = &commitInfo{by.ID.String(), by.Title(), stamp(by.Author.When)}
			if !e.Dir {
				entry.Security = unscanned
			}
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

func lfsOf(info meta.BlobInfo) *lfsInfo {
	if info.SHA == "" {
		return nil
	}
	return &lfsInfo{info.SHA, info.Size, info.Text}
}

// readPaths reads what paths the body asks for: a form of Python's client, or JSON.
func (c *call) readPaths() (paths []string, expand bool, err error) {
	var req struct {
		Paths  any  `json:"paths"`
		Expand bool `json:"expand"`
	}
	if c.isForm() {
		c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxListBody)
		if err := c.r.ParseForm(); err != nil {
			return nil, false, bodyError(err)
		}
		paths, req.Expand = c.r.PostForm["paths"], truthy(c.r.PostForm.Get("expand"))
	} else if err := c.decode(&req, maxListBody); err != nil {
		return nil, false, err
	}
	switch value := req.Paths.(type) {
	case string:
		paths = append(paths, value)
	case []any:
		for _, path := range value {
			if text, ok := path.(string); ok {
				paths = append(paths, text)
			}
		}
	}
	if len(paths) > maxPageItems {
		return nil, false, badRequest("At most 1000 paths a request")
	}
	return paths, req.Expand, nil
}

// pathsInfo describes the paths that exist among those asked for.
func (c *call) pathsInfo() error {
	paths, expand, err := c.readPaths()
	if err != nil {
		return err
	}
	commit, err := c.commit()
	if err != nil {
		return err
	}
	var page []gitrepo.Entry
	for _, path := range paths {
		e, err := c.git().Entry(commit, strings.Trim(path, "/"))
		if errors.Is(err, gitrepo.ErrEntry) || path == "" {
			continue
		}
		if err != nil {
			return err
		}
		page = append(page, e)
	}
	entries, err := c.describe(commit, page, expand)
	if err != nil {
		return err
	}
	return c.json(entries)
}
