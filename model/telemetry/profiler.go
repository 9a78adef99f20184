package telemetry

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"time"
)

// Profiler adds up the time of a step's stages. The zero value is ready; its methods may
// be called at the same time, and stages that overlap are each counted in full.
type Profiler struct {
	mu      sync.Mutex
	seconds map[string]float64
}

// Start begins a stage, which ends when the returned function is called.
func (p *Profiler) Start(stage string) (stop func()) {
	start := time.Now()
	return func() {
		took := time.Since(start).Seconds()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.seconds == nil {
			p.seconds = map[string]float64{}
		}
		p.seconds[stage] += took
	}
}

// Take returns the seconds by stage since the last Take, for [Record.Seconds].
func (p *Profiler) Take() map[string]float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	seconds := p.seconds
	p.seconds = nil
	return seconds
}

// ResidentBytes returns the anonymous memory that the process holds, from Linux's /proc;
// 0 elsewhere.
func ResidentBytes() int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(data) {
		fields := bytes.Fields(line)
		if len(fields) == 3 && string(fields[0]) == "RssAnon:" {
			kib, err := strconv.ParseInt(string(fields[1]), 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}
