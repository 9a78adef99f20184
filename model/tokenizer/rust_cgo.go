//go:build cgo

package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	rust "github.com/daulet/tokenizers"
)

// native encodes and decodes with HuggingFace's Rust library.
type native struct {
	*vocabulary
	cfg    *Config
	lib    *rust.Tokenizer
	closed atomic.Bool
	bytes  bool                 // tokens decode to bytes
	inGo   func() (*bpe, error) // the same tokenizer in Go, or why there is none
}

// loadHF opens a tokenizer.json, read from path.
func loadHF(path string, data []byte, cfg *Config) (Tokenizer, error) {
	f, v, err := parseHF(path, data)
	if err != nil {
		return nil, err
	}
	if data, err = withoutLimits(data, f); err != nil {
		return nil, fmt.Errorf("read tokenizer %s: %w", path, err)
	}
	lib, err := rust.FromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("read tokenizer %s: %w", path, err)
	}
	return &native{
		vocabulary: v, cfg: cfg, lib: lib, bytes: f.Decoder.decodesBytes(),
		inGo: sync.OnceValues(func() (*bpe, error) { return newBPE(f, v, cfg) }),
	}, nil
}

// withoutLimits returns the file with truncation and padding switched off, as transformers does
// unless a caller asks for them: a file's own limit would cut a long text silently.
func withoutLimits(data []byte, f *hfFile) ([]byte, error) {
	isNull := func(m json.RawMessage) bool { return len(m) == 0 || string(m) == "null" }
	if isNull(f.Truncation) && isNull(f.Padding) {
		return data, nil
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return nil, err
	}
	top["truncation"], top["padding"] = json.RawMessage("null"), json.RawMessage("null")
	return json.Marshal(top)
}

func (t *native) Config() *Config { return t.cfg }

func (t *native) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	return t.lib.Close()
}

func (t *native) byteLevel() bool { return t.bytes }

// plainGo gives the same tokenizer in Go, if there is one.
func (t *native) plainGo() (*bpe, bool) {
	own, err := t.inGo()
	return own, err == nil
}

func (t *native) Encode(text string) ([]int32, error) {
	ids, _, err := t.encode(text, true, false)
	return ids, err
}

func (t *native) EncodePlain(text string) ([]int32, error) {
	ids, _, err := t.encode(text, false, false)
	return ids, err
}

func (t *native) EncodeOffsets(text string) ([]int32, [][2]int, error) {
	return t.encode(text, true, true)
}

// longText is the length in bytes of text, and in ids, above which a byte-level BPE is left to the
// Go implementation, which gives the same ids: the library holds some 230 bytes of memory for a
// byte of text and is slower.
const longText = 1 << 16

// encode is Encode and its variants. A text with NUL goes to the Go implementation too: the
// library takes C strings and would stop there.
func (t *native) encode(text string, special, track bool) ([]int32, [][2]int, error) {
	if t.closed.Load() {
		return nil, nil, ErrClosed
	}
	nul := strings.IndexByte(text, 0)
	if nul >= 0 || len(text) > longText {
		own, err := t.inGo()
		if err == nil {
			return own.encode(text, special, track)
		}
		if nul >= 0 {
			return nil, nil, fmt.Errorf("encode: the text holds NUL at byte %d, which this tokenizer cannot take: %w", nul, err)
		}
	}
	if err := checkUTF8(text); err != nil {
		return nil, nil, err
	}
	var options []rust.EncodeOption
	if track {
		options = append(options, rust.WithReturnOffsets())
	}
	enc, err := t.lib.EncodeWithOptionsErr(text, special, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("encode: %w", err)
	}
	return signed(enc.IDs), wholeRunes(text, ranges(enc.Offsets)), nil
}

func (t *native) Decode(ids []int32, skipSpecial bool) (string, error) {
	if t.closed.Load() {
		return "", ErrClosed
	}
	if err := checkIDs(ids); err != nil {
		return "", err
	}
	if t.bytes && len(ids) > longText {
		return t.decodeBytes(ids, skipSpecial)
	}
	text, err := t.lib.DecodeErr(unsigned(ids), skipSpecial)
	switch {
	case err == nil:
		return text, nil
	case t.bytes:
		return t.decodeBytes(ids, skipSpecial) // the text holds NUL, and the library returns C strings
	}
	if text, ok := t.decodeNUL(ids, skipSpecial); ok {
		return text, nil
	}
	return "", fmt.Errorf("decode: %w", err)
}

// decodeNUL decodes ids with "<0x00>" among them: the library returns C strings, which
// cannot hold NUL, so the token of another control character that the text lacks
// stands in for it.
func (t *native) decodeNUL(ids []int32, skipSpecial bool) (string, bool) {
	nul, ok := t.TokenID("<0x00>")
	if !ok {
		return "", false
	}
	rest, err := t.lib.DecodeErr(unsigned(slices.DeleteFunc(slices.Clone(ids), func(id int32) bool { return id == nul })), skipSpecial)
	if err != nil {
		return "", false
	}
	for c := '\x01'; c < ' '; c++ {
		other, ok := t.TokenID(fmt.Sprintf("<0x%02X>", c))
		if !ok || strings.ContainsRune(rest, c) || slices.Contains(ids, other) {
			continue
		}
		changed := slices.Clone(ids)
		for i, id := range changed {
			if id == nul {
				changed[i] = other
			}
		}
		text, err := t.lib.DecodeErr(unsigned(changed), skipSpecial)
		return strings.ReplaceAll(text, string(c), "\x00"), err == nil
	}
	return "", false
}

// signed and unsigned view ids as the other integer type, without a copy: an id is below 2³¹.
func signed(ids []uint32) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(ids))), len(ids))
}

func unsigned(ids []int32) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(ids))), len(ids))
}

// ranges views the library's offsets as pairs of int, which have the same layout.
func ranges(offsets []rust.Offset) [][2]int {
	return unsafe.Slice((*[2]int)(unsafe.Pointer(unsafe.SliceData(offsets))), len(offsets))
}
