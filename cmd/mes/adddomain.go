package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomlx/compute"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/internal/atomicfile"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/trainer"
)

// Texts that a new domain's router row is fitted to and measured on.
const (
	addLength   = 512  // tokens of a text
	addTexts    = 1000 // of the new domain, and of all others
	addMeasured = 100  // held-out texts of the new domain, and of all others
)

// addDomain is `mes train -add-domain`.
type addDomain struct {
	*training
	swarm  *hub.Pretrained
	domain string
	data   string // prepared texts of the new domain
}

// added is what became of a new domain, the content of add-domain.json.
type added struct {
	Domain  string `json:"domain"`
	Encoder int    `json:"encoder"`
	Beside  []int  `json:"beside"` // encoders that run most on its texts; the new one takes the place of the last

	Chosen  float64 `json:"chosen"`  // share of the decisions about its held-out texts that run the new encoder
	Before  float64 `json:"before"`  // nats a token of these texts without it
	After   float64 `json:"after"`   // and with it
	Changed float64 `json:"changed"` // share of the other domains' held-out tokens that other encoders read now
	Lost    float64 `json:"lost"`    // nats a token that they lose by it; less than 0 if they gain
	Others  int     `json:"others"`  // held-out texts of other domains that were looked at
}

// runAdd trains an encoder for the texts in a folder, and writes the swarm with it.
func (t *training) runAdd(ctx context.Context) (err error) {
	if t.init == "" || t.out == "" || t.config != "" || t.tokenizer != "" {
		return usageError("-add-domain needs -init SWARM, whose configuration and tokenizer stay, and -o; `mes help train` shows an example")
	}
	model := filepath.Join(t.out, "model")
	if _, err := os.Stat(model); err == nil {
		return fmt.Errorf("%s is there: this run is complete; take another -o", model)
	}
	a := &addDomain{training: t, domain: t.domain}
	if a.swarm, err = t.m.openWhole(ctx, t.init); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.swarm.Close()) }()
	if t.data != "" {
		if err := checkVocabulary("-init "+t.init, a.swarm, t.data); err != nil {
			return err
		}
	}
	if err := a.prepare(ctx); err != nil {
		return err
	}
	own, err := texts(a.data, data.Train, addTexts)
	if err != nil {
		return err
	}
	var others [][]int32
	if t.data != "" {
		if others, err = texts(t.data, data.Train, addTexts); err != nil {
			return err
		}
	}
	x, err := trainer.Extend(a.swarm.Config.Swarm, a.swarm, a.domain, own, others)
	if err != nil {
		return fmt.Errorf("add %s to %s: %w", a.domain, t.init, err)
	}
	b, devices, err := t.open()
	if err != nil {
		return err
	}
	defer b.Finalize()
	plan, err := a.plan(x, devices)
	if err != nil {
		return err
	}
	start, err := x.Start(ctx, a.swarm)
	if err != nil {
		return err
	}
	params, err := t.train(ctx, trainer.Config{Backend: b, Devices: devices, Model: x.Part, Plan: plan, Data: a.data, Start: start}, nil)
	if err != nil {
		return err
	}
	if err := a.save(ctx, model, x, params); err != nil {
		return err
	}
	return a.report(ctx, b, model, x)
}

// plan reads -plan, or makes one for so much text and so many devices.
func (a *addDomain) plan(x *trainer.Extension, devices int) (trainer.Plan, error) {
	var plan trainer.Plan
	if a.training.plan != "" {
		var err error
		if plan, err = trainer.ReadPlan(a.training.plan); err != nil {
			return plan, err
		}
	} else {
		manifest, err := data.ReadManifest(a.data)
		if err != nil {
			return plan, err
		}
		var tokens int64
		for _, s := range manifest.Stats() {
			if s.Split == data.Train && s.Domain != "" {
				tokens += s.Tokens
			}
		}
		_, held := manifest.Split(data.Valid)
		plan = trainer.ExtensionPlan(x.Part, tokens, held, devices)
	}
	plan, err := x.Plan(plan)
	if err != nil {
		return plan, usageError("-plan %s: %v", a.training.plan, err)
	}
	return plan, nil
}

// save writes the swarm with the new encoder; what was there keeps its bytes.
func (a *addDomain) save(ctx context.Context, dir string, x *trainer.Extension, params trainer.Params) error {
	c, err := config.Load(a.swarm.Dir)
	if err != nil {
		return err
	}
	c.Swarm.Router = x.Whole.Router
	if err := c.Validate(); err != nil {
		return err
	}
	made := map[string][]float32{}
	for _, spec := range x.Whole.Tensors() {
		values, ok, err := x.Values(spec, params, a.swarm)
		if err != nil {
			return err
		}
		if ok {
			made[spec.Name] = values
		}
	}
	_, err = a.m.save(ctx, "save", dir, hub.SaveOptions{Config: c, Generation: a.swarm.Generation, FilesFrom: a.swarm.Dir, Derived: true, Precision: hub.Stored(c),
		Origin: func(spec swarm.TensorSpec) hub.Origin {
			if values, ok := made[spec.Name]; ok {
				return hub.Origin{Values: values}
			}
			return hub.Origin{Source: a.swarm, Name: spec.Name}
		}})
	return err
}

// report measures both swarms on held-out texts, and writes and prints what came out.
func (a *addDomain) report(ctx context.Context, b compute.Backend, dir string, x *trainer.Extension) error {
	after, err := hub.FromPretrained(ctx, dir, nil)
	if err != nil {
		return err
	}
	defer after.Close()
	c, err := compareSwarms(b, a.swarm, after)
	if err != nil {
		return err
	}
	defer c.close()
	r := added{Domain: a.domain, Encoder: x.Whole.Router.NumEncoders - 1, Beside: x.Used}
	own, err := texts(a.data, data.Valid, addMeasured)
	if err != nil {
		return err
	}
	if err := c.own(ctx, own, r.Encoder, &r); err != nil {
		return err
	}
	if a.training.data != "" {
		others, err := texts(a.training.data, data.Valid, addMeasured)
		if err != nil {
			return err
		}
		if err := c.others(ctx, others, &r); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(a.out, "add-domain.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(a.m.Stdout, "%s: encoder %d for %s, trained beside %s\n", dir, r.Encoder, r.Domain, strings.Trim(fmt.Sprint(r.Beside), "[]"))
	if len(own) > 0 {
		fmt.Fprintf(a.m.Stdout, "held-out texts of %s: the new encoder reads %.1f %%; %.3f nats a token, before %.3f\n", r.Domain, 100*r.Chosen, r.After, r.Before)
	}
	if r.Others > 0 {
		fmt.Fprintf(a.m.Stdout, "held-out texts of other domains: %.2f %% are read by other encoders; they lose %.4f nats a token\n", 100*r.Changed, r.Lost)
	}
	return nil
}
