package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// serve starts an embedded server in dir.
func serve(t *testing.T, c ServerConfig) *Server {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	s, err := Serve(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func reach(t *testing.T, s *Server, name string) *Queue {
	t.Helper()
	q, err := Connect(t.Context(), Config{URL: s.URL, Token: s.Token, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

// publish opens a run with one job.
func publish(t *testing.T, q *Queue, id string, lease time.Duration, attempts int) *Run {
	t.Helper()
	r, err := q.Open(t.Context(), id, lease)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := r.Put(t.Context(), "seed", []byte("what to do"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Publish(t.Context(), Job{Name: "leg-1", Spec: spec, Attempts: attempts}); err != nil {
		t.Fatal(err)
	}
	return r
}

func take(t *testing.T, q *Queue) *Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	l, err := q.Take(ctx)
	if err != nil {
		t.Fatalf("take: %v", err)
	}
	return l
}

// until watches a run's only job.
func until(t *testing.T, r *Run, enough func(Status) bool) Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var last Status
	err := r.Watch(ctx, func(s Status) (bool, error) {
		last = s
		return enough(s), nil
	})
	if err != nil {
		t.Fatalf("watch: %v; last %+v", err, last)
	}
	return last
}

// TestJob: a job goes from coordinator to worker, its result comes back, and nothing of
// the run stays.
func TestJob(t *testing.T) {
	s := serve(t, ServerConfig{})
	boss, worker := reach(t, s, "boss"), reach(t, s, "w1")
	r := publish(t, boss, "run", time.Minute, 3)
	if err := r.Publish(t.Context(), Job{Name: "leg-1", Spec: NameOf("seed", []byte("what to do")), Attempts: 3}); err != nil {
		t.Fatalf("publish twice: %v", err)
	}
	l := take(t, worker)
	if spec, err := l.Run.Get(t.Context(), l.Job.Spec, 100); err != nil || string(spec) != "what to do" {
		t.Errorf("specification %q, %v", spec, err)
	}
	result, err := l.Run.Put(l.Context(), "leg-1", []byte("done"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Finish(l.Context(), 7, result); err != nil {
		t.Fatal(err)
	}
	got := until(t, r, func(s Status) bool { return s.Result != "" })
	if got.Job != "leg-1" || got.Worker != "w1" || got.Step != 7 || got.Result != NameOf("leg-1", []byte("done")) {
		t.Errorf("status %+v", got)
	}
	if err := r.Publish(t.Context(), Job{Name: "leg-1", Spec: l.Job.Spec, Attempts: 3}); err != nil {
		t.Fatal(err)
	}
	if n := waiting(t, boss); n != 0 {
		t.Errorf("%d jobs wait after the end", n)
	}
	if err := r.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(t.Context()); err != nil {
		t.Errorf("remove twice: %v", err)
	}
	if _, err := worker.find(t.Context(), "run"); !errors.Is(err, ErrLost) {
		t.Errorf("a run that was removed: %v", err)
	}
}

// waiting is how many messages the queue has.
func waiting(t *testing.T, q *Queue) uint64 {
	t.Helper()
	stream, err := q.js.Stream(t.Context(), jobsStream)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// TestLeaseEnds: the job of a worker that is silent goes to another with its checkpoint,
// and what the first one says later does not count.
func TestLeaseEnds(t *testing.T) {
	s := serve(t, ServerConfig{})
	boss, first, second := reach(t, s, "boss"), reach(t, s, "w1"), reach(t, s, "w2")
	r := publish(t, boss, "run", time.Second, 3)
	silent := take(t, first)
	if err := silent.Checkpoint(t.Context(), 5, NameOf("leg-1", []byte("half"))); err != nil {
		t.Fatal(err)
	}
	silent.stop() // no more signs of life
	l := take(t, second)
	if got := l.Status(); got.Step != 5 || got.Checkpoint != NameOf("leg-1", []byte("half")) || got.Worker != "w2" || got.Attempts != 1 {
		t.Errorf("status %+v", got)
	}
	if err := silent.Checkpoint(t.Context(), 6, "x"); !errors.Is(err, ErrLost) {
		t.Errorf("checkpoint of the first worker: %v", err)
	}
	if err := silent.Finish(t.Context(), 9, "x"); !errors.Is(err, ErrLost) {
		t.Errorf("result of the first worker: %v", err)
	}
	if err := l.Finish(t.Context(), 9, NameOf("leg-1", []byte("whole"))); err != nil {
		t.Fatal(err)
	}
	if got := until(t, r, func(s Status) bool { return s.Result != "" }); got.Worker != "w2" {
		t.Errorf("status %+v", got)
	}
}

// TestLeaseHolds: signs of life keep a job longer than its lease, and a worker learns
// that its job was taken over or its run removed.
func TestLeaseHolds(t *testing.T) {
	t.Parallel() // it waits most of the time, for a lease that no busy machine outlasts between two signs of life
	s := serve(t, ServerConfig{})
	boss, first, second := reach(t, s, "boss"), reach(t, s, "w1"), reach(t, s, "w2")
	r := publish(t, boss, "run", 9*time.Second, 3)
	l := take(t, first)
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
	defer cancel()
	if other, err := second.Take(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a second worker got %v, %v", other, err)
	}
	if l.Context().Err() != nil {
		t.Fatalf("lost: %v", context.Cause(l.Context()))
	}
	status, revision, err := r.read(t.Context(), "leg-1")
	if err != nil {
		t.Fatal(err)
	}
	status.Claim = "another"
	if _, err := r.write(t.Context(), status, revision); err != nil {
		t.Fatal(err)
	}
	<-l.Context().Done()
	if cause := context.Cause(l.Context()); !errors.Is(cause, ErrLost) || !strings.Contains(cause.Error(), "taken job leg-1 over") {
		t.Errorf("cause %v", cause)
	}
	l.Abandon()

	r = publish(t, boss, "other", 3*time.Second, 3)
	l = take(t, second)
	if l.Job.Run != "other" {
		l.Abandon()
		l = take(t, second)
	}
	if err := r.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-l.Context().Done()
	if cause := context.Cause(l.Context()); !errors.Is(cause, ErrLost) || !strings.Contains(cause.Error(), "over") {
		t.Errorf("cause %v", cause)
	}
	l.Abandon()
}

// TestFails: after so many attempts without a checkpoint the job has failed, with the last
// worker's error, or a sentence where they said nothing; published again it is tried again.
func TestFails(t *testing.T) {
	s := serve(t, ServerConfig{})
	boss, worker := reach(t, s, "boss"), reach(t, s, "w1")
	r := publish(t, boss, "run", time.Minute, 2)
	l := take(t, worker)
	if err := l.Release(t.Context()); err != nil { // no attempt
		t.Fatal(err)
	}
	for range 2 {
		l = take(t, worker)
		if err := l.Fail(t.Context(), errors.New("it is NaN")); err != nil {
			t.Fatal(err)
		}
	}
	if got := until(t, r, func(s Status) bool { return s.Failed }); got.Error != "it is NaN" || got.Attempts != 2 {
		t.Errorf("status %+v", got)
	}
	if n := waiting(t, boss); n != 0 {
		t.Errorf("%d jobs wait", n)
	}
	if err := r.Publish(t.Context(), Job{Name: "leg-1", Spec: l.Job.Spec, Attempts: 2}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // two workers that are killed
		l = take(t, worker)
		l.stop()
		if err := l.msg.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	go worker.Take(ctx) // finds nothing to take
	if got := until(t, r, func(s Status) bool { return s.Failed }); !strings.Contains(got.Error, "ended without a word") {
		t.Errorf("status %+v", got)
	}
}

// TestCorruptObject: bytes that are not those of the name are read once more and refused.
func TestCorruptObject(t *testing.T) {
	s := serve(t, ServerConfig{})
	var log bytes.Buffer
	q, err := Connect(t.Context(), Config{URL: s.URL, Token: s.Token, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	r, err := q.Open(t.Context(), "run", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("0123456789"), 100_000) // several chunks
	name, err := r.Put(t.Context(), "seed", data)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Get(t.Context(), name, int64(len(data))); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	var corrupt *CorruptError
	if _, err := r.Get(t.Context(), name, int64(len(data))-1); !errors.As(err, &corrupt) {
		t.Errorf("longer than allowed: %v", err)
	}
	if _, err := r.objects.PutBytes(t.Context(), name, []byte("something else")); err != nil {
		t.Fatal(err)
	}
	log.Reset()
	if _, err := r.Get(t.Context(), name, int64(len(data))); !errors.As(err, &corrupt) || corrupt.Missing || !strings.Contains(err.Error(), "another sha256") {
		t.Errorf("error %v", err)
	}
	if n := strings.Count(log.String(), "once more"); n != 1 {
		t.Errorf("read once more %d times: %s", n, &log)
	}
	if _, err := r.Put(t.Context(), "seed", data); err != nil { // mends it
		t.Fatal(err)
	}
	if _, err := r.Get(t.Context(), name, int64(len(data))); err != nil {
		t.Error(err)
	}
	if err := r.Drop(t.Context(), name, name); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Get(t.Context(), name, 1); !errors.As(err, &corrupt) || !corrupt.Missing {
		t.Errorf("missing: %v", err)
	}
	if _, err := r.Get(t.Context(), "seed/../etc", 1); !errors.As(err, &corrupt) {
		t.Errorf("no hash: %v", err)
	}
}

// TestStrangeMessages: what is no job, or one of a run that is gone, is thrown away.
func TestStrangeMessages(t *testing.T) {
	s := serve(t, ServerConfig{})
	boss, worker := reach(t, s, "boss"), reach(t, s, "w1")
	publish(t, boss, "run", time.Minute, 3)
	for i, message := range []string{"no JSON", "{}", fmt.Sprintf(`{"run":"gone","job":"leg-1","spec":%q,"attempts":1}`, NameOf("seed", nil))} {
		if _, err := boss.js.Publish(t.Context(), fmt.Sprintf("%sstrange.%d", jobsSubject, i), []byte(message)); err != nil {
			t.Fatal(err)
		}
	}
	l := take(t, worker)
	if err := l.Finish(t.Context(), 1, NameOf("leg-1", nil)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go worker.Take(ctx)
	wait(t, "the queue to be empty", func() bool { return waiting(t, boss) == 0 })
}

func FuzzParseJob(f *testing.F) {
	f.Add([]byte(`{"run":"a","job":"leg-1","spec":"seed/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","attempts":3}`))
	f.Add([]byte(`{"run":"a.b","job":"*","spec":"x","attempts":-1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		job, err := parseJob(text)
		if err != nil {
			return
		}
		if strings.ContainsAny(job.Run+job.Name, ".*> ") || hashOf(job.Spec) == "" || job.Attempts < 1 {
			t.Errorf("%+v was let in", job)
		}
	})
}
