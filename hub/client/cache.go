package client

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// The parts of a repository's folder in the cache.
const (
	refsDir      = "refs"
	blobsDir     = "blobs"
	snapshotsDir = "snapshots"
	absentDir    = ".no_exist"
	treesDir     = "trees"
	locksDir     = ".locks"
	partSuffix   = ".incomplete"
)

// cacheTag marks the folder for backup programs (bford.info/cachedir).
const cacheTag = "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of files from a HuggingFace hub.\n"

// store is one repository in the cache.
type store struct {
	root     *os.Root // <cache>/models--ns--name
	dir      string
	repo     Repo
	copies   bool          // snapshots hold files, not links
	stale    time.Duration // a lock whose holder does nothing for so long is ignored
	cacheDir string
}

// openStore opens a repository's folder, and makes it if create.
func (c *Client) openStore(repo Repo, create bool) (*store, error) {
	if c.cache == "" {
		return nil, errors.New("no cache folder is configured")
	}
	if err := repo.Validate(); err != nil {
		return nil, err
	}
	dir := filepath.Join(c.cache, repo.folder())
	if create {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, fmt.Errorf("make the cache folder: %w", err)
		}
		tag := filepath.Join(c.cache, "CACHEDIR.TAG")
		if _, err := os.Lstat(tag); errors.Is(err, fs.ErrNotExist) {
			_ = os.WriteFile(tag, []byte(cacheTag), 0o666) // a courtesy to backups, not needed
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open %s in the cache: %w", repo, err)
	}
	return &store{root: root, dir: dir, repo: repo, copies: c.noSymlinks, cacheDir: c.cache, stale: lockStale}, nil
}

func (s *store) close() { _ = s.root.Close() }

// safeETag is an ETag as the name of a blob: unchanged if it is plain, else its
// sha256, since a server could name any path.
func safeETag(etag string) string {
	plain := etag != "" && len(etag) <= 128 && etag != "." && etag != ".." && !strings.HasPrefix(etag, ".")
	for _, r := range etag {
		plain = plain && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("._-", r))
	}
	if plain && !strings.HasSuffix(etag, partSuffix) {
		return etag
	}
	sum := sha256.Sum256([]byte(etag))
	return hex.EncodeToString(sum[:])
}

// normalETag takes the weak mark and the quotes from an ETag.
func normalETag(header string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimSpace(header), "W/"), `"`)
}

// ref reads the commit of a revision, "" if it is not known.
func (s *store) ref(revision string) string {
	if isCommit(revision) {
		return revision
	}
	if checkRevision(revision) != nil {
		return ""
	}
	data, err := s.root.ReadFile(refsDir + "/" + revision)
	if err != nil || !isCommit(string(data)) {
		return ""
	}
	return string(data)
}

// setRef notes the commit of a revision.
func (s *store) setRef(revision, commit string) error {
	if isCommit(revision) || s.ref(revision) == commit {
		return nil
	}
	if err := checkRevision(revision); err != nil {
		return err
	}
	return s.writeFile(refsDir+"/"+revision, []byte(commit))
}

// file is the place of a snapshot's file, whether or not it is there.
func (s *store) file(commit, name string) string {
	return path.Join(snapshotsDir, commit, name)
}

// has reports whether a snapshot's file is there, and not a link to nothing.
func (s *store) has(commit, name string) bool {
	info, err := s.root.Stat(s.file(commit, name))
	return err == nil && info.Mode().IsRegular()
}

