package server_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// form sends an encoded form.
func (h *hub) form(as, path string, values map[string]string, header ...string) reply {
	h.t.Helper()
	form := url.Values{}
	for key, value := range values {
		form.Set(key, value)
	}
	return h.send(as, "POST", path, form.Encode(), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
}

// begin asks for a code.
func (h *hub) begin() (device map[string]any) {
	h.t.Helper()
	r := h.form("", "/oauth/device", map[string]string{"client_id": "x"})
	if r.status != 200 {
		h.t.Fatalf("begin: %s", r)
	}
	h.must(json.Unmarshal([]byte(r.body), &device))
	return device
}

// grant asks for tokens.
func (h *hub) grant(kind string, values map[string]string) (tokens map[string]any, fault string) {
	h.t.Helper()
	values = maps.Clone(values)
	values["grant_type"] = kind
	r := h.form("", "/oauth/token", values)
	h.must(json.Unmarshal([]byte(r.body), &tokens))
	fault, _ = tokens["error"].(string)
	if (r.status == 200) != (fault == "") || fault != "" && (r.status != 400 || r.header.Get("X-Error-Code") != fault) || r.header.Get("Cache-Control") != "no-store" {
		h.t.Errorf("%s: %s", kind, r)
	}
	return tokens, fault
}

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// TestDeviceLogin walks through a login by the browser: waiting, the user's answer, the
// tokens, and new ones for the refresh token, which is spent by that.
func TestDeviceLogin(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "secret", true)
	d := h.begin()
	code, secret := d["user_code"].(string), map[string]string{"device_code": d["device_code"].(string)}
	if !regexp.MustCompile(`^[B-Z]{4}-[B-Z]{4}$`).MatchString(code) || d["expires_in"].(float64) < 60 || d["interval"].(float64) < 1 || d["verification_uri"] != h.url+"/oauth/device" {
		t.Errorf("begin: %v", d)
	}
	if _, fault := h.grant(deviceGrant, secret); fault != "authorization_pending" {
		t.Errorf("before the answer: %q", fault)
	}
	page := d["verification_uri_complete"].(string)
	if r := h.want(401, "", "GET", page, nil); r.header.Get("WWW-Authenticate") == "" {
		t.Error("the browser is not asked who its user is")
	}
	if r := h.want(200, "alice", "GET", page, nil); !strings.Contains(r.body, code) || !strings.Contains(r.body, "act as alice") || !strings.Contains(r.body, "read and write") {
		t.Errorf("the page: %s", r.body)
	}
	h.want(401, "", "POST", "/oauth/answer", nil)
	if r := h.form("alice", "/oauth/answer", map[string]string{"code": "XXXX-XXXX", "answer": "allow"}); !strings.Contains(r.body, "No program waits") {
		t.Errorf("another code: %s", r.body)
	}
	if r := h.form("alice", "/oauth/answer", map[string]string{"code": strings.ToLower(code), "answer": "allow"}); !strings.Contains(r.body, "is let in") {
		t.Errorf("the answer: %s", r.body)
	}
	if r := h.form("bob", "/oauth/answer", map[string]string{"code": code, "answer": "allow"}); !strings.Contains(r.body, "No program waits") {
		t.Errorf("a second answer: %s", r.body)
	}
	first, fault := h.grant(deviceGrant, secret)
	if fault != "" || first["token_type"] != "bearer" || first["expires_in"].(float64) <= 24*3600 {
		t.Fatalf("tokens: %q %v", fault, first)
	}
	if _, fault := h.grant(deviceGrant, secret); fault != "expired_token" {
		t.Errorf("a second time: %q", fault)
	}
	second, fault := h.grant("refresh_token", map[string]string{"refresh_token": first["refresh_token"].(string)})
	if fault != "" {
		t.Fatal(fault)
	}
	for name, tokens := range map[string]map[string]any{"first": first, "second": second} {
		h.tokens[name] = tokens["access_token"].(string)
		h.want(200, name, "GET", "/api/models/alice/secret", nil)
		if r := h.want(200, name, "GET", "/api/whoami-v2", nil); !strings.Contains(r.body, `"name":"alice"`) || !strings.Contains(r.body, `"displayName":"browser login"`) {
			t.Errorf("%s: %s", name, r.body)
		}
		h.tokens[name] = tokens["refresh_token"].(string)
		h.want(401, name, "GET", "/api/whoami-v2", nil)
	}
	for name, refresh := range map[string]any{"spent": first["refresh_token"], "an access token": second["access_token"], "none": "", "alice's": h.tokens["alice"]} {
		if _, fault := h.grant("refresh_token", map[string]string{"refresh_token": refresh.(string)}); fault != "invalid_grant" {
			t.Errorf("refresh token, %s: %q", name, fault)
		}
	}
	if _, fault := h.grant("password", map[string]string{"username": "alice"}); fault != "unsupported_grant_type" {
		t.Errorf("another grant: %q", fault)
	}
	if _, fault := h.grant(deviceGrant, map[string]string{"device_code": "x"}); fault != "expired_token" {
		t.Errorf("an unknown program: %q", fault)
	}
	h.want(413, "", "POST", "/oauth/token", "x="+strings.Repeat("y", 20<<10), "Content-Type", "application/x-www-form-urlencoded")
}

// TestDeviceRefused: a program that its user refuses gets nothing.
func TestDeviceRefused(t *testing.T) {
	h := newHub(t, nil)
	d := h.begin()
	for _, answer := range []string{"refuse", ""} {
		h.form("alice", "/oauth/answer", map[string]string{"code": d["user_code"].(string), "answer": answer})
	}
	if _, fault := h.grant(deviceGrant, map[string]string{"device_code": d["device_code"].(string)}); fault != "access_denied" {
		t.Errorf("%q", fault)
	}
}

// TestDeviceRights: a program gets no more than the token by which it was let in, and
// for no longer; a form of another site lets nothing in.
func TestDeviceRights(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.create("model", "other", false)
	h.token("alice-short", meta.Token{User: "alice", Kind: meta.TokenWrite, Expires: time.Now().Add(time.Hour)})
	for who, status := range map[string][2]int{"alice": {200, 200}, "alice-read": {403, 403}, "alice-fine": {403, 200}, "alice-short": {200, 200}} {
		d := h.begin()
		h.form(who, "/oauth/answer", map[string]string{"code": d["user_code"].(string), "answer": "allow"})
		tokens, fault := h.grant(deviceGrant, map[string]string{"device_code": d["device_code"].(string)})
		for range 2 {
			if fault != "" {
				t.Fatalf("%s: %s", who, fault)
			}
			if life := tokens["expires_in"].(float64); (life <= 3600) != (who == "alice-short") {
				t.Errorf("%s: lives %v s", who, life)
			}
			h.tokens["program"] = tokens["access_token"].(string)
			for i, repo := range []string{"m", "other"} {
				h.want(status[i], "program", "PUT", "/api/models/alice/"+repo+"/settings", `{"private":false}`)
			}
			tokens, fault = h.grant("refresh_token", map[string]string{"refresh_token": tokens["refresh_token"].(string)})
		}
	}
	d := h.begin()
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+h.tokens["alice"]))
	r := h.form("", "/oauth/answer", map[string]string{"code": d["user_code"].(string), "answer": "allow"}, "Authorization", basic, "Sec-Fetch-Site", "cross-site")
	if _, fault := h.grant(deviceGrant, map[string]string{"device_code": d["device_code"].(string)}); r.status != 401 || fault != "authorization_pending" {
		t.Errorf("a form of another site: %s, %q", r, fault)
	}
}
