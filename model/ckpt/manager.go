package ckpt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Manager saves and restores the checkpoints of one folder. Its methods may be called at
// the same time; one goroutine of its own saves, which Close waits for.
type Manager struct {
	cfg  Config
	lock *os.File

	// turn has room for one: whoever put something into it works on the folder. What
	// stands below until mu is theirs.
	turn   chan struct{}
	store  store
	steps  map[int64]*manifest
	bad    map[int64]*CorruptError
	closed bool

	mu      sync.Mutex
	pending error // of a save in the background, until somebody is told
	stats   Stats
}

// Open takes the folder for this process, removes what a killed one left half written,
// and looks which checkpoints are complete. A folder that another process has is a
// [LockedError].
func Open(cfg Config) (*Manager, error) { return open(cfg, nil) }

// open is Open with the hook of tests.
func open(cfg Config, fault func(op, name string) error) (_ *Manager, err error) {
	if cfg.Keep < 0 || cfg.Best < 0 || cfg.EveryStep < 0 {
		return nil, fmt.Errorf("open checkpoints: keep %d, best %d, every step %d: none may be negative", cfg.Keep, cfg.Best, cfg.EveryStep)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Manager{cfg: cfg, turn: make(chan struct{}, 1), steps: map[int64]*manifest{}, bad: map[int64]*CorruptError{}}
	m.store = store{fault: fault, sound: map[string]bool{}, dirs: map[string]bool{}}
	if err := os.MkdirAll(cfg.Dir, 0o777); err != nil {
		return nil, fmt.Errorf("open checkpoints: %w", err)
	}
	if m.store.root, err = os.OpenRoot(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open checkpoints: %w", err)
	}
	defer func() {
		if err != nil {
			m.release()
		}
	}()
	if err := m.takeLock(); err != nil {
		return nil, err
	}
	if err := m.store.prepare(); err != nil {
		return nil, fmt.Errorf("open checkpoints in %s: %w", cfg.Dir, err)
	}
	if err := m.readSteps(); err != nil {
		return nil, fmt.Errorf("open checkpoints in %s: %w", cfg.Dir, err)
	}
	if len(m.bad) == 0 { // else somebody may still want to look
		if err := m.store.sweep(m.used()); err != nil {
			return nil, fmt.Errorf("open checkpoints in %s: %w", cfg.Dir, err)
		}
	}
	return m, nil
}

// readSteps reads all manifests and looks for the objects that they name.
func (m *Manager) readSteps() error {
	entries, err := m.store.list(stepsDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		step, ok := stepOf(e.Name())
		if !ok {
			continue
		}
		man, err := m.readStep(step)
		var corrupt *CorruptError
		switch {
		case errors.As(err, &corrupt):
			m.spoil(corrupt)
		case err != nil:
			return err
		default:
			m.steps[step] = man
		}
	}
	return nil
}

// readStep reads one manifest; what is wrong with it is a *CorruptError.
func (m *Manager) readStep(step int64) (*manifest, error) {
	info, err := m.store.root.Lstat(stepPath(step))
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, m.corrupt(step, stepPath(step)+" is no regular file")
	}
	data, err := m.store.root.ReadFile(stepPath(step))
	if err != nil {
		return nil, err
	}
	man, err := parseManifest(data)
	if errors.Is(err, errFormat) {
		return nil, fmt.Errorf("read %s: %w", stepPath(step), err)
	}
	if err != nil {
		return nil, m.corrupt(step, fmt.Sprintf("%s: %v", stepPath(step), err))
	}
	if man.Step != step {
		return nil, m.corrupt(step, fmt.Sprintf("%s is that of step %d", stepPath(step), man.Step))
	}
	for _, e := range man.Tensors {
		if err := m.store.present(e.SHA256, e.Bytes); err != nil {
			return nil, m.corrupt(step, fmt.Sprintf("tensor %q: %v", e.Name, err))
		}
	}
	return man, nil
}

func (m *Manager) corrupt(step int64, detail string) *CorruptError {
	return &CorruptError{Dir: m.cfg.Dir, Step: step, Detail: detail}
}

// spoil notes that a checkpoint cannot be used. It goes with the next save.
func (m *Manager) spoil(err *CorruptError) {
	delete(m.steps, err.Step)
	m.bad[err.Step] = err
	m.cfg.Logger.Warn("corrupt checkpoint", "step", err.Step, "dir", m.cfg.Dir, "detail", err.Detail)
}

