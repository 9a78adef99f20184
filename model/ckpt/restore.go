package ckpt

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Load reads the checkpoint of a step and compares every tensor with its hash. A step
// that is not there wraps [ErrNone], a damaged one is a [CorruptError]. It waits for a
// running save.
func (m *Manager) Load(step int64) (Snapshot, error) {
	if err := m.enter(context.Background()); err != nil {
		return Snapshot{}, err
	}
	defer m.leave()
	return m.load(step)
}

// Last reads the newest checkpoint that is whole, and tells the logger which ones it
// passed over. A folder without any is [ErrNone]; one with damaged ones alone returns the
// [CorruptError] of the newest.
func (m *Manager) Last() (Snapshot, error) {
	if err := m.enter(context.Background()); err != nil {
		return Snapshot{}, err
	}
	defer m.leave()
	var s Snapshot
	err := m.newest(func(step int64) (err error) {
		s, err = m.load(step)
		return err
	})
	return s, err
}

// newest reads the newest checkpoint that is whole, by a function that notes what is
// damaged.
func (m *Manager) newest(read func(step int64) error) error {
	for _, step := range m.order() {
		err := read(step)
		var corrupt *CorruptError
		if errors.As(err, &corrupt) {
			continue // damaged told the logger
		}
		if err == nil && len(m.bad) > 0 {
			m.cfg.Logger.Warn("the newest whole checkpoint is taken", "step", step, "corrupt", len(m.bad))
		}
		return err
	}
	newest := int64(-1)
	for step := range m.bad {
		newest = max(newest, step)
	}
	if newest < 0 {
		return fmt.Errorf("checkpoints in %s: %w", m.cfg.Dir, ErrNone)
	}
	return m.bad[newest]
}

// load reads a checkpoint and notes when it is damaged.
func (m *Manager) load(step int64) (Snapshot, error) {
	man, ok := m.steps[step]
	if !ok {
		if err := m.bad[step]; err != nil {
			return Snapshot{}, err
		}
		return Snapshot{}, fmt.Errorf("checkpoint %d in %s: %w", step, m.cfg.Dir, ErrNone)
	}
	s := Snapshot{Step: step, Meta: slices.Clone(man.Meta), Loss: math.NaN(), Stage: man.Stage, Tensors: make([]Tensor, len(man.Tensors))}
	if man.Loss != nil {
		s.Loss = *man.Loss
	}
	for i, e := range man.Tensors {
		data, err := m.tensor(man, &e)
		if err != nil {
			return Snapshot{}, err
		}
		s.Tensors[i] = Tensor{Name: e.Name, DType: e.DType, Shape: slices.Clone(e.Shape), Data: data}
	}
	return s, nil
}

// tensor reads the bytes of a tensor and compares their hash; what is wrong with them
// makes the checkpoint a damaged one.
func (m *Manager) tensor(man *manifest, e *entry) ([]byte, error) {
	if err := m.store.present(e.SHA256, e.Bytes); err != nil {
		return nil, m.damaged(man.Step, e.Name, err)
	}
	data, err := m.store.get(e.SHA256)
	if errors.Is(err, errContent) {
		return nil, m.damaged(man.Step, e.Name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint %d in %s: tensor %q: %w", man.Step, m.cfg.Dir, e.Name, err)
	}
	return data, nil
}

// damaged notes a checkpoint as corrupt.
func (m *Manager) damaged(step int64, tensor string, err error) error {
	corrupt := m.corrupt(step, fmt.Sprintf("tensor %q: %v", tensor, err))
	m.spoil(corrupt)
	return corrupt
}
