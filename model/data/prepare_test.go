package data

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDomainsAndSplitsByPath: the rules that Prepare's comment states, on folders and
// archives.
func TestDomainsAndSplitsByPath(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  map[string]int64
	}{
		"split folders": {map[string]string{"train/a.jsonl": texts(t, "one", "two"), "validation/a.jsonl": texts(t, "three"),
			"test/b/x.jsonl": texts(t, "four"), "train/b/y.md": "five", "licences/x.jsonl": texts(t, "six")},
			map[string]int64{"train/a": 2, "valid/a": 1, "test/b": 1, "train/b": 1, "train/licences": 1}},
		"no splits": {map[string]string{"a.jsonl": texts(t, "one", "two"), "b-00003-of-00007.jsonl": texts(t, "three"), "c/deep/x.go": "package x", "c/y.ndjson": texts(t, "four")},
			map[string]int64{"train/a": 2, "train/b": 1, "train/c": 2}},
		"text at the top": {map[string]string{"x.txt": "one"}, map[string]int64{"train/input": 1}},
		"left out":        {map[string]string{"a/x.txt": "one", "a/.git/y.txt": "two", "a/.z.txt": "three", "a/q.png": "four", "a/nul.txt": "fi\x00ve"}, map[string]int64{"train/a": 1}},
		"archives": {map[string]string{"x.tar": archive(t, map[string]string{"corpus/train/a.jsonl": texts(t, "one"), "corpus/valid/a.jsonl": texts(t, "two"), "corpus/licences/note": "three"}),
			"y.tar.gz": compressed(t, "gz", archive(t, map[string]string{"./c/x.txt": "four", "d.jsonl.xz": compressed(t, "xz", texts(t, "five"))})),
			"z.txz":    compressed(t, "xz", archive(t, map[string]string{"e/x.md": "six"})), "z.tar.zst": compressed(t, "zst", archive(t, map[string]string{"e/y.md": "seven"}))},
			map[string]int64{"train/a": 1, "valid/a": 1, "train/c": 1, "train/d": 1, "train/e": 2}},
		"compressed": {map[string]string{"a.jsonl.gz": compressed(t, "gz", texts(t, "one")), "b.jsonl.xz": compressed(t, "xz", texts(t, "two")), "c.jsonl.zst": compressed(t, "zst", texts(t, "three")),
			"d/x.txt.gz": compressed(t, "gz", "four")}, map[string]int64{"train/a": 1, "train/b": 1, "train/c": 1, "train/d": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			m := prepare(t, config(t, write(t, c.files)))
			if diff := cmp.Diff(c.want, sizes(m)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSplitFolderAsInput: an input may be the folder of a split, or a single file.
func TestSplitFolderAsInput(t *testing.T) {
	dir := write(t, map[string]string{"train/a.jsonl": texts(t, "one"), "valid/a.jsonl": texts(t, "two"), "note": "three"})
	cfg := config(t, filepath.Join(dir, "train"), filepath.Join(dir, "valid"), filepath.Join(dir, "note"))
	m := prepare(t, cfg)
	if diff := cmp.Diff(map[string]int64{"train/a": 1, "valid/a": 1, "train/note": 1}, sizes(m)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Source{{"train", 1, 3}, {"valid", 1, 3}, {"note", 1, 5}}, m.Sources); diff != "" {
		t.Error(diff)
	}
}

func TestRules(t *testing.T) {
	cfg := config(t, write(t, map[string]string{
		"src/a.go": "package a", "src/a_test.go": "package b", "docs/deep/x.md": "words", "docs/y.unknown": "more words",
		"r.jsonl": lines(t, map[string]any{"body": "one", "kind": "news"}, map[string]any{"body": "two", "kind": "essays"})}))
	cfg.Rules = Rules{DomainField: "kind", TextField: "body",
		Files: []Rule{{"*_test.go", LeaveOut}, {"*.go", "code-go"}, {"docs/**", "manual"}}}
	m := prepare(t, cfg)
	if diff := cmp.Diff(map[string]int64{"train/code-go": 1, "train/manual": 2, "train/news": 1, "train/essays": 1}, sizes(m)); diff != "" {
		t.Error(diff)
	}
	if i := slices.IndexFunc(m.Domains, func(d DomainInfo) bool { return d.Name == "code-go" }); m.Domains[i].Group != "code" {
		t.Errorf("groups: %v", m.Domains)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		glob, file string
		want       bool
	}{
		{"*.go", "a/b/x.go", true}, {"*.go", "x.god", false}, {"a/*.go", "a/x.go", true}, {"a/*.go", "a/b/x.go", false},
		{"a/**/*.go", "a/x.go", true}, {"a/**/*.go", "a/b/c/x.go", true}, {"a/**", "a/b/c", true}, {"a/**", "b/a/c", false},
		{"?.md", "x.md", true}, {"?.md", "xy.md", false}, {"a+b(.txt", "a+b(.txt", true},
	} {
		g, err := compileRules([]Rule{{c.glob, "d"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := g.domain(c.file) == "d"; got != c.want {
			t.Errorf("%s with %s: %v", c.glob, c.file, got)
		}
	}
}

// TestGroupsStayTogether: splits by hash hold whole groups, in the shares asked for.
func TestGroupsStayTogether(t *testing.T) {
	var records []map[string]any
	for i := range 900 {
		records = append(records, map[string]any{"text": strings.Repeat("w", i+1), "group": i / 3, "id": i})
	}
	cfg := config(t, write(t, map[string]string{"a.jsonl": lines(t, records...)}))
	cfg.Rules = Rules{SplitBy: ByHash, ValidFraction: 0.2, TestFraction: 0.1}
	m := prepare(t, cfg)
	where := map[int64]string{}
	for _, s := range m.Splits {
		for _, doc := range documents(t, cfg.Out, s.Name, s.Domains[0].Domain) {
			group := (doc.Bytes - 1) / 3
			if other, ok := where[group]; ok && other != s.Name {
				t.Fatalf("group %d is in %s and %s", group, other, s.Name)
			}
			where[group] = s.Name
		}
	}
	share := sizes(m)
	if v, x := share["valid/a"], share["test/a"]; v < 120 || v > 240 || x < 45 || x > 135 {
		t.Errorf("shares %v, want about 180 and 90 of 900", share)
	}
	cfg.Out, cfg.Rules.Seed = filepath.Join(t.TempDir(), "data"), 1
	if other := prepare(t, cfg); cmp.Equal(m.Splits, other.Splits) {
		t.Error("another seed makes the same splits")
	}
}

// TestDuplicates: of equal texts the first is kept, across files, domains and splits.
func TestDuplicates(t *testing.T) {
	dir := write(t, map[string]string{"train/a.jsonl": texts(t, "one two", "\tone\n\ntwo ", "One two", "onetwo"), "train/b.jsonl": texts(t, "one two", "own"), "valid/a.jsonl": texts(t, "one  two", "new")})
	cfg := config(t, dir)
	m := prepare(t, cfg)
	if diff := cmp.Diff(map[string]int64{"train/a": 3, "train/b": 1, "valid/a": 1}, sizes(m)); diff != "" {
		t.Error(diff)
	}
	if m.Counts.Duplicates != 3 {
		t.Errorf("%d duplicates, want 3", m.Counts.Duplicates)
	}
	cfg.Out, cfg.Rules.KeepDuplicates = filepath.Join(t.TempDir(), "data"), true
	if m := prepare(t, cfg); m.Counts.Kept != 8 {
		t.Errorf("%d kept, want 8", m.Counts.Kept)
	}
}

func TestDuplicateIDs(t *testing.T) {
	dir := write(t, map[string]string{
		"a.jsonl": lines(t, map[string]any{"text": "one", "id": 1}, map[string]any{"text": "two", "id": "1"}, map[string]any{"text": "three", "id": nil}, map[string]any{"text": "four", "id": nil}),
		"b.jsonl": lines(t, map[string]any{"text": "five", "id": 1})})
	for policy, kept := range map[string]int64{Skip: 4, Keep: 5} {
		cfg := config(t, dir)
		cfg.Rules.DuplicateIDs = policy
		if m := prepare(t, cfg); m.Counts.Kept != kept || m.Counts.DuplicateIDs != 5-kept {
			t.Errorf("%s: %+v", policy, m.Counts)
		}
	}
	refuse(t, config(t, dir), ErrDuplicateID, "a.jsonl:2: ", `"1" in domain a`)
}

func TestInvalidUTF8(t *testing.T) {
	dir := write(t, map[string]string{
		"a.jsonl": "{\"text\":\"caf\xe9 one\"}\n" + `{"text":"half \ud83d pair"}` + "\n" + `{"text":"sound \ufffd \ud83d\udea2 \\ufffd"}` + "\n",
		"b/x.txt": "latin \xe9\xff\xfe text", "b/y.txt": "\uFEFFwhole"})
	m := prepare(t, config(t, dir))
	if m.Counts.InvalidUTF8 != 3 || m.Counts.Kept != 2 {
		t.Errorf("%+v, want 3 that are not UTF-8 and 2 kept", m.Counts)
	}
	cfg := config(t, dir)
	cfg.Rules.InvalidUTF8 = Repair
	m = prepare(t, cfg)
	if m.Counts.Repaired != 3 || m.Counts.Kept != 5 {
		t.Errorf("%+v, want 3 repaired and 5 kept", m.Counts)
	}
	var bytes []int64
	for _, doc := range documents(t, cfg.Out, Train, "b") {
		bytes = append(bytes, doc.Bytes)
	}
	if want := []int64{int64(len("latin \uFFFD text")), int64(len("whole"))}; !slices.Equal(bytes, want) {
		t.Errorf("bytes %v, want %v", bytes, want)
	}
}

// TestGiantDocument: one document may be larger than everything that is held at once.
func TestGiantDocument(t *testing.T) {
	giant := strings.Repeat("All work and no play. ", budgetBytes/20)
	cfg := config(t, write(t, map[string]string{"a.jsonl": texts(t, "small", giant, "after"), "b/x.txt": strings.Repeat("!", 1001)}))
	m := prepare(t, cfg)
	if diff := cmp.Diff(map[string]int64{"train/a": 3, "train/b": 1}, sizes(m)); diff != "" {
		t.Error(diff)
	}
	if docs := documents(t, cfg.Out, Train, "a"); docs[1].Bytes != int64(len(giant)) || len(docs[1].IDs) < 1_000_000 {
		t.Errorf("%d bytes, %d ids", docs[1].Bytes, len(docs[1].IDs))
	}
	for _, file := range []string{"a.jsonl", "b"} {
		cfg := config(t, filepath.Join(cfg.Inputs[0], file))
		cfg.MaxDocument = 1000
		refuse(t, cfg, ErrTooLong, file, "more than 1000 bytes")
	}
}

func TestEmptyDomain(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		rules Rules
		want  string
	}{
		"empty file":      {map[string]string{"train/a.jsonl": texts(t, "one"), "train/hollow.jsonl": ""}, Rules{}, "hollow"},
		"white space":     {map[string]string{"a/x.txt": "one", "hollow/x.txt": " \n"}, Rules{}, "hollow"},
		"duplicates only": {map[string]string{"a/x.txt": "one", "hollow/x.txt": "one"}, Rules{}, "hollow"},
		"valid only":      {map[string]string{"train/a.jsonl": texts(t, "one"), "valid/hollow.jsonl": texts(t, "two")}, Rules{}, "hollow"},
		"asked for":       {map[string]string{"a/x.txt": "one"}, Rules{Domains: []string{"a", "hollow"}}, "hollow"},
		"nothing":         {map[string]string{"a/x.png": "one"}, Rules{}, "1 files skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, write(t, c.files))
			cfg.Rules = c.rules
			refuse(t, cfg, ErrEmptyDomain, c.want)
		})
	}
}

func TestWantedDomains(t *testing.T) {
	cfg := config(t, write(t, map[string]string{"a.jsonl": texts(t, "one"), "b.jsonl": texts(t, "two")}))
	cfg.Rules.Domains = []string{"b"}
	if m := prepare(t, cfg); m.Counts.Excluded != 1 || len(m.Domains) != 1 {
		t.Errorf("%+v, %v", m.Counts, m.Domains)
	}
}

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

// TestExistingFolder: nothing is replaced unasked, and nothing but prepared data ever.
func TestExistingFolder(t *testing.T) {
	cfg := config(t, write(t, map[string]string{"a.jsonl": texts(t, "one")}))
	first := prepare(t, cfg)
	if _, err := Prepare(t.Context(), cfg); !errors.Is(err, ErrExists) {
		t.Errorf("%v, want ErrExists", err)
	}
	cfg.Inputs = []string{write(t, map[string]string{"b.jsonl": texts(t, "two")})}
	cfg.Replace = true
	if second := prepare(t, cfg); second.Domains[0].Name != "b" || first.Domains[0].Name != "a" {
		t.Errorf("%v", second.Domains)
	}
	cfg.Out = t.TempDir()
	if err := os.WriteFile(filepath.Join(cfg.Out, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(t.Context(), cfg); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "remove it yourself") {
		t.Errorf("%v, want ErrExists", err)
	}
	if !exists(filepath.Join(cfg.Out, "mine")) {
		t.Error("a folder that is no prepared data was replaced")
	}
}

// TestInterrupted: an interruption anywhere leaves nothing, and the old data where it was.
func TestInterrupted(t *testing.T) {
	var list []string
	for i := range 3000 {
		list = append(list, strings.Repeat("word ", i%50)+fmt.Sprint(i))
	}
	cfg := config(t, write(t, map[string]string{"a.jsonl": texts(t, list...)}))
	for _, after := range []int{0, 1, 5} {
		ctx, cancel := context.WithCancel(t.Context())
		cfg.Progress = func(int64, int64) {
			if after--; after <= 0 {
				cancel()
			}
		}
		if after == 0 {
			cancel()
		}
		_, err := Prepare(ctx, cfg)
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("%v, want an interruption", err)
		}
		alone(t, filepath.Join(filepath.Dir(cfg.Out), "nothing"))
	}
}

// TestSameInputSameFolder: the folder does not depend on the number of workers, nor on where
// the inputs lie.
func TestSameInputSameFolder(t *testing.T) {
	var list []string
	for i := range 1500 {
		list = append(list, strings.Repeat("tick ", i%90)+fmt.Sprint(i))
	}
	files := map[string]string{"a.jsonl": texts(t, list...), "b/x.txt": "one", "b/y.txt": "two"}
	var manifests [2]string
	for i := range manifests {
		cfg := config(t, write(t, files))
		cfg.Workers = 1 + 3*i
		cfg.Rules.ValidFraction = 0.1
		prepare(t, cfg)
		text, err := os.ReadFile(filepath.Join(cfg.Out, ManifestFile))
		if err != nil {
			t.Fatal(err)
		}
		manifests[i] = string(text)
	}
	if diff := cmp.Diff(manifests[0], manifests[1]); diff != "" {
		t.Error(diff)
	}
}

func TestVerifyNamesAll(t *testing.T) {
	cfg := config(t, write(t, map[string]string{"a.jsonl": texts(t, "one"), "b.jsonl": texts(t, "two")}))
	prepare(t, cfg)
	shard := filepath.Join(cfg.Out, "train", "a-00000.tok")
	surplus := filepath.Join(cfg.Out, "train", "c-00000.tok")
	tok := filepath.Join(cfg.Out, TokenizerDir, "tokenizer.json")
	for _, err := range []error{os.Remove(shard), os.WriteFile(surplus, nil, 0o644), os.WriteFile(tok, []byte("{}"), 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := Verify(t.Context(), cfg.Out, nil)
	for _, path := range []string{shard, surplus, tok} {
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%v does not name %s", err, path)
		}
	}
}

// validManifest is the text of a data.json.
func validManifest(t testing.TB) []byte {
	t.Helper()
	cfg := config(t, write(t, map[string]string{"train/a.jsonl": texts(t, "one"), "train/b.jsonl": texts(t, "two"), "valid/a.jsonl": texts(t, "three")}))
	prepare(t, cfg)
	text, err := os.ReadFile(filepath.Join(cfg.Out, ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestBadManifests(t *testing.T) {
	good := string(validManifest(t))
	for name, c := range map[string]struct{ old, new, want string }{
		"version":         {`"version": 1`, `"version": 2`, "version 2; this program reads version 1"},
		"unknown key":     {`"version": 1`, `"version": 1, "odd": 1`, "odd"},
		"path":            {"train/a-00000.tok", "../a-00000.tok", "want train/a-00000.tok"},
		"sum":             {`"documents": 1`, `"documents": 2`, "add up"},
		"negative":        {`a-00000.tok",` + "\n              " + `"documents": `, `a-00000.tok",` + "\n" + `"documents": -`, "impossible size"},
		"domain's name":   {`"name": "a"`, `"name": "a/b"`, "is no name of a domain"},
		"domain's order":  {`"name": "a"`, `"name": "z"`, "names must rise"},
		"split's name":    {`"name": "valid"`, `"name": "other"`, `splits: "other"`},
		"unknown domain":  {`"domain": "b"`, `"domain": "c"`, `domain "c" is unknown`},
		"tokenizer's sum": {`"sha256": "`, `"sha256": "x`, "sha256"},
		"vocabulary":      {`"vocab_size": 290`, `"vocab_size": 0`, "vocab_size 0"},
		"cut":             {good[len(good)-9:], "", "unexpected end"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(good, c.old, c.new, 1)
			if changed == good {
				t.Fatalf("%q is not there", c.old)
			}
			if _, err := ParseManifest([]byte(changed)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// FuzzManifest parses any text. What is accepted names files inside of the folder alone and
// is accepted again when it is written.
func FuzzManifest(f *testing.F) {
	f.Add(validManifest(f))
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseManifest(text)
		if err != nil {
			return
		}
		for _, s := range m.Splits {
			for _, p := range s.Domains {
				for _, shard := range p.Shards {
					if !filepath.IsLocal(shard.File) {
						t.Fatalf("file %q", shard.File)
					}
				}
			}
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseManifest(again); err != nil {
			t.Fatalf("%s is refused: %v", again, err)
		}
	})
}

// FuzzLines reads any file of JSON lines: it never panics, gives valid UTF-8, and gives what
// encoding/json reads of a line that is sound.
func FuzzLines(f *testing.F) {
	f.Add([]byte(`{"text":"a","id":1}` + "\n" + `{"text":"b\ud83d","group":"g"}`))
	f.Add([]byte("\uFEFF{\"text\":\"caf\xe9\"}\n\n  \nnull"))
	f.Fuzz(func(t *testing.T, file []byte) {
		rules := Rules{InvalidUTF8: Repair}
		if err := rules.complete(); err != nil {
			t.Fatal(err)
		}
		var counts Counts
		s := sources{rules: &rules, counts: &counts, most: 1 << 16, found: func(string) {}, emit: func(doc document) error {
			if strings.ToValidUTF8(doc.text, "") != doc.text || strings.TrimSpace(doc.text) == "" || doc.domain != "d" || doc.group == "" {
				t.Fatalf("%+v", doc)
			}
			return nil
		}}
		_ = s.lines(strings.NewReader(string(file)), document{where: "f", place: "f", domain: "d", split: Train})
		rec, err := parseLine(file, &rules)
		var plain struct{ Text *string }
		if json.Unmarshal(file, &plain) == nil && err == nil && plain.Text != nil && !rec.broken && !strings.Contains(strings.ToLower(string(file)), `"t\u`) {
			var exact map[string]json.RawMessage
			if json.Unmarshal(file, &exact) == nil && exact["text"] != nil && len(exact) == 1 && *plain.Text != rec.text {
				t.Fatalf("%q, want %q", rec.text, *plain.Text)
			}
		}
	})
}
