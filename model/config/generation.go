package config

import (
	"fmt"
	"path/filepath"
)

// GenerationConfig is the content of a generation_config.json as far as this
// project samples: what the authors of a model recommend. A nil pointer is a value
// that the file does not give.
type GenerationConfig struct {
	BOS int   // bos_token_id, -1 none
	EOS []int // eos_token_id, one, several or none
	PAD int   // pad_token_id, -1 none

	DoSample          *bool    // do_sample; false or nil is greedy
	Temperature       *float64 // temperature, 0 or more
	TopK              *int     // top_k, 0 all
	TopP              *float64 // top_p, (0, 1]
	MinP              *float64 // min_p, [0, 1]
	RepetitionPenalty *float64 // repetition_penalty, above 0
	MaxNewTokens      *int     // max_new_tokens
	MaxLength         *int     // max_length, prompt included

	file []member
}

var generation = []field[GenerationConfig]{
	{key: "bos_token_id", codec: tokenID(true, func(g *GenerationConfig) *int { return &g.BOS })},
	{key: "eos_token_id", codec: tokenIDs(true, func(g *GenerationConfig) *[]int { return &g.EOS })},
	{key: "pad_token_id", codec: tokenID(true, func(g *GenerationConfig) *int { return &g.PAD })},
	{key: "do_sample", codec: optional(boolean[bool], func(g *GenerationConfig) **bool { return &g.DoSample })},
	{key: "temperature", codec: optional(numberIn(span{hi: maxFloat}), func(g *GenerationConfig) **float64 { return &g.Temperature })},
	{key: "top_k", codec: optional(integerIn(0, maxVocab), func(g *GenerationConfig) **int { return &g.TopK })},
	{key: "top_p", codec: optional(numberIn(span{hi: 1, above: true}), func(g *GenerationConfig) **float64 { return &g.TopP })},
	{key: "min_p", codec: optional(numberIn(unit), func(g *GenerationConfig) **float64 { return &g.MinP })},
	{key: "repetition_penalty", codec: optional(numberIn(positive), func(g *GenerationConfig) **float64 { return &g.RepetitionPenalty })},
	{key: "max_new_tokens", codec: optional(integerIn(0, maxTokenID), func(g *GenerationConfig) **int { return &g.MaxNewTokens })},
	{key: "max_length", codec: optional(integerIn(0, maxTokenID), func(g *GenerationConfig) **int { return &g.MaxLength })},
}

func integerIn(lo, hi int) func(func(*int) *int) codec[int] {
	return func(at func(*int) *int) codec[int] { return integer(lo, hi, at) }
}

func numberIn(s span) func(func(*float64) *float64) codec[float64] {
	return func(at func(*float64) *float64) codec[float64] { return number(s, at) }
}

// optional makes a codec of a plain value into one of a pointer; null is nil.
func optional[V any](plain func(func(*V) *V) codec[V], at func(*GenerationConfig) **V) codec[GenerationConfig] {
	inner := plain(func(v *V) *V { return v })
	return codec[GenerationConfig]{
		read: func(g *GenerationConfig, n node) error {
			if n.kind == kindNull {
				*at(g) = nil
				return nil
			}
			var v V
			err := inner.read(&v, n)
			if err == nil {
				*at(g) = &v
			}
			return err
		},
		write: func(g *GenerationConfig) (node, bool) {
			if *at(g) == nil {
				return node{}, false
			}
			return inner.write(*at(g))
		},
	}
}

// ParseGeneration reads a generation_config.json, as leniently as Parse: Python's
// Infinity and NaN load, unknown keys are kept. Everything wrong with its fields is
// in one *FaultError.
func ParseGeneration(data []byte) (*GenerationConfig, error) {
	members, err := parseObject(data)
	if err != nil {
		return nil, fmt.Errorf("parse generation config: %w", err)
	}
	g := &GenerationConfig{BOS: -1, PAD: -1, file: members}
	if err := faultError(decode(generation, members, g)); err != nil {
		return nil, err
	}
	return g, nil
}

// LoadGeneration reads a generation_config.json, or that of a folder. Many models
// have none; the error then is fs.ErrNotExist.
func LoadGeneration(path string) (*GenerationConfig, error) {
	data, path, err := readFile(path, GenerationFileName)
	if err != nil {
		return nil, fmt.Errorf("load generation config: %w", err)
	}
	g, err := ParseGeneration(data)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	return g, nil
}

// Marshal writes the file, with the unknown keys of the one it came from.
func (g *GenerationConfig) Marshal() ([]byte, error) {
	var faults []Fault
	var scratch GenerationConfig
	for _, f := range generation {
		if n, ok := f.write(g); ok {
			faults = append(faults, faultsOf(f.key, f.read(&scratch, n))...)
		}
	}
	if err := faultError(faults); err != nil {
		return nil, err
	}
	members := encode(generation, g.file, g, &GenerationConfig{BOS: -1, PAD: -1})
	return []byte(object(members...).String() + "\n"), nil
}

// Save writes generation_config.json into a folder, whole or not at all.
func (g *GenerationConfig) Save(dir string) error {
	data, err := g.Marshal()
	if err != nil {
		return fmt.Errorf("save generation config: %w", err)
	}
	if err := writeFile(filepath.Join(dir, GenerationFileName), data); err != nil {
		return fmt.Errorf("save generation config: %w", err)
	}
	return nil
}
