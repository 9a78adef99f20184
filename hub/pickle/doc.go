// Package pickle reads pytorch_model.bin, the state dict that torch.save writes: a
// zip archive of raw storages and one pickle that says which tensor lies where.
//
// A pickle is a program. This one is run by a machine that knows the few opcodes
// and names that a state dict needs and stops at any other; it calls nothing,
// imports nothing and writes nothing. Sizes, counts and nesting have limits, and
// every tensor is checked to lie inside its storage before it is handed out, so
// that a hostile file costs little more than its own size.
//
// Tensors are read as contiguous little-endian bytes whatever their strides; the
// names of the dtypes are those of the safetensors format.
//
// The layout: https://docs.pytorch.org/docs/stable/notes/serialization.html. Not
// done: files of torch before 1.6 (see [ErrLegacy]), TorchScript, sparse and
// quantised tensors, checksums (torch does not verify them either), writing.
package pickle
