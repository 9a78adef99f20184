package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"

	"github.com/mamba-encoder-swarm/mes/hub/server/lfs"
	"github.com/mamba-encoder-swarm/mes/hub/server/xet"
)

// maxUserXorbs is how many xorbs of one user may wait. Full ones hold six terabytes.
const maxUserXorbs = 100_000

// openXet makes the bridge for uploads through Xet. Its tokens are signed by a key
// of their own, made of the server's.
func (s *Server) openXet() error {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte("xet access tokens")) // never fails
	dir := filepath.Join(s.cfg.Dir, "xet")
	// The largest file has to fit; chunks that do not shrink take a little more.
	user := xet.Amount{Bytes: s.cfg.MaxFileBytes + s.cfg.MaxFileBytes/8, Xorbs: maxUserXorbs}
	bridge, err := xet.NewBridge(xet.Config{
		Dir: dir, Objects: xetObjects{s}, Key: mac.Sum(nil), MaxFile: s.cfg.MaxFileBytes, Logger: s.log,
		Limits: xet.Limits{
			User: user, All: xet.Amount{Bytes: 4 * user.Bytes, Xorbs: 4 * user.Xorbs},
			Free: func() (int64, error) { return freeBytes(dir) },
		},
	})
	s.xet = bridge
	return err
}

// xetObjects gives the bridge the large files; it names repos by their ids.
type xetObjects struct{ s *Server }

// Has implements xet.Objects.
func (o xetObjects) Has(_ context.Context, repo, sha string) (bool, error) {
	_, err := o.s.HasLFS(repo, sha)
	if err == nil {
		err = o.s.renewLFS(repo, sha)
	}
	if errors.Is(err, lfs.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Put implements xet.Objects.
func (o xetObjects) Put(ctx context.Context, repo, sha string, size int64, src io.Reader) error {
	return o.s.PutLFS(ctx, repo, sha, size, src)
}

// xetAccess makes an access token for the request's repo and revision, and the
// address to use it at. The revision need not exist: a pull request's does not yet.
func (c *call) xetAccess(write bool) (xet.Access, string, error) {
	who := ""
	if c.user != nil {
		who = c.user.Name
	}
	a, err := c.s.xet.Issue(xet.Grant{User: who, Repo: c.repo.ID, Ref: c.rev, Write: write})
	return a, c.s.base(c.r) + "/_cas/" + a.Path, err
}

// xetToken answers with an access token.
func (c *call) xetToken(write bool) error {
	a, address, err := c.xetAccess(write)
	if err != nil {
		return err
	}
	c.w.Header().Set("Cache-Control", "no-store")
	return c.json(map[string]any{"accessToken": a.Token, "exp": a.Expires.Unix(), "casUrl": address})
}

// xetWriteToken lets those send files who may commit where the request says.
func (c *call) xetWriteToken() error {
	if c.user == nil {
		return errSignIn
	}
	if err := c.s.needCommit(c.caller, &c.repo, c.r.URL.Query().Get("create_pr") == "1" || c.ownPR(c.rev)); err != nil {
		return err
	}
	return c.xetToken(true)
}

func (c *call) xetReadToken() error { return c.xetToken(false) }

// xetCAS passes a request of the Xet protocol on to the bridge.
func (c *call) xetCAS() error {
	r := c.r.Clone(c.r.Context())
	r.URL = &url.URL{Path: "/" + c.path}
	c.s.xet.ServeHTTP(c.w, r)
	return nil
}

// xetTelemetry takes what hf_xet reports at the root of the host, and forgets it.
func (c *call) xetTelemetry() error {
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(c.w, c.r.Body, maxBody)); err != nil {
		return bodyError(err)
	}
	return c.ok()
}

// byXet makes the uploads of an LFS batch go through Xet, for clients that offer
// to.
func (c *call) byXet(objects []lfsAnswer) error {
	c.rev = "main" // the batch call names none
	a, address, err := c.xetAccess(true)
	if err != nil {
		return err
	}
	header := map[string]string{
		"X-Xet-Cas-Url": address, "X-Xet-Access-Token": a.Token,
		"X-Xet-Token-Expiration": strconv.FormatInt(a.Expires.Unix(), 10), "X-Xet-Session-Id": a.Path,
	}
	href := fmt.Sprintf("%s/api/%ss/%s/xet-write-token/%s", c.s.base(c.r), c.repo.Type, c.repo.FullName(), c.rev)
	for i := range objects {
		if objects[i].Actions != nil {
			objects[i].Actions = map[string]lfsAction{"upload": {Href: href, Header: header}}
		}
	}
	return nil
}
