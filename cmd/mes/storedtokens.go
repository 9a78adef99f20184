package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// storedTokens is the file in which huggingface_hub keeps tokens by their names, an
// INI file of one section for each. What else it holds of a token, such as when it
// expires, stays.
type storedTokens map[string]map[string]string

// tokenKey is the field of the token itself.
const tokenKey = "hf_token"

// readStoredTokens reads the file; one that is not there is empty.
func readStoredTokens(file string) (storedTokens, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return storedTokens{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the stored tokens: %w", err)
	}
	t, err := parseStoredTokens(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w; move it away to begin anew", file, err)
	}
	return t, nil
}

// parseStoredTokens reads what Python's configparser writes. Errors say where, not
// what, since lines hold secrets.
func parseStoredTokens(data []byte) (storedTokens, error) {
	t := storedTokens{}
	var section map[string]string
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		key, value, isField := cutField(line)
		switch name, isName := strings.CutPrefix(line, "["); {
		case line == "" || line[0] == '#' || line[0] == ';':
		case isName && strings.HasSuffix(name, "]") && checkTokenName(strings.TrimSuffix(name, "]")) == nil:
			name = strings.TrimSuffix(name, "]")
			if t[name] != nil {
				return nil, fmt.Errorf("line %d begins a section for the second time", n)
			}
			section = map[string]string{}
			t[name] = section
		case isField && section != nil && key != "":
			section[strings.ToLower(key)] = value
		default:
			return nil, fmt.Errorf("line %d is neither [NAME] nor KEY = VALUE", n)
		}
	}
	return t, lines.Err()
}

// cutField splits a line at its first = or :.
func cutField(line string) (key, value string, ok bool) {
	i := strings.IndexAny(line, "=:")
	if i < 0 {
		return "", "", false
	}
	return strings.TrimSpace(line[:i]), strings.TrimSpace(line[i+1:]), true
}

// checkTokenName refuses a name that would not be read as it was written.
func checkTokenName(name string) error {
	bad := name == "" || name != strings.TrimSpace(name) || strings.ContainsAny(name, "[]\r\n") || strings.EqualFold(name, "DEFAULT")
	if bad {
		return usageError("%q cannot be the name of a token: it is empty or DEFAULT, has brackets or a line break, or begins or ends with a blank", name)
	}
	return nil
}

// text writes the file as configparser does.
func (t storedTokens) text() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(&b, "[%s]\n", name)
		for _, key := range slices.Sorted(maps.Keys(t[name])) {
			fmt.Fprintf(&b, "%s = %s\n", key, t[name][key])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// masked is enough of a token to know it again.
func masked(token string) string {
	if len(token) < 16 {
		return "****"
	}
	return token[:3] + "****" + token[len(token)-4:]
}
