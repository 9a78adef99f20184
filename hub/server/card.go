package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// Bounds of the YAML at the head of a card.
const (
	maxFrontMatter = 128 << 10
	maxYAMLDepth   = 32
)

// frontMatter cuts the YAML out of a card: what stands between a first line of
// three dashes and the next such line. False when there is none.
func frontMatter(card []byte) ([]byte, bool) {
	card = bytes.TrimPrefix(card, []byte("\ufeff"))
	card = bytes.ReplaceAll(card[:min(len(card), maxFrontMatter+16)], []byte("\r\n"), []byte("\n"))
	rest, ok := bytes.CutPrefix(card, []byte("---\n"))
	if !ok {
		return nil, false
	}
	if bytes.HasPrefix(rest, []byte("---\n")) || bytes.Equal(rest, []byte("---")) {
		return nil, true
	}
	for _, end := range []string{"\n---\n", "\n---"} {
		at := bytes.Index(rest, []byte(end))
		if at >= 0 && (end == "\n---\n" || at+len(end) == len(rest)) {
			return rest[:at+1], true
		}
	}
	return nil, false
}

// parseCard reads front matter into what JSON can say. Aliases are refused: a
// few of them can stand for gigabytes.
func parseCard(text []byte) (card map[string]any, err error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return map[string]any{}, nil
	}
	if len(text) > maxFrontMatter {
		return nil, errors.New("the metadata is longer than 128 KiB")
	}
	if depth := nesting(text); depth > maxYAMLDepth {
		return nil, errors.New("the metadata is nested too deep")
	}
	defer func() {
		// The YAML library may meet a text that its authors did not foresee.
		if p := recover(); p != nil {
			card, err = nil, fmt.Errorf("the metadata cannot be read: %v", p)
		}
	}()
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, errors.New(yaml.FormatError(err, false, false))
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, errors.New("the metadata is not one YAML document")
	}
	v := &yamlChecker{}
	ast.Walk(v, file.Docs[0].Body)
	if v.fault != "" {
		return nil, errors.New(v.fault)
	}
	var value any
	if err := yaml.NodeToValue(file.Docs[0].Body, &value); err != nil {
		return nil, errors.New(yaml.FormatError(err, false, false))
	}
	card, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("the metadata is not a list of keys with values")
	}
	if _, err := json.Marshal(card); err != nil {
		return nil, errors.New("the metadata has a value that JSON cannot say")
	}
	return card, nil
}

// nesting is an upper bound of the depth of a YAML text, found without parsing:
// brackets, and blanks or dashes at the beginning of a line.
func nesting(text []byte) int {
	depth, open := 0, 0
	for line := range bytes.Lines(text) {
		lead := len(line) - len(bytes.TrimLeft(line, " -?:"))
		for _, b := range line {
			switch b {
			case '[', '{':
				open++
			case ']', '}':
				open = max(0, open-1)
			}
			depth = max(depth, open+lead/2)
		}
	}
	return depth
}

// yamlChecker refuses anchors and aliases.
type yamlChecker struct{ fault string }

func (v *yamlChecker) Visit(n ast.Node) ast.Visitor {
	switch n.Type() {
	case ast.AnchorType, ast.AliasType, ast.MergeKeyType:
		v.fault = "anchors and aliases are not allowed in the metadata"
	}
	if v.fault != "" {
		return nil
	}
	return v
}

// cardFaults checks the fields that a Hub looks at.
func cardFaults(card map[string]any, kind string) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for _, key := range []string{"license", "license_name", "license_link", "pipeline_tag", "library_name", "title", "thumbnail", "base_model_relation", "new_version"} {
		if value, ok := card[key]; ok && value != nil {
			if _, ok := value.(string); !ok && key != "license" {
				fault("%q must be a string", key)
			}
		}
	}
	if license, ok := card["license"]; ok && license != nil && !isStrings(license) {
		fault(`"license" must be a string`)
	}
	for _, key := range []string{"tags", "datasets", "metrics", "language", "base_model"} {
		if value, ok := card[key]; ok && value != nil && !isStrings(value) {
			fault("%q must be a string or a list of strings (quote words such as no, yes and numbers)", key)
		}
	}
	if index, ok := card["model-index"]; ok && index != nil {
		if _, ok := index.([]any); !ok {
			fault(`"model-index" must be a list`)
		}
	}
	if kind == meta.Space {
		faults = append(faults, spaceFaults(card)...)
	}
	return faults
}

var spaceColors = []string{"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}

func spaceFaults(card map[string]any) (faults []string) {
	oneOf := func(key string, allowed []string) {
		if value, ok := card[key]; ok && value != nil {
			if text, _ := value.(string); !slices.Contains(allowed, text) {
				faults = append(faults, fmt.Sprintf("%q must be one of %s", key, strings.Join(allowed, ", ")))
			}
		}
	}
	oneOf("colorFrom", spaceColors)
	oneOf("colorTo", spaceColors)
	oneOf("sdk", []string{"gradio", "docker", "static", "streamlit"})
	if port, ok := card["app_port"]; ok {
		if n, isNumber := number(port); !isNumber || n < 1 || n > 65535 {
			faults = append(faults, `"app_port" must be a number from 1 to 65535`)
		}
	}
	if text, ok := card["short_description"].(string); ok && len([]rune(text)) > 60 {
		faults = append(faults, `"short_description" must have at most 60 characters`)
	}
	return faults
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case uint64:
		return float64(n), true
	case int64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

func isStrings(v any) bool {
	switch value := v.(type) {
	case string:
		return true
	case []any:
		for _, item := range value {
			if _, ok := item.(string); !ok {
				return false
			}
		}
		return true
	}
	return false
}

// stringsOf gives a field that is a string or a list of strings.
func stringsOf(v any) (list []string) {
	switch value := v.(type) {
	case string:
		return []string{value}
	case []any:
		for _, item := range value {
			if text, ok := item.(string); ok {
				list = append(list, text)
			}
		}
	}
	return list
}

// validateYAML checks a card before it is sent.
func (c *call) validateYAML() error {
	var req struct {
		Content  string `json:"content"`
		RepoType string `json:"repoType"`
	}
	if err := c.decode(&req, maxListBody); err != nil {
		return err
	}
	type message struct {
		Message string `json:"message"`
	}
	answer := struct {
		Error    string    `json:"error,omitempty"`
		Errors   []message `json:"errors"`
		Warnings []message `json:"warnings"`
	}{Errors: []message{}, Warnings: []message{}}
	text, ok := frontMatter([]byte(req.Content))
	if !ok || len(bytes.TrimSpace(text)) == 0 {
		answer.Warnings = append(answer.Warnings, message{"empty or missing yaml metadata in repo card"})
		return c.json(answer)
	}
	card, err := parseCard(text)
	if err != nil {
		answer.Errors = append(answer.Errors, message{"YAML: " + err.Error()})
	}
	for _, fault := range cardFaults(card, req.RepoType) {
		answer.Errors = append(answer.Errors, message{fault})
	}
	if len(answer.Errors) == 0 {
		return c.json(answer)
	}
	answer.Error = "Invalid metadata in README.md"
	c.w.Header().Set("X-Error-Code", codeBad)
	c.w.Header().Set("X-Error-Message", answer.Error)
	return c.jsonStatus(400, answer)
}
