package data

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

// mini is a real tokenizer; tiny is one of 290 tokens, which is loaded in no time.
const mini = "../../weights/mamba2-mini"

var tiny string

func TestMain(m *testing.M) {
	code, err := withTiny(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withTiny(run func() int) (code int, err error) {
	if tiny, err = os.MkdirTemp("", "mes-data-test"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(tiny)
	text := func(yield func(string, error) bool) {
		yield(strings.Repeat("the word of the text is one of many numbers 0123456789, ", 4)+strings.Join(strings.Split("abcdefghijklmnopqrstuvwxyz", ""), "a ab abc "), nil)
	}
	learnt, err := tokenizer.Train(context.Background(), text, tokenizer.TrainConfig{VocabSize: 290, MinFrequency: 2, SpecialTokens: []string{"<|endoftext|>"}})
	if err == nil && learnt.VocabSize() != 290 {
		err = fmt.Errorf("a vocabulary of %d, want 290", learnt.VocabSize())
	}
	if err == nil {
		err = learnt.Save(tiny)
	}
	if err != nil {
		return 1, err
	}
	return run(), nil
}

// write writes files, by their paths below a new folder, which it returns.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "input")
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// lines writes records as JSON lines.
func lines(t testing.TB, records ...map[string]any) string {
	t.Helper()
	var b bytes.Buffer
	for _, r := range records {
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

// texts are records with a text alone.
func texts(t testing.TB, list ...string) string {
	t.Helper()
	var records []map[string]any
	for _, text := range list {
		records = append(records, map[string]any{"text": text})
	}
	return lines(t, records...)
}

// config prepares an input into a new folder.
func config(t testing.TB, inputs ...string) PrepareConfig {
	return PrepareConfig{Inputs: inputs, Out: filepath.Join(t.TempDir(), "data"), Tokenizer: tiny}
}

// prepare runs Prepare and what must hold of every result.
func prepare(t testing.TB, cfg PrepareConfig) *Manifest {
	t.Helper()
	m, err := Prepare(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), cfg.Out, nil); err != nil {
		t.Fatal(err)
	}
	c := m.Counts
	if c.Kept+c.Duplicates+c.DuplicateIDs+c.Empty+c.InvalidUTF8+c.Excluded != c.Read {
		t.Errorf("the counts do not add up: %+v", c)
	}
	alone(t, cfg.Out)
	return m
}

// alone fails if anything lies beside a path, such as a folder that was not finished.
func alone(t testing.TB, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(path) {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

// sizes gives the documents by split and domain, "split/domain".
func sizes(m *Manifest) map[string]int64 {
	found := map[string]int64{}
	for _, s := range m.Stats() {
		if s.Domain != "" {
			found[s.Split+"/"+s.Domain] = s.Documents
		}
	}
	return found
}

// documents reads the documents of a domain.
func documents(t testing.TB, dir, split, domain string) (list []Document) {
	t.Helper()
	seq, err := Documents(dir, split, domain)
	if err != nil {
		t.Fatal(err)
	}
	for doc, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, doc)
	}
	return list
}

// compressed compresses with the writers of the libraries.
func compressed(t testing.TB, ending, content string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch ending {
	case "gz":
		w = gzip.NewWriter(&b)
	case "xz":
		w, err = xz.NewWriter(&b)
	case "zst":
		w, err = zstd.NewWriter(&b)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// archive makes a tar.
func archive(t testing.TB, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
