package telemetry

import (
	"maps"
	"reflect"
	"slices"
)

// scalar is one number of a record under a name that TensorBoard groups by its first part.
type scalar struct {
	name  string
	value float64
}

// scalars lists the numbers of a record that are known, in a fixed order.
func (r *Record) scalars() []scalar {
	list := []scalar{{"loss", r.Loss}}
	group := func(prefix string, m map[string]float64) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			list = append(list, scalar{prefix + "/" + key, m[key]})
		}
	}
	known := func(name string, v float64) {
		if v != 0 {
			list = append(list, scalar{name, v})
		}
	}
	group("losses", r.Losses)
	group("domain_loss", r.DomainLoss)
	list = append(list, scalar{"lr", r.LR}, scalar{"tokens", float64(r.Tokens)})
	known("grad_norm", r.GradNorm)
	known("tokens_per_s", r.TokensPerSecond)
	known("memory_bytes", float64(r.MemoryBytes))
	if r.RouterAgreement != nil {
		list = append(list, scalar{"router_agreement", *r.RouterAgreement})
	}
	if r.Dropped != nil {
		list = append(list, scalar{"dropped", *r.Dropped})
	}
	group("seconds", r.Seconds)
	return list
}

// number converts a value of any numeric type.
func number(v any) (float64, bool) {
	switch x := reflect.ValueOf(v); {
	case !x.IsValid():
		return 0, false
	case x.CanFloat():
		return x.Float(), true
	case x.CanInt():
		return float64(x.Int()), true
	case x.CanUint():
		return float64(x.Uint()), true
	}
	return 0, false
}
