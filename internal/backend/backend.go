// Package backend opens the compute back end that runs the graphs: XLA on a
// GPU, XLA on the CPU, or GoMLX's pure Go interpreter. It finds the PJRT
// plugin among files that are already there and never downloads one, and it
// reads no environment: the caller passes paths in.
//
//	b, info, err := backend.Open("auto", backend.Options{})
//	if err != nil { ... }
//	defer b.Finalize()
//	fmt.Println(info.Name, "because", info.Chosen)
package backend

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomlx/compute"
)

// The names that Open accepts.
const (
	Auto    = "auto"     // CUDA, else XLA on the CPU, else Go
	XLACPU  = "xla:cpu"  // XLA on the CPU, through a PJRT plugin
	XLACUDA = "xla:cuda" // XLA on an NVIDIA GPU, through a PJRT plugin
	Go      = "go"       // pure Go, nothing to install
)

// Names lists every name that Open accepts, in order of preference.
func Names() []string { return []string{Auto, XLACUDA, XLACPU, Go} }

// CPUPluginFile is the file name under which setup leaves the CPU plugin.
const CPUPluginFile = "pjrt_c_api_cpu_plugin.so"

// ErrNoPlugin is wrapped by the error of Open when the wanted back end needs a
// plugin and none was found; a plugin that is there but does not load gives
// another error.
var ErrNoPlugin = errors.New("no PJRT plugin")

// Options says where plugins are and how a GPU computes. The zero value
// searches SearchDirs("").
type Options struct {
	Plugin     string   // CPU plugin: a file, or a directory that holds CPUPluginFile; it must load
	CUDAPlugin string   // CUDA plugin file; without one xla:cuda is not tried
	Dirs       []string // directories searched for CPUPluginFile when Plugin is empty
	CPUDevices int      // into how many devices the CPU plugin divides the processor; 0 is the plugin's choice
	TF32       bool     // let a GPU round the factors of f32 products to 10 bits of mantissa
}

// Info describes an opened back end, for people.
type Info struct {
	Name          string   `json:"name"`                     // one of Names, never "auto"
	Chosen        string   `json:"chosen"`                   // why this one
	Plugin        string   `json:"plugin,omitempty"`         // path of the PJRT plugin
	PluginVersion string   `json:"plugin_version,omitempty"` // PJRT API version of the plugin
	Platform      string   `json:"platform,omitempty"`       // graph language that the plugin reads, with its version
	Devices       []string `json:"devices"`                  // one line for each device
	SIMD          string   `json:"simd"`                     // instruction set of the Go code of this build
	Kernels       string   `json:"kernels,omitempty"`        // instruction set of our kernels in XLA's CPU programs, or "none" with the reason
}

// Open opens the back end called name. For "auto" it takes the GPU if a device
// opens, else XLA on the CPU if a plugin is there, else Go; a CPU plugin that
// is there and does not load is an error under every name that may use it.
// The caller finalizes the back end.
func Open(name string, opts Options) (compute.Backend, Info, error) {
	switch name {
	case Auto:
		return openAuto(opts)
	case XLACPU:
		path, err := findCPUPlugin(opts)
		if err != nil {
			return nil, Info{}, fmt.Errorf("open back end %s: %w", name, err)
		}
		return openXLA(XLACPU, path, "asked for", opts)
	case XLACUDA:
		if opts.CUDAPlugin == "" {
			return nil, Info{}, fmt.Errorf("open back end %s: %w: name the file of a CUDA plugin", name, ErrNoPlugin)
		}
		return openXLA(XLACUDA, opts.CUDAPlugin, "asked for", opts)
	case Go:
		return openGo("asked for")
	}
	return nil, Info{}, fmt.Errorf("open back end %q: unknown name, use one of %s", name, strings.Join(Names(), ", "))
}

// openAuto tries the back ends from the fastest to the one that always works,
// and keeps in Info.Chosen why the faster ones were passed over.
func openAuto(opts Options) (compute.Backend, Info, error) {
	passed := "no CUDA plugin"
	if opts.CUDAPlugin != "" {
		b, info, err := openXLA(XLACUDA, opts.CUDAPlugin, "a GPU opened", opts)
		if err == nil {
			return b, info, nil
		}
		passed = fmt.Sprintf("no GPU (%v)", err)
	}
	path, err := findCPUPlugin(opts)
	if err == nil {
		return openXLA(XLACPU, path, passed+", a CPU plugin is there", opts)
	}
	if !errors.Is(err, ErrNoPlugin) {
		return nil, Info{}, fmt.Errorf("open back end %s: %w", Auto, err)
	}
	return openGo(passed + ", " + err.Error())
}

// findCPUPlugin gives the absolute path of the CPU plugin that opts leads to.
func findCPUPlugin(opts Options) (string, error) {
	if !xlaBuilt {
		return "", fmt.Errorf("%w: %s", ErrNoPlugin, xlaMissing)
	}
	if opts.Plugin != "" {
		return pluginFile(opts.Plugin)
	}
	dirs := opts.Dirs
	if dirs == nil {
		dirs = SearchDirs("")
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, CPUPluginFile)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("%w in %s (scripts/setup.sh puts one into .deps/pjrt)", ErrNoPlugin, strings.Join(dirs, ", "))
}

// pluginFile resolves a plugin that was named by the user: a file or its directory.
func pluginFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read PJRT plugin: %w", err)
	}
	if info.IsDir() {
		path = filepath.Join(path, CPUPluginFile)
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("read PJRT plugin: %w", err)
		}
	}
	return filepath.Abs(path)
}

// SearchDirs lists the directories in which Open looks for a CPU plugin:
// .deps/pjrt of the repository that the executable was built in (it lies in
// bin/), .deps/pjrt of the working directory, and the places where go-xla's
// installer puts plugins: lib/go-xla under home's .local, if home is not
// empty, and under /usr/local.
func SearchDirs(home string) []string {
	var dirs []string
	local := filepath.Join(".deps", "pjrt")
	if exe, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Join(filepath.Dir(filepath.Dir(exe)), local))
	}
	if wd, err := os.Getwd(); err == nil {
		dirs = append(dirs, filepath.Join(wd, local))
	}
	if home != "" {
		dirs = append(dirs, filepath.Join(home, ".local", "lib", "go-xla"))
	}
	return append(dirs, filepath.Join("/usr", "local", "lib", "go-xla"))
}
