package trainer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// watched is how a specialist does on held-out text of its domain.
type watched struct {
	Best float64 `json:"best"` // lowest loss
	Late int     `json:"late"` // validations since
}

// watch takes note of a validation. A specialist that learns beside no shared tensor, as
// in a branch, keeps its weights of when its loss was lowest; in a joint phase it
// stops learning when its patience ends.
func (t *Trainer) watch(leg leg, l *learner, held heldOut) error {
	if leg.phase.Patience == 0 {
		return nil
	}
	if t.state.Watched == nil {
		t.state.Watched = map[string]watched{}
	}
	for _, name := range slices.Sorted(maps.Keys(held.byDomain)) {
		d := held.byDomain[name]
		loss := d[0] / d[1]
		w, seen := t.state.Watched[name]
		switch {
		case encoderOf(t.Model, name) < 0 || t.outOfPatience(leg, name):
			continue
		case seen && loss >= w.Best:
			w.Late++
		default:
			w = watched{Best: loss}
			if err := t.noteBest(leg, l, encoderOf(t.Model, name)); err != nil {
				return err
			}
		}
		t.state.Watched[name] = w
		if t.outOfPatience(leg, name) {
			t.Logger.Info("a specialist has learned enough", "domain", name, "step", t.state.Steps, "loss", loss, "lowest", w.Best)
		}
	}
	t.freeze(leg, l)
	return nil
}

// noteBest notes the tensors of an encoder, where nothing else moves that they are good with.
func (t *Trainer) noteBest(leg leg, l *learner, encoder int) error {
	if leg.phase.Kind != Branch && !l.specialistsAlone() {
		return nil
	}
	p, err := l.params()
	if err != nil {
		return err
	}
	own := fmt.Sprintf("backbone.encoders.%d.", encoder)
	maps.DeleteFunc(p, func(name string, _ Param) bool {
		return !l.Trainable(name) || leg.phase.Kind != Branch && !strings.HasPrefix(name, own)
	})
	if t.best == nil {
		t.best = Params{}
	}
	maps.Copy(t.best, p)
	return nil
}

// outOfPatience reports whether a domain's held-out loss has not fallen for long.
func (t *Trainer) outOfPatience(leg leg, domain string) bool {
	return leg.phase.Patience > 0 && t.state.Watched[domain].Late >= leg.phase.Patience
}

// freeze keeps the encoders of a joint phase as they are whose domains have learned
// enough.
func (t *Trainer) freeze(leg leg, l *learner) {
	if leg.phase.Kind != Joint {
		return
	}
	for domain := range t.state.Watched {
		l.frozen[encoderOf(t.Model, domain)] = t.outOfPatience(leg, domain)
	}
}
