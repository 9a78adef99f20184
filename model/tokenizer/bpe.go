package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// bpe is a byte-level BPE tokenizer in Go: what HuggingFace's library does with a tokenizer.json
// whose model is BPE over GPT-2's byte alphabet. It serves programs built without cgo, texts
// that hold NUL (which cannot cross to the Rust library as C strings), and streams.
type bpe struct {
	*vocabulary
	cfg *Config

	byteID       [256]int32          // id of every single byte
	merges       map[[2]int32]merged // what two neighbours become
	ignoreMerges bool                // a piece that is a token is taken whole

	raw, normalized matcher // added tokens, found before and after the normal form is taken
	form            *norm.Form
	prefixSpace     bool // a text that does not begin with a space gets one
	splits          bool // text is split by GPT-2's expression

	before, after []int32 // special tokens around a text
	trim          bool    // offsets leave out the spaces around a token
	trimPrefix    bool    // but keep the one that prefixSpace adds
}

// merged is the outcome of a merge, and its rank: lower ranks go first.
type merged struct{ rank, id int32 }

// newBPE reads f as a byte-level BPE. It returns an error that names the first part of f that it
// does not know, and then only HuggingFace's library can read f.
func newBPE(f *hfFile, v *vocabulary, cfg *Config) (*bpe, error) {
	m := f.Model
	set := func(s *string) bool { return s != nil && *s != "" }
	switch {
	case m.Type != "BPE" && (m.Type != "" || len(m.Merges) == 0):
		return nil, fmt.Errorf("its model is %q, not BPE", m.Type)
	case m.Dropout != nil && *m.Dropout != 0:
		return nil, errors.New("its model has dropout")
	case set(m.ContinuingSubwordPrefix) || set(m.EndOfWordSuffix):
		return nil, errors.New("its model marks parts of words")
	case f.PreTokenizer == nil || f.PreTokenizer.Type != "ByteLevel":
		return nil, errors.New("its pre_tokenizer is not ByteLevel")
	case !f.Decoder.decodesBytes():
		return nil, errors.New("its decoder is not ByteLevel")
	}
	b := &bpe{
		vocabulary: v, cfg: cfg, ignoreMerges: m.IgnoreMerges,
		prefixSpace: f.PreTokenizer.AddPrefixSpace,
		splits:      f.PreTokenizer.UseRegex == nil || *f.PreTokenizer.UseRegex,
	}
	for i := range b.byteID {
		id, ok := v.id[string(byteChar[i])]
		if !ok {
			return nil, fmt.Errorf("its vocabulary lacks byte 0x%02X", i)
		}
		b.byteID[i] = id
	}
	return b, errors.Join(b.setMerges(m.Merges), b.setNormalizer(f), b.setPostProcessor(f.PostProcessor))
}

// setMerges turns pairs of texts into pairs of ids.
func (b *bpe) setMerges(data json.RawMessage) error {
	var pairs []mergePair
	if err := json.Unmarshal(data, &pairs); err != nil {
		return fmt.Errorf("its merges cannot be read: %w", err)
	}
	b.merges = make(map[[2]int32]merged, len(pairs))
	for rank, p := range pairs {
		left, ok1 := b.id[p[0]]
		right, ok2 := b.id[p[1]]
		id, ok3 := b.id[p[0]+p[1]]
		if !ok1 || !ok2 || !ok3 {
			return fmt.Errorf("its merge %d, %q with %q, uses a token that is not in the vocabulary", rank, p[0], p[1])
		}
		b.merges[[2]int32{left, right}] = merged{int32(rank), id}
	}
	return nil
}

