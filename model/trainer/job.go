package trainer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/ckpt"
	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/queue"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// branchFormat names the layout of what coordinator and workers tell each other.
const branchFormat = "mes-branch/1"

// maxText is the most bytes of an object that is not a tensor.
const maxText = 256 << 20

// branchSpec is what all jobs of a branch phase share. Its sha256 names the run: the same
// seed, plan, model and data are the same jobs, also for a coordinator that was started
// again.
type branchSpec struct {
	Format  string          `json:"format"`
	Run     string          `json:"run"`     // fingerprint of plan and model
	Plan    Plan            `json:"plan"`    //
	Model   json.RawMessage `json:"model"`   // config.json
	Domains []string        `json:"domains"` // of the data, in order: legs are counted by them
	Data    dataIdentity    `json:"data"`    //
	Seed    []storedTensor  `json:"seed"`    // the swarm that the branches start from
}

// storedTensor is an f32 tensor and the object that holds it.
type storedTensor struct {
	Name   string `json:"name"`
	Shape  []int  `json:"shape"`
	Object string `json:"object"`
}

// bytes is how many the object has.
func (s storedTensor) bytes() int64 {
	n := int64(4)
	for _, d := range s.Shape {
		n *= int64(d)
	}
	return n
}

// branchState is a checkpoint of a branch, or its result: what differs from the seed, and
// in a checkpoint the optimizer's memory.
type branchState struct {
	State   state          `json:"state"`
	Tensors []storedTensor `json:"tensors"`
	Records string         `json:"records"` // since the branch began, as in metrics.jsonl
}

// records reads what was recorded.
func (b branchState) records() ([]telemetry.Record, error) {
	return telemetry.ReadRecords(strings.NewReader(b.Records))
}

// jobName is that of a leg.
func jobName(leg int) string { return fmt.Sprintf("leg-%d", leg) }

// legOf is the leg of a job's name.
func legOf(job string) (int, error) {
	var leg int
	if _, err := fmt.Sscanf(job, "leg-%d", &leg); err != nil || leg < 0 || jobName(leg) != job {
		return 0, fmt.Errorf("job %q has no leg", job)
	}
	return leg, nil
}

