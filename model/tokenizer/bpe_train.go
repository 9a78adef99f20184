package tokenizer

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
)

// TrainConfig says how to learn a byte-level BPE.
type TrainConfig struct {
	// VocabSize is the number of tokens wanted: special tokens, 256 bytes and what is learnt.
	// There are fewer when the texts do not hold enough pairs.
	VocabSize int
	// MinFrequency is how often a pair must occur to become a token.
	MinFrequency int64
	// SpecialTokens get the first ids. The first of them is put before every text that is
	// encoded, and is the beginning, end and padding token of the written configuration.
	SpecialTokens []string
	// Preprocess cleans the texts before learning; it is written into the configuration, so that
	// Load cleans alike.
	Preprocess Preprocess
	// Progress, when not nil, is called now and then, with the bytes read while texts are counted
	// (total is 0, not known) and with the tokens while pairs are merged.
	Progress func(stage string, done, total int64)
}

// The stages that TrainConfig.Progress is told.
const (
	StageCount = "count" // counting the words of the texts
	StageMerge = "merge" // merging pairs
)

// Trained is a learnt byte-level BPE.
type Trained struct {
	cfg    TrainConfig
	tokens []string // by id, in the byte alphabet
	merges [][2]int32
}

// Train learns a byte-level BPE from texts: again and again the pair of neighbouring tokens that
// occurs most often becomes a token, of equals the one with the lowest ids. Texts are split as
// GPT-2 does. Tokens and merges are those that HuggingFace's BpeTrainer finds with the byte
// alphabet. Train stops with ctx's error when ctx ends.
func Train(ctx context.Context, texts iter.Seq2[string, error], cfg TrainConfig) (*Trained, error) {
	if least := 256 + len(cfg.SpecialTokens); cfg.VocabSize < least {
		return nil, fmt.Errorf("train tokenizer: vocabulary size %d is below %d, the bytes and special tokens alone", cfg.VocabSize, least)
	}
	for i, s := range cfg.SpecialTokens {
		if s == "" || slices.Contains(cfg.SpecialTokens[:i], s) {
			return nil, fmt.Errorf("train tokenizer: special token %d, %q, is empty or there twice", i, s)
		}
		if _, ok := charByte[[]rune(s)[0]]; ok && len([]rune(s)) == 1 {
			return nil, fmt.Errorf("train tokenizer: special token %q is the name of a byte: choose a longer one", s)
		}
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string, int64, int64) {}
	}
	words, err := countWords(ctx, texts, cfg)
	if err != nil {
		return nil, err
	}
	l := newLearner(words, cfg)
	if err := l.run(ctx, cfg); err != nil {
		return nil, err
	}
	return &Trained{cfg: cfg, tokens: l.tokens, merges: l.distinctMerges()}, nil
}

// progressEvery is how many bytes, and how many merges, go by between calls of Progress and looks
// at the context.
const (
	progressEveryBytes  = 1 << 20
	progressEveryMerges = 64
)

// countWords counts the pieces of all texts.
func countWords(ctx context.Context, texts iter.Seq2[string, error], cfg TrainConfig) (map[string]int64, error) {
	words := map[string]int64{}
	var done, next int64
	number := 0
	for text, err := range texts {
		number++
		if err != nil {
			return nil, fmt.Errorf("train tokenizer: read text %d: %w", number, err)
		}
		if err := checkUTF8(text); err != nil {
			return nil, fmt.Errorf("train tokenizer: text %d: %w", number, err)
		}
		done += int64(len(text))
		text, _ = cfg.Preprocess.Apply(text)
		for at := 0; at < len(text); {
			n := nextPiece(text[at:])
			if piece := text[at : at+n]; words[piece] > 0 {
				words[piece]++
			} else {
				words[strings.Clone(piece)] = 1 // a copy, so that the whole text can be freed
			}
			at += n
		}
		if done >= next {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("train tokenizer: %w", context.Cause(ctx))
			}
			cfg.Progress(StageCount, done, 0)
			next = done + progressEveryBytes
		}
	}
	return words, nil
}

