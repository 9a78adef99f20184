package meta

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// Collection is a list of repos with a title, which belongs to a user or an
// organization.
type Collection struct {
	ID          string           `json:"id"`
	Namespace   string           `json:"namespace"`
	Title       string           `json:"title"`
	Description string           `json:"description,omitempty"`
	Theme       string           `json:"theme"`
	Position    int              `json:"position,omitempty"` // in its owner's list
	Private     bool             `json:"private,omitempty"`
	Updated     time.Time        `json:"updated"`
	Items       []CollectionItem `json:"items,omitempty"`
}

// CollectionItem is a repo in a collection. The repo may be gone.
type CollectionItem struct {
	ID   string `json:"id"`
	Repo string `json:"repo"` // its id
	Note string `json:"note,omitempty"`
}

var notInSlug = regexp.MustCompile(`[^a-z0-9]+`)

// Slug is the collection's address: it begins with the owner, and ends with the id,
// by which alone it is found, so that it survives another title.
func (c *Collection) Slug() string {
	title := strings.Trim(notInSlug.ReplaceAllString(strings.ToLower(c.Title), "-"), "-")
	if len(title) > 64 {
		title = strings.TrimRight(title[:64], "-")
	}
	if title == "" {
		title = "collection"
	}
	return c.Namespace + "/" + title + "-" + c.ID
}

// NewCollectionItem makes an item for a repo.
func NewCollectionItem(repo, note string) CollectionItem {
	return CollectionItem{ID: newID(), Repo: repo, Note: note}
}

// AddCollection makes a collection; ErrExists, with the collection that has the
// title, when the namespace has one of this title.
func (db *DB) AddCollection(c Collection) (Collection, error) {
	c.ID, c.Updated = newID(), time.Now().UTC()
	err := db.update(func(tx *bbolt.Tx) error {
		owner, err := get[User](tx, "users", strings.ToLower(c.Namespace))
		if err != nil {
			return fmt.Errorf("namespace %s: %w", c.Namespace, err)
		}
		c.Namespace = owner.Name
		all, err := collections(tx)
		if err != nil {
			return err
		}
		for _, old := range all {
			if old.Namespace == c.Namespace && old.Title == c.Title {
				c = old
				return fmt.Errorf("collection %q: %w", c.Title, ErrExists)
			}
		}
		return put(tx, "collections", c.ID, c)
	})
	return c, err
}

// Collection finds a collection by its slug, whatever the title in it is.
func (db *DB) Collection(namespace, slug string) (c Collection, err error) {
	id := slug[strings.LastIndexByte(slug, '-')+1:]
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		c, err = get[Collection](tx, "collections", id)
		return err
	})
	if err == nil && !strings.EqualFold(c.Namespace, namespace) {
		return Collection{}, ErrNotFound
	}
	return c, err
}

// UpdateCollection changes a collection in a transaction.
func (db *DB) UpdateCollection(id string, change func(*Collection) error) (c Collection, err error) {
	err = db.update(func(tx *bbolt.Tx) error {
		if c, err = get[Collection](tx, "collections", id); err != nil {
			return err
		}
		if err := change(&c); err != nil {
			return err
		}
		c.Updated = time.Now().UTC()
		return put(tx, "collections", id, c)
	})
	return c, err
}

// DeleteCollection forgets a collection.
func (db *DB) DeleteCollection(id string) error {
	return db.update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("collections")).Delete([]byte(id)) })
}

// Collections lists all collections, the last changed first.
func (db *DB) Collections() (list []Collection, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		list, err = collections(tx)
		return err
	})
	slices.SortStableFunc(list, func(a, b Collection) int { return b.Updated.Compare(a.Updated) })
	return list, err
}

func collections(tx *bbolt.Tx) (list []Collection, err error) {
	err = scan(tx, "collections", "", func(_ string, value []byte) (bool, error) {
		var c Collection
		err := json.Unmarshal(value, &c)
		list = append(list, c)
		return true, err
	})
	return list, err
}
