package safetensors

import (
	"errors"
	"fmt"
)

// Error is every fault of a file, an index or a call of the writer. Err is, or
// wraps, one of the errors below: branch with errors.Is.
type Error struct {
	Path   string // file at fault
	Tensor string // tensor at fault, empty when it is the file as a whole
	Err    error  // kind of fault
	Detail string // the values that show it, may be empty
}

// Error returns one sentence: the file, the tensor, the fault, its values.
func (e *Error) Error() string {
	s := "safetensors file " + e.Path + ": "
	if e.Tensor != "" {
		s += fmt.Sprintf("tensor %q: ", e.Tensor)
	}
	s += e.Err.Error()
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	return s
}

// Unwrap returns the kind of fault.
func (e *Error) Unwrap() error { return e.Err }

// Faults of a file, found when it is opened.
var (
	ErrHeaderTooSmall = errors.New("shorter than the 8 bytes that give the header's length; fetch the file again")
	ErrHeaderTooLarge = errors.New("header is longer than the 100,000,000 bytes that the format allows")
	ErrHeaderLength   = errors.New("header ends beyond the end of the file; fetch the file again")
	ErrHeaderUTF8     = errors.New("header is not valid UTF-8")
	ErrHeaderJSON     = errors.New("header is not the JSON that the format asks for")
	ErrDuplicateKey   = errors.New("the same key appears twice")
	ErrDType          = errors.New("dtype is not one of the format's")
	ErrReversed       = errors.New("data ends before it begins")
	ErrOverlap        = errors.New("data overlaps that of another tensor")
	ErrHole           = errors.New("bytes before the data belong to no tensor")
	ErrOverflow       = errors.New("shape is too large to be counted")
	ErrMisaligned     = errors.New("elements do not fill whole bytes")
	ErrSize           = errors.New("shape and dtype do not match the number of bytes")
	ErrFileSize       = errors.New("the tensors do not end where the file ends; fetch the file again")
)

// ErrTruncated is the fault of a file that changes while it is open.
var ErrTruncated = errors.New("the file was cut short after it was opened; restore it and open it again")

// Faults of an index and its shards.
var (
	ErrNoModel        = errors.New("the folder holds neither model.safetensors nor model.safetensors.index.json")
	ErrIndexTooLarge  = errors.New("index is longer than 100,000,000 bytes")
	ErrIndexJSON      = errors.New("index is not the JSON that the layout asks for")
	ErrShardName      = errors.New("index names a shard that is not a plain file name")
	ErrShardMissing   = errors.New("shard is missing; fetch it")
	ErrNotInShard     = errors.New("index places the tensor in a shard that does not hold it")
	ErrTensorNotFound = errors.New("no tensor of that name")
)

// Faults of calls to the writer.
var (
	ErrReservedName = errors.New("the name is reserved for the file's metadata")
	ErrOrder        = errors.New("tensors are written in the order of Layout, each once")
	ErrDataSize     = errors.New("data does not have the size that shape and dtype ask for")
	ErrUnwritten    = errors.New("not every tensor was written")
	ErrDone         = errors.New("the file was already committed or aborted")
)
