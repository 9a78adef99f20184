package hub

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/mamba-encoder-swarm/mes/internal/atomicfile"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// CardFile is the model card's name.
const CardFile = "README.md"

// cardMark stands in a card that mes wrote. A card without it is somebody's own.
const cardMark = "<!-- Written by mes from this folder's files, and written anew by it until this line is gone. -->"

// About is what a card says and the folder does not know. The zero value says
// nothing.
type About struct {
	Repo      string   // the repository's name, owner/name; empty is the folder's name
	BaseModel string   // the repository that the model was made from
	License   string   // Hub's identifier of the licence, such as apache-2.0; empty takes LicenseName and LicenseLink
	Language  []string // codes of the languages that it writes, such as en

	// LicenseName and LicenseLink describe a licence that the Hub has no identifier
	// for; the link is a file of the folder or an address.
	LicenseName, LicenseLink string

	Related []Related // what the card links to
}

// Related is another repository of the same work.
type Related struct{ Title, URL string }

//go:embed card.tmpl
var cardText string

var cardTemplate = template.Must(template.New("card").Funcs(template.FuncMap{
	"cell": inCell, "code": inCode, "link": inLink, "thousands": thousands,
	"layers": func(n int) string {
		if n == 1 {
			return "1 layer"
		}
		return fmt.Sprintf("%d layers", n)
	},
}).Parse(cardText))

// Card returns the model card of a folder: front matter for the Hub and a text,
// both from the configuration, the folder's files and about. Figures of quality
// come from eval.json and from nowhere else.
func Card(dir string, c *config.Config, about About) ([]byte, error) {
	e, err := readEvaluation(dir)
	if err != nil {
		return nil, err
	}
	notices, err := noticeFiles(dir)
	if err != nil {
		return nil, err
	}
	about = about.withLicence(notices)
	s, b := c.Swarm, c.Swarm.Base
	total, active := s.Parameters()
	where := about.Repo
	if where == "" {
		where = filepath.Base(dir)
	}
	name := where[strings.LastIndex(where, "/")+1:]
	if !plainName.MatchString(where) { // not for a command line or a string of Python
		where = "FOLDER"
	}
	data := map[string]any{
		"Mark": cardMark, "Name": name, "Where": where,
		"FrontMatter": frontMatter(c, about, e, name),
		"Blocks":      blockNames[string(b.Kind)], "Layers": b.NLayer, "Hidden": b.DModel, "State": b.DState, "Vocabulary": b.VocabSize,
		"Parameters": total, "ActiveParameters": active, "Stored": storedAs(c),
		"Encoders": 0, "GrownFrom": c.GrownFrom, "Domains": s.Router.Domains,
		"Tokenizer":  hasTokenizer(dir),
		"Checkpoint": hasFolder(dir, CheckpointFolder),
		"Evaluation": e, "EvaluationFile": EvaluationFile,
		"Related": about.Related, "License": about.licence(), "Notices": notices,
	}
	if !s.Plain() {
		data["Encoders"], data["Active"] = s.Router.NumEncoders, s.Router.EncodersPerToken
		data["EncoderLayers"], data["DecoderLayers"] = s.NumEncoderLayers, b.NLayer-s.NumEncoderLayers
		data["Decides"] = decides(s)
		data["Merges"], data["Handoff"] = s.Fusion == swarm.FuseWeights, s.EncoderState == swarm.Handoff
	}
	var out bytes.Buffer
	if err := cardTemplate.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("write model card: %w", err)
	}
	return out.Bytes(), nil
}

// WriteCard writes the card of a folder unless somebody wrote one of their own, and
// says whether it did. Licence, languages and base model that about leaves out stay
// those of the card before.
func WriteCard(dir string, c *config.Config, about About) (bool, error) {
	path := filepath.Join(dir, CardFile)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("write model card: %w", err)
	}
	if err == nil && !isOurCard(old) {
		return false, nil
	}
	data, err := Card(dir, c, about.or(readAbout(old)))
	if err != nil {
		return false, fmt.Errorf("write model card %s: %w", path, err)
	}
	if err := atomicfile.Write(path, data, 0o644); err != nil {
		return false, fmt.Errorf("write model card: %w", err)
	}
	return true, nil
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]*$`)

// isOurCard reports whether mes wrote a card.
func isOurCard(card []byte) bool { return bytes.Contains(card, []byte(cardMark)) }

// blockNames and decides go by the values that config.json has for these keys.
var blockNames = map[string]string{"mamba": "Mamba", "mamba2": "Mamba-2", "falcon_mamba": "Falcon-Mamba"}

func decides(c swarm.Config) string {
	switch c.Router.Granularity {
	case "token":
		return "at every token"
	case "sequence":
		return fmt.Sprintf("once, after %d tokens,", c.Router.SequenceDecision)
	}
	return fmt.Sprintf("every %d tokens", c.Router.ChunkLength)
}

func storedAs(c *config.Config) string {
	switch {
	case c.Quantization != nil:
		return "int8 with one scale per row (compressed-tensors `int-quantized`), the rest bfloat16 and float32"
	case c.DType != "":
		return inCell(c.DType)
	}
	return "see the safetensors files"
}

// hasTokenizer reports whether a folder has a file that a tokenizer is read from.
func hasTokenizer(dir string) bool {
	return slices.ContainsFunc(vocabularyFiles, func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	})
}

// hasFolder reports whether a folder has one of this name.
func hasFolder(dir, name string) bool {
	info, err := os.Stat(filepath.Join(dir, name))
	return err == nil && info.IsDir()
}

// inCell makes text harmless in a line of Markdown and in a table.
func inCell(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", "&lt;", "&", "&amp;", "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`).Replace(text)
}

// inCode shows text as code.
func inCode(text string) string {
	return "`" + strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "`", "'") + "`"
}

// inLink writes a path of the folder as a link's target.
func inLink(path string) string {
	return strings.NewReplacer("%", "%25", " ", "%20", "(", "%28", ")", "%29", "<", "%3C", ">", "%3E").Replace(filepath.ToSlash(path))
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
