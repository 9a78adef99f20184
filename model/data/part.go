package data

import (
	"os"
	"path/filepath"
	"slices"
)

// partWriter writes the shards of all domains and splits.
type partWriter struct {
	dir   string
	vocab int
	limit int64 // tokens of a shard
	parts map[[2]string]*openPart
	made  []string // folders
}

// openPart is a part and the shard that is being written.
type openPart struct {
	Part
	split  string
	writer *shardWriter
	size   Size
}

// add writes a document into its part.
func (w *partWriter) add(doc document) error {
	key := [2]string{doc.split, doc.domain}
	p := w.parts[key]
	if p == nil {
		p = &openPart{Part: Part{Domain: doc.domain}, split: doc.split}
		w.parts[key] = p
	}
	if p.writer != nil && p.size.Tokens+int64(len(doc.ids)) > w.limit {
		if err := p.close(); err != nil {
			return err
		}
	}
	if p.writer == nil {
		if !slices.Contains(w.made, doc.split) {
			if err := os.Mkdir(filepath.Join(w.dir, doc.split), 0o777); err != nil {
				return err
			}
			w.made = append(w.made, doc.split)
		}
		var err error
		path := filepath.Join(w.dir, filepath.FromSlash(shardFile(doc.split, doc.domain, len(p.Shards))))
		if p.writer, err = createShard(path, w.vocab); err != nil {
			return err
		}
	}
	p.size.add(Size{1, int64(len(doc.ids)), doc.bytes})
	return p.writer.add(doc.ids, doc.bytes)
}

// close finishes the shard that is being written.
func (p *openPart) close() error {
	sum, err := p.writer.finish()
	if err != nil {
		return err
	}
	p.Shards = append(p.Shards, ShardInfo{File: shardFile(p.split, p.Domain, len(p.Shards)), Size: p.size, SHA256: sum})
	p.Size.add(p.size)
	p.writer, p.size = nil, Size{}
	return nil
}

// finish closes all shards and returns the parts.
func (w *partWriter) finish() (map[[2]string]*Part, error) {
	parts := map[[2]string]*Part{}
	for key, p := range w.parts {
		if err := p.close(); err != nil {
			return nil, err
		}
		parts[key] = &p.Part
	}
	return parts, nil
}

// abandon closes the files of shards that were not finished.
func (w *partWriter) abandon() {
	for _, p := range w.parts {
		if p.writer != nil {
			p.writer.abandon()
		}
	}
}
