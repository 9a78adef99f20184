package client

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
)

// want is one file to fetch.
type want struct {
	path string // in its repository, for messages
	url  string // resolve address, pinned to a commit
	etag string // sha256 or git's blob id; anything else cannot be checked
	size int64
}

// fetch brings a file below root under the name target, by way of temp, when its
// content is checked and synced. What an earlier attempt left in temp is used. Content
// with another hash is set aside, and fetched once more.
func (c *Client) fetch(ctx context.Context, root *os.Root, temp, target string, w want, m *meter) error {
	for attempt := 0; ; attempt++ {
		checked, err := c.fill(ctx, root, temp, w, m)
		if err == nil {
			err = settle(root, temp, target, w, checked)
		}
		var bad *MismatchError
		if !errors.As(err, &bad) {
			return err
		}
		aside := strings.TrimSuffix(temp, partSuffix) + ".corrupt" + partSuffix
		if moveErr := root.Rename(temp, aside); moveErr != nil && !errors.Is(moveErr, fs.ErrNotExist) {
			return fmt.Errorf("%w; and setting it aside: %w", err, moveErr)
		}
		_ = root.Remove(temp + ".json")
		if attempt > 0 {
			return fmt.Errorf("%w; what arrived is kept as %s, ask who runs the hub", err, aside)
		}
		m.set(w.path, 0, w.size)
		c.log.Warn("a file arrived damaged and is fetched again", "file", w.path, "reason", err.Error())
	}
}

// fill fetches what temp lacks and checks the whole. The file is as it was looked at
// when nothing more was to be written.
func (c *Client) fill(ctx context.Context, root *os.Root, temp string, w want, m *meter) (checked fs.FileInfo, err error) {
	old, clear := begun(root, temp)
	if !clear {
		return nil, fmt.Errorf("write %s: %s is another user's and cannot be removed", w.path, temp)
	}
	f, err := root.OpenFile(temp, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", w.path, err)
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	if old {
		if err := likeNew(root, f, temp); err != nil {
			return nil, fmt.Errorf("write %s: %w", w.path, err)
		}
	}
	t := &transfer{c: c, root: root, side: temp + ".json", f: f, want: w, meter: m, address: w.url}
	if err := t.resume(); err != nil {
		return nil, err
	}
	sum := make(chan string, 1)
	go func() { sum <- t.hash() }()
	err = t.run(ctx)
	t.parts.end()
	checked, statErr := f.Stat()
	got := <-sum
	if err != nil {
		if saveErr := t.parts.save(root, t.side, w.etag, true); saveErr != nil {
			c.log.Warn("how far a download is could not be noted", "file", w.path, "reason", saveErr.Error())
		}
		return nil, err
	}
	if err := t.check(got); err != nil {
		return nil, err
	}
	if err := errors.Join(statErr, f.Sync()); err != nil {
		return nil, fmt.Errorf("write %s: %w", w.path, err)
	}
	if err := root.Remove(t.side); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the notes of %s: %w", w.path, err)
	}
	return checked, nil
}

// transfer is one file on its way.
type transfer struct {
	c     *Client
	root  *os.Root
	side  string
	f     *os.File
	want  want
	meter *meter
	parts *parts

	hashErr error // why hash could not read what was written

	mu      sync.Mutex
	address string // where the last answer came from: a signed address may stand for the resolve address
}

// errWhole is the answer of a server that does not send ranges.
var errWhole = errors.New("the server sends the whole file")

// resume reads what earlier attempts left.
func (t *transfer) resume() error {
	info, err := t.f.Stat()
	if err != nil {
		return fmt.Errorf("read %s: %w", t.want.path, err)
	}
	side, err := t.root.ReadFile(t.side)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the notes of %s: %w", t.want.path, err)
	}
	t.parts = readParts(side, t.want.etag, t.want.size, t.c.chunk, info.Size())
	if t.parts.done() == 0 {
		if err := t.f.Truncate(0); err != nil {
			return fmt.Errorf("write %s: %w", t.want.path, err)
		}
	}
	t.meter.set(t.want.path, t.parts.done(), t.want.size)
	return t.parts.save(t.root, t.side, t.want.etag, true)
}

