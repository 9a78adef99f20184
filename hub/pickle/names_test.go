package pickle_test

import (
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub/pickle"
)

func TestMayRun(t *testing.T) {
	for name, want := range map[string]bool{
		"pytorch_model.bin": true, "a/b/model.PT": true, "last.ckpt": true, "x.pkl": true, "scaler.joblib": true, "arrays.npy": true, "weights.h5": true,
		"model.safetensors": false, "config.json": false, "modeling.py": false, "bin": false, "pt": false, "a.pt/README.md": false, "": false,
	} {
		if pickle.MayRun(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}
