package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"strings"
)

// ndjson is the body of a commit: lines of JSON, of which those with a file's
// content are made when they are sent.
type ndjson struct {
	lines  []line
	length int64
}

// line is text, and between its two parts the content of a file.
type line struct {
	text []byte
	item *item
	tail []byte
}

// add appends a line.
func (n *ndjson) add(key string, value any) error {
	text, err := json.Marshal(map[string]any{"key": key, "value": value})
	if err != nil {
		return err
	}
	text = append(text, '\n')
	n.lines = append(n.lines, line{text: text})
	n.length += int64(len(text))
	return nil
}

// addFile appends the line of a file with its content.
func (n *ndjson) addFile(i *item) error {
	const mark = "CONTENT"
	text, err := json.Marshal(map[string]any{"key": "file", "value": map[string]any{"path": i.Path, "encoding": "base64", "content": mark}})
	if err != nil {
		return err
	}
	at := bytes.Index(text, []byte(`"content":"`+mark)) + len(`"content":"`)
	l := line{text: text[:at:at], item: i, tail: append(text[at+len(mark):], '\n')}
	n.lines = append(n.lines, l)
	n.length += int64(len(l.text)+len(l.tail)) + int64(base64.StdEncoding.EncodedLen(int(i.size)))
	return nil
}

// open gives the body and its length.
func (n *ndjson) open() (io.Reader, int64, error) {
	return &ndjsonReader{lines: n.lines, now: strings.NewReader("")}, n.length, nil
}

// ndjsonReader reads line after line, and holds the content of one file at a time.
type ndjsonReader struct {
	lines []line
	now   io.Reader
}

func (r *ndjsonReader) Read(p []byte) (int, error) {
	for {
		n, err := r.now.Read(p)
		if err != io.EOF || n > 0 {
			return n, nil
		}
		if len(r.lines) == 0 {
			return 0, io.EOF
		}
		l := r.lines[0]
		r.lines = r.lines[1:]
		if l.item == nil {
			r.now = bytes.NewReader(l.text)
			continue
		}
		content, err := contentOf(l.item)
		if err != nil {
			return 0, permanent{err}
		}
		r.now = io.MultiReader(bytes.NewReader(l.text), strings.NewReader(content), bytes.NewReader(l.tail))
	}
}
