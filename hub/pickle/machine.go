package pickle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

const (
	maxSteps = 4_000_000 // opcodes; a tensor takes about 70
	maxDepth = 64        // nesting of values and of open marks; state dicts use 6
	maxLine  = 256       // bytes of a module's or a global's name
)

// machine runs a pickle. Values are nil, bool, int64, float64, string, *list,
// *dict, tuple, *storage, *layout and the entries of globals.
type machine struct {
	code     []byte // what is left to run
	stack    []any
	marks    []int // heights of the stack
	memo     map[uint32]any
	storages map[string]extent // entries of the archive by key
}

type (
	tuple struct {
		items []any
		depth int
	}
	list struct{ depth int } // no state dict needs what lists hold
	dict struct {
		keys, values []any
		depth        int
	}
)

// run runs a whole pickle and returns the value that it leaves.
func run(code []byte, storages map[string]extent) (any, error) {
	m := &machine{code: code, memo: map[uint32]any{}, storages: storages}
	for range maxSteps {
		op, err := m.take(1)
		if err != nil {
			return nil, err
		}
		if op[0] == '.' { // STOP
			if len(m.stack) != 1 || len(m.marks) != 0 || len(m.code) != 0 {
				return nil, fault(ErrPickle, "something is left when it ends")
			}
			return m.stack[0], nil
		}
		if err := m.step(op[0]); err != nil {
			return nil, err
		}
	}
	return nil, fault(ErrTooLong, "")
}

func fault(kind error, format string, args ...any) error {
	return &Error{Err: kind, Detail: fmt.Sprintf(format, args...)}
}

// step runs one opcode. The opcodes are those of pickle's protocol 2 that torch.save
// emits for a state dict.
func (m *machine) step(op byte) error {
	switch op {
	case 'N', 0x88, 0x89, 'K', 'M', 'J', 0x8a, 'G', 'X':
		return m.scalar(op)
	case ')', 't', 0x85, 0x86, 0x87:
		return m.tuple(op)
	case 'q', 'r', 'h', 'j':
		return m.memory(op)
	case 'a', 'e', 's', 'u', 'b':
		return m.fill(op)
	case 'R': // REDUCE
		return m.call()
	case 'c': // GLOBAL
		return m.global()
	case 'Q': // BINPERSID
		return m.storage()
	case ']': // EMPTY_LIST
		return m.push(&list{depth: 1})
	case '}': // EMPTY_DICT
		return m.push(&dict{depth: 1})
	case '(': // MARK
		if len(m.marks) == maxDepth {
			return fault(ErrTooDeep, "")
		}
		m.marks = append(m.marks, len(m.stack))
		return nil
	case 0x80: // PROTO
		b, err := m.take(1)
		if err == nil && b[0] != 2 {
			return fault(ErrOpcode, "protocol %d, torch.save writes 2", b[0])
		}
		return err
	}
	return fault(ErrOpcode, "%#02x", op)
}

// take consumes n bytes of the pickle.
func (m *machine) take(n int64) ([]byte, error) {
	if n > int64(len(m.code)) {
		return nil, fault(ErrPickle, "it ends too early")
	}
	b := m.code[:n]
	m.code = m.code[n:]
	return b, nil
}

func (m *machine) push(v any) error {
	m.stack = append(m.stack, v)
	return nil
}

// pop takes n values off the stack, none from below the last mark.
func (m *machine) pop(n int) ([]any, error) {
	floor := 0
	if len(m.marks) > 0 {
		floor = m.marks[len(m.marks)-1]
	}
	at := len(m.stack) - n
	if at < floor {
		return nil, fault(ErrPickle, "the stack is empty")
	}
	v := m.stack[at:]
	m.stack = m.stack[:at]
	return v, nil
}

// popMark takes everything above the last mark off the stack, and the mark.
func (m *machine) popMark() ([]any, error) {
	if len(m.marks) == 0 {
		return nil, fault(ErrPickle, "a mark is missing")
	}
	v, err := m.pop(len(m.stack) - m.marks[len(m.marks)-1])
	m.marks = m.marks[:len(m.marks)-1]
	return v, err
}

// widths gives the bytes behind an opcode that pushes a number or, for a number of
// its own width and a string, the bytes of its length.
var widths = [256]int64{'K': 1, 'M': 2, 'J': 4, 0x8a: 1, 'G': 8, 'X': 4}

// scalar pushes a constant, a number or a string.
func (m *machine) scalar(op byte) error {
	b, err := m.take(widths[op])
	if err != nil {
		return err
	}
	switch op {
	case 'N': // NONE
		return m.push(nil)
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		return m.push(op == 0x88)
	case 'K': // BININT1
		return m.push(int64(b[0]))
	case 'M': // BININT2
		return m.push(int64(binary.LittleEndian.Uint16(b)))
	case 'J': // BININT
		return m.push(int64(int32(binary.LittleEndian.Uint32(b))))
	case 'G': // BINFLOAT
		return m.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	case 0x8a: // LONG1
		return m.long(int64(b[0]))
	}
	b, err = m.take(int64(binary.LittleEndian.Uint32(b))) // BINUNICODE
	if err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return fault(ErrPickle, "a string is not UTF-8")
	}
	return m.push(string(b))
}

