package server

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
	"github.com/mamba-encoder-swarm/mes/hub/server/view"
)

// How long things of a login by the browser last. Clients renew a token in the last
// day of its life.
const (
	deviceLife  = 15 * time.Minute
	deviceWait  = 2 * time.Second // between two questions of the program that waits
	sessionLife = 7 * 24 * time.Hour
	sessionIdle = 90 * 24 * time.Hour
	maxDevices  = 10_000
	maxOAuth    = 16 << 10 // bytes of a form
)

// oauthRoutes are a login by the browser, where the program itself has none (RFC 8628):
// the program shows a code, its user lets it in at a page, and it gets tokens that it
// renews.
func oauthRoutes() []route {
	return []route{
		{Method: post, Pattern: "/oauth/device", Handler: (*call).openDevice},
		{Method: get, Pattern: "/oauth/device", Access: user, Handler: (*call).devicePage, page: true},
		{Method: post, Pattern: "/oauth/answer", Access: user, Handler: (*call).answerDevice, page: true},
		{Method: post, Pattern: "/oauth/token", Handler: (*call).oauthToken},
	}
}

// devices are the programs that wait for their user. A restart forgets them, and they
// ask anew.
type devices struct {
	mu      sync.Mutex
	waiting map[string]*device // by the program's own code
}

type device struct {
	shown   string // code for the user
	until   time.Time
	allowed *meta.Token // by whose owner; nil: not yet
	refused bool
}

// open adds a program, unless too many wait.
func (d *devices) open() (secret, shown string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for code, one := range d.waiting {
		if time.Now().After(one.until) {
			delete(d.waiting, code)
		}
	}
	if len(d.waiting) >= maxDevices {
		return "", "", false
	}
	if d.waiting == nil {
		d.waiting = map[string]*device{}
	}
	secret, shown = rand.Text()+rand.Text(), userCode()
	d.waiting[secret] = &device{shown: shown, until: time.Now().Add(deviceLife)}
	return secret, shown, true
}

// userCode is a code of two times four letters that are hard to take for others, and
// make no words.
func userCode() string {
	const letters = "BCDFGHJKLMNPQRSTVWXZ"
	code := make([]byte, 0, 9)
	for random := make([]byte, 1); len(code) < cap(code); {
		if len(code) == 4 {
			code = append(code, '-')
		}
		rand.Read(random)
		if random[0] < 240 { // a multiple of the letters' number, so that each is as likely
			code = append(code, letters[random[0]%20])
		}
	}
	return string(code)
}

// answer lets in, or refuses, the program that shows a code; false where none does.
func (d *devices) answer(shown string, by *meta.Token, allow bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.waiting {
		if one.shown == shown && one.allowed == nil && !one.refused && time.Now().Before(one.until) {
			one.refused = !allow
			if allow {
				one.allowed = by
			}
			return true
		}
	}
	return false
}

// take gives the answer to a program, once; fault is OAuth's word for why there is none.
func (d *devices) take(secret string) (by *meta.Token, fault string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	one := d.waiting[secret]
	switch {
	case one == nil || time.Now().After(one.until):
		fault = "expired_token"
	case one.refused:
		fault = "access_denied"
	case one.allowed == nil:
		return nil, "authorization_pending"
	default:
		by = one.allowed
	}
	delete(d.waiting, secret)
	return by, fault
}

// openDevice begins a login.
func (c *call) openDevice() error {
	if err := c.oauthForm(); err != nil {
		return err
	}
	secret, shown, ok := c.s.devices.open()
	if !ok {
		return &Error{http.StatusServiceUnavailable, "ServiceUnavailable", "Too many logins are waiting: try again in a quarter of an hour"}
	}
	page := c.s.base(c.r) + "/oauth/device"
	c.w.Header().Set("Cache-Control", "no-store")
	return c.json(map[string]any{
		"device_code": secret, "user_code": shown, "verification_uri": page, "verification_uri_complete": page + "?" + url.Values{"code": {shown}}.Encode(),
		"expires_in": int(deviceLife.Seconds()), "interval": int(deviceWait.Seconds()),
	})
}

// devicePage asks a signed-in user whether a program is let in.
func (c *call) devicePage() error {
	page := view.Device{Page: c.newPage("Let a program in"), Code: c.r.URL.Query().Get("code"), Rights: rightsText(c.token)}
	return c.show(http.StatusOK, view.DevicePage(page))
}

// rightsText says what a token may do.
func rightsText(t *meta.Token) string {
	switch t.Kind {
	case meta.TokenWrite:
		return "read and write whatever you may"
	case meta.TokenRead:
		return "read whatever you may"
	}
	return "do what your token may"
}

// answerDevice takes the user's answer.
func (c *call) answerDevice() error {
	if err := c.oauthForm(); err != nil {
		return err
	}
	page := view.Device{Page: c.newPage("Let a program in"), Rights: rightsText(c.token)}
	code := strings.ToUpper(strings.TrimSpace(c.r.PostForm.Get("code")))
	allow := c.r.PostForm.Get("answer") == "allow"
	switch {
	case !c.s.devices.answer(code, c.token, allow):
		page.Note = "No program waits with this code: it is mistyped, was used, or is older than a quarter of an hour."
	case allow:
		page.Done = "The program is let in. You can close this page."
	default:
		page.Done = "The program is refused. You can close this page."
	}
	return c.show(http.StatusOK, view.DevicePage(page))
}

// oauthToken gives tokens to a program that was let in, or new ones for its refresh
// token.
func (c *call) oauthToken() error {
	if err := c.oauthForm(); err != nil {
		return err
	}
	c.w.Header().Set("Cache-Control", "no-store")
	var tokens meta.Tokens
	var err error
	switch form := c.r.PostForm; form.Get("grant_type") {
	case "urn:ietf:params:oauth:grant-type:device_code":
		by, fault := c.s.devices.take(form.Get("device_code"))
		if fault != "" {
			return c.oauthFault(fault, "")
		}
		// No more than the token by which its user let it in, and no longer.
		token := meta.Token{User: by.User, Label: "browser login", Kind: by.Kind, Scopes: by.Scopes}
		tokens, err = c.s.db.OpenSession(meta.Session{Token: token, Life: sessionLife, Idle: sessionIdle, Until: by.Expires})
	case "refresh_token":
		tokens, err = c.s.db.RenewSession(form.Get("refresh_token"))
	default:
		return c.oauthFault("unsupported_grant_type", "Only device_code and refresh_token are known")
	}
	if errors.Is(err, meta.ErrNotFound) {
		return c.oauthFault("invalid_grant", "The login has ended: log in again")
	}
	if err != nil {
		return err
	}
	return c.json(map[string]any{"access_token": tokens.Access, "refresh_token": tokens.Refresh, "token_type": "bearer", "expires_in": int(tokens.Life.Seconds())})
}

// oauthForm reads the body.
func (c *call) oauthForm() error {
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxOAuth)
	if err := c.r.ParseForm(); err != nil {
		return bodyError(err)
	}
	return nil
}

// oauthFault is an error as OAuth has it.
func (c *call) oauthFault(fault, description string) error {
	c.w.Header().Set("X-Error-Code", fault)
	return c.jsonStatus(http.StatusBadRequest, map[string]string{"error": fault, "error_description": description})
}
