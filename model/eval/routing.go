package eval

import (
	"cmp"
	"math"
	"slices"

	"github.com/mamba-encoder-swarm/mes/model/router"
)

// deadShare is the use of an encoder, to that of equal use, below which it is dead.
const deadShare = 0.01

// mostUsed is how many encoders are listed of a domain.
const mostUsed = 8

// routing counts what the router decided.
type routing struct {
	domains []domainTexts
	use     [][]float64 // [domain][E] tokens
	hits    []hits      // [domain]
	chunks  int64
	changed int64 // slots that changed at a chunk
}

// hits counts tokens of a domain.
type hits struct {
	read, right       int64 // all that are read; own encoder among those that run
	settled, accurate int64 // those after SettleTokens
	leads             int64 // after SettleTokens: own encoder has the largest gate of all specialists that run
}

func newRouting(encoders int, domains []domainTexts) *routing {
	r := &routing{domains: domains, hits: make([]hits, len(domains))}
	for range domains {
		r.use = append(r.use, make([]float64, encoders))
	}
	return r
}

// add counts the plan of a document.
func (r *routing) add(domain int, plan []router.Chunk) {
	own, h := r.domains[domain].encoders, &r.hits[domain]
	for _, c := range plan {
		n := int64(c.End - c.Start)
		settled := int64(max(0, c.End-max(c.Start, SettleTokens)))
		r.chunks++
		for s, e := range c.Slots {
			r.use[domain][e] += float64(n)
			if c.Changed[s] {
				r.changed++
			}
		}
		if len(own) == 0 {
			continue
		}
		h.read, h.settled = h.read+n, h.settled+settled
		if slices.ContainsFunc(c.Slots, func(e int) bool { return slices.Contains(own, e) }) {
			h.right, h.accurate = h.right+n, h.accurate+settled
			if slices.Contains(own, r.leader(c)) {
				h.leads += settled
			}
		}
	}
}

// leader is the specialist with the largest gate; -1 if none runs.
func (r *routing) leader(c router.Chunk) int {
	best, at := math.Inf(-1), -1
	for s, e := range c.Slots {
		isSpecialist := slices.ContainsFunc(r.domains, func(d domainTexts) bool { return slices.Contains(d.encoders, e) })
		if isSpecialist && c.Gates[s] > best {
			best, at = c.Gates[s], e
		}
	}
	return at
}

// report makes figures of the counts. names are the encoders' domains.
func (r *routing) report(names []string) *Routing {
	out := &Routing{SettleTokens: SettleTokens, Dead: []int{}}
	E := len(r.use[0])
	total := make([]float64, E)
	var accurate, right, leads mean
	for d, texts := range r.domains {
		h := r.hits[d]
		row := DomainRouting{Domain: texts.name, Encoders: texts.encoders, Use: usage(r.use[d], names)}
		row.Overall = right.share(h.right, h.read)
		row.Accuracy, row.Leads = accurate.share(h.accurate, h.settled), leads.share(h.leads, h.settled)
		out.Domains = append(out.Domains, row)
		for e, n := range r.use[d] {
			total[e] += n
		}
	}
	out.Accuracy, out.Overall, out.Leads = accurate.value(), right.value(), leads.value()
	if r.chunks > 0 {
		out.SwapsPerChunk = float64(r.changed) / float64(r.chunks)
	}
	var sum, largest, entropy float64
	for _, n := range total {
		sum += n
	}
	for e, n := range total {
		share := n / max(1, sum)
		out.Use = append(out.Use, share)
		largest = max(largest, share)
		if share > 0 {
			entropy -= share * math.Log(share)
		}
		if share < deadShare/float64(E) {
			out.Dead = append(out.Dead, e)
		}
	}
	out.EffectiveEncoders, out.LargestToMean = math.Exp(entropy), largest*float64(E)
	return out
}

// usage lists the most used encoders of a domain by their share.
func usage(tokens []float64, names []string) []EncoderUse {
	var sum float64
	for _, n := range tokens {
		sum += n
	}
	var all []EncoderUse
	for e, n := range tokens {
		if n > 0 {
			all = append(all, EncoderUse{e, router.DomainOf(e, names), n / sum})
		}
	}
	slices.SortStableFunc(all, func(a, b EncoderUse) int { return cmp.Compare(b.Share, a.Share) })
	return all[:min(len(all), mostUsed)]
}

// mean is an unweighted mean of shares; nil where there is nothing.
type mean struct{ sum, n float64 }

// share adds the share part/whole and returns it.
func (m *mean) share(part, whole int64) *float64 {
	if whole == 0 {
		return nil
	}
	v := float64(part) / float64(whole)
	m.sum, m.n = m.sum+v, m.n+1
	return &v
}

func (m *mean) value() *float64 {
	if m.n == 0 {
		return nil
	}
	v := m.sum / m.n
	return &v
}
