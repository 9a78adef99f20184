package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
)

// File is a file to upload: Local if it is not "", else Bytes.
type File struct {
	Path  string // in the repository
	Local string
	Bytes []byte

	// Of a file that Folder listed: it is opened by its name in the folder, so that
	// no link put there meanwhile leads out.
	dir, name string
}

// UploadOptions says what to upload and how to commit it.
type UploadOptions struct {
	Revision    string // "" is main; ignored with CreatePR, which begins at main
	Message     string // first line of the commit; "" is made from the files
	Description string
	Files       []File
	Delete      []string // files, and folders with a final slash
	Parent      string   // the commit that the branch must be at; "" is any
	CreatePR    bool     // commit to a new pull request
	ResumeDir   string   // notes of large uploads, to go on after a cut; "" keeps none
	Progress    func(Progress)
}

// Commit is what an upload made. Of an upload that changed nothing, OID is the
// revision's commit and Made is 0.
type Commit struct {
	OID         string // the last commit
	URL         string // of its page
	PullRequest string // address of the pull request, if one was made
	Made        int    // commits
	Sent        int    // files whose content was sent
	Unchanged   int    // files that the hub has already
	Ignored     []string
}

// Sizes of batches.
const (
	askFiles    = 256       // of one preupload or LFS question
	commitFiles = 1000      // of one commit
	commitBytes = 100 << 20 // content inside of one commit
	sampleBytes = 512
)

// Upload commits files. It sends what the hub lacks: files whose hash is that at
// the revision are left out, and LFS objects that are stored are not sent again,
// so that an upload which was cut goes on. Commits name their parent. If the branch
// has moved meanwhile the commit is made on top, unless Parent is given, which
// makes it ErrBranchMoved.
func (c *Client) Upload(ctx context.Context, repo Repo, o UploadOptions) (Commit, error) {
	if o.Revision == "" {
		o.Revision = "main"
	}
	if err := first(repo.Validate(), checkRevision(o.Revision)); err != nil {
		return Commit{}, err
	}
	u := &upload{c: c, repo: repo, o: o, parent: o.Parent}
	if err := u.collect(); err != nil {
		return Commit{}, err
	}
	if err := u.checkCard(ctx); err != nil {
		return Commit{}, err
	}
	if err := u.ask(ctx); err != nil {
		return u.made, fmt.Errorf("upload to %s: %w", repo, err)
	}
	if err := u.sendObjects(ctx); err != nil {
		return u.made, fmt.Errorf("upload to %s: %w", repo, err)
	}
	if err := u.commitAll(ctx); err != nil {
		return u.made, fmt.Errorf("upload to %s: %w", repo, err)
	}
	return u.made, nil
}

// upload is one upload on its way.
type upload struct {
	c      *Client
	repo   Repo
	o      UploadOptions
	items  []*item
	parent string // the commit to build on, "" if there is none
	meter  *meter

	mu   sync.Mutex
	made Commit
}

// collect checks names and measures files.
func (u *upload) collect() error {
	var total int64
	seen := map[string]bool{}
	add := func(i *item) error {
		name := strings.TrimSuffix(i.Path, "/")
		if err := checkPath(name); err != nil {
			return err
		}
		if strings.HasPrefix(name+"/", ".cache/huggingface/") {
			return fmt.Errorf("file name %q lies in a download's notes, which are not uploaded", name)
		}
		if seen[i.Path] {
			return fmt.Errorf("file name %q is given twice", i.Path)
		}
		seen[i.Path] = true
		u.items = append(u.items, i)
		return nil
	}
	for _, f := range u.o.Files {
		i := &item{File: f, size: int64(len(f.Bytes))}
		if f.Local != "" {
			info, err := os.Stat(f.Local)
			if err != nil {
				return err
			}
			if !info.Mode().IsRegular() {
				return fmt.Errorf("%s is not a file", f.Local)
			}
			i.size = info.Size()
		}
		if strings.HasSuffix(f.Path, "/") {
			return fmt.Errorf("file name %q ends in a slash", f.Path)
		}
		if err := add(i); err != nil {
			return err
		}
		total += i.size
	}
	for _, name := range u.o.Delete {
		if err := add(&item{File: File{Path: name}, remove: true}); err != nil {
			return err
		}
	}
	if len(u.items) == 0 {
		return errors.New("nothing to upload: no files and nothing to delete")
	}
	u.meter = newMeter(total, u.o.Progress)
	var names []string
	for _, f := range u.o.Files {
		names = append(names, f.Path)
	}
	u.c.warnAlike(u.repo, names)
	return nil
}

