package mirror

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestRefusePrivate(t *testing.T) {
	for address, want := range map[string]bool{
		"93.184.215.14:443": true, "[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:443": true,
		"127.0.0.1:80": false, "[::1]:80": false, "10.1.2.3:80": false, "172.16.0.1:80": false, "192.168.1.1:80": false, "169.254.169.254:80": false,
		"[fe80::1]:80": false, "[fd00::1]:80": false, "0.0.0.0:80": false, "100.64.1.1:80": false, "224.0.0.1:80": false, "255.255.255.255:80": false,
		"[::ffff:127.0.0.1]:80": false, "[64:ff9b::a00:1]:80": false, "nonsense": false,
	} {
		if err := refusePrivate("tcp", address, nil); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestNoWayInside: a Hub elsewhere cannot send us to an address in our own network,
// unless it is in one too, or a proxy goes there for us.
func TestNoWayInside(t *testing.T) {
	asked := 0
	secret := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++ }))
	defer secret.Close()
	hub := httptest.NewServer(http.RedirectHandler(secret.URL+"/admin", http.StatusFound))
	defer hub.Close()
	for name, c := range map[string]struct {
		at    string
		proxy func(*http.Request) (*url.URL, error)
		want  int
	}{
		"a Hub elsewhere":              {"93.184.215.14", nil, 0},
		"a Hub of this network":        {"10.0.0.7", nil, 1},
		"a Hub whose place is unknown": {"", nil, 0},
		"no proxy for this address":    {"93.184.215.14", func(*http.Request) (*url.URL, error) { return nil, nil }, 0},
	} {
		m, err := New(Config{Upstream: "http://hub.example", Dir: t.TempDir(), Proxy: c.proxy})
		if err != nil {
			t.Fatal(err)
		}
		m.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			if c.at == "" {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{netip.MustParseAddr(c.at)}, nil
		}
		m.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "hub.example:") {
				address = hub.Listener.Addr().String()
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		asked = 0
		resp, err := m.follow(t.Context(), http.MethodGet, Request{Before: "/x"}, "", "")
		if err == nil {
			resp.Body.Close()
		}
		if asked != c.want || (err == nil) != (c.want > 0) || err != nil && !strings.Contains(err.Error(), "private network") {
			t.Errorf("%s: asked %d times, %v", name, asked, err)
		}
	}
}
