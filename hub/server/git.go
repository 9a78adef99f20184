package server

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
)

// Bounds of what git sends.
const (
	maxNegotiation = 32 << 20
	maxPushedRefs  = 1000
)

// infoRefs begins a clone, a fetch or a push.
func (c *call) infoRefs() error {
	switch c.r.URL.Query().Get("service") {
	case "git-upload-pack":
		return c.uploadPackRefs()
	case "git-receive-pack":
		if err := c.mayPush(); err != nil {
			return err
		}
		return c.receivePackRefs()
	}
	return &Error{http.StatusForbidden, codeForbidden, "Use a git that speaks smart HTTP"}
}

// uploadPackRefs lets git itself list the refs.
func (c *call) uploadPackRefs() error {
	cmd, err := c.gitCommand("--http-backend-info-refs")
	if err != nil {
		return err
	}
	c.gitHeaders("application/x-git-upload-pack-advertisement")
	if !strings.Contains(c.r.Header.Get("Git-Protocol"), "version=2") {
		if _, err := io.WriteString(c.w, pkt("# service=git-upload-pack\n")+"0000"); err != nil {
			return err
		}
	}
	cmd.Stdout = c.w
	return c.runGit(cmd)
}

// uploadPack sends what a clone or fetch lacks, through git itself.
func (c *call) uploadPack() error {
	cmd, err := c.gitCommand()
	if err != nil {
		return err
	}
	body, err := c.gitBody()
	if err != nil {
		return err
	}
	cmd.Stdin = http.MaxBytesReader(c.w, body, maxNegotiation)
	c.gitHeaders("application/x-git-upload-pack-result")
	cmd.Stdout = c.w
	return c.runGit(cmd)
}

// gitCommand is `git upload-pack` on the repo, deaf to all configuration but ours.
func (c *call) gitCommand(args ...string) (*exec.Cmd, error) {
	if c.s.cfg.Git == "" {
		return nil, &Error{http.StatusNotImplemented, "NotImplemented", "Clone and fetch need git on the server, which has none; download through the API works"}
	}
	args = append([]string{"-c", "safe.directory=*", "-c", "uploadpack.allowFilter=true", "-c", "pack.threads=1", "-c", "pack.windowMemory=32m",
		"upload-pack", "--strict", "--stateless-rpc"}, args...)
	cmd := exec.CommandContext(c.r.Context(), c.s.cfg.Git, append(args, c.git().Dir())...)
	cmd.Env = []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "HOME=/nonexistent", "LC_ALL=C"}
	if p := c.r.Header.Get("Git-Protocol"); slices.Contains([]string{"version=1", "version=2"}, p) {
		cmd.Env = append(cmd.Env, "GIT_PROTOCOL="+p)
	}
	return cmd, nil
}

func (c *call) runGit(cmd *exec.Cmd) error {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil && c.r.Context().Err() == nil {
		return fmt.Errorf("run git upload-pack: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

func (c *call) gitHeaders(kind string) {
	h := c.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-cache, no-store, max-age=0, must-revalidate")
}

// gitBody is the request's body; git compresses long ones.
func (c *call) gitBody() (io.ReadCloser, error) {
	switch c.r.Header.Get("Content-Encoding") {
	case "":
		return c.r.Body, nil
	case "gzip":
		in, err := gzip.NewReader(c.r.Body)
		if err != nil {
			return nil, badRequest("The body is not gzip")
		}
		return in, nil
	}
	return nil, &Error{http.StatusUnsupportedMediaType, "UnsupportedMediaType", "Only gzip is understood"}
}

// pkt is a line of git's protocol: its length in four hex digits, and the text.
func pkt(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }

// readPkt reads one; false at a flush.
func readPkt(in io.Reader) (string, bool, error) {
	var head [4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return "", false, err
	}
	n := 0
	for _, b := range head {
		digit := strings.IndexByte("0123456789abcdef", b|0x20)
		if digit < 0 {
			return "", false, badRequest("The body is not git's protocol")
		}
		n = n<<4 | digit
	}
	if n == 0 {
		return "", false, nil
	}
	if n < 4 {
		return "", false, badRequest("The body is not git's protocol")
	}
	text := make([]byte, n-4)
	_, err := io.ReadFull(in, text)
	return string(text), true, err
}
