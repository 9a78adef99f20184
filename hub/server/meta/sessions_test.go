package meta_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// TestSessions: a refresh token gives new tokens once; what has expired is worth
// nothing; nothing outlives the end that a session has.
func TestSessions(t *testing.T) {
	db, err := meta.Open(filepath.Join(t.TempDir(), "db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.AddUser(meta.User{Name: "alice"}); err != nil {
		t.Fatal(err)
	}
	open := func(s meta.Session) meta.Tokens {
		t.Helper()
		s.Token.User, s.Token.Kind = "Alice", meta.TokenRead
		got, err := db.OpenSession(s)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	known := func(secret string) bool {
		t.Helper()
		token, err := db.Token(secret)
		if err != nil && !errors.Is(err, meta.ErrNotFound) {
			t.Fatal(err)
		}
		return err == nil && token.User == "alice" && token.Kind == meta.TokenRead
	}
	first := open(meta.Session{Life: time.Hour, Idle: 2 * time.Hour})
	if !known(first.Access) || known(first.Refresh) || first.Life != time.Hour {
		t.Errorf("first tokens: %+v", first)
	}
	second, err := db.RenewSession(first.Refresh)
	if err != nil || second.Access == first.Access || second.Refresh == first.Refresh || !known(second.Access) || !known(first.Access) {
		t.Errorf("renewed: %v", err)
	}
	for name, refresh := range map[string]string{"spent": first.Refresh, "an access token": second.Access, "unknown": "hf_x", "empty": ""} {
		if _, err := db.RenewSession(refresh); !errors.Is(err, meta.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if short := open(meta.Session{Life: -time.Second, Idle: time.Hour}); known(short.Access) {
		t.Error("an expired access token is known")
	} else if renewed, err := db.RenewSession(short.Refresh); err != nil || known(renewed.Access) {
		t.Errorf("its session: %v", err)
	}
	idle := open(meta.Session{Life: time.Hour, Idle: -time.Second})
	if _, err := db.RenewSession(idle.Refresh); !errors.Is(err, meta.ErrNotFound) {
		t.Errorf("a session that was idle: %v", err)
	}
	bounded := open(meta.Session{Life: time.Hour, Idle: time.Hour, Until: time.Now().Add(-time.Second)})
	if _, err := db.RenewSession(bounded.Refresh); known(bounded.Access) || !errors.Is(err, meta.ErrNotFound) {
		t.Errorf("a session after its end: %v", err)
	}
	if _, err := db.OpenSession(meta.Session{Token: meta.Token{User: "nobody"}}); !errors.Is(err, meta.ErrNotFound) {
		t.Errorf("a session of nobody: %v", err)
	}
}
