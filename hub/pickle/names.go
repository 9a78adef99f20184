package pickle

import (
	"path"
	"slices"
	"strings"
)

// mayRun are the endings of formats that are pickles, may hold some, or hold code:
// PyTorch's, Python's own, NumPy's for arrays of objects, Keras' for lambdas.
var mayRun = []string{".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz", ".h5", ".hdf5", ".keras"}

// MayRun tells by a file's name whether programs in Python may run what the file holds
// when they load it. What it really holds only loading would tell.
func MayRun(name string) bool {
	return slices.Contains(mayRun, strings.ToLower(path.Ext(name)))
}
