package swarm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// TestFolderEncoders grows a small checkpoint to a swarm of four encoders in a folder,
// and takes away, cuts short and puts back the file of encoder 2: the swarm runs as
// long as its router does not need that encoder, and else the error names it.
func TestFolderEncoders(t *testing.T) {
	b := testkit.Backend(t, backend.Go)
	plain := open(t, filepath.Join("..", "mamba", "testdata", "mamba2"))
	cfg, err := plain.Config.Grow(4, 2, 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Swarm.Router.Domains = []string{"prose", "code", "law", "maths"}
	dir := filepath.Join(t.TempDir(), "swarm")
	o := hub.Grow(plain, cfg, 1)
	o.Dir = dir
	if err := hub.SavePretrained(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, hub.EncoderFile(2))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		data []byte // nil removes the file
		ok   bool
	}{{"missing", nil, false}, {"cut short", whole[:len(whole)-1], false}, {"empty", []byte{}, false}, {"whole", whole, true}} {
		t.Run(test.name, func(t *testing.T) {
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if test.data != nil {
				if err := os.WriteFile(path, test.data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			p := open(t, dir)
			m := load(t, b, p, p)
			if err := feedOne(t, m, "maths"); err != nil {
				t.Errorf("a text that needs other encoders: %v", err)
			}
			err := feedOne(t, m, "law")
			if test.ok != (err == nil) {
				t.Errorf("error %v", err)
			}
			if err != nil && (!strings.Contains(err.Error(), "encoder 2") || !strings.Contains(err.Error(), hub.EncoderFile(2))) {
				t.Errorf("error %q does not name encoder 2 and its file", err)
			}
		})
	}
}

// feedOne reads one token with a domain's encoders.
func feedOne(t *testing.T, m *swarm.Model, domain string) error {
	t.Helper()
	s, err := m.NewSession(domain)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, _, err = s.Feed(t.Context(), []int32{1})
	return err
}
