package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/client"
)

// exchanged is a token that the hub gives in return for the identity of a CI job: the
// one in HF_OIDC_ID_TOKEN, or that which GitHub Actions makes. It is for resource
// alone and lives an hour, which is that of a command.
func (e hubEnv) exchanged(ctx context.Context, cfg client.Config, resource string) (string, error) {
	c, err := newClient(cfg)
	if err != nil {
		return "", err
	}
	identity := e.env("HF_OIDC_ID_TOKEN")
	if identity == "" {
		if identity, err = e.identity(ctx, cfg.Transport, c.Endpoint()); err != nil {
			return "", fmt.Errorf("HF_OIDC_RESOURCE asks for a token by identity: %w", err)
		}
	}
	return c.ExchangeToken(ctx, identity, resource)
}

// identity asks GitHub Actions for an identity token that only audience accepts.
func (e hubEnv) identity(ctx context.Context, transport http.RoundTripper, audience string) (string, error) {
	address, secret := e.env("ACTIONS_ID_TOKEN_REQUEST_URL"), e.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if e.env("GITHUB_ACTIONS") != "true" {
		return "", usageError("this is no job of GitHub Actions; give the identity token of your CI service in HF_OIDC_ID_TOKEN, or unset HF_OIDC_RESOURCE")
	}
	if address == "" || secret == "" {
		return "", usageError("GitHub Actions gives this job no identity; its workflow needs `permissions: id-token: write`")
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is not an address")
	}
	query := u.Query()
	query.Set("audience", audience)
	u.RawQuery = query.Encode()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := transport.RoundTrip(req) // which follows no redirect with the secret
	if err != nil {
		return "", fmt.Errorf("ask %s for an identity: %w", u.Host, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask %s for an identity: status %d", u.Host, resp.StatusCode)
	}
	var out struct{ Value string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&out); err != nil || out.Value == "" {
		return "", fmt.Errorf("ask %s for an identity: the answer holds none", u.Host)
	}
	return out.Value, nil
}
