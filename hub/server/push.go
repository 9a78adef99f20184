package server

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/lfs"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// What our side of a push can do. no-thin asks for packs that stand alone,
// side-band-64k lets warnings go beside the report.
const (
	sideBand      = "side-band-64k"
	pushAbilities = "report-status delete-refs ofs-delta no-thin agent=mes " + sideBand
)

// Channels of an answer with side bands, and how long a line of one may be.
const (
	bandReport   = "\x01"
	bandProgress = "\x02"
	maxBand      = 65515
)

// mayPush lets those push who may write, and those who have an open pull request,
// whose ref is all that they may move (see checkPush).
func (c *call) mayPush() error {
	err := c.s.need(c.caller, &c.repo, writer)
	if err == nil || mayAct(c.caller, &c.repo) != nil {
		return err
	}
	threads, listErr := c.s.db.Discussions(c.repo.ID)
	if listErr != nil {
		return listErr
	}
	if slices.ContainsFunc(threads, func(d meta.Discussion) bool { return isOwnPR(&d, c.user) }) {
		return nil
	}
	return err
}

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
	if err := c.mayPush(); err != nil {
		return err
	}
	body := bufio.NewReaderSize(raw, 64<<10)
	commands, abilities, err := readCommands(body)
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
	return c.reportPush(commands, unpack, slices.Contains(abilities, sideBand))
}

// reportPush tells git what became of its refs, and, where it has a channel for them,
// warns of names that some systems cannot keep side by side.
func (c *call) reportPush(commands []pushCommand, unpack string, banded bool) error {
	var report, out strings.Builder
	report.WriteString(pkt("unpack " + headerText(unpack) + "\n"))
	for _, cmd := range commands {
		if cmd.fault == "" {
			report.WriteString(pkt("ok " + cmd.ref + "\n"))
		} else {
			report.WriteString(pkt("ng " + cmd.ref + " " + cmd.fault + "\n"))
		}
	}
	report.WriteString("0000")
	if !banded {
		_, err := io.WriteString(c.w, report.String())
		return err
	}
	for _, warning := range c.pushWarnings(commands) {
		out.WriteString(pkt(bandProgress + "warning: " + warning + "\n"))
	}
	for part := range slices.Chunk([]byte(report.String()), maxBand) {
		out.WriteString(pkt(bandReport + string(part)))
	}
	_, err := io.WriteString(c.w, out.String()+"0000")
	return err
}

// maxPushWarnings is how many pairs of names a push is told of.
const maxPushWarnings = 5

// pushWarnings looks for names that are alike in what a push brought. The push is
// done, so nothing that goes wrong here is an error of it.
func (c *call) pushWarnings(commands []pushCommand) (warnings []string) {
	for _, cmd := range commands {
		if cmd.fault != "" || cmd.new.IsZero() || strings.HasPrefix(cmd.ref, "refs/tags/") {
			continue
		}
		pairs, err := c.git().AlikeSince(cmd.old, cmd.new, maxPushWarnings-len(warnings))
		if err != nil {
			c.s.log.Warn("look for names that are alike", "request", c.id, "error", err)
		}
		for _, pair := range pairs {
			if text := alikeText(pair); !slices.Contains(warnings, text) {
				warnings = append(warnings, text)
			}
		}
	}
	return warnings
}

// readCommands reads the lines "old new ref", the first with what the client can do.
func readCommands(in io.Reader) (commands []pushCommand, abilities []string, err error) {
	for {
		line, more, err := readPkt(in)
		if err != nil {
			return nil, nil, bodyError(err)
		}
		if !more {
			return commands, abilities, nil
		}
		line, after, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\x00")
		abilities = append(abilities, strings.Fields(after)...)
		fields := strings.SplitN(line, " ", 3)
		if len(fields) != 3 || len(fields[0]) != 40 || len(fields[1]) != 40 || len(commands) == maxPushedRefs {
			return nil, nil, badRequest("The body is not a push")
		}
		cmd := pushCommand{ref: fields[2]}
		for i, h := range []*gitrepo.Hash{&cmd.old, &cmd.new} {
			parsed, ok := parseHash(fields[i])
			if !ok {
				return nil, nil, badRequest("The body is not a push")
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
	case c.s.level(c.caller, &c.repo) < writer && !(isPR && c.ownPR(cmd.ref)):
		return fmt.Errorf("%w: you may not write to this repo, so that of its refs only those of your own open pull requests can be pushed, not %s", gitrepo.ErrPush, cmd.ref)
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
