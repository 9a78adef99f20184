package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/mamba-encoder-swarm/mes/model/data"
)

var dataCommand = command{
	name: "data", summary: "make token shards of texts, count and check them",
	help: `
Training reads prepared data: a folder of token shards by split and domain, with data.json.

Example:
  mes data prepare -tokenizer weights/mamba2-mini -o data corpus.tar.xz`,
	verbs: []command{dataPrepare, dataStats, dataVerify},
}

var dataPrepare = command{
	name: "prepare", args: "INPUT ...", summary: "encode texts into shards",
	help: `
Reads the inputs, files or folders, and writes the folder -o, which appears when it is
complete. Read are JSON lines (.jsonl, .ndjson), Parquet (.parquet), and as one document
each the files with a known ending (.txt, .md, source code) or that a rule names; all but
Parquet also compressed (.gz, .xz, .zst) and in .tar archives. Hidden, binary and other
files are counted and left out. ` + "`mes tokenizer train`" + ` makes a tokenizer of one's own first.

The domain of a document is that of the first rule whose pattern matches its file, else the
value of -domain-field, else that of its path: the first folder below the input, or below a
folder train, valid or test; a file of records directly there has its own name. Such a
folder also says the split. Otherwise a hash of the document's group does: what the group
field says, else the file of a text, else the document. A text that was there before, apart
from white space, is dropped before the splits are made.

Example:
  mes data prepare -tokenizer weights/mamba2-mini -o data corpus.tar.xz
  mes data prepare -tokenizer tok -o data -rule '*.go=code-go' -rule 'docs/**=manuals' project`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		p := &prepare{m: m}
		fs.StringVar(&p.cfg.Out, "o", "", "`folder` to write; needed")
		fs.StringVar(&p.cfg.Tokenizer, "tokenizer", "", "`folder` with a tokenizer, or its tokenizer.json or tokenizer.model; needed")
		fs.BoolVar(&p.cfg.Replace, "force", false, "replace the prepared data that -o names")
		r := &p.cfg.Rules
		fs.Func("rule", "`PATTERN=DOMAIN` for files; may be given several times, the first match counts; * and ** as in .gitignore; the domain - leaves files out", func(s string) error {
			glob, domain, ok := strings.Cut(s, "=")
			if !ok {
				return fmt.Errorf("%q is not PATTERN=DOMAIN", s)
			}
			r.Files = append(r.Files, data.Rule{Glob: glob, Domain: domain})
			return nil
		})
		fs.StringVar(&r.DomainField, "domain-field", "", "`field` of a record that names its domain; empty takes the path")
		fs.StringVar(&r.TextField, "text-field", "text", "`field` of a record that holds its text")
		fs.StringVar(&r.IDField, "id-field", "id", "`field` of a record that identifies it within its domain")
		fs.StringVar(&r.GroupField, "group-field", "group", "`field` of a record that names its group; a group is never in two splits made by hash")
		fs.Func("domains", "`names` of the domains to keep, separated by commas (default all)", func(s string) error {
			r.Domains = append(r.Domains, strings.Split(s, ",")...)
			return nil
		})
		fs.StringVar(&r.SplitBy, "split-by", data.ByFolder, "`way` to choose splits: folder (where there is none, hash) or hash")
		fs.Float64Var(&r.ValidFraction, "valid", 0.05, "`fraction` of the groups for valid, where the hash decides")
		fs.Float64Var(&r.TestFraction, "test", 0.05, "`fraction` of the groups for test, where the hash decides")
		fs.Uint64Var(&r.Seed, "seed", 0, "`seed` of the hash")
		fs.BoolVar(&r.KeepDuplicates, "keep-duplicates", false, "keep texts that were there before")
		fs.StringVar(&r.DuplicateIDs, "duplicate-ids", data.Fail, "what to do with another text of the same id: error, skip or keep")
		fs.StringVar(&r.InvalidUTF8, "invalid-utf8", data.Skip, "what to do with text that is not UTF-8: skip the document, or repair it with U+FFFD")
		fs.Int64Var(&p.cfg.MaxDocument, "max-document", data.DefaultMaxDocument, "`bytes` of the longest document")
		fs.BoolVar(&p.json, "json", false, "write one JSON object with counts and statistics")
		return p.run
	},
}

// prepare is one run of the command.
type prepare struct {
	m    *Main
	cfg  data.PrepareConfig
	json bool
}

