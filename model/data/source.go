package data

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// document is one text on its way into a shard.
type document struct {
	where  string // file and line, for messages
	place  string // file, and perhaps line, as every machine has them
	source int    // which input
	domain string
	split  string
	id     string // empty: none
	group  string

	text     string // until it is encoded
	repaired bool
	ids      []int32 // once it is encoded
	bytes    int64   // of text
}

// record are the fields of a document as it is stored.
type record struct {
	text              string
	hasText           bool
	id, group, domain string
	broken            bool // something was not UTF-8, and is U+FFFD now
}

// sources reads documents out of files.
type sources struct {
	rules   *Rules
	globs   globs
	counts  *Counts
	most    int64 // bytes of a document
	emit    func(document) error
	found   func(domain string) // told of each domain that a file belongs to
	source  int                 // current input
	advance func(n int64)       // told of bytes read from the disk
}

// input reads one input: a folder with all below it, or a file.
func (s *sources) input(ctx context.Context, root string) error {
	return walk(root, func(path string, p place) error {
		if path == "" {
			s.counts.SkippedFiles++
			return nil
		}
		return s.file(ctx, path, p)
	})
}

// walk visits the regular files of an input by rising name, hidden ones excepted. A link to
// a folder is followed where it is the input, not below. path is empty for what is left out.
func walk(root string, visit func(path string, p place) error) error {
	info, err := os.Stat(root)
	if err != nil {
		return fmt.Errorf("read input: %w", err)
	}
	base := inputName(root)
	if !info.IsDir() {
		return visit(root, place{parts: []string{base}})
	}
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return fmt.Errorf("read input: %w", err)
	}
	return filepath.WalkDir(real, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read input: %w", err)
		}
		hidden := strings.HasPrefix(entry.Name(), ".")
		switch {
		case path == real:
			return nil
		case entry.IsDir() && hidden:
			return filepath.SkipDir
		case entry.IsDir():
			return nil
		case hidden || !entry.Type().IsRegular():
			return visit("", place{})
		}
		rel, err := filepath.Rel(real, path)
		if err != nil {
			return fmt.Errorf("read input: %w", err)
		}
		parts := append([]string{base}, strings.Split(filepath.ToSlash(rel), "/")...)
		return visit(path, place{parts: parts, inputs: 1})
	})
}

// inputSize adds up the bytes of an input's files.
func inputSize(root string) (total int64, err error) {
	err = walk(root, func(path string, _ place) error {
		if path == "" {
			return nil
		}
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("read input: %w", err)
		}
		total += info.Size()
		return nil
	})
	return total, err
}

// inputName is the last part of an input's path.
func inputName(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return filepath.Base(path)
}

// file reads one file from the disk.
func (s *sources) file(ctx context.Context, path string, p place) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read input: %w", err)
	}
	defer f.Close()
	name := p.parts[len(p.parts)-1]
	stem, kind, compression := splitExtensions(name)
	if p.inputs == 0 && kind == formatOther { // an input itself
		kind = formatText
	}
	r := &meter{ctx: ctx, r: f, advance: s.advance}
	if kind == formatParquet && compression == "" {
		return s.parquet(r, f, path, p)
	}
	in, free, err := decompress(compression, r)
	if err == nil {
		defer free()
		if kind == formatTar {
			inside := place{parts: append(p.parts[:len(p.parts)-1:len(p.parts)-1], stem), inputs: len(p.parts), archive: true}
			err = s.tar(in, path, inside)
		} else {
			err = s.stream(in, path, p, kind)
		}
	}
	return at(path, err)
}

// fileError is an error with the file, and perhaps the line, that it is about.
type fileError struct {
	where string
	err   error
}

func (e *fileError) Error() string { return e.where + ": " + e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// at says where an error happened, unless it says so itself or is an interruption.
func at(where string, err error) error {
	if _, ok := errors.AsType[*fileError](err); ok || err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return &fileError{where, err}
}

// meter counts what is read and stops when the context ends.
type meter struct {
	ctx     context.Context
	r       io.Reader
	advance func(int64)
}

func (m *meter) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.advance(int64(n))
	return n, err
}

// tar reads the files of an archive.
func (s *sources) tar(r io.Reader, archive string, inside place) error {
	files := tar.NewReader(r)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		name := strings.Trim(filepath.ToSlash(filepath.Clean("/"+h.Name)), "/")
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if h.Typeflag != tar.TypeReg || strings.HasPrefix(name, ".") || strings.Contains(name, "/.") {
			s.counts.SkippedFiles++
			continue
		}
		p := place{parts: append(inside.parts[:len(inside.parts):len(inside.parts)], strings.Split(name, "/")...), inputs: inside.inputs, archive: true}
		where := archive + ":" + name
		_, kind, compression := splitExtensions(p.parts[len(p.parts)-1])
		if kind == formatTar {
			s.counts.SkippedFiles++
			continue
		}
		in, free, err := decompress(compression, files)
		if err == nil {
			err = s.stream(in, where, p, kind)
			free()
		}
		if err != nil {
			return at(where, err)
		}
	}
}

