package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Runtime is what a Space does.
type Runtime struct {
	Stage    string `json:"stage"` // RUNNING, BUILDING, BUILD_ERROR, PAUSED, …; others may come
	Hardware struct {
		Current   string `json:"current"`
		Requested string `json:"requested"`
	} `json:"hardware"`
	SleepSeconds int    `json:"gcTimeout"` // idle seconds until it sleeps
	ErrorMessage string `json:"errorMessage,omitempty"`
}

// Settled reports whether a stage stays as it is until somebody acts.
func (r Runtime) Settled() bool {
	switch r.Stage {
	case "RUNNING", "PAUSED", "STOPPED", "SLEEPING", "NO_APP_FILE":
		return true
	}
	return strings.HasSuffix(r.Stage, "_ERROR")
}

// onSpace sends a call about a Space.
func (c *Client) onSpace(ctx context.Context, id, what, method, path string, in, out any) error {
	repo := Repo{Type: Space, ID: id}
	if err := repo.Validate(); err != nil {
		return err
	}
	if err := c.api(ctx, call{method: method, url: repo.api() + path}, in, out); err != nil {
		return fmt.Errorf("%s of Space %s: %w", what, id, err)
	}
	return nil
}

// SpaceRuntime asks what a Space does.
func (c *Client) SpaceRuntime(ctx context.Context, id string) (Runtime, error) {
	var r Runtime
	err := c.onSpace(ctx, id, "ask for the runtime", http.MethodGet, "/runtime", nil, &r)
	return r, err
}

// WaitSpace asks every few seconds until a Space's stage is settled; each report
// is a new stage.
func (c *Client) WaitSpace(ctx context.Context, id string, report func(Runtime)) (Runtime, error) {
	last := ""
	for {
		r, err := c.SpaceRuntime(ctx, id)
		if err != nil {
			return r, err
		}
		if r.Stage != last && report != nil {
			report(r)
		}
		if last = r.Stage; r.Settled() {
			return r, nil
		}
		if err := c.sleep(ctx, 3*time.Second); err != nil {
			return r, err
		}
	}
}

// SetSecret sets a secret of a Space: an environment variable that nobody can read
// back.
func (c *Client) SetSecret(ctx context.Context, id string, s Setting) error {
	return c.onSpace(ctx, id, "set secret "+s.Key, http.MethodPost, "/secrets", s.sent(), nil)
}

// DeleteSecret deletes a secret of a Space.
func (c *Client) DeleteSecret(ctx context.Context, id, key string) error {
	return c.onSpace(ctx, id, "delete secret "+key, http.MethodDelete, "/secrets", map[string]string{"key": key}, nil)
}

// Secrets lists the names of a Space's secrets.
func (c *Client) Secrets(ctx context.Context, id string) (map[string]Setting, error) {
	var out map[string]Setting
	err := c.onSpace(ctx, id, "list secrets", http.MethodGet, "/secrets", nil, &out)
	return out, err
}

// SetVariable sets a variable of a Space, which everybody can read.
func (c *Client) SetVariable(ctx context.Context, id string, s Setting) error {
	return c.onSpace(ctx, id, "set variable "+s.Key, http.MethodPost, "/variables", s.sent(), nil)
}

// DeleteVariable deletes a variable of a Space.
func (c *Client) DeleteVariable(ctx context.Context, id, key string) error {
	return c.onSpace(ctx, id, "delete variable "+key, http.MethodDelete, "/variables", map[string]string{"key": key}, nil)
}

// Variables lists a Space's variables.
func (c *Client) Variables(ctx context.Context, id string) (map[string]Setting, error) {
	var out map[string]Setting
	err := c.onSpace(ctx, id, "list variables", http.MethodGet, "/variables", nil, &out)
	return out, err
}

// sent is a setting as it goes to the hub.
func (s Setting) sent() map[string]string {
	m := map[string]string{"key": s.Key, "value": s.Value}
	if s.Description != "" {
		m["description"] = s.Description
	}
	return m
}

// SetHardware asks for other hardware, by the hub's name of it. sleep is the idle
// time until the Space sleeps; 0 leaves it.
func (c *Client) SetHardware(ctx context.Context, id, flavor string, sleep time.Duration) (Runtime, error) {
	in := map[string]any{"flavor": flavor}
	if sleep > 0 {
		in["sleepTimeSeconds"] = int(sleep.Seconds())
	}
	var r Runtime
	err := c.onSpace(ctx, id, "change the hardware", http.MethodPost, "/hardware", in, &r)
	return r, err
}

// PauseSpace stops a Space until it is restarted.
func (c *Client) PauseSpace(ctx context.Context, id string) (Runtime, error) {
	var r Runtime
	err := c.onSpace(ctx, id, "pause", http.MethodPost, "/pause", nil, &r)
	return r, err
}

// RestartSpace starts a Space anew; rebuild builds its image without a cache first.
func (c *Client) RestartSpace(ctx context.Context, id string, rebuild bool) (Runtime, error) {
	path := "/restart"
	if rebuild {
		path += "?factory=true"
	}
	var r Runtime
	err := c.onSpace(ctx, id, "restart", http.MethodPost, path, nil, &r)
	return r, err
}

// SpaceLogs copies the log of a Space's build, or of its run, to w until the hub
// ends it.
func (c *Client) SpaceLogs(ctx context.Context, id string, build bool, w io.Writer) error {
	repo := Repo{Type: Space, ID: id}
	if err := repo.Validate(); err != nil {
		return err
	}
	which := "run"
	if build {
		which = "build"
	}
	resp, err := c.send(ctx, call{method: http.MethodGet, url: c.base + repo.api() + "/logs/" + which})
	if err != nil {
		return fmt.Errorf("read the log of Space %s: %w", id, err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		var event struct{ Data string }
		if !ok || json.Unmarshal([]byte(data), &event) != nil {
			continue
		}
		if _, err := io.WriteString(w, event.Data); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the log of Space %s: %w", id, err)
	}
	return nil
}
