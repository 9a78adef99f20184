package meta

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// Session lets a program that its user let in get new tokens, one after another.
type Session struct {
	Token Token         `json:"token"`          // what the tokens are; its Expires is not used
	Life  time.Duration `json:"life"`           // of each token
	Idle  time.Duration `json:"idle"`           // after which nobody needs the session any more
	Until time.Time     `json:"until,omitzero"` // the end of it and of its tokens; zero: none

	Expires time.Time `json:"expires"` // set by OpenSession and RenewSession
}

// Tokens are what a program gets for itself; neither is kept here.
type Tokens struct {
	Access  string
	Refresh string        // for RenewSession, once
	Life    time.Duration // of Access
}

// OpenSession begins a session with its first tokens.
func (db *DB) OpenSession(s Session) (t Tokens, err error) {
	err = db.update(func(tx *bbolt.Tx) error {
		t, err = issue(tx, s)
		return err
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("open session: %w", err)
	}
	return t, nil
}

// RenewSession exchanges a refresh token for new tokens; it is spent by that. One that
// is unknown, spent or too old is ErrNotFound.
func (db *DB) RenewSession(refresh string) (t Tokens, err error) {
	sum := sha256.Sum256([]byte(refresh))
	err = db.update(func(tx *bbolt.Tx) error {
		s, err := get[Session](tx, "sessions", string(sum[:]))
		if err != nil {
			return err
		}
		if time.Now().After(s.Expires) {
			return ErrNotFound
		}
		if err := tx.Bucket([]byte("sessions")).Delete(sum[:]); err != nil {
			return err
		}
		t, err = issue(tx, s)
		return err
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("renew session: %w", err)
	}
	return t, nil
}

// issue stores a new pair of tokens of a session, and removes what is too old.
func issue(tx *bbolt.Tx, s Session) (t Tokens, err error) {
	now := time.Now().UTC()
	end := func(after time.Duration) time.Time {
		at := now.Add(after)
		if !s.Until.IsZero() && s.Until.Before(at) {
			return s.Until
		}
		return at
	}
	s.Token.Expires, s.Expires = end(s.Life), end(s.Idle)
	t.Life = s.Token.Expires.Sub(now)
	if t.Access, err = addToken(tx, s.Token); err != nil {
		return Tokens{}, err
	}
	t.Refresh = newSecret()
	sum := sha256.Sum256([]byte(t.Refresh))
	if err := put(tx, "sessions", string(sum[:]), s); err != nil {
		return Tokens{}, err
	}
	return t, errors.Join(
		expire(tx, "tokens", func(key string) (time.Time, error) {
			token, err := get[Token](tx, "tokens", key)
			return token.Expires, err
		}),
		expire(tx, "sessions", func(key string) (time.Time, error) {
			session, err := get[Session](tx, "sessions", key)
			return session.Expires, err
		}))
}

// expire removes what has expired from a bucket.
func expire(tx *bbolt.Tx, bucket string, expires func(key string) (time.Time, error)) error {
	var old []string
	err := scan(tx, bucket, "", func(key string, _ []byte) (bool, error) {
		at, err := expires(key)
		if !at.IsZero() && time.Now().After(at) {
			old = append(old, key)
		}
		return true, err
	})
	for _, key := range old {
		err = errors.Join(err, tx.Bucket([]byte(bucket)).Delete([]byte(key)))
	}
	return err
}
