package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// field is one key of a configuration file: how it is read and written, and what
// the schema says about it. T is the struct that the file fills.
type field[T any] struct {
	key      string
	alias    string // second name, preferred where a file has it
	unit     string
	meaning  string
	required bool
	omit     bool         // written only if the file has it or it is not the default
	exact    bool         // the file's text is never kept
	preset   *node        // default in the schema where it is a word, or none (&node{}) as it follows other keys
	bases    []mamba.Kind // blocks that have the key; none means all
	swarm    bool         // only model_type mamba_swarm has the key
	codec[T]
}

// codec reads a value into its place, writes it back, and describes its type to
// the schema. write returns false for a value that need not be written.
type codec[T any] struct {
	schema []member
	read   func(*T, node) error
	write  func(*T) (node, bool)
}

// decode fills t from an object and returns what is wrong with it; keys that the
// table does not name are left alone.
func decode[T any](fields []field[T], members []member, t *T) []Fault {
	var faults []Fault
	for _, f := range fields {
		n, ok := f.find(members)
		if !ok {
			if f.required {
				faults = append(faults, Fault{f.key, "missing"})
			}
			continue
		}
		faults = append(faults, faultsOf(f.key, f.read(t, n))...)
	}
	return faults
}

// named reports whether key is the field's name or its second one.
func (f field[T]) named(key string) bool {
	return key == f.key || f.alias != "" && key == f.alias
}

func (f field[T]) find(members []member) (node, bool) {
	if f.alias != "" {
		if n, ok := lookup(members, f.alias); ok {
			return n, true
		}
	}
	return lookup(members, f.key)
}

// encode writes t over an object: keys stay where they are, the text of a value
// that has not changed stays as it was, and new keys follow in the table's order.
// t is compared with defaults to leave out what need not be said.
func encode[T any](fields []field[T], old []member, t, defaults *T) []member {
	var out []member
	written := map[string]bool{}
	byKey := map[string]field[T]{}
	for _, f := range fields {
		byKey[f.key] = f
		if f.alias != "" {
			byKey[f.alias] = f
		}
	}
	for _, m := range old {
		f, known := byKey[m.key]
		if !known {
			out = append(out, m)
			continue
		}
		if _, both := lookup(old, f.alias); f.alias != "" && both && f.alias != m.key {
			continue // the second name is preferred
		}
		written[f.key] = true
		if n, ok := f.rewrite(m.value, t); ok {
			out = append(out, member{m.key, n})
		}
	}
	for _, f := range fields {
		n, ok := f.write(t)
		if !ok || written[f.key] {
			continue
		}
		if d, ok := f.write(defaults); f.omit && ok && d.String() == n.String() {
			continue
		}
		out = append(out, member{f.key, n})
	}
	return out
}

// rewrite returns the file's own value if it still says what t holds, else t's.
func (f field[T]) rewrite(old node, t *T) (node, bool) {
	now, ok := f.write(t)
	if f.exact {
		return now, ok
	}
	was := *t
	if f.read(&was, old) != nil {
		return now, ok
	}
	if before, had := f.write(&was); had == ok && before.String() == now.String() {
		return old, true
	}
	return now, ok
}

// show quotes a value in an error.
func show(n node) string {
	switch n.kind {
	case kindArray, kindObject:
		return n.kind.String()
	}
	if len(n.text) > 40 {
		return strings.ToValidUTF8(n.text[:40], "") + "…"
	}
	return n.text
}

func wrongType(want string, n node) error { return fmt.Errorf("must be %s, is %s", want, show(n)) }

func typed(name string, more ...member) []member {
	return append([]member{{"type", stringNode(name)}}, more...)
}

// readInt checks an integer and its range, both ends included.
func readInt(n node, lo, hi int) (int, error) {
	v, err := strconv.Atoi(n.text)
	switch {
	case n.kind != kindNumber || strings.ContainsAny(n.text, ".eENI"):
		return 0, wrongType("an integer", n)
	case err != nil:
		return 0, fmt.Errorf("%s does not fit an integer", show(n))
	case v < lo:
		return 0, fmt.Errorf("%d is below %d", v, lo)
	case v > hi:
		return 0, fmt.Errorf("%d exceeds %d", v, hi)
	}
	return v, nil
}

func integer[T any](lo, hi int, at func(*T) *int) codec[T] {
	return codec[T]{
		schema: typed("integer", member{"minimum", intNode(lo)}, member{"maximum", intNode(hi)}),
		read: func(t *T, n node) error {
			v, err := readInt(n, lo, hi)
			if err == nil {
				*at(t) = v
			}
			return err
		},
		write: func(t *T) (node, bool) { return intNode(*at(t)), true },
	}
}

// span is a range of floats; above leaves out its lower end. Only a range up to
// +Inf contains infinity.
type span struct {
	lo, hi float64
	above  bool
}

const maxFloat = math.MaxFloat64 // an upper end for finite numbers

func (s span) schema() []member {
	low := "minimum"
	if s.above {
		low = "exclusiveMinimum"
	}
	m := typed("number", member{low, floatNode(s.lo)})
	if s.hi < maxFloat {
		m = append(m, member{"maximum", floatNode(s.hi)})
	}
	return m
}

