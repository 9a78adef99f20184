package config

import (
	"errors"
	"strings"
)

// Fault is one thing wrong with one field.
type Fault struct {
	Field   string // path of the key: "num_heads", "ssm_cfg.d_state"
	Message string
}

// FaultError lists everything that is wrong with a configuration, in the order of
// the schema. Callers tell it from unreadable files with errors.As.
type FaultError struct {
	Faults []Fault
}

// Error puts all faults into one sentence, each led by its field.
func (e *FaultError) Error() string {
	texts := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		texts[i] = f.Field + ": " + f.Message
	}
	return strings.Join(texts, "; ")
}

// faultError returns nil if there are no faults.
func faultError(faults []Fault) error {
	if len(faults) == 0 {
		return nil
	}
	return &FaultError{faults}
}

// faultsOf turns what reading a field returned into faults of that field; a
// FaultError of an object's members gets the field's name in front.
func faultsOf(field string, err error) []Fault {
	if err == nil {
		return nil
	}
	var inner *FaultError
	if !errors.As(err, &inner) {
		return []Fault{{field, err.Error()}}
	}
	faults := make([]Fault, len(inner.Faults))
	for i, f := range inner.Faults {
		faults[i] = Fault{field + "." + f.Field, f.Message}
	}
	return faults
}
