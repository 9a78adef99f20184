package meta

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// States of a discussion.
const (
	StatusOpen   = "open"
	StatusClosed = "closed"
	StatusDraft  = "draft"
	StatusMerged = "merged"
)

// Discussion is a thread below a repo; a pull request when it has a ref.
type Discussion struct {
	Num         uint64    `json:"num"`
	Title       string    `json:"title"`
	Status      string    `json:"status"`
	Author      string    `json:"author"`
	Created     time.Time `json:"created"`
	PullRequest bool      `json:"pr,omitempty"`
	Base        string    `json:"base,omitempty"`  // of a pull request: refs/heads/main
	Merge       string    `json:"merge,omitempty"` // the commit that merged it
	Events      []Event   `json:"events"`
}

// Event is something that happened in a discussion.
type Event struct {
	ID      string         `json:"id"`
	Type    string         `json:"type"` // comment, status-change, title-change
	Author  string         `json:"author"`
	Created time.Time      `json:"created"`
	Data    map[string]any `json:"data"`
}

// NewEvent makes an event of now.
func NewEvent(kind, author string, data map[string]any) Event {
	return Event{ID: newID(), Type: kind, Author: author, Created: time.Now().UTC(), Data: data}
}

func discussionKey(id string, num uint64) string {
	return id + "\x00" + string(binary.BigEndian.AppendUint64(nil, num))
}

// AddDiscussion makes a discussion with the next number. prepare is called with
// it inside the transaction, and its error ends the work.
func (db *DB) AddDiscussion(id string, d Discussion, prepare func(Discussion) error) (Discussion, error) {
	d.Created = time.Now().UTC()
	err := db.update(func(tx *bbolt.Tx) error {
		r, err := get[Repo](tx, "repos", id)
		if err != nil {
			return err
		}
		r.Last++
		d.Num = r.Last
		if err := put(tx, "repos", id, r); err != nil {
			return err
		}
		if err := put(tx, "discussions", discussionKey(id, d.Num), d); err != nil {
			return err
		}
		return prepare(d)
	})
	return d, err
}

// Discussion finds one by number.
func (db *DB) Discussion(id string, num uint64) (d Discussion, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		d, err = get[Discussion](tx, "discussions", discussionKey(id, num))
		return err
	})
	return d, err
}

// UpdateDiscussion changes one in a transaction.
func (db *DB) UpdateDiscussion(id string, num uint64, change func(*Discussion) error) (d Discussion, err error) {
	err = db.update(func(tx *bbolt.Tx) error {
		if d, err = get[Discussion](tx, "discussions", discussionKey(id, num)); err != nil {
			return err
		}
		if err := change(&d); err != nil {
			return err
		}
		return put(tx, "discussions", discussionKey(id, num), d)
	})
	return d, err
}

// Discussions lists those of a repo, the newest first.
func (db *DB) Discussions(id string) (list []Discussion, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		return scan(tx, "discussions", id+"\x00", func(_ string, value []byte) (bool, error) {
			var d Discussion
			err := json.Unmarshal(value, &d)
			list = append(list, d)
			return true, err
		})
	})
	slices.Reverse(list)
	return list, err
}
