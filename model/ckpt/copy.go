package ckpt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// Copy puts the newest checkpoint that is whole into an empty folder, from which [Open]
// goes on, and describes it. Every tensor is compared with its hash on the way, and what
// is damaged is passed over as [Manager.Last] does. The same checkpoint gives the same
// bytes each time.
func (m *Manager) Copy(dir string) (Info, error) {
	if err := m.enter(context.Background()); err != nil {
		return Info{}, err
	}
	defer m.leave()
	var copied *manifest
	err := m.newest(func(step int64) error {
		copied = m.steps[step]
		return m.copy(copied, dir)
	})
	if err != nil {
		return Info{}, err
	}
	return copied.info(), nil
}

// copy writes one checkpoint; one that turns out to be damaged is noted as such, and
// leaves objects behind that no manifest names.
func (m *Manager) copy(man *manifest, dir string) (err error) {
	defer func() {
		var corrupt *CorruptError
		if err != nil && !errors.As(err, &corrupt) {
			err = fmt.Errorf("copy checkpoint %d to %s: %w", man.Step, dir, err)
		}
	}()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	to := store{sound: map[string]bool{}, dirs: map[string]bool{}}
	if to.root, err = os.OpenRoot(dir); err != nil {
		return err
	}
	defer to.root.Close()
	if err := to.prepare(); err != nil {
		return err
	}
	for i := range man.Tensors {
		data, err := m.tensor(man, &man.Tensors[i])
		if err != nil {
			return err
		}
		if _, err := to.put(man.Tensors[i].SHA256, data); err != nil {
			return err
		}
	}
	data, err := man.encode()
	if err != nil {
		return err
	}
	if err := to.write(stepPath(man.Step), data); err != nil {
		return err
	}
	if err := to.sweep(namesOf(man)); err != nil {
		return err
	}
	return to.root.Remove(tempDir)
}

// namesOf are the objects that a manifest names.
func namesOf(man *manifest) map[string]bool {
	names := map[string]bool{}
	for _, e := range man.Tensors {
		names[e.SHA256] = true
	}
	return names
}

// Files lists what a checkpoint consists of, given its manifest: paths below the folder
// of the checkpoints, the manifest's own first.
func Files(data []byte) ([]string, error) {
	man, err := parseManifest(data)
	if err != nil {
		return nil, fmt.Errorf("read the manifest of a checkpoint: %w", err)
	}
	var objects []string
	for hash := range namesOf(man) {
		objects = append(objects, objectPath(hash))
	}
	slices.Sort(objects)
	return append([]string{stepPath(man.Step)}, objects...), nil
}
