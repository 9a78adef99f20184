package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// SnapshotOptions says which files to bring, and where to.
type SnapshotOptions struct {
	Include, Exclude []string       // patterns, see Match; no include pattern is all files
	LocalDir         string         // a folder for plain files; "" is the cache
	DryRun           bool           // fetches nothing, and says what would be
	Progress         func(Progress) // called in order, from several goroutines
}

// Snapshot is the files of one commit.
type Snapshot struct {
	Repo   Repo
	Commit string
	Dir    string // where the files are
	Files  []SnapshotFile

	// Partial says that nobody could be asked and that the cache does not know which
	// files the commit has: Files are those that are there.
	Partial bool
}

// SnapshotFile is one file of a snapshot.
type SnapshotFile struct {
	Path   string // in the repository
	Size   int64
	Hash   string // sha256 of an LFS object, else git's blob id
	Cached bool   // it was there before
}

// Snapshot brings the files of a revision ("" is main) that the options choose: one
// question for the commit, one for its files, and one for each file that is not
// there. When the hub cannot be reached, a complete copy in the cache will do; what
// it lacks is an *IncompleteError.
func (c *Client) Snapshot(ctx context.Context, repo Repo, revision string, o SnapshotOptions) (Snapshot, error) {
	if revision == "" {
		revision = "main"
	}
	if err := first(repo.Validate(), checkRevision(revision)); err != nil {
		return Snapshot{}, err
	}
	commit, entries, err := c.listing(ctx, repo, revision)
	if err != nil {
		if o.LocalDir == "" && unreachable(err) {
			return c.cached(repo, revision, o, err)
		}
		return Snapshot{}, err
	}
	s := Snapshot{Repo: repo, Commit: commit}
	if o.LocalDir != "" {
		err = c.toFolder(ctx, &s, chosen(entries, o), o)
		return s, err
	}
	err = c.toCache(ctx, &s, revision, entries, o)
	return s, err
}

// chosen are the entries that the options choose.
func chosen(entries []Entry, o SnapshotOptions) []Entry {
	var some []Entry
	for _, e := range entries {
		if Match(e.Path, o.Include, o.Exclude) {
			some = append(some, e)
		}
	}
	return some
}

// listing finds the commit of a revision and its files; of a commit whose list is
// in the cache without asking.
func (c *Client) listing(ctx context.Context, repo Repo, revision string) (string, []Entry, error) {
	commit, err := c.commitOf(ctx, repo, revision)
	if err != nil {
		return "", nil, err
	}
	if c.cache != "" {
		if s, err := c.openStore(repo, false); err == nil {
			defer s.close()
			if entries := s.tree(commit); entries != nil {
				return commit, entries, nil
			}
		}
	}
	entries, err := c.Tree(ctx, repo, commit, "", true)
	sortEntries(entries)
	return commit, entries, err
}

func sortEntries(entries []Entry) {
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
}

// unreachable reports whether an error leaves open what the hub would have said.
func unreachable(err error) bool {
	var answer *Error
	if errors.As(err, &answer) {
		return answer.Status >= 500 || answer.Kind == ErrUnauthorized || answer.Kind == ErrRateLimited
	}
	return !errors.As(err, new(permanent)) && !errors.Is(err, context.Canceled)
}

// cached is the snapshot that the cache holds; cause is why nobody was asked.
func (c *Client) cached(repo Repo, revision string, o SnapshotOptions, cause error) (Snapshot, error) {
	fail := func(why string) (Snapshot, error) {
		if c.offline {
			return Snapshot{}, fmt.Errorf("%w and %s: %w", ErrOffline, why, fs.ErrNotExist)
		}
		return Snapshot{}, fmt.Errorf("%w; and %s", cause, why)
	}
	store, err := c.openStore(repo, false)
	if err != nil {
		return fail("the cache does not hold " + repo.String())
	}
	defer store.close()
	commit := store.ref(revision)
	if commit == "" {
		return fail(fmt.Sprintf("the cache does not hold revision %s of %s", revision, repo))
	}
	s := Snapshot{Repo: repo, Commit: commit, Dir: store.abs(path.Join(snapshotsDir, commit))}
	entries := store.tree(commit)
	if entries == nil {
		if entries = store.present(commit); len(entries) == 0 {
			return fail(fmt.Sprintf("the cache does not hold commit %s of %s", commit, repo))
		}
		s.Partial = true
	}
	missing := IncompleteError{Repo: repo, Commit: commit}
	for _, e := range chosen(entries, o) {
		s.Files = append(s.Files, SnapshotFile{Path: e.Path, Size: e.Size, Hash: e.Hash(), Cached: true})
		if !store.has(commit, e.Path) {
			missing.Missing = append(missing.Missing, e.Path)
		}
	}
	if len(missing.Missing) > 0 && c.offline {
		return s, fmt.Errorf("%w: %w", ErrOffline, &missing)
	}
	if len(missing.Missing) > 0 {
		return s, fmt.Errorf("%w: %w", cause, &missing)
	}
	if !c.offline {
		c.log.Warn("the hub cannot be reached, the cache is used", "repo", repo.String(), "commit", commit, "reason", c.mask(cause.Error()))
	}
	return s, nil
}

