package tokenizer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	eliben "github.com/eliben/go-sentencepiece"
	"github.com/gomlx/go-huggingface/tokenizers/sentencepiece"
	"google.golang.org/protobuf/encoding/protowire"
)

// sentencePiece is a SentencePiece BPE model. As in SentencePiece itself, special tokens are
// never found in a text, and control tokens decode to nothing.
type sentencePiece struct {
	*vocabulary
	cfg       *Config
	lib       *sentencepiece.Tokenizer
	kinds     []pieceKind // by id
	prefix    bool        // a text gets a leading space
	divisible bool        // no piece reaches over the beginning of a word
}

// pieceKind is sentencepiece.ModelProto.SentencePiece.Type.
type pieceKind uint64

const (
	pieceUnknown pieceKind = 2
	pieceControl pieceKind = 3
	pieceByte    pieceKind = 6
)

// space is how pieces spell a space.
const space = "\u2581"

// loadSentencePiece opens tokenizer.model of dir.
func loadSentencePiece(dir string, cfg *Config) (Tokenizer, error) {
	path := filepath.Join(dir, "tokenizer.model")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no tokenizer: %s holds neither tokenizer.json nor tokenizer.model: %w", dir, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("read tokenizer: %w", err)
	}
	t, err := newSentencePiece(data, cfg)
	if err != nil {
		return nil, fmt.Errorf("read tokenizer %s: %w; transformers converts it to tokenizer.json, which this program reads", path, err)
	}
	return t, nil
}

// newSentencePiece reads the bytes of a tokenizer.model.
func newSentencePiece(data []byte, cfg *Config) (*sentencePiece, error) {
	t := &sentencePiece{cfg: cfg, vocabulary: &vocabulary{id: map[string]int32{}}, prefix: true}
	rest, err := t.readModel(data)
	if err != nil {
		return nil, err
	}
	proc, err := eliben.NewProcessor(bytes.NewReader(rest))
	if err != nil {
		return nil, err
	}
	t.lib = &sentencepiece.Tokenizer{Processor: proc, Info: proc.ModelInfo()}
	for _, name := range []string{cfg.BOSToken, cfg.EOSToken, cfg.PADToken, cfg.UNKToken} {
		if id, ok := t.id[name]; ok {
			t.special[id] = true
		}
	}
	for id, s := range t.special {
		if s {
			t.ids = append(t.ids, int32(id))
		}
	}
	return t, nil
}

