package data

// Stat is what a split holds of a domain, or of all together.
type Stat struct {
	Split  string `json:"split"`
	Domain string `json:"domain,omitempty"` // empty: all of the split
	Group  string `json:"group,omitempty"`
	Size
	BytesPerToken float64 `json:"bytes_per_token"`
}

// Stats lists the domains of each split, and behind them the split's sum.
func (m *Manifest) Stats() []Stat {
	groups := map[string]string{}
	for _, d := range m.Domains {
		groups[d.Name] = d.Group
	}
	var list []Stat
	for _, s := range m.Splits {
		var sum Size
		for _, p := range s.Domains {
			list = append(list, newStat(s.Name, p.Domain, groups[p.Domain], p.Size))
			sum.add(p.Size)
		}
		list = append(list, newStat(s.Name, "", "", sum))
	}
	return list
}

func newStat(split, domain, group string, size Size) Stat {
	s := Stat{Split: split, Domain: domain, Group: group, Size: size}
	if size.Tokens > 0 {
		s.BytesPerToken = float64(size.Bytes) / float64(size.Tokens)
	}
	return s
}

// Missing lists the domains that a split has nothing of, though it has of others.
func (m *Manifest) Missing(split string) []string {
	s, ok := m.Split(split)
	if !ok {
		return nil
	}
	var names []string
	for _, d := range m.Domains {
		if len(s.Part(d.Name).Shards) == 0 {
			names = append(names, d.Name)
		}
	}
	return names
}
