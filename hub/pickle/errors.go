package pickle

import (
	"errors"
	"fmt"
)

// Error is every fault of a file. Err is, or wraps, one of the errors below: branch
// with errors.Is.
type Error struct {
	Path   string // file at fault
	Tensor string // tensor at fault, empty when it is the file as a whole
	Err    error  // kind of fault
	Detail string // the values that show it, may be empty
}

// Error returns one sentence: the file, the tensor, the fault, its values.
func (e *Error) Error() string {
	s := "PyTorch file " + e.Path + ": "
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

// Faults of the archive.
var (
	ErrNotArchive  = errors.New("not a zip archive as torch.save writes it")
	ErrLegacy      = errors.New("written by torch before 1.6; load it with torch and save it again")
	ErrArchive     = errors.New("the zip archive is damaged; fetch the file again")
	ErrLayout      = errors.New("the archive's entries are not those of torch.save")
	ErrCompressed  = errors.New("an entry is compressed or encrypted, which torch.save never does")
	ErrOverlap     = errors.New("two entries of the archive share bytes")
	ErrByteOrder   = errors.New("the numbers are not little-endian; save the file anew on a little-endian machine")
	ErrPickleSize  = errors.New("the pickle is larger than 16 MiB, which no state dict needs")
	ErrStorage     = errors.New("a storage is missing or does not have the size that the pickle gives")
	ErrBounds      = errors.New("the tensor reaches beyond its storage")
	ErrExpanded    = errors.New("the tensor has more elements than its storage; save it with .contiguous()")
	ErrAmplified   = errors.New("the tensors together are more than 64 times the data in the file")
	ErrNoStateDict = errors.New("the file holds no state dict (names and tensors); save model.state_dict()")
)

// Faults of the pickle.
var (
	ErrOpcode  = errors.New("the pickle has an opcode that no state dict needs")
	ErrGlobal  = errors.New("the pickle names something that no state dict needs; load this file nowhere unless you trust its maker")
	ErrCall    = errors.New("the pickle calls something with arguments that torch.save does not write")
	ErrTooDeep = errors.New("the pickle is nested deeper than 64 levels")
	ErrTooLong = errors.New("the pickle takes more than 4,000,000 steps")
	ErrPickle  = errors.New("the pickle is damaged; fetch the file again")
)
