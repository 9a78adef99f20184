package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/lfs"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// PutLFS stores a large file that a repo's writer has sent, by whatever way: the
// bytes of r must have this sha256 and size. From then on commits of the repo may
// name it.
func (s *Server) PutLFS(ctx context.Context, repoID, sha string, size int64, r io.Reader) error {
	if size < 0 || size > s.cfg.MaxFileBytes {
		return invalid("A file of %d bytes is larger than the %d that this server takes", size, s.cfg.MaxFileBytes)
	}
	if err := s.roomFor(repoID, sha, size); err != nil {
		return err
	}
	if err := s.lfs.Put(ctx, sha, size, r); err != nil {
		return err
	}
	return s.linkLFS(repoID, sha, size)
}

// roomFor is an error where a repo may not hold one more large file of a size.
func (s *Server) roomFor(repoID, sha string, size int64) error {
	if s.cfg.MaxRepoBytes == 0 {
		return nil
	}
	if _, err := s.db.LFS(repoID, sha); err == nil {
		return nil // it is counted already
	}
	held, err := s.db.HeldLFSBytes(repoID)
	if err != nil {
		return err
	}
	if size > s.cfg.MaxRepoBytes-held {
		return &Error{http.StatusRequestEntityTooLarge, "PayloadTooLarge", fmt.Sprintf(
			"The large files of this repo have %d of the %d bytes that they may have here, which leaves no room for %d more: delete some, or ask whoever runs this hub", held, s.cfg.MaxRepoBytes, size)}
	}
	return nil
}

// linkLFS notes that a repo holds a stored file. The lock keeps a deletion of the
// last other link from removing the file meanwhile.
func (s *Server) linkLFS(repoID, sha string, size int64) error {
	if s.cfg.MaxRepoBytes > 0 { // files that are sent at once are counted one after another
		s.counting.Lock()
		defer s.counting.Unlock()
		if err := s.roomFor(repoID, sha, size); err != nil {
			return err
		}
	}
	s.writes.RLock()
	defer s.writes.RUnlock()
	if err := s.db.LinkLFS(repoID, sha, size); err != nil {
		return err
	}
	if _, err := s.lfs.Size(sha); err != nil {
		return fmt.Errorf("the file was removed while it was sent, send it again: %w", err)
	}
	return nil
}

// HasLFS gives the size of a large file that a repo holds; lfs.ErrNotFound when
// it holds none of this hash, whoever else may.
func (s *Server) HasLFS(repoID, sha string) (int64, error) {
	if !lfs.IsSHA256(sha) {
		return 0, fmt.Errorf("%w: %q", lfs.ErrNotFound, sha)
	}
	link, err := s.db.LFS(repoID, sha)
	if errors.Is(err, meta.ErrNotFound) {
		return 0, fmt.Errorf("%w: %s", lfs.ErrNotFound, sha)
	}
	if err != nil {
		return 0, err
	}
	if size, err := s.lfs.Size(sha); err != nil || size != link.Size {
		return 0, errors.Join(err, fmt.Errorf("%w: %s", lfs.ErrNotFound, sha))
	}
	return link.Size, nil
}

// OpenLFS opens a large file that a repo holds.
func (s *Server) OpenLFS(repoID, sha string) (*os.File, error) {
	if _, err := s.HasLFS(repoID, sha); err != nil {
		return nil, err
	}
	return s.lfs.Open(sha)
}

