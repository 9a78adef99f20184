package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Folder lists the files of a folder that patterns choose, for an upload below
// prefix ("" is the repository's root). Folders named .git and notes of downloads
// are left out. A link to something outside of the folder is an error.
func Folder(dir, prefix string, include, exclude []string) ([]File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var files []File
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || name == metaDir):
			return fs.SkipDir
		case d.IsDir() || !Match(name, include, exclude):
			return nil
		}
		info, err := root.Stat(name)
		if err != nil {
			return fmt.Errorf("%s: a link that leads out of the folder is not uploaded; copy the file, or exclude it: %w", filepath.Join(dir, name), errors.Unwrap(err))
		}
		if info.IsDir() {
			return fmt.Errorf("%s: a link to a folder is not uploaded; exclude it", filepath.Join(dir, name))
		}
		if !info.Mode().IsRegular() {
			return nil // sockets and pipes
		}
		files = append(files, File{
			Path:  strings.TrimPrefix(path.Join(prefix, name), "/"),
			Local: filepath.Join(dir, filepath.FromSlash(name)),
			dir:   dir, name: filepath.FromSlash(name),
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	return files, nil
}