// setNormalizer takes over the Unicode form, and sorts the added tokens by when they are found.
func (b *bpe) setNormalizer(f *hfFile) error {
	if f.Normalizer != nil {
		forms := map[string]norm.Form{"NFC": norm.NFC, "NFD": norm.NFD, "NFKC": norm.NFKC, "NFKD": norm.NFKD}
		form, ok := forms[f.Normalizer.Type]
		if !ok {
			return fmt.Errorf("its normalizer is %q", f.Normalizer.Type)
		}
		b.form = &form
	}
	for _, a := range f.AddedTokens {
		switch {
		case a.Content == "":
		case !a.Normalized:
			b.raw.add(a, a.Content)
		case b.form != nil:
			text, _ := normalize(a.Content, *b.form, sinceUnicode9)
			b.normalized.add(a, text)
		default:
			b.normalized.add(a, a.Content)
		}
	}
	return nil
}

// setPostProcessor takes over the special tokens that go around a text.
func (b *bpe) setPostProcessor(p *hfPart) error {
	switch {
	case p == nil:
		return nil
	case p.Type == "ByteLevel":
		b.trim, b.trimPrefix = p.TrimOffsets, p.AddPrefixSpace
		return nil
	case p.Type != "TemplateProcessing":
		return fmt.Errorf("its post_processor is %q", p.Type)
	}
	side := &b.before
	for _, e := range p.Single {
		if e.SpecialToken == nil {
			side = &b.after
			continue
		}
		*side = append(*side, p.SpecialTokens[e.SpecialToken.ID].IDs...)
	}
	return nil
}

func (b *bpe) Config() *Config { return b.cfg }

func (b *bpe) Close() error { return nil }

func (b *bpe) byteLevel() bool { return true }

func (b *bpe) Encode(text string) ([]int32, error) {
	ids, _, err := b.encode(text, true, false)
	return ids, err
}

func (b *bpe) EncodePlain(text string) ([]int32, error) {
	ids, _, err := b.encode(text, false, false)
	return ids, err
}

func (b *bpe) EncodeOffsets(text string) ([]int32, [][2]int, error) {
	return b.encode(text, true, true)
}

func (b *bpe) Decode(ids []int32, skipSpecial bool) (string, error) {
	return b.decodeBytes(ids, skipSpecial)
}

// decodeBytes is Decode where tokens are spelt in the byte alphabet.
func (v *vocabulary) decodeBytes(ids []int32, skipSpecial bool) (string, error) {
	if err := checkIDs(ids); err != nil {
		return "", err
	}
	var raw []byte
	for _, id := range ids {
		if text, ok := v.TokenText(id); ok && !(skipSpecial && v.IsSpecial(id)) {
			raw = appendTokenBytes(raw, text)
		}
	}
	if utf8.Valid(raw) {
		return string(raw), nil
	}
	text, _ := appendLossy(nil, raw, true)
	return string(text), nil
}

// encoder is the state of one call.
type encoder struct {
	*bpe
	ids     []int32
	offsets [][2]int // kept when track is set
	track   bool
	seen    map[string][2]int // pieces that were encoded before, as ranges of ids
	symbols []symbol
	queue   mergeQueue
}

// encode is Encode and its variants.
func (b *bpe) encode(text string, special, track bool) ([]int32, [][2]int, error) {
	if err := checkUTF8(text); err != nil {
		return nil, nil, err
	}
	e := &encoder{bpe: b, track: track, seen: map[string][2]int{}}
	if special {
		e.special(b.before)
	}
	b.raw.each(text, func(lo, hi int, id int32) {
		if id >= 0 {
			e.added(id, text[lo:hi], lo, hi)
			return
		}
		s, back := text[lo:hi], Alignment{}
		if b.form != nil {
			s = back.add(normalize(s, *b.form, sinceUnicode9))
		}
		e.segment(s, lo, back)
	})
	if special {
		e.special(b.after)
	}
	return e.ids, wholeRunes(text, e.offsets), nil
}

// special appends tokens that are not in the text.
func (e *encoder) special(ids []int32) {
	e.ids = append(e.ids, ids...)
	if e.track {
		e.offsets = append(e.offsets, make([][2]int, len(ids))...)
	}
}

