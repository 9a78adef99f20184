// Package ckpt keeps the checkpoints of a training run in a folder, so that the run goes
// on after it was killed at any moment.
//
// Tensors are stored by content: what did not change since the last checkpoint is named
// again, not written again. A checkpoint is a manifest that names its tensors' objects:
//
//	DIR/objects/3f/3f51…  the bytes of a tensor, under their sha256
//	DIR/steps/1200.json   step, the trainer's own state, tensors; with its own sha256
//	DIR/tmp               files that are being written
//	DIR/lock              held by the process that uses the folder
//
// Every file is written under a temporary name, synced and renamed; objects are on the
// disk before the manifest that names them, and nothing is deleted before the manifest
// that replaces it is there.
package ckpt

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Tensor is an array by name. Its name may be any text: it never becomes a path.
type Tensor struct {
	Name  string
	DType string // as in safetensors: F32, BF16, I64, ...
	Shape []int  // row-major; empty is a scalar
	Data  []byte // little-endian
}

// Snapshot is the state of a run between two steps.
type Snapshot struct {
	Step    int64           // optimizer steps done, at least 0
	Meta    json.RawMessage // the trainer's own state; kept as JSON, white space aside
	Loss    float64         // by which [Config.Best] compares; NaN or infinite is none
	Stage   string          // of the run; only losses of one stage are compared
	Tensors []Tensor
}

// Info describes a checkpoint without its tensors.
type Info struct {
	Step    int64
	Time    time.Time // of the save, UTC
	Loss    float64   // NaN is none
	Tensors int
	Bytes   int64 // of all tensors; checkpoints share the objects of those that are equal
}

// Config says where checkpoints are and which of them stay.
type Config struct {
	Dir string // made when it is missing

	// A checkpoint stays while one of these wants it. The newest always stays; two or more
	// leave one to fall back to.
	Keep      int   // newest to keep; 0 keeps all
	Best      int   // those of lowest loss to keep, of each stage; 0 is none
	EveryStep int64 // keep those whose step is a multiple; 0 is none

	Logger *slog.Logger // told what was found torn or corrupt; nil discards
}

// Stats counts what a manager did since it was opened.
type Stats struct {
	Saves        int           // finished
	Waited       time.Duration // that Save waited for the save before
	Busy         time.Duration // that saves took in the background
	WrittenBytes int64         // tensors written
	SharedBytes  int64         // tensors that were there already
}

// ErrNone says that there is no checkpoint, or none of a step.
var ErrNone = errors.New("no such checkpoint")

// ErrClosed says that the manager was closed.
var ErrClosed = errors.New("checkpoints are closed")

// CorruptError says that a checkpoint cannot be used: a file of it is missing, torn or
// holds other bytes than were written.
type CorruptError struct {
	Dir    string
	Step   int64
	Detail string // what is wrong
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("checkpoint %d in %s is corrupt: %s; resume from an earlier one", e.Step, e.Dir, e.Detail)
}

// LockedError says that another process uses the folder.
type LockedError struct {
	Dir    string
	Holder string // "process 4711 on host"
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("checkpoints in %s are used by %s; stop it or choose another folder", e.Dir, e.Holder)
}
