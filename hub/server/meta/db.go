// Package meta keeps what a hub knows beside its commits: users, tokens, repos
// and their names, links to large files, likes, access requests, discussions.
// It is one file, an embedded transactional database (bbolt), which only one
// process can have open.
//
// Buckets and keys:
//
//	settings    "key" → 32 random bytes, for signatures
//	users       lower-case name → User
//	tokens      sha256 of the token → Token
//	repos       id → Repo
//	names       type/namespace/name in lower case → id of the repo that has or had this name
//	lfs         id \x00 sha256 → LFSLink: this repo holds this large file
//	lfsrepos    sha256 \x00 id → nothing: the same the other way round
//	blobs       id \x00 blob id → BlobInfo; only saves reading, may be lost
//	likes       id \x00 lower-case user → time
//	access      id \x00 lower-case user → AccessRequest
//	discussions id \x00 number (8 bytes) → Discussion
//	collections id → Collection
//	sessions    sha256 of the refresh token → Session
//
// Values are JSON except where said.
package meta

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Errors that callers branch on.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrName     = errors.New("not a valid name")
	ErrLocked   = errors.New("another process has the data folder open")
)

var buckets = []string{"settings", "users", "tokens", "repos", "names", "lfs", "lfsrepos", "blobs", "likes", "access", "discussions", "collections", "sessions"}

// DB is the database. It is safe for concurrent use.
type DB struct {
	bolt  *bbolt.DB
	fault func(string) error
}

// Open opens the database in a file, which is made when absent. It fails with
// ErrLocked when another process has it. fault is called before each
// transaction; nil is no call.
func Open(path string, fault func(step string) error) (*DB, error) {
	b, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 200 * time.Millisecond, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open database %s: %w", path, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	if fault == nil {
		fault = func(string) error { return nil }
	}
	err = b.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		settings := tx.Bucket([]byte("settings"))
		if settings.Get([]byte("key")) != nil {
			return nil
		}
		key := make([]byte, 32)
		rand.Read(key)
		return settings.Put([]byte("key"), key)
	})
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	return &DB{bolt: b, fault: fault}, nil
}

// Close closes the file.
func (db *DB) Close() error { return db.bolt.Close() }

// Key is the secret that this database was born with, for signatures.
func (db *DB) Key() (key []byte, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		key = append(key, tx.Bucket([]byte("settings")).Get([]byte("key"))...)
		return nil
	})
	return key, err
}

// Check lists faults of the database file.
func (db *DB) Check() (faults []error) {
	_ = db.bolt.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			faults = append(faults, fmt.Errorf("database: %w", err))
		}
		return nil
	})
	return faults
}

// Snapshot is the database at one moment.
type Snapshot struct{ tx *bbolt.Tx }

// Snapshot begins one; it must be closed.
func (db *DB) Snapshot() (*Snapshot, error) {
	tx, err := db.bolt.Begin(false)
	if err != nil {
		return nil, fmt.Errorf("read database: %w", err)
	}
	return &Snapshot{tx}, nil
}

// WriteTo writes the database file as it was.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) { return s.tx.WriteTo(w) }

// Close ends the snapshot.
func (s *Snapshot) Close() error { return s.tx.Rollback() }

// update runs one durable transaction.
func (db *DB) update(f func(tx *bbolt.Tx) error) error {
	if err := db.fault("db:update"); err != nil {
		return fmt.Errorf("write database: %w", err)
	}
	return db.bolt.Update(f)
}

func get[T any](tx *bbolt.Tx, bucket, key string) (value T, err error) {
	data := tx.Bucket([]byte(bucket)).Get([]byte(key))
	if data == nil {
		return value, ErrNotFound
	}
	if err := json.Unmarshal(data, &value); err != nil {
		return value, fmt.Errorf("read %s of the database: %w", bucket, err)
	}
	return value, nil
}

func put(tx *bbolt.Tx, bucket, key string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write %s of the database: %w", bucket, err)
	}
	return tx.Bucket([]byte(bucket)).Put([]byte(key), data)
}

// scan visits the keys below a prefix, without it, until visit says stop.
func scan(tx *bbolt.Tx, bucket, prefix string, visit func(key string, value []byte) (bool, error)) error {
	c := tx.Bucket([]byte(bucket)).Cursor()
	for k, v := c.Seek([]byte(prefix)); k != nil && len(k) >= len(prefix) && string(k[:len(prefix)]) == prefix; k, v = c.Next() {
		more, err := visit(string(k[len(prefix):]), v)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// drop deletes all keys below a prefix.
func drop(tx *bbolt.Tx, bucket, prefix string) error {
	var keys []string
	err := scan(tx, bucket, prefix, func(key string, _ []byte) (bool, error) {
		keys = append(keys, prefix+key)
		return true, nil
	})
	for _, key := range keys {
		err = errors.Join(err, tx.Bucket([]byte(bucket)).Delete([]byte(key)))
	}
	return err
}
