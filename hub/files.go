package hub

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
)

// vocabularyFiles are the files that a tokenizer is read from; one is enough.
var vocabularyFiles = []string{"tokenizer.json", "tokenizer.model"}

// tokenizerFiles are copied with a model.
var tokenizerFiles = append(slices.Clone(vocabularyFiles), "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja")

// licenceFolder is where notices of a model's origin are kept. licenceFolders are
// all names that such a folder goes by.
const licenceFolder = "licences"

var licenceFolders = []string{licenceFolder, "licenses", "LICENSES"}

// licenceFile matches licences and notices beside the weights.
var licenceFile = regexp.MustCompile(`(?i)^([\w.-]+[_-])?(licen[cs]es?|notices?|copying|copyrights?|use_policy)([._-][\w.-]*)?$`)

// noticeFiles lists the licences and notices of a folder, with slashes, sorted.
func noticeFiles(dir string) ([]string, error) {
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list licences: %w", err)
	}
	for _, e := range entries {
		if !isDir(dir, e) && licenceFile.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	for _, folder := range licenceFolders {
		entries, err := os.ReadDir(filepath.Join(dir, folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list licences: %w", err)
		}
		for _, e := range entries {
			if !isDir(filepath.Join(dir, folder), e) {
				names = append(names, path.Join(folder, e.Name()))
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// evaluated reports whether what was measured there was measured of the weights that are
// written: the same, or rounded alike in memory.
func (w *writer) evaluated() (bool, error) {
	if w.Derived || w.Precision == "" {
		return !w.Derived, nil
	}
	e, err := readEvaluation(w.FilesFrom)
	return e.precision() == w.Precision, err
}

// isDir reports whether an entry is a folder, through links as well.
func isDir(dir string, e fs.DirEntry) bool {
	info, err := os.Stat(filepath.Join(dir, e.Name()))
	return err == nil && info.IsDir()
}

// copyFiles copies what belongs to the model beside its weights, and returns about
// with what the card there says.
func (w *writer) copyFiles(about About) (About, error) {
	notices, err := noticeFiles(w.FilesFrom)
	if err != nil {
		return about, err
	}
	names := append(slices.Clone(tokenizerFiles), notices...)
	if ofThese, err := w.evaluated(); err != nil {
		return about, err
	} else if ofThese {
		names = append(names, EvaluationFile)
	}
	for _, name := range names {
		if err := w.copyFile(name, name); err != nil {
			return about, err
		}
	}
	card, err := readInside(w.FilesFrom, CardFile)
	if errors.Is(err, fs.ErrNotExist) {
		return about, nil
	}
	if err != nil {
		return about, err
	}
	was := readAbout(card)
	if w.Derived {
		was.BaseModel = "" // that of its origin
	}
	about = about.or(was)
	switch {
	case isOurCard(card):
		return about, nil
	case w.Derived: // it may hold the attribution that licences ask for
		return about, w.copyFile(CardFile, originCard(notices))
	}
	return about, w.copyFile(CardFile, CardFile)
}

// CopyTokenizer copies a folder's tokenizer, licences, notices and card into another, which
// is then [SaveOptions.FilesFrom] as the first is.
func CopyTokenizer(from, to string) error {
	names, err := noticeFiles(from)
	if err != nil {
		return err
	}
	w := &writer{SaveOptions: SaveOptions{FilesFrom: from}, dir: to}
	for _, name := range append(append(names, tokenizerFiles...), CardFile) {
		if err := w.copyFile(name, name); err != nil {
			return fmt.Errorf("copy the tokenizer of %s: %w", from, err)
		}
	}
	return nil
}

// originCard names a copy of the card of the model of origin.
func originCard(taken []string) string {
	for n := 1; ; n++ {
		name := path.Join(licenceFolder, "ORIGIN.md")
		if n > 1 {
			name = path.Join(licenceFolder, fmt.Sprintf("ORIGIN-%d.md", n))
		}
		if !slices.Contains(taken, name) {
			return name
		}
	}
}

// or fills what a leaves empty from b.
func (a About) or(b About) About {
	if a.License == "" && a.LicenseName == "" && a.LicenseLink == "" {
		a.License, a.LicenseName, a.LicenseLink = b.License, b.LicenseName, b.LicenseLink
	}
	if len(a.Language) == 0 {
		a.Language = b.Language
	}
	a.BaseModel = cmp.Or(a.BaseModel, b.BaseModel)
	return a
}

// copyFile copies a file of FilesFrom, if it is there, into the folder being written.
func (w *writer) copyFile(from, to string) error {
	data, err := readInside(w.FilesFrom, from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	target := filepath.Join(w.dir, filepath.FromSlash(to))
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return writeSynced(target, data)
}

// maxCopied bounds a file that is copied, in bytes; the largest vocabularies have 40 MB.
const maxCopied = 256 << 20

// readInside reads a file of a model folder; see inside for links.
func readInside(dir, name string) ([]byte, error) {
	file, err := inside(dir, name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCopied+1))
	if err == nil && len(data) > maxCopied {
		err = fmt.Errorf("%s of %s is larger than %d MB; no such file is", name, dir, maxCopied>>20)
	}
	return data, err
}

// inside returns where a file of a model folder really is. A link may lead to another
// file of the folder, or of the cache that holds the folder as a snapshot; one that
// leads elsewhere would carry a private file into a folder that may be published.
func inside(dir, name string) (string, error) {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	if root, err = filepath.Abs(root); err != nil {
		return "", err
	}
	file, err := filepath.EvalSymlinks(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		return "", err
	}
	snapshots := filepath.Dir(root)
	cached := filepath.Base(snapshots) == "snapshots" && within(filepath.Join(filepath.Dir(snapshots), "blobs"), file)
	if !cached && !within(root, file) {
		return "", fmt.Errorf("%s of %s is a link to %s, outside the folder; replace it by a copy of the file", name, dir, file)
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s of %s is no ordinary file", name, dir)
	}
	return file, nil
}

// within reports whether a path lies in a folder.
func within(dir, file string) bool {
	rel, err := filepath.Rel(dir, file)
	return err == nil && filepath.IsLocal(rel)
}
