package ckpt

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
)

// Rewind removes every checkpoint after a step, for a run that goes on from an earlier
// one on purpose. It waits for a running save.
func (m *Manager) Rewind(step int64) error {
	if err := m.enter(context.Background()); err != nil {
		return err
	}
	defer m.leave()
	keep := map[int64]bool{}
	for s := range m.steps {
		keep[s] = s <= step
	}
	if err := m.drop(keep); err != nil {
		return fmt.Errorf("rewind checkpoints in %s to step %d: %w", m.cfg.Dir, step, err)
	}
	return nil
}

// retain removes the checkpoints that the configuration does not ask for, and those that
// are corrupt. It is called when the checkpoint of step newest is on the disk.
func (m *Manager) retain(newest int64) error {
	keep := map[int64]bool{newest: true}
	order := m.order()
	for i, step := range order {
		if m.cfg.Keep == 0 || i < m.cfg.Keep || m.cfg.EveryStep > 0 && step%m.cfg.EveryStep == 0 {
			keep[step] = true
		}
	}
	best := slices.DeleteFunc(order, func(step int64) bool { return m.steps[step].Loss == nil })
	slices.SortStableFunc(best, func(a, b int64) int { return cmp.Compare(*m.steps[a].Loss, *m.steps[b].Loss) })
	kept := map[string]int{}
	for _, step := range best {
		if stage := m.steps[step].Stage; kept[stage] < m.cfg.Best {
			keep[step] = true
			kept[stage]++
		}
	}
	return m.drop(keep)
}

// drop removes all manifests but those to keep, and then the objects that no manifest
// names any more.
func (m *Manager) drop(keep map[int64]bool) error {
	for _, step := range slices.Concat(m.order(), slices.Collect(maps.Keys(m.bad))) {
		if keep[step] {
			continue
		}
		if err := m.store.remove(stepPath(step)); err != nil {
			return err
		}
		delete(m.steps, step)
		delete(m.bad, step)
	}
	if err := m.store.flush(); err != nil {
		return err
	}
	return m.store.sweep(m.used())
}

// used returns the objects that manifests name.
func (m *Manager) used() map[string]bool {
	used := map[string]bool{}
	for _, man := range m.steps {
		maps.Copy(used, namesOf(man))
	}
	return used
}
