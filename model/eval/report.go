package eval

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// reportVersion is the version of the report that is written and read.
const reportVersion = 1

// File is an evaluation file: what a model card shows of a report, and the report.
type File struct {
	Results []Result `json:"results"`
	Command string   `json:"command,omitempty"` // that measured it
	Commit  string   `json:"commit,omitempty"`  // of the program
	Machine string   `json:"machine,omitempty"`
	Date    string   `json:"date,omitempty"`
	Report  *Report  `json:"report"`
}

// Result is one figure for a model card.
type Result struct {
	Dataset string      `json:"dataset"`
	Metric  string      `json:"metric"`
	Unit    string      `json:"unit,omitempty"`
	Value   json.Number `json:"value"`
}

// Report is all that was measured of a model. Parts that were not asked for are nil.
type Report struct {
	Version int         `json:"version"`
	Seed    uint64      `json:"seed"`
	Seconds float64     `json:"seconds"` // that measuring took
	Model   Model       `json:"model"`
	Data    *Data       `json:"data,omitempty"`
	Text    *Text       `json:"text,omitempty"`
	Rows    *Rows       `json:"rows,omitempty"`
	Routing *Routing    `json:"routing,omitempty"`
	Active  []Active    `json:"active,omitempty"`
	Swaps   []Swap      `json:"swaps,omitempty"`
	Tasks   []Task      `json:"tasks,omitempty"`
	Needle  []Needle    `json:"needle,omitempty"`
	Samples []Sample    `json:"samples,omitempty"`
	Cost    *Cost       `json:"cost,omitempty"`
	Against *Comparison `json:"against,omitempty"`
}

// Model says what was measured. Run fills all but Name, Backend and SHA256.
type Model struct {
	Name             string   `json:"name"`
	SHA256           string   `json:"sha256,omitempty"` // of its files
	Backend          string   `json:"backend"`
	Base             string   `json:"base"` // kind of block
	DType            string   `json:"dtype"`
	Parameters       int64    `json:"parameters"`
	ActiveParameters int64    `json:"active_parameters"`
	Layers           int      `json:"layers"`        // of the stack
	ActiveLayers     int      `json:"active_layers"` // that run on a token: encoder layers count for every active encoder
	HiddenSize       int      `json:"hidden_size"`
	Encoders         int      `json:"encoders,omitempty"` // 0: a plain model
	Active           int      `json:"active,omitempty"`
	EncoderLayers    int      `json:"encoder_layers,omitempty"`
	Domains          []string `json:"domains,omitempty"`
	FLOPs            int64    `json:"flops_per_token"`
	MemoryBytes      int64    `json:"memory_bytes"` // weights that a token meets
}

// Data says what text was read.
type Data struct {
	Name            string `json:"name"` // the caller's
	Split           string `json:"split"`
	SHA256          string `json:"sha256"` // of data.json, which holds those of all shards
	TokenizerSHA256 string `json:"tokenizer_sha256"`
	TextSHA256      string `json:"text_sha256"` // of the ids that were read
	MaxBytes        int64  `json:"max_bytes"`   // of a domain; 0: all
	Documents       int64  `json:"documents"`
	Tokens          int64  `json:"tokens"`
	Bytes           int64  `json:"bytes"`
}

// Text is how well held-out documents were foreseen, each from its start.
type Text struct {
	Mean    Figures         `json:"mean"` // unweighted, over domains; counts are sums
	Domains []DomainFigures `json:"domains"`
}

// Figures of some text.
type Figures struct {
	BitsPerByte  float64 `json:"bits_per_byte"`
	NatsPerToken float64 `json:"nats_per_token"`
	Perplexity   float64 `json:"perplexity"` // of a token; of a mean, exp of the mean nats
	Accuracy     float64 `json:"accuracy"`   // tokens that were the likeliest
	Documents    int64   `json:"documents"`
	Tokens       int64   `json:"tokens"` // judged: all but the first of each document
	Bytes        int64   `json:"bytes"`
}

// DomainFigures are those of a domain.
type DomainFigures struct {
	Domain string `json:"domain"`
	Figures
}

// Rows is the loss on packed rows.
type Rows struct {
	Length       int          `json:"length"`
	Rows         int          `json:"rows"`
	NatsPerToken float64      `json:"nats_per_token"` // mean over rows
	Domains      []DomainLoss `json:"domains"`
}

// DomainLoss is that of the rows of a domain.
type DomainLoss struct {
	Domain       string  `json:"domain"`
	Rows         int     `json:"rows"`
	NatsPerToken float64 `json:"nats_per_token"`
}

// Routing says how the router decided over the held-out documents. A share is nil where
// there was nothing to judge.
type Routing struct {
	SettleTokens int      `json:"settle_tokens"`
	Accuracy     *float64 `json:"accuracy"` // tokens after SettleTokens on which an encoder of the text's domain ran
	Overall      *float64 `json:"overall"`  // the same, from the first token on
	Leads        *float64 `json:"leads"`    // tokens after SettleTokens on which it had the largest gate of all specialists

	Use               []float64       `json:"use"`                // of each encoder, share of all places; sum 1
	EffectiveEncoders float64         `json:"effective_encoders"` // exp of the entropy of Use: E if all are used alike
	LargestToMean     float64         `json:"largest_to_mean"`    // the most used, to equal use
	Dead              []int           `json:"dead"`               // used less than a hundredth of equal use
	SwapsPerChunk     float64         `json:"swaps_per_chunk"`    // slots that change at a decision
	Domains           []DomainRouting `json:"domains"`
}

