package ckpt_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/mamba-encoder-swarm/mes/model/ckpt"
)

// A run looks for the newest checkpoint, goes on from it, and saves while it trains.
func Example() {
	dir, err := os.MkdirTemp("", "checkpoints")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	m, err := ckpt.Open(ckpt.Config{Dir: dir, Keep: 2, Best: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := m.Last(); errors.Is(err, ckpt.ErrNone) {
		fmt.Println("begin at step 0")
	}
	for step := int64(100); step <= 400; step += 100 {
		err := m.Save(context.Background(), ckpt.Snapshot{
			Step: step, Loss: 1000 / float64(step), Meta: json.RawMessage(`{"phase":"seed"}`),
			Tensors: []ckpt.Tensor{{Name: "embedding", DType: "F32", Shape: []int{2}, Data: make([]byte, 8)}},
		})
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	s, err := m.Last()
	fmt.Println(s.Step, string(s.Meta), len(m.List()), err)
	fmt.Println(m.Close())
	// Output:
	// begin at step 0
	// 400 {"phase":"seed"} 2 <nil>
	// <nil>
}