// added appends an added token that matched the bytes [lo, hi) of the text.
func (e *encoder) added(id int32, text string, lo, hi int) {
	e.ids = append(e.ids, id)
	if e.track {
		e.offsets = append(e.offsets, e.trimmed(text, lo, hi, len(e.offsets) == 0))
	}
}

// segment encodes a stretch of normalized text that began at byte base of the original.
func (e *encoder) segment(s string, base int, back Alignment) {
	e.normalized.each(s, func(lo, hi int, id int32) {
		if id >= 0 {
			from, to := back.Span(lo, hi)
			e.added(id, s[lo:hi], base+from, base+to)
			return
		}
		part, shift, first := s[lo:hi], lo, lo
		if e.prefixSpace && part[0] != ' ' {
			_, size := utf8.DecodeRuneInString(part)
			part, shift, first = " "+part, lo-1, lo+size // the new space covers the first character
		}
		for at := 0; at < len(part); {
			n := len(part) - at
			if e.splits {
				n = nextPiece(part[at:])
			}
			done := len(e.ids)
			e.piece(part[at : at+n])
			if e.track {
				e.locate(e.ids[done:], part, at, func(from, to int) (int, int) {
					from, to = back.Span(max(from+shift, lo), max(to+shift, first))
					return base + from, base + to
				})
			}
			at += n
		}
	})
}

// locate appends the offsets of ids, the tokens of the piece of part that begins at byte at.
// Tokens that hold part of a character cover all of it.
func (e *encoder) locate(ids []int32, part string, at int, original func(lo, hi int) (int, int)) {
	for _, id := range ids {
		lo := at
		at += utf8.RuneCountInString(e.text[id]) // a byte is one character in the byte alphabet
		hi := at
		for lo > 0 && !utf8.RuneStart(part[lo]) {
			lo--
		}
		for hi < len(part) && !utf8.RuneStart(part[hi]) {
			hi++
		}
		lo, hi = original(lo, hi)
		e.offsets = append(e.offsets, e.trimmed(e.text[id], lo, hi, len(e.offsets) == 0))
	}
}

// trimmed leaves out the white space around a token where the post-processor says so.
func (e *encoder) trimmed(text string, lo, hi int, first bool) [2]int {
	if !e.trim {
		return [2]int{lo, hi}
	}
	lead, trail := spacesAround(text)
	if lead > 0 {
		if (first || lo == 0) && e.trimPrefix && lead == 1 {
			lead = 0
		}
		lo = min(lo+lead, hi)
	}
	if trail > 0 && hi >= trail {
		hi = max(hi-trail, lo)
	}
	return [2]int{lo, hi}
}

// byteChar is GPT-2's alphabet: a visible character for every byte. Bytes that print stand for
// themselves, the others follow from U+0100 on.
var byteChar = func() (chars [256]rune) {
	next := rune(256)
	for i := range chars {
		switch r := rune(i); {
		case r >= '!' && r <= '~', r >= 0xA1 && r <= 0xAC, r >= 0xAE:
			chars[i] = r
		default:
			chars[i] = next
			next++
		}
	}
	return chars
}()

// charByte is the inverse of byteChar.
var charByte = func() map[rune]byte {
	m := make(map[rune]byte, len(byteChar))
	for b, r := range byteChar {
		m[r] = byte(b)
	}
	return m
}()

// byteSpelling spells s in the byte alphabet.
func byteSpelling(s string) string {
	chars := make([]rune, len(s))
	for i := range len(s) {
		chars[i] = byteChar[s[i]]
	}
	return string(chars)
}

// appendTokenBytes appends the bytes that a token stands for: those of the byte alphabet, or the
// token's own when one of its characters is outside the alphabet.
func appendTokenBytes(dst []byte, token string) []byte {
	start := len(dst)
	for _, r := range token {
		b, ok := charByte[r]
		if !ok {
			return append(dst[:start], token...)
		}
		dst = append(dst, b)
	}
	return dst
}
