package eval

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// counter writes a package's counters below root.
func counter(t *testing.T, root, name string, energy, limit uint64) {
	t.Helper()
	dir := filepath.Join(root, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, n := range map[string]uint64{"energy_uj": energy, "max_energy_range_uj": limit} {
		if err := os.WriteFile(filepath.Join(dir, file), fmt.Appendln(nil, n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRAPL: packages add up, parts of them do not count again, and a counter that
// began again is followed.
func TestRAPL(t *testing.T) {
	root := t.TempDir()
	if _, err := RAPL(root); err == nil || !strings.Contains(err.Error(), "no energy counter") {
		t.Errorf("%v", err)
	}
	counter(t, root, "intel-rapl:0", 1_000_000, 5_000_000)
	counter(t, root, "intel-rapl:0:0", 7, 5_000_000)
	counter(t, root, "intel-rapl:1", 4_500_000, 5_000_000)
	m, err := RAPL(root)
	if err != nil {
		t.Fatal(err)
	}
	stop, err := m.Start()
	if err != nil {
		t.Fatal(err)
	}
	counter(t, root, "intel-rapl:0", 3_000_000, 5_000_000)
	counter(t, root, "intel-rapl:0:0", 4_000_000, 5_000_000)
	counter(t, root, "intel-rapl:1", 250_000, 5_000_000)
	joules, err := stop()
	if want := 2 + 0.75; err != nil || math.Abs(joules-want) > 1e-9 {
		t.Errorf("%g J, want %g (%v)", joules, want, err)
	}
	if err := os.WriteFile(filepath.Join(root, "intel-rapl:1", "energy_uj"), []byte("much"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := RAPL(root); err == nil {
		t.Error("a counter without a number is read")
	}
}

// TestPower adds up readings: each holds from the one before, the last to the end.
func TestPower(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(0, int64(s*1e9)) }
	p := &power{began: at(0)}
	if _, err := p.total(at(1)); err == nil {
		t.Error("there is energy without a reading")
	}
	p.add(at(0.5), " 100.00\n")
	p.add(at(1.5), "300")
	joules, err := p.total(at(2))
	if want := 50 + 300 + 150.0; err != nil || math.Abs(joules-want) > 1e-9 {
		t.Errorf("%g J, want %g (%v)", joules, want, err)
	}
	p.add(at(3), "[N/A]")
	if _, err := p.total(at(4)); err == nil || !strings.Contains(err.Error(), "[N/A]") {
		t.Errorf("%v", err)
	}
}

// TestNvidiaSMI runs a program in its place.
func TestNvidiaSMI(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nvidia-smi")
	script := "#!/bin/sh\ncase \"$*\" in *--query-gpu=power.draw*) ;; *) exit 1 ;; esac\nwhile echo 250.0; do touch \"$0.told\"; sleep 0.02; done\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	stop, err := NvidiaSMI(path).Start()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // until it told something
		if _, err := os.Stat(path + ".told"); err == nil {
			break
		}
	}
	time.Sleep(300 * time.Millisecond)
	joules, err := stop()
	most := 250 * time.Since(start).Seconds()
	if err != nil || !(joules > 250*0.25 && joules <= most) {
		t.Errorf("%g J, want 75 to %g (%v)", joules, most, err)
	}
	if _, err := NvidiaSMI(filepath.Join(t.TempDir(), "none")).Start(); err == nil {
		t.Error("a program that is not there runs")
	}
}

// fixedMeter is a Meter for tests.
type fixedMeter struct{ fail error }

func (fixedMeter) Source() string { return "a test" }
func (m fixedMeter) Start() (func() (float64, error), error) {
	return func() (float64, error) { return 12, m.fail }, nil
}

// TestEnergyInReport: what the meter says is divided by the tokens, and a failure is
// said.
func TestEnergyInReport(t *testing.T) {
	cfg := handConfigured(t, []int{-1, 0, 1, 2})
	cfg.Cost, cfg.Meter = true, fixedMeter{}
	if c := run(t, cfg).Cost; c.Joules != 12 || math.Abs(c.JoulesPerToken-12/float64(c.ReadTokens)) > 1e-12 || c.Energy != "a test" {
		t.Errorf("%+v", c)
	}
	cfg.Meter = fixedMeter{os.ErrPermission}
	if c := run(t, cfg).Cost; c.Joules != 0 || c.Energy != "not available: permission denied" {
		t.Errorf("%+v", c)
	}
}
