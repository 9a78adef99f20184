package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// hold gives the files of the newest commit.
func (h *fakeHub) hold(repo string) map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.repos[repo]
	files := map[string]string{}
	for name, f := range r.files[r.head()] {
		files[name] = string(f.data)
	}
	return files
}

func (h *fakeHub) commits(repo string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.repos[repo].commits)
}

func isMethod(method, part string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == method && strings.Contains(r.URL.Path, part) }
}

func TestUnchangedFilesAreNotSent(t *testing.T) {
	h := newFake(t)
	files := map[string]string{"a": "1", "x.bin": "22", "empty": "", "z.ignored": "0"}
	h.put("models/acme/m", map[string]string{"a": "1", "x.bin": "22", "empty": ""})
	var list []File
	for name, text := range files {
		list = append(list, File{Path: name, Bytes: []byte(text)})
	}
	for _, noOID := range []bool{false, true} {
		h.noOID = noOID
		h.forget()
		got, err := h.client(nil).Upload(t.Context(), repoM, UploadOptions{Files: list})
		must(t, err)
		if got.Made != 0 || got.Sent != 0 || got.Unchanged != 3 || len(got.Ignored) != 1 || got.OID == "" {
			t.Errorf("hub says what it has %t: %+v", !noOID, got)
		}
		if h.count("POST", "/commit/")+h.count("POST", "/batch")+h.count("PUT", "") != 0 {
			t.Errorf("%v", h.calls)
		}
	}
}

func TestKilledUploadGoesOn(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"old": "1"})
	var files []File
	for _, name := range []string{"a.bin", "b.bin", "c.bin", "d.bin"} {
		files = append(files, File{Path: name, Bytes: []byte(random(name[0], 1000))})
	}
	ctx, kill := context.WithCancel(t.Context())
	var n atomic.Int64
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		if r.Method == http.MethodPut && n.Add(1) == 3 {
			kill()
			return w, true
		}
		return w, false
	}
	c := h.client(func(cfg *Config) { cfg.Workers = 1 })
	if _, err := c.Upload(ctx, repoM, UploadOptions{Files: files}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if h.commits("models/acme/m") != 1 {
		t.Error("half an upload was committed")
	}
	h.fault = nil
	h.forget()
	got, err := h.client(nil).Upload(t.Context(), repoM, UploadOptions{Files: files})
	must(t, err)
	if h.count("PUT", "") != 2 || got.Sent != 2 || len(h.hold("models/acme/m")) != 5 {
		t.Errorf("%d objects sent, want the 2 that were missing: %+v", h.count("PUT", ""), got)
	}
}

func TestMultipart(t *testing.T) {
	h := newFake(t)
	h.partSize = 1000
	h.put("models/acme/m", map[string]string{"old": "1"})
	text := random(8, 9500)
	dir := t.TempDir()
	local := filepath.Join(dir, "x.bin")
	must(t, os.WriteFile(local, []byte(text), 0o600))
	o := UploadOptions{Files: []File{{Path: "x.bin", Local: local}}, ResumeDir: filepath.Join(dir, "notes")}
	var sent atomic.Int64
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		if r.Header.Get("Authorization") != "" && strings.Contains(r.URL.Path, "/objects/") && !strings.Contains(r.URL.Path, "batch") {
			t.Errorf("the token was sent with a signed address: %s", r.URL.Path)
		}
		if r.Method == http.MethodPut && sent.Add(1) == 7 {
			refuse(w, http.StatusForbidden, "", "")
			return w, true
		}
		return w, false
	}
	c := h.client(func(cfg *Config) { cfg.Connections = 2 })
	if _, err := c.Upload(t.Context(), repoM, o); !errors.Is(err, ErrForbidden) {
		t.Fatal(err)
	}
	before := h.count("PUT", "")
	notes, _ := filepath.Glob(filepath.Join(dir, "notes", "*"))
	if len(notes) != 1 {
		t.Fatalf("%v", notes)
	}
	if _, err := h.client(nil).Upload(t.Context(), repoM, o); err != nil {
		t.Fatal(err)
	}
	if again := h.count("PUT", "") - before; again > 10-5 || h.hold("models/acme/m")["x.bin"] != text {
		t.Errorf("%d parts were sent again", again)
	}
	if notes, _ = filepath.Glob(filepath.Join(dir, "notes", "*")); len(notes) != 0 {
		t.Errorf("left behind: %v", notes)
	}
}

