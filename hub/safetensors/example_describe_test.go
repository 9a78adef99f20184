package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
)

// Of a file on a hub only the header was fetched.
func ExampleDescribe() {
	const json = `{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[5,50],"data_offsets":[0,1000]}}   `
	head := append(binary.LittleEndian.AppendUint64(nil, uint64(len(json))), json...)
	size := int64(len(head)) + 1000
	end, err := safetensors.HeaderBytes(bytes.NewReader(head[:8]), size)
	fmt.Println(end == int64(len(head)), err)
	tensors, metadata, err := safetensors.Describe(bytes.NewReader(head), size)
	fmt.Println(tensors, metadata, err)
	_, _, err = safetensors.Describe(bytes.NewReader(head), size-1)
	fmt.Println(err != nil)
	// Output:
	// true <nil>
	// [{w F32 [5 50] 1000}] map[format:pt] <nil>
	// true
}
