package mirror

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"
)

// newClient makes a client that leaves redirects to [Mirror.follow].
func newClient(d *net.Dialer, proxy func(*http.Request) (*url.URL, error)) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{Proxy: proxy, DialContext: d.DialContext, ResponseHeaderTimeout: 30 * time.Second, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// clientFor is the client for a request. An address to which the other Hub sends us may
// not be in a private network, or that Hub could have us ask what it cannot reach. It
// may where the other Hub is in one itself; where a proxy goes there, the proxy decides.
func (m *Mirror) clientFor(req *http.Request) *http.Client {
	if req.URL.Scheme == m.upstream.Scheme && req.URL.Host == m.upstream.Host || m.inside(req.Context()) {
		return m.client
	}
	if m.proxy != nil {
		if proxy, err := m.proxy(req); err != nil || proxy != nil {
			return m.client
		}
	}
	return m.guarded
}

// inside tells whether the other Hub is in a private network.
func (m *Mirror) inside(ctx context.Context) bool {
	addresses, err := m.lookup(ctx, "ip", m.upstream.Hostname())
	return err == nil && slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !isPublic(a) })
}

// refusePrivate keeps a dialer from addresses that are not everybody's. It sees them
// after names are resolved, so that no name hides one.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !isPublic(to.Addr()) {
		return fmt.Errorf("the upstream hub leads to %s, which is in a private network", address)
	}
	return nil
}

// shared are networks that providers have behind one address of theirs, and the one of
// this network.
var shared = []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("64:ff9b::/96")}

func isPublic(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(shared, func(p netip.Prefix) bool { return p.Contains(a) })
}
