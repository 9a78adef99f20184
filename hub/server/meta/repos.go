package meta

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// Types of repos.
const (
	Model   = "model"
	Dataset = "dataset"
	Space   = "space"
)

// Repo is what a hub knows of a repository beside its commits.
type Repo struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"` // model, dataset or space
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Private   bool      `json:"private,omitempty"`
	Gated     string    `json:"gated,omitempty"` // "", "auto" or "manual"
	Created   time.Time `json:"created"`
	Modified  time.Time `json:"modified"`
	Downloads int64     `json:"downloads,omitempty"`
	Likes     int       `json:"likes,omitempty"`
	Last      uint64    `json:"last,omitempty"` // number of the newest discussion
	Space     *SpaceRun `json:"space,omitempty"`
	Summary   *Summary  `json:"summary,omitempty"`
}

// SpaceRun is what is wished for a Space. Nothing is run here.
type SpaceRun struct {
	SDK          string              `json:"sdk"`
	Hardware     string              `json:"hardware"`
	SleepSeconds int                 `json:"sleep,omitempty"`
	Paused       bool                `json:"paused,omitempty"`
	DevMode      bool                `json:"dev,omitempty"`
	Secrets      map[string]Variable `json:"secrets,omitempty"`
	Variables    map[string]Variable `json:"variables,omitempty"`
	Storage      string              `json:"storage,omitempty"`
	Volumes      []Volume            `json:"volumes,omitempty"`
}

// Volume is a repo that a Space wishes to see as a folder.
type Volume struct {
	Type      string `json:"type"`
	Source    string `json:"source"` // namespace/name
	MountPath string `json:"mountPath"`
	Revision  string `json:"revision,omitempty"`
	Path      string `json:"path,omitempty"`
	ReadOnly  bool   `json:"readOnly"`
}

// Variable is a setting of a Space.
type Variable struct {
	Value       string    `json:"value"`
	Description string    `json:"description,omitempty"`
	Updated     time.Time `json:"updated"`
}

// Summary is what lists show of the commit at the head of main. It is made
// from that commit and made again when the head is another.
type Summary struct {
	Head        string           `json:"head"`
	Card        json.RawMessage  `json:"card,omitempty"` // front matter of README.md
	Tags        []string         `json:"tags,omitempty"`
	Pipeline    string           `json:"pipeline,omitempty"`
	Library     string           `json:"library,omitempty"`
	SDK         string           `json:"sdk,omitempty"`
	Config      json.RawMessage  `json:"config,omitempty"`
	Parameters  map[string]int64 `json:"parameters,omitempty"` // of safetensors files, by type
	UsedStorage int64            `json:"used,omitempty"`       // bytes of all large files
}

// FullName is namespace/name.
func (r *Repo) FullName() string { return r.Namespace + "/" + r.Name }

// Called tells whether this is the repo's present name, in any case.
func (r *Repo) Called(namespace, name string) bool {
	return strings.EqualFold(r.Namespace, namespace) && strings.EqualFold(r.Name, name)
}

// Path is the repo's place below the address of the server: a model's name
// alone, else with datasets/ or spaces/ in front.
func (r *Repo) Path() string {
	if r.Type == Model {
		return r.FullName()
	}
	return r.Type + "s/" + r.FullName()
}

func nameKey(kind, namespace, name string) string {
	return strings.ToLower(kind + "/" + namespace + "/" + name)
}

// AddRepo makes a repo and gives it its id; ErrExists, with the repo that has
// the name, when there is one. prepare is called with the id before the repo is
// seen by others; it gives the large files that the repo holds from its start,
// and its error ends the work.
func (db *DB) AddRepo(r Repo, prepare func(Repo) (large map[string]int64, err error)) (Repo, error) {
	if err := CheckName(r.Name); err != nil {
		return r, err
	}
	r.ID, r.Created = newID(), time.Now().UTC()
	r.Modified = r.Created
	if old, err := db.Repo(r.Type, r.Namespace, r.Name); err == nil && old.Called(r.Namespace, r.Name) {
		return old, fmt.Errorf("repo %s: %w", r.FullName(), ErrExists)
	}
	large, err := prepare(r)
	if err != nil {
		return r, err
	}
	err = db.update(func(tx *bbolt.Tx) error {
		owner, err := get[User](tx, "users", strings.ToLower(r.Namespace))
		if err != nil {
			return fmt.Errorf("namespace %s: %w", r.Namespace, err)
		}
		r.Namespace = owner.Name
		for sha, size := range large {
			if err := link(tx, r.ID, sha, size); err != nil {
				return err
			}
		}
		return claim(tx, &r)
	})
	return r, err
}

// claim writes a repo and its name, which must be free or an old name.
func claim(tx *bbolt.Tx, r *Repo) error {
	key := nameKey(r.Type, r.Namespace, r.Name)
	if id := tx.Bucket([]byte("names")).Get([]byte(key)); id != nil && string(id) != r.ID {
		other, err := get[Repo](tx, "repos", string(id))
		if err == nil && nameKey(other.Type, other.Namespace, other.Name) == key {
			return fmt.Errorf("repo %s: %w", r.FullName(), ErrExists)
		}
	}
	if err := tx.Bucket([]byte("names")).Put([]byte(key), []byte(r.ID)); err != nil {
		return err
	}
	return put(tx, "repos", r.ID, r)
}

// Repo finds a repo by a name that it has or had, in any case.
func (db *DB) Repo(kind, namespace, name string) (r Repo, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		id := tx.Bucket([]byte("names")).Get([]byte(nameKey(kind, namespace, name)))
		if id == nil {
			return ErrNotFound
		}
		r, err = get[Repo](tx, "repos", string(id))
		return err
	})
	return r, err
}

