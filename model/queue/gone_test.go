package queue

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// buffer is a log that several goroutines write.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestQueueGone: a worker waits for a server that is not there, says so, goes on when it
// is there (again), keeps its job across, and ends at once when it is told to.
func TestQueueGone(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := ServerConfig{Dir: t.TempDir(), Address: free.Addr().String(), Token: "t0ken"}
	free.Close()
	var log buffer
	connected := make(chan *Queue, 1)
	go func() {
		q, err := Connect(t.Context(), Config{URL: "nats://" + c.Address, Token: "t0ken", Name: "w1", Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Error(err)
		}
		connected <- q
	}()
	wait(t, "the worker to complain", func() bool { return strings.Contains(log.String(), "trying again") })
	s, err := Serve(c)
	if err != nil {
		t.Fatal(err)
	}
	q := <-connected
	defer q.Close()
	boss, err := Connect(t.Context(), Config{URL: s.URL, Token: s.Token})
	if err != nil {
		t.Fatal(err)
	}
	defer boss.Close()
	r := publish(t, boss, "run", time.Minute, 3)
	l := take(t, q)
	watched := make(chan error, 1) // across the server's absence
	go func() {
		watched <- r.Watch(t.Context(), func(s Status) (bool, error) { return s.Step == 4, nil })
	}()
	s.Close()
	wait(t, "the worker to complain", func() bool { return strings.Contains(log.String(), "the queue is gone") })

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	began := time.Now()
	if err := l.Checkpoint(ctx, 3, "x"); !errors.Is(err, context.Canceled) || time.Since(began) > soon {
		t.Errorf("ended after %v with %v", time.Since(began), err)
	}
	if err := l.Release(t.Context()); err != nil { // does nothing, at once
		t.Error(err)
	}

	done := make(chan error, 1)
	go func() { done <- l.Checkpoint(t.Context(), 4, NameOf("leg-1", []byte("half"))) }()
	if s, err = Serve(c); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := until(t, r, func(s Status) bool { return s.Step == 4 }); got.Worker != "w1" {
		t.Errorf("status %+v", got)
	}
	select {
	case err := <-watched:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("a watch across the server's absence saw nothing")
	}
}

// soon is less than what a request takes that does not heed the end of its context.
const soon = replyTime - time.Second

// wait waits until something is so.
func wait(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// TestTakeEnds: who waits for a job ends at once, also where nobody has opened a run.
func TestTakeEnds(t *testing.T) {
	s := serve(t, ServerConfig{})
	q := reach(t, s, "w1")
	for _, open := range []bool{false, true} {
		if open {
			if _, err := q.Open(t.Context(), "run", time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(200*time.Millisecond, cancel)
		began := time.Now()
		if _, err := q.Take(ctx); !errors.Is(err, context.Canceled) || time.Since(began) > soon {
			t.Errorf("open %v: ended after %v with %v", open, time.Since(began), err)
		}
	}
}
