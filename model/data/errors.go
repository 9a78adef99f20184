package data

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that errors.Is finds in what this package returns.
var (
	// ErrExists says that the folder to write is there already.
	ErrExists = errors.New("the folder exists")
	// ErrEmptyDomain says that a domain has nothing to train on.
	ErrEmptyDomain = errors.New("the domain has no documents")
	// ErrDuplicateID says that two documents of a domain have the same id.
	ErrDuplicateID = errors.New("the document id occurs twice")
	// ErrTooLong says that a document is longer than PrepareConfig.MaxDocument.
	ErrTooLong = errors.New("the document is too long")
	// ErrConfig says that a configuration is not valid, or does not fit the data.
	ErrConfig = errors.New("wrong configuration")
	// ErrPosition says that a position is not one of this loader's data and settings.
	ErrPosition = errors.New("the position does not fit")

	// ErrTruncated, ErrChecksum and ErrFormat are what a [ShardError] wraps.
	ErrTruncated = errors.New("the file is truncated")
	ErrChecksum  = errors.New("the checksum differs")
	ErrFormat    = errors.New("the file is not a valid shard")
)

// ShardError is a shard that cannot be used.
type ShardError struct {
	File   string
	Err    error  // ErrTruncated, ErrChecksum, ErrFormat, or an error of the system
	Detail string // what exactly; may be empty
}

func (e *ShardError) Error() string {
	message := fmt.Sprintf("read shard %s: %v", e.File, e.Err)
	if e.Detail != "" {
		message += ": " + e.Detail
	}
	return message + "; copy the file again or prepare the data again"
}

// Unwrap returns Err.
func (e *ShardError) Unwrap() error { return e.Err }

// configError is an error that wraps ErrConfig and shows the message alone.
type configError struct{ message string }

func (e configError) Error() string   { return e.message }
func (e configError) Is(t error) bool { return t == ErrConfig }

func wrongConfig(format string, args ...any) error {
	return configError{fmt.Sprintf(format, args...)}
}

// faultList is several errors in one sentence.
type faultList []error

func (l faultList) Error() string {
	messages := make([]string, len(l))
	for i, err := range l {
		messages[i] = err.Error()
	}
	return strings.Join(messages, "; ")
}

func (l faultList) Unwrap() []error { return l }
