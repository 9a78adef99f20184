package queue

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
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
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
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
	s := serve(t, ServerConfig{})
	boss, first, second := reach(t, s, "boss"), reach(t, s, "w1"), reach(t, s, "w2")
	r := publish(t, boss, "run", 600*time.Millisecond, 3)
	l := take(t, first)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
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

	r = publish(t, boss, "other", 600*time.Millisecond, 3)
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
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
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

// TestRefused: what could be read or changed from other machines is refused, and so is
// who has not the token.
func TestRefused(t *testing.T) {
	for address, want := range map[string]string{
		"nats://10.1.2.3:4222":       "use tls://10.1.2.3:4222",
		"nats://example.org:4222":    "use tls://example.org:4222",
		"nats://127.0.0.1.evil:4222": "use tls://",
		"tls://10.1.2.3:4222":        "without a token",
		"nats://s3cret@127.0.0.1:1":  "give it apart",
		"http://127.0.0.1:1":         "must be nats://HOST:PORT",
		"127.0.0.1:4222":             "must be nats://HOST:PORT",
	} {
		_, err := Connect(t.Context(), Config{URL: address})
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("connect to %s: %v", address, err)
		}
	}
	cert, key := certificate(t)
	for name, tt := range map[string]struct {
		c    ServerConfig
		want string
	}{
		"plain everywhere":     {ServerConfig{Address: "0.0.0.0:0", Token: "t"}, "unencrypted"},
		"plain, no host":       {ServerConfig{Address: ":0", Token: "t"}, "unencrypted"},
		"tokenless everywhere": {ServerConfig{Address: "0.0.0.0:0", Cert: cert, Key: key}, "without a token"},
		"no key":               {ServerConfig{Cert: cert}, "needs both"},
		"no certificate":       {ServerConfig{Cert: key, Key: key}, "certificate"},
		"no port":              {ServerConfig{Address: "127.0.0.1"}, "HOST:PORT"},
	} {
		tt.c.Dir = t.TempDir()
		s, err := Serve(tt.c)
		if err == nil {
			s.Close()
		}
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := serve(t, ServerConfig{})
	for _, token := range []string{"", "wrong"} {
		if _, err := Connect(t.Context(), Config{URL: s.URL, Token: token}); err == nil || !strings.Contains(err.Error(), "refuses the token") {
			t.Errorf("token %q: %v", token, err)
		}
	}
	taken := strings.TrimPrefix(s.URL, "nats://")
	if _, err := Serve(ServerConfig{Dir: t.TempDir(), Address: taken}); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("an address that is taken: %v", err)
	}
}

// certificate is one for 127.0.0.1 that signs itself.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
}

// TestTLS: a worker reaches a server on all addresses with its certificate, and none
// whose certificate it does not trust, or that offers no TLS.
func TestTLS(t *testing.T) {
	cert, key := certificate(t)
	s := serve(t, ServerConfig{Address: "0.0.0.0:0", Cert: cert, Key: key, Token: "t0ken"})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.URL, "tls://"))
	if err != nil {
		t.Fatal(err)
	}
	c := Config{URL: "tls://127.0.0.1:" + port, Token: "t0ken", CA: cert}
	q, err := Connect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.nc.TLSConnectionState(); err != nil {
		t.Errorf("no TLS: %v", err)
	}
	q.Close()
	if q, err = s.Connect(t.Context(), Config{}); err != nil {
		t.Fatalf("within the process: %v", err)
	}
	publish(t, q, "run", time.Minute, 1)
	q.Close()
	c.CA = ""
	if _, err := Connect(t.Context(), c); err == nil || !strings.Contains(err.Error(), "not trusted") {
		t.Errorf("without the authority: %v", err)
	}
	c.CA = key
	if _, err := Connect(t.Context(), c); !errors.Is(err, ErrConfig) {
		t.Errorf("an authority without certificate: %v", err)
	}
	plain := serve(t, ServerConfig{})
	c = Config{URL: strings.Replace(plain.URL, "nats:", "tls:", 1), Token: plain.Token, CA: cert}
	if _, err := Connect(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no TLS") {
		t.Errorf("a server without TLS: %v", err)
	}
	c = Config{URL: "nats://127.0.0.1:" + port, Token: "t0ken"}
	if _, err := Connect(t.Context(), c); err == nil {
		t.Error("a server with TLS was reached without its authority")
	}
}

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
	if err := l.Checkpoint(ctx, 3, "x"); !errors.Is(err, context.Canceled) || time.Since(began) > 2*time.Second {
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
	case <-time.After(30 * time.Second):
		t.Error("a watch across the server's absence saw nothing")
	}
}

// wait waits until something is so.
func wait(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
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
		if _, err := q.Take(ctx); !errors.Is(err, context.Canceled) || time.Since(began) > 2*time.Second {
			t.Errorf("open %v: ended after %v with %v", open, time.Since(began), err)
		}
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

func TestLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "::1": true, "localhost:1": true, "[::ffff:127.0.0.1]:1": true,
		"": false, ":1": false, "0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "example.org:1": false, "localhost.example.org:1": false,
	} {
		if got := Loopback(address); got != want {
			t.Errorf("Loopback(%q) = %v", address, got)
		}
	}
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
