package hub

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/config"
)

// frontMatter writes the YAML at the top of a card, "---" lines included.
func frontMatter(c *config.Config, about About, e Evaluation, name string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	pair := func(key, value string) {
		if value != "" {
			line("%s: %s", key, yamlString(value))
		}
	}
	list := func(key string, values []string) {
		if len(values) > 0 {
			line("%s:", key)
		}
		for _, v := range values {
			line("- %s", yamlString(v))
		}
	}
	line("---")
	pair("license", about.License)
	pair("license_name", about.LicenseName)
	pair("license_link", about.LicenseLink)
	list("language", about.Language)
	line("library_name: transformers")
	line("pipeline_tag: text-generation")
	pair("base_model", about.BaseModel)
	if about.BaseModel != "" && c.Quantization != nil {
		line("base_model_relation: quantized")
	}
	tags := []string{"mamba", string(c.Swarm.Base.Kind)}
	if !c.Swarm.Plain() {
		tags = append(tags, config.Swarm, "custom_code")
	}
	list("tags", slices.Compact(tags))
	if len(e.Results) > 0 {
		line("model-index:")
		line("- name: %s", yamlString(name))
		line("  results:")
	}
	for _, r := range e.Results {
		line("  - task:")
		line("      type: text-generation")
		line("    dataset:")
		line("      type: %s", yamlString(r.Dataset))
		line("      name: %s", yamlString(r.Dataset))
		line("    metrics:")
		line("    - type: %s", yamlString(r.Metric))
		line("      value: %s", yamlNumber(r.Value))
		if r.Unit != "" {
			line("      name: %s", yamlString(r.Metric+", "+r.Unit))
		}
	}
	line("---")
	return b.String()
}

var plainYAML = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._/-]*$`)

// yamlWords are what YAML 1.1 takes for something else than text.
var yamlWords = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"}

// yamlString writes text as a YAML scalar: as it is where that is safe, else in
// JSON's quotes, which are YAML's too.
func yamlString(text string) string {
	if plainYAML.MatchString(text) && !slices.Contains(yamlWords, strings.ToLower(text)) {
		return text
	}
	data, err := json.Marshal(text)
	if err != nil { // a string always marshals
		return strconv.Quote(text)
	}
	return string(data)
}

// yamlNumber writes a number of JSON without an exponent, which YAML 1.1 would take
// for text.
func yamlNumber(n json.Number) string {
	v, err := n.Float64()
	if err != nil { // beyond float64
		return yamlString(string(n))
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// maxFrontMatter bounds the front matter that is read, in bytes.
const maxFrontMatter = 64 << 10

// readAbout takes licence, languages and base model from the front matter of a card. It reads
// plain and quoted scalars and lists of them, one to a line, which is how cards give
// these keys; anything else there is YAML that it leaves alone.
func readAbout(card []byte) About {
	text := strings.ReplaceAll(string(card[:min(len(card), maxFrontMatter)]), "\r\n", "\n")
	text, ok := strings.CutPrefix(strings.TrimPrefix(text, "\ufeff"), "---\n")
	if !ok {
		return About{}
	}
	end := strings.Index("\n"+text, "\n---")
	if end < 0 {
		return About{}
	}
	values := map[string][]string{}
	key := ""
	for row := range strings.Lines(text[:max(end-1, 0)]) {
		row = strings.TrimRight(row, " \t\n")
		if item, ok := strings.CutPrefix(strings.TrimLeft(row, " "), "- "); ok && key != "" {
			values[key] = append(values[key], yamlScalars(item)...)
			continue
		}
		name, value, ok := strings.Cut(row, ":")
		if !ok || strings.HasPrefix(row, " ") || strings.HasPrefix(row, "#") {
			key = ""
			continue
		}
		key = name
		values[key] = yamlScalars(strings.TrimSpace(value))
	}
	first := func(key string) string {
		if len(values[key]) != 1 {
			return ""
		}
		return values[key][0]
	}
	return About{License: first("license"), LicenseName: first("license_name"), LicenseLink: first("license_link"),
		Language: values["language"], BaseModel: first("base_model")}
}

// scalar is plain text in ASCII, without what YAML or a card could take for more.
var scalar = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._/+,()-]*$`)

// yamlScalars reads one scalar, or a list in brackets; nil if it is neither.
func yamlScalars(text string) []string {
	items := []string{text}
	if inner, ok := strings.CutPrefix(text, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); !ok {
			return nil
		}
		items = strings.Split(inner, ",")
	}
	var out []string
	for _, item := range items {
		item = strings.TrimSpace(item)
		for _, quote := range []string{`"`, "'"} {
			if n := len(item); n > 2 && strings.HasPrefix(item, quote) && strings.HasSuffix(item, quote) {
				item = item[1 : n-1]
			}
		}
		isLink := strings.HasPrefix(item, "https://") && isASCII(item) && !strings.ContainsAny(item, " \"'<>`\\&")
		if !scalar.MatchString(item) && !isLink {
			return nil
		}
		out = append(out, item)
	}
	return out
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

// withLicence fills in what the folder says: a licence file of its own.
func (a About) withLicence(notices []string) About {
	if a.License != "" || a.LicenseName != "" || a.LicenseLink != "" {
		if a.License == "" {
			a.License = "other"
		}
		return a
	}
	for _, name := range notices {
		if !strings.Contains(name, "/") && strings.HasPrefix(strings.ToUpper(name), "LICEN") {
			a.License, a.LicenseName, a.LicenseLink = "other", "see-licence-file", name
			return a
		}
	}
	return a
}

// licence names the licence in a sentence.
func (a About) licence() string {
	switch {
	case a.License != "other":
		return a.License
	case a.LicenseLink != "":
		return "the licence in " + a.LicenseLink
	}
	return a.LicenseName
}
