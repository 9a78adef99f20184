package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Config is what this package reads of tokenizer_config.json. A field is empty where the file
// says nothing.
type Config struct {
	Class                        string // Python class, such as "GPTNeoXTokenizerFast"
	BOSToken, EOSToken, PADToken string // texts of the special tokens
	UNKToken, SEPToken, CLSToken string
	MaskToken                    string
	AdditionalSpecialTokens      []string
	AddBOSToken, AddEOSToken     bool       // used by SentencePiece models alone
	ChatTemplate                 string     // Jinja source; see ApplyChatTemplate
	Preprocess                   Preprocess // cleaning before encoding, key "mes_preprocess"
}

// ReadConfig reads tokenizer_config.json of dir, and chat_template.jinja where it stands beside
// it, as newer repositories do. A folder without them has the zero Config.
func ReadConfig(dir string) (*Config, error) {
	path := filepath.Join(dir, "tokenizer_config.json")
	c := new(Config)
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read tokenizer: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(data, c); err != nil {
			return nil, fmt.Errorf("read tokenizer %s: %w", path, err)
		}
	}
	data, err = os.ReadFile(filepath.Join(dir, "chat_template.jinja"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read tokenizer: %w", err)
	}
	if err == nil {
		c.ChatTemplate = string(data)
	}
	return c, nil
}

// configJSON lists the keys of tokenizer_config.json that Config holds.
type configJSON struct {
	Class      string        `json:"tokenizer_class,omitempty"`
	BOS        tokenText     `json:"bos_token,omitempty"`
	EOS        tokenText     `json:"eos_token,omitempty"`
	PAD        tokenText     `json:"pad_token,omitempty"`
	UNK        tokenText     `json:"unk_token,omitempty"`
	SEP        tokenText     `json:"sep_token,omitempty"`
	CLS        tokenText     `json:"cls_token,omitempty"`
	Mask       tokenText     `json:"mask_token,omitempty"`
	Additional []tokenText   `json:"additional_special_tokens,omitempty"`
	AddBOS     bool          `json:"add_bos_token,omitempty"`
	AddEOS     bool          `json:"add_eos_token,omitempty"`
	Template   namedTemplate `json:"chat_template,omitempty"`
	CleanUp    bool          `json:"clean_up_tokenization_spaces"`
	Preprocess *Preprocess   `json:"mes_preprocess,omitempty"`
}

// UnmarshalJSON reads the content of tokenizer_config.json; keys that Config lacks are ignored.
func (c *Config) UnmarshalJSON(data []byte) error {
	var j configJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*c = Config{
		Class: j.Class, BOSToken: string(j.BOS), EOSToken: string(j.EOS), PADToken: string(j.PAD),
		UNKToken: string(j.UNK), SEPToken: string(j.SEP), CLSToken: string(j.CLS), MaskToken: string(j.Mask),
		AddBOSToken: j.AddBOS, AddEOSToken: j.AddEOS, ChatTemplate: string(j.Template),
	}
	for _, t := range j.Additional {
		c.AdditionalSpecialTokens = append(c.AdditionalSpecialTokens, string(t))
	}
	if j.Preprocess != nil {
		c.Preprocess = *j.Preprocess
	}
	return c.Preprocess.validate()
}

// MarshalJSON writes the content of a tokenizer_config.json that transformers loads.
func (c Config) MarshalJSON() ([]byte, error) {
	j := configJSON{
		Class: c.Class, BOS: tokenText(c.BOSToken), EOS: tokenText(c.EOSToken), PAD: tokenText(c.PADToken),
		UNK: tokenText(c.UNKToken), SEP: tokenText(c.SEPToken), CLS: tokenText(c.CLSToken), Mask: tokenText(c.MaskToken),
		AddBOS: c.AddBOSToken, AddEOS: c.AddEOSToken, Template: namedTemplate(c.ChatTemplate),
	}
	for _, t := range c.AdditionalSpecialTokens {
		j.Additional = append(j.Additional, tokenText(t))
	}
	if c.Preprocess != (Preprocess{}) {
		j.Preprocess = &c.Preprocess
	}
	return json.Marshal(j)
}

