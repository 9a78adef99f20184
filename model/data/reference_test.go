package data

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fixture is what scripts/fixtures/data_rows.py made with HuggingFace's tokenizers.
type fixture struct {
	Length  int
	Domains map[string]struct {
		Texts     []string
		Bytes     []int64
		Documents [][]int32
		Rows      [][]int32
	}
}

func readFixture(t testing.TB) (f fixture) {
	t.Helper()
	text, err := os.ReadFile("testdata/rows.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestRowsAreThoseOfPython compares documents, their bytes and packed rows with what
// Python makes of the same texts.
func TestRowsAreThoseOfPython(t *testing.T) {
	f := readFixture(t)
	files := map[string]string{}
	for name, d := range f.Domains {
		files["train/"+name+".jsonl"] = texts(t, d.Texts...)
	}
	cfg := config(t, write(t, files))
	cfg.Tokenizer = mini
	cfg.ShardTokens = 50 // several shards a domain
	m := prepare(t, cfg)
	var want []Row
	for i, d := range m.Domains {
		var wantDocs []Document
		for j, ids := range f.Domains[d.Name].Documents {
			wantDocs = append(wantDocs, Document{ids, f.Domains[d.Name].Bytes[j]})
		}
		if diff := cmp.Diff(wantDocs, documents(t, cfg.Out, Train, d.Name)); diff != "" {
			t.Errorf("documents of %s: %s", d.Name, diff)
		}
		for _, row := range f.Domains[d.Name].Rows {
			want = append(want, Row{row, i})
		}
	}
	seq, err := Rows(cfg.Out, Train, f.Length)
	if err != nil {
		t.Fatal(err)
	}
	var got []Row
	for row, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, row)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestParquetIsThatOfPyarrow compares the documents of files that pyarrow wrote, in several
// codecs, page versions and row groups, with the same rows as JSON lines.
func TestParquetIsThatOfPyarrow(t *testing.T) {
	text, err := os.ReadFile("testdata/parquet.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	var kept []map[string]any
	for _, row := range rows {
		if row["text"] != nil {
			kept = append(kept, row)
		}
	}
	rules := Rules{DomainField: "domain", ValidFraction: 0.2}
	cfg := config(t, write(t, map[string]string{"rows.jsonl": lines(t, kept...)}))
	cfg.Rules = rules
	want := prepare(t, cfg)
	if want.Counts.Kept != 49 {
		t.Fatalf("%d kept, want 49", want.Counts.Kept)
	}
	for _, codec := range []string{"snappy", "zstd", "gzip", "none"} {
		t.Run(codec, func(t *testing.T) {
			cfg := config(t, filepath.Join("testdata", codec+".parquet"))
			cfg.Rules = rules
			got := prepare(t, cfg)
			if got.Counts.Empty != 1 {
				t.Errorf("%d empty, want the null alone", got.Counts.Empty)
			}
			if diff := cmp.Diff(want.Splits, got.Splits); diff != "" {
				t.Error(diff)
			}
		})
	}
}
