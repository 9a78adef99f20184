// Package archtest holds the rules on who may import what, as tests. It has no
// code of its own.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	module    = "github.com/mamba-encoder-swarm/mes/"
	graphPath = "github.com/gomlx/gomlx/core/graph"
)

// everything allows a command to import every package of ours.
const everything = "*"

// mayImport lists, for each package, the packages of ours that it may import.
// So model/ knows nothing of hub/ and web/, these two know nothing of each
// other, and only cmd joins them.
var mayImport = map[string][]string{
	"model/tokenizer": {},
	"model/domain":    {},
	"model/data":      {"model/domain", "model/tokenizer"},
	"model/mamba":     {"internal/num", "internal/backend", "internal/kernel"},
	"model/router":    {"model/tokenizer", "internal/num"},
	"model/swarm":     {"model/mamba", "model/router", "internal/num", "internal/program"},
	"model/engine": {"model/swarm", "model/router", "model/mamba", "model/tokenizer",
		"internal/num"},
	"model/config":    {"model/mamba", "model/router", "model/swarm"},
	"model/ckpt":      {"hub/safetensors", "internal/atomicfile"},
	"model/telemetry": {"internal/atomicfile"},
	"model/eval":      {"model/engine", "model/swarm", "model/router", "model/data", "model/tokenizer"},
	"model/trainer":   {"model/swarm", "model/router", "model/mamba", "model/data", "model/ckpt", "model/telemetry", "model/queue", "internal/program"},
	"model/queue":     {},

	"hub/safetensors":     {"internal/atomicfile"},
	"hub/pickle":          {},
	"hub/client":          {},
	"hub/server/gitrepo":  {"internal/atomicfile"},
	"hub/server/lfs":      {"internal/atomicfile"},
	"hub/server/meta":     {},
	"hub/server/mirror":   {"internal/atomicfile"},
	"hub/server/patterns": {},
	"hub/server/view":     {},
	"hub/server/xet":      {},
	"hub/server":          {"hub/server/mirror", "hub/server/view", "hub/server/xet", "hub/server/gitrepo", "hub/server/lfs", "hub/server/meta", "hub/server/patterns", "hub/safetensors", "hub/pickle"},
	"hub":                 {"hub/safetensors", "hub/pickle", "model/config", "model/swarm", "model/tokenizer", "internal/atomicfile"},

	"web/view":  {},
	"web/space": {},
	"web":       {"web/view", "model/engine"},

	"internal/atomicfile":     {},
	"internal/num":            {},
	"internal/kernel":         {},
	"internal/backend":        {"internal/kernel"},
	"internal/program":        {},
	"internal/testkit":        {everything},
	"internal/testkit/oracle": {"model/mamba"},
	"cmd/mes":                 {everything},
}

// openers are the packages that open a back end; every other constructor is
// given one.
var openers = []string{"cmd/mes", "internal/testkit"}

// bound lists modules that a single package of ours may import, because it
// hides them from the rest.
var bound = map[string]string{
	"github.com/gomlx/go-xla/":           "internal/backend",
	"github.com/gomlx/compute/gobackend": "internal/backend",
	"github.com/daulet/tokenizers":       "model/tokenizer",
	"github.com/gin-gonic/gin":           "web",
	"lukechampine.com/blake3":            "hub/server/xet",
	"github.com/parquet-go/parquet-go":   "model/data",
	"github.com/ulikunitz/xz":            "model/data",
	"github.com/klauspost/compress":      "model/data",
	"github.com/pierrec/lz4":             "hub/server/xet",
	"github.com/yuin/goldmark":           "hub/server/view",
	"github.com/microcosm-cc/bluemonday": "hub/server/view",
	"gonum.org/v1/plot":                  "model/telemetry",
	"github.com/nats-io":                 "model/queue",
}

// environment lists the functions that read environment variables. Libraries
// are told what they need by cmd/mes, which alone reads them.
var environment = map[string][]string{
	"os":      {"Getenv", "LookupEnv", "Environ", "ExpandEnv", "UserHomeDir", "UserCacheDir", "UserConfigDir"},
	"syscall": {"Getenv", "Environ"},
}

// outside lists the packages that a file with graph code does not import: it
// builds a graph and does nothing else.
var outside = []string{"os", "io", "net", "net/http", "context", "bufio", "log", "log/slog"}

// check gives the faults of one file of the package pkg, both as paths below
// the module; src is its source.
func check(pkg, file, src string) ([]string, error) {
	tree, err := parser.ParseFile(token.NewFileSet(), file, src, 0)
	if err != nil {
		return nil, err
	}
	faults := checkImports(pkg, tree)
	if !slices.Contains(openers, pkg) {
		faults = append(faults, checkEnvironment(tree)...)
	}
	for i := range faults {
		faults[i] = file + ": " + faults[i]
	}
	return faults, nil
}

// checkImports gives the faults among the imports of a file.
func checkImports(pkg string, tree *ast.File) []string {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	allowed, known := mayImport[pkg]
	if !known {
		fault("package %s has no row in the import table", pkg)
	}
	graph := false
	for _, spec := range tree.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			fault("import %s: %v", spec.Path.Value, err)
			continue
		}
		if spec.Name != nil && spec.Name.Name == "." {
			if imported != graphPath {
				fault("dot-imports %s, only %s may be", imported, graphPath)
			}
			graph = true
		}
		ours, isOurs := strings.CutPrefix(imported, module)
		if isOurs && !slices.Contains(allowed, ours) && !slices.Contains(allowed, everything) {
			fault("%s may not import %s", pkg, ours)
		}
		for prefix, owner := range bound {
			if strings.HasPrefix(imported+"/", strings.TrimSuffix(prefix, "/")+"/") && pkg != owner {
				fault("only %s imports %s", owner, imported)
			}
		}
		if imported == "flag" && pkg != "cmd/mes" {
			fault("only cmd/mes reads flags")
		}
	}
	if graph {
		for _, spec := range tree.Imports {
			if imported, _ := strconv.Unquote(spec.Path.Value); slices.Contains(outside, imported) {
				fault("graph code imports %s: it builds a graph and does nothing else", imported)
			}
		}
	}
	return faults
}

// checkEnvironment gives the places where a file reads the environment.
func checkEnvironment(tree *ast.File) []string {
	names := map[string]string{} // name in this file → import path
	for _, spec := range tree.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		name := path.Base(imported)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = imported
	}
	var faults []string
	ast.Inspect(tree, func(n ast.Node) bool {
		if call, ok := n.(*ast.SelectorExpr); ok {
			if left, ok := call.X.(*ast.Ident); ok && slices.Contains(environment[names[left.Name]], call.Sel.Name) {
				faults = append(faults, fmt.Sprintf("reads the environment with %s.%s", left.Name, call.Sel.Name))
			}
		}
		return true
	})
	return faults
}
