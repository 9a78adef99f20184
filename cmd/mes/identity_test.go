package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestTokenByIdentity: a CI job gets its token from the hub, by an identity that it has
// or that GitHub Actions makes for this hub.
func TestTokenByIdentity(t *testing.T) {
	var exchanged map[string]string
	var asked string
	var hub *httptest.Server
	hub = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/identity":
			if r.Header.Get("Authorization") != "Bearer runner" || r.URL.Query().Get("audience") != hub.URL || r.URL.Query().Get("x") != "1" {
				http.Error(w, "", http.StatusForbidden)
				return
			}
			_, _ = io.WriteString(w, `{"value":"made.by.github"}`)
		case "/oauth/token":
			exchanged = map[string]string{}
			_ = json.NewDecoder(r.Body).Decode(&exchanged)
			if r.Header.Get("Authorization") != "" {
				t.Error("a token was sent along")
			}
			if exchanged["subject_token"] == "wrong.identity" {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, `{"error":"wrong.identity is not trusted"}`)
				return
			}
			_, _ = io.WriteString(w, `{"access_token":"hf_jwt_short","token_type":"bearer","expires_in":3600}`)
		case "/api/whoami-v2":
			asked = r.Header.Get("Authorization")
			_, _ = io.WriteString(w, `{"name":"ci"}`)
		}
	}))
	defer hub.Close()
	github := map[string]string{"GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": hub.URL + "/identity?x=1", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner"}
	for _, tc := range []struct {
		name     string
		env      map[string]string
		identity string // that was exchanged
		fails    string
	}{
		{"given", map[string]string{"HF_OIDC_ID_TOKEN": "given.by.job"}, "given.by.job", ""},
		{"GitHub", github, "made.by.github", ""},
		{"both", map[string]string{"GITHUB_ACTIONS": "true", "HF_OIDC_ID_TOKEN": "given.by.job"}, "given.by.job", ""},
		{"none", nil, "", "HF_OIDC_ID_TOKEN"},
		{"GitHub without permission", map[string]string{"GITHUB_ACTIONS": "true"}, "", "id-token: write"},
		{"GitHub refuses", map[string]string{"GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": hub.URL + "/identity", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "stale"}, "", "status 403"},
		{"no answer", map[string]string{"GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": hub.URL + "/nothing", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner"}, "", "holds none"},
		{"not trusted", map[string]string{"HF_OIDC_ID_TOKEN": "wrong.identity"}, "wrong.identity", "*** is not trusted"},
	} {
		exchanged, asked = nil, ""
		h := &hubbed{t: t, env: map[string]string{"HF_ENDPOINT": hub.URL, "HF_HOME": t.TempDir(), "HF_TOKEN": "hf_other", "HF_OIDC_RESOURCE": "acme/m"}}
		for key, value := range tc.env {
			h.env[key] = value
		}
		code, _, stderr := h.run("whoami")
		if exchanged["subject_token"] != tc.identity || tc.identity != "" && exchanged["resource"] != "acme/m" {
			t.Errorf("%s: exchanged %v", tc.name, exchanged)
		}
		if tc.fails == "" && (code != exitOK || asked != "Bearer hf_jwt_short") {
			t.Errorf("%s: %d %s, asked with %q", tc.name, code, stderr, asked)
		}
		if tc.fails != "" && (code == exitOK || asked != "" || !strings.Contains(stderr, tc.fails) || strings.Contains(stderr, "wrong.identity")) {
			t.Errorf("%s: %d %s, asked with %q", tc.name, code, stderr, asked)
		}
	}
}
