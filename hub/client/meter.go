package client

import "sync"

// Progress says how far one file and the whole work are. Bytes that need not be
// moved, because they are there, count as done.
type Progress struct {
	Path       string
	Done, Size int64 // bytes of this file
	AllDone    int64 // bytes of all files
	AllSize    int64
}

// meter adds up what several goroutines move and reports it in order.
type meter struct {
	mu     sync.Mutex
	report func(Progress)
	done   map[string]int64
	all    Progress
}

// newMeter counts towards total bytes; report may be nil.
func newMeter(total int64, report func(Progress)) *meter {
	return &meter{report: report, done: map[string]int64{}, all: Progress{AllSize: total}}
}

// set reports that done of a file's size bytes are there.
func (m *meter) set(path string, done, size int64) {
	if m.report == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all.AllDone += done - m.done[path]
	m.done[path] = done
	p := m.all
	p.Path, p.Done, p.Size = path, done, size
	m.report(p)
}
