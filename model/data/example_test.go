package data_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mamba-encoder-swarm/mes/model/data"
)

// Text becomes shards, and shards become batches. A saved position goes on where it was.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	in, out := filepath.Join(dir, "legal.jsonl"), filepath.Join(dir, "data")
	err = os.WriteFile(in, []byte(`{"text": "The licensee may copy the work, and may not sell it."}`+"\n"), 0o644)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := data.Prepare(ctx, data.PrepareConfig{Inputs: []string{in}, Out: out, Tokenizer: "../../weights/mamba2-mini"}); err != nil {
		fmt.Println(err)
		return
	}
	loader, err := data.NewLoader(data.LoaderConfig{Dir: out, SeqLen: 4, Batch: 1, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer loader.Close()
	batch, err := loader.Next(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(loader.Domains(), loader.RowsPerEpoch(), len(batch.IDs), batch.Position.Row)
	err = loader.Seek(batch.Position) // perhaps days later
	fmt.Println(err)
	// Output:
	// [legal] 3 5 1
	// <nil>
}
