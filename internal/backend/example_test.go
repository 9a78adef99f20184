package backend_test

import (
	"fmt"
	"log"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
)

func ExampleOpen() {
	b, info, err := backend.Open(backend.Go, backend.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Finalize()
	fmt.Println(info.Name, info.Chosen)
	// Output: go asked for
}
