// Package hub reads and writes model folders in HuggingFace's layout: config.json,
// generation_config.json, tokenizer files, and safetensors weights, one file per
// encoder for a swarm.
//
//	p, err := hub.FromPretrained("weights/mamba2-mini")
//	defer p.Close()
//	model, err := swarm.Load(backend, p.Config.Swarm, p, swarm.Options{})
//
// The layout of a swarm (see [CoreFile], [EncoderFile]) lets a reader fetch only
// the encoders that its text needs. Checkpoints in the original layout of
// state-spaces/mamba are read too.
package hub
