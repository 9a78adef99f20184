package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mamba-encoder-swarm/mes/internal/atomicfile"
	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/model/eval"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

var evalCommand = command{
	name: "eval", args: "[REPORT.json...]", summary: "measure how good a model is, and compare it with others",
	help: `
Reads held-out text of prepared data and reports bits per byte, perplexity and loss by
domain and as an unweighted mean; of a swarm also how well the router knows a domain,
which encoders it uses, quality with more and fewer active encoders, and whether each
specialist knows its own domain better than others do. Tasks, needles in long texts and
samples come on top. The report is Markdown, on standard output; -o FILE.json writes it
as JSON, with FILE.md beside it. As eval.json in a model's folder it gives the model's
card its figures. Nothing is written unless all is measured.

-max-bytes makes it quick: a sample of each domain, drawn with -seed. -tasks FILE names
JSON lines, either {"good": "…", "bad": "…"} or {"context": "…", "choices": ["…", "…"],
"gold": 0}; scripts/eval has examples.

-against puts the model beside another: a model, which is measured in the same way, or
the report of one. Several reports on one side, given with -against or as arguments
instead of -model, are seeds of one kind: their mean and spread are shown.

Example:
  mes eval -model swarm -data data -max-bytes 20000 -tasks scripts/eval/pairs.jsonl -o swarm/eval.json
  mes eval -against dense-0.json -against dense-1.json swarm-0.json swarm-1.json`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		e := &evaluation{m: m, model: m.modelFlags(fs)}
		fs.StringVar(&e.cfg.Data, "data", "", "`folder` that mes data prepare wrote with the model's tokenizer")
		fs.StringVar(&e.cfg.Split, "split", data.Valid, "`split` of the data: valid, test or train")
		fs.Int64Var(&e.cfg.MaxBytes, "max-bytes", 0, "`bytes` of text of each domain; 0 reads all")
		fs.Int64Var(&e.cfg.ProbeBytes, "probe-bytes", eval.DefaultProbeBytes, "`bytes` of each domain that are read again: for each k, each swapped encoder, and for speed")
		fs.IntVar(&e.cfg.RowLength, "rows", 0, "also packed rows of this many `tokens`, as training's validation reads them")
		fs.IntVar(&e.maxActive, "k-max", -1, "try 1 to `k` active encoders; 0 none, -1 one more than the model has")
		fs.IntVar(&e.cfg.Swaps, "swap", defaultSwaps, "`encoders` at most that read each domain in place of its own; 0 none")
		fs.Func("tasks", "JSON lines `file` of tasks; may be given again", func(path string) error {
			e.tasks = append(e.tasks, path)
			return nil
		})
		fs.Func("needle", "`tokens` of texts that hide a number, separated by commas, such as 1024,16384,65536", e.needle)
		fs.IntVar(&e.cfg.Samples, "samples", defaultSamples, "`texts` to write, each of another domain")
		fs.IntVar(&e.cfg.SampleTokens, "sample-tokens", defaultSampleTokens, "`tokens` of each")
		fs.Uint64Var(&e.cfg.Seed, "seed", 0, "`seed` of whatever is drawn")
		fs.Func("against", "another `model`, or the report of one (*.json); may be given again", func(s string) error {
			e.against = append(e.against, s)
			return nil
		})
		fs.StringVar(&e.out, "o", "", "write the report to this JSON `file`, and as Markdown beside it")
		fs.BoolVar(&e.json, "json", false, "write JSON to standard output")
		return e.run
	},
}

// What is measured if nothing else is said.
const (
	defaultSwaps        = 32
	defaultSamples      = 4
	defaultSampleTokens = 64
)

// evaluation is one run of the command.
type evaluation struct {
	m         *Main
	model     *modelFlags
	cfg       eval.Config
	maxActive int
	tasks     []string
	against   []string
	out       string
	json      bool
}

func (e *evaluation) needle(list string) error {
	for _, s := range strings.Split(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil {
			return fmt.Errorf("%q is not a number of tokens", s)
		}
		e.cfg.Needle = append(e.cfg.Needle, n)
	}
	return nil
}