// run fetches the missing chunks, several at once; in order, if the server does not
// send ranges.
func (t *transfer) run(ctx context.Context) error {
	missing := t.parts.missing()
	if len(missing) == 0 {
		return nil
	}
	err := each(ctx, t.c.connections, missing, t.chunk)
	if !errors.Is(err, errWhole) {
		return err
	}
	t.c.log.Info("the server sends no ranges, the file is fetched in one go", "file", t.want.path)
	t.parts.dropHoles()
	return t.whole(ctx)
}

// chunk fetches the rest of chunk i.
func (t *transfer) chunk(ctx context.Context, i int) error {
	return t.persist(ctx, func() (bool, error) {
		from, to := t.parts.rest(i)
		if from == to {
			return true, nil
		}
		body, start, err := t.open(ctx, from, to)
		if err != nil {
			return false, err
		}
		defer body.Close()
		if start != from {
			return false, permanent{errWhole}
		}
		return false, t.copy(ctx, body, from, to)
	})
}

// whole fetches a file from its first hole on, reading past what is there.
func (t *transfer) whole(ctx context.Context) error {
	return t.persist(ctx, func() (bool, error) {
		from := t.parts.prefix()
		if from == t.want.size {
			return true, nil
		}
		body, start, err := t.open(ctx, from, t.want.size)
		if err != nil {
			return false, err
		}
		defer body.Close()
		if _, err := io.CopyN(io.Discard, body, from-start); err != nil {
			return false, err
		}
		return false, t.copy(ctx, body, from, t.want.size)
	})
}

// persist repeats work until it is done. An attempt that brought bytes makes the
// count of attempts begin again.
func (t *transfer) persist(ctx context.Context, work func() (done bool, err error)) error {
	before := t.parts.done()
	for attempt := 0; ; {
		done, err := work()
		if done || errors.As(err, new(permanent)) || errors.As(err, new(*Error)) || errors.As(err, new(*MismatchError)) || errors.As(err, new(*fs.PathError)) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("fetch %s: %w", t.want.path, context.Cause(ctx))
		}
		if now := t.parts.done(); now != before {
			before, attempt = now, 0
		}
		if err == nil {
			continue // look whether it is complete
		}
		if attempt++; attempt > maxRetries {
			return fmt.Errorf("fetch %s: %w", t.want.path, err)
		}
		wait := backoff(attempt - 1)
		t.c.log.Warn("a transfer was cut and goes on", "file", t.want.path, "reason", t.c.mask(err.Error()), "wait", wait)
		if err := t.c.sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// open asks for the bytes from up to to, and returns where the answer begins.
func (t *transfer) open(ctx context.Context, from, to int64) (body io.ReadCloser, start int64, err error) {
	t.mu.Lock()
	address := t.address
	t.mu.Unlock()
	k := call{method: http.MethodGet, url: address, header: http.Header{"Accept-Encoding": {"identity"}}}
	if from > 0 || to < t.want.size {
		k.header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	}
	resp, err := t.c.send(ctx, k)
	var answer *Error
	if errors.As(err, &answer) && address != t.want.url && answer.Status < 500 {
		t.redirectTo(t.want.url) // a signed address that is no longer valid
		return nil, 0, fmt.Errorf("the address to download from has expired: %v", err)
	}
	if errors.As(err, &answer) && answer.Status == http.StatusRequestedRangeNotSatisfiable {
		return nil, 0, &MismatchError{Path: t.want.path, What: "length", Want: strconv.FormatInt(t.want.size, 10), Got: "less, so the server has no bytes from " + strconv.FormatInt(from, 10)}
	}
	if err != nil {
		return nil, 0, permanent{err} // send has tried often enough
	}
	if start, err = t.accept(resp, from); err != nil {
		_ = resp.Body.Close()
		return nil, 0, err
	}
	return resp.Body, start, nil
}

// accept checks that an answer is of this file, and tells where it begins.
func (t *transfer) accept(resp *http.Response, from int64) (start int64, err error) {
	w := t.want
	mismatch := func(what, want, got string) error {
		return &MismatchError{Path: w.path, What: what, Want: want, Got: got}
	}
	final := resp.Request.URL
	if sameOrigin(final, t.c.endpoint) {
		got := normalETag(resp.Header.Get("X-Linked-ETag"))
		if got == "" {
			got = normalETag(resp.Header.Get("ETag"))
		}
		if isHash(got, len(w.etag)) && isHash(w.etag, len(w.etag)) && got != w.etag {
			return 0, mismatch("ETag", w.etag, got)
		}
	}
	total := resp.ContentLength
	if resp.StatusCode == http.StatusPartialContent {
		var end int64
		if start, end, total, err = contentRange(resp.Header.Get("Content-Range")); err != nil {
			return 0, fmt.Errorf("fetch %s: %w", w.path, err)
		}
		if start != from || end <= start {
			return 0, fmt.Errorf("fetch %s: asked for bytes from %d, the server sends %d to %d", w.path, from, start, end-1)
		}
	}
	if total >= 0 && total != w.size {
		return 0, mismatch("length", strconv.FormatInt(w.size, 10), strconv.FormatInt(total, 10))
	}
	if !sameOrigin(final, t.c.endpoint) {
		t.redirectTo(final.String())
	}
	return start, nil
}

// redirectTo remembers where to ask next.
func (t *transfer) redirectTo(address string) {
	t.mu.Lock()
	t.address = address
	t.mu.Unlock()
}

// buffers are shared by all transfers: a hundred at once need as many for writing,
// and as many for hashing.
var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// copy writes body to the file from one offset up to another.
func (t *transfer) copy(ctx context.Context, body io.Reader, from, to int64) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for from < to {
		n, err := body.Read((*buf)[:min(int64(len(*buf)), to-from)])
		if n > 0 {
			if waitErr := t.c.limit.wait(ctx, n); waitErr != nil {
				return waitErr
			}
			if _, err := t.f.WriteAt((*buf)[:n], from); err != nil {
				return permanent{fmt.Errorf("write %s: %w", t.want.path, err)}
			}
			from += t.note(from, int64(n))
		}
		switch {
		case errors.Is(err, io.EOF) && from < to:
			return io.ErrUnexpectedEOF
		case err != nil && from < to:
			return err
		}
	}
	return nil
}

