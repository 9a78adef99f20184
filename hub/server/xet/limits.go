package xet

import (
	"fmt"
	"sync"
)

// Amount is how much of something waits. As a limit, a zero field bounds nothing.
type Amount struct {
	Bytes int64
	Xorbs int
}

// Limits bound what waits on disk, so that uploads that never end cannot fill it.
type Limits struct {
	User Amount // of one uploader, whatever the token, repo and revision
	All  Amount // of all uploaders
	// Free tells how many bytes the disk has left. Xorbs may take as many as they
	// leave, because the files made of them lie beside them. Nil: nobody looks.
	Free func() (int64, error)
}

// usage counts what waits. Its methods may be called from several goroutines.
type usage struct {
	limits Limits

	mu    sync.Mutex
	all   Amount
	users map[string]Amount
}

// take notes more, if the limits allow.
func (u *usage) take(user string, more Amount) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	own, all := u.users[user].plus(more), u.all.plus(more)
	if over(own, u.limits.User) {
		return fmt.Errorf("%d bytes in %d xorbs wait already, allowed are %s: %w", u.users[user].Bytes, u.users[user].Xorbs, u.limits.User, ErrUserFull)
	}
	if over(all, u.limits.All) {
		return ErrFull
	}
	if u.limits.Free != nil {
		free, err := u.limits.Free()
		if err != nil {
			return fmt.Errorf("look for space: %w", err)
		}
		if free < all.Bytes {
			return ErrFull
		}
	}
	u.users[user], u.all = own, all
	return nil
}

// give notes that something is gone.
func (u *usage) give(user string, gone Amount) {
	u.mu.Lock()
	defer u.mu.Unlock()
	less := Amount{-gone.Bytes, -gone.Xorbs}
	u.all = u.all.plus(less)
	if u.users[user] = u.users[user].plus(less); u.users[user] == (Amount{}) {
		delete(u.users, user)
	}
}

func (a Amount) plus(b Amount) Amount { return Amount{a.Bytes + b.Bytes, a.Xorbs + b.Xorbs} }

// String says a limit in words.
func (a Amount) String() string {
	switch {
	case a.Bytes == 0:
		return fmt.Sprintf("%d xorbs", a.Xorbs)
	case a.Xorbs == 0:
		return fmt.Sprintf("%d bytes", a.Bytes)
	}
	return fmt.Sprintf("%d bytes in %d xorbs", a.Bytes, a.Xorbs)
}

// over tells whether an amount exceeds a limit.
func over(a, limit Amount) bool {
	return limit.Bytes > 0 && a.Bytes > limit.Bytes || limit.Xorbs > 0 && a.Xorbs > limit.Xorbs
}
