package client

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// commitAll makes the commits, each of a part of the items.
func (u *upload) commitAll(ctx context.Context) error {
	var batches [][]*item
	var inside int64
	for n, i := range u.items {
		if !i.lfs {
			inside += i.size
		}
		if last := len(batches) - 1; n == 0 || len(batches[last]) == commitFiles || inside > commitBytes {
			batches = append(batches, nil)
			inside = 0
			if !i.lfs {
				inside = i.size
			}
		}
		batches[len(batches)-1] = append(batches[len(batches)-1], i)
	}
	for n, batch := range batches {
		title := u.o.Message
		if title == "" {
			title = defaultTitle(u.items)
		}
		if len(batches) > 1 {
			title += fmt.Sprintf(" (part %d of %d)", n+1, len(batches))
		}
		if err := u.commit(ctx, title, batch); err != nil {
			return fmt.Errorf("commit part %d of %d: %w", n+1, len(batches), err)
		}
		for _, i := range batch {
			if !i.remove && !i.lfs {
				u.made.Sent++
				u.meter.set(i.Path, i.size, i.size)
			}
		}
	}
	return nil
}

// defaultTitle names the one file, or how many.
func defaultTitle(items []*item) string {
	verb, noun := "Upload", "files"
	if !slices.ContainsFunc(items, func(i *item) bool { return !i.remove }) {
		verb = "Delete"
	}
	if len(items) == 1 {
		return verb + " " + items[0].Path
	}
	return fmt.Sprintf("%s %d %s", verb, len(items), noun)
}

// maxMoves is how often a commit is put on top of what others committed meanwhile.
const maxMoves = 10

// commit makes one commit. A reply that was lost shows in the branch's files, and
// then the commit is not made again.
func (u *upload) commit(ctx context.Context, title string, batch []*item) error {
	for attempt := 0; ; attempt++ {
		err := u.send(ctx, title, batch)
		if err == nil {
			return nil
		}
		var answer *Error
		isAnswer := errors.As(err, &answer)
		moved := errors.Is(err, ErrBranchMoved)
		lost := !isAnswer && !errors.As(err, new(permanent)) || isAnswer && answer.Status >= 500
		if ctx.Err() != nil || !moved && !lost || attempt >= maxMoves {
			return err
		}
		if u.o.CreatePR && u.made.PullRequest == "" {
			return fmt.Errorf("%w; the pull request may have been made, look before trying again", err)
		}
		head, done, checkErr := u.arrived(ctx, batch)
		switch {
		case checkErr != nil:
			return fmt.Errorf("%w; and whether it arrived is not known: %w", err, checkErr)
		case done:
			u.c.log.Info("the reply to a commit was lost, the commit is there", "commit", head)
			u.made.OID, u.parent = head, head
			u.made.URL = u.c.base + "/" + u.repo.String() + "/commit/" + head
			u.made.Made++
			return nil
		case moved && u.o.Parent != "":
			return err
		}
		if lost && attempt >= maxRetries {
			return err
		}
		u.parent = head
		if err := u.c.sleep(ctx, backoff(attempt)/4); err != nil {
			return err
		}
	}
}

// arrived reports whether the branch's head is a newer commit that holds all that
// a batch says.
func (u *upload) arrived(ctx context.Context, batch []*item) (head string, done bool, err error) {
	head, err = u.c.commitOf(ctx, u.repo, u.o.Revision)
	if errors.Is(err, ErrRevisionNotFound) {
		return "", false, nil
	}
	if err != nil || head == u.parent {
		return head, false, err
	}
	there, err := u.storedAt(ctx, head, batch)
	if err != nil {
		return head, false, err
	}
	for _, i := range batch {
		hash, ok := there[strings.TrimSuffix(i.Path, "/")]
		if i.remove && ok || !i.remove && hash != i.hash {
			return head, false, nil
		}
	}
	return head, true, nil
}

// pullRequest finds the number in the address of a pull request.
var pullRequest = regexp.MustCompile(`/discussions/(\d+)$`)

// send sends one commit.
func (u *upload) send(ctx context.Context, title string, batch []*item) error {
	open, err := u.payload(title, batch)
	if err != nil {
		return permanent{err}
	}
	address := u.repo.api() + "/commit/" + url.PathEscape(u.o.Revision)
	if u.o.CreatePR && u.made.PullRequest == "" {
		address += "?create_pr=1"
	}
	var out struct{ CommitOID, CommitURL, PullRequestURL string }
	k := call{method: http.MethodPost, url: address, body: open, header: http.Header{"Content-Type": {"application/x-ndjson"}}}
	if err := u.c.api(ctx, k, nil, &out); err != nil {
		return err
	}
	if !isCommit(out.CommitOID) {
		return permanent{fmt.Errorf("the server names the commit %q, which is none", out.CommitOID)}
	}
	u.made.OID, u.made.URL, u.parent = out.CommitOID, out.CommitURL, out.CommitOID
	u.made.Made++
	if u.o.CreatePR && u.made.PullRequest == "" {
		number := pullRequest.FindStringSubmatch(out.PullRequestURL)
		if number == nil {
			return permanent{fmt.Errorf("the server names the pull request %q, which has no number", u.c.mask(out.PullRequestURL))}
		}
		u.made.PullRequest, u.o.Revision = out.PullRequestURL, "refs/pr/"+number[1]
	}
	return nil
}

// payload gives the lines of a commit: a header, then one for each item. Contents
// are read while they are sent.
func (u *upload) payload(title string, batch []*item) (func() (io.Reader, int64, error), error) {
	header := map[string]any{"summary": title, "description": u.o.Description}
	if u.parent != "" {
		header["parentCommit"] = u.parent
	}
	var lines ndjson
	if err := lines.add("header", header); err != nil {
		return nil, err
	}
	for _, i := range batch {
		var err error
		switch {
		case i.remove && strings.HasSuffix(i.Path, "/"):
			err = lines.add("deletedFolder", map[string]any{"path": i.Path})
		case i.remove:
			err = lines.add("deletedFile", map[string]any{"path": i.Path})
		case i.lfs:
			err = lines.add("lfsFile", map[string]any{"path": i.Path, "algo": "sha256", "oid": i.hash, "size": i.size})
		default:
			err = lines.addFile(i)
		}
		if err != nil {
			return nil, err
		}
	}
	return lines.open, nil
}

// contentOf reads a small item in base64 and checks its hash once more, since the
// file may have been written to.
func contentOf(i *item) (string, error) {
	r, err := i.open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, i.size+1))
	if err != nil {
		return "", err
	}
	h, _ := newHash(i.hash, int64(len(data)))
	h.Write(data)
	if hex.EncodeToString(h.Sum(nil)) != i.hash {
		return "", changedError(i.Path)
	}
	return base64.StdEncoding.EncodeToString(data), nil
}
