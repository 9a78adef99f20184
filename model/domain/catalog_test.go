package domain

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// corpus are the domains of the text that the project trains on.
var corpus = strings.Fields(`biology code-c code-go code-js code-lisp code-python code-rust databases fiction
	formal-math geography legal lexicon python-docs religion sci-docs speeches unix-manual web-docs`)

func load(t testing.TB) *Catalog {
	t.Helper()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCatalog(t *testing.T) {
	c := load(t)
	if n := len(c.Domains()); n != 100 {
		t.Errorf("%d domains, want 100", n)
	}
	for i, d := range c.Domains() {
		if d.ID != i {
			t.Errorf("%s has id %d at place %d", d.Name, d.ID, i)
		}
	}
	for _, name := range corpus {
		if _, ok := c.Lookup(name); !ok {
			t.Errorf("no domain %s", name)
		}
	}
	if _, ok := c.Lookup("code"); ok {
		t.Error("a group was found as a domain")
	}
}

// TestHierarchy climbs down from the outermost groups and must meet every domain once.
func TestHierarchy(t *testing.T) {
	c := load(t)
	met := map[string]int{}
	var down func(name string, above []string)
	down = func(name string, above []string) {
		if _, ok := c.Lookup(name); ok {
			met[name]++
			if diff := cmp.Diff(above, c.Ancestors(name)); diff != "" {
				t.Errorf("groups above %s: %s", name, diff)
			}
			return
		}
		children := c.Children(name)
		if len(children) == 0 {
			t.Errorf("group %s is empty", name)
		}
		if name != "" {
			above = append([]string{name}, above...)
		}
		for _, child := range children {
			down(child, above)
		}
	}
	down("", nil)
	for _, d := range c.Domains() {
		if met[d.Name] != 1 {
			t.Errorf("%s was met %d times", d.Name, met[d.Name])
		}
	}
}

func TestActive(t *testing.T) {
	active := load(t).Active([]string{"legal", "code-c", "my-own"})
	var names []string
	for _, d := range active.Domains() {
		names = append(names, d.Name)
	}
	for _, g := range active.Groups() {
		names = append(names, g.Name)
	}
	if want := []string{"code-c", "legal", "code", "code-systems", "law"}; !slices.Equal(names, want) {
		t.Errorf("active: %v, want %v", names, want)
	}
	if d, ok := active.Lookup("legal"); !ok || d.Name != "legal" {
		t.Errorf("lookup in the active part: %v, %v", d, ok)
	}
	if _, ok := active.Lookup("poetry"); ok {
		t.Error("a domain without data is active")
	}
}

const good = `{"groups": [{"name": "g"}, {"name": "h", "parent": "g"}],
	"domains": [{"id": 0, "name": "a", "group": "g", "keywords": ["k"], "weight": 1, "parent": "h"}]}`

func TestParseRefuses(t *testing.T) {
	if _, err := Parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	second := func(fields string) string {
		return strings.Replace(good, `"parent": "h"}]`, `"parent": "h"}, {`+fields+`, "keywords": ["k"]}]`, 1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"cut":           {good[:40], "unexpected EOF"},
		"more":          {good + "x", "more after the object"},
		"unknown key":   {strings.Replace(good, `"weight"`, `"wait"`, 1), "wait"},
		"double id":     {second(`"id": 0, "name": "b", "group": "g", "weight": 1, "parent": "g"`), "b: id 0 is also that of a"},
		"negative id":   {second(`"id": -1, "name": "b", "group": "g", "weight": 1, "parent": "g"`), "b: id -1 is below 0"},
		"double name":   {second(`"id": 1, "name": "h", "group": "g", "weight": 1, "parent": "g"`), "h: the name occurs twice"},
		"no parent":     {second(`"id": 1, "name": "b", "group": "g", "weight": 1`), `b: parent "" is no group`},
		"parent domain": {second(`"id": 1, "name": "b", "group": "g", "weight": 1, "parent": "a"`), `b: parent "a" is no group`},
		"wrong group":   {second(`"id": 1, "name": "b", "group": "h", "weight": 1, "parent": "h"`), `b: group "h" is not "g"`},
		"zero weight":   {second(`"id": 1, "name": "b", "group": "g", "weight": 0, "parent": "g"`), "b: weight 0 is not above 0"},
		"path as name":  {second(`"id": 1, "name": "../b", "group": "g", "weight": 1, "parent": "g"`), `"../b" is no name`},
		"circle":        {strings.Replace(good, `{"name": "g"}`, `{"name": "g", "parent": "h"}`, 1), "lie in a circle"},
		"no keywords":   {strings.Replace(good, `["k"]`, `[]`, 1), "a: no keywords"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(embedded)
	f.Add([]byte(good))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		for _, d := range c.Domains() {
			above := c.Ancestors(d.Name)
			if len(above) == 0 || above[len(above)-1] != d.Group {
				t.Fatalf("%s of group %s has %v above it", d.Name, d.Group, above)
			}
		}
	})
}

func ExampleCatalog_Ancestors() {
	c, err := Load()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Ancestors("code-rust"))
	// Output: [code-systems code]
}
