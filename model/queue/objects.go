package queue

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// CorruptError says that an object is missing or has other bytes than its name promises.
type CorruptError struct {
	Name    string
	Missing bool
	Detail  string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("object %s of the queue is corrupt: %s", e.Name, e.Detail)
}

// hashOf returns the sha256 that an object's name ends with, or nothing.
func hashOf(name string) string {
	hash := path.Base(name)
	if raw, err := hex.DecodeString(hash); err != nil || len(raw) != sha256.Size || len(name) > 200 {
		return ""
	}
	return hash
}

// NameOf is the name of an object with these bytes in a scope.
func NameOf(scope string, data []byte) string {
	sum := sha256.Sum256(data)
	return scope + "/" + hex.EncodeToString(sum[:])
}

// limit is the time for an object of so many bytes: a slow line takes it at 1 MB/s.
func limit(size int64) time.Duration {
	return 3*replyTime + time.Duration(size)*time.Second>>20
}

// Put stores bytes under a scope and their sha256, unless they are there, and returns the
// name.
func (r *Run) Put(ctx context.Context, scope string, data []byte) (string, error) {
	name := NameOf(scope, data)
	raw := sha256.Sum256(data)
	digest := "SHA-256=" + base64.URLEncoding.EncodeToString(raw[:])
	err := r.try(ctx, "store object "+name, limit(int64(len(data))), func(ctx context.Context) error {
		info, err := r.objects.GetInfo(ctx, name)
		if err == nil && info.Digest == digest && info.Size == uint64(len(data)) {
			return nil
		}
		if err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
			return err
		}
		_, err = r.objects.PutBytes(ctx, name, data)
		return err
	})
	return name, err
}

// Get reads an object of at most so many bytes. Its bytes must have the sha256 of its
// name; if they do not it is read once more, and then it is a [CorruptError].
func (r *Run) Get(ctx context.Context, name string, most int64) ([]byte, error) {
	if hashOf(name) == "" {
		return nil, &CorruptError{name, false, "its name has no sha256"}
	}
	data, err := r.get(ctx, name, most)
	var corrupt *CorruptError
	if errors.As(err, &corrupt) && !corrupt.Missing {
		r.queue.cfg.Logger.Warn("reading a corrupt object once more", "object", name, "detail", corrupt.Detail)
		data, err = r.get(ctx, name, most)
	}
	return data, err
}

func (r *Run) get(ctx context.Context, name string, most int64) (data []byte, err error) {
	err = r.try(ctx, "read object "+name, limit(most), func(ctx context.Context) error {
		object, err := r.objects.Get(ctx, name)
		if errors.Is(err, jetstream.ErrObjectNotFound) || errors.Is(err, jetstream.ErrBadObjectMeta) {
			return &CorruptError{name, true, "it is missing"}
		}
		if err != nil {
			return err
		}
		defer object.Close()
		if info, err := object.Info(); err != nil || info.Size > uint64(most) {
			return errors.Join(err, &CorruptError{name, false, fmt.Sprintf("it has more than %d bytes", most)})
		}
		data, err = io.ReadAll(io.LimitReader(object, most+1))
		if errors.Is(err, jetstream.ErrDigestMismatch) || err == nil && NameOf(path.Dir(name), data) != name {
			return &CorruptError{name, false, "its bytes have another sha256"}
		}
		return err
	})
	return data, err
}

// Drop deletes objects; that of one which is not there is no news.
func (r *Run) Drop(ctx context.Context, names ...string) error {
	for _, name := range names {
		err := r.try(ctx, "delete object "+name, replyTime, func(ctx context.Context) error {
			if err := r.objects.Delete(ctx, name); !errors.Is(err, jetstream.ErrObjectNotFound) {
				return err
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
