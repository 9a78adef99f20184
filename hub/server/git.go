package server

import (
	"bufio"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/lfs"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
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
		if err := c.s.need(c.caller, &c.repo, writer); err != nil {
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

// What our side of a push can do. no-thin asks for packs that stand alone.
const pushAbilities = "report-status delete-refs ofs-delta no-thin agent=mes"

// receivePackRefs lists the refs that a push may move.
func (c *call) receivePackRefs() error {
	refs, err := c.git().Refs("refs/")
	if err != nil {
		return err
	}
	var out strings.Builder
	out.WriteString(pkt("# service=git-receive-pack\n") + "0000")
	if len(refs) == 0 {
		out.WriteString(pkt(gitrepo.Hash{}.String() + " capabilities^{}\x00" + pushAbilities + "\n"))
	}
	for i, ref := range refs {
		line := ref.Target.String() + " " + ref.Name
		if i == 0 {
			line += "\x00" + pushAbilities
		}
		out.WriteString(pkt(line + "\n"))
	}
	out.WriteString("0000")
	c.gitHeaders("application/x-git-receive-pack-advertisement")
	_, err = io.WriteString(c.w, out.String())
	return err
}

// pushCommand is one ref that a push wants moved.
type pushCommand struct {
	old, new gitrepo.Hash
	ref      string
	fault    string // why not; empty when it was done
}

// receivePack takes a push: its objects go into quarantine, are checked as those
// of a commit are, and only then come into the repo; the refs move last.
func (c *call) receivePack() error {
	raw, err := c.gitBody()
	if err != nil {
		return err
	}
	body := bufio.NewReaderSize(raw, 64<<10)
	commands, err := readCommands(body)
	if err != nil {
		return err
	}
	c.gitHeaders("application/x-git-receive-pack-result")
	if len(commands) == 0 {
		return nil // git asks first whether its password is right
	}
	unpack := "ok"
	if err := c.push(commands, body); err != nil {
		e, ours := asError(err)
		if ours && !errors.Is(err, gitrepo.ErrPush) {
			c.s.log.Error("push failed", "request", c.id, "error", err)
			unpack = e.Message
		} else {
			unpack = err.Error()
		}
		for i := range commands {
			commands[i].fault = headerText(unpack)
		}
	}
	var out strings.Builder
	out.WriteString(pkt("unpack " + headerText(unpack) + "\n"))
	for _, cmd := range commands {
		if cmd.fault == "" {
			out.WriteString(pkt("ok " + cmd.ref + "\n"))
		} else {
			out.WriteString(pkt("ng " + cmd.ref + " " + cmd.fault + "\n"))
		}
	}
	_, err = io.WriteString(c.w, out.String()+"0000")
	return err
}

// readCommands reads the lines "old new ref", the first with what the client can do.
func readCommands(in io.Reader) ([]pushCommand, error) {
	var commands []pushCommand
	for {
		line, more, err := readPkt(in)
		if err != nil {
			return nil, bodyError(err)
		}
		if !more {
			return commands, nil
		}
		line, _, _ = strings.Cut(strings.TrimSuffix(line, "\n"), "\x00")
		fields := strings.SplitN(line, " ", 3)
		if len(fields) != 3 || len(fields[0]) != 40 || len(fields[1]) != 40 || len(commands) == maxPushedRefs {
			return nil, badRequest("The body is not a push")
		}
		cmd := pushCommand{ref: fields[2]}
		for i, h := range []*gitrepo.Hash{&cmd.old, &cmd.new} {
			parsed, ok := parseHash(fields[i])
			if !ok {
				return nil, badRequest("The body is not a push")
			}
			*h = parsed
		}
		commands = append(commands, cmd)
	}
}

func parseHash(text string) (h gitrepo.Hash, ok bool) {
	n, err := hex.Decode(h[:], []byte(text))
	return h, err == nil && n == len(h)
}

// push checks and applies the commands; a fault of one ref is noted in its
// command, a fault of the whole is returned.
func (c *call) push(commands []pushCommand, body *bufio.Reader) error {
	var pack io.Reader
	for _, cmd := range commands {
		if !cmd.new.IsZero() {
			pack = body
		}
	}
	if pack != nil {
		if _, err := body.Peek(1); errors.Is(err, io.EOF) {
			pack = nil // a new name for what is here already
		}
	}
	q, err := c.git().Receive(pack, gitrepo.PushLimits{})
	if err != nil {
		return err
	}
	defer q.Discard()
	// Under the locks, so that what the check finds here is here when the refs move.
	st := c.s.state(c.repo.ID)
	st.commit.Lock()
	defer st.commit.Unlock()
	c.s.writes.RLock()
	defer c.s.writes.RUnlock()
	infos := map[string]meta.BlobInfo{}
	for i := range commands {
		if err := c.checkPush(q, &commands[i], infos); err != nil {
			return err
		}
	}
	if err := q.Accept(); err != nil {
		return err
	}
	if err := c.s.db.PutBlobs(c.repo.ID, infos); err != nil {
		return err
	}
	for i := range commands {
		c.movePushed(&commands[i])
	}
	return c.s.touched(c.repo.ID)
}

// checkPush looks at one command and at all that it would bring.
func (c *call) checkPush(q *gitrepo.Quarantine, cmd *pushCommand, infos map[string]meta.BlobInfo) error {
	if err := gitrepo.CheckRefName(cmd.ref); err != nil {
		return fmt.Errorf("%w: %w", gitrepo.ErrPush, err)
	}
	isPR := strings.HasPrefix(cmd.ref, "refs/pr/") && !cmd.old.IsZero() && !cmd.new.IsZero()
	switch {
	case !isPR && !strings.HasPrefix(cmd.ref, "refs/heads/") && !strings.HasPrefix(cmd.ref, "refs/tags/"):
		return fmt.Errorf("%w: only branches, tags and existing pull requests can be pushed, not %s", gitrepo.ErrPush, cmd.ref)
	case cmd.new.IsZero() && cmd.ref == "refs/heads/"+gitrepo.DefaultBranch:
		return fmt.Errorf("%w: the branch main cannot be deleted", gitrepo.ErrPush)
	case cmd.new.IsZero():
		return nil
	}
	commit, err := q.Check(cmd.new, func(path string, h gitrepo.Hash) error {
		return c.checkPushedFile(q, path, h, infos)
	})
	if err == nil && commit != cmd.new && !strings.HasPrefix(cmd.ref, "refs/tags/") {
		return fmt.Errorf("%w: %s would not be a commit", gitrepo.ErrPush, cmd.ref)
	}
	return err
}

// checkPushedFile holds a pushed file to what a commit's file is held to.
func (c *call) checkPushedFile(q *gitrepo.Quarantine, path string, h gitrepo.Hash, infos map[string]meta.BlobInfo) error {
	info, err := readBlobInfo(q.Repo(), h)
	if err != nil {
		return err
	}
	if info.SHA == "" && info.Size > maxRegular {
		return fmt.Errorf("%w: %q has %d bytes; files above 10 MiB belong into git-lfs (git lfs track, then commit again)", gitrepo.ErrPush, path, info.Size)
	}
	if info.SHA != "" {
		size, err := c.s.HasLFS(c.repo.ID, info.SHA)
		if errors.Is(err, lfs.ErrNotFound) || err == nil && size != info.Size {
			return fmt.Errorf("%w: the large file of %q was not sent to this repo (git lfs push --all)", gitrepo.ErrPush, path)
		}
		if err != nil {
			return err
		}
	}
	infos[h.String()] = info
	return nil
}

func (c *call) movePushed(cmd *pushCommand) {
	var err error
	if cmd.new.IsZero() {
		err = c.git().DeleteRef(cmd.ref, cmd.old)
	} else {
		err = c.git().SetRef(cmd.ref, cmd.old, cmd.new)
	}
	switch {
	case err == nil:
	case errors.Is(err, gitrepo.ErrConflict), errors.Is(err, gitrepo.ErrExists):
		cmd.fault = "the ref has moved meanwhile, or another has its name: fetch first"
	default:
		c.s.log.Error("move ref of a push", "request", c.id, "error", err)
		cmd.fault = "Internal error"
	}
}