// learner holds the state of learning.
type learner struct {
	tokens []string
	ids    map[string]int32
	merges [][2]int32
	words  [][]int32 // every word as the ids of its parts
	counts []int64   // how often every word occurs
	pairs  map[[2]int32]int64
	fresh  map[[2]int32][]int32 // pairs that appeared since the queue was filled, and their words
	queue  pairQueue
}

// newLearner gives special tokens and bytes their ids and counts the pairs of all words.
func newLearner(words map[string]int64, cfg TrainConfig) *learner {
	l := &learner{ids: map[string]int32{}, pairs: map[[2]int32]int64{}, fresh: map[[2]int32][]int32{}}
	for _, s := range cfg.SpecialTokens {
		l.token(s)
	}
	alphabet := byteChar
	slices.Sort(alphabet[:])
	for _, r := range alphabet {
		l.token(string(r))
	}
	var byteID [256]int32
	for b, r := range byteChar {
		byteID[b] = l.ids[string(r)]
	}
	for w, n := range words {
		ids := make([]int32, len(w))
		for i := range len(w) {
			ids[i] = byteID[w[i]]
		}
		word := int32(len(l.words))
		l.words, l.counts = append(l.words, ids), append(l.counts, n)
		for i := 1; i < len(ids); i++ {
			l.change([2]int32{ids[i-1], ids[i]}, n, word)
		}
	}
	l.enqueue()
	return l
}

// token returns the id of a token, a new one when it is new.
func (l *learner) token(text string) int32 {
	id, ok := l.ids[text]
	if !ok {
		id = int32(len(l.tokens))
		l.ids[text] = id
		l.tokens = append(l.tokens, text)
	}
	return id
}

// change adds n to the count of a pair of word; a pair that gains is to be queued.
func (l *learner) change(pair [2]int32, n int64, word int32) {
	l.pairs[pair] += n
	if n < 0 {
		return
	}
	if at := l.fresh[pair]; len(at) == 0 || at[len(at)-1] != word {
		l.fresh[pair] = append(at, word)
	}
}

// enqueue moves the fresh pairs to the queue.
func (l *learner) enqueue() {
	for pair, words := range l.fresh {
		if n := l.pairs[pair]; n > 0 {
			heap.Push(&l.queue, pairEntry{pair: pair, count: n, words: words})
		}
	}
	clear(l.fresh)
}

// run merges pairs until there are enough tokens.
func (l *learner) run(ctx context.Context, cfg TrainConfig) error {
	for step := 0; len(l.tokens) < cfg.VocabSize && len(l.queue) > 0; step++ {
		if step%progressEveryMerges == 0 {
			if ctx.Err() != nil {
				return fmt.Errorf("train tokenizer: %w", context.Cause(ctx))
			}
			cfg.Progress(StageMerge, int64(len(l.tokens)), int64(cfg.VocabSize))
		}
		top := &l.queue[0]
		if n := l.pairs[top.pair]; n != top.count { // other merges took some of it
			top.count = n
			heap.Fix(&l.queue, 0)
			continue
		}
		if top.count < max(cfg.MinFrequency, 1) {
			break
		}
		e := heap.Pop(&l.queue).(pairEntry)
		id := l.token(l.tokens[e.pair[0]] + l.tokens[e.pair[1]])
		l.merges = append(l.merges, e.pair)
		for _, w := range e.words {
			l.merge(w, e.pair, id)
		}
		l.enqueue()
	}
	cfg.Progress(StageMerge, int64(len(l.tokens)), int64(cfg.VocabSize))
	return nil
}

// merge replaces pair by id in one word, from left to right, and corrects the counts of the pairs
// around.
func (l *learner) merge(word int32, pair [2]int32, id int32) {
	old, n := l.words[word], l.counts[word]
	kept := old[:0]
	for i := 0; i < len(old); i++ {
		if i+1 == len(old) || old[i] != pair[0] || old[i+1] != pair[1] {
			kept = append(kept, old[i])
			continue
		}
		if len(kept) > 0 {
			before := kept[len(kept)-1]
			l.change([2]int32{before, pair[0]}, -n, word)
			l.change([2]int32{before, id}, n, word)
		}
		if i+2 < len(old) {
			l.change([2]int32{pair[1], old[i+2]}, -n, word)
			l.change([2]int32{id, old[i+2]}, n, word)
		}
		kept = append(kept, id)
		i++
	}
	l.words[word] = kept
}

