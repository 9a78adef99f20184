package meta

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

func openDB(t *testing.T) (*DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hub.db")
	db, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db, path
}

func TestTokens(t *testing.T) {
	db, path := openDB(t)
	if _, err := db.AddUser(User{Name: "Alice"}); err != nil {
		t.Fatal(err)
	}
	good, err := db.AddToken(Token{User: "alice", Kind: TokenRead})
	if err != nil {
		t.Fatal(err)
	}
	late, err := db.AddToken(Token{User: "alice", Kind: TokenRead, Expires: time.Now().Add(-time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	if token, err := db.Token(good); err != nil || token.User != "Alice" {
		t.Errorf("%+v %v", token, err)
	}
	for name, secret := range map[string]string{"expired": late, "empty": "", "cut": good[:len(good)-1], "longer": good + "0", "upper case": strings.ToUpper(good)} {
		if token, err := db.Token(secret); !errors.Is(err, ErrNotFound) || token.User != "" {
			t.Errorf("%s: %+v %v", name, token, err)
		}
	}
	if data, err := os.ReadFile(path); err != nil || bytes.Contains(data, []byte(good[3:])) {
		t.Errorf("the secret is in the file (%v)", err)
	}
	if _, err := Open(path, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
}

func TestNames(t *testing.T) {
	db, _ := openDB(t)
	if _, err := db.AddUser(User{Name: "alice"}); err != nil {
		t.Fatal(err)
	}
	none := func(Repo) (map[string]int64, error) { return nil, nil }
	first, err := db.AddRepo(Repo{Type: Model, Namespace: "alice", Name: "One"}, none)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.AddRepo(Repo{Type: Model, Namespace: "Alice", Name: "one"}, none); !errors.Is(err, ErrExists) {
		t.Errorf("a name twice: %v", err)
	}
	if _, err := db.AddRepo(Repo{Type: Dataset, Namespace: "alice", Name: "one"}, none); err != nil {
		t.Errorf("another type: %v", err)
	}
	if _, err := db.MoveRepo(first.ID, "alice", "two"); err != nil {
		t.Fatal(err)
	}
	if r, err := db.Repo(Model, "alice", "one"); err != nil || r.Name != "two" {
		t.Errorf("the old name leads to %q (%v)", r.Name, err)
	}
	second, err := db.AddRepo(Repo{Type: Model, Namespace: "alice", Name: "one"}, none)
	if err != nil {
		t.Fatalf("an old name is free again: %v", err)
	}
	if r, err := db.Repo(Model, "alice", "one"); err != nil || r.ID != second.ID {
		t.Errorf("the name leads to %q (%v)", r.ID, err)
	}
	if _, err := db.MoveRepo(first.ID, "alice", "one"); !errors.Is(err, ErrExists) {
		t.Errorf("moved onto another: %v", err)
	}
}

func TestLargeFileLinks(t *testing.T) {
	db, _ := openDB(t)
	if _, err := db.AddUser(User{Name: "alice"}); err != nil {
		t.Fatal(err)
	}
	sha := strings.Repeat("ab", 32)
	var ids []string
	for _, name := range []string{"a", "b"} {
		r, err := db.AddRepo(Repo{Type: Model, Namespace: "alice", Name: name}, func(Repo) (map[string]int64, error) { return map[string]int64{sha: 5}, nil })
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	if orphan, err := db.UnlinkLFS(ids[0], sha); err != nil || orphan {
		t.Errorf("another repo holds it: %v %v", orphan, err)
	}
	if orphans, err := db.DeleteRepo(ids[1]); err != nil || len(orphans) != 1 || orphans[0] != sha {
		t.Errorf("orphans %v %v", orphans, err)
	}
	if err := db.LinkLFS(ids[1], sha, 5); !errors.Is(err, ErrNotFound) {
		t.Errorf("linked to a repo that is gone: %v", err)
	}
	if faults := db.Check(); len(faults) > 0 {
		t.Error(faults)
	}
}

// TestRenewLFS: a link is renewed when it is old, and only then.
func TestRenewLFS(t *testing.T) {
	db, _ := openDB(t)
	if _, err := db.AddUser(User{Name: "alice"}); err != nil {
		t.Fatal(err)
	}
	sha := strings.Repeat("ab", 32)
	r, err := db.AddRepo(Repo{Type: Model, Namespace: "alice", Name: "a"}, func(Repo) (map[string]int64, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := db.RenewLFS(r.ID, sha, time.Hour); !errors.Is(err, ErrNotFound) {
		t.Errorf("a link that is not there: %v", err)
	}
	for age, renewed := range map[time.Duration]bool{2 * time.Hour: true, 30 * time.Minute: false} {
		old := LFSLink{5, time.Now().Add(-age)}
		err := db.update(func(tx *bbolt.Tx) error { return put(tx, "lfs", r.ID+"\x00"+sha, old) })
		if err == nil {
			err = db.RenewLFS(r.ID, sha, time.Hour)
		}
		link, readErr := db.LFS(r.ID, sha)
		if err != nil || readErr != nil || link.Added.After(old.Added.Add(time.Minute)) != renewed || link.Size != 5 {
			t.Errorf("a link of %s ago: %+v %v %v", age, link, err, readErr)
		}
	}
}
