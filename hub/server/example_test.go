package server_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/mamba-encoder-swarm/mes/hub/server"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// A hub in a folder, its first user, and what the hub knows about a token.
func Example() {
	dir, err := os.MkdirTemp("", "hub")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := server.New(server.Config{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	if _, err := s.AddUser(ctx, meta.User{Name: "alice"}); err != nil {
		log.Fatal(err)
	}
	token, err := s.AddToken(ctx, meta.Token{User: "alice", Label: "laptop", Kind: meta.TokenRead})
	if err != nil {
		log.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	for _, auth := range []string{"Bearer " + token, "Bearer hf_wrong"} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/api/models?author=alice", nil)
		if err != nil {
			log.Fatal(err)
		}
		r.Header.Set("Authorization", auth)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			log.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		fmt.Println(answer.StatusCode, answer.Header.Get("X-Error-Message"), len(body) > 0, err)
	}
	faults, err := s.Fsck(ctx, true)
	fmt.Println(len(faults), err)
	// Output:
	// 200  true <nil>
	// 401 Invalid credentials in Authorization header true <nil>
	// 0 <nil>
}
