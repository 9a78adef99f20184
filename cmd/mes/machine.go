package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/model/eval"
)

// stamp is what `make build` sets to the commit, as git describe writes it.
var stamp string

// commit is the commit that the program was built from, empty where nobody noted it.
func commit() string {
	var settings []debug.BuildSetting
	if build, ok := debug.ReadBuildInfo(); ok {
		settings = build.Settings
	}
	return commitOf(settings, stamp)
}

// commitOf takes what the compiler noted; in a worktree of git, for one, it notes nothing,
// and the stamp counts.
func commitOf(settings []debug.BuildSetting, stamp string) string {
	revision, modified := strings.CutSuffix(stamp, "-dirty")
	for _, s := range settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	revision = revision[:min(12, len(revision))]
	if modified {
		revision += ", modified"
	}
	return revision
}

// machine describes the processor, and the devices of the back end if these are others.
func machine(info backend.Info) string {
	parts := []string{fmt.Sprintf("%s, %d CPUs", processor(), runtime.NumCPU())}
	if info.Name == backend.XLACUDA {
		parts = append(parts, info.Devices...)
	}
	return strings.Join(parts, "; ")
}

// processor is the name that Linux gives the processor, else its kind.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return platform()
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return platform()
}

// meter is what counts the energy of a back end's device; nil if nothing does.
func (m *Main) meter(backendName string) eval.Meter {
	if backendName == backend.XLACUDA {
		if path, err := exec.LookPath("nvidia-smi"); err == nil {
			return eval.NvidiaSMI(path)
		}
		return nil
	}
	meter, err := eval.RAPL("/sys/class/powercap")
	if err != nil {
		return nil
	}
	return meter
}

// fileSum is the SHA-256 of a file.
func fileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
