package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"unicode/utf8"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
	"github.com/mamba-encoder-swarm/mes/hub/server/patterns"
)

// preupload tells a client for each file whether it is a large one, whether
// .gitignore leaves it out, and what the repo has under its name, so that what
// is there already is not sent again.
func (c *call) preupload() error {
	if err := c.s.needCommit(c.caller, &c.repo, c.r.URL.Query().Get("create_pr") == "1" || c.ownPR(c.rev)); err != nil {
		return err
	}
	var req struct {
		Files []struct {
			Path   string `json:"path"`
			Sample string `json:"sample"`
			Size   int64  `json:"size"`
		} `json:"files"`
		GitIgnore     *string `json:"gitIgnore"`
		GitAttributes *string `json:"gitAttributes"`
	}
	if err := c.decode(&req, maxListBody); err != nil {
		return err
	}
	if len(req.Files) > maxPageItems {
		return &Error{http.StatusRequestEntityTooLarge, "PayloadTooLarge", "At most 1000 files a request"}
	}
	head, err := c.commit()
	if err != nil {
		return err
	}
	attributes, err := c.rules(head, ".gitattributes", req.GitAttributes)
	if err != nil {
		return err
	}
	ignore, err := c.rules(head, ".gitignore", req.GitIgnore)
	if err != nil {
		return err
	}
	large, err := patterns.ParseAttributes(attributes)
	if err != nil {
		return err
	}
	ignored, err := patterns.ParseIgnore(ignore)
	if err != nil {
		return err
	}
	answers := make([]map[string]any, 0, len(req.Files))
	for _, f := range req.Files {
		if err := gitrepo.CheckPath(f.Path); err != nil {
			return err
		}
		sample, err := base64.StdEncoding.DecodeString(f.Sample)
		if err != nil {
			return badRequest("The sample of %s is not base64", headerText(f.Path))
		}
		isLarge, err := large.LFS(f.Path)
		if err != nil {
			return err
		}
		leave, err := ignored.Ignored(f.Path)
		if err != nil {
			return err
		}
		mode := "regular"
		if f.Size > 0 && (f.Size >= maxRegular || isLarge || isBinary(sample)) {
			mode = "lfs"
		}
		answer := map[string]any{"path": f.Path, "uploadMode": mode, "shouldIgnore": leave}
		if oid, err := c.present(head, f.Path); err != nil {
			return err
		} else if oid != "" {
			answer["oid"] = oid
		}
		answers = append(answers, answer)
	}
	return c.json(map[string]any{"files": answers, "commitOid": head.String()})
}

// rules gives a file of rules: the one sent along, else that of the commit.
func (c *call) rules(head gitrepo.Hash, name string, sent *string) ([]byte, error) {
	if sent != nil {
		return []byte(*sent), nil
	}
	e, err := c.git().Entry(head, name)
	if errors.Is(err, gitrepo.ErrEntry) || err == nil && e.Dir {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data, err := c.git().ReadBlob(e.Hash, 1<<20)
	if err != nil {
		return nil, invalid("%s cannot be read: %v", name, err)
	}
	return data, nil
}

// present is the id by which clients know a file of a commit, empty when there
// is none: the sha256 of a large file, the blob id of another.
func (c *call) present(head gitrepo.Hash, path string) (string, error) {
	e, err := c.git().Entry(head, path)
	if errors.Is(err, gitrepo.ErrEntry) || err == nil && e.Dir {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	infos, err := c.s.blobInfo(&c.repo, []gitrepo.Entry{e})
	if err != nil {
		return "", err
	}
	return contentID(e, infos[e.Hash.String()]), nil
}

func contentID(e gitrepo.Entry, info meta.BlobInfo) string {
	if info.SHA != "" {
		return info.SHA
	}
	return e.Hash.String()
}

// isBinary judges a file by its first bytes, the last of which may be half a character.
func isBinary(sample []byte) bool {
	if bytes.IndexByte(sample, 0) >= 0 {
		return true
	}
	for range utf8.UTFMax {
		if len(sample) == 0 || utf8.Valid(sample) {
			return false
		}
		sample = sample[:len(sample)-1]
	}
	return true
}

func sha256Hex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
