package data

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// format is what a file holds once it is decompressed.
type format int

const (
	formatOther   format = iota // not read, unless a rule names it or it is an input itself: then text
	formatText                  // one document
	formatJSONL                 // a JSON object a line, each a document
	formatParquet               // a row a document
	formatTar                   // files
)

// records reports whether a file of the format holds many documents.
func (f format) records() bool { return f == formatJSONL || f == formatParquet }

// textExtensions are the endings of texts and source code.
var textExtensions = map[string]bool{}

func init() {
	for ext := range strings.FieldsSeq(`txt text md markdown rst tex org adoc
		go c h cc cpp cxx hpp hh m mm rs zig d swift java kt kts scala cs fs vb dart
		py pyi rb php pl pm lua sh bash zsh fish ps1 tcl r jl sql
		js mjs cjs jsx ts mts cts tsx css
		lisp lsp el scm rkt clj cljs hs ml mli erl hrl ex exs f f90 asm s v vhd vhdl proto`) {
		textExtensions[ext] = true
	}
}

// splitExtensions takes a file's name apart: stem, format and compression ("gz", "xz",
// "zst" or empty).
func splitExtensions(name string) (stem string, kind format, compression string) {
	stem, ext := cutExtension(name)
	switch ext {
	case "tgz", "txz", "tzst":
		return stem, formatTar, ext[1:]
	case "gz", "xz", "zst":
		compression = ext
		stem, ext = cutExtension(stem)
	}
	switch {
	case ext == "jsonl" || ext == "ndjson":
		kind = formatJSONL
	case ext == "parquet":
		kind = formatParquet
	case ext == "tar":
		kind = formatTar
	case textExtensions[ext]:
		kind = formatText
	}
	return stem, kind, compression
}

// cutExtension cuts at the last dot, which does not begin the name. The ending is in lower
// case.
func cutExtension(name string) (stem, ext string) {
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		return name[:i], strings.ToLower(name[i+1:])
	}
	return name, ""
}

// maxWindow bounds the memory that a compressed file may ask for.
const maxWindow = 128 << 20

// decompress reads a compressed stream; close frees what it holds.
func decompress(compression string, r io.Reader) (out io.Reader, free func(), err error) {
	free = func() {}
	switch compression {
	case "":
		return r, free, nil
	case "gz":
		out, err = gzip.NewReader(bufio.NewReaderSize(r, 64<<10))
	case "xz":
		out, err = xz.NewReader(bufio.NewReaderSize(r, 64<<10))
	case "zst":
		var dec *zstd.Decoder
		dec, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(1<<40))
		if err == nil {
			out, free = dec, dec.Close
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("decompress: %w", err)
	}
	return out, free, nil
}