func (e *evaluation) run(ctx context.Context, args []string) error {
	if e.out != "" && filepath.Ext(e.out) != ".json" {
		return usageError("-o %s: the file's name must end in .json; the Markdown gets .md", e.out)
	}
	if len(args) > 0 {
		return e.compareOnly(ctx, args)
	}
	if e.cfg.Data == "" && len(e.tasks) == 0 {
		return usageError("eval needs -data FOLDER, -tasks FILE, or reports to compare; `mes help eval` shows an example")
	}
	for _, path := range e.tasks {
		set, err := readTasks(path)
		if err != nil {
			return err
		}
		e.cfg.Tasks = append(e.cfg.Tasks, set)
	}
	file, err := e.measure(ctx, e.model.dir)
	if err != nil {
		return err
	}
	if len(e.against) > 0 {
		other, err := e.side(ctx, e.against)
		if err != nil {
			return err
		}
		own := eval.Side{Name: file.Report.Model.Name, Reports: []*eval.Report{file.Report}}
		if file.Report.Against, err = eval.Compare(own, other); err != nil {
			return err
		}
	}
	text, err := file.Write()
	if err != nil {
		return err
	}
	return e.write(text, file.Markdown())
}

// compareOnly compares reports, without a model of its own.
func (e *evaluation) compareOnly(ctx context.Context, reports []string) error {
	if len(e.against) == 0 {
		return usageError("reports are compared with others: name these with -against")
	}
	for _, path := range reports {
		if !isReport(path) {
			return usageError("%s is not a report (*.json); -model names a model", path)
		}
	}
	own, err := e.side(ctx, reports)
	if err != nil {
		return err
	}
	other, err := e.side(ctx, e.against)
	if err != nil {
		return err
	}
	c, err := eval.Compare(own, other)
	if err != nil {
		return err
	}
	text, err := c.Write()
	if err != nil {
		return err
	}
	return e.write(text, c.Markdown())
}

func isReport(path string) bool { return filepath.Ext(path) == ".json" }

// side reads or makes the reports of one side.
func (e *evaluation) side(ctx context.Context, names []string) (eval.Side, error) {
	var s eval.Side
	for _, name := range names {
		var file *eval.File
		var err error
		if isReport(name) {
			file, err = eval.ReadFile(name)
		} else {
			file, err = e.measure(ctx, name)
		}
		if err != nil {
			return s, err
		}
		s.Reports = append(s.Reports, file.Report)
	}
	s.Name = s.Reports[0].Model.Name
	if len(names) > 1 {
		s.Name = fmt.Sprintf("%s and %d more", s.Name, len(names)-1)
	}
	return s, nil
}

// measure evaluates a model.
func (e *evaluation) measure(ctx context.Context, model string) (*eval.File, error) {
	start := time.Now()
	flags := *e.model
	flags.dir = model
	if flags.budget == 0 {
		flags.budget = evalEncoderMemory
	}
	l, err := flags.load(ctx)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	cfg := e.cfg
	cfg.Model, cfg.Tokenizer, cfg.Cost = l.model, l.tok, cfg.Data != ""
	if cfg.Data == "" {
		cfg.Samples = 0
	}
	if cfg.TokenizerSHA256, err = tokenizerSum(l.files.Dir); err != nil {
		return nil, err
	}
	if cfg.Engine, err = l.engine(engine.Config{}); err != nil {
		return nil, err
	}
	if cfg.Data != "" {
		cfg.MaxActive = e.active(l.files.Config.Swarm)
		cfg.Load = func(c swarm.Config) (*swarm.Model, error) {
			return swarm.Load(l.backend, c, l.files, swarm.Options{Precision: l.model.Precision(), EncoderBudgetBytes: flags.budget << 20})
		}
		cfg.Sampling = sampling(l.files.Generation)
		cfg.Meter = e.m.meter(l.info.Name)
	} else {
		cfg.Swaps = 0
	}
	bar := e.m.progress("evaluate")
	defer bar.finish()
	cfg.Progress = func(part string, done, total int64) {
		bar.name = part
		bar.set(done, total)
	}
	report, err := eval.Run(ctx, cfg)
	if err != nil {
		return nil, evalFault(model, err)
	}
	report.Seconds = time.Since(start).Seconds()
	report.Model.Name, report.Model.Backend = l.files.Name, l.info.Name
	if report.Model.SHA256, err = modelSum(l.files.Dir); err != nil {
		return nil, err
	}
	if report.Data != nil {
		report.Data.Name = filepath.Base(filepath.Clean(cfg.Data))
	}
	return &eval.File{
		Results: report.CardResults(), Report: report, Command: e.commandLine(model), Commit: commit(),
		Machine: machine(l.info), Date: start.UTC().Format(time.DateOnly),
	}, nil
}

