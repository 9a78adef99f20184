package data

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// refuse demands an error of a kind that holds all words, and that nothing is left.
func refuse(t *testing.T, cfg PrepareConfig, kind error, words ...string) {
	t.Helper()
	_, err := Prepare(t.Context(), cfg)
	if err == nil || kind != nil && !errors.Is(err, kind) {
		t.Errorf("%v, want %v", err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v, want one with %q", err, w)
		}
	}
	alone(t, filepath.Join(filepath.Dir(cfg.Out), "nothing"))
}

func TestPrepareRefuses(t *testing.T) {
	good := map[string]string{"a.jsonl": texts(t, "one")}
	for name, c := range map[string]struct {
		files  map[string]string
		change func(*PrepareConfig)
		kind   error
		want   string
	}{
		"no inputs":          {good, func(c *PrepareConfig) { c.Inputs = nil }, ErrConfig, "inputs"},
		"input absent":       {good, func(c *PrepareConfig) { c.Inputs[0] += "/absent" }, fs.ErrNotExist, "absent"},
		"tokenizer absent":   {good, func(c *PrepareConfig) { c.Tokenizer = t.TempDir() }, fs.ErrNotExist, "`mes tokenizer train` makes one"},
		"tokenizer odd":      {good, func(c *PrepareConfig) { c.Tokenizer = "prepare.go" }, ErrConfig, "prepare.go"},
		"not JSON":           {map[string]string{"a.jsonl": texts(t, "one") + "two\n"}, nil, nil, "a.jsonl:2: the line is not a JSON object"},
		"JSON list":          {map[string]string{"a.jsonl": "[1]\n"}, nil, nil, "a.jsonl:1: the line is not a JSON object"},
		"JSON null":          {map[string]string{"a.jsonl": "null\n"}, nil, nil, "a.jsonl:1: the line is not a JSON object"},
		"no text":            {map[string]string{"a.jsonl": "{\"txt\":\"x\"}\n"}, nil, nil, `a.jsonl:1: no text in field "text"`},
		"text a number":      {map[string]string{"a.jsonl": "{\"text\":1}\n"}, nil, nil, `field "text" is not a text`},
		"id a list":          {map[string]string{"a.jsonl": "{\"text\":\"x\",\"id\":[]}\n"}, nil, nil, `field "id" is neither`},
		"no domain":          {good, func(c *PrepareConfig) { c.Rules.DomainField = "kind" }, nil, `a.jsonl:1: no domain in field "kind"`},
		"domain a path":      {map[string]string{"a.jsonl": "{\"text\":\"x\",\"kind\":\"../up\"}\n"}, func(c *PrepareConfig) { c.Rules.DomainField = "kind" }, nil, `"../up" is no name of a domain`},
		"folder's name":      {map[string]string{"my folder/a.txt": "x"}, nil, nil, `"my folder" is no name of a domain`},
		"gzip cut":           {map[string]string{"a.jsonl.gz": compressed(t, "gz", texts(t, "one", "two"))[:30]}, nil, nil, "a.jsonl.gz"},
		"not gzip":           {map[string]string{"a.jsonl.gz": "plain"}, nil, nil, "a.jsonl.gz: decompress"},
		"xz cut":             {map[string]string{"a.jsonl.xz": compressed(t, "xz", texts(t, "one", "two"))[:40]}, nil, nil, "a.jsonl.xz"},
		"zst damaged":        {map[string]string{"a.jsonl.zst": compressed(t, "zst", strings.Repeat(texts(t, "one"), 99))[:20]}, nil, nil, "a.jsonl.zst"},
		"tar cut":            {map[string]string{"a.tar": archive(t, good)[:520]}, nil, nil, "a.tar"},
		"parquet damaged":    {map[string]string{"a.parquet": "PAR1 no PAR1"}, nil, nil, "a.parquet"},
		"parquet in archive": {map[string]string{"a.tar": archive(t, map[string]string{"x.parquet": "PAR1"})}, nil, nil, "unpack it first"},
		"rule's domain":      {good, func(c *PrepareConfig) { c.Rules.Files = []Rule{{"*", "a b"}} }, ErrConfig, `rule "*"`},
		"rule empty":         {good, func(c *PrepareConfig) { c.Rules.Files = []Rule{{"", "a"}} }, ErrConfig, "the pattern is empty"},
		"fractions":          {good, func(c *PrepareConfig) { c.Rules.ValidFraction, c.Rules.TestFraction = 0.5, 0.5 }, ErrConfig, "fractions"},
		"split by":           {good, func(c *PrepareConfig) { c.Rules.SplitBy = "luck" }, ErrConfig, `"luck"`},
		"UTF-8 policy":       {good, func(c *PrepareConfig) { c.Rules.InvalidUTF8 = "hope" }, ErrConfig, `"hope"`},
		"id policy":          {good, func(c *PrepareConfig) { c.Rules.DuplicateIDs = "hope" }, ErrConfig, `"hope"`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, write(t, c.files))
			if c.change != nil {
				c.change(&cfg)
			}
			refuse(t, cfg, c.kind, c.want)
		})
	}
	list := config(t, filepath.Join("testdata", "list.parquet"))
	refuse(t, list, nil, `list.parquet: no column "text"`)
	absent := config(t, filepath.Join("testdata", "zstd.parquet"))
	absent.Rules.TextField = "body"
	refuse(t, absent, nil, `zstd.parquet: no column "body"`)
}