// distinctMerges returns the merges without repetition. A pair comes up again when its tokens,
// being spelt alike, were also made by other merges; as in HuggingFace's trainer the last counts.
func (l *learner) distinctMerges() [][2]int32 {
	last := map[[2]int32]int{}
	for i, pair := range l.merges {
		last[pair] = i
	}
	var out [][2]int32
	for i, pair := range l.merges {
		if last[pair] == i {
			out = append(out, pair)
		}
	}
	return out
}

// pairEntry is a pair in the queue, with its count when it was queued and the words it is in.
type pairEntry struct {
	pair  [2]int32
	count int64
	words []int32
}

// pairQueue is a heap with the most frequent pair, of equals the one with the lowest ids, on top.
type pairQueue []pairEntry

func (q pairQueue) Len() int { return len(q) }

func (q pairQueue) Less(i, j int) bool {
	return cmp.Or(-cmp.Compare(q[i].count, q[j].count), slices.Compare(q[i].pair[:], q[j].pair[:])) < 0
}

func (q pairQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

func (q *pairQueue) Push(x any) { *q = append(*q, x.(pairEntry)) }

func (q *pairQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// VocabSize returns the number of tokens.
func (t *Trained) VocabSize() int { return len(t.tokens) }

// Save writes dir's tokenizer.json and tokenizer_config.json, each whole or not at all.
func (t *Trained) Save(dir string) error {
	data, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("write tokenizer: %w", err)
	}
	c := Config{Class: "PreTrainedTokenizerFast", Preprocess: t.cfg.Preprocess}
	if s := t.cfg.SpecialTokens; len(s) > 0 {
		c.BOSToken, c.EOSToken, c.PADToken, c.UNKToken = s[0], s[0], s[0], s[0]
	}
	if err := writeAtomic(filepath.Join(dir, "tokenizer.json"), data); err != nil {
		return err
	}
	return c.WriteFile(dir)
}

// MarshalJSON writes the content of tokenizer.json.
func (t *Trained) MarshalJSON() ([]byte, error) {
	yes := true
	f := struct {
		Version string `json:"version"`
		hfFile
	}{"1.0", hfFile{
		AddedTokens:  []addedToken{},
		PreTokenizer: &hfPart{Type: "ByteLevel", TrimOffsets: true, UseRegex: &yes},
		Decoder:      &hfPart{Type: "ByteLevel", AddPrefixSpace: true, TrimOffsets: true, UseRegex: &yes},
		Model:        hfModel{Type: "BPE"},
	}}
	for i, s := range t.cfg.SpecialTokens {
		f.AddedTokens = append(f.AddedTokens, addedToken{ID: int32(i), Content: s, Special: true})
	}
	if s := t.cfg.SpecialTokens; len(s) > 0 {
		f.PostProcessor = startsWith(s[0], 0)
	}
	var vocab bytes.Buffer
	for id, text := range t.tokens {
		name, err := json.Marshal(text)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&vocab, ",%s:%d", name, id)
	}
	vocab.Bytes()[0] = '{'
	vocab.WriteByte('}')
	f.Model.Vocab = vocab.Bytes()
	merges := make([]mergePair, len(t.merges))
	for i, m := range t.merges {
		merges[i] = mergePair{t.tokens[m[0]], t.tokens[m[1]]}
	}
	var err error
	if f.Model.Merges, err = json.Marshal(merges); err != nil {
		return nil, err
	}
	return json.Marshal(f)
}

// startsWith is the post-processor that puts a special token before a text.
func startsWith(token string, id int32) *hfPart {
	special := hfTemplate{SpecialToken: &hfTemplateRef{ID: token}}
	first := hfTemplate{Sequence: &hfTemplateRef{ID: "A"}}
	second := hfTemplate{Sequence: &hfTemplateRef{ID: "B", TypeID: 1}}
	return &hfPart{
		Type:          "TemplateProcessing",
		Single:        []hfTemplate{special, first},
		Pair:          []hfTemplate{first, second},
		SpecialTokens: map[string]hfTemplateIDs{token: {ID: token, IDs: []int32{id}, Tokens: []string{token}}},
	}
}
