package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// parseLine reads the fields of a record from a JSON object.
func parseLine(line []byte, rules *Rules) (record, error) {
	rec := record{}
	if !utf8.Valid(line) {
		rec.broken = true
		line = bytes.ToValidUTF8(line, []byte("\uFFFD"))
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return rec, errors.New("the line is not a JSON object")
		}
		return rec, fmt.Errorf("the line is not a JSON object: %w", err)
	}
	if fields == nil {
		return rec, errors.New("the line is not a JSON object")
	}
	if raw, ok := fields[rules.TextField]; ok {
		var text *string
		if err := json.Unmarshal(raw, &text); err != nil || text == nil {
			return rec, fmt.Errorf("field %q is not a text", rules.TextField)
		}
		rec.text, rec.hasText = *text, true
		rec.broken = rec.broken || replaced(raw, rec.text)
	}
	var err error
	for _, f := range []struct {
		name string
		to   *string
	}{{rules.IDField, &rec.id}, {rules.GroupField, &rec.group}, {rules.DomainField, &rec.domain}} {
		if raw, ok := fields[f.name]; ok && f.name != "" {
			if *f.to, err = parseScalar(raw); err != nil {
				return rec, fmt.Errorf("field %q is neither a text nor a number", f.name)
			}
		}
	}
	return rec, nil
}

// parseScalar reads a text, or a number as it is spelt; null is empty.
func parseScalar(raw json.RawMessage) (string, error) {
	var text *string
	if err := json.Unmarshal(raw, &text); err == nil {
		if text == nil {
			return "", nil
		}
		return *text, nil
	}
	var number json.Number
	if err := json.Unmarshal(raw, &number); err != nil {
		return "", err
	}
	return number.String(), nil
}

// replaced reports whether decoding put U+FFFD where the text had an escape that is no
// character, half of a surrogate pair.
func replaced(raw []byte, text string) bool {
	const mark = "\uFFFD"
	n := strings.Count(text, mark)
	if n == 0 {
		return false
	}
	escaped := 0
	for b := raw; ; {
		i := bytes.IndexByte(b, '\\')
		if i < 0 || i+1 >= len(b) {
			break
		}
		if b[i+1] == 'u' && len(b) >= i+6 && bytes.EqualFold(b[i+2:i+6], []byte("fffd")) {
			escaped++
		}
		b = b[i+2:]
	}
	return n > escaped+bytes.Count(raw, []byte(mark))
}

// repair replaces what is not UTF-8 in the fields of a record.
func (r *record) repair() {
	for _, field := range []*string{&r.text, &r.id, &r.group, &r.domain} {
		if !utf8.ValidString(*field) {
			r.broken = true
			*field = strings.ToValidUTF8(*field, "\uFFFD")
		}
	}
}
