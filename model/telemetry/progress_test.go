package telemetry

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestProgressLine(t *testing.T) {
	cases := []struct {
		name string
		r    Record
		left time.Duration
		want string
	}{
		{"all", Record{Phase: "joint", Step: 1200, Steps: 5000, Loss: 2.71828, TokensPerSecond: 412345, MemoryBytes: 6100e6}, 75 * time.Minute, "joint step 1200/5000  loss 2.7183  412k tok/s  ETA 1h15m  6.1GB"},
		{"little", Record{Step: 3, Loss: 9}, 0, "step 3  loss 9.0000"},
		{"days", Record{Step: 3, Loss: 9}, 50 * time.Hour, "step 3  loss 9.0000  ETA 2d02h"},
		{"seconds", Record{Step: 3, Loss: 9, TokensPerSecond: 7}, 61 * time.Second, "step 3  loss 9.0000  7 tok/s  ETA 1m1s"},
	}
	for _, c := range cases {
		if got := progressLine(&c.r, c.left); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPace(t *testing.T) {
	var p pace
	start := time.Now()
	left := func(step int64, at time.Duration) time.Duration {
		r := Record{Step: step, Steps: 1000, Time: start.Add(at)}
		p.add(&r)
		return p.left(&r)
	}
	if got := left(100, 0); got != 0 {
		t.Errorf("known after one record: %v", got)
	}
	if got := left(110, 20*time.Second); got != 890*2*time.Second {
		t.Errorf("at 2 s a step %v are left", got)
	}
	if got := left(110, 30*time.Second); got != 890*3*time.Second {
		t.Errorf("at 3 s a step %v are left", got)
	}
	if got := left(1000, 40*time.Second); got != 0 {
		t.Errorf("at the end %v are left", got)
	}
}

// TestProgress shows records every second, as lines and on a terminal.
func TestProgress(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var out strings.Builder
			p := &Progress{Writer: &out, Terminal: terminal}
			for step := int64(1); step <= 8; step++ {
				p.Show(Record{Step: step, Steps: 8, Loss: 1})
				p.Show(Record{Step: step, Steps: 8, Loss: 1})
				time.Sleep(time.Second)
			}
			p.Finish()
			got := out.String()
			if !terminal {
				const want = "step 1/8  loss 1.0000\nstep 6/8  loss 1.0000  ETA 2s\nstep 8/8  loss 1.0000\n"
				if got != want {
					t.Errorf("lines %q, want %q", got, want)
				}
				return
			}
			if n := strings.Count(got, "\r\x1b[K"); n != 8 || strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "[============] step 8/8  loss 1.0000\n") || !strings.Contains(got, "[======      ] step 4/8") {
				t.Errorf("%d updates: %q", n, got)
			}
		})
	}
	var out strings.Builder
	(&Progress{Writer: &out, Terminal: true}).Finish()
	if out.Len() > 0 {
		t.Errorf("nothing was shown, and it ends with %q", out.String())
	}
}

func TestProfiler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Profiler
		if got := p.Take(); len(got) > 0 {
			t.Errorf("at first %v", got)
		}
		whole := p.Start("step")
		for range 2 {
			stop := p.Start("data")
			time.Sleep(time.Second)
			stop()
		}
		whole()
		if got := p.Take(); got["step"] != 2 || got["data"] != 2 || len(got) != 2 {
			t.Errorf("took %v", got)
		}
		if got := p.Take(); len(got) > 0 {
			t.Errorf("taken twice: %v", got)
		}
	})
}
