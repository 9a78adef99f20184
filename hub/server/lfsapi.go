package server

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/lfs"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

const lfsMedia = "application/vnd.git-lfs+json"

// hrefLife is how long an address for a large file works.
const hrefLife = 12 * time.Hour

type lfsObject struct {
	OID  string `json:"oid"`
	Size int64  `json:"size"`
}

type lfsAnswer struct {
	lfsObject
	Authenticated bool                 `json:"authenticated,omitempty"`
	Actions       map[string]lfsAction `json:"actions,omitempty"`
	Error         *lfsError            `json:"error,omitempty"`
}

type lfsAction struct {
	Href    string            `json:"href"`
	Header  map[string]string `json:"header,omitempty"`
	Expires string            `json:"expires_at,omitempty"`
}

type lfsError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// lfsBatch says where large files are to be sent or fetched. Addresses carry
// their own signature, because clients send no token there.
func (c *call) lfsBatch() error {
	var req struct {
		Operation string      `json:"operation"`
		Transfers []string    `json:"transfers"`
		Objects   []lfsObject `json:"objects"`
		HashAlgo  string      `json:"hash_algo"`
	}
	if err := c.decode(&req, maxListBody); err != nil {
		return err
	}
	upload := req.Operation == "upload"
	if !upload && req.Operation != "download" {
		return invalid("Invalid operation: use upload or download")
	}
	if upload {
		if c.user == nil {
			return errSignIn
		}
		// The files may be for a pull request that is not there yet: clients do not say.
		if err := c.s.needCommit(c.caller, &c.repo, true); err != nil {
			return err
		}
	}
	if algo := strings.ReplaceAll(req.HashAlgo, "_", ""); algo != "" && algo != "sha256" {
		return conflict("Only the hash sha256 is supported")
	}
	if len(req.Objects) > maxPageItems {
		return &Error{http.StatusRequestEntityTooLarge, "PayloadTooLarge", "At most 1000 objects a request"}
	}
	transfer := "basic"
	byXet := upload && slices.Contains(req.Transfers, "xet")
	parts := 0 // that may still be offered
	if upload && !byXet && slices.Contains(req.Transfers, "multipart") {
		parts = maxBatchParts
	}
	objects := make([]lfsAnswer, 0, len(req.Objects))
	for _, o := range req.Objects {
		if parts > 0 && o.Size >= c.s.cfg.MultipartFrom {
			transfer = "multipart"
		}
		objects = append(objects, c.lfsObject(o, upload, transfer == "multipart", &parts))
	}
	if byXet {
		transfer = "xet"
		if err := c.byXet(objects); err != nil {
			return err
		}
	}
	c.w.Header().Set("Content-Type", lfsMedia)
	return c.json(map[string]any{"transfer": transfer, "objects": objects, "hash_algo": "sha256"})
}

// maxBatchParts is how many addresses of parts one answer holds at most: those of
// two of the largest files by default.
const maxBatchParts = 20_000

// lfsObject answers for one object; parts is how many addresses of parts are left
// to the answer.
func (c *call) lfsObject(o lfsObject, upload, multipart bool, parts *int) lfsAnswer {
	a := lfsAnswer{lfsObject: o}
	fail := func(code int, text string) lfsAnswer {
		a.Error = &lfsError{code, text}
		return a
	}
	if !lfs.IsSHA256(o.OID) || o.Size < 0 {
		return fail(http.StatusUnprocessableEntity, "The id is no sha256, or the size is negative")
	}
	size, err := c.s.HasLFS(c.repo.ID, o.OID)
	if err != nil && !errors.Is(err, lfs.ErrNotFound) {
		c.s.log.Error("look for large file", "request", c.id, "error", err)
		return fail(http.StatusInternalServerError, "Internal error")
	}
	has := err == nil
	switch {
	case !upload && !has:
		return fail(http.StatusNotFound, "This repo has no such object")
	case !upload:
		a.Authenticated = true
		a.Actions = map[string]lfsAction{"download": c.lfsHref("get", o.OID, size, "")}
	case has && size != o.Size:
		return fail(http.StatusUnprocessableEntity, "An object of this id has another size")
	case has:
		if err := c.s.renewLFS(c.repo.ID, o.OID); err != nil {
			c.s.log.Error("renew large file", "request", c.id, "error", err)
			return fail(http.StatusInternalServerError, "Internal error")
		}
	case o.Size > c.s.cfg.MaxFileBytes:
		return fail(http.StatusUnprocessableEntity, "The object is larger than this server takes")
	case multipart && o.Size >= c.s.cfg.MultipartFrom && lfs.Parts(o.Size) > *parts:
		return fail(http.StatusRequestEntityTooLarge, "The objects of this request have too many parts: ask for fewer objects at a time")
	default:
		if err := c.s.roomFor(c.repo.ID, o.OID, o.Size); err != nil {
			return fail(http.StatusRequestEntityTooLarge, err.Error())
		}
		a.Authenticated = true
		send := c.lfsHref("put", o.OID, o.Size, "")
		if multipart && o.Size >= c.s.cfg.MultipartFrom {
			*parts -= lfs.Parts(o.Size)
			send = c.lfsParts(o)
		}
		verify := c.lfsHref("verify", o.OID, o.Size, "")
		a.Actions = map[string]lfsAction{"upload": send, "verify": verify}
	}
	return a
}

