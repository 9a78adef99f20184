package tokenizer

import (
	"fmt"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Form names a Unicode normal form (Unicode Standard Annex 15). The empty Form changes nothing.
type Form string

// The normal forms that Preprocess knows: NFC composes, NFKC also unifies look-alikes such as
// full-width letters and ligatures.
const (
	NFC  Form = "NFC"
	NFKC Form = "NFKC"
)

// Preprocess cleans text before it is encoded. The zero value changes nothing, which is right
// for every model that was trained without cleaning; a model trained with it says so under
// "mes_preprocess" in its tokenizer_config.json, and Load then applies it.
type Preprocess struct {
	// Form is the Unicode normal form that the text is brought to.
	Form Form `json:"form,omitempty"`
	// StripControl removes control characters (Unicode category Cc) except tab, line feed and
	// carriage return.
	StripControl bool `json:"strip_control,omitempty"`
	// CollapseWhitespace replaces every run of white space by one line feed when it holds a line
	// feed, else by one space.
	CollapseWhitespace bool `json:"collapse_whitespace,omitempty"`
}

// Apply returns text cleaned, and where its bytes came from. Control characters go first, then
// the normal form is taken, then white space is collapsed. The text must be UTF-8.
func (p Preprocess) Apply(text string) (clean string, back Alignment) {
	if p.StripControl {
		text = back.add(stripControl(text))
	}
	switch p.Form {
	case NFC:
		text = back.add(normalize(text, norm.NFC, nil))
	case NFKC:
		text = back.add(normalize(text, norm.NFKC, nil))
	}
	if p.CollapseWhitespace {
		text = back.add(collapseWhitespace(text))
	}
	return text, back
}

// validate returns an error for a form that Apply does not know.
func (p Preprocess) validate() error {
	switch p.Form {
	case "", NFC, NFKC:
		return nil
	}
	return fmt.Errorf("mes_preprocess.form is %q, want NFC or NFKC", p.Form)
}

// Alignment maps byte ranges of a changed text back to the text it was made from. The zero
// Alignment maps every range to itself.
type Alignment struct {
	stages [][]run // one table per change that was made, in the order of making
}

// run says where a stretch of the changed text came from. Bytes that were dropped belong to no
// run.
type run struct {
	clean, orig int // where it starts in either text
	origLen     int // bytes of the original
	copied      bool
}

// Span returns the range of the original text that the range [lo, hi) of the changed text came
// from. What was changed as a unit, such as a composed character, maps to the whole unit.
func (a Alignment) Span(lo, hi int) (int, int) {
	for i := len(a.stages) - 1; i >= 0; i-- {
		lo, hi = spanBack(a.stages[i], lo, hi)
	}
	return lo, hi
}

// spanBack maps one range through one table.
func spanBack(runs []run, lo, hi int) (int, int) {
	if len(runs) == 0 {
		return 0, 0
	}
	at := func(pos int) run {
		i := sort.Search(len(runs), func(i int) bool { return runs[i].clean > pos })
		return runs[max(i-1, 0)]
	}
	from := at(lo)
	start := from.orig
	if from.copied {
		start = min(from.orig+lo-from.clean, from.orig+from.origLen)
	}
	if hi <= lo {
		return start, start
	}
	to := at(hi - 1)
	end := to.orig + to.origLen
	if to.copied {
		end = to.orig + hi - to.clean
	}
	return start, end
}

// add appends the table of one change and passes its text on; a nil table means no change.
func (a *Alignment) add(text string, runs []run) string {
	if runs != nil {
		a.stages = append(a.stages, runs)
	}
	return text
}

// rewriter builds a changed text and its table.
type rewriter struct {
	out  strings.Builder
	runs []run
}

// keep copies text[lo:hi].
func (w *rewriter) keep(text string, lo, hi int) {
	if lo == hi {
		return
	}
	if n := len(w.runs); n > 0 && w.runs[n-1].copied && w.runs[n-1].orig+w.runs[n-1].origLen == lo {
		w.runs[n-1].origLen += hi - lo
	} else {
		w.runs = append(w.runs, run{clean: w.out.Len(), orig: lo, origLen: hi - lo, copied: true})
	}
	w.out.WriteString(text[lo:hi])
}

// replace puts s in the place of the original bytes [lo, hi).
func (w *rewriter) replace(s string, lo, hi int) {
	w.runs = append(w.runs, run{clean: w.out.Len(), orig: lo, origLen: hi - lo})
	w.out.WriteString(s)
}

// result returns the text and its table, which is not nil.
func (w *rewriter) result() (string, []run) {
	if w.runs == nil {
		w.runs = []run{}
	}
	return w.out.String(), w.runs
}

// stripControl drops control characters.
func stripControl(text string) (string, []run) {
	dropped := func(r rune) bool { return unicode.IsControl(r) && r != '\t' && r != '\n' && r != '\r' }
	if strings.IndexFunc(text, dropped) < 0 {
		return text, nil
	}
	var w rewriter
	from := 0
	for i, r := range text {
		if dropped(r) {
			w.keep(text, from, i)
			from = i + utf8.RuneLen(r)
		}
	}
	w.keep(text, from, len(text))
	return w.result()
}

// normalize brings text to form. Characters in inert are left alone, and what stands on either
// side of one does not interact.
func normalize(text string, form norm.Form, inert *unicode.RangeTable) (string, []run) {
	if form.QuickSpanString(text) == len(text) {
		return text, nil
	}
	var w rewriter
	from := 0
	for i, r := range text {
		if inert != nil && unicode.Is(inert, r) {
			w.normalize(text[:i], from, form)
			from = i + utf8.RuneLen(r)
			w.keep(text, i, from)
		}
	}
	w.normalize(text, from, form)
	return w.result()
}

// normalize appends the normal form of text from byte i on, segment by segment.
func (w *rewriter) normalize(text string, i int, form norm.Form) {
	for i < len(text) {
		n := form.QuickSpanString(text[i:])
		w.keep(text, i, i+n)
		if i += n; i == len(text) {
			break
		}
		size := form.NextBoundaryInString(text[i:], true)
		if size <= 0 {
			size = len(text) - i
		}
		if s := form.String(text[i : i+size]); s == text[i:i+size] {
			w.keep(text, i, i+size)
		} else {
			w.replace(s, i, i+size)
		}
		i += size
	}
}

// collapseWhitespace makes every run of white space one character.
func collapseWhitespace(text string) (string, []run) {
	var w rewriter
	changed, from := false, 0
	for i := 0; i < len(text); {
		start := i
		i += spaceRun(text[i:])
		if i == start {
			_, size := utf8.DecodeRuneInString(text[i:])
			i += size
			continue
		}
		s := " "
		if strings.Contains(text[start:i], "\n") {
			s = "\n"
		}
		if s != text[start:i] {
			w.keep(text, from, start)
			w.replace(s, start, i)
			changed, from = true, i
		}
	}
	if !changed {
		return text, nil
	}
	w.keep(text, from, len(text))
	return w.result()
}

// preprocessed cleans text before another tokenizer encodes it.
type preprocessed struct {
	Tokenizer
	pre Preprocess
}

func (t *preprocessed) Encode(text string) ([]int32, error) {
	if err := checkUTF8(text); err != nil {
		return nil, err
	}
	clean, _ := t.pre.Apply(text)
	return t.Tokenizer.Encode(clean)
}

func (t *preprocessed) EncodePlain(text string) ([]int32, error) {
	if err := checkUTF8(text); err != nil {
		return nil, err
	}
	clean, _ := t.pre.Apply(text)
	return t.Tokenizer.EncodePlain(clean)
}

func (t *preprocessed) EncodeOffsets(text string) ([]int32, [][2]int, error) {
	if err := checkUTF8(text); err != nil {
		return nil, nil, err
	}
	clean, back := t.pre.Apply(text)
	ids, offsets, err := t.Tokenizer.EncodeOffsets(clean)
	for i, o := range offsets {
		if o != [2]int{} {
			offsets[i][0], offsets[i][1] = back.Span(o[0], o[1])
		}
	}
	return ids, offsets, err
}