// present lists the files of a snapshot whose complete list is not known.
func (s *store) present(commit string) []Entry {
	var entries []Entry
	root := path.Join(snapshotsDir, commit)
	_ = fs.WalkDir(s.root.FS(), root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := s.root.Stat(name); err == nil && info.Mode().IsRegular() {
			entries = append(entries, Entry{Type: "file", Path: strings.TrimPrefix(name, root+"/"), Size: info.Size()})
		}
		return nil
	})
	return entries
}

// toCache brings files into the cache.
func (c *Client) toCache(ctx context.Context, s *Snapshot, revision string, all []Entry, o SnapshotOptions) error {
	if c.cache == "" {
		return errors.New("no cache folder is configured; give one, or a folder to download to")
	}
	store, err := c.openStore(s.Repo, !o.DryRun)
	if err != nil && !(o.DryRun && errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	s.Dir = filepath.Join(c.cache, s.Repo.folder(), snapshotsDir, s.Commit)
	entries := chosen(all, o)
	var missing []Entry
	var total, need int64
	for _, e := range entries {
		there := store != nil && store.has(s.Commit, e.Path)
		s.Files = append(s.Files, SnapshotFile{Path: e.Path, Size: e.Size, Hash: e.Hash(), Cached: there})
		total += e.Size
		if !there {
			missing = append(missing, e)
			need += e.Size - store.partial(e.Hash())
		}
	}
	if store == nil {
		return nil
	}
	defer store.close()
	if o.DryRun {
		return nil
	}
	if err := c.prepare(store, s.Commit, revision, len(missing) > 0); err != nil {
		return err
	}
	if len(missing) > 0 {
		if err := c.places(store.root, blobsDir, entries); err != nil {
			return fmt.Errorf("download %s: %w", s.Repo, err)
		}
	}
	if store.tree(s.Commit) == nil {
		if err := store.setTree(s.Commit, all); err != nil && len(missing) > 0 {
			return fmt.Errorf("write to the cache %s: %w", c.cache, err)
		}
	}
	if err := room(c.cache, need); err != nil {
		return fmt.Errorf("download %s: %w", s.Repo, err)
	}
	m := newMeter(total, o.Progress)
	for i, e := range entries {
		if s.Files[i].Cached {
			m.set(e.Path, e.Size, e.Size)
		}
	}
	return each(ctx, c.workers, missing, func(ctx context.Context, e Entry) error {
		return c.intoCache(ctx, store, s.Commit, e.Path, e.Hash(), e.Size, m)
	})
}

// partial is how much of a blob is there, complete or not. nil is an empty store.
func (s *store) partial(etag string) int64 {
	if s == nil {
		return 0
	}
	if info, err := s.root.Stat(blobsDir + "/" + etag); err == nil {
		return info.Size()
	}
	part := blobsDir + "/" + etag + partSuffix
	if _, err := s.root.Stat(part + ".json"); err == nil {
		return 0 // it has holes, and may need as much as if it were not there
	}
	if info, err := s.root.Stat(part); err == nil {
		return info.Size()
	}
	return 0
}

// room is an error if a folder has less space left than a download needs.
func room(dir string, need int64) error {
	for ; ; dir = filepath.Dir(dir) {
		free, known := freeBytes(dir)
		if known && free < need {
			return fmt.Errorf("%d bytes are needed and %s has room for %d; nothing was fetched", need, dir, free)
		}
		if known || dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// prepare makes the folders of a snapshot and notes its revision. A cache that
// cannot be written to is an error only if something must be written.
func (c *Client) prepare(s *store, commit, revision string, needed bool) error {
	err := s.root.MkdirAll(blobsDir, 0o777)
	if err == nil {
		err = s.root.MkdirAll(path.Join(snapshotsDir, commit), 0o777)
	}
	if err == nil {
		err = s.setRef(revision, commit)
	}
	if err != nil && needed {
		return fmt.Errorf("write to the cache %s: %w", c.cache, err)
	}
	return nil
}

// intoCache brings one file into the cache, unless its blob is there.
func (c *Client) intoCache(ctx context.Context, s *store, commit, name, etag string, size int64, m *meter) error {
	blob := safeETag(etag)
	unlock, err := s.lock(ctx, blob, func(what string) {
		c.log.Warn("a lock is not used, the download does without", "lock", what)
	})
	if err != nil {
		return err
	}
	if unlock != nil {
		defer unlock()
	}
	temp, done := partFor(s.root, blobsDir+"/"+blob+partSuffix, unlock != nil)
	defer done()
	info, err := s.root.Lstat(blobsDir + "/" + blob)
	fresh := errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular() && info.Size() != size
	if fresh {
		w := want{path: name, url: c.resolve(s.repo, commit, name), etag: etag, size: size}
		if err := c.fetch(ctx, s.root, temp, blobsDir+"/"+blob, w, m); err != nil {
			return err
		}
	}
	m.set(name, size, size)
	return s.link(commit, name, blob, fresh)
}

// resolve is the address of a file's content.
func (c *Client) resolve(repo Repo, revision, name string) string {
	return c.base + "/" + repo.String() + "/resolve/" + url.PathEscape(revision) + "/" + escapePath(name)
}

// Download brings one file of a revision ("" is main) into the cache and returns
// its path. A file of a full commit id that is there needs no question.
func (c *Client) Download(ctx context.Context, repo Repo, revision, name string) (string, error) {
	return c.DownloadProgress(ctx, repo, revision, name, nil)
}

// DownloadProgress is Download that reports how far it is.
func (c *Client) DownloadProgress(ctx context.Context, repo Repo, revision, name string, report func(Progress)) (string, error) {
	if revision == "" {
		revision = "main"
	}
	if err := first(repo.Validate(), checkRevision(revision), checkPath(name)); err != nil {
		return "", err
	}
	if isCommit(revision) || c.offline {
		file, err := c.cachedFile(repo, revision, name)
		if err == nil || c.offline {
			return file, err
		}
	}
	h, err := c.head(ctx, repo, revision, name)
	var answer *Error
	if errors.As(err, &answer) && answer.Kind == ErrEntryNotFound && isCommit(answer.Commit) {
		if s, openErr := c.openStore(repo, true); openErr == nil {
			defer s.close()
			_ = errors.Join(s.setAbsent(answer.Commit, name), s.setRef(revision, answer.Commit)) // notes for others
		}
	}
	if err != nil {
		if file, cacheErr := c.cachedFile(repo, revision, name); cacheErr == nil && unreachable(err) {
			c.log.Warn("the hub cannot be reached, the cache is used", "file", name, "reason", c.mask(err.Error()))
			return file, nil
		}
		return "", fmt.Errorf("look up %s of %s: %w", name, repo, err)
	}
	s, err := c.openStore(repo, true)
	if err != nil {
		return "", err
	}
	defer s.close()
	there := s.has(h.commit, name)
	if err := c.prepare(s, h.commit, revision, !there); err != nil {
		return "", err
	}
	if !there {
		if err := c.places(s.root, blobsDir, []Entry{{Path: name}}); err != nil {
			return "", err
		}
		if err := room(c.cache, h.size-s.partial(safeETag(h.etag))); err != nil {
			return "", fmt.Errorf("download %s: %w", name, err)
		}
		if err := c.intoCache(ctx, s, h.commit, name, h.etag, h.size, newMeter(h.size, report)); err != nil {
			return "", fmt.Errorf("download %s of %s: %w", name, repo, err)
		}
	}
	return s.abs(s.file(h.commit, name)), nil
}

// cachedFile is the path of a file in the cache.
func (c *Client) cachedFile(repo Repo, revision, name string) (string, error) {
	s, err := c.openStore(repo, false)
	if err != nil {
		if c.offline {
			return "", fmt.Errorf("find %s of %s in the cache: %w: %w", name, repo, ErrOffline, fs.ErrNotExist)
		}
		return "", err
	}
	defer s.close()
	commit := s.ref(revision)
	if commit == "" || !s.has(commit, name) {
		what := ErrOffline
		if commit != "" && s.knownAbsent(commit, name) {
			what = ErrEntryNotFound
		}
		return "", fmt.Errorf("find %s of %s at %s in the cache: %w: %w", name, repo, revision, what, fs.ErrNotExist)
	}
	return s.abs(s.file(commit, name)), nil
}

// headers are what a hub says of a file before sending it.
type headers struct {
	commit, etag string
	size         int64
}

// head asks for a file's commit, hash and size. It follows redirects on the hub
// itself, and reads the answer that leads to another host.
func (c *Client) head(ctx context.Context, repo Repo, revision, name string) (headers, error) {
	k := call{method: http.MethodHead, url: c.resolve(repo, revision, name), header: http.Header{"Accept-Encoding": {"identity"}}, brief: true, manual: true}
	resp, err := c.send(ctx, k)
	if err != nil {
		return headers{}, err
	}
	discard(resp)
	h := headers{commit: resp.Header.Get("X-Repo-Commit"), etag: normalETag(resp.Header.Get("X-Linked-ETag")), size: -1}
	if h.etag == "" {
		h.etag = normalETag(resp.Header.Get("ETag"))
	}
	if n, err := strconv.ParseInt(resp.Header.Get("X-Linked-Size"), 10, 63); err == nil && n >= 0 {
		h.size = n
	} else if resp.StatusCode < 300 {
		h.size = resp.ContentLength
	}
	switch {
	case isCommit(h.commit) && isCommit(revision) && h.commit != revision:
		return h, permanent{fmt.Errorf("the answer is of commit %s, not of %s", h.commit, revision)}
	case !isCommit(h.commit):
		return h, permanent{errors.New("the answer names no commit (X-Repo-Commit); the endpoint is not a hub, or a proxy drops the header")}
	case h.etag == "":
		return h, permanent{errors.New("the answer has no ETag; the endpoint is not a hub, or a proxy drops the header")}
	case h.size < 0:
		return h, permanent{errors.New("the answer does not say how long the file is")}
	}
	return h, nil
}
