// Package telemetry says how a training run goes: records in metrics.jsonl and in
// TensorBoard's event files, a progress line, plots in SVG and PNG, a live page, and
// Prometheus text.
//
// A [Recorder] takes one [Record] every few steps and feeds all of these. [Figures] draws
// the records of a run that ended, or that somebody copied, without it.
package telemetry

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Record is what is known about a run after a step. In JSON a number that is not finite is
// null, and an empty map is left out.
type Record struct {
	Step            int64              `json:"step"`                       // optimizer steps done since the run began, over all phases; never falls
	Steps           int64              `json:"steps,omitzero"`             // of the whole run; 0 is unknown
	Time            time.Time          `json:"time"`                       // when it was taken; zero lets the recorder say
	Phase           string             `json:"phase,omitzero"`             // seed, branch, router, joint, ...
	Tokens          int64              `json:"tokens"`                     // read since the run began
	Loss            float64            `json:"loss"`                       // what is minimized, in nats; mean over the steps since the record before, skipped ones left out
	Losses          map[string]float64 `json:"losses,omitempty"`           // its parts by name, likewise
	LR              float64            `json:"lr"`                         // learning rate of the last step
	GradNorm        float64            `json:"grad_norm,omitzero"`         // global norm before clipping; 0 is unknown
	TokensPerSecond float64            `json:"tokens_per_s,omitzero"`      // since the record before; 0 is unknown
	MemoryBytes     int64              `json:"memory_bytes,omitzero"`      // of the process, or of the device; 0 is unknown
	DomainLoss      map[string]float64 `json:"domain_loss,omitempty"`      // cross-entropy by domain, nats a token; over the texts since the record before
	EncoderUse      []float64          `json:"encoder_use,omitempty"`      // share of the router's choices that fell on each encoder, those that found no room there included
	RouterAgreement *float64           `json:"router_agreement,omitempty"` // share of decisions that name the text's own domain, 0 to 1; nil is unknown
	Dropped         *float64           `json:"dropped,omitempty"`          // share of chunks that found no room at their encoder, 0 to 1; nil is unknown
	Seconds         map[string]float64 `json:"seconds,omitempty"`          // time by stage since the record before: data, step, validation, checkpoint

	Extra map[string]any `json:",unknown"` // whatever else is worth noting; numbers also go to TensorBoard
}

// Numbers that JSON does not have are null.
var (
	marshalNumbers = json.WithMarshalers(json.MarshalToFunc(func(enc *jsontext.Encoder, v float64) error {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return enc.WriteToken(jsontext.Null)
		}
		return json.SkipFunc
	}))
	unmarshalNumbers = json.WithUnmarshalers(json.UnmarshalFromFunc(func(dec *jsontext.Decoder, v *float64) error {
		if dec.PeekKind() != 'n' {
			return json.SkipFunc
		}
		*v = math.NaN()
		_, err := dec.ReadToken()
		return err
	}))
)

// line encodes the record as one line.
func (r *Record) line() ([]byte, error) {
	data, err := json.Marshal(r, marshalNumbers, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode the record of step %d: %w", r.Step, err)
	}
	return append(data, '\n'), nil
}

// WriteRecords writes records as [ReadRecords] reads them.
func WriteRecords(w io.Writer, records []Record) error {
	for i := range records {
		line, err := records[i].line()
		if err != nil {
			return err
		}
		if _, err := w.Write(line); err != nil {
			return fmt.Errorf("write records: %w", err)
		}
	}
	return nil
}

// maxLine is the most bytes of one record.
const maxLine = 16 << 20

// ReadRecords reads the records of metrics.jsonl. A last line that was torn by a crash, or
// is being written, is left out; any other fault names its line.
func ReadRecords(r io.Reader) ([]Record, error) {
	var records []Record
	err := scan(r, func(record Record, _ int64) bool {
		records = append(records, record)
		return true
	})
	return records, err
}

// scan gives each record and the byte at which its line ends, until take refuses one.
func scan(r io.Reader, take func(Record, int64) bool) error {
	in := bufio.NewReaderSize(r, 1<<16)
	offset, last := int64(0), int64(0)
	for number := 1; ; number++ {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) {
			return nil // what stands before the end without a line end is torn
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		var record Record
		if err := json.Unmarshal(line, &record, unmarshalNumbers); err != nil {
			if _, more := in.Peek(1); errors.Is(more, io.EOF) {
				return nil
			}
			return fmt.Errorf("line %d is no record: %w", number, err)
		}
		if record.Step < last {
			return fmt.Errorf("line %d is of step %d, after step %d", number, record.Step, last)
		}
		last = record.Step
		offset += int64(len(line))
		if !take(record, offset) {
			return nil
		}
	}
}

// readLine returns a line with its end; io.EOF stands for one without.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			return line, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(line) > maxLine {
			return nil, fmt.Errorf("it has more than %d bytes", maxLine)
		}
	}
}

// clone copies a record so that the caller's maps may change.
func (r *Record) clone() (Record, error) {
	line, err := r.line()
	if err != nil {
		return Record{}, err
	}
	var c Record
	err = json.Unmarshal(bytes.TrimSpace(line), &c, unmarshalNumbers)
	return c, err
}
