package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// dryRun is a transport that prints every call. Questions go to the hub; what would
// change something is answered here as a hub would that took it.
type dryRun struct {
	next http.RoundTripper

	mu   sync.Mutex
	w    io.Writer
	made map[string]bool // repos that would have been made, which the hub does not know
}

func newDryRun(w io.Writer, next http.RoundTripper) *dryRun {
	return &dryRun{next: next, w: w, made: map[string]bool{}}
}

// RoundTrip implements [http.RoundTripper].
func (d *dryRun) RoundTrip(r *http.Request) (*http.Response, error) {
	path := r.URL.Path
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		d.print(r, "")
	case strings.HasSuffix(path, "/api/validate-yaml"):
		d.print(r, "")
	case strings.Contains(path, "/paths-info/"):
		d.print(r, "")
		if d.unknown(path) {
			return d.answer(r, []any{})
		}
	case strings.HasSuffix(path, "/api/repos/create"):
		return d.create(r)
	case strings.Contains(path, "/preupload/") && !d.unknown(path):
		d.print(r, "")
	case strings.Contains(path, "/preupload/"):
		return d.preupload(r)
	case strings.HasSuffix(path, "/info/lfs/objects/batch"):
		return d.batch(r)
	case strings.Contains(path, "/commit/"):
		return d.commit(r)
	default:
		d.print(r, "")
		return d.answer(r, map[string]any{})
	}
	return d.next.RoundTrip(r)
}

// print writes one line: method, address without its query, and what is sent.
func (d *dryRun) print(r *http.Request, what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	line := r.Method + " " + r.URL.Scheme + "://" + r.URL.Host + r.URL.Path
	if what != "" {
		line += " " + what
	}
	fmt.Fprintln(d.w, line)
}

// unknown reports whether a path is of a repo that would have been made.
func (d *dryRun) unknown(path string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for repo := range d.made {
		if strings.Contains(path, "/"+repo+"/") || strings.Contains(path, "/"+repo+".git/") {
			return true
		}
	}
	return false
}

// body reads a request's JSON into v.
func body(r *http.Request, v any) error {
	defer r.Body.Close()
	return json.NewDecoder(r.Body).Decode(v)
}

func (d *dryRun) create(r *http.Request) (*http.Response, error) {
	var in struct{ Name, Organization, Type, SDK, Visibility string }
	if err := body(r, &in); err != nil {
		return nil, err
	}
	repo := in.Organization + "/" + in.Name
	d.print(r, strings.TrimSpace(strings.Join([]string{in.Type, repo, in.Visibility, in.SDK}, " ")))
	d.mu.Lock()
	d.made[repo] = true
	d.mu.Unlock()
	return d.answer(r, map[string]string{"url": r.URL.Scheme + "://" + r.URL.Host + "/" + repo})
}

// noCommit stands for the commit that would have been made.
var noCommit = strings.Repeat("0", 40)

// preupload answers for a repo that does not exist: weights go to LFS, the rest does
// not, and nothing is there yet.
func (d *dryRun) preupload(r *http.Request) (*http.Response, error) {
	var in struct {
		Files []struct {
			Path string `json:"path"`
			Size int64  `json:"size"`
		} `json:"files"`
	}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	d.print(r, count(len(in.Files), "file"))
	var files []map[string]any
	for _, f := range in.Files {
		mode := "regular"
		if strings.HasSuffix(f.Path, ".safetensors") || f.Size >= 10<<20 {
			mode = "lfs"
		}
		files = append(files, map[string]any{"path": f.Path, "uploadMode": mode, "shouldIgnore": false})
	}
	return d.answer(r, map[string]any{"files": files, "commitOid": noCommit})
}

// batch lists the objects and answers that all are stored, so that none is sent.
func (d *dryRun) batch(r *http.Request) (*http.Response, error) {
	var in struct {
		Objects []struct {
			OID  string `json:"oid"`
			Size int64  `json:"size"`
		} `json:"objects"`
	}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	var total int64
	for _, o := range in.Objects {
		total += o.Size
	}
	d.print(r, fmt.Sprintf("%s, %s, which are then sent if the hub lacks them", count(len(in.Objects), "object"), size(total)))
	return d.answer(r, map[string]any{"transfer": "basic", "objects": in.Objects})
}

// commit lists what a commit does.
func (d *dryRun) commit(r *http.Request) (*http.Response, error) {
	defer r.Body.Close()
	var lines []string
	in := bufio.NewReader(r.Body)
	for {
		line, err := in.ReadBytes('\n')
		var entry struct {
			Key   string
			Value struct{ Path, Summary string }
		}
		if len(bytes.TrimSpace(line)) > 0 {
			if err := json.Unmarshal(line, &entry); err != nil {
				return nil, fmt.Errorf("read a commit: %w", err)
			}
			lines = append(lines, strings.TrimSpace(entry.Key+" "+entry.Value.Path+entry.Value.Summary))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	d.print(r, "with\n  "+strings.Join(lines, "\n  "))
	return d.answer(r, map[string]any{"success": true, "commitOid": noCommit, "commitUrl": ""})
}

// answer is a hub's success.
func (d *dryRun) answer(r *http.Request, v any) (*http.Response, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(data)),
		ContentLength: int64(len(data)), Request: r,
	}, nil
}
