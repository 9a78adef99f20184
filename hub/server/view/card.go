package view

import (
	"bytes"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// MaxCard is the longest model card in bytes that is rendered.
const MaxCard = 1 << 20

// Places says where relative addresses in a card lead: links to Files, images to
// Raw. Both end with a slash.
type Places struct{ Files, Raw string }

// RenderCard makes HTML of a model card without its front matter. Two things keep
// scripts out: the elements and attributes that may stay are listed, whatever they
// come from, and the pages' content policy allows no script at all. Images of other
// servers become links, so that reading a card tells nobody.
func RenderCard(markdown []byte, at Places) (string, error) {
	if len(markdown) > MaxCard {
		return "", fmt.Errorf("render card: %d bytes, shown are up to %d", len(markdown), MaxCard)
	}
	return toHTML(StripFrontMatter(markdown), at)
}

// RenderComment makes HTML of a comment as RenderCard does of a card.
func RenderComment(markdown string, at Places) (string, error) {
	if len(markdown) > MaxCard {
		return "", fmt.Errorf("render comment: %d bytes, shown are up to %d", len(markdown), MaxCard)
	}
	return toHTML([]byte(markdown), at)
}

func toHTML(markdown []byte, at Places) (string, error) {
	md := goldmark.New(
		goldmark.WithExtensions(extension.Table, extension.Strikethrough, extension.Linkify),
		goldmark.WithParserOptions(parser.WithASTTransformers(util.Prioritized(addresses{at}, 500))),
		goldmark.WithRendererOptions(html.WithUnsafe()), // cards contain HTML; the policy decides what of it stays
	)
	var out bytes.Buffer
	if err := md.Convert(markdown, &out); err != nil {
		return "", fmt.Errorf("render markdown: %w", err)
	}
	return string(policy().SanitizeBytes(out.Bytes())), nil
}

// StripFrontMatter returns a card without the YAML between the lines of three
// dashes at its beginning.
func StripFrontMatter(card []byte) []byte {
	body := bytes.TrimPrefix(card, []byte("\xef\xbb\xbf"))
	first, rest, found := bytes.Cut(body, []byte("\n"))
	if !found || string(bytes.TrimRight(first, " \t\r")) != "---" {
		return card
	}
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		if string(bytes.TrimRight(line, " \t\r")) == "---" {
			return rest
		}
	}
	return card
}

// ownImage matches the addresses that an image may have: below this server, and
// not of another one in disguise.
var ownImage = regexp.MustCompile(`^/[^/\\][^\\]*$|^[^:/\\][^:\\]*$`)

// policy lists what may stay of a card.
func policy() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "b", "i",
		"u", "s", "del", "ins", "sub", "sup", "small", "kbd", "samp", "var", "mark", "abbr", "ul", "ol", "li", "dl", "dt", "dd",
		"div", "span", "center", "details", "summary", "table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption")
	p.AllowAttrs("align").Matching(regexp.MustCompile(`^(left|right|center)$`)).OnElements("p", "div", "th", "td", "h1", "h2", "h3", "img")
	p.AllowAttrs("start").Matching(bluemonday.Integer).OnElements("ol")
	p.AllowAttrs("colspan", "rowspan").Matching(bluemonday.Integer).OnElements("td", "th")
	p.AllowAttrs("href").OnElements("a")
	p.AllowURLSchemes("http", "https", "mailto")
	p.AllowRelativeURLs(true)
	p.RequireParseableURLs(true)
	p.RequireNoFollowOnLinks(true)
	p.RequireNoReferrerOnLinks(true)
	p.AllowAttrs("src").Matching(ownImage).OnElements("img")
	p.AllowAttrs("alt", "title").OnElements("img")
	p.AllowAttrs("width", "height").Matching(bluemonday.NumberOrPercent).OnElements("img")
	return p
}

// addresses rewrites the addresses of a card's links and images.
type addresses struct{ at Places }

// Transform implements parser.ASTTransformer.
func (a addresses) Transform(doc *ast.Document, _ text.Reader, _ parser.Context) {
	var foreign []*ast.Image
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Link:
			n.Destination = a.below(n.Destination, a.at.Files)
		case *ast.Image:
			n.Destination = a.below(n.Destination, a.at.Raw)
			if !ownImage.Match(n.Destination) {
				foreign = append(foreign, n)
			}
		}
		return ast.WalkContinue, nil
	})
	for _, image := range foreign {
		image.Parent().ReplaceChild(image.Parent(), image, asLink(image))
	}
}

// asLink is a link to an image, with the image's description as its text; inside
// of a link it is the description alone.
func asLink(image *ast.Image) ast.Node {
	var out ast.Node = ast.NewEmphasis(1)
	if !inLink(image) {
		link := ast.NewLink()
		link.Destination = image.Destination
		out = link
	}
	for child := image.FirstChild(); child != nil; child = image.FirstChild() {
		out.AppendChild(out, child)
	}
	if out.FirstChild() == nil {
		out.AppendChild(out, ast.NewString([]byte("image")))
	}
	return out
}

func inLink(n ast.Node) bool {
	for p := n.Parent(); p != nil; p = p.Parent() {
		if p.Kind() == ast.KindLink {
			return true
		}
	}
	return false
}

// below puts a relative address of a file below base.
func (a addresses) below(address []byte, base string) []byte {
	u, err := url.Parse(string(address))
	if err != nil || u.Scheme != "" || u.Host != "" || u.Path == "" || strings.HasPrefix(u.Path, "/") {
		return address
	}
	return []byte(base + strings.TrimPrefix(string(address), "./"))
}
