package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
)

// version of the program.
const version = "0.1.0"

var versionCommand = command{
	name: "version", summary: "print the version",
	help: `
Example:
  mes version`,
	flags: func(_ *flag.FlagSet, m *Main) func(context.Context, []string) error {
		return func(context.Context, []string) error {
			fmt.Fprintf(m.Stdout, "mes %s %s %s\n", version, runtime.Version(), platform())
			return nil
		}
	},
}

var envCommand = command{
	name: "env", summary: "print versions, back end, devices and plugin",
	help: `
Opens the back end that the flags and the machine allow and says which it is, and
why.

Example:
  mes env -backend auto`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		f := &modelFlags{m: m}
		f.backendFlag(fs)
		asJSON := fs.Bool("json", false, "write JSON")
		return func(context.Context, []string) error { return m.env(f, *asJSON) }
	},
}

func (m *Main) env(f *modelFlags, asJSON bool) error {
	b, info, err := f.openBackend()
	if err != nil {
		return err
	}
	defer b.Finalize()
	report := struct {
		Version  string `json:"version"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
		CPUs     int    `json:"cpus"`
		backend.Info
		Modules map[string]string `json:"modules"`
	}{version, runtime.Version(), platform(), runtime.NumCPU(), info, modules()}
	if asJSON {
		return json.NewEncoder(m.Stdout).Encode(report)
	}
	fmt.Fprintf(m.Stdout, "mes       %s (%s, %s, %d CPUs)\n", version, report.Go, report.Platform, report.CPUs)
	fmt.Fprintf(m.Stdout, "back end  %s: %s\n", info.Name, info.Chosen)
	if info.Plugin != "" {
		fmt.Fprintf(m.Stdout, "plugin    %s (PJRT %s, %s)\n", info.Plugin, info.PluginVersion, info.Platform)
	}
	for _, d := range info.Devices {
		fmt.Fprintf(m.Stdout, "device    %s\n", d)
	}
	fmt.Fprintf(m.Stdout, "simd      %s\n", info.SIMD)
	if info.Kernels != "" {
		fmt.Fprintf(m.Stdout, "kernels   %s\n", info.Kernels)
	}
	for _, name := range moduleNames {
		fmt.Fprintf(m.Stdout, "module    %s %s\n", name, report.Modules[name])
	}
	return nil
}

// moduleNames are the dependencies whose version decides about results and speed.
var moduleNames = []string{"github.com/gomlx/gomlx", "github.com/gomlx/compute", "github.com/gomlx/go-xla", "github.com/daulet/tokenizers"}

func modules() map[string]string {
	found := map[string]string{}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range build.Deps {
			for _, name := range moduleNames {
				if dep.Path == name {
					found[name] = dep.Version
				}
			}
		}
	}
	return found
}
