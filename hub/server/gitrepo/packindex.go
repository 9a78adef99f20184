package gitrepo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// PushLimits bounds what a push may bring. A pack of a few megabytes can unfold to
// terabytes, so its own length says little. The zero value of a field stands for
// its default.
type PushLimits struct {
	Pack    int64 // bytes of the pack; default 2 GiB
	Object  int64 // bytes of one object, and of all deltas on the way to it; default 64 MiB
	Total   int64 // bytes of all objects and deltas; default 16 GiB
	Objects int   // how many there are; default a million
}

// maxNote is the size in bytes of the largest commit or tag that is taken. These
// are read as a whole whenever history is looked at.
const maxNote = 1 << 20

// maxChain is the length of the longest chain of deltas, as in git.
const maxChain = 4095

func (l PushLimits) orDefaults() PushLimits {
	def := func(value *int64, otherwise int64) {
		if *value == 0 {
			*value = otherwise
		}
	}
	def(&l.Pack, 2<<30)
	def(&l.Object, maxTree)
	def(&l.Total, 16<<30)
	if l.Objects == 0 {
		l.Objects = 1_000_000
	}
	return l
}

// indexer finds the ids of a pack's objects. It inflates every object as a stream
// and keeps the bases of deltas in a scratch file, so that its memory does not
// depend on what the pack unfolds to.
type indexer struct {
	scan    *packfile.Scanner
	scratch *os.File
	limits  PushLimits
	left    int64 // of limits.Total
	objects []packedObject
	after   map[int64][]int32 // deltas by the offset of their base
	onto    map[Hash][]int32  // deltas by the id of their base
	buf     []byte
}

// packedObject is an object of a pack. Its id is zero until it is known.
type packedObject struct {
	offset int64
	size   int64 // as it stands in the pack: of a delta, the delta's
	kind   plumbing.ObjectType
	crc    uint32
	id     Hash
}

// indexPack reads a pack of length bytes and gives its index. scratch is an empty
// file. Errors about the pack wrap ErrPush.
func indexPack(pack io.ReadSeeker, length int64, scratch *os.File, limits PushLimits) (Hash, *idxfile.Writer, error) {
	x := &indexer{scan: packfile.NewScanner(pack), scratch: scratch, limits: limits, left: limits.Total,
		after: map[int64][]int32{}, onto: map[Hash][]int32{}, buf: make([]byte, 32<<10)}
	if err := x.list(); err != nil {
		return Hash{}, nil, err
	}
	sum, err := x.scan.Checksum()
	if err != nil {
		return Hash{}, nil, damaged("%w", err)
	}
	if end, err := x.scan.SeekFromStart(0); err != nil || end != length {
		return Hash{}, nil, damaged("bytes follow its end")
	}
	for i := range x.objects {
		if o := &x.objects[i]; !o.kind.IsDelta() {
			if err := x.unfold(int32(i)); err != nil {
				return Hash{}, nil, err
			}
		}
	}
	index := &idxfile.Writer{}
	for _, o := range x.objects {
		if o.id.IsZero() {
			return Hash{}, nil, damaged("the base of the delta at byte %d is not in it", o.offset)
		}
		index.Add(o.id, uint64(o.offset), o.crc)
	}
	return sum, index, index.OnFooter(sum)
}

// damaged is an error about a pack that is none.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: its pack is damaged: %w", ErrPush, fmt.Errorf(format, args...))
}