// WriteFile writes c as dir's tokenizer_config.json, whole or not at all.
func (c Config) WriteFile(dir string) error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("write tokenizer configuration: %w", err)
	}
	return writeAtomic(filepath.Join(dir, "tokenizer_config.json"), append(data, '\n'))
}

// tokenText is a token that is written as a string or as an object with its content.
type tokenText string

func (t *tokenText) UnmarshalJSON(data []byte) error {
	var object struct{ Content string }
	if data = bytes.TrimSpace(data); len(data) > 0 && data[0] == '{' {
		err := json.Unmarshal(data, &object)
		*t = tokenText(object.Content)
		return err
	}
	return json.Unmarshal(data, (*string)(t))
}

// namedTemplate is a chat template that is written as a string or as a list of named ones, of
// which the one named "default" counts.
type namedTemplate string

func (n *namedTemplate) UnmarshalJSON(data []byte) error {
	var list []struct{ Name, Template string }
	if data = bytes.TrimSpace(data); len(data) > 0 && data[0] == '[' {
		err := json.Unmarshal(data, &list)
		for _, t := range list {
			if t.Name == "default" {
				*n = namedTemplate(t.Template)
			}
		}
		return err
	}
	return json.Unmarshal(data, (*string)(n))
}

// hfFile is the part of tokenizer.json that Go code reads.
type hfFile struct {
	Truncation    json.RawMessage `json:"truncation"`
	Padding       json.RawMessage `json:"padding"`
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    *hfPart         `json:"normalizer"`
	PreTokenizer  *hfPart         `json:"pre_tokenizer"`
	PostProcessor *hfPart         `json:"post_processor"`
	Decoder       *hfPart         `json:"decoder"`
	Model         hfModel         `json:"model"`
}

// addedToken is a token that is found in the text before the model sees it.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// hfPart is a normalizer, pre-tokenizer, post-processor or decoder.
type hfPart struct {
	Type           string                   `json:"type"`
	AddPrefixSpace bool                     `json:"add_prefix_space"`
	TrimOffsets    bool                     `json:"trim_offsets"`
	UseRegex       *bool                    `json:"use_regex,omitempty"`
	Single         []hfTemplate             `json:"single,omitempty"`
	Pair           []hfTemplate             `json:"pair,omitempty"`
	SpecialTokens  map[string]hfTemplateIDs `json:"special_tokens,omitempty"`
	Decoders       []hfPart                 `json:"decoders,omitempty"`
}

// decodesBytes reports whether p is the decoder of byte-level tokens.
func (p *hfPart) decodesBytes() bool {
	if p != nil && p.Type == "Sequence" && len(p.Decoders) == 1 {
		p = &p.Decoders[0]
	}
	return p != nil && p.Type == "ByteLevel"
}

// hfTemplate is one element of a TemplateProcessing template: a special token or the text.
type hfTemplate struct {
	SpecialToken *hfTemplateRef `json:"SpecialToken,omitempty"`
	Sequence     *hfTemplateRef `json:"Sequence,omitempty"`
}

type hfTemplateRef struct {
	ID     string `json:"id"`
	TypeID int    `json:"type_id"`
}

type hfTemplateIDs struct {
	ID     string   `json:"id"`
	IDs    []int32  `json:"ids"`
	Tokens []string `json:"tokens"`
}

// hfModel is the model of a tokenizer.json, of which only BPE is read further.
type hfModel struct {
	Type                    string          `json:"type"`
	Dropout                 *float64        `json:"dropout"`
	UnkToken                *string         `json:"unk_token"`
	ContinuingSubwordPrefix *string         `json:"continuing_subword_prefix"`
	EndOfWordSuffix         *string         `json:"end_of_word_suffix"`
	ByteFallback            bool            `json:"byte_fallback"`
	IgnoreMerges            bool            `json:"ignore_merges"`
	Vocab                   json.RawMessage `json:"vocab"`
	Merges                  json.RawMessage `json:"merges"`
}