func (p *prepare) run(ctx context.Context, args []string) error {
	if len(args) == 0 || p.cfg.Out == "" || p.cfg.Tokenizer == "" {
		return usageError("data prepare needs -o FOLDER, -tokenizer FOLDER and inputs; `mes help data prepare` shows an example")
	}
	p.cfg.Inputs = args
	bar := p.m.progress("prepare")
	p.cfg.Progress = bar.set
	manifest, err := data.Prepare(ctx, p.cfg)
	bar.finish()
	if err != nil {
		return err
	}
	p.m.warnAbout(manifest)
	if p.json {
		return p.m.printData(manifest)
	}
	p.m.printStats(manifest)
	p.printCounts(manifest.Counts)
	return nil
}

// printCounts writes one line on what became of the inputs.
func (p *prepare) printCounts(c data.Counts) {
	fmt.Fprintf(p.m.Stdout, "%s: %s of %s in %s", p.cfg.Out, count(int(c.Kept), "document"), thousands(c.Read), count(int(c.Files), "file"))
	for _, n := range []struct {
		count      int64
		noun, what string
	}{
		{c.Duplicates, "duplicate", ""}, {c.DuplicateIDs, "document", " with an id that was there"}, {c.Empty, "document", " empty"},
		{c.InvalidUTF8, "document", " not UTF-8"}, {c.Excluded, "document", " of other domains"}, {c.Repaired, "document", " repaired"},
		{c.SkippedFiles, "file", " left out"},
	} {
		if n.count > 0 {
			fmt.Fprintf(p.m.Stdout, ", %s%s", count(int(n.count), n.noun), n.what)
		}
	}
	fmt.Fprintln(p.m.Stdout)
}

// warnAbout says which domains cannot be evaluated.
func (m *Main) warnAbout(manifest *data.Manifest) {
	for _, split := range []string{data.Valid, data.Test} {
		if missing := manifest.Missing(split); len(missing) > 0 {
			fmt.Fprintf(m.Stderr, "mes: split %s has nothing of %s\n", split, few(missing))
		}
	}
}

var dataStats = command{
	name: "stats", args: "DATA", summary: "count documents, bytes and tokens by domain",
	help: `
Counts what the prepared data in folder DATA holds, as its data.json says.

Example:
  mes data stats data`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		asJSON := fs.Bool("json", false, "write one JSON object")
		return func(_ context.Context, args []string) error {
			if len(args) != 1 {
				return usageError("data stats needs one folder; `mes help data stats` shows an example")
			}
			manifest, err := data.ReadManifest(args[0])
			if err != nil {
				return err
			}
			if *asJSON {
				return m.printData(manifest)
			}
			m.printStats(manifest)
			return nil
		}
	},
}

var dataVerify = command{
	name: "verify", args: "DATA", summary: "check every shard",
	help: `
Reads all of the prepared data in folder DATA: every shard must be there, whole, and be the
one that data.json describes. All faults are named.

Example:
  mes data verify data`,
	flags: func(_ *flag.FlagSet, m *Main) func(context.Context, []string) error {
		return func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return usageError("data verify needs one folder; `mes help data verify` shows an example")
			}
			bar := m.progress("verify")
			manifest, err := data.Verify(ctx, args[0], bar.set)
			bar.finish()
			if err != nil {
				return err
			}
			shards := 0
			var tokens int64
			for _, s := range manifest.Splits {
				for _, p := range s.Domains {
					shards += len(p.Shards)
					tokens += p.Tokens
				}
			}
			fmt.Fprintf(m.Stdout, "%s: %s with %s tokens, all sound\n", args[0], count(shards, "shard"), thousands(tokens))
			return nil
		}
	},
}

// printData writes counts and statistics as JSON.
func (m *Main) printData(manifest *data.Manifest) error {
	enc := json.NewEncoder(m.Stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		Tokenizer data.TokenizerInfo `json:"tokenizer"`
		Counts    data.Counts        `json:"counts"`
		Stats     []data.Stat        `json:"stats"`
	}{manifest.Tokenizer, manifest.Counts, manifest.Stats()})
}

// printStats writes statistics as a table.
func (m *Main) printStats(manifest *data.Manifest) {
	w := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SPLIT\tDOMAIN\tGROUP\tDOCUMENTS\tBYTES\tTOKENS\tBYTES/TOKEN")
	for _, s := range manifest.Stats() {
		name, group := s.Domain, s.Group
		if name == "" {
			name = "all"
		}
		if group == "" {
			group = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%.2f\n", s.Split, name, group, thousands(s.Documents), thousands(s.Bytes), thousands(s.Tokens), s.BytesPerToken)
	}
	w.Flush()
}
