package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// ExchangeToken asks for a token of a short life in return for an identity token
// that a CI service made for this hub (RFC 8693). resource is a repository, as
// Repo.String writes it, or a user's name. The client's own token is not used.
func (c *Client) ExchangeToken(ctx context.Context, identity, resource string) (token string, err error) {
	in := map[string]string{
		"grant_type":         "urn:ietf:params:oauth:grant-type:token-exchange",
		"subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
		"subject_token":      identity,
		"resource":           resource,
	}
	var out struct {
		Token string `json:"access_token"`
	}
	err = c.api(ctx, call{method: http.MethodPost, url: "/oauth/token", bare: true}, in, &out)
	var answer *Error
	if errors.As(err, &answer) {
		answer.Message = strings.ReplaceAll(answer.Message, identity, "***") // a server may repeat what it was sent
	}
	if err == nil && out.Token == "" {
		err = errors.New("the hub's answer holds no token")
	}
	if err != nil {
		return "", fmt.Errorf("exchange the identity token for %s: %w", resource, err)
	}
	return out.Token, nil
}
