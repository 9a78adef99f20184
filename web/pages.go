package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/web/view"
)

//go:embed static
var staticFiles embed.FS

// asset is one embedded file ready to be served.
type asset struct {
	data []byte
	kind string // media type
	etag string
}

// assets maps a file name under static to its content.
type assets map[string]asset

// loadAssets reads the embedded files.
func loadAssets() (assets, error) {
	all := assets{}
	names, err := fs.Glob(staticFiles, "static/*")
	if err != nil {
		return nil, fmt.Errorf("list embedded files: %w", err)
	}
	for _, name := range names {
		data, err := staticFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read embedded file: %w", err)
		}
		sum := sha256.Sum256(data)
		all[path.Base(name)] = asset{data, mime.TypeByExtension(path.Ext(name)), `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	return all, nil
}

// static serves one embedded file; a browser asks again each time and gets 304
// while the file is the same.
func (s *Server) static(c *gin.Context) {
	a, ok := s.assets[c.Param("name")]
	if !ok {
		s.fail(c, errNotFound)
		return
	}
	c.Header("Content-Type", a.kind)
	c.Header("Cache-Control", "no-cache")
	c.Header("ETag", a.etag)
	http.ServeContent(c.Writer, c.Request, "", time.Time{}, bytes.NewReader(a.data))
}

// index serves the page.
func (s *Server) index(c *gin.Context) {
	var page bytes.Buffer
	if err := view.Index(s.page()).Render(c.Request.Context(), &page); err != nil {
		s.fail(c, fmt.Errorf("render page: %w", err))
		return
	}
	c.Header("Cache-Control", "no-store")
	c.Data(http.StatusOK, "text/html; charset=utf-8", page.Bytes())
}

// page gathers what the page shows.
func (s *Server) page() view.Page {
	info := s.cfg.Engine.Info()
	p := view.Page{Model: modelCard(info), Domains: domains(info), Controls: s.controls(info)}
	for _, e := range s.cfg.Examples {
		p.Examples = append(p.Examples, view.Example{Domain: e.Domain, Prompt: e.Prompt})
	}
	return p
}

// controls lists the numbers of a request with the page's starting values. The
// server checks every value again.
func (s *Server) controls(info engine.Info) []view.Control {
	start := s.start()
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	return []view.Control{
		{Name: "max_tokens", Label: "Max tokens", Hint: "length of the answer", Value: strconv.Itoa(min(200, s.cfg.MaxTokens)), Min: "1", Max: strconv.Itoa(s.cfg.MaxTokens), Step: "1"},
		{Name: "temperature", Label: "Temperature", Hint: "0 takes the likeliest token", Value: number(start.Temperature), Min: "0", Max: "10", Step: "0.05"},
		{Name: "top_k", Label: "Top-k", Hint: "0 keeps all tokens", Value: strconv.Itoa(min(start.TopK, info.VocabSize)), Min: "0", Max: strconv.Itoa(info.VocabSize), Step: "1"},
		{Name: "top_p", Label: "Top-p", Hint: "1 keeps all tokens", Value: number(start.TopP), Min: "0", Max: "1", Step: "0.01"},
		{Name: "min_p", Label: "Min-p", Hint: "0 keeps all tokens", Value: number(start.MinP), Min: "0", Max: "1", Step: "0.01"},
		{Name: "repetition_penalty", Label: "Repetition penalty", Hint: "1 is off", Value: number(start.RepetitionPenalty), Min: "0", Max: "10", Step: "0.05"},
		{Name: "presence_penalty", Label: "Presence penalty", Hint: "0 is off", Value: number(start.PresencePenalty), Min: "-10", Max: "10", Step: "0.1"},
		{Name: "seed", Label: "Seed", Hint: "empty draws one", Min: "0", Max: "9007199254740991", Step: "1"},
	}
}

// start is what a request of the page asks for unless somebody changes it: what the
// model's authors recommend, if they recommend to sample.
func (s *Server) start() engine.Sampling {
	start := s.cfg.Sampling
	if start.Temperature == 0 {
		return engine.Sampling{Temperature: 0.8, TopP: 0.95, RepetitionPenalty: orDefault(start.RepetitionPenalty, 1.1)}
	}
	start.TopP = orDefault(start.TopP, 1) // 0 is off as well
	start.RepetitionPenalty = orDefault(start.RepetitionPenalty, 1)
	return start
}

// domains returns the names for the domain hint, each once, sorted.
func domains(info engine.Info) []string {
	names := slices.DeleteFunc(slices.Clone(info.Domains), func(n string) bool { return n == "" })
	slices.Sort(names)
	return slices.Compact(names)
}

// modelCard describes the model in the page's words.
func modelCard(info engine.Info) view.Model {
	m := view.Model{Name: orDefault(info.Name, info.ModelType), Routed: info.NumEncoders > 1}
	add := func(term, format string, args ...any) {
		m.Facts = append(m.Facts, view.Fact{Term: term, Value: fmt.Sprintf(format, args...)})
	}
	kind := info.ModelType
	if info.BaseModelType != "" && info.BaseModelType != kind {
		kind += " over " + info.BaseModelType
	}
	add("Type", "%s", kind)
	add("Parameters", "%s", grouped(info.Parameters))
	if info.Parameters > 0 {
		add("Active per token", "%s (%.0f %%)", grouped(info.ActiveParameters), 100*float64(info.ActiveParameters)/float64(info.Parameters))
	}
	if m.Routed {
		add("Encoders", "E = %d, of which k = %d run", info.NumEncoders, info.EncodersPerToken)
		add("Encoder layers", "Lₑ = %d of %d", info.NumEncoderLayers, info.NumLayers)
		switch info.Granularity {
		case "token":
			add("Router decides", "at every token")
		case "sequence":
			add("Router decides", "once per text")
		default:
			add("Chunk length", "%d tokens", info.ChunkLength)
		}
	} else {
		add("Layers", "%d", info.NumLayers)
	}
	add("Hidden size", "%d", info.HiddenSize)
	add("Vocabulary", "%s tokens", grouped(int64(info.VocabSize)))
	add("Number type", "%s", info.DType)
	add("Back end", "%s", info.Backend)
	switch {
	case !m.Routed:
		m.Note = "This is a plain Mamba model: it has one encoder and no router, so there is no routing to show under its text."
	case info.GrownFrom != "":
		m.Note = fmt.Sprintf("All %d encoders are still copies of %s. The routing shown is the router's real decision, but the specialists are not trained yet, so it does not change the answer.", info.NumEncoders, info.GrownFrom)
	}
	return m
}

// grouped writes n with narrow spaces between groups of three digits.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(d)
	}
	return b.String()
}