// note counts n bytes written at an offset, in the chunks that they fall into.
func (t *transfer) note(from, n int64) int64 {
	for left, at := n, from; left > 0; {
		i := int(at / t.parts.chunk)
		some := min(left, int64(i+1)*t.parts.chunk-at)
		t.parts.add(i, some)
		left, at = left-some, at+some
	}
	if err := t.parts.save(t.root, t.side, t.want.etag, false); err != nil {
		t.c.log.Warn("how far a download is could not be noted", "file", t.want.path, "reason", err.Error())
	}
	t.meter.set(t.want.path, t.parts.done(), t.want.size)
	return n
}

// newHash gives the hash whose result an ETag is, nil if it is no hash.
func newHash(etag string, size int64) (h hash.Hash, name string) {
	switch {
	case isHash(etag, 64):
		return sha256.New(), "sha256"
	case isHash(etag, 40):
		h := sha1.New()
		fmt.Fprintf(h, "blob %d\x00", size)
		return h, "git blob id"
	}
	return nil, ""
}

// hash follows the file as it grows, and returns its hash when it has ended.
func (t *transfer) hash() string {
	h, _ := newHash(t.want.etag, t.want.size)
	if h == nil {
		return ""
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for pos := int64(0); pos < t.want.size; {
		end := t.parts.beyond(pos)
		if end <= pos {
			return "" // it ended early
		}
		for pos < end {
			n, err := t.f.ReadAt((*buf)[:min(int64(len(*buf)), end-pos)], pos)
			if n == 0 {
				t.hashErr = fmt.Errorf("read %s: %w", t.want.path, err)
				return ""
			}
			h.Write((*buf)[:n])
			pos += int64(n)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// check compares the hash with the ETag.
func (t *transfer) check(got string) error {
	if t.hashErr != nil {
		return t.hashErr
	}
	if h, name := newHash(t.want.etag, t.want.size); h != nil && got != t.want.etag {
		return &MismatchError{Path: t.want.path, What: name, Want: t.want.etag, Got: got}
	}
	return nil
}
