package xet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// putShard takes a shard and answers when its files are made.
func (b *Bridge) putShard(w http.ResponseWriter, r *http.Request) {
	g, files, ok := b.readShard(w, r)
	if !ok {
		return
	}
	if err := b.makeAll(r.Context(), g, files, func(int64) {}); err != nil {
		b.refuse(w, r, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"result": 1})
}

// frameEvery is the time between two messages of a stream; clients give up after
// minutes without one.
const frameEvery = 2 * time.Second

// streamShard takes a shard and tells how far it is, a line of JSON at a time. The
// last line says how it ended.
func (b *Bridge) streamShard(w http.ResponseWriter, r *http.Request) {
	g, files, ok := b.readShard(w, r)
	if !ok {
		return
	}
	var done, total int64
	for _, f := range files {
		total += f.Size()
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	frame := func(value map[string]any) {
		out.Encode(value) // a client that is gone ends the request's context
		flush.Flush()
	}
	frame(map[string]any{"type": "validating", "verified": 0, "total": total})
	last := time.Now()
	err := b.makeAll(r.Context(), g, files, func(n int64) {
		if done += n; time.Since(last) >= frameEvery {
			last = time.Now()
			frame(map[string]any{"type": "validating", "verified": done, "total": total})
		}
	})
	switch {
	case err == nil:
		frame(map[string]any{"type": "result", "result": 1})
	case isInvalid(err):
		frame(map[string]any{"type": "error", "message": err.Error(), "retryable": false})
	default:
		b.cfg.Logger.ErrorContext(r.Context(), "take upload", "path", r.URL.Path, "error", err)
		frame(map[string]any{"type": "error", "message": errServer, "retryable": true})
	}
}

// readShard reads the shard of a request that may write; else it answers.
func (b *Bridge) readShard(w http.ResponseWriter, r *http.Request) (Grant, []File, bool) {
	g, ok := b.grant(w, r)
	if !ok {
		return Grant{}, nil, false
	}
	if r.ContentLength > MaxShard {
		fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("a shard may have %d bytes", MaxShard))
		return Grant{}, nil, false
	}
	files, err := ReadShard(r.Body)
	if err != nil {
		b.refuse(w, r, err)
		return Grant{}, nil, false
	}
	return g, files, true
}

// makeAll makes the files of a shard and tells read of the bytes as they are read.
func (b *Bridge) makeAll(ctx context.Context, g Grant, files []File, read func(n int64)) error {
	for _, f := range files {
		if err := b.make(ctx, g, f, read); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := b.store.Used(g.scope(), f.xorbs()); err != nil {
			b.cfg.Logger.WarnContext(ctx, "mark xorbs as used", "error", err) // they are swept later then
		}
	}
	return nil
}

// make builds one file and gives it to the store of large files, unless the repo
// has it.
func (b *Bridge) make(ctx context.Context, g Grant, f File, read func(n int64)) error {
	if f.SHA256 == (Hash{}) {
		return fmt.Errorf("file %s: %w", f.Hash, ErrNoSHA256)
	}
	if f.Size() > b.cfg.MaxFile {
		return fmt.Errorf("file %s: %d bytes, allowed are %d: %w", f.Hash, f.Size(), b.cfg.MaxFile, ErrTooLarge)
	}
	has, err := b.cfg.Objects.Has(ctx, g.Repo, f.SHA256.String())
	if err != nil {
		return fmt.Errorf("look for file %s: %w", f.SHA256, err)
	}
	if has {
		return nil
	}
	scope := g.scope()
	src, err := NewReader(f, func(h Hash) (*Xorb, error) { return b.store.Open(scope, h) })
	if err != nil {
		return err
	}
	defer src.Close()
	if err := b.cfg.Objects.Put(ctx, g.Repo, f.SHA256.String(), f.Size(), countingReader{src, read}); err != nil {
		return fmt.Errorf("store file %s: %w", f.SHA256, err)
	}
	return nil
}

// countingReader tells read how many bytes were read.
type countingReader struct {
	src  io.Reader
	read func(n int64)
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.src.Read(p)
	c.read(int64(n))
	return n, err
}

// xorbs lists the xorbs of a file, neighbours once.
func (f File) xorbs() []Hash {
	var out []Hash
	for _, t := range f.Terms {
		if len(out) == 0 || out[len(out)-1] != t.Xorb {
			out = append(out, t.Xorb)
		}
	}
	return out
}
