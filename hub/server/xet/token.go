package xet

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// Grant says what the bearer of an access token may do. The texts are opaque: two
// grants have the same scope if all three are equal.
type Grant struct {
	User  string // who uploads; a token's id serves as well
	Repo  string // the repo, as Objects knows it
	Ref   string // the branch or other revision
	Write bool   // may send xorbs and shards
}

// scope is the name under which a grant's xorbs are stored. It does not say who or
// where.
func (g Grant) scope() string {
	name := func(parts ...string) string {
		h := sha256.New()
		for _, part := range parts {
			sum := sha256.Sum256([]byte(part))
			h.Write(sum[:]) // never fails
		}
		return hex.EncodeToString(h.Sum(nil))
	}
	return name(g.User) + "/" + name(g.Repo, g.Ref)
}

// errToken is what every token gets that was not issued here or is too old.
var errToken = errors.New("the access token is not valid or has expired; ask for a new one")

// claims are what an access token says.
type claims struct {
	Grant
	Expires int64 // Unix seconds
}

var tokenText = base64.RawURLEncoding

// sign makes an access token: the claims and their HMAC-SHA256, both in base64.
func sign(key []byte, c claims) (string, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	return tokenText.EncodeToString(body) + "." + tokenText.EncodeToString(mac(key, body)), nil
}

// verify returns the grant of an access token that is valid at the time now.
func verify(key []byte, token string, now time.Time) (Grant, error) {
	text, signature, _ := strings.Cut(token, ".")
	body, err := tokenText.DecodeString(text)
	if err != nil {
		return Grant{}, errToken
	}
	sum, err := tokenText.DecodeString(signature)
	if err != nil || !hmac.Equal(sum, mac(key, body)) {
		return Grant{}, errToken
	}
	var c claims
	if err := json.Unmarshal(body, &c); err != nil || now.Unix() >= c.Expires {
		return Grant{}, errToken
	}
	return c.Grant, nil
}

func mac(key, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(body) // never fails
	return h.Sum(nil)
}
