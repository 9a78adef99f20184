package meta

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// LFSLink says that a repo holds a large file: somebody who may write to the
// repo has sent its bytes there. Knowing the hash of another repo's file does
// not make such a link.
type LFSLink struct {
	Size  int64     `json:"size"`
	Added time.Time `json:"added"`
}

// LinkLFS notes that a repo holds a large file.
func (db *DB) LinkLFS(id, sha string, size int64) error {
	return db.update(func(tx *bbolt.Tx) error {
		if _, err := get[Repo](tx, "repos", id); err != nil {
			return fmt.Errorf("repo %s: %w", id, err)
		}
		return link(tx, id, sha, size)
	})
}

func link(tx *bbolt.Tx, id, sha string, size int64) error {
	if err := tx.Bucket([]byte("lfsrepos")).Put([]byte(sha+"\x00"+id), []byte{1}); err != nil {
		return err
	}
	return put(tx, "lfs", id+"\x00"+sha, LFSLink{size, time.Now().UTC()})
}

// HeldLFSBytes is the size of all large files that a repo holds.
func (db *DB) HeldLFSBytes(id string) (total int64, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		return scan(tx, "lfs", id+"\x00", func(_ string, value []byte) (bool, error) {
			var link LFSLink
			err := json.Unmarshal(value, &link)
			total += link.Size
			return true, err
		})
	})
	return total, err
}

// LFS finds a repo's link to a large file; ErrNotFound when it holds none.
func (db *DB) LFS(id, sha string) (link LFSLink, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		link, err = get[LFSLink](tx, "lfs", id+"\x00"+sha)
		return err
	})
	return link, err
}

// LFSLinks lists up to limit links of a repo, by hash, after one.
func (db *DB) LFSLinks(id, after string, limit int) (shas []string, links []LFSLink, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		return scan(tx, "lfs", id+"\x00", func(sha string, value []byte) (bool, error) {
			if sha <= after {
				return true, nil
			}
			var link LFSLink
			if err := json.Unmarshal(value, &link); err != nil {
				return false, err
			}
			shas, links = append(shas, sha), append(links, link)
			return len(shas) < limit, nil
		})
	})
	return shas, links, err
}

// UnlinkLFS lets a repo's large file go and tells whether no repo holds it now.
func (db *DB) UnlinkLFS(id, sha string) (orphan bool, err error) {
	err = db.update(func(tx *bbolt.Tx) error {
		orphan, err = unlink(tx, id, sha)
		return err
	})
	return orphan, err
}

func unlink(tx *bbolt.Tx, id, sha string) (orphan bool, err error) {
	err = errors.Join(
		tx.Bucket([]byte("lfs")).Delete([]byte(id+"\x00"+sha)),
		tx.Bucket([]byte("lfsrepos")).Delete([]byte(sha+"\x00"+id)))
	orphan = true
	return orphan, errors.Join(err, scan(tx, "lfsrepos", sha+"\x00", func(string, []byte) (bool, error) {
		orphan = false
		return false, nil
	}))
}

// RenewLFS makes a repo's link to a large file a new one when it is older than age.
func (db *DB) RenewLFS(id, sha string, age time.Duration) error {
	old, err := db.LFS(id, sha)
	if err != nil || time.Since(old.Added) < age {
		return err
	}
	return db.LinkLFS(id, sha, old.Size)
}

// HeldLFS tells whether any repo holds a large file.
func (db *DB) HeldLFS(sha string) (held bool, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		return scan(tx, "lfsrepos", sha+"\x00", func(string, []byte) (bool, error) {
			held = true
			return false, nil
		})
	})
	return held, err
}

// BlobInfo is what listings want to know of a blob.
type BlobInfo struct {
	Size int64  `json:"s"`           // of the file: for a pointer, of the large file
	SHA  string `json:"l,omitempty"` // of the large file; empty for an ordinary one
	Text int64  `json:"p,omitempty"` // size of the pointer
}

// Blobs gives what is known of blobs; those not known are left out.
func (db *DB) Blobs(id string, hashes []string) (map[string]BlobInfo, error) {
	found := make(map[string]BlobInfo, len(hashes))
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		for _, h := range hashes {
			info, err := get[BlobInfo](tx, "blobs", id+"\x00"+h)
			if err == nil {
				found[h] = info
			} else if !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		return nil
	})
	return found, err
}

// DropBlobs forgets what is known of a repo's blobs. It is found out again.
func (db *DB) DropBlobs(id string) error {
	return db.update(func(tx *bbolt.Tx) error { return drop(tx, "blobs", id+"\x00") })
}

// PutBlobs notes what is known of blobs.
func (db *DB) PutBlobs(id string, infos map[string]BlobInfo) error {
	if len(infos) == 0 {
		return nil
	}
	return db.update(func(tx *bbolt.Tx) error {
		for h, info := range infos {
			if err := put(tx, "blobs", id+"\x00"+h, info); err != nil {
				return err
			}
		}
		return nil
	})
}
