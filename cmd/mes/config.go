package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/config"
)

var configCommand = command{
	name: "config", summary: "print and check configurations",
	help: `
MODEL is a model folder or a config.json. The file holds the network's architecture;
the schema says what each of its keys means.

Example:
  mes config check weights/mamba2-mini`,
	verbs: []command{configPrint, configCheck, configSchema},
}

var configPrint = command{
	name: "print", args: "[MODEL]", summary: "write a config.json with every default filled in",
	help: `
Writes the config.json of MODEL, a folder or file, with every key that it leaves out.
Without MODEL it writes a preset: tiny for tests, small for a laptop, base for a GPU.

Example:
  mes config print weights/mamba2-mini`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		preset := fs.String("preset", "small", "`name` of the preset to write: "+strings.Join(config.PresetNames, ", "))
		return func(_ context.Context, args []string) error { return m.configPrint(*preset, args) }
	},
}

func (m *Main) configPrint(preset string, args []string) error {
	var c *config.Config
	var err error
	switch len(args) {
	case 0:
		if c, err = config.Preset(preset); err != nil {
			return usageError("-preset: %v", err)
		}
	case 1:
		if c, err = config.Load(args[0]); err != nil {
			return err
		}
	default:
		return usageError("config print takes one model at most, got %d", len(args))
	}
	data, err := c.Marshal()
	if err != nil {
		return err
	}
	_, err = m.Stdout.Write(data)
	return err
}

var configCheck = command{
	name: "check", args: "MODEL", summary: "list everything that is wrong with a config.json",
	help: `
Checks the config.json of MODEL, a folder or file, and lists every fault with its key.
Exit code 2 if there is one. Whether the weights fit is what mes inspect says.

Example:
  mes config check -json weights/mamba2-mini`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		asJSON := fs.Bool("json", false, "write JSON")
		return func(_ context.Context, args []string) error { return m.configCheck(*asJSON, args) }
	},
}

func (m *Main) configCheck(asJSON bool, args []string) error {
	if len(args) != 1 {
		return usageError("config check needs one model folder or config.json; `mes help config check` shows an example")
	}
	type fault struct {
		Field   string `json:"field"`
		Message string `json:"message"`
	}
	faults := []fault{}
	c, err := config.Load(args[0])
	var wrong *config.FaultError
	switch {
	case errors.As(err, &wrong):
		for _, f := range wrong.Faults {
			faults = append(faults, fault(f))
		}
	case err != nil:
		return err
	}
	switch {
	case asJSON:
		if err := json.NewEncoder(m.Stdout).Encode(map[string]any{"faults": faults}); err != nil {
			return err
		}
	case len(faults) == 0:
		fmt.Fprintf(m.Stdout, "%s: a valid %s\n", args[0], c.ModelType)
	}
	if len(faults) == 0 {
		return nil
	}
	if !asJSON {
		for _, f := range faults {
			fmt.Fprintf(m.Stdout, "%s: %s\n", f.Field, f.Message)
		}
	}
	return usageError("%s has %s", args[0], count(len(faults), "fault"))
}

var configSchema = command{
	name: "schema", summary: "write the JSON Schema of config.json",
	help: `
Writes the JSON Schema of config.json: every key with type, default, range, unit and
meaning.

Example:
  mes config schema > configuration_mamba_swarm.json`,
	flags: func(_ *flag.FlagSet, m *Main) func(context.Context, []string) error {
		return func(_ context.Context, args []string) error {
			if len(args) > 0 {
				return usageError("config schema takes no arguments, got %q", args)
			}
			_, err := m.Stdout.Write(config.Schema())
			return err
		}
	},
}
