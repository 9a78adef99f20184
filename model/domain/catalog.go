package domain

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

//go:embed catalog.json
var embedded []byte

// Catalog is a set of domains and the groups above them. It does not change once parsed
// and may be used from several goroutines.
type Catalog struct {
	groups  []Group
	domains []Domain
	byName  map[string]node
}

// node is where a name stands in the lists.
type node struct {
	group bool
	index int
}

// Load returns the catalogue of 100 domains that this program is built with.
func Load() (*Catalog, error) { return Parse(embedded) }

// Parse reads a catalogue: a JSON object with the lists "groups" and "domains". It
// reports all faults at once: keys that are unknown, ids and names that are double, parents
// that are not there or lie in a circle, weights that are not above 0.
func Parse(data []byte) (*Catalog, error) {
	var file struct {
		Groups  []Group  `json:"groups"`
		Domains []Domain `json:"domains"`
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("read catalogue of domains: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read catalogue of domains: there is more after the object")
	}
	c, err := build(file.Groups, file.Domains)
	if err != nil {
		return nil, fmt.Errorf("read catalogue of domains: %w", err)
	}
	return c, nil
}

// build indexes and checks.
func build(groups []Group, domains []Domain) (*Catalog, error) {
	c := &Catalog{groups: groups, domains: domains, byName: map[string]node{}}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	add := func(name string, n node) {
		if err := CheckName(name); err != nil {
			faults = append(faults, err)
		}
		if _, double := c.byName[name]; double {
			fault("%s: the name occurs twice", name)
		}
		c.byName[name] = n
	}
	for i, g := range groups {
		add(g.Name, node{group: true, index: i})
	}
	ids := map[int]string{}
	for i, d := range domains {
		add(d.Name, node{index: i})
		if other, double := ids[d.ID]; double {
			fault("%s: id %d is also that of %s", d.Name, d.ID, other)
		}
		ids[d.ID] = d.Name
		if d.ID < 0 {
			fault("%s: id %d is below 0", d.Name, d.ID)
		}
		if !(d.Weight > 0) || math.IsInf(d.Weight, 0) {
			fault("%s: weight %v is not above 0", d.Name, d.Weight)
		}
		if len(d.Keywords) == 0 {
			fault("%s: no keywords", d.Name)
		}
	}
	for _, g := range groups {
		if g.Parent == "" {
			continue
		}
		if _, err := c.outermost(g.Parent); err != nil {
			fault("%s: %w", g.Name, err)
		}
	}
	for _, d := range domains {
		if top, err := c.outermost(d.Parent); err != nil {
			fault("%s: %w", d.Name, err)
		} else if top != d.Group {
			fault("%s: group %q is not %q, which stands above parent %s", d.Name, d.Group, top, d.Parent)
		}
	}
	return c, errors.Join(faults...)
}

// outermost climbs from a group to the one that has no parent.
func (c *Catalog) outermost(group string) (string, error) {
	for range len(c.groups) {
		n, ok := c.byName[group]
		if !ok || !n.group {
			return "", fmt.Errorf("parent %q is no group", group)
		}
		parent := c.groups[n.index].Parent
		if parent == "" {
			return group, nil
		}
		group = parent
	}
	if len(c.groups) == 0 {
		return "", fmt.Errorf("parent %q is no group", group)
	}
	return "", fmt.Errorf("the groups above lie in a circle through %q", group)
}

// Domains returns the domains in the catalogue's order.
func (c *Catalog) Domains() []Domain { return slices.Clone(c.domains) }

// Groups returns the groups in the catalogue's order.
func (c *Catalog) Groups() []Group { return slices.Clone(c.groups) }

// Lookup returns the domain of a name, and whether there is one.
func (c *Catalog) Lookup(name string) (Domain, bool) {
	n, ok := c.byName[name]
	if !ok || n.group {
		return Domain{}, false
	}
	return c.domains[n.index], true
}

// Children returns the names of the groups and domains directly under a group, those of
// the outermost groups for "".
func (c *Catalog) Children(group string) []string {
	var names []string
	for _, g := range c.groups {
		if g.Parent == group {
			names = append(names, g.Name)
		}
	}
	for _, d := range c.domains {
		if d.Parent == group {
			names = append(names, d.Name)
		}
	}
	return names
}

// Ancestors returns the groups above a domain or group, the nearest first; none for a
// name that the catalogue lacks.
func (c *Catalog) Ancestors(name string) []string {
	var above []string
	n, ok := c.byName[name]
	for ok {
		parent := ""
		if n.group {
			parent = c.groups[n.index].Parent
		} else {
			parent = c.domains[n.index].Parent
		}
		if parent == "" {
			break
		}
		above = append(above, parent)
		n, ok = c.byName[parent]
	}
	return above
}

// Active returns the catalogue without what there is no data for: the named domains, and
// the groups above them. A name that the catalogue lacks is a domain of the caller's own; it
// stands under no group here and is left out, so the result may have fewer domains than names.
func (c *Catalog) Active(names []string) *Catalog {
	keep := map[string]bool{}
	for _, name := range names {
		if _, ok := c.Lookup(name); !ok {
			continue
		}
		keep[name] = true
		for _, group := range c.Ancestors(name) {
			keep[group] = true
		}
	}
	active := &Catalog{byName: map[string]node{}}
	for _, g := range c.groups {
		if keep[g.Name] {
			active.byName[g.Name] = node{group: true, index: len(active.groups)}
			active.groups = append(active.groups, g)
		}
	}
	for _, d := range c.domains {
		if keep[d.Name] {
			active.byName[d.Name] = node{index: len(active.domains)}
			active.domains = append(active.domains, d)
		}
	}
	return active
}
