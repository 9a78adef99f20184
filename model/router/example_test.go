package router_test

import (
	"fmt"
	"log"

	"github.com/mamba-encoder-swarm/mes/model/router"
)

// exampleRouter has three encoders and a vocabulary of two ids: 0 speaks for law, 1
// for code.
func exampleRouter() *router.Router {
	cfg := router.Config{
		NumEncoders: 3, EncodersPerToken: 2,
		Granularity: router.PerChunk, ChunkLength: 4,
		Dim: 2, HalfLives: []float64{2}, Temperature: 1, Hysteresis: 0.02,
		DefaultEncoders: []int{0, 1},
		Domains:         []string{"general", "law", "code"},
	}
	r, err := router.New(cfg, router.Weights{
		Embeddings: []float32{
			1, 0,
			0, 1,
		},
		Proj: []float32{
			0.5, 0.5, // general
			2, -2, // law
			-2, 2, // code
		},
		Bias: []float32{0, 0, 0},
	}, 2)
	if err != nil {
		log.Fatal(err)
	}
	return r
}

func show(chunks []router.Chunk) {
	for _, c := range chunks {
		fmt.Printf("%d-%d %v %.2f %s\n", c.Start, c.End, c.Slots, c.Gates, c.Reason)
	}
}

func ExampleRouter_Plan() {
	r := exampleRouter()
	state, err := r.Start("")
	if err != nil {
		log.Fatal(err)
	}
	chunks, _, err := r.Plan(state, []int32{0, 0, 0, 0, 1, 1, 1, 1, 1, 1})
	if err != nil {
		log.Fatal(err)
	}
	show(chunks)
	// Output:
	// 0-4 [0 1] [0.50 0.50] default
	// 4-8 [0 1] [0.41 0.59] kept
	// 8-10 [0 2] [0.44 0.56] swapped
}

// Generation goes on from the state of the prompt: same plan as the whole text.
func ExampleRouter_Plan_continue() {
	r := exampleRouter()
	state, err := r.Start("")
	if err != nil {
		log.Fatal(err)
	}
	for _, ids := range [][]int32{{0, 0, 0, 0, 1, 1}, {1}, {1}, {1}} {
		var chunks []router.Chunk
		if chunks, state, err = r.Plan(state, ids); err != nil {
			log.Fatal(err)
		}
		for _, c := range chunks {
			fmt.Printf("%d-%d %v %s, continues %v\n", c.Start, c.End, c.Slots, c.Reason, c.Continues)
		}
	}
	// Output:
	// 0-4 [0 1] default, continues false
	// 4-6 [0 1] kept, continues false
	// 6-7 [0 1] kept, continues true
	// 7-8 [0 1] kept, continues true
	// 8-9 [0 2] swapped, continues false
}

func ExampleRouter_Start_domain() {
	r := exampleRouter()
	state, err := r.Start("code")
	if err != nil {
		log.Fatal(err)
	}
	chunks, _, err := r.Plan(state, []int32{1, 1, 1, 1, 1})
	if err != nil {
		log.Fatal(err)
	}
	show(chunks)
	_, err = r.Start("poetry")
	fmt.Println(err)
	// Output:
	// 0-4 [2 0] [0.50 0.50] domain
	// 4-5 [2 0] [0.59 0.41] kept
	// unknown domain "poetry": this model knows code, general, law
}

func ExampleConfig_Validate() {
	cfg := router.Config{
		NumEncoders: 2, EncodersPerToken: 3, Granularity: router.PerToken,
		Dim: 64, HalfLives: []float64{16, 128, 1024}, Temperature: 0,
		DefaultEncoders: []int{0, 1, 1},
	}
	for _, fault := range cfg.Validate() {
		fmt.Println(fault)
	}
	// Output:
	// num_encoders_per_token: 3 exceeds num_encoders, 2
	// router_temperature: 0, must be a positive number
	// default_encoders: encoder 1 is named twice
}

func ExampleConfig_NextDecision() {
	cfg := router.Config{Granularity: router.PerChunk, ChunkLength: 64}
	fmt.Println(cfg.NextDecision(0), cfg.NextDecision(63), cfg.NextDecision(64))
	// Output: 64 64 128
}