// lfsHref makes a signed address for one purpose.
func (c *call) lfsHref(purpose, sha string, size int64, part string) lfsAction {
	until := time.Now().Add(hrefLife)
	who := ""
	if c.user != nil {
		who = c.user.Name
	}
	q := url.Values{"for": {purpose}, "size": {strconv.FormatInt(size, 10)}, "by": {who}}
	if part != "" {
		q.Set("part", part)
	}
	q.Set("sig", c.s.Sign(until, "lfs", purpose, c.repo.ID, sha, q.Get("size"), who, part))
	return lfsAction{
		Href:    c.s.base(c.r) + "/_lfs/" + c.repo.ID + "/" + sha + "?" + q.Encode(),
		Expires: until.UTC().Format(time.RFC3339),
	}
}

// lfsParts makes one address a part, and one to put them together.
func (c *call) lfsParts(o lfsObject) lfsAction {
	join := c.lfsHref("join", o.OID, o.Size, "")
	join.Header = map[string]string{"chunk_size": strconv.Itoa(lfs.PartSize)}
	for n := 1; n <= lfs.Parts(o.Size); n++ {
		number := strconv.Itoa(n)
		join.Header[strings.Repeat("0", max(0, 5-len(number)))+number] = c.lfsHref("part", o.OID, o.Size, number).Href
	}
	return join
}

// signed is what a signed address says.
type signed struct {
	repo      meta.Repo
	sha       string
	size      int64
	part      int
	partsName string
}

// signed checks the signature of the request's address for a purpose. All
// failures look alike.
func (c *call) signed(purpose string) (signed, error) {
	q := c.r.URL.Query()
	id, sha := c.vars["id"], c.vars["sha"]
	refused := &Error{http.StatusForbidden, codeForbidden, "This address is not valid, or no longer: ask for a new one"}
	if !lfs.IsSHA256(sha) || !c.s.Verify(q.Get("sig"), "lfs", purpose, id, sha, q.Get("size"), q.Get("by"), q.Get("part")) {
		return signed{}, refused
	}
	size, err := strconv.ParseInt(q.Get("size"), 10, 64)
	if err != nil {
		return signed{}, refused
	}
	part, _ := strconv.Atoi(q.Get("part")) // empty for whole files
	repo, err := c.s.db.RepoByID(id)
	if err != nil {
		return signed{}, refused
	}
	return signed{repo, sha, size, part, id + "-" + sha}, nil
}

// putLFS takes the bytes of a large file, or of a part of one.
func (c *call) putLFS() error {
	purpose := "put"
	if c.r.URL.Query().Get("for") == "part" {
		purpose = "part"
	}
	f, err := c.signed(purpose)
	if err != nil {
		return err
	}
	if purpose == "put" && c.r.ContentLength >= 0 && c.r.ContentLength != f.size {
		return badRequest("The body has %d bytes, %d were announced", c.r.ContentLength, f.size)
	}
	if purpose == "part" {
		tag, err := c.s.lfs.PutPart(c.r.Context(), f.partsName, f.size, f.part, c.r.Body)
		if err != nil {
			return storeError(err)
		}
		c.w.Header().Set("ETag", `"`+tag+`"`)
		return c.ok()
	}
	if err := c.s.PutLFS(c.r.Context(), f.repo.ID, f.sha, f.size, c.r.Body); err != nil {
		return storeError(err)
	}
	c.w.Header().Set("ETag", `"`+f.sha+`"`)
	return c.ok()
}

// storeError keeps apart that the sender broke off and that we could not write.
func storeError(err error) error {
	if errors.Is(err, http.ErrBodyReadAfterClose) || strings.Contains(err.Error(), "unexpected EOF") {
		return badRequest("The body broke off: send it again")
	}
	return err
}

// postLFS ends an upload: it puts parts together, or tells whether all is there.
func (c *call) postLFS() error {
	if c.r.URL.Query().Get("for") == "verify" {
		return c.verifyLFS()
	}
	return c.joinLFS()
}

// joinLFS puts the parts of a large file together.
func (c *call) joinLFS() error {
	f, err := c.signed("join")
	if err != nil {
		return err
	}
	var req struct {
		Parts []struct {
			Number int    `json:"partNumber"`
			ETag   string `json:"etag"`
		} `json:"parts"`
	}
	if err := c.decode(&req, maxListBody); err != nil {
		return err
	}
	if _, err := c.s.HasLFS(f.repo.ID, f.sha); err == nil {
		return c.ok() // the answer of a first try was lost
	}
	tags := make([]string, len(req.Parts))
	for i, part := range req.Parts {
		if part.Number != i+1 {
			return badRequest("The parts are not listed in order")
		}
		tags[i] = strings.Trim(part.ETag, `"`)
	}
	if err := c.s.lfs.Join(c.r.Context(), f.partsName, f.sha, f.size, tags); err != nil {
		return err
	}
	if err := c.s.linkLFS(f.repo.ID, f.sha, f.size); err != nil {
		return err
	}
	return c.ok()
}

// getLFS sends a large file to git-lfs.
func (c *call) getLFS() error {
	f, err := c.signed("get")
	if err != nil {
		return err
	}
	return c.sendLFS(f.repo.ID, f.sha)
}

// verifyLFS tells a client whether what it sent has arrived.
func (c *call) verifyLFS() error {
	f, err := c.signed("verify")
	if err != nil {
		return err
	}
	size, err := c.s.HasLFS(f.repo.ID, f.sha)
	if err != nil {
		return err
	}
	if size != f.size {
		return invalid("The object has %d bytes, not %d", size, f.size)
	}
	c.w.Header().Set("Content-Type", lfsMedia)
	return c.ok()
}
