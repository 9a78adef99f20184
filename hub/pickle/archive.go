package pickle

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const maxPickle = 16 << 20 // bytes of data.pkl

// archive is the checked contents of a file: the pickle and where storages lie.
type archive struct {
	pickle   []byte
	storages map[string]extent // by key, the name behind "data/"
	dataSize int64             // bytes of all storages
}

// readArchive checks the entries of a zip file of size bytes and reads its pickle.
func readArchive(src io.ReaderAt, size int64) (*archive, error) {
	if err := sniff(src, size); err != nil {
		return nil, err
	}
	z, err := zip.NewReader(src, size)
	if err != nil {
		return nil, fault(ErrArchive, "%v", err)
	}
	entries, err := extents(z, size)
	if err != nil {
		return nil, err
	}
	root, err := findRoot(entries)
	if err != nil {
		return nil, err
	}
	if order, ok := entries[root+"byteorder"]; ok {
		text, err := readEntry(src, order, 16)
		if err != nil {
			return nil, err
		}
		if string(text) != "little" {
			return nil, fault(ErrByteOrder, "%q", text)
		}
	}
	a := &archive{storages: map[string]extent{}}
	for name, e := range entries {
		if key, ok := strings.CutPrefix(name, root+"data/"); ok {
			a.storages[key] = e
			a.dataSize += e.size
		}
	}
	if e := entries[root+"data.pkl"]; e.size > maxPickle {
		return nil, fault(ErrPickleSize, "%d bytes", e.size)
	}
	a.pickle, err = readEntry(src, entries[root+"data.pkl"], maxPickle)
	return a, err
}

// sniff tells the forms of file apart by their first bytes.
func sniff(src io.ReaderAt, size int64) error {
	head := make([]byte, min(size, 512))
	if _, err := io.ReadFull(io.NewSectionReader(src, 0, size), head); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	switch {
	case bytes.HasPrefix(head, []byte("PK")):
		return nil
	case bytes.HasPrefix(head, []byte("\x80\x02\x8a\x0a")), len(head) > 262 && string(head[257:262]) == "ustar":
		return fault(ErrLegacy, "")
	}
	return fault(ErrNotArchive, "")
}

// extents returns where each entry's bytes lie: stored as they are, inside the file,
// under names of their own and without sharing.
func extents(z *zip.Reader, size int64) (map[string]extent, error) {
	entries := make(map[string]extent, len(z.File))
	order := make([]extent, 0, len(z.File))
	for _, f := range z.File {
		if f.Method != zip.Store || f.CompressedSize64 != f.UncompressedSize64 || f.Flags&1 != 0 {
			return nil, fault(ErrCompressed, "%s", f.Name)
		}
		start, err := f.DataOffset()
		if err != nil {
			return nil, fault(ErrArchive, "%s: %v", f.Name, err)
		}
		if start < 0 || start > size || f.UncompressedSize64 > uint64(size-start) {
			return nil, fault(ErrArchive, "%s reaches beyond the end of the file", f.Name)
		}
		if _, ok := entries[f.Name]; ok {
			return nil, fault(ErrLayout, "%s is there twice", f.Name)
		}
		e := extent{start, int64(f.UncompressedSize64)}
		entries[f.Name] = e
		if e.size > 0 {
			order = append(order, e)
		}
	}
	slices.SortFunc(order, func(a, b extent) int { return cmp.Compare(a.start, b.start) })
	for i := 1; i < len(order); i++ {
		if before := order[i-1]; before.start+before.size > order[i].start {
			return nil, fault(ErrOverlap, "at byte %d", order[i].start)
		}
	}
	return entries, nil
}

// findRoot returns the folder that torch.save put everything in, with its slash.
func findRoot(entries map[string]extent) (string, error) {
	var root string
	for name := range entries {
		dir, ok := strings.CutSuffix(name, "/data.pkl")
		if !ok || strings.Contains(dir, "/") {
			continue
		}
		if root != "" {
			return "", fault(ErrLayout, "more than one data.pkl")
		}
		root = dir + "/"
	}
	if root == "" {
		return "", fault(ErrLayout, "no data.pkl")
	}
	return root, nil
}

// readEntry reads an entry of at most limit bytes.
func readEntry(src io.ReaderAt, e extent, limit int64) ([]byte, error) {
	b := make([]byte, min(e.size, limit))
	if _, err := io.ReadFull(io.NewSectionReader(src, e.start, e.size), b); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return b, nil
}

// tensors runs the pickle and returns the state dict's tensors by name.
func (a *archive) tensors() (map[string]*layout, error) {
	v, err := run(a.pickle, a.storages)
	if err != nil {
		return nil, err
	}
	d, ok := v.(*dict)
	if !ok {
		return nil, fault(ErrNoStateDict, "")
	}
	tensors := make(map[string]*layout, len(d.keys))
	var total float64
	for i, key := range d.keys {
		name, ok := key.(string)
		if !ok {
			return nil, fault(ErrNoStateDict, "a key is no text")
		}
		l, ok := d.values[i].(*layout)
		if !ok {
			return nil, &Error{Tensor: name, Err: ErrNoStateDict, Detail: "not a tensor"}
		}
		if _, ok := tensors[name]; ok {
			return nil, &Error{Tensor: name, Err: ErrNoStateDict, Detail: "the name is there twice"}
		}
		tensors[name] = l
		total += float64(l.elements * l.dtype.Size())
	}
	if total > maxSharing*float64(a.dataSize) {
		return nil, fault(ErrAmplified, "%.0f bytes of tensors from %d", total, a.dataSize)
	}
	return tensors, nil
}

// maxSharing is how many times over tensors may use the bytes of the file; tied
// weights use some twice.
const maxSharing = 64

// inFile adds the path to a fault.
func inFile(path string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		e.Path = path
		return e
	}
	return fmt.Errorf("open PyTorch file %s: %w", path, err)
}
