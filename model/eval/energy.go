package eval

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// RAPL meters processors by the counters that Linux shows below root, which is
// /sys/class/powercap on a real machine: those of whole packages, with all that runs
// on them. The error says what is missing.
func RAPL(root string) (Meter, error) {
	folders, err := filepath.Glob(filepath.Join(root, "intel-rapl:*"))
	if err != nil {
		return nil, err
	}
	m := &rapl{}
	for _, folder := range folders {
		if strings.Count(filepath.Base(folder), ":") > 1 { // a part of a package
			continue
		}
		if _, err := readCounter(folder, "energy_uj"); err != nil {
			return nil, fmt.Errorf("read the energy counters of the processor: %w", err)
		}
		m.folders = append(m.folders, folder)
	}
	if m.folders == nil {
		return nil, fmt.Errorf("%s has no energy counter of a processor", root)
	}
	return m, nil
}

type rapl struct{ folders []string }

// Source implements Meter.
func (m *rapl) Source() string {
	return fmt.Sprintf("RAPL, %d package(s), with all that runs on them", len(m.folders))
}

// Start implements Meter.
func (m *rapl) Start() (func() (float64, error), error) {
	before, err := m.read()
	if err != nil {
		return nil, err
	}
	return func() (float64, error) {
		after, err := m.read()
		if err != nil {
			return 0, err
		}
		var micro float64
		for i := range after {
			used := float64(after[i]) - float64(before[i])
			if used < 0 { // the counter began again
				limit, err := readCounter(m.folders[i], "max_energy_range_uj")
				if err != nil {
					return 0, err
				}
				used += float64(limit)
			}
			micro += used
		}
		return micro / 1e6, nil
	}, nil
}

func (m *rapl) read() ([]uint64, error) {
	var all []uint64
	for _, folder := range m.folders {
		n, err := readCounter(folder, "energy_uj")
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

func readCounter(folder, name string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

// NvidiaSMI meters the first GPU by the power that the program nvidia-smi, at path, tells
// several times a second.
func NvidiaSMI(path string) Meter { return smi{path} }

type smi struct{ path string }

// Source implements Meter.
func (m smi) Source() string { return "nvidia-smi, power of the whole GPU" }

// Start implements Meter.
func (m smi) Start() (func() (float64, error), error) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, m.path, "--id=0", "--query-gpu=power.draw", "--format=csv,noheader,nounits", "--loop-ms=100")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("run nvidia-smi: %w", err)
	}
	p := &power{began: time.Now()}
	var reading sync.WaitGroup
	reading.Go(func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			p.add(time.Now(), lines.Text())
		}
	})
	return func() (float64, error) {
		joules, err := p.total(time.Now())
		cancel()
		reading.Wait()
		_ = cmd.Wait() // it was killed
		return joules, err
	}, nil
}

// power adds up energy from readings of power: each holds from the one before.
type power struct {
	mu     sync.Mutex
	began  time.Time
	last   time.Time
	watts  float64
	joules float64
	n      int
	err    error
}

func (p *power) add(at time.Time, line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	watts, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
	if err != nil {
		p.err = fmt.Errorf("nvidia-smi tells no power: %q", line)
		return
	}
	from := p.last
	if p.n == 0 {
		from = p.began
	}
	p.joules += watts * at.Sub(from).Seconds()
	p.watts, p.last, p.n = watts, at, p.n+1
}

// total is the energy up to now.
func (p *power) total(now time.Time) (float64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return 0, p.err
	}
	if p.n == 0 {
		return 0, errors.New("nvidia-smi told no power")
	}
	return p.joules + p.watts*now.Sub(p.last).Seconds(), nil
}
