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
	if testing.Short() {
		t.Skip("encodes 17 MB")
	}
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
