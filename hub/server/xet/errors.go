package xet

import "errors"

// What is wrong with a xorb or shard that a client sent. All of them mean that
// the same bytes will never be accepted.
var (
	ErrFormat    = errors.New("the format is not valid")
	ErrTruncated = errors.New("the data ends too early")
	ErrTooLarge  = errors.New("the data is larger than allowed")
	ErrChunkSize = errors.New("a chunk has another size than its header says")
	ErrXorbHash  = errors.New("the chunks do not have the xorb's hash")
	ErrRange     = errors.New("a term does not fit its xorb")
	ErrRangeHash = errors.New("the chunks of a term do not have the term's hash")
	ErrFileHash  = errors.New("the chunks do not have the file's hash")
	ErrNoSHA256  = errors.New("a file comes without its sha256")
	ErrSHA256    = errors.New("the content does not have the file's sha256")
	ErrNoXorb    = errors.New("a xorb that a file needs was not uploaded")
)

// Why a xorb is not taken now, though nothing is wrong with it.
var (
	ErrUserFull = errors.New("too much of yours waits to become files; finish or abandon an upload, and try again in an hour")
	ErrFull     = errors.New("the server has no place for more uploads; try again later")
)

// invalid are the errors that are the client's fault.
var invalid = []error{
	ErrFormat, ErrTruncated, ErrTooLarge, ErrChunkSize, ErrXorbHash, ErrRange,
	ErrRangeHash, ErrFileHash, ErrNoSHA256, ErrSHA256, ErrNoXorb,
}

// isInvalid says whether err is the fault of what the client sent.
func isInvalid(err error) bool {
	for _, kind := range invalid {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