func (s span) read(n node) (float64, error) {
	v, ok := n.float()
	switch {
	case !ok:
		return 0, wrongType("a number", n)
	case math.IsNaN(v):
		return 0, fmt.Errorf("must be a number, is NaN")
	case s.above && v <= s.lo:
		return 0, fmt.Errorf("%v is not above %v", v, s.lo)
	case v < s.lo:
		return 0, fmt.Errorf("%v is below %v", v, s.lo)
	case s.hi == maxFloat && v > s.hi:
		return 0, fmt.Errorf("must be finite, is %v", v)
	case v > s.hi:
		return 0, fmt.Errorf("%v exceeds %v", v, s.hi)
	}
	return v, nil
}

func number[T any](s span, at func(*T) *float64) codec[T] {
	return codec[T]{
		schema: s.schema(),
		read: func(t *T, n node) error {
			v, err := s.read(n)
			if err == nil {
				*at(t) = v
			}
			return err
		},
		write: func(t *T) (node, bool) { return floatNode(*at(t)), true },
	}
}

func boolean[T any](at func(*T) *bool) codec[T] {
	return codec[T]{
		schema: typed("boolean"),
		read: func(t *T, n node) error {
			if n.kind != kindBool {
				return wrongType("true or false", n)
			}
			*at(t) = n.text == "true"
			return nil
		},
		write: func(t *T) (node, bool) { return boolNode(*at(t)), true },
	}
}

// enum is a string out of a few.
func enum[T any, S ~string](values []S, at func(*T) *S) codec[T] {
	return codec[T]{
		schema: []member{{"enum", listNode(values, func(s S) node { return stringNode(string(s)) })}},
		read: func(t *T, n node) error {
			if n.kind != kindString || !slices.Contains(values, S(n.str())) {
				return fmt.Errorf("%s is not supported; supported: %s", show(n), join(values))
			}
			*at(t) = S(n.str())
			return nil
		},
		write: func(t *T) (node, bool) { return stringNode(string(*at(t))), true },
	}
}

func join[S ~string](values []S) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = string(v)
	}
	return strings.Join(texts, ", ")
}

// text is a string that may be null or absent, both read as "".
func text[T any](at func(*T) *string) codec[T] {
	return codec[T]{
		schema: []member{{"type", listNode([]string{"string", "null"}, stringNode)}},
		read: func(t *T, n node) error {
			if n.kind != kindString && n.kind != kindNull {
				return wrongType("a string", n)
			}
			*at(t) = n.str()
			return nil
		},
		write: func(t *T) (node, bool) { return stringNode(*at(t)), *at(t) != "" },
	}
}

// list is an array whose elements one reads and back writes.
func list[T, V any](items []member, at func(*T) *[]V, one func(node) (V, error), back func(V) node) codec[T] {
	return codec[T]{
		schema: typed("array", member{"items", node{kind: kindObject, members: items}}),
		read: func(t *T, n node) error {
			if n.kind != kindArray {
				return wrongType("a list", n)
			}
			values := make([]V, len(n.items))
			for i, item := range n.items {
				v, err := one(item)
				if err != nil {
					return fmt.Errorf("element %d: %w", i, err)
				}
				values[i] = v
			}
			*at(t) = values
			return nil
		},
		write: func(t *T) (node, bool) { return listNode(*at(t), back), true },
	}
}

// constant is a key that may hold only the given values, which ask for nothing:
// ours is written, the others are understood.
func constant[T any](values ...node) codec[T] {
	return codec[T]{
		schema: []member{{"enum", listNode(values, func(n node) node { return n })}},
		read: func(_ *T, n node) error {
			for _, v := range values {
				if v.String() == n.String() {
					return nil
				}
			}
			return fmt.Errorf("%s is not supported; supported: %s", show(n), values[0])
		},
		write: func(*T) (node, bool) { return values[0], true },
	}
}

const maxTokenID = 1<<31 - 1

var tokenIDSchema = []member{{"type", listNode([]string{"integer", "null"}, stringNode)}, {"minimum", intNode(-1)}}

// tokenID is an id or null, which is held as -1 as in some published files. absent
// says that a missing key means null too.
func tokenID[T any](absent bool, at func(*T) *int) codec[T] {
	return codec[T]{
		schema: tokenIDSchema,
		read: func(t *T, n node) error {
			if n.kind == kindNull {
				*at(t) = -1
				return nil
			}
			v, err := readInt(n, -1, maxTokenID)
			if err == nil {
				*at(t) = v
			}
			return err
		},
		write: func(t *T) (node, bool) {
			if v := *at(t); v >= 0 {
				return intNode(v), true
			}
			return words[0], !absent
		},
	}
}

// tokenIDs is an id, a list of ids, or null.
func tokenIDs[T any](absent bool, at func(*T) *[]int) codec[T] {
	id := func(n node) (int, error) { return readInt(n, 0, maxTokenID) }
	many := list([]member{{"type", stringNode("integer")}}, at, id, intNode)
	return codec[T]{
		schema: []member{{"type", listNode([]string{"integer", "array", "null"}, stringNode)},
			{"items", node{kind: kindObject, members: typed("integer", member{"minimum", intNode(0)})}}},
		read: func(t *T, n node) error {
			switch {
			case n.kind == kindArray:
				return many.read(t, n)
			case n.kind == kindNull || n.text == "-1":
				*at(t) = nil
				return nil
			}
			v, err := id(n)
			if err == nil {
				*at(t) = []int{v}
			}
			return err
		},
		write: func(t *T) (node, bool) {
			switch ids := *at(t); len(ids) {
			case 0:
				return words[0], !absent
			case 1:
				return intNode(ids[0]), true
			default:
				return listNode(ids, intNode), true
			}
		},
	}
}