// Sign makes a signature over fields that Verify takes until a time. The first
// field should be a purpose, so that a signature for one thing is none for another.
func (s *Server) Sign(until time.Time, fields ...string) string {
	exp := strconv.FormatInt(until.Unix(), 10)
	mac := hmac.New(sha256.New, s.key)
	for _, field := range append(fields, exp) {
		fmt.Fprintf(mac, "%d:%s,", len(field), field)
	}
	return exp + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Verify tells whether a signature is one of Sign over these fields and still counts.
func (s *Server) Verify(signature string, fields ...string) bool {
	exp, _, _ := strings.Cut(signature, ".")
	unix, err := strconv.ParseInt(exp, 10, 64)
	if err != nil || time.Now().Unix() > unix {
		return false
	}
	return hmac.Equal([]byte(signature), []byte(s.Sign(time.Unix(unix, 0), fields...)))
}

// blobInfo gives sizes of blobs and, for pointers, of what they point to. What
// the database does not know is read and noted.
func (s *Server) blobInfo(r *meta.Repo, entries []gitrepo.Entry) (map[string]meta.BlobInfo, error) {
	hashes := make([]string, 0, len(entries))
	for _, e := range entries {
		if !e.Dir {
			hashes = append(hashes, e.Hash.String())
		}
	}
	known, err := s.db.Blobs(r.ID, hashes)
	if err != nil {
		return nil, err
	}
	fresh := map[string]meta.BlobInfo{}
	g := s.state(r.ID).git
	for _, e := range entries {
		name := e.Hash.String()
		if _, ok := known[name]; ok || e.Dir {
			continue
		}
		info, err := readBlobInfo(g, e.Hash)
		if err != nil {
			return nil, err
		}
		known[name], fresh[name] = info, info
	}
	return known, s.db.PutBlobs(r.ID, fresh)
}

func readBlobInfo(g *gitrepo.Repo, h gitrepo.Hash) (meta.BlobInfo, error) {
	size, err := g.BlobSize(h)
	if err != nil || size >= lfs.MaxPointer {
		return meta.BlobInfo{Size: size}, err
	}
	data, err := g.ReadBlob(h, lfs.MaxPointer)
	if err != nil {
		return meta.BlobInfo{}, err
	}
	return infoOf(data), nil
}

// infoOf is what is to know of a blob with these bytes.
func infoOf(data []byte) meta.BlobInfo {
	if p, ok := lfs.ParsePointer(data); ok {
		return meta.BlobInfo{Size: p.Size, SHA: p.SHA256, Text: int64(len(data))}
	}
	return meta.BlobInfo{Size: int64(len(data))}
}

// largeFiles lists the large files, with sizes, that a commit of a repo names and the
// repo holds: a pointer alone proves nothing.
func (s *Server) largeFiles(r *meta.Repo, commit gitrepo.Hash) (map[string]int64, error) {
	files := map[string]int64{}
	err := s.eachPage(r, commit, func(_ []gitrepo.Entry, infos map[string]meta.BlobInfo) error {
		for _, info := range infos {
			if info.SHA == "" {
				continue
			}
			if size, err := s.HasLFS(r.ID, info.SHA); err == nil && size == info.Size {
				files[info.SHA] = size
			}
		}
		return nil
	})
	return files, err
}

// eachPage visits all files of a commit, a thousand at a time.
func (s *Server) eachPage(r *meta.Repo, commit gitrepo.Hash, visit func([]gitrepo.Entry, map[string]meta.BlobInfo) error) error {
	g := s.state(r.ID).git
	root, err := g.Entry(commit, "")
	if err != nil {
		return err
	}
	for cursor := ""; ; {
		page, err := g.List(root, true, cursor, maxPageItems)
		if err != nil || len(page) == 0 {
			return err
		}
		infos, err := s.blobInfo(r, page)
		if err != nil {
			return err
		}
		if err := visit(page, infos); err != nil {
			return err
		}
		cursor = page[len(page)-1].Cursor()
	}
}

// largeNames gives, for the large files that a commit names, a path of each.
func (s *Server) largeNames(r *meta.Repo, commit gitrepo.Hash) (map[string]string, error) {
	names := map[string]string{}
	err := s.eachPage(r, commit, func(page []gitrepo.Entry, infos map[string]meta.BlobInfo) error {
		for _, e := range page {
			if sha := infos[e.Hash.String()].SHA; sha != "" && !e.Dir {
				names[sha] = e.Path
			}
		}
		return nil
	})
	return names, err
}
