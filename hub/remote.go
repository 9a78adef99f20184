package hub

import (
	"embed"
	"path/filepath"

	"github.com/mamba-encoder-swarm/mes/model/config"
)

// remoteFiles is the Python by which transformers loads a swarm (trust_remote_code).
// config.json names its classes under auto_map. Plain models need none.
//
//go:embed remote/*.py
var remoteFiles embed.FS

// RemoteCode lists the Python files that a swarm's folder holds beside its weights. The
// model imports the last two.
var RemoteCode = []string{config.ConfigurationModule + ".py", config.ModelingModule + ".py",
	"layers_mamba_swarm.py", "router_mamba_swarm.py"}

// writeRemoteCode writes RemoteCode into a folder.
func writeRemoteCode(dir string) error {
	for _, name := range RemoteCode {
		data, err := remoteFiles.ReadFile("remote/" + name)
		if err != nil {
			return err
		}
		if err := writeSynced(filepath.Join(dir, name), data); err != nil {
			return err
		}
	}
	return nil
}
