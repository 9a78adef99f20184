package data

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"
)

// parquet reads the rows of a Parquet file, a page of each column at a time. r counts and
// cancels, file is read.
func (s *sources) parquet(r *meter, file *os.File, path string, p place) (err error) {
	kind := formatParquet
	proto, ok, err := s.begin(path, p, &kind)
	if err != nil || !ok {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read input: %w", err)
	}
	// The library panics on some files that are damaged.
	defer func() {
		if r := recover(); r != nil {
			err = at(path, fmt.Errorf("the Parquet file is damaged: %v", r))
		}
	}()
	f, err := parquet.OpenFile(file, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return at(path, fmt.Errorf("read Parquet: %w", err))
	}
	columns, err := s.columns(f.Schema())
	if err != nil {
		return at(path, err)
	}
	groups := f.RowGroups()
	row := 0
	for i, group := range groups {
		if err := s.rowGroup(r, group, columns, proto, &row); err != nil {
			return at(path, err)
		}
		r.advance(info.Size()*int64(i+1)/int64(len(groups)) - info.Size()*int64(i)/int64(len(groups)))
	}
	return nil
}

// column is one of the columns that make a record.
type column struct {
	index int // -1 for a column that is not there
	text  bool
	set   func(*record, string)

	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	buf    [32]parquet.Value
	n, at  int
}

// columns finds the columns by the names of the rules.
func (s *sources) columns(schema *parquet.Schema) ([]*column, error) {
	var found []*column
	for _, c := range []struct {
		name string
		set  func(*record, string)
	}{
		{s.rules.TextField, func(r *record, v string) { r.text = v }},
		{s.rules.IDField, func(r *record, v string) { r.id = v }},
		{s.rules.GroupField, func(r *record, v string) { r.group = v }},
		{s.rules.DomainField, func(r *record, v string) { r.domain = v }},
	} {
		leaf, ok := schema.Lookup(c.name)
		isText := c.name == s.rules.TextField
		if !ok {
			if isText {
				return nil, fmt.Errorf("no column %q for the text", c.name)
			}
			continue
		}
		kind := leaf.Node.Type().Kind()
		texts := kind == parquet.ByteArray
		if leaf.MaxRepetitionLevel > 0 || !texts && (isText || kind != parquet.Int32 && kind != parquet.Int64) {
			return nil, fmt.Errorf("column %q is a %v; texts are read, and whole numbers for all but the text", c.name, leaf.Node.Type())
		}
		found = append(found, &column{index: leaf.ColumnIndex, text: texts, set: c.set})
	}
	return found, nil
}

// rowGroup reads the rows of a group.
func (s *sources) rowGroup(r *meter, group parquet.RowGroup, columns []*column, proto document, row *int) error {
	chunks := group.ColumnChunks()
	for _, c := range columns {
		c.pages = chunks[c.index].Pages()
	}
	defer func() {
		for _, c := range columns {
			c.close()
		}
	}()
	file, place := proto.where, proto.place
	for range group.NumRows() {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		*row++
		proto.where, proto.place = fmt.Sprintf("%s:%d", file, *row), fmt.Sprintf("%s:%d", place, *row)
		rec := record{hasText: true} // null is an empty text
		for _, c := range columns {
			if err := c.next(&rec); err != nil {
				return at(proto.where, fmt.Errorf("read Parquet: %w", err))
			}
		}
		if int64(len(rec.text)) > s.most {
			return at(proto.where, s.tooLong())
		}
		rec.repair()
		if err := s.put(proto, rec); err != nil {
			return err
		}
	}
	return nil
}

// next reads the column's value of the next row into rec; null sets nothing.
func (c *column) next(rec *record) error {
	for c.at == c.n {
		if c.values == nil {
			page, err := c.pages.ReadPage()
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			if err != nil {
				return err
			}
			c.page, c.values = page, page.Values()
		}
		n, err := c.values.ReadValues(c.buf[:])
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		c.n, c.at = n, 0
		if n == 0 {
			c.release()
		}
	}
	v := c.buf[c.at]
	c.at++
	switch {
	case v.IsNull():
	case c.text:
		c.set(rec, string(v.ByteArray()))
	default:
		c.set(rec, v.String())
	}
	return nil
}

// release lets the page go.
func (c *column) release() {
	if c.page != nil {
		parquet.Release(c.page)
	}
	c.page, c.values, c.n, c.at = nil, nil, 0, 0
}

func (c *column) close() {
	c.release()
	if c.pages != nil {
		c.pages.Close()
		c.pages = nil
	}
}
