package config

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// kind is the type of a JSON value.
type kind byte

const (
	kindNull kind = iota
	kindBool
	kindNumber // with Python's NaN, Infinity and -Infinity
	kindString
	kindArray
	kindObject
)

var kindNames = [...]string{"null", "a boolean", "a number", "a string", "a list", "an object"}

func (k kind) String() string { return kindNames[k] }

// node is a JSON value. Scalars keep their text, so that what nobody changed is
// written back as it was read: 1e-05 does not become 0.00001.
type node struct {
	kind    kind
	text    string   // null, true, 1e-05, Infinity, "quoted"
	items   []node   // of an array
	members []member // of an object, in the order of the file
}

// member is one key of an object with its value.
type member struct {
	key   string
	value node
}

// words are the values that are spelt out.
var words = []node{
	{kind: kindNull, text: "null"},
	{kind: kindBool, text: "true"},
	{kind: kindBool, text: "false"},
	{kind: kindNumber, text: "NaN"},
	{kind: kindNumber, text: "Infinity"},
}

// maxDepth bounds nesting, so that hostile input cannot exhaust the stack.
const maxDepth = 64

// parser reads JSON as Python's json module writes it: NaN, Infinity and
// -Infinity are numbers. Unlike Python it rejects a key that appears twice.
type parser struct {
	src string
	pos int
}

// parseObject reads a document that is one JSON object.
func parseObject(data []byte) ([]member, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("not UTF-8 text")
	}
	p := &parser{src: string(data)}
	root, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.pos < len(p.src) {
		return nil, p.errorf("text after the end of the object")
	}
	if root.kind != kindObject {
		return nil, fmt.Errorf("holds %s, not an object", root.kind)
	}
	return root.members, nil
}

func (p *parser) errorf(format string, args ...any) error {
	before := p.src[:p.pos]
	line := 1 + strings.Count(before, "\n")
	column := len(before) - strings.LastIndexByte(before, '\n')
	return fmt.Errorf("line %d, column %d: %s", line, column, fmt.Sprintf(format, args...))
}

func (p *parser) space() {
	for p.pos < len(p.src) && strings.IndexByte(" \t\r\n", p.src[p.pos]) >= 0 {
		p.pos++
	}
}

// take advances over token if it comes next.
func (p *parser) take(token string) bool {
	if !strings.HasPrefix(p.src[p.pos:], token) {
		return false
	}
	p.pos += len(token)
	return true
}

