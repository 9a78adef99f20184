package meta

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// Roles of a member in an organization.
const (
	RoleAdmin = "admin"
	RoleWrite = "write"
	RoleRead  = "read"
)

// User is a person or an organization: whoever repos can belong to.
type User struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Fullname string            `json:"fullname"`
	Email    string            `json:"email,omitempty"`
	Org      bool              `json:"org,omitempty"`
	Members  map[string]string `json:"members,omitempty"` // of an organization: lower-case user → role
	Created  time.Time         `json:"created"`
}

// Kinds of tokens.
const (
	TokenRead  = "read"
	TokenWrite = "write"
	TokenFine  = "fineGrained"
)

// Token is a token without its secret. The zero value of Scopes gives a
// fine-grained token nothing; the other kinds do not look at it.
type Token struct {
	User    string    `json:"user"`
	Label   string    `json:"label"`
	Kind    string    `json:"kind"` // read, write or fineGrained
	Scopes  []Scope   `json:"scopes,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
}

// Scope lets a fine-grained token at one repo, or at a namespace with all its repos.
type Scope struct {
	Target string `json:"target"` // "model/alice/m", or "alice"
	Write  bool   `json:"write"`
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// Names that would hide a route of the server.
var reserved = map[string]bool{"api": true, "models": true, "datasets": true, "spaces": true, "collections": true, "resolve": true, "static": true, "_cas": true, "_lfs": true, "settings": true, "login": true, "oauth": true}

// CheckName tells whether a user, an organization or a repo may be called so.
func CheckName(name string) error {
	if len(name) > 96 || !namePattern.MatchString(name) || strings.Contains(name, "--") || strings.Contains(name, "..") ||
		strings.HasSuffix(name, "-") || strings.HasSuffix(name, ".") || strings.HasSuffix(strings.ToLower(name), ".git") {
		return fmt.Errorf("%w: %q; use up to 96 letters, digits, '-', '_' and '.', no '--' or '..', none of '-' and '.' at either end, no '.git' at the end", ErrName, name)
	}
	return nil
}

// AddUser makes a user or an organization; ErrExists when the name is taken.
func (db *DB) AddUser(u User) (User, error) {
	if err := CheckName(u.Name); err != nil {
		return u, err
	}
	if reserved[strings.ToLower(u.Name)] {
		return u, fmt.Errorf("%w: %q is kept for the server's own addresses", ErrName, u.Name)
	}
	if u.Fullname == "" {
		u.Fullname = u.Name
	}
	u.ID, u.Created = newID(), time.Now().UTC()
	err := db.update(func(tx *bbolt.Tx) error {
		key := strings.ToLower(u.Name)
		if _, err := get[User](tx, "users", key); !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("user or organization %s: %w", u.Name, ErrExists)
		}
		for member := range u.Members {
			if m, err := get[User](tx, "users", member); err != nil || m.Org {
				return fmt.Errorf("user %s: %w", member, ErrNotFound)
			}
		}
		return put(tx, "users", key, u)
	})
	return u, err
}

// User finds a user or an organization by name, in any case.
func (db *DB) User(name string) (u User, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		u, err = get[User](tx, "users", strings.ToLower(name))
		return err
	})
	if err != nil {
		return u, fmt.Errorf("user %s: %w", name, err)
	}
	return u, nil
}

// Orgs lists the organizations of a user, with the user's role in each.
func (db *DB) Orgs(user string) (orgs []User, roles []string, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		return scan(tx, "users", "", func(key string, _ []byte) (bool, error) {
			u, err := get[User](tx, "users", key)
			if role := u.Members[strings.ToLower(user)]; role != "" {
				orgs, roles = append(orgs, u), append(roles, role)
			}
			return true, err
		})
	})
	return orgs, roles, err
}

// AddToken makes a token for a user and gives its secret, which is kept nowhere.
func (db *DB) AddToken(t Token) (secret string, err error) {
	switch t.Kind {
	case TokenRead, TokenWrite, TokenFine:
	default:
		return "", fmt.Errorf("kind of token %q: use read, write or fineGrained", t.Kind)
	}
	err = db.update(func(tx *bbolt.Tx) error {
		secret, err = addToken(tx, t)
		return err
	})
	return secret, err
}

// addToken stores a token under the hash of a new secret.
func addToken(tx *bbolt.Tx, t Token) (secret string, err error) {
	u, err := get[User](tx, "users", strings.ToLower(t.User))
	if err != nil || u.Org {
		return "", fmt.Errorf("user %s: %w", t.User, ErrNotFound)
	}
	t.User, t.Created = u.Name, time.Now().UTC()
	secret = newSecret()
	sum := sha256.Sum256([]byte(secret))
	return secret, put(tx, "tokens", string(sum[:]), t)
}

// newSecret is 32 random bytes as a token.
func newSecret() string {
	random := make([]byte, 32)
	rand.Read(random)
	return "hf_" + hex.EncodeToString(random)
}

// Token finds a token by its secret; ErrNotFound for a wrong or an expired one.
func (db *DB) Token(secret string) (t Token, err error) {
	sum := sha256.Sum256([]byte(secret))
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		// The lookup compares hashes, whose prefixes tell nothing of the secret;
		// the found key is compared once more in constant time.
		k, _ := tx.Bucket([]byte("tokens")).Cursor().Seek(sum[:])
		if subtle.ConstantTimeCompare(k, sum[:]) != 1 {
			return ErrNotFound
		}
		t, err = get[Token](tx, "tokens", string(sum[:]))
		return err
	})
	if err == nil && !t.Expires.IsZero() && time.Now().After(t.Expires) {
		return Token{}, ErrNotFound
	}
	return t, err
}

// newID is a random id of 24 hex digits.
func newID() string {
	var b [12]byte
	rand.Read(b[:])
	return fmt.Sprintf("%x", b)
}
