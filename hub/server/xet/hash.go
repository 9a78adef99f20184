package xet

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"

	"lukechampine.com/blake3"
)

// Hash is a 32-byte hash of the protocol.
type Hash [32]byte

// Keys of the keyed BLAKE3 hashes (specification, hashing.md).
var (
	chunkKey = Hash{102, 151, 245, 119, 91, 149, 80, 222, 49, 53, 203, 172, 165, 151, 24, 28,
		157, 228, 33, 16, 155, 235, 43, 88, 180, 208, 176, 75, 147, 173, 242, 41}
	nodeKey = Hash{1, 126, 197, 199, 165, 71, 41, 150, 253, 148, 102, 102, 180, 138, 2, 230,
		93, 221, 83, 111, 55, 199, 109, 210, 248, 99, 82, 230, 74, 83, 113, 63}
	rangeKey = Hash{127, 24, 87, 214, 206, 86, 237, 102, 18, 127, 249, 19, 231, 165, 195, 243,
		164, 205, 38, 213, 181, 219, 73, 230, 65, 36, 152, 127, 40, 251, 148, 195}
	fileKey Hash // all zero
)

// String is the text form: each group of 8 bytes as a little-endian number in 16
// hexadecimal digits. A sha256 stored as a Hash gives its usual text this way.
func (h Hash) String() string {
	swapped := h.swap()
	return hex.EncodeToString(swapped[:])
}

// ParseHash reads the text form: 64 lower-case hexadecimal digits.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != 2*len(h) {
		return Hash{}, fmt.Errorf("parse hash: %d characters, want %d", len(s), 2*len(h))
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return Hash{}, fmt.Errorf("parse hash: character %q is not a lower-case hexadecimal digit", c)
		}
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("parse hash: %w", err)
	}
	return h.swap(), nil
}

// swap reverses the bytes of each group of 8.
func (h Hash) swap() Hash {
	var out Hash
	for i := 0; i < len(h); i += 8 {
		binary.BigEndian.PutUint64(out[i:], binary.LittleEndian.Uint64(h[i:]))
	}
	return out
}

// Chunk is the hash and the size in bytes of one chunk.
type Chunk struct {
	Hash Hash
	Size uint32
}

// ChunkHash is the hash of a chunk's bytes, as they are before compression.
func ChunkHash(data []byte) Hash { return keyed(chunkKey, data) }

// XorbHash is the hash of a xorb with these chunks.
func XorbHash(chunks []Chunk) Hash {
	var t tree
	for _, c := range chunks {
		t.add(c.Hash, uint64(c.Size))
	}
	return t.root()
}

// FileHash is the hash of a file with these chunks. An empty file has the zero
// hash.
func FileHash(chunks []Chunk) Hash {
	var t tree
	for _, c := range chunks {
		t.add(c.Hash, uint64(c.Size))
	}
	return t.file()
}

// RangeHash is the hash by which a client proves that it knows the chunks of a
// term.
func RangeHash(chunks []Chunk) Hash {
	h := blake3.New(len(Hash{}), rangeKey[:])
	for _, c := range chunks {
		h.Write(c.Hash[:]) // never fails
	}
	var out Hash
	h.Sum(out[:0])
	return out
}

func keyed(key Hash, data []byte) Hash {
	h := blake3.New(len(key), key[:])
	h.Write(data) // never fails
	var out Hash
	h.Sum(out[:0])
	return out
}

// A group of a tree has 2 to 9 nodes: it ends after a node whose hash is
// divisible by 4, but the first two never end it.
const (
	groupMin = 3
	groupMax = 9
)

// node is one node of a tree: the hash and the bytes below it.
type node struct {
	hash Hash
	size uint64
}

// level is one height of a tree: the nodes of the group that is still open, and
// whether a group was closed before.
type level struct {
	open   []node
	closed bool
}

// tree hashes a run of chunks of any length with a few nodes in memory. Its zero
// value is an empty tree.
type tree struct{ levels []level }

// add appends a chunk.
func (t *tree) add(h Hash, size uint64) { t.push(0, node{h, size}) }

func (t *tree) push(height int, n node) {
	if height == len(t.levels) {
		t.levels = append(t.levels, level{})
	}
	l := &t.levels[height]
	l.open = append(l.open, n)
	count := len(l.open)
	if count == groupMax || count >= groupMin && n.hash[24]%4 == 0 {
		t.closeGroup(height)
	}
}

// closeGroup makes one node of the open group and gives it to the next level.
func (t *tree) closeGroup(height int) {
	l := &t.levels[height]
	parent := merge(l.open)
	l.open, l.closed = l.open[:0], true
	t.push(height+1, parent)
}

// root ends the tree and gives the hash of its root.
func (t *tree) root() Hash {
	for height := 0; height < len(t.levels); height++ {
		l := &t.levels[height]
		if !l.closed && len(l.open) == 1 {
			return l.open[0].hash
		}
		if len(l.open) > 0 {
			t.closeGroup(height)
		}
	}
	return Hash{}
}

// file ends the tree and gives the hash of a file with its chunks.
func (t *tree) file() Hash {
	if len(t.levels) == 0 {
		return Hash{}
	}
	root := t.root()
	return keyed(fileKey, root[:])
}

// merge is the node above nodes: the hash of one line of text for each.
func merge(nodes []node) node {
	var size uint64
	text := make([]byte, 0, groupMax*96)
	for _, n := range nodes {
		size += n.size
		text = append(text, n.hash.String()...)
		text = append(text, " : "...)
		text = strconv.AppendUint(text, n.size, 10)
		text = append(text, '\n')
	}
	return node{keyed(nodeKey, text), size}
}
