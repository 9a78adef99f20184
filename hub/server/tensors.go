package server

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/hub/server/view"
)

// pageTensors is how many tensors of a file a page lists.
const pageTensors = 2000

// tensors reads the header of a large safetensors file of the request's repo. The
// text says why there is none.
func (c *call) tensors(sha string) (*view.Tensors, string) {
	if _, err := c.s.HasLFS(c.repo.ID, sha); err != nil {
		return nil, "The file's content is missing here."
	}
	f, err := safetensors.Open(c.s.lfs.Path(sha))
	if err != nil {
		return nil, "The file is not a valid safetensors file."
	}
	defer f.Close()
	names := f.Names()
	var count, size int64
	out := &view.Tensors{}
	for i, name := range names {
		t, _ := f.Tensor(name)
		count, size = count+t.NumElements(), size+t.NumBytes()
		if i < pageTensors {
			out.Rows = append(out.Rows, view.Tensor{
				Name: name, Type: string(t.DType), Shape: shapeText(t.Shape), Count: groupDigits(t.NumElements()),
			})
		}
	}
	out.Summary = fmt.Sprintf("%s tensors with %s numbers in %s.", groupDigits(int64(len(names))), groupDigits(count), sizeText(size))
	if len(names) > pageTensors {
		out.Note = fmt.Sprintf("The first %d are listed.", pageTensors)
	}
	metadata := f.Metadata()
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		out.Metadata = append(out.Metadata, view.Fact{Term: key, Value: metadata[key]})
	}
	return out, ""
}

// shapeText writes a shape as [2, 3].
func shapeText(shape []int) string {
	parts := make([]string, len(shape))
	for i, n := range shape {
		parts[i] = strconv.Itoa(n)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// sizeText writes a number of bytes in the unit that people read: 1.5 MB.
func sizeText(n int64) string { return scaled(n, []string{"B", "kB", "MB", "GB", "TB", "PB"}) }

// countText writes a number of parameters as 14.5 million.
func countText(n int64) string {
	return scaled(n, []string{"", "thousand", "million", "billion", "trillion"})
}

// scaled writes a number in units of which each is a thousand of the one before.
func scaled(n int64, units []string) string {
	if n < 1000 {
		return strings.TrimSpace(fmt.Sprintf("%d %s", n, units[0]))
	}
	value, unit := float64(n), 0
	for value >= 999.95 && unit < len(units)-1 {
		value, unit = value/1000, unit+1
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

// groupDigits writes a number with a comma between thousands.
func groupDigits(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
