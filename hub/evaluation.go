package hub

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// EvaluationFile is the name of the file that holds what was measured of a model.
const EvaluationFile = "eval.json"

// maxEvaluation bounds the file that is read, in bytes.
const maxEvaluation = 1 << 20

// Evaluation is what was measured of a model and how. The zero value is nothing.
type Evaluation struct {
	Results []EvalResult `json:"results"`

	Command string `json:"command,omitempty"` // that measured it
	Commit  string `json:"commit,omitempty"`  // of the program
	Machine string `json:"machine,omitempty"`
	Date    string `json:"date,omitempty"`

	// Report is all that was measured, as model/eval writes it; cards do not read it.
	Report json.RawMessage `json:"report,omitempty"`
}

// EvalResult is one figure. Dataset and Metric are needed.
type EvalResult struct {
	Dataset string      `json:"dataset"` // what text
	Metric  string      `json:"metric"`  // such as loss or accuracy
	Unit    string      `json:"unit,omitempty"`
	Value   json.Number `json:"value"` // shown as it stands in the file
}

// precision is that of the weights in memory when they were measured; empty if the file
// does not say.
func (e Evaluation) precision() swarm.Precision {
	var report struct {
		Model struct {
			DType swarm.Precision `json:"dtype"`
		} `json:"model"`
	}
	if len(e.Report) == 0 || json.Unmarshal(e.Report, &report) != nil {
		return ""
	}
	return report.Model.DType
}

// readEvaluation reads a folder's eval.json; one that is not there says nothing.
func readEvaluation(dir string) (Evaluation, error) {
	var e Evaluation
	f, err := os.Open(filepath.Join(dir, EvaluationFile))
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return e, fmt.Errorf("read evaluation: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEvaluation+1))
	if err != nil {
		return e, fmt.Errorf("read evaluation: %w", err)
	}
	if e, err = parseEvaluation(data); err != nil {
		return e, fmt.Errorf("read evaluation %s: %w", f.Name(), err)
	}
	return e, nil
}

func parseEvaluation(data []byte) (e Evaluation, err error) {
	if len(data) > maxEvaluation {
		return e, fmt.Errorf("it is larger than %d bytes, no evaluation is", maxEvaluation)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return e, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return e, errors.New("something follows the object")
	}
	for i, r := range e.Results {
		switch {
		case r.Dataset == "" || r.Metric == "":
			return e, fmt.Errorf("result %d: dataset and metric must be named", i)
		case r.Value == "":
			return e, fmt.Errorf("result %d: value is missing", i)
		}
	}
	return e, nil
}
