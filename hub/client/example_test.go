package client_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/mamba-encoder-swarm/mes/hub/client"
	"github.com/mamba-encoder-swarm/mes/hub/server"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

func ExampleParseRepo() {
	repo, err := client.ParseRepo("datasets/acme/texts")
	fmt.Println(repo.Type, repo.ID, err)
	_, err = client.ParseRepo("acme/../etc")
	fmt.Println(err)
	// Output:
	// dataset acme/texts <nil>
	// repo id "acme/../etc" has more than one '/'; an id is namespace/name of letters, digits, '-', '_' and '.'
}

func ExampleMatch() {
	include, exclude := []string{"*.safetensors", "*.json"}, []string{"old/"}
	fmt.Println(client.Match("encoders/0.safetensors", include, exclude))
	fmt.Println(client.Match("old/config.json", include, exclude))
	// Output:
	// true
	// false
}

func ExampleNew() {
	c, err := client.New(client.Config{Endpoint: "http://127.0.0.1:7861/hub/"})
	fmt.Println(c.Endpoint(), err)
	// Output: http://127.0.0.1:7861/hub <nil>
}

// startHub serves a hub with the user alice, whose token is returned.
func startHub() (address, token string, stop func()) {
	dir, err := os.MkdirTemp("", "hub")
	if err != nil {
		log.Fatal(err)
	}
	s, err := server.New(server.Config{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if _, err := s.AddUser(ctx, meta.User{Name: "alice"}); err != nil {
		log.Fatal(err)
	}
	if token, err = s.AddToken(ctx, meta.Token{User: "alice", Kind: meta.TokenWrite}); err != nil {
		log.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	return srv.URL, token, func() { srv.Close(); s.Close(); os.RemoveAll(dir) }
}

// A folder goes to a hub, and into the cache of another machine.
func Example() {
	address, token, stop := startHub()
	defer stop()
	ctx := context.Background()
	cache, err := os.MkdirTemp("", "cache")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(cache)
	c, err := client.New(client.Config{Endpoint: address, Token: token, Cache: cache})
	if err != nil {
		log.Fatal(err)
	}
	repo := client.Repo{ID: "alice/texts"}
	if _, err := c.CreateRepo(ctx, repo, client.CreateOptions{}); err != nil {
		log.Fatal(err)
	}
	files := []client.File{{Path: "de.txt", Bytes: []byte("Guten Tag")}, {Path: "en.txt", Bytes: []byte("Hello")}}
	made, err := c.Upload(ctx, repo, client.UploadOptions{Files: files})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sent", made.Sent)
	made, err = c.Upload(ctx, repo, client.UploadOptions{Files: files})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sent", made.Sent, "unchanged", made.Unchanged)
	s, err := c.Snapshot(ctx, repo, "main", client.SnapshotOptions{Include: []string{"*.txt"}})
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range s.Files {
		text, err := os.ReadFile(filepath.Join(s.Dir, f.Path))
		fmt.Println(f.Path, string(text), err)
	}
	// Output:
	// sent 2
	// sent 0 unchanged 2
	// de.txt Guten Tag <nil>
	// en.txt Hello <nil>
}

// One file of a commit, and errors that tell what is missing.
func ExampleClient_Download() {
	address, token, stop := startHub()
	defer stop()
	cache, err := os.MkdirTemp("", "cache")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(cache)
	c, err := client.New(client.Config{Endpoint: address, Token: token, Cache: cache})
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.Download(context.Background(), client.Repo{ID: "alice/none"}, "", "config.json")
	fmt.Println(errors.Is(err, client.ErrRepoNotFound), errors.Is(err, fs.ErrNotExist))
	// Output: true true
}
