package client

import (
	"context"
	"io"
	"sync"
	"time"
)

// limiter spreads the bytes of all transfers over time. nil does not limit.
type limiter struct {
	mu   sync.Mutex
	rate float64 // bytes a second
	free time.Time
}

func newLimiter(bytesPerSecond int64) *limiter {
	if bytesPerSecond <= 0 {
		return nil
	}
	return &limiter{rate: float64(bytesPerSecond)}
}

// wait lets n bytes pass, which is when those before them have had their time.
func (l *limiter) wait(ctx context.Context, n int) error {
	if l == nil || n <= 0 {
		return nil
	}
	l.mu.Lock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	pause := l.free.Sub(now)
	l.mu.Unlock()
	return sleep(ctx, pause)
}

// reader limits what is read from r.
func (l *limiter) reader(ctx context.Context, r io.Reader) io.Reader {
	if l == nil {
		return r
	}
	return &limitedReader{ctx: ctx, limit: l, r: r}
}

type limitedReader struct {
	ctx   context.Context
	limit *limiter
	r     io.Reader
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(len(p), 32<<10)])
	if waitErr := l.limit.wait(l.ctx, n); waitErr != nil {
		return n, waitErr
	}
	return n, err
}
