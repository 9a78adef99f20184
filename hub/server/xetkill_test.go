package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestXetKill kills the server by signal 9 in an upload through Xet: while a xorb
// arrives, between xorb and shard, and at each of the first writes by which the
// shard's files are made. Opened again the folder has no faults, the client's retry
// with its old token succeeds, and what is not retried is collected.
func TestXetKill(t *testing.T) {
	if dir := os.Getenv("MES_TEST_XET_KILL_DIR"); dir != "" {
		xetKillChild(dir)
		return
	}
	if testing.Short() {
		t.Skip("starts processes")
	}
	hash, xorb, shard := captured(t)
	empty := func(t *testing.T, dir string) {
		t.Helper()
		for _, pattern := range []string{"xet/*", "lfs/temp/*"} {
			if left, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
		}
	}
	for i, when := range []string{"in the xorb", "after the xorb", "write 1", "write 2", "write 3", "write 4"} {
		t.Run(when, func(t *testing.T) {
			dir := t.TempDir()
			h := openPageHub(t, dir)
			h.alice = h.user("alice")
			h.repo("m", false, nil)
			access, path := xetAccessOf(h, h.alice, "alice/m")
			h.close()

			child := startXetChild(t, dir, i-1)
			send := func(call string, body io.Reader) error {
				return postXet(t.Context(), child.url+path+call, access, body)
			}
			if i == 0 {
				half := io.MultiReader(bytes.NewReader(xorb[:len(xorb)/2]), killer{child})
				if err := send("/v1/xorbs/default/"+hash, half); err == nil {
					t.Fatal("a dead server answered")
				}
			} else if err := send("/v1/xorbs/default/"+hash, bytes.NewReader(xorb)); err != nil {
				t.Fatal(err)
			}
			if i == 1 {
				child.kill()
			}
			if err := send("/v1/shards", bytes.NewReader(shard)); err == nil {
				t.Fatal("a dead server answered")
			}
			child.wait(t)

			h = openPageHub(t, dir)
			defer h.close()
			later := func(by time.Duration) {
				if err := h.s.sweepAt(time.Now().Add(by)); err != nil {
					t.Fatal(err)
				}
			}
			if i%2 == 0 { // nobody comes back for two days
				later(49 * time.Hour)
				empty(t, dir)
			}
			for _, call := range []struct {
				path string
				body []byte
			}{{"/v1/xorbs/default/" + hash, xorb}, {"/v1/shards", shard}} {
				if w := h.do("", "POST", path+call.path, call.body, "Authorization", "Bearer "+access); w.Code != 200 {
					t.Fatalf("%s again: %d %s", call.path, w.Code, w.Body)
				}
			}
			if faults, err := h.s.Fsck(t.Context(), true); err != nil || len(faults) > 0 {
				t.Errorf("faults %v, %v", faults, err)
			}
			later(49 * time.Hour)
			empty(t, dir)
		})
	}
}

// openPageHub opens a folder; close it before another process does.
func openPageHub(t *testing.T, dir string) *pageHub {
	t.Helper()
	s, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return &pageHub{t: t, s: s}
}

func (h *pageHub) close() {
	if err := h.s.Close(); err != nil {
		h.t.Error(err)
	}
}

// xetChild is a server in a process of its own.
type xetChild struct {
	cmd *exec.Cmd
	url string
}

func startXetChild(t *testing.T, dir string, at int) *xetChild {
	t.Helper()
	c := &xetChild{cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestXetKill$")}
	c.cmd.Env = append(os.Environ(), "MES_TEST_XET_KILL_DIR="+dir, fmt.Sprint("MES_TEST_XET_KILL_AT=", at))
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server did not start: %v", err)
	}
	c.url = strings.TrimSpace(line)
	return c
}

func (c *xetChild) kill() { c.cmd.Process.Kill() } // it may be dead by itself

// wait holds that the process was killed.
func (c *xetChild) wait(t *testing.T) {
	t.Helper()
	c.cmd.Wait() // an error, for it was killed
	if status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the server ended by %v", c.cmd.ProcessState)
	}
}

// killer kills the server where a body goes on, once what was sent before is there.
type killer struct{ child *xetChild }

func (k killer) Read([]byte) (int, error) {
	time.Sleep(50 * time.Millisecond)
	k.child.kill()
	return 0, io.ErrUnexpectedEOF
}

func postXet(ctx context.Context, url, access string, body io.Reader) error {
	r, err := http.NewRequestWithContext(ctx, "POST", url, body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+access)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 {
		return fmt.Errorf("%d %s %w", resp.StatusCode, text, err)
	}
	return nil
}

// xetKillChild serves a folder and kills itself at a write, if one is named.
func xetKillChild(dir string) {
	var at, count int
	fmt.Sscan(os.Getenv("MES_TEST_XET_KILL_AT"), &at)
	s, err := New(Config{Dir: dir, Fault: func(string) error {
		if count++; count == at {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}})
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("http://%s\n", l.Addr())
	panic(http.Serve(l, s.Handler()))
}
