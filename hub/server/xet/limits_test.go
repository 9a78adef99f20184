package xet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// small is a xorb of one chunk, 8+10 bytes and an index of 48.
func small(i int) (Hash, []byte) {
	text := fmt.Appendf(nil, "number %03d", i)
	return hashOf(text), plain(text)
}

const smallSize = 8 + 10 + indexEntrySize + trailerSize

// TestLimits sends xorbs that no shard asks for until the server takes no more, by
// number and by bytes, of one user and of all; after their time they make room.
func TestLimits(t *testing.T) {
	free := int64(1 << 40)
	bob, other := alice, alice
	bob.User, other.Repo = "bob", "models/alice/other"
	for _, c := range []struct {
		name        string
		limits      Limits
		alice, both int // xorbs taken
		status      int
		want        string
	}{
		{"user's xorbs", Limits{User: Amount{Xorbs: 3}}, 3, 6, 413, "3 xorbs"},
		{"user's bytes", Limits{User: Amount{Bytes: 4*smallSize + 1}}, 4, 8, 413, "bytes"},
		{"all xorbs", Limits{User: Amount{Xorbs: 3}, All: Amount{Xorbs: 4}}, 3, 4, 413, ""},
		{"all bytes", Limits{All: Amount{Bytes: 5 * smallSize}}, 5, 5, 507, "no place"},
		{"disk", Limits{Free: func() (int64, error) { return free, nil }}, 9, 18, 200, ""},
		{"full disk", Limits{Free: func() (int64, error) { return 2 * smallSize, nil }}, 2, 2, 507, "no place"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, _ := newBridge(t, func(cfg *Config) { cfg.Limits = c.limits })
			taken := func(g Grant, from, to int) (n, status int, body string) {
				for i := from; i < to; i++ {
					h, xorb := small(i)
					if i%2 == 1 && g == alice { // another repo is the same user
						g = other
					}
					if status, body = call(t, b, g, "POST", "/v1/xorbs/default/"+h.String(), bytes.NewReader(xorb)); status == 200 {
						n++
					}
				}
				return n, status, body
			}
			n, status, body := taken(alice, 0, 9)
			if n != c.alice || status != c.status || !strings.Contains(body, c.want) {
				t.Errorf("took %d, then %d %s; want %d, %d %s", n, status, body, c.alice, c.status, c.want)
			}
			if m, _, _ := taken(bob, 0, 9); n+m != c.both {
				t.Errorf("took %d of both, want %d", n+m, c.both)
			}
			if err := b.Sweep(time.Now().Add(49 * time.Hour)); err != nil {
				t.Fatal(err)
			}
			if again, status, body := taken(alice, 10, 10+c.alice); again != c.alice {
				t.Errorf("after the sweep took %d, then %d %s; want %d", again, status, body, c.alice)
			}
		})
	}
}

// TestLimitsCount keeps count of what is there, whatever happens to it.
func TestLimitsCount(t *testing.T) {
	dir := t.TempDir()
	open := func() *Store {
		s, err := NewStore(dir, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	scope := alice.scope()
	count := func(when string, xorbs int) {
		t.Helper()
		want := Amount{int64(xorbs) * smallSize, xorbs}
		if s.usage.all != want || s.usage.users[userOf(scope)] != want {
			t.Errorf("%s: %+v, %+v, want %+v", when, s.usage.all, s.usage.users, want)
		}
	}
	one, xorb := small(1)
	if _, err := s.Put(scope, one, bytes.NewReader(xorb[:12])); !errors.Is(err, ErrTruncated) {
		t.Fatal(err)
	}
	count("a xorb cut short", 0)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := s.Put(scope, one, bytes.NewReader(xorb)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	count("the same from many", 1)
	name := filepath.Join(dir, filepath.FromSlash(scope), one.String()+unusedSuffix)
	if err := os.WriteFile(filepath.Join(filepath.Dir(name), "in-1"+tempSuffix), make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open()
	count("opened again", 1)
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(name), "*"+tempSuffix)); err != nil || len(left) > 0 {
		t.Errorf("half a xorb of a dead process is left: %v, %v", left, err)
	}
	if err := os.Truncate(name, 20); err != nil {
		t.Fatal(err)
	}
	s = open()
	if inserted, err := s.Put(scope, one, bytes.NewReader(xorb)); err != nil || !inserted {
		t.Fatal(inserted, err)
	}
	count("spoiled and sent again", 1)
	if err := s.Used(scope, []Hash{one}); err != nil {
		t.Fatal(err)
	}
	count("used", 1)
	if err := s.Sweep(time.Now().Add(-time.Hour), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	count("swept", 0)
}

// TestDiskFull says so.
func TestDiskFull(t *testing.T) {
	b, objects := newBridge(t, nil)
	xorbs, f, _ := twoXorbs()
	for h, content := range xorbs {
		if _, err := b.store.Put(alice.scope(), h, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	objects.fault = fmt.Errorf("write: %w", syscall.ENOSPC)
	if status, body := call(t, b, alice, "POST", "/v1/shards", bytes.NewReader(shardOf(f))); status != 507 || !strings.Contains(body, "no place") {
		t.Errorf("%d %s", status, body)
	}
}