// RepoByID finds a repo by its id.
func (db *DB) RepoByID(id string) (r Repo, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		r, err = get[Repo](tx, "repos", id)
		return err
	})
	return r, err
}

// UpdateRepo changes a repo in a transaction.
func (db *DB) UpdateRepo(id string, change func(*Repo) error) (r Repo, err error) {
	err = db.update(func(tx *bbolt.Tx) error {
		if r, err = get[Repo](tx, "repos", id); err != nil {
			return err
		}
		if err := change(&r); err != nil {
			return err
		}
		return put(tx, "repos", id, r)
	})
	return r, err
}

// MoveRepo gives a repo another name; the old one goes on leading to it.
func (db *DB) MoveRepo(id, namespace, name string) (r Repo, err error) {
	if err := CheckName(name); err != nil {
		return r, err
	}
	err = db.update(func(tx *bbolt.Tx) error {
		if r, err = get[Repo](tx, "repos", id); err != nil {
			return err
		}
		owner, err := get[User](tx, "users", strings.ToLower(namespace))
		if err != nil {
			return fmt.Errorf("namespace %s: %w", namespace, err)
		}
		r.Namespace, r.Name = owner.Name, name
		return claim(tx, &r)
	})
	return r, err
}

// DeleteRepo forgets a repo with all that hangs on it, and gives the large
// files that no other repo holds.
func (db *DB) DeleteRepo(id string) (orphans []string, err error) {
	err = db.update(func(tx *bbolt.Tx) error {
		if _, err := get[Repo](tx, "repos", id); err != nil {
			return err
		}
		var shas, names []string
		err := scan(tx, "lfs", id+"\x00", func(sha string, _ []byte) (bool, error) {
			shas = append(shas, sha)
			return true, nil
		})
		if err != nil {
			return err
		}
		for _, sha := range shas {
			orphan, err := unlink(tx, id, sha)
			if err != nil {
				return err
			}
			if orphan {
				orphans = append(orphans, sha)
			}
		}
		err = scan(tx, "names", "", func(name string, value []byte) (bool, error) {
			if string(value) == id {
				names = append(names, name)
			}
			return true, nil
		})
		for _, name := range names {
			err = errors.Join(err, tx.Bucket([]byte("names")).Delete([]byte(name)))
		}
		for _, bucket := range []string{"blobs", "likes", "access", "discussions"} {
			err = errors.Join(err, drop(tx, bucket, id+"\x00"))
		}
		return errors.Join(err, tx.Bucket([]byte("repos")).Delete([]byte(id)))
	})
	return orphans, err
}

// Repos lists all repos of a type (empty for all types), the newest change first.
func (db *DB) Repos(kind string) (repos []Repo, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		return scan(tx, "repos", "", func(id string, _ []byte) (bool, error) {
			r, err := get[Repo](tx, "repos", id)
			if err == nil && (kind == "" || r.Type == kind) {
				repos = append(repos, r)
			}
			return true, err
		})
	})
	slices.SortFunc(repos, func(a, b Repo) int { return b.Modified.Compare(a.Modified) })
	return repos, err
}

// Like sets or removes a user's like.
func (db *DB) Like(id, user string, like bool) error {
	return db.update(func(tx *bbolt.Tx) error {
		r, err := get[Repo](tx, "repos", id)
		if err != nil {
			return err
		}
		b, key := tx.Bucket([]byte("likes")), []byte(id+"\x00"+strings.ToLower(user))
		has := b.Get(key) != nil
		switch {
		case like && !has:
			r.Likes++
			err = put(tx, "likes", string(key), time.Now().UTC())
		case !like && has:
			r.Likes--
			err = b.Delete(key)
		}
		return errors.Join(err, put(tx, "repos", id, r))
	})
}

// Likers lists the users who like a repo.
func (db *DB) Likers(id string) (users []User, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		return scan(tx, "likes", id+"\x00", func(name string, _ []byte) (bool, error) {
			if u, err := get[User](tx, "users", name); err == nil {
				users = append(users, u)
			}
			return true, nil
		})
	})
	return users, err
}

// Liked lists the repos that a user likes, and since when.
func (db *DB) Liked(user string) (repos []Repo, since []time.Time, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		return scan(tx, "likes", "", func(key string, value []byte) (bool, error) {
			id, name, _ := strings.Cut(key, "\x00")
			if name != strings.ToLower(user) {
				return true, nil
			}
			var at time.Time
			if err := json.Unmarshal(value, &at); err != nil {
				return false, err
			}
			if r, err := get[Repo](tx, "repos", id); err == nil {
				repos, since = append(repos, r), append(since, at)
			}
			return true, nil
		})
	})
	return repos, since, err
}

// AccessRequest is a user's wish to read a gated repo.
type AccessRequest struct {
	User   string    `json:"user"`
	Status string    `json:"status"` // pending, accepted or rejected
	At     time.Time `json:"at"`
}

// SetAccess writes a request.
func (db *DB) SetAccess(id string, request AccessRequest) error {
	request.At = time.Now().UTC()
	return db.update(func(tx *bbolt.Tx) error {
		return put(tx, "access", id+"\x00"+strings.ToLower(request.User), request)
	})
}

// Access lists the requests of a repo.
func (db *DB) Access(id string) (requests []AccessRequest, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		return scan(tx, "access", id+"\x00", func(name string, _ []byte) (bool, error) {
			r, err := get[AccessRequest](tx, "access", id+"\x00"+name)
			requests = append(requests, r)
			return true, err
		})
	})
	return requests, err
}

// AccessOf is a user's request; ErrNotFound when there is none.
func (db *DB) AccessOf(id, user string) (r AccessRequest, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		r, err = get[AccessRequest](tx, "access", id+"\x00"+strings.ToLower(user))
		return err
	})
	return r, err
}