// readModel reads the pieces and the normalizer of a sentencepiece.ModelProto. It returns the
// message with the leading space switched off, since the library underneath cannot add it and
// this package does.
func (t *sentencePiece) readModel(data []byte) (rest []byte, err error) {
	t.divisible = true
	err = eachField(data, func(num protowire.Number, raw, value []byte, _ uint64) error {
		switch num {
		case 1:
			rest = append(rest, raw...)
			return t.addPiece(value)
		case 3:
			return t.readNormalizer(value)
		}
		rest = append(rest, raw...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var off []byte
	for _, num := range []protowire.Number{3, 4} { // add_dummy_prefix, remove_extra_whitespaces
		off = protowire.AppendTag(off, num, protowire.VarintType)
		off = protowire.AppendVarint(off, 0)
	}
	rest = protowire.AppendTag(rest, 3, protowire.BytesType)
	return protowire.AppendBytes(rest, off), nil
}

// addPiece reads a ModelProto.SentencePiece.
func (t *sentencePiece) addPiece(data []byte) error {
	text, kind := "", pieceKind(1)
	err := eachField(data, func(num protowire.Number, _, value []byte, v uint64) error {
		switch num {
		case 1:
			text = string(value)
		case 3:
			kind = pieceKind(v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	id := int32(len(t.text))
	if err := t.set(id, text); err != nil {
		return err
	}
	t.id[text] = id
	t.kinds = append(t.kinds, kind)
	t.special[id] = kind == pieceControl || kind == pieceUnknown
	if i := strings.LastIndex(text, space); i > 0 && strings.Trim(text[:i], space) != "" {
		t.divisible = false
	}
	return nil
}

// readNormalizer reads a NormalizerSpec and refuses what would go unnoticed.
func (t *sentencePiece) readNormalizer(data []byte) error {
	trims, escapes, mapped := true, true, false
	err := eachField(data, func(num protowire.Number, _, value []byte, v uint64) error {
		switch num {
		case 2:
			mapped = len(value) > 0
		case 3:
			t.prefix = v != 0
		case 4:
			trims = v != 0
		case 5:
			escapes = v != 0
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case mapped:
		return errors.New("its normalizer rewrites characters")
	case trims:
		return errors.New("its normalizer removes extra white space")
	case !escapes:
		return errors.New("its normalizer does not mark spaces")
	}
	return nil
}

// eachField calls f for every field of a protocol buffer message: its number, all its bytes, and
// its value as bytes or as an integer, whichever it is.
func eachField(data []byte, f func(num protowire.Number, raw, value []byte, v uint64) error) error {
	for len(data) > 0 {
		num, kind, tag := protowire.ConsumeTag(data)
		if tag < 0 {
			return errors.New("it is not a SentencePiece model")
		}
		n := protowire.ConsumeFieldValue(num, kind, data[tag:])
		if n < 0 {
			return errors.New("it is cut short or not a SentencePiece model")
		}
		var value []byte
		var v uint64
		switch kind {
		case protowire.BytesType:
			value, _ = protowire.ConsumeBytes(data[tag:])
		case protowire.VarintType:
			v, _ = protowire.ConsumeVarint(data[tag:])
		}
		if err := f(num, data[:tag+n], value, v); err != nil {
			return err
		}
		data = data[tag+n:]
	}
	return nil
}

func (t *sentencePiece) Config() *Config { return t.cfg }

func (t *sentencePiece) Close() error { return nil }

func (t *sentencePiece) Encode(text string) ([]int32, error) {
	ids, _, err := t.EncodeOffsets(text)
	return ids, err
}

func (t *sentencePiece) EncodeOffsets(text string) ([]int32, [][2]int, error) {
	ids, offsets, err := t.encode(text)
	if err != nil {
		return nil, nil, err
	}
	if bos, ok := t.id[t.cfg.BOSToken]; ok && t.cfg.AddBOSToken {
		ids, offsets = append([]int32{bos}, ids...), append([][2]int{{}}, offsets...)
	}
	if eos, ok := t.id[t.cfg.EOSToken]; ok && t.cfg.AddEOSToken {
		ids, offsets = append(ids, eos), append(offsets, [2]int{})
	}
	return ids, offsets, nil
}

func (t *sentencePiece) EncodePlain(text string) ([]int32, error) {
	ids, _, err := t.encode(text)
	return ids, err
}

// encode returns the ids of text and the bytes that they cover.
func (t *sentencePiece) encode(text string) (ids []int32, offsets [][2]int, err error) {
	if err := checkUTF8(text); err != nil || text == "" {
		return nil, nil, err
	}
	s, shift := text, 0
	if t.prefix {
		s, shift = " "+text, 1
	}
	for at := 0; at < len(s); {
		part := s[at:][:t.wordEnd(s[at:])]
		from := at
		for _, tok := range t.lib.Processor.Encode(part) {
			if t.kinds[tok.ID] == pieceByte {
				at++
			} else {
				at += spelledLen(tok.Text, s[at:])
			}
			ids = append(ids, int32(tok.ID))
			offsets = append(offsets, widened(s, from, at, shift))
			from = at
		}
	}
	return ids, offsets, nil
}

// partBytes is the length that encode cuts a long text to, since the library holds some 100
// bytes of memory for every character.
const partBytes = 1 << 16

// wordEnd returns how much of s to encode in one go: s up to the first word that begins after
// partBytes. No piece reaches over that place, so the ids stay the same.
func (t *sentencePiece) wordEnd(s string) int {
	if !t.divisible {
		return len(s)
	}
	for i := partBytes; i < len(s); i++ {
		if s[i] == ' ' && s[i-1] != ' ' && !strings.HasSuffix(s[:i], space) {
			return i
		}
	}
	return len(s)
}

// spelledLen returns how many bytes at the beginning of s a piece spells.
func spelledLen(piece, s string) int {
	n := 0
	for _, r := range piece {
		if r == '\u2581' && s[n] == ' ' {
			n++
		} else {
			n += utf8.RuneLen(r)
		}
	}
	return n
}

// widened widens the range [lo, hi) of s to whole characters and moves it back by shift.
func widened(s string, lo, hi, shift int) [2]int {
	for lo > 0 && !utf8.RuneStart(s[lo]) {
		lo--
	}
	for hi < len(s) && !utf8.RuneStart(s[hi]) {
		hi++
	}
	return [2]int{max(lo-shift, 0), max(hi-shift, 0)}
}

func (t *sentencePiece) Decode(ids []int32, skipSpecial bool) (string, error) {
	if err := checkIDs(ids); err != nil {
		return "", err
	}
	var kept []int
	first := "" // the first token that has text
	for _, id := range ids {
		token, ok := t.TokenText(id)
		if !ok || skipSpecial && t.IsSpecial(id) {
			continue
		}
		kept = append(kept, int(id))
		if first == "" && t.kinds[id] != pieceControl {
			first = token
		}
	}
	text := t.lib.Decode(kept)
	if t.prefix && strings.HasPrefix(first, space) {
		text = strings.TrimPrefix(text, " ")
	}
	return text, nil
}