// list reads all objects once. Afterwards the ids of those that are no deltas are
// known, and what is a delta of what.
func (x *indexer) list() error {
	_, count, err := x.scan.Header()
	if err != nil {
		return damaged("%w", err)
	}
	if int64(count) > int64(x.limits.Objects) {
		return fmt.Errorf("%w: %d objects are more than the %d of one push; push older commits first", ErrPush, count, x.limits.Objects)
	}
	for range count {
		h, err := x.scan.NextObjectHeader()
		if err != nil {
			return damaged("%w", err)
		}
		o := packedObject{offset: h.Offset, size: h.Length, kind: h.Type}
		if err := x.allow(h.Type, h.Length); err != nil {
			return err
		}
		hasher := plumbing.NewHasher(h.Type, h.Length) // of a delta: for nothing
		switch at := int32(len(x.objects)); h.Type {
		case plumbing.OFSDeltaObject:
			x.after[h.OffsetReference] = append(x.after[h.OffsetReference], at)
		case plumbing.REFDeltaObject:
			x.onto[h.Reference] = append(x.onto[h.Reference], at)
		}
		n, crc, err := x.scan.NextObject(hasher)
		if err != nil {
			return damaged("the object at byte %d: %w", h.Offset, err)
		}
		if n != h.Length {
			return damaged("the object at byte %d has %d bytes, not %d", h.Offset, n, h.Length)
		}
		if o.crc = crc; !h.Type.IsDelta() {
			o.id = hasher.Sum()
		}
		x.objects = append(x.objects, o)
	}
	return nil
}

// allow counts an object, or a delta, before it is inflated.
func (x *indexer) allow(kind plumbing.ObjectType, size int64) error {
	most := x.limits.Object
	switch kind {
	case plumbing.CommitObject, plumbing.TagObject:
		most = min(most, maxNote)
	case plumbing.TreeObject, plumbing.BlobObject, plumbing.OFSDeltaObject, plumbing.REFDeltaObject:
	default:
		return damaged("there is no kind %d of objects", kind)
	}
	if size < 0 || size > most {
		return fmt.Errorf("%w: a %s of %d bytes is larger than the %d taken; large files belong into git-lfs", ErrPush, kind, size, most)
	}
	return x.spend(size)
}

func (x *indexer) spend(n int64) error {
	if x.left -= n; x.left < 0 {
		return fmt.Errorf("%w: its pack unfolds to more than %d bytes; push older commits first", ErrPush, x.limits.Total)
	}
	return nil
}

// base is an object in the scratch file whose deltas are being applied.
type base struct {
	at, size int64   // where its bytes are
	deltas   int64   // bytes of the deltas that made it
	todo     []int32 // its own deltas
}

func (x *indexer) deltasOf(i int32) []int32 {
	o := &x.objects[i]
	return append(x.after[o.offset], x.onto[o.id]...)
}

