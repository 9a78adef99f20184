package data

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// budget bounds the bytes of text between two stages. What is larger than the budget waits
// until it is alone.
type budget struct {
	ctx   context.Context
	mu    sync.Mutex
	free  *sync.Cond
	limit int64
	used  int64
}

// newBudget makes a budget whose waiters give up when ctx ends, which it must.
func newBudget(ctx context.Context, limit int64) *budget {
	b := &budget{ctx: ctx, limit: limit}
	b.free = sync.NewCond(&b.mu)
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.free.Broadcast()
	})
	return b
}

func (b *budget) acquire(n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.used > 0 && b.used+n > b.limit && b.ctx.Err() == nil {
		b.free.Wait()
	}
	b.used += n
	return b.ctx.Err()
}

func (b *budget) release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	b.free.Signal()
}

// key128 is half of a text's SHA-256, which is enough to tell texts apart.
func key128(text string) [16]byte {
	sum := sha256.Sum256([]byte(text))
	return [16]byte(sum[:16])
}

// textKey identifies a text apart from white space: runs of it count as one space, at the
// ends it counts as nothing.
func textKey(text string) [16]byte {
	sum := sha256.New()
	var buf []byte
	const block = 32 << 10
	text = strings.TrimSpace(text)
	space := false
	for len(text) > 0 {
		r, size := rune(text[0]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(text)
		}
		switch {
		case !unicode.IsSpace(r):
			buf = append(buf, text[:size]...)
			space = false
		case !space:
			buf = append(buf, ' ')
			space = true
		}
		text = text[size:]
		if len(buf) >= block {
			sum.Write(buf)
			buf = buf[:0]
		}
	}
	sum.Write(buf)
	return [16]byte(sum.Sum(nil)[:16])
}