// DomainRouting is that of the documents of a domain.
type DomainRouting struct {
	Domain   string       `json:"domain"`
	Encoders []int        `json:"encoders"` // that have its name
	Accuracy *float64     `json:"accuracy"`
	Overall  *float64     `json:"overall"`
	Leads    *float64     `json:"leads"`
	Use      []EncoderUse `json:"use"` // the most used
}

// EncoderUse is the share of an encoder.
type EncoderUse struct {
	Encoder int     `json:"encoder"`
	Domain  string  `json:"domain,omitempty"`
	Share   float64 `json:"share"`
}

// Active is quality with another number of active encoders, on a part of the text.
type Active struct {
	Encoders int             `json:"encoders"`
	FLOPs    int64           `json:"flops_per_token"`
	Mean     Figures         `json:"mean"`
	Domains  []DomainFigures `json:"domains"`
}

// Swap is a domain read with its own specialist and with others in its place, in bits
// per byte on a part of the text.
type Swap struct {
	Domain  string      `json:"domain"`
	Encoder int         `json:"encoder"`
	Routed  float64     `json:"routed"` // as the router decides
	Own     float64     `json:"own"`    // its own specialist runs from the first token on
	Best    float64     `json:"best_other"`
	Mean    float64     `json:"mean_other"`
	Knows   bool        `json:"knows"`  // its own is better than every other
	Others  []SwapOther `json:"others"` // best first
}

// SwapOther is another specialist's reading of a domain.
type SwapOther struct {
	Encoder     int     `json:"encoder"`
	Domain      string  `json:"domain,omitempty"`
	BitsPerByte float64 `json:"bits_per_byte"`
}

// Write gives the file as JSON.
func (f *File) Write() ([]byte, error) {
	text, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return nil, fmt.Errorf("write evaluation: %w", err)
	}
	return append(text, '\n'), nil
}

// maxFile bounds a file that is read, in bytes.
const maxFile = 16 << 20

// ReadFile reads an evaluation file.
func ReadFile(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read evaluation: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read evaluation %s: %w", path, err)
	}
	file, err := ParseFile(text)
	if err != nil {
		return nil, fmt.Errorf("read evaluation %s: %w", path, err)
	}
	return file, nil
}

// ParseFile reads the content of an evaluation file.
func ParseFile(text []byte) (*File, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("it is larger than %d bytes, no evaluation is", maxFile)
	}
	f := &File{}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(f); err != nil {
		return nil, fmt.Errorf("it is no evaluation: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	switch {
	case f.Report == nil:
		return nil, errors.New("it holds no report; `mes eval -o FILE` writes one")
	case f.Report.Version != reportVersion:
		return nil, fmt.Errorf("its report has version %d; this program reads version %d, measure again", f.Report.Version, reportVersion)
	case f.Report.Text != nil && f.Report.Data == nil:
		return nil, errors.New("its report does not say what text it is about")
	}
	return f, nil
}

// CardResults picks the figures that a model card shows.
func (r *Report) CardResults() []Result {
	out := []Result{}
	add := func(dataset, metric, unit string, value float64, digits int) {
		out = append(out, Result{dataset, metric, unit, json.Number(strconv.FormatFloat(value, 'f', digits, 64))})
	}
	if r.Text != nil {
		text := r.Data.Name + ", " + r.Data.Split
		all := fmt.Sprintf("%s, mean of %d domains", text, len(r.Text.Domains))
		add(all, "bits per byte", "", r.Text.Mean.BitsPerByte, 4)
		add(all, "loss", "nats per token", r.Text.Mean.NatsPerToken, 4)
		add(all, "perplexity", "per token", r.Text.Mean.Perplexity, 3)
		for _, d := range r.Text.Domains {
			add(text+", "+d.Domain, "bits per byte", "", d.BitsPerByte, 4)
		}
		if r.Routing != nil && r.Routing.Accuracy != nil {
			add(all, fmt.Sprintf("router accuracy after %d tokens", r.Routing.SettleTokens), "", *r.Routing.Accuracy, 4)
		}
	}
	if r.Rows != nil {
		add(fmt.Sprintf("%s, %s, %d packed rows of %d tokens", r.Data.Name, r.Data.Split, r.Rows.Rows, r.Rows.Length), "loss", "nats per token", r.Rows.NatsPerToken, 4)
	}
	for _, t := range r.Tasks {
		add(t.Name, "accuracy", "", t.Accuracy, 4)
		if t.Normalised != nil {
			add(t.Name, "accuracy, normalised by length", "", *t.Normalised, 4)
		}
	}
	return out
}