// TestStaleNotesOfAnUpload: the server no longer takes the parts that notes name.
func TestStaleNotesOfAnUpload(t *testing.T) {
	h := newFake(t)
	h.partSize = 1000
	h.put("models/acme/m", map[string]string{"old": "1"})
	text := []byte(random(8, 3000))
	c := h.client(nil)
	dir := t.TempDir()
	oid := fakeFile{text, true}.hash()
	u := &upload{c: c, repo: repoM, o: UploadOptions{ResumeDir: dir}}
	to := lfsAction{Href: h.srv.URL + "/objects/" + oid, Header: map[string]string{"chunk_size": "1000"}}
	for _, key := range []string{"1", "2", "3"} {
		to.Header[key] = h.srv.URL + "/gone/" + key
	}
	must(t, u.writeNotes(&partNotes{Version: 1, OID: oid, To: to, ETags: map[int]string{1: `"x"`}}))
	if info, err := os.Stat(filepath.Join(dir, u.notesFile(oid))); err != nil || info.Size() == 0 {
		t.Fatal(err)
	}
	if _, err := c.Upload(t.Context(), repoM, UploadOptions{ResumeDir: dir, Files: []File{{Path: "x.bin", Bytes: text}}}); err != nil {
		t.Fatal(err)
	}
	if h.hold("models/acme/m")["x.bin"] != string(text) {
		t.Error("what arrived differs")
	}
	to.ExpiresAt = time.Now().Add(-time.Second)
	must(t, u.writeNotes(&partNotes{Version: 1, OID: oid, To: to}))
	if _, ok := u.readNotes(oid); ok {
		t.Error("notes that expired are used")
	}
}

func TestAddressesOfParts(t *testing.T) {
	good := map[string]string{"chunk_size": "4", "00001": "a", "2": "b", "X-Other": "c"}
	if chunk, urls, err := partURLs(good, 7); err != nil || chunk != 4 || !slices.Equal(urls, []string{"a", "b"}) {
		t.Error(chunk, urls, err)
	}
	for name, header := range map[string]map[string]string{
		"no size":   {"1": "a", "2": "b"},
		"size 0":    {"chunk_size": "0", "1": "a"},
		"missing":   {"chunk_size": "4", "1": "a"},
		"too many":  {"chunk_size": "4", "1": "a", "2": "b", "3": "c"},
		"twice":     {"chunk_size": "4", "1": "a", "01": "a", "2": "b"},
		"zero":      {"chunk_size": "4", "0": "a", "1": "a", "2": "b"},
		"tiny size": {"chunk_size": "1"},
	} {
		size := int64(7)
		if name == "tiny size" {
			size = 1 << 40
		}
		if _, _, err := partURLs(header, size); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestLostReply: the commit was made and its reply lost; it is not made twice.
func TestLostReply(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"old": "1"})
	h.afterSent = func() { panic(http.ErrAbortHandler) }
	got, err := h.client(nil).Upload(t.Context(), repoM, UploadOptions{
		Files:  []File{{Path: "a", Bytes: []byte("1")}, {Path: "x.bin", Bytes: []byte("2")}},
		Delete: []string{"old"},
	})
	must(t, err)
	if n := h.commits("models/acme/m"); n != 2 || got.OID != h.repos["models/acme/m"].head() {
		t.Errorf("%d commits, want 2: %+v", n, got)
	}
}

// TestCommitIsSentAgain: the connection broke before the commit was made.
func TestCommitIsSentAgain(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"old": "1"})
	h.fault = times(2, isMethod("POST", "/commit/"), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err := h.client(nil).Upload(t.Context(), repoM, UploadOptions{Files: []File{{Path: "a", Bytes: []byte("1")}}})
	must(t, err)
	if n := h.commits("models/acme/m"); n != 2 {
		t.Errorf("%d commits, want 2", n)
	}
}

func TestBranchMoves(t *testing.T) {
	h := newFake(t)
	start := h.put("models/acme/m", map[string]string{"old": "1"})
	var n atomic.Int64
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		if isMethod("POST", "/commit/")(r) && n.Add(1) <= 2 {
			h.put("models/acme/m", map[string]string{"old": "1", "theirs": strings.Repeat("x", int(n.Load()))})
		}
		return w, false
	}
	_, err := h.client(nil).Upload(t.Context(), repoM, UploadOptions{Files: []File{{Path: "ours", Bytes: []byte("1")}}})
	must(t, err)
	if got := h.hold("models/acme/m"); got["theirs"] != "xx" || got["ours"] != "1" {
		t.Errorf("%v", got)
	}
	_, err = h.client(nil).Upload(t.Context(), repoM, UploadOptions{Parent: start, Files: []File{{Path: "ours", Bytes: []byte("2")}}})
	if !errors.Is(err, ErrBranchMoved) || h.hold("models/acme/m")["ours"] != "1" {
		t.Errorf("a parent was given: %v", err)
	}
}

