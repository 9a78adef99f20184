// Package hub reads and writes model folders in HuggingFace's layout: config.json,
// generation_config.json, tokenizer files, and safetensors weights, one file per
// encoder for a swarm.
//
//	p, err := hub.FromPretrained(ctx, "weights/mamba2-mini", nil)
//	defer p.Close()
//	model, err := swarm.Load(backend, p.Config.Swarm, p, swarm.Options{})
//
// [SavePretrained] writes a folder, whole or not at all, from what [Grow] (plain
// model to swarm), [ExportEncoder] (one encoder to plain model) and [Convert] (other
// layout or precision) say. [Inspect] reports what a folder holds, [CheckRepo] what
// it lacks to be published, and [WriteCard] writes its model card.
//
// The layout of a swarm (see [CoreFile], [EncoderFile]) lets a reader fetch only
// the encoders that its text needs: given an [Opener] of a hub, FromPretrained takes
// a repo's name as well as a folder, and [Pretrained.Fetch] brings single encoders.
// With the weights of a swarm goes the Python by which transformers runs them
// ([RemoteCode]). Checkpoints in the original layout of state-spaces/mamba are read
// too, and to convert them PyTorch's weights. [StageModel] and [StageWeights] write
// the folders of a publication.
package hub
