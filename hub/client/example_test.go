package client_test

import (
	"fmt"

	"github.com/mamba-encoder-swarm/mes/hub/client"
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