// unfold finds the ids of all objects that are made from one by deltas. The
// scratch file holds the object and those on the way to the one at hand.
func (x *indexer) unfold(i int32) error {
	root := &x.objects[i]
	todo := x.deltasOf(i)
	if len(todo) == 0 {
		return nil
	}
	if _, err := x.scan.SeekObjectHeader(root.offset); err != nil {
		return damaged("%w", err)
	}
	out := bufio.NewWriter(io.NewOffsetWriter(x.scratch, 0))
	if _, _, err := x.scan.NextObject(out); err != nil {
		return fmt.Errorf("read pack back: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("unfold pack: %w", err)
	}
	stack := []base{{size: root.size, todo: todo}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if len(top.todo) == 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		child := top.todo[0]
		top.todo = top.todo[1:]
		o := &x.objects[child]
		if !o.id.IsZero() {
			continue // its base is in the pack twice
		}
		deltas := top.deltas + o.size
		if deltas > x.limits.Object || len(stack) > maxChain {
			return fmt.Errorf("%w: its pack has a chain of deltas longer than %d bytes or %d links; pack it again (git repack -adf)", ErrPush, x.limits.Object, maxChain)
		}
		size, err := x.apply(o, root.kind, top)
		if err != nil {
			return err
		}
		if todo := x.deltasOf(child); len(todo) > 0 {
			stack = append(stack, base{top.at + top.size, size, deltas, todo})
		}
	}
	return nil
}

// apply makes the object of a delta behind its base in the scratch file, and gives
// its size.
func (x *indexer) apply(o *packedObject, kind plumbing.ObjectType, from *base) (size int64, err error) {
	if _, err := x.scan.SeekObjectHeader(o.offset); err != nil {
		return 0, damaged("%w", err)
	}
	in, err := x.scan.ReadObject()
	if err != nil {
		return 0, damaged("%w", err)
	}
	defer in.Close()
	delta := bufio.NewReader(in)
	source, err := deltaSize(delta)
	if err == nil {
		size, err = deltaSize(delta)
	}
	if err == nil && source != from.size {
		err = fmt.Errorf("it is for a base of %d bytes, not of %d", source, from.size)
	}
	if err != nil {
		return 0, damaged("the delta at byte %d: %w", o.offset, err)
	}
	if err := x.allow(kind, size); err != nil {
		return 0, err
	}
	hasher := plumbing.NewHasher(kind, size)
	out := bufio.NewWriter(io.NewOffsetWriter(x.scratch, from.at+from.size))
	if err := x.patch(io.MultiWriter(out, hasher), delta, io.NewSectionReader(x.scratch, from.at, from.size), size); err != nil {
		if errors.Is(err, ErrPush) {
			return 0, err
		}
		return 0, damaged("the delta at byte %d: %w", o.offset, err)
	}
	if err := out.Flush(); err != nil {
		return 0, fmt.Errorf("unfold pack: %w", err)
	}
	o.id = hasher.Sum()
	return size, nil
}

// deltaSize reads a number at the head of a delta: seven bits a byte, the lowest first.
func deltaSize(in io.ByteReader) (n int64, err error) {
	for shift := 0; shift < 56; shift += 7 {
		b, err := in.ReadByte()
		if err != nil {
			return 0, fmt.Errorf("it breaks off: %w", err)
		}
		n |= int64(b&0x7f) << shift
		if b&0x80 == 0 {
			return n, nil
		}
	}
	return 0, errors.New("a size of more than eight bytes")
}

// copyCost is what a copy from the base counts beside its bytes: it is a read of
// the scratch file, and a delta may ask for millions of one byte each.
const copyCost = 1 << 10

// patch follows the commands of a delta: each copies from the base or from the
// delta itself. Together they must make size bytes.
func (x *indexer) patch(out io.Writer, delta *bufio.Reader, from *io.SectionReader, size int64) error {
	for {
		command, err := delta.ReadByte()
		if errors.Is(err, io.EOF) && size == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it breaks off: %w", err)
		}
		var src io.Reader = delta
		n := int64(command)
		if command&0x80 != 0 {
			at, length, err := copyCommand(command, delta)
			if err == nil {
				err = x.spend(copyCost)
			}
			if err != nil {
				return err
			}
			src, n = io.NewSectionReader(from, at, length), length
		}
		if n == 0 || n > size {
			return fmt.Errorf("a command for %d bytes where %d are left", n, size)
		}
		got, err := io.CopyBuffer(struct{ io.Writer }{out}, io.LimitReader(src, n), x.buf)
		if err != nil {
			return fmt.Errorf("copy %d bytes: %w", n, err)
		}
		if got != n {
			return fmt.Errorf("%d bytes to copy, %d are there", n, got)
		}
		size -= n
	}
}

// copyCommand reads offset and length of a copy from the base: the bits of the
// command say which of their bytes follow.
func copyCommand(command byte, in io.ByteReader) (at, length int64, err error) {
	for bit := range 7 {
		if command&(1<<bit) == 0 {
			continue
		}
		b, err := in.ReadByte()
		if err != nil {
			return 0, 0, fmt.Errorf("it breaks off: %w", err)
		}
		if bit < 4 {
			at |= int64(b) << (8 * bit)
		} else {
			length |= int64(b) << (8 * (bit - 4))
		}
	}
	if length == 0 {
		length = 0x10000
	}
	return at, length, nil
}
