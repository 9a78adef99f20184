package queue

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// ServerConfig says where an embedded server keeps its jobs and who reaches it.
type ServerConfig struct {
	Dir     string       // of the jobs, made when it is missing
	Address string       // HOST:PORT; empty is a free port of 127.0.0.1
	Token   string       // empty draws one where the address is of this machine alone
	Cert    string       // PEM files, needed off this machine
	Key     string       //
	Logger  *slog.Logger // nil discards
}

// Server is a NATS server in this process.
type Server struct {
	URL   string // for workers
	Token string // that they must show
	nats  *server.Server
}

// startTime is how long a server may take until it listens: it reads its folder first.
const startTime = time.Minute

// Serve starts a server.
func Serve(c ServerConfig) (*Server, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Address == "" {
		c.Address = "127.0.0.1:0"
	}
	host, text, err := net.SplitHostPort(c.Address)
	port, numberErr := strconv.ParseUint(text, 10, 16)
	if err != nil || numberErr != nil {
		return nil, wrongConfig("the queue cannot listen on %q: it must be HOST:PORT", c.Address)
	}
	if err := c.check(host); err != nil {
		return nil, err
	}
	if c.Token == "" {
		c.Token = rand.Text()
	}
	options := &server.Options{
		ServerName: "mes", Host: host, Port: int(port), Authorization: c.Token,
		JetStream: true, StoreDir: c.Dir, DisableJetStreamBanner: true, NoSigs: true,
	}
	if port == 0 {
		options.Port = server.RANDOM_PORT
	}
	scheme := "nats://"
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, wrongConfig("the queue's certificate: %v", err)
		}
		options.TLS, options.TLSTimeout = true, dialTime.Seconds()
		options.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		scheme = "tls://"
	}
	s, err := start(options, c.Logger)
	if err != nil {
		return nil, fmt.Errorf("start the queue in %s: %w", c.Dir, err)
	}
	return &Server{URL: scheme + s.Addr().String(), Token: c.Token, nats: s}, nil
}

// check refuses to listen off this machine without token and TLS.
func (c ServerConfig) check(host string) error {
	if (c.Cert == "") != (c.Key == "") {
		return wrongConfig("the queue needs both, a certificate and its key")
	}
	if Loopback(host) {
		return nil
	}
	if c.Cert == "" {
		return wrongConfig("the queue on %s could be reached from other machines: weights would travel unencrypted; give a certificate and its key, or listen on 127.0.0.1", c.Address)
	}
	if c.Token == "" {
		return wrongConfig("the queue on %s could be reached from other machines: without a token everybody could change the model; give one, or listen on 127.0.0.1", c.Address)
	}
	return nil
}

// start runs a server and waits until it listens.
func start(options *server.Options, log *slog.Logger) (*server.Server, error) {
	s, err := server.NewServer(options)
	if err != nil {
		return nil, err
	}
	messages := &serverLog{log: log}
	s.SetLoggerV2(messages, false, false, false)
	go s.Start() // ends with Shutdown
	for deadline := time.Now().Add(startTime); !s.ReadyForConnections(firstWait); {
		if messages.failed() || time.Now().After(deadline) {
			s.Shutdown()
			return nil, messages.fatalOr("it does not listen")
		}
	}
	if !s.JetStreamEnabled() {
		s.Shutdown()
		return nil, messages.fatalOr("it keeps no jobs")
	}
	return s, nil
}

// Connect is [Connect] within this process. Of c only name and logger are read.
func (s *Server) Connect(ctx context.Context, c Config) (*Queue, error) {
	url := strings.Replace(s.URL, "tls:", "nats:", 1) // nothing leaves the process
	return connect(ctx, Config{URL: url, Token: s.Token, Name: c.Name, Logger: c.Logger}, nats.InProcessServer(s.nats))
}

// Close stops the server; its jobs stay in the folder.
func (s *Server) Close() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
}

// serverLog takes the messages of the server.
type serverLog struct {
	log   *slog.Logger
	mu    sync.Mutex
	fatal error
}

func (l *serverLog) Noticef(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l *serverLog) Warnf(format string, args ...any)   { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l *serverLog) Debugf(string, ...any)              {}
func (l *serverLog) Tracef(string, ...any)              {}

func (l *serverLog) Errorf(format string, args ...any) {
	l.log.Warn("queue server", "error", fmt.Sprintf(format, args...))
}

func (l *serverLog) Fatalf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = fmt.Errorf(format, args...)
}

func (l *serverLog) failed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal != nil
}

// fatalOr is why the server gave up.
func (l *serverLog) fatalOr(sentence string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal != nil {
		return l.fatal
	}
	return errors.New(sentence)
}