// abs is the full path of a name in the repository's folder.
func (s *store) abs(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// knownAbsent reports whether a commit is known not to have a file.
func (s *store) knownAbsent(commit, name string) bool {
	_, err := s.root.Lstat(path.Join(absentDir, commit, name))
	return err == nil
}

// setAbsent notes that a commit has no such file.
func (s *store) setAbsent(commit, name string) error {
	return s.writeFile(path.Join(absentDir, commit, name), nil)
}

// writeFile replaces a small file as a whole.
func (s *store) writeFile(name string, data []byte) error {
	return writeWhole(s.root, name, data)
}

// writeWhole writes a small file below root under another name and renames it.
func writeWhole(root *os.Root, name string, data []byte) (err error) {
	if err := root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	temp := name + "." + randomHex() + ".tmp"
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		_ = root.Remove(temp)
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// randomHex is eight digits for a name that nobody else uses.
func randomHex() string {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// link makes a snapshot's file from a blob: a relative link, or where links are
// not possible the blob itself if it is new, else a copy.
func (s *store) link(commit, name, etag string, isNew bool) error {
	target := s.file(commit, name)
	if err := s.root.MkdirAll(path.Dir(target), 0o777); err != nil {
		return fmt.Errorf("make the folder of %s: %w", name, err)
	}
	blob := blobsDir + "/" + etag
	if !s.copies {
		to := strings.Repeat("../", 2+strings.Count(name, "/")) + blob
		if old, err := s.root.Readlink(target); err == nil && old == to {
			return nil
		}
		temp := target + "." + randomHex() + ".tmp"
		err := s.root.Symlink(to, temp)
		if err == nil {
			if err = s.root.Rename(temp, target); err != nil {
				_ = s.root.Remove(temp)
			}
			return err
		}
		if errors.Is(err, fs.ErrPermission) && s.writable(path.Dir(target)) != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	if isNew {
		return s.root.Rename(blob, target)
	}
	return s.copyTo(blob, target)
}

// writable tries whether a folder takes files.
func (s *store) writable(folder string) error {
	name := path.Join(folder, randomHex()+".tmp")
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), s.root.Remove(name))
}

// copyTo copies a file below the root.
func (s *store) copyTo(from, to string) (err error) {
	in, err := s.root.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	temp := to + "." + randomHex() + ".tmp"
	out, err := s.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = s.root.Rename(temp, to)
	}
	if err != nil {
		_ = s.root.Remove(temp)
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}

// treeFile is trees/<commit>.json: the complete list of a commit's files.
type treeFile struct {
	Version int                 `json:"format_version"`
	Files   map[string]treeItem `json:"files"`
}

type treeItem struct {
	Size      int64  `json:"size"`
	BlobID    string `json:"blob_id"`
	LFSSHA256 string `json:"lfs_sha256,omitempty"`
	LFSSize   int64  `json:"lfs_size,omitempty"`
}

// tree reads the list of a commit's files, nil if it is not known.
func (s *store) tree(commit string) []Entry {
	data, err := s.root.ReadFile(treesDir + "/" + commit + ".json")
	if err != nil {
		return nil
	}
	return parseTree(data)
}

// parseTree reads a list of files; one of another version or with unsafe names is
// none.
func parseTree(data []byte) []Entry {
	var t treeFile
	if json.Unmarshal(data, &t) != nil || t.Version != 1 {
		return nil
	}
	entries := make([]Entry, 0, len(t.Files))
	for name, item := range t.Files {
		e := Entry{Type: "file", OID: item.BlobID, Size: item.Size, Path: name}
		if item.LFSSHA256 != "" {
			e.Size = item.LFSSize
			e.LFS = &LFS{OID: item.LFSSHA256, Size: item.LFSSize}
		}
		if e.check() != nil {
			return nil
		}
		entries = append(entries, e)
	}
	if checkClashes(entries) != nil {
		return nil
	}
	sortEntries(entries)
	return entries
}

// setTree writes the list of a commit's files.
func (s *store) setTree(commit string, entries []Entry) error {
	t := treeFile{Version: 1, Files: make(map[string]treeItem, len(entries))}
	for _, e := range entries {
		item := treeItem{Size: e.Size, BlobID: e.OID}
		if e.LFS != nil {
			item.LFSSHA256, item.LFSSize = e.LFS.OID, e.LFS.Size
		}
		t.Files[e.Path] = item
	}
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return s.writeFile(treesDir+"/"+commit+".json", data)
}
