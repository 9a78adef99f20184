package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSchemaFresh(t *testing.T) {
	path := filepath.Join(root, SchemaFileName)
	if *update {
		if err := os.WriteFile(path, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(Schema()) {
		t.Errorf("%s is stale; run go generate ./model/config", SchemaFileName)
	}
}

// Every file of this repository passes the schema, read by encoding/json and
// checked by the few words of JSON Schema that it uses.
func TestSchemaAcceptsFiles(t *testing.T) {
	for _, path := range []string{root + "/config.json", "testdata/mamba.json", "testdata/mamba2.json",
		"testdata/falcon_mamba.json", "testdata/falcon_small.json", "testdata/mamba2_small.json"} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if faults := schemaFaults(t, data); len(faults) > 0 {
			t.Errorf("%s: %s", path, strings.Join(faults, "; "))
		}
	}
	for _, file := range []string{originalMamba1File, originalMamba2File, swarmFile + "}"} {
		if faults := schemaFaults(t, []byte(file)); len(faults) > 0 {
			t.Errorf("%s: %s", file, strings.Join(faults, "; "))
		}
	}
}

// What the schema rejects, Parse rejects too.
func TestSchemaRejects(t *testing.T) {
	for _, file := range []string{
		plain(`"vocab_size": 0`), plain(`"vocab_size": 1e9`), plain(`"use_bias": 1`), plain(`"hidden_act": "gelu"`),
		plain(`"time_step_rank": "x"`), plain(`"eos_token_id": "x"`), plain(`"architectures": [1]`),
		`{"model_type": "gpt2"}`, `{"model_type": "mamba_swarm", "base_model_type": "mamba"}`,
		grownFile(`"router_half_lives": []`), grownFile(`"router_temperature": 0`), grownFile(`"encoder_state": "x"`),
		`{"d_model": 8, "ssm_cfg": {"d_state": 0}}`, `{"d_model": 8, "rms_norm": false}`, `{"model_type": "mamba2", "time_step_limit": [0]}`,
	} {
		if len(schemaFaults(t, []byte(file))) == 0 {
			t.Errorf("the schema accepts %s", file)
		}
		if _, err := Parse([]byte(file)); err == nil {
			t.Errorf("Parse accepts %s", file)
		}
	}
}

// Every field says what it means.
func TestSchemaIsComplete(t *testing.T) {
	for _, f := range slices.Concat(huggingFace, original, ssm) {
		if !strings.HasSuffix(f.meaning, ".") || len(f.schema) == 0 {
			t.Errorf("%s has meaning %q and %d words of schema", f.key, f.meaning, len(f.schema))
		}
	}
}

func schemaFaults(t *testing.T, data []byte) []string {
	t.Helper()
	var schema, value any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatal(err)
	}
	v := validator{root: schema.(map[string]any)}
	v.check("", v.root, value)
	return v.faults
}

// validator knows the words of JSON Schema that the schema uses.
type validator struct {
	root   map[string]any
	faults []string
}

func (v *validator) passes(schema map[string]any, value any) bool {
	inner := validator{root: v.root}
	inner.check("", schema, value)
	return len(inner.faults) == 0
}

func (v *validator) check(path string, schema map[string]any, value any) {
	fault := func(format string, args ...any) {
		v.faults = append(v.faults, path+": "+fmt.Sprintf(format, args...))
	}
	for word, arg := range schema {
		switch word {
		case "type":
			names, many := arg.([]any)
			if !many {
				names = []any{arg}
			}
			if !slices.ContainsFunc(names, func(n any) bool { return hasType(value, n.(string)) }) {
				fault("is no %v", names)
			}
		case "enum":
			if !slices.ContainsFunc(arg.([]any), func(e any) bool { return fmt.Sprint(e) == fmt.Sprint(value) }) {
				fault("is not in %v", arg)
			}
		case "const":
			if arg != value {
				fault("is not %v", arg)
			}
		case "minimum", "maximum", "exclusiveMinimum":
			if n, ok := value.(float64); ok && !inRange(word, n, arg.(float64)) {
				fault("%v breaks %s %v", n, word, arg)
			}
		case "minItems", "maxItems":
			if list, ok := value.([]any); ok && !inRange(strings.TrimSuffix(word, "Items")+"imum", float64(len(list)), arg.(float64)) {
				fault("%d items break %s %v", len(list), word, arg)
			}
		case "items":
			list, _ := value.([]any)
			for i, item := range list {
				v.check(fmt.Sprintf("%s[%d]", path, i), arg.(map[string]any), item)
			}
		case "properties":
			members, _ := value.(map[string]any)
			for key, member := range members {
				if p, ok := arg.(map[string]any)[key]; ok {
					v.check(path+"."+key, p.(map[string]any), member)
				}
			}
		case "required":
			for _, key := range arg.([]any) {
				if _, ok := value.(map[string]any)[key.(string)]; !ok {
					fault("%s is missing", key)
				}
			}
		case "anyOf", "oneOf":
			if !slices.ContainsFunc(arg.([]any), func(s any) bool { return v.passes(s.(map[string]any), value) }) {
				fault("fits none of %s", word)
			}
		case "if":
			branch := "else"
			if v.passes(arg.(map[string]any), value) {
				branch = "then"
			}
			if s, ok := schema[branch]; ok {
				v.check(path, s.(map[string]any), value)
			}
		case "$ref":
			name := strings.TrimPrefix(arg.(string), "#/$defs/")
			v.check(path, v.root["$defs"].(map[string]any)[name].(map[string]any), value)
		}
	}
}

func inRange(word string, n, limit float64) bool {
	switch word {
	case "minimum":
		return n >= limit
	case "maximum":
		return n <= limit
	}
	return n > limit
}

func hasType(value any, name string) bool {
	switch v := value.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case float64:
		return name == "number" || name == "integer" && v == float64(int64(v))
	case string:
		return name == "string"
	case []any:
		return name == "array"
	}
	return name == "object"
}
