package gitrepo

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// Alike gives pairs of paths of a commit that differ only in case or in the form of
// their Unicode characters: systems such as macOS and Windows keep one of the two. Of
// each pair one is, or leads to, a given path. At most limit pairs are given.
func (r *Repo) Alike(commit Hash, paths []string, limit int) (pairs [][2]string, err error) {
	root, err := r.Entry(commit, "")
	if err != nil {
		return nil, err
	}
	touched := map[string]map[string]bool{} // folder → names in it
	for _, path := range paths {
		for path != "" {
			at := strings.LastIndexByte(path, '/')
			folder, name := path[:max(at, 0)], path[at+1:]
			if touched[folder][name] {
				break
			}
			if touched[folder] == nil {
				touched[folder] = map[string]bool{}
			}
			touched[folder][name] = true
			path = folder
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(touched)) {
		e, err := r.entryIn(root.Hash, folder)
		if err != nil || !e.Dir {
			continue // deleted, or in place of what was deleted
		}
		tree, err := r.tree(e.Hash)
		if err != nil {
			return nil, err
		}
		alike := make(map[string][]string, len(tree))
		for _, entry := range tree {
			key := fold(entry.Name)
			alike[key] = append(alike[key], entry.Name)
		}
		for _, name := range slices.Sorted(maps.Keys(touched[folder])) {
			for _, other := range alike[fold(name)] {
				if other == name || !slices.Contains(alike[fold(name)], name) || len(pairs) >= limit {
					continue
				}
				prefix := strings.TrimPrefix(folder+"/", "/")
				pair := [2]string{prefix + min(name, other), prefix + max(name, other)}
				if !slices.Contains(pairs, pair) {
					pairs = append(pairs, pair)
				}
			}
		}
	}
	return pairs, nil
}

// AlikeSince is Alike for the files that are other than at a commit before, the zero
// hash for none.
func (r *Repo) AlikeSince(before, commit Hash, limit int) (pairs [][2]string, err error) {
	trees := [2]Hash{emptyTree, emptyTree}
	for i, h := range []Hash{before, commit} {
		if h.IsZero() {
			continue
		}
		c, err := r.Commit(h)
		if err != nil {
			return nil, err
		}
		trees[i] = c.Tree
	}
	changes, err := r.changes(trees[0], trees[1], "")
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, change := range changes {
		if !change.Blob.IsZero() {
			paths = append(paths, change.Path)
		}
	}
	return r.Alike(commit, paths, limit)
}

// fold gives names that are alike the same text.
func fold(name string) string { return norm.NFC.String(strings.ToLower(norm.NFC.String(name))) }
