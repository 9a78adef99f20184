package client

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// metaDir is where a folder of plain files keeps what is known of them.
const metaDir = ".cache/huggingface"

// toFolder brings files into a folder of the user, as plain files.
func (c *Client) toFolder(ctx context.Context, s *Snapshot, entries []Entry, o SnapshotOptions) error {
	s.Dir = o.LocalDir
	if !o.DryRun {
		if err := os.MkdirAll(o.LocalDir, 0o777); err != nil {
			return fmt.Errorf("make the folder: %w", err)
		}
	}
	root, err := os.OpenRoot(o.LocalDir)
	if o.DryRun && errors.Is(err, fs.ErrNotExist) {
		for _, e := range entries {
			s.Files = append(s.Files, SnapshotFile{Path: e.Path, Size: e.Size, Hash: e.Hash()})
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the folder: %w", err)
	}
	defer root.Close()
	l := local{c: c, root: root, repo: s.Repo, commit: s.Commit}
	var missing []Entry
	var total, need int64
	for _, e := range entries {
		if e.Path == metaDir || strings.HasPrefix(e.Path, metaDir+"/") {
			return fmt.Errorf("the repository has a file %s, where the folder's own notes are; download into the cache instead", e.Path)
		}
		there := l.has(e)
		s.Files = append(s.Files, SnapshotFile{Path: e.Path, Size: e.Size, Hash: e.Hash(), Cached: there})
		total += e.Size
		if !there {
			missing, need = append(missing, e), need+e.Size
		}
	}
	if o.DryRun {
		return nil
	}
	if err := l.prepare(); err != nil {
		return fmt.Errorf("write to %s: %w", o.LocalDir, err)
	}
	if err := c.places(root, metaDir, entries); err != nil {
		return fmt.Errorf("download %s: %w", s.Repo, err)
	}
	if err := room(o.LocalDir, need); err != nil {
		return fmt.Errorf("download %s: %w", s.Repo, err)
	}
	m := newMeter(total, o.Progress)
	for i, e := range entries {
		if s.Files[i].Cached {
			m.set(e.Path, e.Size, e.Size)
		}
	}
	return each(ctx, c.workers, missing, func(ctx context.Context, e Entry) error { return l.bring(ctx, e, m) })
}

// local is a folder of plain files.
type local struct {
	c      *Client
	root   *os.Root
	repo   Repo
	commit string
}

// prepare makes the folder's notes, which git leaves out.
func (l local) prepare() error {
	if err := l.root.MkdirAll(metaDir+"/download", 0o777); err != nil {
		return err
	}
	for name, text := range map[string]string{".gitignore": "*", "CACHEDIR.TAG": cacheTag} {
		if _, err := l.root.Lstat(metaDir + "/" + name); errors.Is(err, fs.ErrNotExist) {
			if err := writeWhole(l.root, metaDir+"/"+name, []byte(text)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l local) notes(name string) string { return metaDir + "/download/" + name + ".metadata" }

// has reports whether a file is there with the content wanted: by its notes if it
// was not changed since, else by its hash.
func (l local) has(e Entry) bool {
	info, err := l.root.Lstat(e.Path)
	if err != nil || !info.Mode().IsRegular() || info.Size() != e.Size {
		return false
	}
	if data, err := l.root.ReadFile(l.notes(e.Path)); err == nil {
		if etag, at, ok := parseNotes(data); ok && !info.ModTime().After(at.Add(time.Second)) {
			return etag == e.Hash()
		}
	}
	f, err := l.root.Open(e.Path)
	if err != nil {
		return false
	}
	defer f.Close()
	got, err := hashOf(f, e.Hash(), e.Size)
	return err == nil && got == e.Hash()
}

// parseNotes reads the notes of a file: commit, ETag, and seconds since 1970, each
// on a line.
func parseNotes(data []byte) (etag string, at time.Time, ok bool) {
	lines := strings.Split(string(data), "\n")
	if len(lines) < 3 {
		return "", time.Time{}, false
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(lines[2]), 64)
	if err != nil || !(seconds > 0 && seconds < 1e12) {
		return "", time.Time{}, false
	}
	return strings.TrimSpace(lines[1]), time.UnixMicro(int64(seconds * 1e6)), true
}

// hashOf reads r and returns its hash of the kind that etag is.
func hashOf(r io.Reader, etag string, size int64) (string, error) {
	h, _ := newHash(etag, size)
	if h == nil {
		return "", fmt.Errorf("%q is not a hash", etag)
	}
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// partName is where a file is before it is complete.
func partName(name, etag string) string {
	short := sha1.Sum([]byte(path.Base(name) + ".metadata"))
	return path.Join(metaDir, "download", path.Dir(name), base64.URLEncoding.EncodeToString(short[:])+"."+etag+partSuffix)
}

// lock takes the lock of a file, the same that huggingface_hub takes: two programs that
// wrote to one part would each check what the other still changes.
func (l local) lock(ctx context.Context, name, temp string) (unlock func(), err error) {
	warn := func(what string) { l.c.log.Warn("a lock is not used, the download does without", "lock", what) }
	f, err := openLock(l.root, metaDir+"/download/"+name+".lock")
	if err != nil {
		warn(err.Error())
		return nil, nil
	}
	return take(ctx, f, name, lockStale, func() string { return partsOf(l.root, path.Dir(temp), path.Base(temp)) }, warn)
}

// bring fetches one file and notes it.
func (l local) bring(ctx context.Context, e Entry, m *meter) error {
	if err := l.root.MkdirAll(path.Dir(e.Path), 0o777); err != nil {
		return fmt.Errorf("make the folder of %s: %w", e.Path, err)
	}
	temp := partName(e.Path, e.Hash())
	if err := l.root.MkdirAll(path.Dir(temp), 0o777); err != nil {
		return fmt.Errorf("make the folder of notes of %s: %w", e.Path, err)
	}
	unlock, err := l.lock(ctx, e.Path, temp)
	if err != nil {
		return err
	}
	if unlock != nil {
		defer unlock()
		if l.has(e) { // another process brought it
			m.set(e.Path, e.Size, e.Size)
			return nil
		}
	}
	temp, done := partFor(l.root, temp, unlock != nil)
	defer done()
	w := want{path: e.Path, url: l.c.resolve(l.repo, l.commit, e.Path), etag: e.Hash(), size: e.Size}
	if err := l.c.fetch(ctx, l.root, temp, e.Path, w, m); err != nil {
		return err
	}
	m.set(e.Path, e.Size, e.Size)
	now := float64(time.Now().UnixMicro()) / 1e6
	text := fmt.Sprintf("%s\n%s\n%s\n", l.commit, e.Hash(), strconv.FormatFloat(now, 'f', -1, 64))
	return writeWhole(l.root, l.notes(e.Path), []byte(text))
}
