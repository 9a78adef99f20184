package server

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// hardwareNames are those that a Space may wish for. Nothing is run here, so it
// is noted and given back.
var hardwareNames = []string{"cpu-basic", "cpu-upgrade", "t4-small", "t4-medium", "l4x1", "l40sx1", "a10g-small", "a10g-large", "a100-large", "zero-a10g"}

func newSpace(req createRequest) *meta.SpaceRun {
	run := &meta.SpaceRun{SDK: req.SDK, Hardware: req.Hardware, SleepSeconds: req.Sleep,
		Secrets: map[string]meta.Variable{}, Variables: map[string]meta.Variable{}}
	if run.Hardware == "" {
		run.Hardware = hardwareNames[0]
	}
	for _, kv := range req.Secrets {
		run.Secrets[kv.Key] = meta.Variable{Value: kv.Value, Description: kv.Description, Updated: time.Now().UTC()}
	}
	for _, kv := range req.Variables {
		run.Variables[kv.Key] = meta.Variable{Value: kv.Value, Description: kv.Description, Updated: time.Now().UTC()}
	}
	return run
}

func sdkOf(r *meta.Repo, sum *meta.Summary) string {
	if sum.SDK != "" || r.Space == nil {
		return sum.SDK
	}
	return r.Space.SDK
}

// runtimeOf says how a Space runs, with the volumes that the caller may see.
func (c *call) runtimeOf(r *meta.Repo) map[string]any {
	answer := runtimeOf(r)
	if r.Space == nil || len(r.Space.Volumes) == 0 {
		return answer
	}
	shown := []meta.Volume{}
	for _, v := range r.Space.Volumes {
		ns, name, _ := strings.Cut(v.Source, "/")
		if _, err := c.s.repoFor(c.caller, v.Type, ns, name, reader); err == nil {
			shown = append(shown, v)
		}
	}
	answer["volumes"] = shown
	return answer
}

// runtimeOf says how a Space runs: not at all, which the Hub calls STOPPED, or
// PAUSED when its owner asked for that. Static ones need no machine.
func runtimeOf(r *meta.Repo) map[string]any {
	run := r.Space
	if run == nil {
		run = &meta.SpaceRun{}
	}
	stage := "STOPPED"
	switch {
	case run.Paused:
		stage = "PAUSED"
	case run.SDK == "static":
		stage = "RUNNING"
	}
	var sleep, storage any
	if run.Storage != "" {
		storage = run.Storage
	}
	if run.SleepSeconds != 0 {
		sleep = run.SleepSeconds
	}
	return map[string]any{"stage": stage, "hardware": map[string]any{"current": nil, "requested": run.Hardware},
		"gcTimeout": sleep, "storage": storage, "devMode": run.DevMode, "hotReloading": nil, "replicas": map[string]int{"requested": 1}}
}

// changeSpace changes what is wished for a Space and answers how it runs.
func (c *call) changeSpace(change func(*meta.SpaceRun) error) error {
	if err := c.isSpace(); err != nil {
		return err
	}
	r, err := c.s.db.UpdateRepo(c.repo.ID, func(r *meta.Repo) error { return change(r.Space) })
	if err != nil {
		return err
	}
	return c.json(c.runtimeOf(&r))
}

func (c *call) isSpace() error {
	if c.repo.Space == nil {
		return notFound("This repo is not a Space")
	}
	return nil
}

func (c *call) runtime() error {
	if err := c.isSpace(); err != nil {
		return err
	}
	return c.json(c.runtimeOf(&c.repo))
}

// variables lists variables with values, or secrets without.
func (c *call) variables() error {
	if err := c.isSpace(); err != nil {
		return err
	}
	secret := c.parts[len(c.parts)-1] == "secrets"
	list := c.repo.Space.Variables
	if secret {
		list = c.repo.Space.Secrets
	}
	return c.json(describeVariables(list, secret))
}

func describeVariables(list map[string]meta.Variable, secret bool) map[string]any {
	answer := map[string]any{}
	for key, v := range list {
		entry := map[string]any{"key": key, "description": v.Description, "updatedAt": stamp(v.Updated)}
		if !secret {
			entry["value"] = v.Value
		}
		answer[key] = entry
	}
	return answer
}

