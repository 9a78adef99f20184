package telemetry

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mamba-encoder-swarm/mes/internal/atomicfile"
)

// Files of a run's folder.
const (
	MetricsFile = "metrics.jsonl" // one [Record] a line
	EventsDir   = "events"        // TensorBoard's files
)

// RecorderConfig says where a run's records go.
type RecorderConfig struct {
	Dir string // the run's folder; made when it is missing

	// Step is that of the checkpoint which the run goes on from. Records of later steps are
	// of a future that was lost, and are cut. 0 is a new run, and cuts all.
	Step int64

	Logger *slog.Logger // told what was cut; nil discards
}

// Recorder writes the records of a run. Its methods may be called at the same time.
type Recorder struct {
	mu      sync.Mutex
	file    appendFile
	events  *eventWriter
	history history
	pace    pace
	changed chan struct{} // closed at every change, and replaced
	closed  bool
}

// OpenRecorder opens metrics.jsonl and a new event file. A torn last line is dropped.
func OpenRecorder(cfg RecorderConfig) (_ *Recorder, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o777); err != nil {
		return nil, fmt.Errorf("open metrics: %w", err)
	}
	r := &Recorder{changed: make(chan struct{})}
	path := filepath.Join(cfg.Dir, MetricsFile)
	if r.file.File, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return nil, fmt.Errorf("open metrics: %w", err)
	}
	defer func() {
		if err != nil {
			r.file.Close()
		}
	}()
	if err := r.resume(cfg.Step, cfg.Logger); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if err := atomicfile.SyncDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open metrics: %w", err)
	}
	if r.events, err = newEventWriter(filepath.Join(cfg.Dir, EventsDir), time.Now()); err != nil {
		return nil, fmt.Errorf("open event file: %w", err)
	}
	if err := r.events.begin(cfg.Step+1, time.Now()); err != nil {
		r.events.file.Close()
		return nil, fmt.Errorf("write event file: %w", err)
	}
	return r, nil
}

// resume reads what is there, and cuts the file behind the last record that stays.
func (r *Recorder) resume(step int64, logger *slog.Logger) error {
	end, last := int64(0), int64(0)
	err := scan(r.file, func(record Record, lineEnd int64) bool {
		if step == 0 || record.Step > step {
			return false
		}
		r.history.add(record)
		end, last = lineEnd, record.Step
		return true
	})
	if err != nil {
		return err
	}
	r.file.size = end
	info, err := r.file.Stat()
	if err != nil || info.Size() == end {
		return err
	}
	logger.Info("records cut", "after_step", last, "bytes", info.Size()-end)
	return r.file.Truncate(end)
}

// Add writes a record. It is in the file when Add returns, and on the disk after Sync.
func (r *Recorder) Add(record Record) error {
	if record.Time.IsZero() {
		record.Time = time.Now()
	}
	record.Time = record.Time.UTC().Round(time.Millisecond)
	line, err := record.line()
	if err != nil {
		return err
	}
	kept, err := record.clone()
	if err != nil {
		return fmt.Errorf("encode the record of step %d: %w", record.Step, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("record step %d: the recorder is closed", record.Step)
	}
	if last, ok := r.history.last(); ok && record.Step < last.Step {
		return fmt.Errorf("record step %d: step %d was recorded before", record.Step, last.Step)
	}
	if err := r.file.append(line); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	if err := r.events.add(&record); err != nil {
		return fmt.Errorf("write event file: %w", err)
	}
	r.history.add(kept)
	r.pace.add(&kept)
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// Sync puts the records on the disk. A run calls it before every checkpoint, so that none
// before the checkpoint is missing after a power cut.
func (r *Recorder) Sync() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	if err := errors.Join(r.file.Sync(), r.events.file.Sync()); err != nil {
		return fmt.Errorf("sync metrics: %w", err)
	}
	return nil
}

// Last returns the newest record.
func (r *Recorder) Last() (Record, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.history.last()
}

// History returns the records of the whole run, thinned to some thousands. Callers must
// not change them.
func (r *Recorder) History() []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.history.all()
}

// Close puts the records on the disk and ends the live pages.
func (r *Recorder) Close() error {
	err := r.Sync()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	close(r.changed)
	return errors.Join(err, r.file.Close(), r.events.file.Close())
}

// watch returns the newest record with the time that is left, a channel that is closed at
// the next change, and whether there will be one.
func (r *Recorder) watch() (last Record, left time.Duration, next <-chan struct{}, open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, _ = r.history.last()
	return last, r.pace.left(&last), r.changed, !r.closed
}

// appendFile is a file to which only whole pieces are added.
type appendFile struct {
	*os.File
	size int64
}

// append adds data in one write, or leaves the file as it was: half a piece would spoil
// the next one.
func (f *appendFile) append(data []byte) error {
	if _, err := f.WriteAt(data, f.size); err != nil {
		return errors.Join(err, f.Truncate(f.size)) // also where it says that nothing was written
	}
	f.size += int64(len(data))
	return nil
}

// history holds the records of a run, and only every second of them whenever it is full.
type history struct {
	records []Record
	stride  int // of the records that were added, every stride-th is held; 0 is 1
	skipped int
	newest  *Record // the last one, held or not
}

// maxHistory is how many records are held.
const maxHistory = 4096

func (h *history) add(r Record) {
	h.newest = &r
	h.stride = max(1, h.stride)
	if h.skipped++; h.skipped < h.stride {
		return
	}
	h.skipped = 0
	h.records = append(h.records, r)
	if len(h.records) < maxHistory {
		return
	}
	half := make([]Record, 0, maxHistory)
	for i := 1; i < len(h.records); i += 2 {
		half = append(half, h.records[i])
	}
	h.records, h.stride = half, 2*h.stride
}

func (h *history) last() (Record, bool) {
	if h.newest == nil {
		return Record{}, false
	}
	return *h.newest, true
}

// all returns the held records and the newest.
func (h *history) all() []Record {
	records := append([]Record(nil), h.records...)
	if h.newest != nil && h.skipped > 0 {
		records = append(records, *h.newest)
	}
	return records
}
