package tokenizer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"` // "system", "user" or "assistant"
	Content string `json:"content"`
}

// ErrNoChatTemplate is returned by ApplyChatTemplate where the tokenizer has no template.
var ErrNoChatTemplate = errors.New("this tokenizer has no chat template: give the prompt as plain text")

// ApplyChatTemplate renders messages with the tokenizer's own template, as transformers does.
// The text holds its special tokens, so EncodePlain turns it into ids. addGenerationPrompt adds
// what makes the model answer. The error of a template that refuses the messages says why.
func (c *Config) ApplyChatTemplate(messages []Message, addGenerationPrompt bool) (string, error) {
	if c.ChatTemplate == "" {
		return "", ErrNoChatTemplate
	}
	template, err := parseTemplate(c.ChatTemplate)
	if err != nil {
		return "", fmt.Errorf("read chat template: %w", err)
	}
	list := make([]*exec.Dict, len(messages))
	for i, m := range messages {
		list[i] = &exec.Dict{Pairs: []*exec.Pair{
			{Key: exec.AsValue("role"), Value: exec.AsValue(m.Role)},
			{Key: exec.AsValue("content"), Value: exec.AsValue(m.Content)},
		}}
	}
	var refused error
	values := map[string]any{
		"messages":              list,
		"add_generation_prompt": addGenerationPrompt,
		"raise_exception": func(why string) (string, error) {
			refused = errors.New(why)
			return "", refused
		},
	}
	for name, token := range map[string]string{
		"bos_token": c.BOSToken, "eos_token": c.EOSToken, "pad_token": c.PADToken, "unk_token": c.UNKToken,
		"sep_token": c.SEPToken, "cls_token": c.CLSToken, "mask_token": c.MaskToken,
	} {
		if token != "" {
			values[name] = token
		}
	}
	text, err := template.ExecuteToString(exec.NewContext(values))
	if refused != nil {
		return "", fmt.Errorf("chat template refuses the messages: %w", refused)
	}
	if err != nil {
		return "", fmt.Errorf("apply chat template: %w", err)
	}
	return text, nil
}

// parseTemplate reads a Jinja template with the settings of transformers. A template can include
// no file.
func parseTemplate(source string) (*exec.Template, error) {
	settings := config.New()
	settings.TrimBlocks, settings.LeftStripBlocks = true, true
	const name = "/chat_template"
	loader, err := loaders.NewMemoryLoader(map[string]string{name: source})
	if err != nil {
		return nil, err
	}
	template, err := exec.NewTemplate(name, settings, loader, &exec.Environment{
		Context:           builtins.GlobalFunctions,
		Filters:           chatFilters,
		Tests:             builtins.Tests,
		ControlStructures: builtins.ControlStructures,
		Methods:           builtins.Methods,
	})
	if cause := errors.Unwrap(err); cause != nil {
		err = cause // without the whole template in it
	}
	return template, err
}

// chatFilters are Jinja's filters with transformers' own tojson.
var chatFilters = exec.NewFilterSet(map[string]exec.FilterFunction{}).Update(builtins.Filters).Update(
	exec.NewFilterSet(map[string]exec.FilterFunction{"tojson": toJSON}))

// toJSON is the filter tojson: Python's json.dumps with ensure_ascii off.
func toJSON(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	w := jsonWriter{indent: -1}
	if v, ok := params.KwArgs["indent"]; ok && v.IsInteger() {
		w.indent = v.Integer()
	}
	w.value(in, 1)
	if w.err != nil {
		return exec.AsValue(w.err)
	}
	return exec.AsSafeValue(w.String())
}

// jsonWriter writes template values with Python's spacing, on lines of their own when indent is
// not negative.
type jsonWriter struct {
	strings.Builder
	indent int
	err    error
}

// value writes v, which is depth levels deep.
func (w *jsonWriter) value(v *exec.Value, depth int) {
	switch {
	case v.IsNil():
		w.WriteString("null")
	case v.IsBool():
		w.WriteString(strconv.FormatBool(v.Bool()))
	case v.IsInteger():
		w.WriteString(strconv.Itoa(v.Integer()))
	case v.IsFloat():
		s := strconv.FormatFloat(v.Float(), 'g', -1, 64)
		if !strings.ContainsAny(s, ".eIN") {
			s += ".0"
		}
		w.WriteString(s)
	case v.IsString():
		w.text(v.String())
	case v.IsDict():
		keys := v.Keys()
		w.group('{', '}', len(keys), depth, func(i int) {
			w.text(keys[i].String())
			w.WriteString(": ")
			item, _ := v.GetItem(keys[i].Interface())
			w.value(exec.ToValue(item), depth+1)
		})
	case v.IsList():
		w.group('[', ']', v.Len(), depth, func(i int) { w.value(v.Index(i), depth+1) })
	default:
		w.err = fmt.Errorf("tojson cannot write %s", v.String())
	}
}

// group writes n elements between brackets.
func (w *jsonWriter) group(left, right byte, n, depth int, element func(i int)) {
	w.WriteByte(left)
	for i := range n {
		if i > 0 {
			w.WriteByte(',')
		}
		if w.indent >= 0 {
			w.line(depth)
		} else if i > 0 {
			w.WriteByte(' ')
		}
		element(i)
	}
	if n > 0 && w.indent >= 0 {
		w.line(depth - 1)
	}
	w.WriteByte(right)
}

// line begins a line at depth.
func (w *jsonWriter) line(depth int) {
	w.WriteString("\n" + strings.Repeat(" ", w.indent*depth))
}

// text writes a string; only quotes, backslashes and control characters are escaped.
func (w *jsonWriter) text(s string) {
	escapes := map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`}
	w.WriteByte('"')
	for _, r := range s {
		if e, ok := escapes[r]; ok {
			w.WriteString(e)
		} else if r < ' ' {
			fmt.Fprintf(w, `\u%04x`, r)
		} else {
			w.WriteRune(r)
		}
	}
	w.WriteByte('"')
}