// long pushes a little-endian two's complement number of n bytes.
func (m *machine) long(n int64) error {
	b, err := m.take(n)
	if err != nil {
		return err
	}
	if n > 8 {
		return fault(ErrPickle, "a number has more than 64 bits")
	}
	var v uint64
	for i, x := range b {
		v |= uint64(x) << (8 * i)
	}
	unused := uint(64 - 8*n)
	return m.push(int64(v<<unused) >> unused)
}

// tuple pushes a tuple of the topmost values.
func (m *machine) tuple(op byte) error {
	var items []any
	var err error
	switch op {
	case ')': // EMPTY_TUPLE
	case 't': // TUPLE
		items, err = m.popMark()
	default: // TUPLE1 to TUPLE3
		items, err = m.pop(int(op-0x85) + 1)
	}
	if err != nil {
		return err
	}
	t := tuple{items: append([]any(nil), items...), depth: 1}
	if err := deepen(&t.depth, items); err != nil {
		return err
	}
	return m.push(t)
}

// deepen raises a container's depth to hold the items.
func deepen(depth *int, items []any) error {
	for _, item := range items {
		d := 0
		switch v := item.(type) {
		case tuple:
			d = v.depth
		case *list:
			d = v.depth
		case *dict:
			d = v.depth
		}
		*depth = max(*depth, d+1)
	}
	if *depth > maxDepth {
		return fault(ErrTooDeep, "")
	}
	return nil
}

// memory stores the topmost value in the memo or pushes one from there.
func (m *machine) memory(op byte) error {
	width := int64(1)
	if op == 'r' || op == 'j' { // LONG_BINPUT, LONG_BINGET
		width = 4
	}
	b, err := m.take(width)
	if err != nil {
		return err
	}
	key := uint32(b[0])
	if width == 4 {
		key = binary.LittleEndian.Uint32(b)
	}
	if op == 'h' || op == 'j' {
		v, ok := m.memo[key]
		if !ok {
			return fault(ErrPickle, "memo %d is not set", key)
		}
		return m.push(v)
	}
	v, err := m.pop(1)
	if err != nil {
		return err
	}
	m.memo[key] = v[0]
	return m.push(v[0])
}

// fill adds values to the list or dict below them.
func (m *machine) fill(op byte) error {
	var items []any
	var err error
	switch op {
	case 'a', 'b': // APPEND, BUILD
		items, err = m.pop(1)
	case 's': // SETITEM
		items, err = m.pop(2)
	case 'e', 'u': // APPENDS, SETITEMS
		items, err = m.popMark()
	}
	if err != nil {
		return err
	}
	target, err := m.pop(1)
	if err != nil {
		return err
	}
	switch t := target[0].(type) {
	case *list:
		if op != 'a' && op != 'e' {
			return fault(ErrPickle, "a list is filled like a dict")
		}
		err = deepen(&t.depth, items)
	case *dict:
		err = t.fill(op, items)
	default:
		return fault(ErrPickle, "something that is neither list nor dict is filled")
	}
	if err != nil {
		return err
	}
	return m.push(target[0])
}

// fill adds keys and values. BUILD gives an OrderedDict attributes, such as the
// _metadata of a state dict, which are checked to be a dict and left aside.
func (d *dict) fill(op byte, items []any) error {
	if op == 'b' {
		if _, ok := items[0].(*dict); !ok {
			return fault(ErrCall, "attributes that are no dict")
		}
		return nil
	}
	if op == 'a' || op == 'e' || len(items)%2 != 0 {
		return fault(ErrPickle, "a dict is filled like a list")
	}
	for i := 0; i < len(items); i += 2 {
		d.keys = append(d.keys, items[i])
		d.values = append(d.values, items[i+1])
	}
	return deepen(&d.depth, items)
}

// global pushes what an allowed name stands for.
func (m *machine) global() error {
	var name [2]string
	for i := range name {
		n := bytes.IndexByte(m.code[:min(len(m.code), maxLine)], '\n')
		if n < 0 {
			return fault(ErrPickle, "a name does not end")
		}
		line, err := m.take(int64(n) + 1)
		if err != nil {
			return err
		}
		name[i] = string(line[:n])
	}
	v, ok := globals[name[0]+" "+name[1]]
	if !ok {
		return fault(ErrGlobal, "%q of module %q", name[1], name[0])
	}
	return m.push(v)
}

// call replaces a function and its arguments by what the function builds.
func (m *machine) call() error {
	v, err := m.pop(2)
	if err != nil {
		return err
	}
	f, ok1 := v[0].(function)
	args, ok2 := v[1].(tuple)
	if !ok1 || !ok2 {
		return fault(ErrPickle, "something that is no function is called")
	}
	result, err := f(m, args.items)
	if err != nil {
		return err
	}
	return m.push(result)
}
