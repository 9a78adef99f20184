package safetensors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// WriteIndex writes dir's model.safetensors.index.json: the shard of each tensor
// and the bytes of all tensors together. It is replaced at once or not at all, and
// is byte for byte what transformers writes (sorted keys, indent of 2, ASCII only).
func WriteIndex(dir string, weightMap map[string]string, totalSize int64) error {
	path := filepath.Join(dir, IndexFile)
	for _, name := range sortedKeys(weightMap) {
		switch shard := weightMap[name]; {
		case !utf8.ValidString(name) || !utf8.ValidString(shard):
			return &Error{Path: path, Tensor: name, Err: ErrHeaderUTF8}
		case !plainName(shard):
			return &Error{Path: path, Tensor: name, Err: ErrShardName, Detail: shard}
		}
	}
	index := struct {
		Metadata  map[string]int64  `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}{map[string]int64{"total_size": totalSize}, weightMap}
	if weightMap == nil {
		index.WeightMap = map[string]string{}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(index); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	temp, err := createTemp(path)
	if err != nil {
		return err
	}
	if _, err := temp.Write(asciiJSON(buf.Bytes())); err != nil {
		temp.remove()
		return fmt.Errorf("write %s: %w", path, err)
	}
	return temp.commit()
}

// asciiJSON escapes everything in a JSON text that is not printable ASCII, which
// only strings can contain.
func asciiJSON(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for _, r := range string(text) {
		switch {
		case r < 0x7f:
			out = append(out, byte(r))
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}
