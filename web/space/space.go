// Package space holds what the demo's Space consists of: for Docker a Dockerfile and
// the scripts that it runs, for an owner whose plan has no Docker a static page.
package space

import (
	"bytes"
	"embed"
	"fmt"
	html "html/template"
	"io"
	"path"
	"strings"
	text "text/template"
)

//go:embed docker static
var files embed.FS

// Demo says what a Space is about.
type Demo struct {
	Model    string // repo, OWNER/NAME
	Endpoint string // address of the hub, without a slash at its end
	Card     string // the model's card, for the static page
	Routes   []Route
}

// Route is a recorded run of the router over a text.
type Route struct {
	Title  string
	Chunks []Chunk
}

// Chunk is one decision, in words.
type Chunk struct {
	Tokens, Text, Encoders, Why string
}

// Docker returns the files of a Space that runs the model, by their paths. The
// program's source goes beside them, into source/.
func Docker(d Demo) (map[string][]byte, error) { return d.render("docker") }

// Static returns the files of a Space that shows recorded runs. Beside index.html goes
// routing.json, which it refers to.
func Static(d Demo) (map[string][]byte, error) {
	d.Card = withoutFrontMatter(d.Card)
	return d.render("static")
}

// render fills in the templates of a folder.
func (d Demo) render(folder string) (map[string][]byte, error) {
	out := map[string][]byte{}
	entries, err := files.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		data, err := files.ReadFile(path.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		out[e.Name()], err = fill(e.Name(), string(data), d)
		if err != nil {
			return nil, fmt.Errorf("write %s of the space: %w", e.Name(), err)
		}
	}
	return out, nil
}

// fill executes a template, and escapes what goes into a page.
func fill(name, source string, d Demo) ([]byte, error) {
	var t interface{ Execute(io.Writer, any) error }
	var err error
	if strings.HasSuffix(name, ".html") {
		t, err = html.New(name).Parse(source)
	} else {
		t, err = text.New(name).Parse(source)
	}
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, d)
	return b.Bytes(), err
}

// withoutFrontMatter returns a card's text behind its front matter, if it has one.
func withoutFrontMatter(card string) string {
	rest, ok := strings.CutPrefix(card, "---\n")
	if !ok {
		return card
	}
	if _, text, ok := strings.Cut(rest, "\n---\n"); ok {
		return strings.TrimLeft(text, "\n")
	}
	return card
}
