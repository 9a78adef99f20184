package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// ReadRange reads the bytes of a commit's file from one offset up to another, or up
// to its end. A part of a file cannot be checked against its hash; its length is.
func (c *Client) ReadRange(ctx context.Context, repo Repo, commit string, e Entry, from, to int64) ([]byte, error) {
	if err := first(repo.Validate(), checkRevision(commit), e.check()); err != nil {
		return nil, err
	}
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("read bytes %d to %d of %s of %s: %w", from, to, e.Path, repo, err)
	}
	if to = min(to, e.Size); from < 0 || from >= to {
		return nil, nil
	}
	t := &transfer{c: c, want: want{path: e.Path, url: c.resolve(repo, commit, e.Path), etag: e.Hash(), size: e.Size}}
	k := call{method: http.MethodGet, url: t.want.url, header: http.Header{"Accept-Encoding": {"identity"}}}
	k.header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	for attempt := 0; ; attempt++ {
		data, err := t.piece(ctx, k, from, to)
		if err == nil {
			return data, nil
		}
		if !retryable(err, true) || ctx.Err() != nil || attempt >= maxRetries {
			return fail(err)
		}
		if err := c.sleep(ctx, backoff(attempt)); err != nil {
			return fail(err)
		}
	}
}

// piece sends the call of a range once and reads its answer.
func (t *transfer) piece(ctx context.Context, k call, from, to int64) ([]byte, error) {
	resp, err := t.c.send(ctx, k)
	if err != nil {
		return nil, permanent{err} // send has tried often enough
	}
	defer resp.Body.Close()
	start, err := t.accept(resp, from)
	if err != nil {
		return nil, permanent{err}
	}
	if _, err := io.CopyN(io.Discard, resp.Body, from-start); err != nil {
		return nil, err
	}
	data := make([]byte, to-from)
	_, err = io.ReadFull(resp.Body, data)
	return data, err
}

// contentRange reads "bytes 0-9/10", with the end behind the last byte and -1 for
// an unknown total.
func contentRange(header string) (start, end, total int64, err error) {
	fail := fmt.Errorf("the range %q of the answer cannot be read", header)
	rest, ok := strings.CutPrefix(strings.TrimSpace(header), "bytes ")
	span, size, ok2 := strings.Cut(rest, "/")
	first, last, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, 0, fail
	}
	total = -1
	if size != "*" {
		if total, err = strconv.ParseInt(size, 10, 63); err != nil {
			return 0, 0, 0, fail
		}
	}
	start, err1 := strconv.ParseInt(first, 10, 63)
	end, err2 := strconv.ParseInt(last, 10, 62)
	if err1 != nil || err2 != nil || start < 0 || end < start || total >= 0 && end >= total {
		return 0, 0, 0, fail
	}
	return start, end + 1, total, nil
}
