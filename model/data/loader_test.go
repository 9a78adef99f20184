package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample prepares three domains of different sizes, whose every document has other words.
func sample(t testing.TB) string {
	t.Helper()
	files := map[string]string{}
	for name, n := range map[string]int{"big": 60, "mid": 25, "small": 6} {
		var list []string
		for i := range n {
			var text strings.Builder
			for k := range 8 + i%7 {
				fmt.Fprintf(&text, "%s %d of %d, ", name, (i*7919+k*104729)%100_003, i)
			}
			list = append(list, text.String())
		}
		files["train/"+name+".jsonl"] = texts(t, list...)
		files["valid/"+name+".jsonl"] = texts(t, "valid "+list[0])
	}
	cfg := config(t, write(t, files))
	cfg.ShardTokens = 500
	prepare(t, cfg)
	return cfg.Out
}

func open(t testing.TB, cfg LoaderConfig) *Loader {
	t.Helper()
	l, err := NewLoader(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func next(t testing.TB, l *Loader) Batch {
	t.Helper()
	b, err := l.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rowKey identifies a row of a batch.
func rowKey(b Batch, i, length int) string {
	return fmt.Sprint(b.Domain[i], b.IDs[i*length:(i+1)*length])
}

// epochs counts the rows of epochs that batches of one row give, by epoch.
func epochs(t testing.TB, l *Loader, n int) []map[string]int {
	t.Helper()
	list := make([]map[string]int, n)
	for e := range list {
		list[e] = map[string]int{}
		for range l.RowsPerEpoch() {
			b := next(t, l)
			if b.Position.Epoch != int64(e) {
				t.Fatalf("epoch %d, want %d", b.Position.Epoch, e)
			}
			list[e][rowKey(b, 0, len(b.IDs))]++
		}
	}
	return list
}

// TestEpochIsAPermutation: without weights every epoch has every row once, in another order.
// The rows are those of the documents, one after the other in some order, found here by laying
// the documents after each other.
func TestEpochIsAPermutation(t *testing.T) {
	dir, length := sample(t), 12
	l := open(t, LoaderConfig{Dir: dir, SeqLen: length, Batch: 1, Seed: 7})
	if diff := cmp.Diff([]string{"big", "mid", "small"}, l.Domains()); diff != "" {
		t.Fatal(diff)
	}
	rows := int64(0)
	for d, name := range l.Domains() {
		// The rows in order, as the stream has them, must lay out whole documents.
		var tokens []int32
		for i := range l.streams[d].rows(length) {
			row := make([]int32, length+1)
			if err := l.streams[d].read(row, i*int64(length)); err != nil {
				t.Fatal(err)
			}
			if i > 0 && tokens[len(tokens)-1] != row[0] {
				t.Fatalf("%s: row %d does not overlap the one before", name, i)
			}
			tokens = append(tokens[:max(0, len(tokens)-1)], row...)
		}
		docs, total := map[string]int{}, 0
		order := documents(t, dir, Train, name)
		for _, doc := range order {
			docs[fmt.Sprint(doc.IDs)]++
			total += len(doc.IDs)
		}
		if want := (total - 1) / length; int64(want) != l.streams[d].rows(length) {
			t.Errorf("%s: %d rows, want %d", name, l.streams[d].rows(length), want)
		}
		rows += l.streams[d].rows(length)
		moved := false
		for i := 0; len(tokens) > 0; i++ {
			end := slices.Index(tokens[1:], 0) + 1
			if end == 0 {
				break // the last one is cut
			}
			key := fmt.Sprint(tokens[:end])
			if docs[key] == 0 {
				t.Fatalf("%s: %s is no document", name, key)
			}
			docs[key]--
			moved = moved || !slices.Equal(order[i].IDs, tokens[:end])
			tokens = tokens[end:]
		}
		if !moved {
			t.Errorf("%s: the documents are not shuffled", name)
		}
	}
	if rows != l.RowsPerEpoch() {
		t.Errorf("%d rows an epoch, want %d", l.RowsPerEpoch(), rows)
	}
	seen := epochs(t, l, 2)
	if diff := cmp.Diff(seen[0], seen[1]); diff != "" {
		t.Errorf("two epochs differ in rows: %s", diff)
	}
	if slices.Equal(l.mix.epoch(0), l.mix.epoch(1)) {
		t.Error("two epochs have the same order")
	}
	distinct := int64(0)
	for _, n := range seen[0] {
		distinct += int64(n)
	}
	if distinct != rows || int64(len(seen[0])) != rows {
		t.Errorf("%d different rows of %d, want %d", len(seen[0]), distinct, rows)
	}
}

// TestWeights: an epoch keeps the shares, and a domain gives each row n or n+1 times in all.
func TestWeights(t *testing.T) {
	l := open(t, LoaderConfig{Dir: sample(t), SeqLen: 12, Batch: 1, Weights: map[string]float64{"big": 0, "mid": 1, "small": 3}})
	times := map[string]int{}
	for e, rows := range epochs(t, l, 3) {
		var by [3]int64
		for key, n := range rows {
			by[key[0]-'0'] += int64(n)
			times[key] += n
		}
		quarter := l.RowsPerEpoch() / 4
		if by[0] != 0 || by[1]-quarter < 0 || by[1]-quarter > 1 || by[1]+by[2] != l.RowsPerEpoch() {
			t.Errorf("epoch %d: %v of %d rows, want 0, 1/4, 3/4", e, by, l.RowsPerEpoch())
		}
	}
	least, most := map[byte]int{}, map[byte]int{}
	rows := map[byte]int64{}
	for key, n := range times {
		d := key[0]
		rows[d]++
		if v, ok := least[d]; !ok || n < v {
			least[d] = n
		}
		most[d] = max(most[d], n)
	}
	for d, n := range rows {
		if n != l.mix.rows[d-'0'] || most[d]-least[d] > 1 {
			t.Errorf("%s: %d of %d rows, each %d to %d times", l.Domains()[d-'0'], n, l.mix.rows[d-'0'], least[d], most[d])
		}
	}
}

// TestResume: from any position on, another loader gives the same batches, at once or after
// it has given others.
func TestResume(t *testing.T) {
	dir := sample(t)
	cfg := LoaderConfig{Dir: dir, SeqLen: 10, Batch: 7, Seed: 3, Weights: map[string]float64{"big": 1, "mid": 2, "small": 2}}
	l := open(t, cfg)
	var all []Batch
	for len(all) == 0 || all[len(all)-1].Position.Epoch < 2 {
		b := next(t, l)
		if len(b.IDs) != cfg.Batch*(cfg.SeqLen+1) || l.Position() != b.Position {
			t.Fatalf("%d ids at %v, loader at %v", len(b.IDs), b.Position, l.Position())
		}
		all = append(all, b)
	}
	if perEpoch := int(l.RowsPerEpoch()) / cfg.Batch; len(all) != 2*perEpoch+1 {
		t.Errorf("%d batches in two epochs and one, want %d an epoch", len(all), perEpoch)
	}
	cfg.Prefetch = 1
	other := open(t, cfg)
	for i := len(all) - 2; i >= 0; i -= 3 {
		if err := other.Seek(all[i].Position); err != nil {
			t.Fatal(err)
		}
		for j := i + 1; j < min(len(all), i+4); j++ {
			if diff := cmp.Diff(all[j], next(t, other)); diff != "" {
				t.Fatalf("batch %d, resumed at %d: %s", j, i, diff)
			}
		}
	}
	if err := other.Seek(Position{Data: all[0].Position.Data}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all[0], next(t, other)); diff != "" {
		t.Errorf("from the start: %s", diff)
	}
}

// TestOrderIsForEver holds the order that saved positions rely on: a change of these numbers
// makes every checkpoint go on with other rows. They are what this Python prints:
//
//	import hashlib
//	M = 2**64 - 1
//	class PCG:  # PCG-DXSM of math/rand/v2: 128-bit LCG, cheap multiplier
//	    def __init__(s, hi, lo): s.s = hi << 64 | lo
//	    def next(s):
//	        s.s = (s.s * (2549297995355413924 << 64 | 4865540595714422341) + (6364136223846793005 << 64 | 1442695040888963407)) & (2**128 - 1)
//	        hi, lo = s.s >> 64, s.s & M
//	        hi ^= hi >> 32; hi = hi * 0xda942042e4dd58b5 & M; hi ^= hi >> 48
//	        return hi * (lo | 1) & M
//	d = hashlib.sha256((1).to_bytes(8, "little") + (2).to_bytes(8, "little") + b"epoch").digest()
//	r = PCG(int.from_bytes(d[:8], "little"), int.from_bytes(d[8:16], "little")); l = list(range(10))
//	for i in range(9, 0, -1):
//	    j = r.next() * (i + 1) >> 64; l[i], l[j] = l[j], l[i]
//	print(l)
func TestOrderIsForEver(t *testing.T) {
	if got, want := permuted(10, random(1, "epoch", 2)), []int64{1, 3, 6, 8, 7, 4, 9, 2, 0, 5}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestBranchDomain(t *testing.T) {
	l := open(t, LoaderConfig{Dir: sample(t), SeqLen: 12, Batch: 4, Domains: []string{"mid"}})
	for range 20 {
		if b := next(t, l); slices.Max(b.Domain) != 0 {
			t.Fatalf("domains %v of %v", b.Domain, l.Domains())
		}
	}
}

// TestSeekRefuses: a position of anything else is refused with a sentence that names it.
func TestSeekRefuses(t *testing.T) {
	dir := sample(t)
	base := LoaderConfig{Dir: dir, SeqLen: 10, Batch: 2, Seed: 3}
	position := open(t, base).Position()
	other := sample(t)
	for name, c := range map[string]struct {
		change func(*LoaderConfig)
		want   string
	}{
		"length":  {func(c *LoaderConfig) { c.SeqLen = 11 }, "it was saved with length=10, here is length=11"},
		"seed":    {func(c *LoaderConfig) { c.Seed = 4 }, "it was saved with seed=3, here is seed=4"},
		"split":   {func(c *LoaderConfig) { c.Split, c.Batch = Valid, 1 }, "shards="},
		"domains": {func(c *LoaderConfig) { c.Domains = []string{"mid"} }, "shards="},
		"weights": {func(c *LoaderConfig) { c.Weights = map[string]float64{"big": 1, "mid": 1, "small": 2} }, "mixture="},
		"data":    {func(c *LoaderConfig) { c.Dir = otherData(t) }, "shards="},
		"vocabulary": {func(c *LoaderConfig) {
			c.Dir = other
			text, err := os.ReadFile(filepath.Join(other, ManifestFile))
			if err != nil {
				t.Fatal(err)
			}
			m, err := ParseManifest(text)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.ReplaceAll(string(text), m.Tokenizer.SHA256, strings.Repeat("ab", 32))
			if err := os.WriteFile(filepath.Join(other, ManifestFile), []byte(changed), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "it was saved with vocabulary="},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := base
			c.change(&cfg)
			err := open(t, cfg).Seek(position)
			if !errors.Is(err, ErrPosition) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	cfg := base
	cfg.Batch = 3 // not part of a position
	l := open(t, cfg)
	if err := l.Seek(position); err != nil {
		t.Error(err)
	}
	for _, p := range []Position{{Row: -1}, {Epoch: -1}, {Row: l.RowsPerEpoch() + 1}, {Epoch: 1 << 40}} {
		p.Data = position.Data
		if err := l.Seek(p); !errors.Is(err, ErrPosition) {
			t.Errorf("%v: %v", p, err)
		}
	}
}

// otherData prepares data that differs in one text.
func otherData(t testing.TB) string {
	t.Helper()
	cfg := config(t, write(t, map[string]string{"train/big.jsonl": texts(t, strings.Repeat("x ", 50)),
		"train/mid.jsonl": texts(t, strings.Repeat("y ", 50)), "train/small.jsonl": texts(t, strings.Repeat("z ", 50))}))
	prepare(t, cfg)
	return cfg.Out
}

func TestNewLoaderRefuses(t *testing.T) {
	dir := sample(t)
	for name, c := range map[string]struct {
		cfg  LoaderConfig
		kind error
		want string
	}{
		"no length":       {LoaderConfig{Dir: dir, Batch: 1}, ErrConfig, "row length 0"},
		"no batch":        {LoaderConfig{Dir: dir, SeqLen: 8}, ErrConfig, "batch 0"},
		"no data":         {LoaderConfig{Dir: t.TempDir(), SeqLen: 8, Batch: 1}, os.ErrNotExist, "`mes data prepare` makes it"},
		"unknown split":   {LoaderConfig{Dir: dir, Split: Test, SeqLen: 8, Batch: 1}, ErrConfig, `no split "test", it has train, valid`},
		"unknown domain":  {LoaderConfig{Dir: dir, SeqLen: 8, Batch: 1, Domains: []string{"sea"}}, ErrConfig, `no domain "sea", it has big, mid, small`},
		"domain twice":    {LoaderConfig{Dir: dir, SeqLen: 8, Batch: 1, Domains: []string{"mid", "mid"}}, ErrConfig, "mid is named twice"},
		"no domains":      {LoaderConfig{Dir: dir, SeqLen: 8, Batch: 1, Domains: []string{}}, ErrConfig, "no domains are named"},
		"rows too long":   {LoaderConfig{Dir: dir, SeqLen: 100_000, Batch: 1}, ErrConfig, "domain big has"},
		"batch too large": {LoaderConfig{Dir: dir, SeqLen: 8, Batch: 100_000}, ErrConfig, "fewer than a batch of 100000"},
		"weight missing":  {LoaderConfig{Dir: dir, SeqLen: 8, Batch: 1, Weights: map[string]float64{"big": 1}}, ErrConfig, "domain mid has no weight"},
		"weight unknown":  {LoaderConfig{Dir: dir, SeqLen: 8, Batch: 1, Weights: map[string]float64{"sea": 1}}, ErrConfig, `weight of "sea"`},
		"weight negative": {LoaderConfig{Dir: dir, SeqLen: 8, Batch: 1, Weights: map[string]float64{"big": -1, "mid": 1, "small": 1}}, ErrConfig, "weight of big: -1"},
		"weights zero":    {LoaderConfig{Dir: dir, SeqLen: 8, Batch: 1, Weights: map[string]float64{"big": 0, "mid": 0, "small": 0}}, ErrConfig, "sum is 0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewLoader(c.cfg)
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %v with %q", err, c.kind, c.want)
			}
		})
	}
}

// TestLoaderBadShard: a shard that was changed, cut or exchanged is named before training.
func TestLoaderBadShard(t *testing.T) {
	for name, c := range map[string]struct {
		change func(path string, content []byte) []byte
		kind   error
	}{
		"changed": {func(_ string, b []byte) []byte { b[90] ^= 1; return b }, ErrChecksum},
		"cut":     {func(_ string, b []byte) []byte { return b[:len(b)-8] }, ErrTruncated},
		"exchanged": {func(path string, _ []byte) []byte {
			other, err := os.ReadFile(strings.Replace(path, "mid-00000", "mid-00001", 1))
			if err != nil {
				panic(err)
			}
			return other
		}, ErrChecksum},
	} {
		t.Run(name, func(t *testing.T) {
			dir := sample(t)
			path := filepath.Join(dir, "train", "mid-00000.tok")
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, c.change(path, content), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err = NewLoader(LoaderConfig{Dir: dir, SeqLen: 8, Batch: 1})
			if shard, ok := errors.AsType[*ShardError](err); !ok || shard.File != path || !errors.Is(err, c.kind) {
				t.Errorf("loader: %v, want %v of %s", err, c.kind, path)
			}
			if _, err := Verify(t.Context(), dir, nil); !errors.Is(err, c.kind) {
				t.Errorf("verify: %v, want %v", err, c.kind)
			}
		})
	}
}

func TestNextStops(t *testing.T) {
	l := open(t, LoaderConfig{Dir: sample(t), SeqLen: 8, Batch: 2})
	want := next(t, l)
	if err := l.Seek(Position{Data: want.Position.Data}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // a batch may be ready all the same
		if _, err := l.Next(ctx); err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			continue
		}
		if err := l.Seek(Position{Data: want.Position.Data}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, next(t, l)); diff != "" {
		t.Errorf("a batch was lost: %s", diff)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := l.Next(t.Context()); err == nil {
		t.Error("a closed loader gave a batch")
	}
}
