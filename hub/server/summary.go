package server

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// summary tells what lists show of a repo's main branch, from the database when
// it is about the present head, else made anew and noted there.
func (s *Server) summary(r *meta.Repo) (*meta.Summary, error) {
	head, _, err := s.state(r.ID).git.Resolve(gitrepo.DefaultBranch)
	if errors.Is(err, gitrepo.ErrRevision) {
		return &meta.Summary{}, nil
	}
	if err != nil {
		return nil, err
	}
	if r.Summary != nil && r.Summary.Head == head.String() {
		return r.Summary, nil
	}
	sum, err := s.summarize(r, head)
	if err != nil {
		return nil, err
	}
	_, err = s.db.UpdateRepo(r.ID, func(r *meta.Repo) error {
		r.Summary = sum
		return nil
	})
	return sum, err
}

// summarize reads the card, config.json and the headers of safetensors files of
// a commit. What cannot be read is left out.
func (s *Server) summarize(r *meta.Repo, commit gitrepo.Hash) (*meta.Summary, error) {
	sum := &meta.Summary{Head: commit.String()}
	g := s.state(r.ID).git
	tags := []string{}
	if data := small(g, commit, "README.md"); data != nil {
		text, _ := frontMatter(data)
		if card, err := parseCard(text); err == nil && len(card) > 0 {
			tags = cardTags(sum, card)
			sum.Card, _ = json.Marshal(card) // parseCard tried it
		}
	}
	if data := small(g, commit, "config.json"); json.Valid(data) {
		sum.Config = shortConfig(data, &tags)
	}
	seen := map[string]bool{}
	err := s.eachPage(r, commit, func(page []gitrepo.Entry, infos map[string]meta.BlobInfo) error {
		for _, e := range page {
			info := infos[e.Hash.String()]
			if info.SHA == "" || seen[info.SHA] {
				continue
			}
			seen[info.SHA] = true
			sum.UsedStorage += info.Size
			if strings.HasSuffix(e.Path, ".safetensors") && !strings.Contains(e.Path, "/") {
				s.countParameters(r.ID, info.SHA, sum)
			}
		}
		return nil
	})
	if len(sum.Parameters) > 0 {
		tags = append(tags, "safetensors")
	}
	slices.Sort(tags)
	sum.Tags = slices.Compact(tags)
	return sum, err
}

// small reads a file of a commit that is kept in git, nil when there is none.
func small(g *gitrepo.Repo, commit gitrepo.Hash, path string) []byte {
	e, err := g.Entry(commit, path)
	if err != nil || e.Dir {
		return nil
	}
	data, err := g.ReadBlob(e.Hash, 1<<20)
	if err != nil {
		return nil
	}
	return data
}

// cardTags takes from a card what repos are found by.
func cardTags(sum *meta.Summary, card map[string]any) []string {
	tags := stringsOf(card["tags"])
	text := func(key string) string {
		value, _ := card[key].(string)
		return value
	}
	sum.Pipeline, sum.Library, sum.SDK = text("pipeline_tag"), text("library_name"), text("sdk")
	for _, tag := range []string{sum.Pipeline, sum.Library, sum.SDK} {
		if tag != "" {
			tags = append(tags, tag)
		}
	}
	for key, prefix := range map[string]string{"license": "license:", "datasets": "dataset:", "base_model": "base_model:", "language": ""} {
		for _, value := range stringsOf(card[key]) {
			tags = append(tags, prefix+value)
		}
	}
	return tags
}

// shortConfig keeps of config.json what clients show.
func shortConfig(data []byte, tags *[]string) json.RawMessage {
	var full struct {
		Architectures []string        `json:"architectures,omitempty"`
		ModelType     string          `json:"model_type,omitempty"`
		AutoMap       json.RawMessage `json:"auto_map,omitempty"`
	}
	if json.Unmarshal(data, &full) != nil {
		return nil
	}
	if full.ModelType != "" {
		*tags = append(*tags, full.ModelType)
	}
	if full.AutoMap != nil {
		*tags = append(*tags, "custom_code")
	}
	short, err := json.Marshal(full)
	if err != nil {
		return nil
	}
	return short
}

// countParameters adds up the tensors of a file, by type.
func (s *Server) countParameters(repoID, sha string, sum *meta.Summary) {
	if _, err := s.HasLFS(repoID, sha); err != nil {
		return
	}
	f, err := safetensors.Open(s.lfs.Path(sha))
	if err != nil {
		return // not a file of this format, whatever its name
	}
	defer f.Close()
	if sum.Parameters == nil {
		sum.Parameters = map[string]int64{}
	}
	for _, name := range f.Names() {
		if t, ok := f.Tensor(name); ok {
			sum.Parameters[string(t.DType)] += t.NumElements()
		}
	}
}
