package archtest

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
)

// TestTree holds every Go file of the repository, tests apart, to the rules.
func TestTree(t *testing.T) {
	root, err := testkit.Root()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	err = filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if file != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		seen[path.Dir(rel)] = true
		faults, err := check(path.Dir(rel), rel, string(src))
		for _, fault := range faults {
			t.Error(fault)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range mayImport {
		if !seen[pkg] {
			t.Errorf("the import table has a row for %s, which does not exist", pkg)
		}
	}
}

// TestRules shows each rule a file that breaks it, and one that does not.
func TestRules(t *testing.T) {
	const dot = `import . "` + graphPath + `"`
	cases := []struct{ name, pkg, src, want string }{
		{"allowed import", "model/mamba", `import "` + module + `internal/num"`, ""},
		{"forbidden import", "model/mamba", `import "` + module + `model/swarm"`, "may not import model/swarm"},
		{"model knows no hub", "model/engine", `import "` + module + `hub"`, "may not import hub"},
		{"hub knows no web", "hub", `import "` + module + `web"`, "may not import web"},
		{"command imports all", "cmd/mes", `import "` + module + `web"`, ""},
		{"unknown package", "model/utils", ``, "no row"},
		{"graph dot import", "model/mamba", dot, ""},
		{"other dot import", "model/mamba", `import . "strings"`, "dot-imports strings"},
		{"graph code and files", "model/mamba", dot + `; import "os"; var _ = os.Args`, "graph code imports os"},
		{"reads environment", "hub", `import "os"; var _ = os.Getenv("A")`, "os.Getenv"},
		{"under another name", "hub", `import env "os"; var _ = env.LookupEnv`, "env.LookupEnv"},
		{"command reads environment", "cmd/mes", `import "os"; var _ = os.Getenv("A")`, ""},
		{"reads a file", "hub", `import "os"; var _ = os.ReadFile`, ""},
		{"flags", "web", `import "flag"`, "reads flags"},
		{"opens a back end", "model/engine", `import "github.com/gomlx/go-xla/compute/xla"`, "only internal/backend"},
		{"opens the go back end", "model/swarm", `import "github.com/gomlx/compute/gobackend"`, "only internal/backend"},
		{"asks for a back end", "model/swarm", `import "` + module + `internal/backend"`, "may not import internal/backend"},
		{"uses a back end", "model/swarm", `import "github.com/gomlx/compute"`, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			faults, err := check(c.pkg, c.pkg+"/file.go", "package p\n"+c.src)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(faults, "; ")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("faults %q, want %q", got, c.want)
			}
		})
	}
}
