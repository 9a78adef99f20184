package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// TestLineBounds: lines of a commit are bounded in length, in number and together.
func TestLineBounds(t *testing.T) {
	read := func(in io.Reader) (lines int, length int, err error) {
		r := &lineReader{in: bufio.NewReaderSize(in, 64<<10), dir: t.TempDir(), turn: make(chan struct{}, 1), left: 10 << 20}
		defer r.done()
		for {
			line, err := r.next(t.Context())
			if err != nil {
				if left, globErr := os.ReadDir(r.dir); globErr != nil || len(left) > 0 {
					t.Errorf("left: %v %v", left, globErr)
				}
				return lines, length, err
			}
			lines, length = lines+1, length+len(line)
			r.done()
		}
	}
	long := strings.Repeat("x", bigLine+100_000)
	for _, c := range []struct {
		name          string
		in            io.Reader
		lines, length int
		want          string
	}{
		{"short", strings.NewReader("a\n\n bc \r\nd"), 3, 4, "EOF"},
		{"long", strings.NewReader("a\n" + long + "\n" + long + "\nb"), 4, 2*len(long) + 2, "EOF"},
		{"long blanks", strings.NewReader(strings.Repeat(" ", 2*bigLine) + "\n" + long), 1, len(long), "EOF"},
		{"too many", strings.NewReader(strings.Repeat("a\n", maxLines+1)), maxLines, maxLines, "at most 50000 lines"},
		{"too many blanks", strings.NewReader(strings.Repeat("\n", maxLines+1)), 0, 0, "at most 50000 lines"},
		{"too much", strings.NewReader(strings.Repeat(strings.Repeat("x", 1<<20)+"\n", 11)), 9, 9 << 20, "at most 2 GiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines, length, err := read(c.in)
			if lines != c.lines || length != c.length || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%d lines of %d bytes, %v; want %d of %d, %s", lines, length, err, c.lines, c.length, c.want)
			}
		})
	}
}

// deadlines is a connection that notes its deadlines.
type deadlines struct {
	http.ResponseWriter
	set []time.Duration // from when they were set
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, time.Until(t))
	return nil
}

// stalled is a body of which nothing comes before its deadline.
type stalled struct{}

func (stalled) Read([]byte) (int, error) { return 0, fmt.Errorf("read: %w", os.ErrDeadlineExceeded) }
func (stalled) Close() error             { return nil }

// TestStalledBody: a sender of whom nothing comes for a minute is told to go.
func TestStalledBody(t *testing.T) {
	d := &deadlines{ResponseWriter: httptest.NewRecorder()}
	body := &liveBody{stalled{}, http.NewResponseController(d)}
	_, err := body.Read(make([]byte, 1))
	var e *Error
	if !errors.As(err, &e) || e.Status != http.StatusRequestTimeout {
		t.Errorf("error %v", err)
	}
	h := newPageHub(t)
	whole := &deadlines{ResponseWriter: httptest.NewRecorder()}
	h.s.Handler().ServeHTTP(whole, httptest.NewRequest("POST", "/api/validate-yaml", strings.NewReader(`{}`)))
	if len(whole.set) == 0 {
		t.Error("a request's body has no deadline")
	}
	if len(d.set) != 1 || d.set[0] < 50*time.Second || d.set[0] > time.Minute {
		t.Errorf("deadlines %v", d.set)
	}
}

// TestExpectContinue: who asks before sending is told no without having sent.
func TestExpectContinue(t *testing.T) {
	h := newPageHub(t)
	web := httptest.NewServer(h.s.Handler())
	defer web.Close()
	conn, err := net.Dial("tcp", web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PUT /_lfs/x/%064d?sig=none HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n", 1)
	status, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(status, "HTTP/1.1 403") {
		t.Errorf("%q %v", status, err)
	}
}
