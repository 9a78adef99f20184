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

// commit is the commit that the program was built from, as the compiler noted it;
// empty if it did not.
func commit() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var revision, modified string
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				modified = ", modified"
			}
		}
	}
	if revision == "" {
		return ""
	}
	return revision[:min(12, len(revision))] + modified
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
