package main

import (
	"maps"
	"strings"
	"testing"
)

// what huggingface_hub 2.4 wrote
const pythonTokens = `[browser]
hf_token = hf_oauth_0123456789
refresh_token = hf_refresh=50%
expires_at = 1790000000

[my laptop]
hf_token = hf_abcdefghijklmnop

`

func TestStoredTokens(t *testing.T) {
	tokens, err := parseStoredTokens([]byte(pythonTokens))
	if err != nil {
		t.Fatal(err)
	}
	if got := tokens["browser"]["refresh_token"]; got != "hf_refresh=50%" || tokens["my laptop"][tokenKey] != "hf_abcdefghijklmnop" {
		t.Errorf("%v", tokens)
	}
	again, err := parseStoredTokens([]byte(tokens.text()))
	if err != nil || len(again) != 2 || !maps.Equal(again["browser"], tokens["browser"]) {
		t.Errorf("%v, %v", again, err)
	}
	if tokens, err = parseStoredTokens([]byte("; a comment\r\n# one more\r\n[ci]\r\nHF_Token: x\r\n")); err != nil || tokens["ci"][tokenKey] != "x" {
		t.Errorf("%v, %v", tokens, err)
	}
}

func TestStoredTokensThatCannotBeRead(t *testing.T) {
	for name, text := range map[string]string{
		"no section":      "hf_token = hf_secret\n",
		"no field":        "[a]\nhf_secret\n",
		"no key":          "[a]\n= hf_secret\n",
		"section twice":   "[a]\nhf_token = hf_secret\n[a]\n",
		"section not end": "[hf_secret\n",
		"empty section":   "[]\nhf_token = hf_secret\n",
		"line too long":   "[a]\nhf_token = " + strings.Repeat("hf_secret", 10_000),
	} {
		if tokens, err := parseStoredTokens([]byte(text)); err == nil {
			t.Errorf("%s: %v", name, tokens)
		} else if strings.Contains(err.Error(), "hf_secret") {
			t.Errorf("%s: the error shows the token: %v", name, err)
		}
	}
	for _, name := range []string{"", " a", "a ", "a]", "[a", "a\nb", "default"} {
		if checkTokenName(name) == nil {
			t.Errorf("%q is a name", name)
		}
	}
}

func FuzzStoredTokens(f *testing.F) {
	f.Add([]byte(pythonTokens))
	f.Add([]byte("[a]\nx:y=z\n;\n#[b]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tokens, err := parseStoredTokens(data)
		if err != nil {
			return
		}
		again, err := parseStoredTokens([]byte(tokens.text()))
		if err != nil || !maps.EqualFunc(tokens, again, maps.Equal[map[string]string]) {
			t.Errorf("%q became %q: %v", tokens, again, err)
		}
	})
}
