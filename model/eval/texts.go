package eval

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// domainTexts are the documents of a domain that are read.
type domainTexts struct {
	name     string
	docs     []data.Document
	encoders []int // of the domain; none in a plain model and where no encoder has its name
}

// bytes adds up the texts.
func (d domainTexts) bytes() (n int64) {
	for _, doc := range d.docs {
		n += doc.Bytes
	}
	return n
}

// readTexts reads the documents and says which they are.
func (e *evaluator) readTexts(ctx context.Context) (*Data, error) {
	m, err := data.ReadManifest(e.Data)
	if err != nil {
		return nil, err
	}
	if m.Tokenizer.SHA256 != e.TokenizerSHA256 {
		return nil, wrong("the ids in %s were made with another tokenizer (sha256 %.12s…) than the model's (%.12s…); prepare the texts again with the model's",
			e.Data, m.Tokenizer.SHA256, e.TokenizerSHA256)
	}
	split, ok := m.Split(e.Split)
	if !ok {
		return nil, wrong("%s has no split %q; it has %s", e.Data, e.Split, splitNames(m))
	}
	raw, err := os.ReadFile(filepath.Join(e.Data, data.ManifestFile))
	if err != nil {
		return nil, fmt.Errorf("read data: %w", err)
	}
	info := &Data{Split: e.Split, SHA256: hexSum(raw), TokenizerSHA256: m.Tokenizer.SHA256, MaxBytes: e.MaxBytes}
	digest := sha256.New()
	for _, part := range split.Domains {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d, err := e.readDomain(part.Domain)
		if err != nil {
			return nil, err
		}
		e.texts = append(e.texts, d)
		probe, err := e.probeOf(d)
		if err != nil {
			return nil, err
		}
		e.probe = append(e.probe, probe)
		fmt.Fprintf(digest, "%s %d\n", d.name, len(d.docs))
		for _, doc := range d.docs {
			_ = binary.Write(digest, binary.LittleEndian, doc.IDs) // a hash takes everything
			info.Tokens += int64(len(doc.IDs))
		}
		info.Documents, info.Bytes = info.Documents+int64(len(d.docs)), info.Bytes+d.bytes()
	}
	info.TextSHA256 = hex.EncodeToString(digest.Sum(nil))
	return info, nil
}

func splitNames(m *data.Manifest) string {
	var names []string
	for _, s := range m.Splits {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// readDomain reads the documents of a domain, or a sample of MaxBytes of them.
func (e *evaluator) readDomain(name string) (domainTexts, error) {
	d := domainTexts{name: name}
	if !e.plain {
		for i, of := range e.Model.Config().Router.Domains {
			if of == name {
				d.encoders = append(d.encoders, i)
			}
		}
	}
	docs, err := data.Documents(e.Data, e.Split, name)
	if err != nil {
		return d, err
	}
	for doc, err := range docs {
		if err != nil {
			return d, err
		}
		d.docs = append(d.docs, doc)
	}
	if e.MaxBytes == 0 {
		return d, nil
	}
	return e.sample(d, e.MaxBytes, e.MaxBytes)
}

// probeOf is the part of a domain that is read again: the beginnings of some documents.
func (e *evaluator) probeOf(d domainTexts) (domainTexts, error) {
	return e.sample(d, e.ProbeBytes, max(e.ProbeBytes/4, 512))
}

// sample draws documents until they hold so many bytes. Of each it takes at most most
// bytes, of the last what is left.
func (e *evaluator) sample(d domainTexts, limit, most int64) (domainTexts, error) {
	s := domainTexts{name: d.name, encoders: d.encoders}
	docs := slices.Clone(d.docs)
	rand.New(rand.NewPCG(e.Seed, 1)).Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
	for _, doc := range docs {
		if limit <= 0 {
			break
		}
		if room := min(limit, most); doc.Bytes > room {
			var err error
			if doc, err = e.cut(doc, room); err != nil {
				return s, err
			}
		}
		if doc.Bytes == 0 {
			break
		}
		s.docs = append(s.docs, doc)
		limit -= doc.Bytes
	}
	return s, nil
}

// cut keeps the beginning of a document, at most limit bytes, and never half a character.
func (e *evaluator) cut(doc data.Document, limit int64) (data.Document, error) {
	var fault error
	text := func(n int) string {
		text, err := e.Tokenizer.Decode(doc.IDs[:n], true)
		if err != nil {
			fault = fmt.Errorf("cut a document: %w", err)
		}
		return text
	}
	// The smallest n whose text is too long; ids never make a text shorter.
	n := sort.Search(len(doc.IDs), func(n int) bool { return int64(len(text(n))) > limit }) - 1
	for ; n > 1 && strings.HasSuffix(text(n), "\uFFFD"); n-- {
	}
	if fault != nil || n < 2 {
		return data.Document{}, fault
	}
	return data.Document{IDs: doc.IDs[:n], Bytes: int64(len(text(n)))}, nil
}

// flat lists the texts of all domains with the place of each text's domain.
func flat(domains []domainTexts) (texts []swarm.Text, domain []int) {
	for i, d := range domains {
		for _, doc := range d.docs {
			texts, domain = append(texts, swarm.Text{IDs: doc.IDs}), append(domain, i)
		}
	}
	return texts, domain
}

// plan makes the router's plan over the ids that are read.
func (e *evaluator) plan(ids []int32) ([]router.Chunk, error) {
	r := e.Model.Router()
	start, err := r.Start("")
	if err != nil || len(ids) < 2 {
		return nil, err
	}
	chunks, _, err := r.Plan(start, ids[:len(ids)-1])
	return chunks, err
}

// errNoText is about data without a text that has two ids.
var errNoText = errors.New("the data hold no text of two tokens or more")

// tally adds up what was found of texts.
type tally struct {
	documents, tokens, best int64
	bytes                   int64
	nats                    float64
}

func (t *tally) add(bytes int64, j swarm.Judged) {
	t.documents++
	t.bytes += bytes
	t.tokens += int64(len(j.Loss))
	t.nats += j.Sum(0, len(j.Loss)+1)
	for _, best := range j.Best {
		if best {
			t.best++
		}
	}
}

// tallies judges the texts of domains and adds them up by domain. plans may be nil.
func (e *evaluator) tallies(ctx context.Context, part string, m *swarm.Model, domains []domainTexts, plans [][]router.Chunk) ([]tally, error) {
	texts, domain := flat(domains)
	for i := range plans {
		texts[i].Plan = plans[i]
	}
	judged, err := e.judge(ctx, part, m, texts)
	if err != nil {
		return nil, err
	}
	sums := make([]tally, len(domains))
	var docs []data.Document
	for _, d := range domains {
		docs = append(docs, d.docs...)
	}
	for i, j := range judged {
		sums[domain[i]].add(docs[i].Bytes, j)
	}
	if !slices.ContainsFunc(sums, func(t tally) bool { return t.tokens > 0 }) {
		return nil, errNoText
	}
	return sums, nil
}
