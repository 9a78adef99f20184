package data

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Verify reads a whole data folder: every shard must be there, be the one that data.json
// describes and have the checksum of its header, no other shard may be there, and the
// tokenizer must be the one that made the ids. It reports all faults. progress, when not nil,
// is called with the shards that were read, and all of them.
func Verify(ctx context.Context, dir string, progress func(done, total int64)) (*Manifest, error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	var faults faultList
	known := map[string]bool{}
	var parts []Part
	for _, s := range m.Splits {
		parts = append(parts, s.Domains...)
	}
	for i, p := range parts {
		for _, s := range p.Shards {
			known[filepath.Join(dir, filepath.FromSlash(s.File))] = true
		}
		faults = append(faults, m.verifyPart(ctx, dir, p)...)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("verify data: %w", err)
		}
		if progress != nil {
			progress(int64(i+1), int64(len(parts)))
		}
	}
	for _, split := range splitNames {
		err := filepath.WalkDir(filepath.Join(dir, split), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && !entry.IsDir() && !known[path] {
				faults = append(faults, fmt.Errorf("verify data: %s is not in %s; remove it", path, ManifestFile))
			}
			return err
		})
		if err != nil {
			faults = append(faults, fmt.Errorf("verify data: %w", err))
		}
	}
	if err := m.verifyTokenizer(dir); err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return m, faults
	}
	return m, nil
}

// verifyPart reads the shards of a part, each by itself, and returns what is wrong.
func (m *Manifest) verifyPart(ctx context.Context, dir string, p Part) (faults []error) {
	for _, info := range p.Shards {
		if ctx.Err() != nil {
			break
		}
		shards, err := m.open(dir, Part{Domain: p.Domain, Shards: []ShardInfo{info}})
		if err == nil {
			err = shards[0].Verify()
			closeAll(shards)
		}
		if err != nil {
			faults = append(faults, err)
		}
	}
	return faults
}

func (m *Manifest) verifyTokenizer(dir string) error {
	path := filepath.Join(dir, TokenizerDir, filepath.Base(m.Tokenizer.File))
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("verify data: %w", err)
	}
	if hexSHA256(content) != m.Tokenizer.SHA256 {
		return fmt.Errorf("verify data: %s is not the tokenizer that made the ids; copy that one here", path)
	}
	return nil
}
