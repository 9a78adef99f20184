//go:build cgo

package kernel

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestKernels compares every set of kernels that this processor has with plain
// loops in double, under the address sanitizer where the compiler has one.
func TestKernels(t *testing.T) {
	sources, err := filepath.Glob("compute_*.c")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no kernels found: %v", err)
	}
	program := filepath.Join(t.TempDir(), "check")
	build := func(flags ...string) ([]byte, error) {
		args := append(append(flags, "-O1", "-o", program, "testdata/check.c"), sources...)
		return exec.Command("cc", append(args, "-lm")...).CombinedOutput()
	}
	if _, err := build("-fsanitize=address,undefined", "-fno-sanitize-recover"); err != nil {
		t.Log("the compiler has no sanitizer, building without")
		if out, err := build(); err != nil {
			t.Fatalf("build check.c: %v\n%s", err, out)
		}
	}
	out, err := exec.Command(program).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "plain checked") {
		t.Errorf("check: %v\n%s", err, out)
	}
}