// evalEncoderMemory is how many MiB of encoders are kept: all are used again and again.
const evalEncoderMemory = 1 << 10

// active is the largest number of active encoders to try.
func (e *evaluation) active(c swarm.Config) int {
	switch {
	case c.Plain():
		return 0
	case e.maxActive < 0:
		return min(c.Router.EncodersPerToken+1, c.Router.NumEncoders)
	}
	return e.maxActive
}

// evalFault gives an error the exit code that it should have, and names the model.
func evalFault(model string, err error) error {
	if errors.Is(err, eval.ErrConfig) {
		return usageError("%s: %v", model, err)
	}
	return fmt.Errorf("evaluate %s: %w", model, err)
}

func readTasks(path string) (eval.TaskSet, error) {
	f, err := os.Open(path)
	if err != nil {
		return eval.TaskSet{}, fmt.Errorf("read tasks: %w", err)
	}
	defer f.Close()
	return eval.ParseTasks(filepath.Base(path), f)
}

// commandLine is the command that measures the model as this one did, without what
// stands beside it.
func (e *evaluation) commandLine(model string) string {
	line := []string{"mes eval -model", filepath.Base(filepath.Clean(model)), "-backend", e.model.backend, "-dtype", e.model.dtype}
	add := func(name string, value any, standard any) {
		if value != standard {
			line = append(line, name, fmt.Sprint(value))
		}
	}
	if e.cfg.Data != "" {
		line = append(line, "-data", filepath.Base(filepath.Clean(e.cfg.Data)), "-split", e.cfg.Split)
	}
	add("-max-bytes", e.cfg.MaxBytes, int64(0))
	add("-probe-bytes", e.cfg.ProbeBytes, int64(eval.DefaultProbeBytes))
	add("-rows", e.cfg.RowLength, 0)
	add("-k-max", e.maxActive, -1)
	add("-swap", e.cfg.Swaps, defaultSwaps)
	for _, path := range e.tasks {
		line = append(line, "-tasks", filepath.Base(path))
	}
	if len(e.cfg.Needle) > 0 {
		line = append(line, "-needle", strings.ReplaceAll(strings.Trim(fmt.Sprint(e.cfg.Needle), "[]"), " ", ","))
	}
	add("-samples", e.cfg.Samples, defaultSamples)
	add("-sample-tokens", e.cfg.SampleTokens, defaultSampleTokens)
	return strings.Join(append(line, "-seed", strconv.FormatUint(e.cfg.Seed, 10)), " ")
}

// write writes the results.
func (e *evaluation) write(text, markdown []byte) error {
	if e.out != "" {
		if err := atomicfile.Write(e.out, text, 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		if err := atomicfile.Write(strings.TrimSuffix(e.out, ".json")+".md", markdown, 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	show := markdown
	if e.json {
		show = text
	}
	_, err := e.m.Stdout.Write(show)
	return err
}

// modelSum is the digest of a model's configuration and of all weights files that are
// here.
func modelSum(dir string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		return "", err
	}
	all := sha256.New()
	for _, path := range append([]string{filepath.Join(dir, "config.json")}, names...) { // names are sorted
		sum, err := fileSum(path)
		if err != nil {
			return "", fmt.Errorf("digest of the model: %w", err)
		}
		fmt.Fprintf(all, "%s  %s\n", sum, filepath.Base(path))
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}