func (p *parser) value(depth int) (node, error) {
	if depth > maxDepth {
		return node{}, p.errorf("nested deeper than %d levels", maxDepth)
	}
	p.space()
	if p.pos == len(p.src) {
		return node{}, p.errorf("the text ends where a value should be")
	}
	switch c := p.src[p.pos]; {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		return p.string()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for _, word := range words {
		if p.take(word.text) {
			return word, nil
		}
	}
	return node{}, p.errorf("no JSON value starts here")
}

func (p *parser) object(depth int) (node, error) {
	p.pos++
	n := node{kind: kindObject}
	seen := map[string]bool{}
	for {
		p.space()
		if len(n.members) == 0 && p.take("}") {
			return n, nil
		}
		if p.pos == len(p.src) || p.src[p.pos] != '"' {
			return node{}, p.errorf("a quoted key should be here")
		}
		at := p.pos
		key, err := p.string()
		if err != nil {
			return node{}, err
		}
		if name := key.str(); seen[name] {
			p.pos = at
			return node{}, p.errorf("key %q appears twice", name)
		}
		seen[key.str()] = true
		if p.space(); !p.take(":") {
			return node{}, p.errorf("a colon should be here")
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.members = append(n.members, member{key.str(), v})
		if p.space(); p.take("}") {
			return n, nil
		} else if !p.take(",") {
			return node{}, p.errorf("a comma or } should be here")
		}
	}
}

func (p *parser) array(depth int) (node, error) {
	p.pos++
	n := node{kind: kindArray}
	if p.space(); p.take("]") {
		return n, nil
	}
	for {
		v, err := p.value(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, v)
		if p.space(); p.take("]") {
			return n, nil
		} else if !p.take(",") {
			return node{}, p.errorf("a comma or ] should be here")
		}
	}
}

// string reads a quoted token; encoding/json judges its escapes.
func (p *parser) string() (node, error) {
	end := p.pos + 1
	for end < len(p.src) && p.src[end] != '"' {
		if p.src[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(p.src) {
		return node{}, p.errorf("a string without closing quote")
	}
	text := p.src[p.pos : end+1]
	if !json.Valid([]byte(text)) {
		return node{}, p.errorf("a string with a bad escape or control character")
	}
	p.pos = end + 1
	return node{kind: kindString, text: text}, nil
}

func (p *parser) number() (node, error) {
	if p.take("-Infinity") {
		return node{kind: kindNumber, text: "-Infinity"}, nil
	}
	end := p.pos
	for end < len(p.src) && strings.IndexByte("+-0123456789.eE", p.src[end]) >= 0 {
		end++
	}
	text := p.src[p.pos:end]
	if !json.Valid([]byte(text)) {
		return node{}, p.errorf("%.40q is not a number", text)
	}
	p.pos = end
	return node{kind: kindNumber, text: text}, nil
}

// floatTag is the only key of the object in which transformers 5 wraps the floats
// that JSON lacks: {"__float__": "Infinity"}.
const floatTag = "__float__"

// float returns a number's value; transformers' wrapped floats count as numbers.
func (n node) float() (float64, bool) {
	text := n.text
	switch {
	case n.kind == kindNumber:
	case n.kind == kindObject && len(n.members) == 1 && n.members[0].key == floatTag:
		text = n.members[0].value.str()
		if text != "NaN" && text != "Infinity" && text != "-Infinity" {
			return 0, false
		}
	default:
		return 0, false
	}
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil
}

// str returns a string's value, and "" for any other kind.
func (n node) str() string {
	var s string
	if n.kind == kindString && json.Unmarshal([]byte(n.text), &s) != nil {
		return ""
	}
	return s
}

// lookup returns the value of an object's key.
func lookup(members []member, key string) (node, bool) {
	for _, m := range members {
		if m.key == key {
			return m.value, true
		}
	}
	return node{}, false
}

func boolNode(v bool) node { return node{kind: kindBool, text: strconv.FormatBool(v)} }

func intNode(v int) node { return node{kind: kindNumber, text: strconv.Itoa(v)} }

// floatNode writes a float so that Python reads a float, never an integer. The
// floats that JSON lacks are written bare, as every version of transformers reads
// them; the wrapped form of version 5 would break the older ones.
func floatNode(v float64) node {
	text := strconv.FormatFloat(v, 'g', -1, 64)
	switch {
	case math.IsNaN(v):
		text = "NaN"
	case math.IsInf(v, 1):
		text = "Infinity"
	case math.IsInf(v, -1):
		text = "-Infinity"
	case !strings.ContainsAny(text, ".e"):
		text += ".0"
	}
	return node{kind: kindNumber, text: text}
}

func stringNode(s string) node {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil { // a string always encodes
		return node{kind: kindString, text: `""`}
	}
	return node{kind: kindString, text: strings.TrimSuffix(b.String(), "\n")}
}

func listNode[T any](items []T, one func(T) node) node {
	n := node{kind: kindArray}
	for _, item := range items {
		n.items = append(n.items, one(item))
	}
	return n
}

// print writes the value as Python's json.dumps(indent=2) lays it out.
func (n node) print(b *strings.Builder, indent string) {
	inner := indent + "  "
	switch {
	case n.kind == kindArray && len(n.items) > 0:
		for i, item := range n.items {
			b.WriteString(open(i, "[", inner))
			item.print(b, inner)
		}
		b.WriteString("\n" + indent + "]")
	case n.kind == kindArray:
		b.WriteString("[]")
	case n.kind == kindObject && len(n.members) > 0:
		for i, m := range n.members {
			b.WriteString(open(i, "{", inner) + stringNode(m.key).text + ": ")
			m.value.print(b, inner)
		}
		b.WriteString("\n" + indent + "}")
	case n.kind == kindObject:
		b.WriteString("{}")
	default:
		b.WriteString(n.text)
	}
}

func open(i int, bracket, indent string) string {
	if i > 0 {
		bracket = ","
	}
	return bracket + "\n" + indent
}

// String returns the value as indented JSON without a newline at the end.
func (n node) String() string {
	var b strings.Builder
	n.print(&b, "")
	return b.String()
}