// checkCard lets the hub check a card, which it would refuse after everything else
// is sent.
func (u *upload) checkCard(ctx context.Context) error {
	for _, i := range u.items {
		if i.Path != "README.md" || i.remove {
			continue
		}
		r, err := i.open()
		if err != nil {
			return err
		}
		card, err := io.ReadAll(io.LimitReader(r, 1<<20))
		_ = r.Close()
		if err != nil {
			return err
		}
		return u.c.ValidateCard(ctx, u.repo.kind(), card)
	}
	return nil
}

// ask finds out for each file whether it goes to LFS, and drops those that the
// revision has already.
func (u *upload) ask(ctx context.Context) error {
	var files, rest []*item
	for _, i := range u.items {
		if i.remove {
			rest = append(rest, i)
		} else {
			files = append(files, i)
		}
	}
	for batch := range slices.Chunk(files, askFiles) {
		kept, err := u.askBatch(ctx, batch)
		if err != nil {
			return err
		}
		rest = append(rest, kept...)
	}
	u.items = rest
	if u.parent == "" {
		commit, err := u.c.commitOf(ctx, u.repo, u.o.Revision)
		if err != nil && !errors.Is(err, ErrRevisionNotFound) {
			return err
		}
		u.parent = commit // a repository without a commit has none
	}
	u.made.OID = u.parent
	return nil
}

// askBatch asks about up to askFiles files.
func (u *upload) askBatch(ctx context.Context, batch []*item) (kept []*item, err error) {
	type question struct {
		Path   string `json:"path"`
		Sample []byte `json:"sample"`
		Size   int64  `json:"size"`
	}
	var in struct {
		Files []question `json:"files"`
	}
	for _, i := range batch {
		q := question{Path: i.Path, Size: i.size, Sample: make([]byte, min(sampleBytes, i.size))}
		r, err := i.open()
		if err != nil {
			return nil, err
		}
		_, err = io.ReadFull(r, q.Sample)
		_ = r.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", i.Path, err)
		}
		in.Files = append(in.Files, q)
	}
	var out struct {
		Files []struct {
			Path, UploadMode, OID string
			ShouldIgnore          bool
		}
		CommitOID string
	}
	address := u.repo.api() + "/preupload/" + url.PathEscape(u.o.Revision)
	if u.o.CreatePR {
		address += "?create_pr=1"
	}
	if err := u.c.api(ctx, call{method: http.MethodPost, url: address, again: true}, in, &out); err != nil {
		return nil, fmt.Errorf("ask how to send files: %w", err)
	}
	if u.parent == "" && isCommit(out.CommitOID) {
		u.parent = out.CommitOID
	}
	answers := map[string]int{}
	for n, f := range out.Files {
		answers[f.Path] = n
	}
	for _, i := range batch {
		n, ok := answers[i.Path]
		if !ok {
			return nil, fmt.Errorf("ask how to send files: the server says nothing of %s", i.Path)
		}
		a := out.Files[n]
		switch {
		case a.ShouldIgnore:
			u.made.Ignored = append(u.made.Ignored, i.Path)
			u.meter.set(i.Path, i.size, i.size)
			continue
		case a.UploadMode != "lfs" && a.UploadMode != "regular":
			return nil, fmt.Errorf("ask how to send files: the server wants %s sent as %q, which is unknown", i.Path, a.UploadMode)
		}
		i.lfs = a.UploadMode == "lfs" && i.size > 0
		if !i.lfs && i.size > commitBytes {
			return nil, fmt.Errorf("the server wants %s, of %d bytes, inside the commit; more than %d are not sent so", i.Path, i.size, commitBytes)
		}
		kept = append(kept, i)
	}
	if err := each(ctx, u.c.workers, kept, func(_ context.Context, i *item) error { return i.measure() }); err != nil {
		return nil, err
	}
	stored := map[string]string{}
	for _, f := range out.Files {
		if f.OID != "" {
			stored[f.Path] = f.OID
		}
	}
	if len(stored) == 0 && u.parent != "" {
		if stored, err = u.storedAt(ctx, u.parent, kept); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(kept, func(i *item) bool {
		if stored[i.Path] != i.hash {
			return false
		}
		u.made.Unchanged++
		u.meter.set(i.Path, i.size, i.size)
		return true
	}), nil
}

// storedAt finds the hashes that items' paths have at a commit.
func (u *upload) storedAt(ctx context.Context, commit string, items []*item) (map[string]string, error) {
	var paths []string
	for _, i := range items {
		paths = append(paths, strings.TrimSuffix(i.Path, "/"))
	}
	entries, err := u.c.PathsInfo(ctx, u.repo, commit, paths)
	if err != nil {
		return nil, err
	}
	stored := map[string]string{}
	for _, e := range entries {
		stored[e.Path] = e.Hash()
	}
	return stored, nil
}
