//go:build cgo && !noxla

package backend

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/pjrt"
)

// xlaBuilt says whether this build can load PJRT plugins.
const xlaBuilt = true

// xlaMissing says how to get a build that can.
const xlaMissing = ""

// entryPoint is the function that every PJRT plugin exports.
const entryPoint = "GetPjrtApi"

// openXLA loads the plugin at the absolute path and opens its devices. go-xla
// takes a path as it is and downloads nothing. Whether the plugin shares its
// buffers with Go and rounds to TF32 is said here, because go-xla would guess
// it from the letters of the path.
func openXLA(name, path, chosen string, opts Options) (compute.Backend, Info, error) {
	if err := checkPlugin(path); err != nil {
		return nil, Info{}, fmt.Errorf("open back end %s: load PJRT plugin %s: %w", name, path, err)
	}
	config := fmt.Sprintf("%s,shared_buffers=%t,tf32=%t", path, name == XLACPU, name == XLACUDA && opts.TF32)
	options := pjrt.NamedValuesMap{}
	if name == XLACPU && opts.CPUDevices > 0 {
		options["cpu_device_count"] = int64(opts.CPUDevices)
	}
	b, err := xla.NewWithOptions(config, options)
	if err != nil {
		return nil, Info{}, fmt.Errorf("open back end %s: load PJRT plugin %s: %w", name, path, err)
	}
	info := Info{Name: name, Chosen: chosen, Plugin: path, SIMD: SIMD()}
	for i := range b.NumDevices() {
		info.Devices = append(info.Devices, b.DeviceDescription(compute.DeviceNum(i)))
	}
	if err := checkDevices(name, info.Devices); err != nil {
		b.Finalize()
		return nil, Info{}, fmt.Errorf("open back end %s: PJRT plugin %s %w", name, path, err)
	}
	if name == XLACPU {
		mapLargeBuffers()
		info.Kernels = addKernels(b, path)
	}
	if plugin, err := pjrt.GetPlugin(path); err == nil {
		major, minor := plugin.Version()
		info.PluginVersion = fmt.Sprintf("%d.%d", major, minor)
		if v, ok := plugin.Attributes()["stablehlo_current_version"].([]int64); ok && len(v) == 3 {
			info.Platform = fmt.Sprintf("StableHLO %d.%d.%d", v[0], v[1], v[2])
		}
	}
	return b, info, nil
}

// checkDevices refuses a plugin without devices, and one for another kind of
// device than name says: a GPU's memory cannot be shared with Go.
func checkDevices(name string, devices []string) error {
	if len(devices) == 0 {
		return errors.New("has no device")
	}
	if isCPU := strings.HasPrefix(strings.ToLower(devices[0]), "cpu"); isCPU != (name == XLACPU) {
		return fmt.Errorf("is for another kind of device (%s)", devices[0])
	}
	return nil
}

// checkPlugin refuses, with a reason, a file that the dynamic loader could not
// use: it would give a cryptic message, or crash on a file cut short.
func checkPlugin(path string) error {
	if strings.Contains(path, ",") {
		return errors.New("its path must not contain a comma, which separates options")
	}
	if runtime.GOOS != "linux" { // other systems have other file formats
		_, err := os.Stat(path)
		return err
	}
	f, err := elf.Open(path)
	if err != nil {
		var file *fs.PathError
		if errors.As(err, &file) {
			return err
		}
		return fmt.Errorf("not a complete shared library: %w", err)
	}
	defer f.Close()
	if want := elfMachine[runtime.GOARCH]; f.Machine != want {
		return fmt.Errorf("built for %s, this program for %s", f.Machine, want)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return fmt.Errorf("not a complete shared library: %w", err)
	}
	for _, s := range symbols {
		if s.Name == entryPoint && s.Section != elf.SHN_UNDEF {
			return nil
		}
	}
	return fmt.Errorf("a shared library, but not a PJRT plugin: it exports no %s", entryPoint)
}

// elfMachine translates the Go name of an architecture.
var elfMachine = map[string]elf.Machine{
	"amd64":   elf.EM_X86_64,
	"arm64":   elf.EM_AARCH64,
	"ppc64le": elf.EM_PPC64,
	"riscv64": elf.EM_RISCV,
	"s390x":   elf.EM_S390,
}
