package mirror

import (
	"bytes"
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
	"strings"
)

// Answer is a JSON answer.
type Answer struct {
	Header http.Header
	Body   []byte
}

// passed are the headers of answers that are kept and passed on.
var passed = []string{"Content-Type", "Link", "X-Repo-Commit", "X-Total-Count"}

// maxAnswer is the longest JSON answer in bytes.
const maxAnswer = 64 << 20

// JSON reads an address of the API, or posts q.Body there. Addresses of the other Hub in its Link header
// become ones below base.
func (m *Mirror) JSON(ctx context.Context, q Request, base string) (Answer, error) {
	method := http.MethodGet
	if q.Body != nil {
		method = http.MethodPost
	}
	resp, private, err := m.ask(ctx, method, q, "")
	if err != nil {
		return m.kept(q, base, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return m.kept(q, base, fmt.Errorf("%w: %w", ErrUnreachable, err))
	}
	if len(body) > maxAnswer || !json.Valid(body) {
		return Answer{}, fmt.Errorf("read answer of the upstream hub: it is not JSON of up to %d bytes", maxAnswer)
	}
	a := Answer{Header: http.Header{}, Body: body}
	for _, key := range passed {
		if value := resp.Header.Get(key); value != "" {
			a.Header.Set(key, value)
		}
	}
	places := []Request{q}
	if commit := resp.Header.Get("X-Repo-Commit"); hashPattern.MatchString(commit) {
		places = append(places, q.Pinned(commit))
	}
	if private {
		m.forget(q)
	} else if err := m.keep(a, places...); err != nil {
		return Answer{}, err
	}
	return a.below(m.upstream.String(), base), nil
}

// kept gives a kept answer if the other Hub could not be reached; one that was
// refused is forgotten.
func (m *Mirror) kept(q Request, base string, cause error) (Answer, error) {
	if !errors.Is(cause, ErrUnreachable) {
		m.forget(q)
		return Answer{}, cause
	}
	var a Answer
	if err := m.load(q, &a); err != nil {
		return Answer{}, cause
	}
	return a.below(m.upstream.String(), base), nil
}

// below rewrites the address of the next page.
func (a Answer) below(upstream, base string) Answer {
	if link := a.Header.Get("Link"); link != "" {
		a.Header.Set("Link", strings.ReplaceAll(link, "<"+upstream+"/", "<"+base+"/"))
	}
	return a
}

// record is the name under which the answer to a request is kept.
func record(q Request) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s?%s\n%s", q.path(), q.Query, q.Body) // never fails
	return filepath.Join("answers", hex.EncodeToString(sum.Sum(nil))+".json")
}

// keep writes a value for requests, each whole or not at all: a line with the
// sha256 of what follows, and JSON.
func (m *Mirror) keep(value any, requests ...Request) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("keep answer of the upstream hub: %w", err)
	}
	sum := sha256.Sum256(data)
	data = append([]byte(hex.EncodeToString(sum[:])+"\n"), data...)
	done := map[string]bool{}
	for _, q := range requests {
		name := record(q)
		if done[name] {
			continue
		}
		done[name] = true
		if err := m.write(name, data); err != nil {
			return fmt.Errorf("keep answer of the upstream hub: %w", err)
		}
	}
	return nil
}

// write writes a file to the shelf, if there is room.
func (m *Mirror) write(name string, data []byte) error {
	size := int64(len(data))
	if !m.shelf.promise(size) {
		return nil
	}
	defer m.shelf.fulfil(size)
	temp, err := os.CreateTemp(filepath.Join(m.dir, "temp"), "answer-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // after the rename there is nothing to remove
	_, err = temp.Write(data)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return m.shelf.put(temp.Name(), name, size)
}

// load reads what is kept for a request.
func (m *Mirror) load(q Request, value any) error {
	name := record(q)
	it := m.shelf.hold(name)
	if it == nil {
		return os.ErrNotExist
	}
	defer m.shelf.letGo(it)
	data, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		return err
	}
	head, body, _ := bytes.Cut(data, []byte("\n"))
	if sum := sha256.Sum256(body); string(head) != hex.EncodeToString(sum[:]) {
		m.shelf.drop(name)
		return fmt.Errorf("the answer kept for %s is spoiled: %w", q.path(), os.ErrNotExist)
	}
	return json.Unmarshal(body, value)
}

// forget removes what is kept for a request.
func (m *Mirror) forget(q Request) { m.shelf.drop(record(q)) }