func TestManyFilesAreSeveralCommits(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"old": "1"})
	var files []File
	for i := range commitFiles + 200 {
		files = append(files, File{Path: "d/" + string(rune('a'+i%26)) + "/" + strings.Repeat("x", 1+i/26), Bytes: []byte{byte(i)}})
	}
	got, err := h.client(nil).Upload(t.Context(), repoM, UploadOptions{Files: files, Message: "all"})
	must(t, err)
	if got.Made != 2 || len(h.hold("models/acme/m")) != len(files)+1 || h.count("POST", "/preupload/") != 5 {
		t.Errorf("%+v, %d files", got, len(h.hold("models/acme/m")))
	}
}

func TestPullRequest(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"old": "1"})
	got, err := h.client(nil).Upload(t.Context(), repoM, UploadOptions{CreatePR: true, Files: []File{{Path: "a", Bytes: []byte("1")}}})
	must(t, err)
	if !strings.HasSuffix(got.PullRequest, "/discussions/7") || h.count("POST", "/commit/main?create_pr=1") != 1 {
		t.Errorf("%+v", got)
	}
	h.fault = times(1, isMethod("POST", "/commit/"), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err = h.client(nil).Upload(t.Context(), repoM, UploadOptions{CreatePR: true, Files: []File{{Path: "a", Bytes: []byte("2")}}})
	if err == nil || !strings.Contains(err.Error(), "may have been made") || h.count("POST", "/commit/") != 2 {
		t.Errorf("a pull request whose reply was lost is made again: %v", err)
	}
}

func TestCardIsCheckedFirst(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"old": "1"})
	h.fault = times(1, isMethod("POST", "/api/validate-yaml"), func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Content, RepoType string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		if in.Content != "---\nlicense: ?" || in.RepoType != "model" {
			t.Errorf("%+v", in)
		}
		answer(w, map[string]any{"errors": []map[string]string{{"message": "license is wrong"}}})
	})
	_, err := h.client(nil).Upload(t.Context(), repoM, UploadOptions{Files: []File{{Path: "README.md", Bytes: []byte("---\nlicense: ?")}, {Path: "x.bin", Bytes: []byte("1")}}})
	if err == nil || !strings.Contains(err.Error(), "license is wrong") || h.count("PUT", "") != 0 {
		t.Error(err)
	}
}

