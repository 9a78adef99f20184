package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/lfs"
)

// Bounds of one commit.
const (
	maxLine    = 24 << 20 // bytes of a line
	bigLine    = 1 << 20  // a longer one comes by a file, and waits until no other is in memory
	maxLines   = 50_000
	maxCommit  = 2 << 30  // bytes of all lines, as of a push
	maxRegular = 10 << 20 // bytes of a file that is kept in git
)

// commitLine is one line of a commit's body.
type commitLine struct {
	Key   string `json:"key"`
	Value struct {
		Summary      string `json:"summary"`
		Description  string `json:"description"`
		ParentCommit string `json:"parentCommit"`
		Path         string `json:"path"`
		Content      text   `json:"content"`
		Encoding     string `json:"encoding"`
		Algo         string `json:"algo"`
		OID          string `json:"oid"`
		Size         *int64 `json:"size"`
	} `json:"value"`
}

// text is a JSON string that still stands in the line, so that a file is in
// memory once and not three times. It is valid as long as the line is.
type text []byte

// UnmarshalJSON keeps the string as it stands.
func (t *text) UnmarshalJSON(literal []byte) error {
	*t = literal
	return nil
}

// plain gives what the string says.
func (t text) plain() ([]byte, error) {
	if len(t) < 2 || t[0] != '"' || bytes.IndexByte(t, '\\') >= 0 {
		var s string
		err := json.Unmarshal(t, &s)
		return []byte(s), err
	}
	return t[1 : len(t)-1], nil
}

// parseCommitLine reads and checks one line, except for what only the repo knows.
func parseCommitLine(text []byte) (*commitLine, error) {
	var l commitLine
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, badRequest("Bad request for commit endpoint: a line is not JSON: %v", err)
	}
	v := &l.Value
	switch l.Key {
	case "header":
		if v.ParentCommit != "" && (len(v.ParentCommit) < 7 || len(v.ParentCommit) > 40 || strings.Trim(v.ParentCommit, "0123456789abcdef") != "") {
			return nil, badRequest("Bad request for commit endpoint: parentCommit is no commit id")
		}
		return &l, nil
	case "file":
		if v.Encoding != "" && v.Encoding != "base64" && v.Encoding != "utf-8" {
			return nil, badRequest("Bad request for commit endpoint: the encoding of %s is neither base64 nor utf-8", headerText(v.Path))
		}
	case "lfsFile":
		if v.Algo != "" && v.Algo != "sha256" || !lfs.IsSHA256(v.OID) || v.Size != nil && *v.Size < 0 {
			return nil, badRequest("Bad request for commit endpoint: oid of %s is no sha256, or its size is negative", headerText(v.Path))
		}
	case "deletedFile":
	case "deletedFolder":
		v.Path = strings.TrimSuffix(v.Path, "/")
	default:
		return nil, badRequest("Bad request for commit endpoint: unknown key %q", headerText(l.Key))
	}
	return &l, gitrepo.CheckPath(v.Path)
}

// bytes gives a file's content.
func (l *commitLine) bytes() ([]byte, error) {
	content := []byte{}
	var err error
	if len(l.Value.Content) > 0 {
		if content, err = l.Value.Content.plain(); err != nil {
			return nil, badRequest("Bad request for commit endpoint: the content of %s is no text", headerText(l.Value.Path))
		}
	}
	if l.Value.Encoding == "utf-8" {
		return bytes.Clone(content), nil
	}
	data := make([]byte, base64.StdEncoding.DecodedLen(len(content)))
	n, err := base64.StdEncoding.Decode(data, content)
	if err != nil {
		return nil, badRequest("Bad request for commit endpoint: the content of %s is not base64", headerText(l.Value.Path))
	}
	return data[:n], nil
}

// lineReader gives the lines of a body, with bounds. Only one long line of the
// whole server is in memory at a time, whoever sends it; until all of it has come it
// lies in a file, so that a slow sender holds up nobody. done must be called when a
// line is used up.
type lineReader struct {
	in    *bufio.Reader
	dir   string        // for long lines on their way
	turn  chan struct{} // whoever fills it may have a long line in memory
	mine  bool
	lines int
	left  int // bytes that may still come
}

func (r *lineReader) slice() ([]byte, error) {
	part, err := r.in.ReadSlice('\n')
	if r.left -= len(part); r.left < 0 {
		return nil, &Error{413, "PayloadTooLarge", "A commit has at most 2 GiB beside its large files: make several commits"}
	}
	return part, err
}

// next gives the next line without blanks around it; io.EOF after the last.
func (r *lineReader) next(ctx context.Context) ([]byte, error) {
	for {
		line, err := r.read(ctx)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if r.lines++; r.lines > maxLines {
			return nil, &Error{413, "PayloadTooLarge", "A commit has at most 50000 lines: make several commits"}
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
		if err != nil {
			return nil, io.EOF
		}
		r.done()
	}
}

// read gives a line with its end, and io.EOF with the last.
func (r *lineReader) read(ctx context.Context) ([]byte, error) {
	var line []byte
	for {
		part, err := r.slice()
		line = append(line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(line) > bigLine:
			return r.readLong(ctx, line)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return nil, bodyError(err)
		}
		return line, err
	}
}

// readLong reads the rest of a line into a file, and then waits for the turn to have
// it in memory.
func (r *lineReader) readLong(ctx context.Context, part []byte) ([]byte, error) {
	f, err := os.CreateTemp(r.dir, "line-*")
	if err != nil {
		return nil, fmt.Errorf("keep a long line: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	length, end := 0, error(bufio.ErrBufferFull)
	for {
		if length += len(part); length > maxLine {
			return nil, &Error{413, "PayloadTooLarge", "A line of the commit is longer than 24 MiB: send the file as a large file"}
		}
		if _, err := f.Write(part); err != nil {
			return nil, fmt.Errorf("keep a long line: %w", err)
		}
		if !errors.Is(end, bufio.ErrBufferFull) {
			break
		}
		part, end = r.slice()
	}
	if end != nil && !errors.Is(end, io.EOF) {
		return nil, bodyError(end)
	}
	select {
	case r.turn <- struct{}{}:
		r.mine = true
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	line := make([]byte, length)
	if _, err := f.ReadAt(line, 0); err != nil {
		return nil, fmt.Errorf("read a long line back: %w", err)
	}
	return line, end
}

func (r *lineReader) done() {
	if r.mine {
		<-r.turn
		r.mine = false
	}
}
