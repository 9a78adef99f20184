package server

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/lfs"
)

// Bounds of one commit.
const (
	maxLine    = 24 << 20 // bytes of a line
	bigLine    = 1 << 20  // a longer one waits until no other long line is in memory
	maxLines   = 50_000
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
// whole server is in memory at a time, whoever sends it: done must be called
// when a line is used up.
type lineReader struct {
	in    *bufio.Reader
	turn  chan struct{}
	mine  bool
	lines int
}

func (r *lineReader) next() ([]byte, error) {
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > bigLine && !r.mine {
			r.turn <- struct{}{}
			r.mine = true
		}
		switch {
		case len(line) > maxLine:
			return nil, &Error{413, "PayloadTooLarge", "A line of the commit is longer than 24 MiB: send the file as a large file"}
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return nil, bodyError(err)
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			if err != nil {
				return nil, io.EOF
			}
			continue
		}
		if r.lines++; r.lines > maxLines {
			return nil, &Error{413, "PayloadTooLarge", "A commit has at most 50000 lines: make several commits"}
		}
		return line, nil
	}
}

func (r *lineReader) done() {
	if r.mine {
		<-r.turn
		r.mine = false
	}
}