func TestUploadRefuses(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"old": "1"})
	dir := t.TempDir()
	for name, o := range map[string]UploadOptions{
		"nothing":      {},
		"twice":        {Files: []File{{Path: "a"}, {Path: "a"}}},
		"file as dir":  {Files: []File{{Path: "a/"}}},
		"own notes":    {Files: []File{{Path: ".cache/huggingface/x"}}},
		"bad deletion": {Delete: []string{"../x"}},
		"a folder":     {Files: []File{{Path: "a", Local: dir}}},
		"no file":      {Files: []File{{Path: "a", Local: filepath.Join(dir, "none")}}},
		"bad revision": {Revision: "a b", Files: []File{{Path: "a"}}},
	} {
		if _, err := h.client(nil).Upload(t.Context(), repoM, o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if len(h.calls) > 0 {
		t.Errorf("%v", h.calls)
	}
}

// TestOddAnswersToAnUpload: what a server says of an upload is not believed blindly.
func TestOddAnswersToAnUpload(t *testing.T) {
	for name, tc := range map[string]struct{ part, body, want string }{
		"mode":        {"/preupload/", `{"files":[{"path":"x.bin","uploadMode":"pigeon"}]}`, "pigeon"},
		"silence":     {"/preupload/", `{"files":[]}`, "says nothing of x.bin"},
		"transfer":    {"/objects/batch", `{"transfer":"xet","objects":[]}`, "not offered"},
		"no object":   {"/objects/batch", `{"objects":[]}`, "says nothing of x.bin"},
		"refusal":     {"/objects/batch", "", "quota"},
		"file scheme": {"/objects/batch", "", "neither http nor https"},
		"commit":      {"/commit/", `{"commitOid":"../x"}`, "which is none"},
	} {
		h := newFake(t)
		h.put("models/acme/m", map[string]string{"old": "1"})
		oid := fakeFile{[]byte("1"), true}.hash()
		switch name {
		case "refusal":
			tc.body = `{"objects":[{"oid":"` + oid + `","error":{"code":413,"message":"quota"}}]}`
		case "file scheme":
			tc.body = `{"objects":[{"oid":"` + oid + `","actions":{"upload":{"href":"file:///etc/passwd"}}}]}`
		}
		h.fault = times(99, isMethod("POST", tc.part), func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tc.body) })
		_, err := h.client(nil).Upload(t.Context(), repoM, UploadOptions{Files: []File{{Path: "x.bin", Bytes: []byte("1")}}})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFolder(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	for _, name := range []string{"a", "b/c", ".git/config", "b/.git/x", ".cache/huggingface/download/x", ".gitattributes"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777), os.WriteFile(filepath.Join(dir, name), []byte(name), 0o666))
	}
	must(t, os.Symlink("a", filepath.Join(dir, "inside")))
	names := func(files []File) (list []string) {
		for _, f := range files {
			list = append(list, f.Path)
		}
		return list
	}
	files, err := Folder(dir, "to", nil, []string{"*attributes"})
	if got := names(files); err != nil || !slices.Equal(got, []string{"to/a", "to/b/c", "to/inside"}) {
		t.Errorf("%v %v", got, err)
	}
	must(t, os.WriteFile(filepath.Join(outside, "secret"), nil, 0o600), os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "out")))
	if _, err := Folder(dir, "", nil, nil); err == nil || !strings.Contains(err.Error(), "leads out of the folder") {
		t.Error(err)
	}
	if files, err = Folder(dir, "", nil, []string{"out"}); err != nil || len(files) != 4 {
		t.Error(names(files), err)
	}
	if _, err := Folder(filepath.Join(dir, "none"), "", nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestCommitLines compares the body of a commit with lines made by hand.
func TestCommitLines(t *testing.T) {
	u := &upload{o: UploadOptions{Description: "why"}, parent: "p"}
	content := []byte("<hi> & \"you\"\n")
	items := []*item{
		{File: File{Path: "d/"}, remove: true}, {File: File{Path: "f"}, remove: true},
		{File: File{Path: `q"CONTENT`, Bytes: content}, size: int64(len(content)), hash: gitID(content)},
		{File: File{Path: "x.bin"}, lfs: true, size: 5, hash: "h"},
	}
	open, err := u.payload("title", items)
	must(t, err)
	want := []string{
		`{"key":"header","value":{"summary":"title","description":"why","parentCommit":"p"}}`,
		`{"key":"deletedFolder","value":{"path":"d/"}}`,
		`{"key":"deletedFile","value":{"path":"f"}}`,
		`{"key":"file","value":{"content":"` + base64.StdEncoding.EncodeToString(content) + `","path":"q\"CONTENT","encoding":"base64"}}`,
		`{"key":"lfsFile","value":{"path":"x.bin","algo":"sha256","oid":"h","size":5}}`,
	}
	for range 2 { // it can be sent again
		r, length, err := open()
		must(t, err)
		data, err := io.ReadAll(r)
		must(t, err)
		lines := bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
		if int64(len(data)) != length || len(lines) != len(want) {
			t.Fatalf("%d bytes in %d lines, announced %d", len(data), len(lines), length)
		}
		for i, line := range lines {
			var got, expected any
			if json.Unmarshal(line, &got) != nil || json.Unmarshal([]byte(want[i]), &expected) != nil || mustString(got) != mustString(expected) {
				t.Errorf("%s, want %s", line, want[i])
			}
		}
	}
}

func mustString(v any) string {
	data, _ := json.Marshal(v)
	return string(data)
}

// TestUploadWarnsOfNamesThatAreAlike: who uploads names that are one file on other
// systems is told which, where, and what to do; the upload is made.
func TestUploadWarnsOfNamesThatAreAlike(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		want  []string
	}{
		"none":    {[]string{"README.md", "a/README.md", "readme.txt"}, nil},
		"case":    {[]string{"README.md", "readme.md"}, []string{`README.md`, `readme.md`}},
		"accents": {[]string{"caf\u00e9.txt", "cafe\u0301.txt"}, []string{`caf\\u00e9.txt`, `cafe\\u0301.txt`}},
		"folder":  {[]string{"Data", "data/x"}, []string{`Data`, `data`}},
		"many":    {[]string{"a", "A", "b", "B", "c", "C", "d", "D", "e", "E", "f", "F"}, []string{`e`, `E`}},
	} {
		h := newFake(t)
		h.put("models/acme/m", map[string]string{"first": "1"})
		var log *bytes.Buffer
		client := h.client(func(cfg *Config) { log = logged(cfg) })
		var files []File
		for _, path := range c.files {
			files = append(files, File{Path: path, Bytes: []byte(path)})
		}
		_, err := client.Upload(t.Context(), repoM, UploadOptions{Files: files})
		must(t, err)
		n := strings.Count(log.String(), "differ only in case or Unicode form")
		if (n > 0) != (c.want != nil) || n > 5 {
			t.Errorf("%s: warned %d times: %s", name, n, log)
		}
		for _, want := range append(c.want, "rename one of them", "repo=acme/m") {
			if n > 0 && !strings.Contains(log.String(), want) {
				t.Errorf("%s: the warning lacks %s: %s", name, want, log)
			}
		}
		if got := h.hold("models/acme/m"); len(got) != len(c.files)+1 {
			t.Errorf("%s: the repo holds %v", name, got)
		}
	}
}
