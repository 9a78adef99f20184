package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

const lfsType = "application/vnd.git-lfs+json"

// lfsAction is where to send an object.
type lfsAction struct {
	Href      string            `json:"href"`
	Header    map[string]string `json:"header,omitempty"`
	ExpiresAt time.Time         `json:"expires_at,omitzero"`
}

// lfsObject is the server's answer about an object.
type lfsObject struct {
	OID     string
	Size    int64
	Actions map[string]lfsAction
	Error   *struct {
		Code    int
		Message string
	}
}

// sendObjects sends the LFS objects that the server lacks.
func (u *upload) sendObjects(ctx context.Context) error {
	var files []*item
	byHash := map[string][]*item{}
	for _, i := range u.items {
		if !i.lfs {
			continue
		}
		if byHash[i.hash] == nil {
			files = append(files, i)
		}
		byHash[i.hash] = append(byHash[i.hash], i)
	}
	for batch := range slices.Chunk(files, askFiles) {
		objects, err := u.lfsBatch(ctx, batch)
		if err != nil {
			return err
		}
		err = each(ctx, u.c.workers, batch, func(ctx context.Context, i *item) error {
			sent, err := u.sendObject(ctx, i, objects[i.hash])
			if err != nil {
				return fmt.Errorf("send %s: %w", i.Path, err)
			}
			for _, same := range byHash[i.hash] {
				u.meter.set(same.Path, same.size, same.size)
			}
			if sent {
				u.count()
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// count counts a file that was sent.
func (u *upload) count() {
	u.mu.Lock()
	u.made.Sent++
	u.mu.Unlock()
}

// lfsBatch asks where objects go.
func (u *upload) lfsBatch(ctx context.Context, batch []*item) (map[string]lfsObject, error) {
	type object struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	}
	var objects []object
	for _, i := range batch {
		objects = append(objects, object{i.hash, i.size})
	}
	in := map[string]any{
		"operation": "upload", "transfers": []string{"basic", "multipart"}, "hash_algo": "sha256",
		"objects": objects, "ref": map[string]string{"name": u.o.Revision},
	}
	var out struct {
		Transfer string
		Objects  []lfsObject
	}
	k := call{
		method: http.MethodPost, url: "/" + u.repo.String() + ".git/info/lfs/objects/batch", again: true,
		header: http.Header{"Accept": {lfsType}, "Content-Type": {lfsType}},
	}
	if err := u.c.api(ctx, k, in, &out); err != nil {
		return nil, fmt.Errorf("ask where to send files: %w", err)
	}
	if out.Transfer != "" && out.Transfer != "basic" && out.Transfer != "multipart" {
		return nil, fmt.Errorf("the server wants files sent by %q, which was not offered", out.Transfer)
	}
	found := map[string]lfsObject{}
	for _, o := range out.Objects {
		found[o.OID] = o
	}
	for _, i := range batch {
		o, ok := found[i.hash]
		switch {
		case !ok:
			return nil, fmt.Errorf("ask where to send files: the server says nothing of %s", i.Path)
		case o.Error != nil:
			return nil, fmt.Errorf("the server refuses %s: %s (code %d)", i.Path, u.c.mask(o.Error.Message), o.Error.Code)
		}
	}
	return found, nil
}

// sendObject sends one object unless the server has it.
func (u *upload) sendObject(ctx context.Context, i *item, o lfsObject) (sent bool, err error) {
	to, needed := o.Actions["upload"]
	if !needed {
		return false, nil
	}
	if _, inParts := to.Header["chunk_size"]; inParts { // one answer holds objects of both kinds
		err = u.sendParts(ctx, i, to)
	} else {
		err = u.put(ctx, i, to)
	}
	if ctx.Err() == nil {
		if changed := i.changed(); changed != nil {
			return false, changed
		}
	}
	if err != nil {
		return false, err
	}
	if verify, ok := o.Actions["verify"]; ok {
		header := headerOf(verify.Header)
		header.Set("Accept", lfsType)
		in := map[string]any{"oid": i.hash, "size": i.size}
		k := call{method: http.MethodPost, url: verify.Href, header: header, again: true}
		if err := u.c.api(ctx, k, in, nil); err != nil {
			return false, fmt.Errorf("let the server check it: %w", err)
		}
	}
	return true, nil
}

// headerOf makes the headers that an action asks for.
func headerOf(m map[string]string) http.Header {
	h := http.Header{}
	for name, value := range m {
		h.Set(name, value)
	}
	return h
}

// put sends an object in one request.
func (u *upload) put(ctx context.Context, i *item, to lfsAction) error {
	header := headerOf(to.Header)
	header.Set("Content-Type", "application/octet-stream")
	body := func() (io.Reader, int64, error) {
		r, err := i.open()
		if err != nil {
			return nil, 0, err
		}
		var done int64
		return &countedReader{ReadCloser: r, count: func(n int) {
			done += int64(n)
			u.meter.set(i.Path, done, i.size)
		}}, i.size, nil
	}
	return u.c.api(ctx, call{method: http.MethodPut, url: to.Href, header: header, body: body, bare: true}, nil, nil)
}

// countedReader reports what is read.
type countedReader struct {
	io.ReadCloser
	count func(n int)
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.count(n)
	return n, err
}

// partNotes is what is kept of an object sent in parts, for the next attempt.
type partNotes struct {
	Version int            `json:"version"`
	OID     string         `json:"oid"`
	To      lfsAction      `json:"to"`
	ETags   map[int]string `json:"etags"` // of the parts that arrived, the first is 1
}

// sendParts sends an object in parts, several at once, and goes on with an earlier
// attempt if its notes are there and the server still takes its parts.
func (u *upload) sendParts(ctx context.Context, i *item, to lfsAction) error {
	notes := partNotes{Version: 1, OID: i.hash, To: to, ETags: map[int]string{}}
	if old, ok := u.readNotes(i.hash); ok {
		err := u.partsTo(ctx, i, &old)
		var answer *Error
		if err == nil || !errors.As(err, &answer) || answer.Status >= 500 {
			return err
		}
		u.c.log.Info("an upload that was cut cannot go on and begins again", "file", i.Path, "reason", err.Error())
	}
	return u.partsTo(ctx, i, &notes)
}

// partsTo sends the parts that notes lack, and completes the object.
func (u *upload) partsTo(ctx context.Context, i *item, notes *partNotes) error {
	chunk, urls, err := partURLs(notes.To.Header, i.size)
	if err != nil {
		return err
	}
	var missing []int
	var done int64
	for n := range urls {
		if notes.ETags[n+1] == "" {
			missing = append(missing, n)
		} else {
			done += min(chunk, i.size-int64(n)*chunk)
		}
	}
	u.meter.set(i.Path, done, i.size)
	var mu sync.Mutex
	err = each(ctx, u.c.connections, missing, func(ctx context.Context, n int) error {
		etag, err := u.putPart(ctx, i, urls[n], int64(n)*chunk, min(chunk, i.size-int64(n)*chunk))
		if err != nil {
			return fmt.Errorf("part %d of %d: %w", n+1, len(urls), err)
		}
		mu.Lock()
		defer mu.Unlock()
		done += min(chunk, i.size-int64(n)*chunk)
		notes.ETags[n+1] = etag
		u.meter.set(i.Path, done, i.size)
		return u.writeNotes(notes)
	})
	if err != nil {
		return err
	}
	type part struct {
		Number int    `json:"partNumber"`
		ETag   string `json:"etag"`
	}
	var list []part
	for n := range urls {
		list = append(list, part{n + 1, notes.ETags[n+1]})
	}
	k := call{
		method: http.MethodPost, url: notes.To.Href, again: true, bare: true,
		header: http.Header{"Accept": {lfsType}, "Content-Type": {lfsType}},
	}
	if err := u.c.api(ctx, k, map[string]any{"oid": i.hash, "parts": list}, nil); err != nil {
		return fmt.Errorf("complete its %d parts: %w", len(urls), err)
	}
	return u.dropNotes(i.hash)
}

// partURLs reads the addresses of parts: keys 1, 2, … or 00001, 00002, …
func partURLs(header map[string]string, size int64) (chunk int64, urls []string, err error) {
	chunk, err = strconv.ParseInt(header["chunk_size"], 10, 63)
	if err != nil || chunk <= 0 {
		return 0, nil, fmt.Errorf("the server's size of parts is %q", header["chunk_size"])
	}
	count := (size + chunk - 1) / chunk
	if count > 100_000 {
		return 0, nil, fmt.Errorf("the server wants %d parts", count)
	}
	urls = make([]string, count)
	for key, address := range header {
		n, err := strconv.Atoi(key)
		if err != nil {
			continue
		}
		if n < 1 || int64(n) > count || urls[n-1] != "" {
			return 0, nil, fmt.Errorf("the server gives an address for part %d of %d", n, count)
		}
		urls[n-1] = address
	}
	if n := slices.Index(urls, ""); n >= 0 {
		return 0, nil, fmt.Errorf("the server gives no address for part %d of %d", n+1, count)
	}
	return chunk, urls, nil
}

// putPart sends one part and returns the ETag that it got.
func (u *upload) putPart(ctx context.Context, i *item, address string, from, length int64) (etag string, err error) {
	body := func() (io.Reader, int64, error) {
		r, err := i.open()
		if err != nil {
			return nil, 0, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.NewSectionReader(r, from, length), r}, length, nil
	}
	resp, err := u.c.send(ctx, call{method: http.MethodPut, url: address, body: body, bare: true})
	if err != nil {
		return "", err
	}
	discard(resp)
	if etag = resp.Header.Get("ETag"); etag == "" {
		return "", errors.New("the server gave no ETag for it")
	}
	return etag, nil
}

// notesFile names the notes of an object in ResumeDir, for this hub and repository.
// Their addresses are signed, so nobody else may read them.
func (u *upload) notesFile(oid string) string {
	sum := sha256.Sum256([]byte(u.c.base + " " + u.repo.String() + " " + oid))
	return hex.EncodeToString(sum[:]) + ".json"
}

func (u *upload) readNotes(oid string) (partNotes, bool) {
	var n partNotes
	if u.o.ResumeDir == "" {
		return n, false
	}
	data, err := os.ReadFile(filepath.Join(u.o.ResumeDir, u.notesFile(oid)))
	if err != nil || json.Unmarshal(data, &n) != nil || n.Version != 1 || n.OID != oid {
		return n, false
	}
	if n.ETags == nil {
		n.ETags = map[int]string{}
	}
	return n, n.To.ExpiresAt.IsZero() || time.Now().Before(n.To.ExpiresAt)
}

func (u *upload) writeNotes(n *partNotes) error {
	if u.o.ResumeDir == "" {
		return nil
	}
	if err := os.MkdirAll(u.o.ResumeDir, 0o700); err != nil {
		return fmt.Errorf("note how far the upload is: %w", err)
	}
	root, err := os.OpenRoot(u.o.ResumeDir)
	if err != nil {
		return fmt.Errorf("note how far the upload is: %w", err)
	}
	defer root.Close()
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return writeWhole(root, u.notesFile(n.OID), data)
}

func (u *upload) dropNotes(oid string) error {
	if u.o.ResumeDir == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(u.o.ResumeDir, u.notesFile(oid))); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the notes of an upload: %w", err)
	}
	return nil
}
