package space_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/web/space"
)

var demo = space.Demo{
	Model: "alice/mamba-swarm-model", Endpoint: "https://hub.example/prefix",
	Card: "---\nlicense: apache-2.0\n---\n\n# Card\n<script>alert(1)</script>\n",
	Routes: []space.Route{{Title: "law", Chunks: []space.Chunk{
		{Tokens: "0-15", Text: "a <b>\n  c", Encoders: "3 law 62.3 %", Why: "swapped: 3 0.819 before 2 0.473"},
	}}},
}

// names of files, and their texts together.
func rendered(t *testing.T, files map[string][]byte, err error) ([]string, string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Sorted(maps.Keys(files))
	var all strings.Builder
	for _, name := range names {
		all.Write(files[name])
	}
	if strings.Contains(all.String(), "{{") {
		t.Error("a template was not filled in")
	}
	return names, all.String()
}

// TestDocker: what a Docker Space must say is said, and its script is one that a shell
// understands.
func TestDocker(t *testing.T) {
	files, err := space.Docker(demo)
	names, _ := rendered(t, files, err)
	if want := []string{"Dockerfile", "README.md", "build.sh", "run.sh"}; !slices.Equal(names, want) {
		t.Fatalf("files %v, want %v", names, want)
	}
	for name, wants := range map[string][]string{
		"README.md":  {"sdk: docker\n", "app_port: 7860\n", "models:\n  - alice/mamba-swarm-model\n", "(https://hub.example/prefix/alice/mamba-swarm-model)"},
		"Dockerfile": {"useradd -m -u 1000 user", "USER user", "EXPOSE 7860", "RUN bash space/build.sh app", `CMD ["bash", "app/run.sh"]`},
		"run.sh":     {`-model "${MES_MODEL:-alice/mamba-swarm-model}"`, "0.0.0.0:${PORT:-7860}"},
	} {
		for _, want := range wants {
			if !strings.Contains(string(files[name]), want) {
				t.Errorf("%s does not say %q", name, want)
			}
		}
	}
	if last := string(files["Dockerfile"]); strings.LastIndex(last, "USER user") < strings.LastIndex(last, "useradd") {
		t.Error("the image runs as root")
	}
}

// TestStatic: the page shows card and routing as text, without the card's front matter,
// and says that it runs no model.
func TestStatic(t *testing.T) {
	files, err := space.Static(demo)
	names, _ := rendered(t, files, err)
	if want := []string{"README.md", "index.html"}; !slices.Equal(names, want) {
		t.Fatalf("files %v, want %v", names, want)
	}
	page := string(files["index.html"])
	for _, want := range []string{
		"runs no model", "# Card", "&lt;script&gt;alert(1)&lt;/script&gt;", "<td>0-15</td>", "a &lt;b&gt;\n  c", "3 law 62.3 %",
		"swapped: 3 0.819 before 2 0.473", `href="https://hub.example/prefix/alice/mamba-swarm-model"`, "mes pull alice/mamba-swarm-model",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(page, "license: apache-2.0") || strings.Contains(page, "<script") {
		t.Error("the page shows front matter or holds a script")
	}
	if !strings.Contains(string(files["README.md"]), "sdk: static\napp_file: index.html\n") {
		t.Errorf("README.md:\n%s", files["README.md"])
	}
}
