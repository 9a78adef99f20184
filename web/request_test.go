package web

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestUnfinishedBody sends requests whose body stops short.
func TestUnfinishedBody(t *testing.T) {
	s, err := New(Config{Engine: noEngine{}})
	if err != nil {
		t.Fatal(err)
	}
	s.bodyTimeout = 50 * time.Millisecond
	ts := httptest.NewServer(s.Handler())
	defer ts.Close()
	for name, c := range map[string]struct {
		end    bool // the sender closes its side
		status int
		want   string
	}{
		"closed":  {true, http.StatusBadRequest, "The request ended early; send it again."},
		"stalled": {false, http.StatusRequestTimeout, "The request did not arrive in time; send it again."},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", ts.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"prompt\":")
			if c.end {
				conn.(*net.TCPConn).CloseWrite()
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || !strings.Contains(string(body), c.want) {
				t.Errorf("status %d, body %s", resp.StatusCode, body)
			}
		})
	}
}

// noEngine is an engine that no request may reach.
type noEngine struct{ Engine }

// FuzzDecodeRequest checks against encoding/json: what is accepted is a JSON
// object, the strings are valid and equal to those that the standard decoder
// finds under the same exact keys.
func FuzzDecodeRequest(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"prompt":"a"}`, `{"prompt":"\ud83d\ude00","stop":["x","\ufffd"]}`, `{"prompt":"\ud83d"}`, `{"seed":18446744073709551615}`,
		`{"seed":1e3}`, `{"prompt":"a"}}`, `{"a":{"b":[1,2]}}`, `{]`, "{\"prompt\":\"\xff\"}", `{"top_p":1e999}`, `{"prompt":"a",}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decodeRequest(body)
		if err != nil {
			if e, ok := err.(*Error); !ok || e.Status != 400 || e.Error() == "" {
				t.Fatalf("error %#v", err)
			}
			return
		}
		if !json.Valid(body) || !utf8.ValidString(got.Prompt) {
			t.Fatalf("accepted %q", body)
		}
		var want struct {
			Prompt      string   `json:"prompt"`
			Stop        []string `json:"stop"`
			Temperature float64  `json:"temperature"`
			TopK        int      `json:"top_k"`
		}
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", body, err)
		}
		if got.Prompt != want.Prompt || got.Temperature != want.Temperature || got.TopK != want.TopK || !cmp.Equal(got.Stop, want.Stop, cmpopts.EquateEmpty()) {
			t.Fatalf("%q gives %+v, encoding/json %+v", body, got, want)
		}
	})
}
