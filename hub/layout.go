package hub

import (
	"fmt"

	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// CoreFile is the file of a swarm that holds everything but the encoders.
const CoreFile = "model-core.safetensors"

// EncoderFile returns the name of the file that holds encoder e of a swarm.
func EncoderFile(e int) string { return fmt.Sprintf("model-encoder-%05d.safetensors", e) }

// FileOf returns the weights file that a tensor of a swarm belongs to.
func FileOf(spec swarm.TensorSpec) string {
	if spec.Encoder == swarm.None {
		return CoreFile
	}
	return EncoderFile(spec.Encoder)
}