// mergePair is written as "a b" or as ["a", "b"].
type mergePair [2]string

func (m *mergePair) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		return json.Unmarshal(data, (*[2]string)(m))
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	if i := bytes.IndexByte([]byte(s), ' '); i >= 0 {
		*m = mergePair{s[:i], s[i+1:]}
		return nil
	}
	return fmt.Errorf("merge %q has no space", s)
}

// vocabulary is the two-way table of the tokens of a tokenizer.json, added ones included.
type vocabulary struct {
	text    []string // by id; "" where there is none
	known   []bool   // by id: whether there is a token
	id      map[string]int32
	special []bool  // by id
	ids     []int32 // of the special tokens, rising
}

// maxVocabulary bounds the ids of a file, so that a damaged one cannot ask for all memory.
const maxVocabulary = 1 << 24

// newVocabulary reads the model's table, a map from token to id or a list of [token, score],
// and adds the added tokens.
func newVocabulary(f *hfFile) (*vocabulary, error) {
	v := &vocabulary{id: map[string]int32{}}
	if raw := bytes.TrimSpace(f.Model.Vocab); len(raw) > 0 && raw[0] == '[' {
		var list [][]any
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("model.vocab: %w", err)
		}
		for i, entry := range list {
			text, ok := "", len(entry) > 0
			if ok {
				text, ok = entry[0].(string)
			}
			if !ok {
				return nil, fmt.Errorf("model.vocab[%d] is not a [token, score] pair", i)
			}
			v.id[text] = int32(i)
		}
	} else if err := json.Unmarshal(raw, &v.id); err != nil {
		return nil, fmt.Errorf("model.vocab: %w", err)
	}
	for text, id := range v.id {
		if err := v.set(id, text); err != nil {
			return nil, err
		}
	}
	for _, a := range f.AddedTokens {
		if err := v.set(a.ID, a.Content); err != nil {
			return nil, err
		}
		v.id[a.Content] = a.ID
		if a.Special {
			v.special[a.ID] = true
		}
	}
	for id, s := range v.special {
		if s {
			v.ids = append(v.ids, int32(id))
		}
	}
	return v, nil
}

// set gives id its text.
func (v *vocabulary) set(id int32, text string) error {
	if id < 0 || id >= maxVocabulary {
		return fmt.Errorf("token %q has id %d, outside 0 to %d", text, id, maxVocabulary-1)
	}
	if n := int(id) + 1 - len(v.text); n > 0 {
		v.text = append(v.text, make([]string, n)...)
		v.known = append(v.known, make([]bool, n)...)
		v.special = append(v.special, make([]bool, n)...)
	}
	v.text[id], v.known[id] = text, true
	return nil
}

func (v *vocabulary) VocabSize() int { return len(v.text) }

func (v *vocabulary) TokenText(id int32) (string, bool) {
	if id < 0 || int(id) >= len(v.text) || !v.known[id] {
		return "", false
	}
	return v.text[id], true
}

func (v *vocabulary) TokenID(text string) (int32, bool) {
	id, ok := v.id[text]
	return id, ok
}

func (v *vocabulary) SpecialIDs() []int32 { return slices.Clone(v.ids) }

func (v *vocabulary) IsSpecial(id int32) bool {
	return id >= 0 && int(id) < len(v.special) && v.special[id]
}

// parseHF reads a tokenizer.json as far as Go code needs it.
func parseHF(path string, data []byte) (*hfFile, *vocabulary, error) {
	f := new(hfFile)
	if err := json.Unmarshal(data, f); err != nil {
		return nil, nil, fmt.Errorf("read tokenizer %s: %w", path, err)
	}
	v, err := newVocabulary(f)
	if err != nil {
		return nil, nil, fmt.Errorf("read tokenizer %s: %w", path, err)
	}
	f.Model.Vocab = nil // v holds it
	return f, v, nil
}

// writeAtomic writes data under a temporary name beside path, flushes it to disk and renames it.
func writeAtomic(path string, data []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if _, err = tmp.Write(data); err != nil {
		return err
	}
	if err = tmp.Chmod(0o644); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
