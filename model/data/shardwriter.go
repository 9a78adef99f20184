package data

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// shardWriter writes one shard, document by document. Memory grows by 16 bytes a document.
type shardWriter struct {
	file  *os.File
	out   *bufio.Writer // to file and sum
	sum   hash.Hash
	head  header
	index []byte
	buf   []byte
}

// createShard begins a file that must not exist.
func createShard(path string, vocab int) (*shardWriter, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("create shard: %w", err)
	}
	w := &shardWriter{file: f, sum: sha256.New(), head: header{width: widthFor(vocab), vocab: vocab}}
	w.out = bufio.NewWriterSize(io.MultiWriter(f, w.sum), 64<<10)
	if _, err := f.Write(make([]byte, headerSize)); err != nil {
		return nil, errors.Join(fmt.Errorf("write shard: %w", err), f.Close())
	}
	return w, nil
}

// add appends a document of a text with so many bytes.
func (w *shardWriter) add(ids []int32, bytes int64) error {
	w.buf = w.buf[:0]
	for _, id := range ids {
		if id < 0 || int64(id) >= int64(w.head.vocab) {
			return fmt.Errorf("write shard: id %d is outside of the vocabulary of %d", id, w.head.vocab)
		}
		if w.head.width == 2 {
			w.buf = binary.LittleEndian.AppendUint16(w.buf, uint16(id))
		} else {
			w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(id))
		}
	}
	if _, err := w.out.Write(w.buf); err != nil {
		return fmt.Errorf("write shard: %w", err)
	}
	w.head.tokens += int64(len(ids))
	w.head.documents++
	w.head.len += bytes
	w.index = binary.LittleEndian.AppendUint64(w.index, uint64(w.head.tokens))
	w.index = binary.LittleEndian.AppendUint64(w.index, uint64(bytes))
	return nil
}

// finish writes index and header, puts the file on the disk and closes it. It returns the
// checksum in hex.
func (w *shardWriter) finish() (sum string, err error) {
	padding := w.head.indexAt() - headerSize - w.head.tokens*int64(w.head.width)
	w.out.Write(make([]byte, padding)) // bufio keeps the first error for Flush
	w.out.Write(w.index)
	err = w.out.Flush()
	if err == nil {
		w.sum.Write(w.head.encode()[:summedHeader])
		w.sum.Sum(w.head.sum[:0])
		_, err = w.file.WriteAt(w.head.encode(), 0)
	}
	if err == nil {
		err = w.file.Sync()
	}
	if err := errors.Join(err, w.file.Close()); err != nil {
		return "", fmt.Errorf("write shard: %w", err)
	}
	return hex.EncodeToString(w.head.sum[:]), nil
}

// abandon closes the file of a writer that is not to be finished.
func (w *shardWriter) abandon() { w.file.Close() }
