package engine

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// ExampleEngine_Generate continues a text with weights/mamba2-mini and a limit, and
// shows pieces as they come.
func ExampleEngine_Generate() {
	root, err := testkit.Root()
	if err != nil {
		fmt.Println(err)
		return
	}
	files, err := hub.FromPretrained(context.Background(), filepath.Join(root, "weights", "mamba2-mini"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer files.Close()
	tok, err := files.Tokenizer()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tok.Close()
	b, _, err := backend.Open(backend.Go, backend.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	model, err := swarm.Load(b, files.Config.Swarm, files, swarm.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer model.Close()

	e, err := New(Config{Model: model, Tokenizer: tok})
	if err != nil {
		fmt.Println(err)
		return
	}
	request := Request{Prompt: "The United States of", MaxTokens: 1}
	result, err := e.Generate(context.Background(), request, func(ev Event) error {
		fmt.Print(ev.Text)
		return nil
	})
	fmt.Printf("\n%d token, %s, %v\n", result.CompletionTokens, result.FinishReason, err)
	// Output:
	//  America
	// 1 token, length, <nil>
}
