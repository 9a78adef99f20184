package queue

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

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
