// Package safetensors reads and writes the safetensors format: tensors behind a
// JSON header, in one file or in a folder of shards with an index.
//
// A file is an 8-byte little-endian header length n, n bytes of JSON, and the
// data. The header maps each tensor's name to its dtype, shape and byte range;
// the ranges cover the data from first to last byte without hole or overlap.
//
// Reading is strict: what the reference implementation refuses is refused here,
// each fault with an error of its own (see [Error]), and so are repeated keys,
// which the format forbids and the reference lets pass. Opening maps the file and
// reads the header alone; a tensor's bytes come from the disk when they are asked
// for. A file that shrinks after it was opened gives [ErrTruncated], never a
// signal.
//
// Writing streams tensor after tensor into a temporary file beside the target and
// renames it when everything is there and on the disk, so that a full disk or an
// interrupt leaves the old file or none. The bytes equal those of Python's
// safetensors for the same tensors; more than one metadata entry is written in
// the order of the keys (the reference's order is then random).
//
// The format: https://github.com/safetensors/safetensors (README, "Format").
// Not done: slices of tensors, conversion between dtypes, direct device loading.
package safetensors