// stream reads a decompressed file of text or lines.
func (s *sources) stream(r io.Reader, where string, p place, kind format) error {
	proto, ok, err := s.begin(where, p, &kind)
	if err != nil || !ok {
		return err
	}
	switch kind {
	case formatJSONL:
		return s.lines(r, proto)
	case formatParquet:
		return errors.New("a Parquet file inside an archive or compressed anew is not read; unpack it first")
	}
	return s.text(r, proto)
}

// begin decides what all documents of a file share, and whether the file is read at all.
func (s *sources) begin(where string, p place, kind *format) (proto document, ok bool, err error) {
	ruled := s.globs.domain(p.below())
	if ruled == LeaveOut || ruled == "" && *kind == formatOther {
		s.counts.SkippedFiles++
		return document{}, false, nil
	}
	if *kind == formatOther {
		*kind = formatText
	}
	proto = document{where: where, place: strings.Join(p.parts, "/"), source: s.source, domain: ruled}
	splitAt := -1
	if s.rules.SplitBy == ByFolder {
		proto.split, splitAt = p.split()
	}
	if ruled == "" && (s.rules.DomainField == "" || !kind.records()) {
		proto.domain = p.domain(*kind, splitAt)
		if err := checkDomain(proto.domain); err != nil {
			return document{}, false, at(where, err)
		}
	}
	if proto.domain != "" && s.rules.wants(proto.domain) {
		s.found(proto.domain)
	}
	s.counts.Files++
	return proto, true, nil
}

var byteOrderMark = []byte("\uFEFF")

// text reads a file that is one document.
func (s *sources) text(r io.Reader, proto document) error {
	var text bytes.Buffer
	if _, err := io.Copy(&text, io.LimitReader(r, s.most+1)); err != nil {
		return err
	}
	if int64(text.Len()) > s.most {
		return at(proto.where, s.tooLong())
	}
	b := text.Bytes()
	// A NUL near the start is the usual sign of a file that is no text.
	const looked = 8 << 10
	if bytes.IndexByte(b[:min(looked, len(b))], 0) >= 0 {
		s.counts.Files--
		s.counts.SkippedFiles++
		return nil
	}
	b, _ = bytes.CutPrefix(b, byteOrderMark)
	rec := record{hasText: true, broken: !utf8.Valid(b)}
	if rec.broken {
		b = bytes.ToValidUTF8(b, []byte("\uFFFD"))
	}
	rec.text = string(b)
	return s.put(proto, rec)
}

func (s *sources) tooLong() error {
	return fmt.Errorf("%w: more than %d bytes; cut it into several or raise the limit", ErrTooLong, s.most)
}

// put completes a document and passes it on.
func (s *sources) put(doc document, rec record) error {
	if !rec.hasText {
		return at(doc.where, fmt.Errorf("no text in field %q", s.rules.TextField))
	}
	doc.text, doc.id, doc.group, doc.repaired = rec.text, rec.id, rec.group, rec.broken
	if doc.group == "" {
		doc.group = doc.place
	}
	if doc.domain == "" {
		if rec.domain == "" {
			return at(doc.where, fmt.Errorf("no domain in field %q", s.rules.DomainField))
		}
		doc.domain = rec.domain
		if err := checkDomain(doc.domain); err != nil {
			return at(doc.where, err)
		}
		if s.rules.wants(doc.domain) {
			s.found(doc.domain)
		}
	}
	if doc.split == "" {
		doc.split = s.rules.hashSplit(doc.group)
	}
	s.counts.Read++
	switch {
	case !s.rules.wants(doc.domain):
		s.counts.Excluded++
		return nil
	case rec.broken && s.rules.InvalidUTF8 == Skip:
		s.counts.InvalidUTF8++
		return nil
	case strings.TrimSpace(doc.text) == "":
		s.counts.Empty++
		return nil
	}
	return s.emit(doc)
}

// lines reads a file of JSON lines.
func (s *sources) lines(r io.Reader, proto document) error {
	in := bufio.NewReaderSize(r, 64<<10)
	file, place := proto.where, proto.place
	var line []byte
	for number := 1; ; number++ {
		var err error
		line, err = readLine(in, line[:0], 2*s.most)
		if errors.Is(err, io.EOF) {
			return nil
		}
		proto.where, proto.place = fmt.Sprintf("%s:%d", file, number), fmt.Sprintf("%s:%d", place, number)
		if errors.Is(err, ErrTooLong) {
			return at(proto.where, s.tooLong())
		}
		if err != nil {
			return err
		}
		if number == 1 {
			line, _ = bytes.CutPrefix(line, byteOrderMark)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		rec, err := parseLine(line, s.rules)
		if err != nil {
			return at(proto.where, err)
		}
		if int64(len(rec.text)) > s.most {
			return at(proto.where, s.tooLong())
		}
		if err := s.put(proto, rec); err != nil {
			return err
		}
	}
}

// readLine appends a line without its end to buf. It returns io.EOF after the last one,
// and ErrTooLong for one of more than most bytes.
func readLine(r *bufio.Reader, buf []byte, most int64) ([]byte, error) {
	for {
		part, err := r.ReadSlice('\n')
		buf = append(buf, part...)
		switch {
		case int64(len(buf)) > most:
			return buf, ErrTooLong
		case err == nil:
			return buf[:len(buf)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(buf) > 0:
			return buf, nil
		}
		return buf, err
	}
}
