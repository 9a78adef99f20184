package server_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server"
)

// TestAbsentTakesAsLong: how long an answer takes does not tell a private repo from
// none. The quickest of many tries is compared, which a busy machine spoils least.
func TestAbsentTakesAsLong(t *testing.T) {
	h := newHub(t, func(c *server.Config) { c.Quota = 1 << 30 })
	h.create("model", "secret", true)
	h.commit("alice/secret", file("README.md", strings.Repeat("words ", 1000)))
	handler := h.srv.Handler()
	for _, path := range []string{"/api/models/alice/%s", "/alice/%s/resolve/main/README.md", "/api/models/alice/%s/tree/main"} {
		for _, who := range []string{"", "bob"} {
			quickest := map[string]time.Duration{"secret": time.Hour, "absent": time.Hour}
			for range 500 {
				for name, best := range quickest {
					r := httptest.NewRequest("GET", fmt.Sprintf(path, name), nil)
					if who != "" {
						r.Header.Set("Authorization", "Bearer "+h.tokens[who])
					}
					began := time.Now()
					handler.ServeHTTP(httptest.NewRecorder(), r)
					quickest[name] = min(best, time.Since(began))
				}
			}
			if secret, absent := quickest["secret"], quickest["absent"]; secret > 2*absent+20*time.Microsecond || absent > 2*secret+20*time.Microsecond {
				t.Errorf("%s as %q: %v for a private repo, %v for none", path, who, secret, absent)
			}
		}
	}
}

// TestLogsHoldNoSecrets: neither tokens nor signatures of addresses come into the log,
// whatever goes well or wrong.
func TestLogsHoldNoSecrets(t *testing.T) {
	var log lockedBuffer
	h := newHub(t, func(c *server.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	h.create("model", "m", false)
	h.sendLFS("alice/m", "large content")
	h.commit("alice/m", lfsFile("w.bin", "large content"))
	r := h.want(200, "alice", "POST", "/alice/m.git/info/lfs/objects/batch", map[string]any{"operation": "download", "objects": []any{map[string]any{"oid": sha("large content"), "size": 13}}})
	_, sig, _ := strings.Cut(r.body, "sig=")
	sig, _, _ = strings.Cut(sig, `\u0026`)
	sig, _, _ = strings.Cut(sig, "&")
	sig, _, _ = strings.Cut(sig, `"`)
	xet := field[string](h, h.want(200, "alice", "GET", "/api/models/alice/m/xet-write-token/main", nil), "accessToken")
	h.send("", "POST", "/_cas/1/v1/shards", "x", "Authorization", "Bearer "+xet)
	h.send("", "PUT", "/_lfs/x/y?sig="+sig, "x")
	h.send("", "GET", "/api/whoami-v2", nil, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("alice:"+h.tokens["alice"])))
	h.send("bad", "GET", "/api/whoami-v2?token="+h.tokens["alice"], nil)
	device := h.begin()
	h.form("alice", "/oauth/answer", map[string]string{"code": device["user_code"].(string), "answer": "allow"})
	tokens, fault := h.grant(deviceGrant, map[string]string{"device_code": device["device_code"].(string)})
	if fault != "" || len(sig) < 20 || len(xet) < 20 {
		t.Fatalf("%q, signature %q, xet %q", fault, sig, xet)
	}
	text := log.String()
	if !strings.Contains(text, "/api/repos/create") {
		t.Fatalf("nothing is logged: %s", text)
	}
	for name, secret := range map[string]string{"token": h.tokens["alice"], "wrong token": h.tokens["bad"], "signature": sig, "xet token": xet,
		"access token": tokens["access_token"].(string), "refresh token": tokens["refresh_token"].(string), "device code": device["device_code"].(string)} {
		if strings.Contains(text, secret) {
			t.Errorf("the %s is in the log", name)
		}
	}
}

// lockedBuffer is a buffer for several writers.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
