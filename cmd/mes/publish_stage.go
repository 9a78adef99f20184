package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/web"
	"github.com/mamba-encoder-swarm/mes/web/space"
)

// stage writes the folders of all repos below dir.
func (p *publish) stage(ctx context.Context, model, dir string) error {
	files, err := hub.FromPretrained(ctx, model, nil)
	if err != nil {
		return err
	}
	defer files.Close()
	if files.Config.Swarm.Plain() {
		return usageError("%s is a plain %s, and publish is for swarms; `mes grow` makes one of it", model, files.Config.Swarm.Base.Kind)
	}
	if p.precision == "" && hub.Stored(files.Config) != swarm.Int8 {
		p.precision = swarm.BF16
	}
	repos := p.repos()
	weights, modelRepo := repos[0].ID, repos[1].ID
	bar := p.m.progress("prepare")
	defer bar.finish()
	folder := filepath.Join(dir, p.repoName("model"))
	about := hub.About{Repo: modelRepo, Related: []hub.Related{
		{Title: "The weights as they were made, what was measured, where training goes on", URL: p.c.Endpoint() + "/" + weights},
		{Title: "Demo", URL: p.c.Endpoint() + "/" + repos[2].String()},
	}}
	if err := hub.StageModel(ctx, files, folder, p.precision, about, bar.set); err != nil {
		return err
	}
	run, remove, err := p.stageRun(dir)
	if err != nil {
		return err
	}
	defer remove()
	err = hub.StageWeights(ctx, files, filepath.Join(dir, p.repoName("weights")), hub.WeightsOptions{
		Evaluation: p.evaluation, Run: run,
		About: hub.About{Repo: weights, Related: []hub.Related{{Title: "The model to run, which is smaller", URL: p.c.Endpoint() + "/" + modelRepo}}},
	})
	if err != nil {
		return err
	}
	card, err := os.ReadFile(filepath.Join(folder, hub.CardFile))
	if err != nil {
		return err
	}
	return p.stageSpaces(ctx, files, dir, space.Demo{Model: modelRepo, Endpoint: p.c.Endpoint(), Card: string(card)})
}

// stageSpaces writes the Space with Docker and the one without.
func (p *publish) stageSpaces(ctx context.Context, files *hub.Pretrained, dir string, demo space.Demo) error {
	recorded, err := record(files, demo.Model)
	if err != nil {
		return err
	}
	demo.Routes = shown(recorded)
	routing, err := json.MarshalIndent(recorded, "", " ")
	if err != nil {
		return err
	}
	docker, err := space.Docker(demo)
	if err != nil {
		return err
	}
	static, err := space.Static(demo)
	if err != nil {
		return err
	}
	static["routing.json"] = routing
	folder := filepath.Join(dir, p.repoName("demo"))
	if err := copySource(ctx, p.source, filepath.Join(folder, "source")); err != nil {
		return err
	}
	return errors.Join(writeFiles(folder, docker), writeFiles(folder+"-static", static))
}

// recordedTexts is how many of the page's examples a static Space shows.
const recordedTexts = 6

// record runs the router over texts as `mes route -json` does.
func record(files *hub.Pretrained, model string) ([]routed, error) {
	var all []routed
	for _, example := range web.Examples()[:recordedTexts] {
		chunks, offsets, err := plan(files, "", example.Prompt)
		if err != nil {
			return nil, fmt.Errorf("record the routing of a text on %s: %w", example.Domain, err)
		}
		all = append(all, routed{Model: model, Chunks: explain(chunks, files.Config.Swarm.Router.Domains, example.Prompt, offsets)})
	}
	return all, nil
}

// shown puts recorded runs into the words of `mes route`.
func shown(recorded []routed) []space.Route {
	var routes []space.Route
	for i, r := range recorded {
		route := space.Route{Title: web.Examples()[i].Domain}
		for _, c := range r.Chunks {
			route.Chunks = append(route.Chunks, space.Chunk{Tokens: c.tokens(), Text: c.Text, Encoders: c.uses(), Why: c.why()})
		}
		routes = append(routes, route)
	}
	return routes
}

// sourceParts are what a program is built from, within the repository of its source.
var sourceParts = []string{
	"go.mod", "go.sum", "LICENSE", "NOTICE", "cmd", "hub", "internal", "model", "web",
	"scripts/setup.sh", "scripts/lib.sh", "scripts/libtokenizers",
}

// copySource copies the program's source without its tests.
func copySource(ctx context.Context, from, to string) error {
	for _, part := range sourceParts {
		err := filepath.WalkDir(filepath.Join(from, part), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return fmt.Errorf("copy the program's source: %w; -source names its folder", err)
			}
			name, err := filepath.Rel(from, path)
			skip := strings.HasPrefix(d.Name(), ".") && path != from || d.Name() == "testdata" || d.Name() == "__pycache__"
			switch {
			case err != nil || ctx.Err() != nil:
				return errors.Join(err, ctx.Err())
			case skip && d.IsDir():
				return fs.SkipDir
			case skip || !d.Type().IsRegular() || strings.HasSuffix(name, "_test.go"):
				return nil
			}
			return copyFile(path, filepath.Join(to, name))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a file with its permissions.
func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, info.Mode().Perm())
}

// writeFiles writes files below a folder.
func writeFiles(dir string, files map[string][]byte) error {
	for name, data := range files {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