// setVariable sets or deletes a variable or a secret.
func (c *call) setVariable() error {
	if err := c.isSpace(); err != nil {
		return err
	}
	var req keyValue
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	if req.Key == "" || len(req.Key) > 256 {
		return badRequest("A key has 1 to 256 characters")
	}
	secret := c.parts[len(c.parts)-1] == "secrets"
	var list map[string]meta.Variable
	_, err := c.s.db.UpdateRepo(c.repo.ID, func(r *meta.Repo) error {
		if r.Space.Secrets == nil {
			r.Space.Secrets = map[string]meta.Variable{}
		}
		if r.Space.Variables == nil {
			r.Space.Variables = map[string]meta.Variable{}
		}
		list = r.Space.Variables
		if secret {
			list = r.Space.Secrets
		}
		if c.r.Method == del {
			delete(list, req.Key)
			return nil
		}
		list[req.Key] = meta.Variable{Value: req.Value, Description: req.Description, Updated: time.Now().UTC()}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(describeVariables(list, secret))
}

func (c *call) setHardware() error {
	var req struct {
		Flavor string `json:"flavor"`
		Sleep  *int   `json:"sleepTimeSeconds"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	if !slices.Contains(hardwareNames, req.Flavor) {
		return badRequest("Unknown hardware %q", headerText(req.Flavor))
	}
	return c.changeSpace(func(run *meta.SpaceRun) error {
		run.Hardware = req.Flavor
		if req.Sleep != nil {
			run.SleepSeconds = *req.Sleep
		}
		return nil
	})
}

func (c *call) setSleep() error {
	var req struct {
		Seconds int `json:"seconds"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	return c.changeSpace(func(run *meta.SpaceRun) error {
		run.SleepSeconds = req.Seconds
		return nil
	})
}

func (c *call) pause() error {
	return c.changeSpace(func(run *meta.SpaceRun) error {
		run.Paused = true
		return nil
	})
}

func (c *call) restart() error {
	return c.changeSpace(func(run *meta.SpaceRun) error {
		run.Paused = false
		return nil
	})
}

func (c *call) setDevMode() error {
	var req struct {
		Enabled bool `json:"enabled"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	return c.changeSpace(func(run *meta.SpaceRun) error {
		run.DevMode = req.Enabled
		return nil
	})
}

// setStorage notes what disk a Space wishes for; DELETE takes the wish back.
func (c *call) setStorage() error {
	var req struct {
		Tier string `json:"tier"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	if c.r.Method == del {
		req.Tier = ""
	} else if !slices.Contains([]string{"small", "medium", "large"}, req.Tier) {
		return badRequest("Unknown storage %q: use small, medium or large", headerText(req.Tier))
	}
	return c.changeSpace(func(run *meta.SpaceRun) error {
		run.Storage = req.Tier
		return nil
	})
}

// maxVolumes is how many volumes a Space may wish for.
const maxVolumes = 32

// setVolumes notes what repos a Space wishes to see as folders; DELETE takes the wish
// back.
func (c *call) setVolumes() error {
	var req struct{ Volumes []meta.Volume }
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	if c.r.Method == del {
		req.Volumes = nil
		if c.repo.Space != nil && len(c.repo.Space.Volumes) == 0 {
			return badRequest("This Space has no volumes")
		}
	}
	if len(req.Volumes) > maxVolumes {
		return badRequest("A Space has up to %d volumes", maxVolumes)
	}
	for i := range req.Volumes {
		v := &req.Volumes[i]
		v.ReadOnly = true // repos are
		kind, err := kindOf(v.Type)
		if err != nil {
			return badRequest("A volume here is a model, a dataset or a Space")
		}
		v.Type = kind
		if !path.IsAbs(v.MountPath) || path.Clean(v.MountPath) != v.MountPath {
			return badRequest("Mount path %q: use one such as /data", headerText(v.MountPath))
		}
		ns, name, _ := strings.Cut(v.Source, "/")
		if _, err := c.s.repoFor(c.caller, v.Type, ns, name, reader); err != nil {
			return err
		}
	}
	return c.changeSpace(func(run *meta.SpaceRun) error {
		run.Volumes = req.Volumes
		return nil
	})
}

// logs answers with one event: Spaces are kept here and run elsewhere.
func (c *call) logs() error {
	if err := c.isSpace(); err != nil {
		return err
	}
	if kind := c.vars["kind"]; kind != "build" && kind != "run" {
		return notFound("There are logs of build and run")
	}
	c.w.Header().Set("Content-Type", "text/event-stream")
	c.w.WriteHeader(http.StatusOK)
	_, err := fmt.Fprintf(c.w, "data: {\"data\":\"This server keeps Spaces and does not run them.\\n\",\"timestamp\":%q}\n\n", stamp(time.Now()))
	return err
}

func (c *call) hardware() error {
	list := []map[string]any{}
	for _, name := range hardwareNames {
		list = append(list, map[string]any{"name": name, "prettyName": name})
	}
	return c.json(list)
}

func (c *call) templates() error { return c.json([]any{}) }