// parseBranchSpec reads what a coordinator asks for.
func parseBranchSpec(text []byte) (branchSpec, error) {
	var s branchSpec
	var head struct {
		Format string `json:"format"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return s, fmt.Errorf("the job is not JSON: %w", err)
	}
	if head.Format != branchFormat {
		return s, fmt.Errorf("the job is written as %.40q, this program reads %q: run the same version of mes as its coordinator", head.Format, branchFormat)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("the job: %w", err)
	}
	return s, nil
}

// readJSON reads a text object.
func readJSON(ctx context.Context, r *queue.Run, object string, v any) error {
	text, err := r.Get(ctx, object, maxText)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("object %s: %w", object, err)
	}
	return nil
}

// writeJSON stores a text object.
func writeJSON(ctx context.Context, r *queue.Run, scope string, v any) (object string, err error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return r.Put(ctx, scope, text)
}

// readTensor reads a tensor; its object must have the bytes that its shape needs.
func readTensor(ctx context.Context, r *queue.Run, s storedTensor) (Param, error) {
	text, err := r.Get(ctx, s.Object, s.bytes())
	if err != nil {
		return Param{}, fmt.Errorf("tensor %s: %w", s.Name, err)
	}
	if int64(len(text)) != s.bytes() {
		return Param{}, fmt.Errorf("tensor %s: %d bytes are not f32 %v", s.Name, len(text), s.Shape)
	}
	return Param{s.Shape, floats(text)}, nil
}

// writeTensor stores a tensor.
func writeTensor(ctx context.Context, r *queue.Run, scope string, t ckpt.Tensor) (storedTensor, error) {
	object, err := r.Put(ctx, scope, t.Data)
	if err != nil {
		return storedTensor{}, fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	return storedTensor{t.Name, t.Shape, object}, nil
}

// dataIdentity says which data a run learns from, in the splits that training reads.
type dataIdentity struct {
	Vocabulary string            `json:"vocabulary"` // size and sha256 of the tokenizer
	Shards     map[string]string `json:"shards"`     // of SPLIT/DOMAIN: over the checksums of the shards
}

// identify reads the identity of a folder of data.
func identify(dir string) (dataIdentity, error) {
	m, err := data.ReadManifest(dir)
	if err != nil {
		return dataIdentity{}, err
	}
	return identityOf(m), nil
}

// identityOf is the identity of the data that a manifest describes.
func identityOf(m *data.Manifest) dataIdentity {
	id := dataIdentity{fmt.Sprintf("%d ids, %.16s", m.Tokenizer.VocabSize, m.Tokenizer.SHA256), map[string]string{}}
	for _, split := range m.Splits {
		if split.Name != data.Train && split.Name != data.Valid {
			continue
		}
		for _, part := range split.Domains {
			all := sha256.New()
			for _, shard := range part.Shards {
				fmt.Fprintln(all, shard.SHA256)
			}
			id.Shards[split.Name+"/"+part.Domain] = hex.EncodeToString(all.Sum(nil)[:8])
		}
	}
	return id
}

// errOtherData is wrapped by a worker's refusal.
var errOtherData = errors.New("copy the data folder of the training to this worker")

// difference says what some data have that those of a training have not, or otherwise, in
// one domain or, for "", in all; it is empty where there is nothing.
func (need dataIdentity) difference(have dataIdentity, domain string) string {
	if need.Vocabulary != have.Vocabulary {
		return fmt.Sprintf("have the vocabulary %s, those of the training %s", have.Vocabulary, need.Vocabulary)
	}
	parts := slices.Sorted(maps.Keys(need.Shards))
	for _, part := range append(parts, slices.Sorted(maps.Keys(have.Shards))...) {
		_, of, _ := strings.Cut(part, "/")
		switch there, here := need.Shards[part], have.Shards[part]; {
		case there == here || domain != "" && domain != of:
		case here == "":
			return "have no " + part
		case there == "":
			return fmt.Sprintf("have %s, which those of the training have not", part)
		default:
			return fmt.Sprintf("have other text in %s than those of the training", part)
		}
	}
	return ""
}

// checkBranch says in what a result does not fit a leg: it must have the tensors of its
// encoder, and nothing else.
func checkBranch(c swarm.Config, leg leg, b branchState) error {
	have := map[string][]int{}
	for _, tensor := range b.Tensors {
		have[tensor.Name] = tensor.Shape
	}
	specs := c.EncoderTensors(leg.encoder)
	for _, spec := range specs {
		if shape, ok := have[spec.Name]; !ok || !slices.Equal(shape, spec.Shape) {
			return fmt.Errorf("tensor %s has shape %v, expected %v", spec.Name, shape, spec.Shape)
		}
	}
	if len(b.Tensors) != len(specs) {
		return fmt.Errorf("%d tensors instead of %d", len(b.Tensors), len(specs))
	}
	if b.State.Step != leg.steps {
		return fmt.Errorf("it ends after step %d of %d", b.State.Step, leg.steps)
	}
	return nil
}

// recordText is records as metrics.jsonl has them.
func recordText(records []telemetry.Record) (string, error) {
	var text bytes.Buffer
	err := telemetry.WriteRecords(&text, records)
	return text.String(), err
}

// storedAll are parameters as they are stored, by rising name.
func storedAll(p Params) []ckpt.Tensor {
	tensors := make([]ckpt.Tensor, 0, len(p))
	for _, name := range slices.Sorted(maps.Keys(p)) {
		tensors = append(tensors, stored(name, p[name].Shape, p[name].Values))
	}
	return tensors
}