// Save takes the snapshot over and writes it in the background; the caller must not
// change its tensors any more. While the save before still runs it waits, as long as ctx
// lives. It returns the error of the save before, if there was one, and then saves
// nothing. A checkpoint of the same step is replaced; later ones must be given up first
// with [Manager.Rewind].
func (m *Manager) Save(ctx context.Context, s Snapshot) error {
	man, err := newManifest(&s, time.Now())
	if err != nil {
		return fmt.Errorf("save checkpoint %d: %w", s.Step, err)
	}
	start := time.Now()
	if err := m.enter(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	m.stats.Waited += time.Since(start)
	m.mu.Unlock()
	if err := m.maySave(s.Step); err != nil {
		m.leave()
		return err
	}
	go func() {
		defer m.leave()
		start := time.Now()
		err := m.save(man, s.Tensors)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.pending = err
		m.stats.Busy += time.Since(start)
		if err == nil {
			m.stats.Saves++
		}
	}()
	return nil
}

// maySave says why a step cannot be saved now.
func (m *Manager) maySave(step int64) error {
	if err := m.takeError(); err != nil {
		return err
	}
	if newest := m.order(); len(newest) > 0 && newest[0] > step {
		return fmt.Errorf("save checkpoint %d: %s holds one of step %d; resume from it, or rewind", step, m.cfg.Dir, newest[0])
	}
	return nil
}

// save writes tensors, then the manifest, then removes what need not stay.
func (m *Manager) save(man *manifest, tensors []Tensor) error {
	err := m.write(man, tensors)
	if err != nil {
		err = fmt.Errorf("save checkpoint %d in %s: %w", man.Step, m.cfg.Dir, err)
		before := slices.DeleteFunc(m.order(), func(step int64) bool { return step == man.Step })
		if len(before) > 0 {
			err = fmt.Errorf("%w; checkpoint %d is intact", err, before[0])
		}
		if err := m.store.sweep(m.used()); err != nil { // what was written for it would fill the disk
			m.cfg.Logger.Warn("parts of a failed checkpoint not removed", "dir", m.cfg.Dir, "error", err)
		}
		return err
	}
	if err := m.retain(man.Step); err != nil {
		m.cfg.Logger.Warn("old checkpoints not removed", "dir", m.cfg.Dir, "error", err)
	}
	return nil
}

func (m *Manager) write(man *manifest, tensors []Tensor) error {
	for i, t := range tensors {
		hash := hashOf(t.Data)
		wrote, err := m.store.put(hash, t.Data)
		if err != nil {
			return fmt.Errorf("write tensor %q: %w", t.Name, err)
		}
		man.Tensors[i].SHA256 = hash
		m.mu.Lock()
		if wrote {
			m.stats.WrittenBytes += int64(len(t.Data))
		} else {
			m.stats.SharedBytes += int64(len(t.Data))
		}
		m.mu.Unlock()
	}
	if err := m.store.flush(); err != nil {
		return err
	}
	data, err := man.encode()
	if err != nil {
		return err
	}
	if err := m.store.write(stepPath(man.Step), data); err != nil {
		return err
	}
	m.steps[man.Step] = man // in place, even if the disk does not confirm it
	delete(m.bad, man.Step)
	return m.store.flush()
}

// Wait waits for a running save and returns the error of the last one, once.
func (m *Manager) Wait() error {
	if err := m.enter(context.Background()); err != nil {
		return err
	}
	defer m.leave()
	return m.takeError()
}

// Close waits for a running save, lets the folder go and returns the save's error if
// nobody was told it.
func (m *Manager) Close() error {
	if err := m.enter(context.Background()); err != nil {
		return nil // closed before
	}
	defer m.leave()
	m.closed = true
	return errors.Join(m.takeError(), m.release())
}

// Stats returns what was done so far.
func (m *Manager) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// List describes the checkpoints that can be used, the oldest step first. It waits for a
// running save; after Close there are none.
func (m *Manager) List() []Info {
	if m.enter(context.Background()) != nil {
		return nil
	}
	defer m.leave()
	steps := m.order()
	slices.Reverse(steps)
	infos := make([]Info, len(steps))
	for i, step := range steps {
		infos[i] = m.steps[step].info()
	}
	return infos
}

// enter waits for the turn to work on the folder.
func (m *Manager) enter(ctx context.Context) error {
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if m.closed {
		m.leave()
		return ErrClosed
	}
	return nil
}

func (m *Manager) leave() { <-m.turn }

// takeError returns the error of a save and forgets it.
func (m *Manager) takeError() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.pending
	m.pending = nil
	return err
}

// order returns the steps that can be used, the newest first.
func (m *Manager) order() []int64 {
	steps := make([]int64, 0, len(m.steps))
	for step := range m.steps {
		steps = append(steps, step)
	}
	slices.Sort(steps)
	slices.Reverse(steps)
	return steps
}

// release closes what Open opened.
func (m *Manager) release() error {
	var err error
	if m.lock != nil {
		err = m.lock.Close() // lets go of the lock
	}
	return errors.Join(err, m.store.root.Close())
}
