package server_test

import (
	"strings"
	"testing"
)

// TestSpaceWishes notes disk and volumes that a Space wishes for, gives them back,
// and shows nobody a volume of a repo that they may not see.
func TestSpaceWishes(t *testing.T) {
	h := newHub(t, nil)
	h.create("space", "s", false)
	h.create("model", "open", false)
	h.create("model", "secret", true)
	h.create("model", "m", false)
	at := "/api/spaces/alice/s"
	volume := func(kind, source, mount string) map[string]any {
		return map[string]any{"type": kind, "source": source, "mountPath": mount}
	}
	both := map[string]any{"volumes": []any{volume("model", "alice/open", "/open"), volume("model", "alice/secret", "/data/secret")}}
	h.want(200, "alice", "PUT", at+"/volumes", both)
	h.want(200, "alice", "POST", at+"/storage", map[string]any{"tier": "small"})
	for who, sees := range map[string]bool{"alice": true, "bob": false, "": false} {
		body := h.want(200, who, "GET", at+"/runtime", nil).body
		if !strings.Contains(body, `"storage":"small"`) || !strings.Contains(body, `"source":"alice/open","mountPath":"/open"`) ||
			!strings.Contains(body, `"readOnly":true`) || strings.Contains(body, "secret") != sees {
			t.Errorf("%q: %s", who, body)
		}
		if body := h.want(200, who, "GET", at, nil).body; strings.Contains(body, "secret") {
			t.Errorf("%q, info: %s", who, body)
		}
	}
	for _, c := range []struct {
		name, as, method, path string
		body                   any
		status                 int
	}{
		{"unknown tier", "alice", "POST", "/storage", map[string]any{"tier": "huge"}, 400},
		{"no tier", "alice", "POST", "/storage", nil, 400},
		{"relative mount", "alice", "PUT", "/volumes", map[string]any{"volumes": []any{volume("model", "alice/open", "data")}}, 400},
		{"mount that leaves", "alice", "PUT", "/volumes", map[string]any{"volumes": []any{volume("model", "alice/open", "/a/../..")}}, 400},
		{"bucket", "alice", "PUT", "/volumes", map[string]any{"volumes": []any{volume("bucket", "alice/open", "/data")}}, 400},
		{"no repo", "alice", "PUT", "/volumes", map[string]any{"volumes": []any{volume("model", "alice/none", "/data")}}, 404},
		{"too many", "alice", "PUT", "/volumes", map[string]any{"volumes": make([]map[string]any, 33)}, 400},
		{"another user", "bob", "PUT", "/volumes", both, 403},
		{"another user", "bob", "DELETE", "/storage", nil, 403},
		{"a model", "alice", "PUT", "x", both, 404},
	} {
		path := at + c.path
		if c.path == "x" {
			path = "/api/models/alice/m/volumes"
		}
		if r := h.send(c.as, c.method, path, c.body); r.status != c.status {
			t.Errorf("%s, %s: %s, want %d", c.name, c.as, r, c.status)
		}
	}
	h.want(200, "alice", "DELETE", at+"/volumes", nil)
	h.want(400, "alice", "DELETE", at+"/volumes", nil)
	if body := h.want(200, "alice", "DELETE", at+"/storage", nil).body; !strings.Contains(body, `"storage":null`) || strings.Contains(body, "volumes") {
		t.Errorf("afterwards %s", body)
	}
}
