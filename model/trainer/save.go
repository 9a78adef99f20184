package trainer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/mamba-encoder-swarm/mes/model/ckpt"
)

// moments is before the names of the optimizer's tensors in a checkpoint; the rest
// have the names of a HuggingFace checkpoint.
const moments = "optimizer."

// lowest is before the names of a specialist's tensors of when its loss was lowest.
const lowest = "lowest."

// save hands a checkpoint over to be written, behind the records. l is the running leg's
// learner, nil between legs; held is the last look at held-out text, nil if there was none.
func (t *Trainer) save(ctx context.Context, l *learner, held *judged) error {
	if t.keep == nil {
		return nil
	}
	defer func(began time.Time, stop func()) {
		stop()
		t.saving += time.Since(began)
	}(time.Now(), t.profiler.Start("checkpoint"))
	if t.Sync != nil {
		if err := t.Sync(); err != nil {
			return err
		}
	}
	t.state.Run, t.state.Data = t.identity, t.data
	meta, err := json.Marshal(t.state)
	if err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	snapshot := ckpt.Snapshot{Step: t.state.Steps, Meta: meta, Loss: math.NaN()}
	if held != nil {
		snapshot.Loss, snapshot.Stage = held.Loss, held.Stage
	}
	params := t.params
	if l != nil {
		if params, err = l.params(); err != nil {
			return err
		}
		params = t.merged(t.legs[t.state.Leg], params)
		for _, name := range l.optimized {
			for _, prefix := range []string{"m/", "v/"} {
				shape := l.shape(name)
				values, err := read[float32](l.state[prefix+name], shape.Size())
				if err != nil {
					return err
				}
				snapshot.Tensors = append(snapshot.Tensors, stored(moments+prefix+name, shape.Dimensions, values))
			}
		}
	}
	for name, p := range params {
		snapshot.Tensors = append(snapshot.Tensors, stored(name, p.Shape, p.Values))
	}
	for name, p := range t.best {
		snapshot.Tensors = append(snapshot.Tensors, stored(lowest+name, p.Shape, p.Values))
	}
	slices.SortFunc(snapshot.Tensors, func(a, b ckpt.Tensor) int { return strings.Compare(a.Name, b.Name) })
	return t.keep(ctx, snapshot)
}

// reportSaving logs how long training, which began then, waited for checkpoints: for the
// device to be read, for the records, and for the checkpoint before to be written.
func (t *Trainer) reportSaving(began time.Time) {
	if t.saving > 0 {
		took := time.Since(began)
		t.Logger.Info("training waited for checkpoints", "time", t.saving.Round(time.Millisecond), "of", took.Round(time.Millisecond),
			"share", fmt.Sprintf("%.2f%%", 100*t.saving.Seconds()/took.Seconds()))
	}
}

// stored is a tensor as a checkpoint holds it.
func stored(name string, shape []int, values []float32) ckpt.Tensor {
	data := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(v))
	}
	return ckpt.Tensor{Name: name, DType: "F32", Shape: shape, Data: data}
}

// restore finds the newest checkpoint; a run that has none begins with Start.
func (t *Trainer) restore() error {
	t.params = t.Start
	if t.Checkpoints == nil {
		return nil
	}
	s, err := t.Checkpoints.Last()
	if errors.Is(err, ckpt.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(s.Meta, &t.state); err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", s.Step, err)
	}
	if t.state.Run != t.identity {
		return errors.New("the checkpoints are of another model or plan: go on with those that the run began with, or take another folder")
	}
	if differ := t.state.Data.difference(t.data, ""); differ != "" {
		return fmt.Errorf("the data in %s %s; go on with the same data and settings, or start anew in another folder", t.Data, differ)
	}
	t.params = Params{}
	t.unpack(&s)
	return nil
}

// unpack takes a checkpoint's tensors up, those of the optimizer aside.
func (t *Trainer) unpack(s *ckpt.Snapshot) {
	t.best, t.resume = Params{}, s
	for _, tensor := range s.Tensors {
		p := Param{tensor.Shape, floats(tensor.Data)}
		if name, ok := strings.CutPrefix(tensor.Name, lowest); ok {
			t.best[name] = p
		} else if !strings.HasPrefix(tensor.Name, moments) {
			t.params[tensor.Name] = p
		}
	}
}

func floats(data []byte) []float32 {
	values := make([]float32, len(data)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return values
}

// resumeLearner gives the optimizer of the first leg after a restart its memory back.
func (t *Trainer) resumeLearner(l *learner) error {
	s := t.resume
	t.resume = nil
	if s == nil || t.state.Step == 0 {
		return nil
	}
	found := 0
	for _, tensor := range s.Tensors {
		name, ok := strings.CutPrefix(tensor.Name, moments)
		if !ok {
			continue
		}
		if _, known := l.state[name]; !known {
			return fmt.Errorf("checkpoint of step %d: tensor %s is not of this phase", s.Step, tensor.Name)
		}
		if want := l.shape(name[len("m/"):]).Dimensions; !slices.Equal(tensor.Shape, want) {
			return fmt.Errorf("checkpoint of step %d: tensor %s has shape %v, expected %v", s.Step, tensor.Name, tensor.Shape, want)
		}
		found++
		if err := l.upload(name, floats(tensor.Data), shapes.Make(dtypes.Float32, tensor.Shape...), false); err != nil {
			return err
		}
	}
	if found != 2*len(l.optimized) {
		return fmt.Errorf("checkpoint of step %d holds %d of %d tensors of the optimizer", s.Step, found, 2*len(l.optimized))
	}
	return l.upload("count", []float32{float32(t.state.Count)}, shapes.Make(dtypes.Float32), false)
}
