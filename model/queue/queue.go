// Package queue hands the jobs of a training run to workers, on this machine or others,
// through NATS JetStream. It knows jobs, leases and objects, and nothing of what a job is.
//
// A coordinator opens a [Run], puts objects into it, publishes jobs and watches their
// [Status]. A worker takes a [Lease] on a job, leaves checkpoints and a result, which are
// objects too. On the server a run is
//
//	stream mes-jobs        a message for each job of any run that waits or is worked on
//	bucket mes-RUN         the Status of every job, by its name
//	object store mes-RUN   bytes under SCOPE/SHA256
//
// A job's message is redelivered when its worker has not been heard of for the lease. Who
// may write is decided by the Status alone: every change names the revision that it
// replaces, so of two workers that both believe to hold a job only the newer can write.
// Of objects nothing is believed: what is read must have the sha256 of its name.
package queue

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config says how to reach a queue.
type Config struct {
	URL    string       // nats://HOST:PORT, or tls://HOST:PORT, which alone may lead off this machine
	Token  string       // needed off this machine
	CA     string       // PEM file of the authorities to trust; empty trusts those of the system
	Name   string       // of this process in messages, such as "host:4711"
	Logger *slog.Logger // told when the queue is gone and there again; nil discards
}

var (
	// ErrConfig says that an address, token or certificate may not be used like this.
	ErrConfig = errors.New("wrong configuration of the queue")
	// ErrLost says that a job is no longer this worker's: its lease ended and another
	// worker has it, or the run is over.
	ErrLost = errors.New("the job is no longer this worker's")
)

// configError wraps ErrConfig and shows its message alone.
type configError struct{ message string }

func (e configError) Error() string   { return e.message }
func (e configError) Is(t error) bool { return t == ErrConfig }

func wrongConfig(format string, args ...any) error { return configError{fmt.Sprintf(format, args...)} }

// Queue is a connection to the server. It comes back by itself when it was cut.
type Queue struct {
	cfg   Config
	trust *x509.CertPool // nil is that of the system
	nc    *nats.Conn
	js    jetstream.JetStream
}

// Times of the conversation with the server.
const (
	dialTime  = 5 * time.Second
	replyTime = 10 * time.Second // for one request
	firstWait = 100 * time.Millisecond
	longWait  = 5 * time.Second
)

// Connect reaches the server, again and again until it is there or ctx ends. What no
// second try can mend, such as a wrong token, is an error at once. The queue lives as
// long as ctx, or until Close.
func Connect(ctx context.Context, c Config) (*Queue, error) {
	if err := checkURL(c); err != nil {
		return nil, err
	}
	return connect(ctx, c)
}

// connect is Connect with more options.
func connect(ctx context.Context, c Config, more ...nats.Option) (*Queue, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	q := &Queue{cfg: c}
	if c.CA != "" {
		var err error
		if q.trust, err = readCA(c.CA); err != nil {
			return nil, err
		}
	}
	for attempt := 0; ; attempt++ {
		var err error
		q.nc, err = nats.Connect(c.URL, append(q.options(ctx), more...)...)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if sentence := refusal(err); sentence != "" {
			return nil, fmt.Errorf("connect to the queue %s: %s: %w", c.URL, sentence, err)
		}
		if err := q.wait(ctx, attempt, "connect", err); err != nil {
			return nil, err
		}
	}
	return q.start()
}

func (q *Queue) start() (_ *Queue, err error) {
	if q.js, err = jetstream.New(q.nc); err != nil {
		q.nc.Close()
		return nil, fmt.Errorf("connect to the queue: %w", err)
	}
	return q, nil
}

// options are those of a connection that lives as long as ctx.
func (q *Queue) options(ctx context.Context) []nats.Option {
	log := q.cfg.Logger
	options := []nats.Option{
		nats.Name(q.cfg.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1), // nothing is sent later than it was meant
		nats.CustomReconnectDelay(backoff),
		nats.IgnoreDiscoveredServers(), // an address that was not checked
		nats.SetCustomDialer(dialer{ctx}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("the queue is gone; trying to reach it again", "queue", q.cfg.URL, "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("the queue is there again", "queue", q.cfg.URL) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Debug("queue", "error", err) }),
	}
	if q.cfg.Token != "" {
		options = append(options, nats.Token(q.cfg.Token))
	}
	if q.trust != nil {
		options = append(options, nats.Secure(&tls.Config{RootCAs: q.trust, MinVersion: tls.VersionTLS12}))
	}
	return options
}

// readCA reads the authorities to trust.
func readCA(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the queue's authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, wrongConfig("%s holds no certificate in PEM", path)
	}
	return pool, nil
}

// dialer ends with a context.
type dialer struct{ ctx context.Context }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialTime}).DialContext(d.ctx, network, address)
}

// refusal says why no second try can help, or nothing.
func refusal(err error) string {
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		return "it refuses the token"
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "it offers no TLS"
	case errors.As(err, &certificate):
		return "its certificate is not trusted"
	}
	return ""
}

// Connected tells whether the server is there now.
func (q *Queue) Connected() bool { return q.nc.IsConnected() }

// Close ends the connection.
func (q *Queue) Close() { q.nc.Close() }

// backoff is the wait after some failed attempts: doubled each time, with chance, so that
// many workers do not come at once.
func backoff(attempts int) time.Duration {
	wait := min(longWait, firstWait<<min(attempts, 10))
	return wait/2 + rand.N(wait/2)
}

// wait says that something failed and waits a while.
func (q *Queue) wait(ctx context.Context, attempt int, what string, err error) error {
	wait := backoff(attempt)
	q.cfg.Logger.Warn("the queue does not answer; trying again", "what", what, "queue", q.cfg.URL, "in", wait.Round(time.Millisecond), "error", err)
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try does a request until it has an answer, good or bad, or ctx ends.
func (q *Queue) try(ctx context.Context, what string, limit time.Duration, request func(context.Context) error) error {
	for attempt := 0; ; attempt++ {
		once, cancel := context.WithTimeout(ctx, limit)
		err := request(once)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case q.nc.IsClosed():
			return fmt.Errorf("%s: the queue %s refused to go on; is its token another one now? %w", what, q.cfg.URL, err)
		case !transient(err):
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := q.wait(ctx, attempt, what, err); err != nil {
			return err
		}
	}
}

// transient tells the errors of a server that is gone or about to be there.
func transient(err error) bool {
	for _, e := range []error{context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrNoServers,
		nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting, jetstream.ErrNoStreamResponse, jetstream.ErrNoHeartbeat} {
		if errors.Is(err, e) {
			return true
		}
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code == 503
}

// Loopback tells whether an address, HOST or HOST:PORT, cannot be reached from other
// machines. Of names only localhost is known to be so.
func Loopback(address string) bool {
	host := address
	if h, _, err := net.SplitHostPort(address); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkURL refuses an address by which data or token could be read on the way.
func checkURL(c Config) error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" {
		return wrongConfig("the queue's address must be nats://HOST:PORT or tls://HOST:PORT")
	}
	switch {
	case u.User != nil:
		return wrongConfig("the queue's address holds a token, which everybody on this machine could read; give it apart")
	case Loopback(u.Host):
		return nil
	case u.Scheme != "tls":
		return wrongConfig("the queue %s is another machine: weights would travel unencrypted; use tls://%s", u.Host, u.Host)
	case c.Token == "":
		return wrongConfig("the queue %s is another machine: without a token everybody could change the model; give one", u.Host)
	}
	return nil
}
