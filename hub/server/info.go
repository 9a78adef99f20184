package server

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// info describes a repo at a revision.
func (c *call) info() error {
	commit, err := c.commit()
	if err != nil {
		return err
	}
	sum, err := c.s.summary(&c.repo)
	if err == nil && sum.Head != commit.String() {
		sum, err = c.s.summarize(&c.repo, commit)
	}
	if err != nil {
		return err
	}
	q := c.r.URL.Query()
	fields := c.s.describeRepo(&c.repo, sum)
	fields["sha"] = commit.String()
	expand := append(q["expand"], q["expand[]"]...)
	if len(expand) == 0 || slices.Contains(expand, "siblings") {
		if fields["siblings"], err = c.siblings(commit, truthy(q.Get("blobs")), truthy(q.Get("securityStatus"))); err != nil {
			return err
		}
	}
	return c.json(only(fields, expand))
}

// only keeps the fields asked for, and the id; all when none are named.
func only(fields map[string]any, expand []string) map[string]any {
	if len(expand) == 0 {
		return fields
	}
	kept := map[string]any{"_id": fields["_id"], "id": fields["id"]}
	for _, name := range expand {
		if value, ok := fields[name]; ok {
			kept[name] = value
		}
	}
	return kept
}

type sibling struct {
	Name   string    `json:"rfilename"`
	Size   *int64    `json:"size,omitempty"`
	BlobID string    `json:"blobId,omitempty"`
	LFS    *blobLFS  `json:"lfs,omitempty"`
	Safe   *security `json:"security,omitempty"`
}

type blobLFS struct {
	SHA256      string `json:"sha256"`
	Size        int64  `json:"size"`
	PointerSize int64  `json:"pointerSize"`
}

// siblings lists all files of a commit, with sizes when asked.
func (c *call) siblings(commit gitrepo.Hash, blobs, safe bool) ([]sibling, error) {
	list := []sibling{}
	root, err := c.git().Entry(commit, "")
	if err != nil {
		return nil, err
	}
	all, err := c.git().List(root, true, "", 0)
	if err != nil {
		return nil, err
	}
	for page := range slices.Chunk(all, maxPageItems) {
		var infos map[string]meta.BlobInfo
		if blobs {
			if infos, err = c.s.blobInfo(&c.repo, page); err != nil {
				return nil, err
			}
		}
		for _, e := range page {
			if e.Dir {
				continue
			}
			s := sibling{Name: e.Path}
			if blobs {
				info := infos[e.Hash.String()]
				s.Size, s.BlobID = &info.Size, e.Hash.String()
				if info.SHA != "" {
					s.LFS = &blobLFS{info.SHA, info.Size, info.Text}
				}
			}
			if safe {
				s.Safe = unscanned
			}
			list = append(list, s)
		}
	}
	return list, nil
}

// describeRepo gives the fields of a repo that need no listing.
func (s *Server) describeRepo(r *meta.Repo, sum *meta.Summary) map[string]any {
	tags := sum.Tags
	if tags == nil {
		tags = []string{}
	}
	fields := map[string]any{
		"_id": r.ID, "id": r.FullName(), "author": r.Namespace, "sha": sum.Head, "lastModified": stamp(r.Modified),
		"createdAt": stamp(r.Created), "private": r.Private, "gated": gatedValue(r), "disabled": false,
		"downloads": r.Downloads, "likes": r.Likes, "tags": tags, "usedStorage": sum.UsedStorage,
	}
	if sum.Card != nil {
		fields["cardData"] = sum.Card
	}
	switch r.Type {
	case meta.Model:
		fields["modelId"] = r.FullName()
		fields["spaces"] = []string{}
		for name, value := range map[string]string{"pipeline_tag": sum.Pipeline, "library_name": sum.Library} {
			if value != "" {
				fields[name] = value
			}
		}
		if sum.Config != nil {
			fields["config"] = sum.Config
		}
		if len(sum.Parameters) > 0 {
			total := int64(0)
			for _, n := range sum.Parameters {
				total += n
			}
			fields["safetensors"] = map[string]any{"parameters": sum.Parameters, "total": total}
		}
	case meta.Space:
		fields["sdk"] = sdkOf(r, sum)
		fields["runtime"] = runtimeOf(r)
		fields["subdomain"] = strings.ToLower(r.Namespace + "-" + r.Name)
	}
	return fields
}

// listRepos lists the repos of a type that the caller may see.
func (c *call) listRepos() error {
	kind := map[string]string{"models": meta.Model, "datasets": meta.Dataset, "spaces": meta.Space}[c.parts[1]]
	repos, err := c.s.db.Repos(kind)
	if err != nil {
		return err
	}
	q := c.r.URL.Query()
	found := []map[string]any{}
	for i := range repos {
		r := &repos[i]
		if c.s.level(c.caller, r) < reader || !matchesName(r, q) {
			continue
		}
		sum, err := c.s.summary(r)
		if err != nil {
			return err
		}
		if matchesTags(sum, q) {
			found = append(found, c.s.describeRepo(r, sum))
		}
	}
	sortRepos(found, q.Get("sort"), q.Get("direction") == "1")
	limit, _ := c.page(maxPageItems)
	from, _ := strconv.Atoi(q.Get("cursor")) // ours; anything else begins at the start
	from = min(max(from, 0), len(found))
	if len(found)-from > limit {
		c.next("cursor", strconv.Itoa(from+limit))
		found = found[:from+limit]
	} else if c.s.mirror != nil {
		c.next("cursor", upstreamCursor)
	}
	expand := append(q["expand"], q["expand[]"]...)
	page := []map[string]any{}
	for _, fields := range found[from:] {
		if len(expand) == 0 && !truthy(q.Get("full")) {
			if !truthy(q.Get("cardData")) {
				delete(fields, "cardData")
			}
			if !truthy(q.Get("config")) {
				delete(fields, "config")
			}
			delete(fields, "usedStorage")
			delete(fields, "safetensors")
		}
		page = append(page, only(fields, expand))
	}
	return c.json(page)
}

func matchesName(r *meta.Repo, q url.Values) bool {
	if author := q.Get("author"); author != "" && !strings.EqualFold(author, r.Namespace) {
		return false
	}
	for _, word := range strings.Fields(q.Get("search")) {
		if !strings.Contains(strings.ToLower(r.FullName()), strings.ToLower(word)) {
			return false
		}
	}
	if gated := q.Get("gated"); gated != "" && truthy(gated) != (r.Gated != "") {
		return false
	}
	return true
}

// matchesTags tells whether a repo has all tags asked for, in whichever
// parameter they stand.
func matchesTags(sum *meta.Summary, q url.Values) bool {
	var wanted []string
	for _, key := range []string{"filter", "filter[]", "tags", "pipeline_tag", "library", "language"} {
		for _, value := range q[key] {
			wanted = append(wanted, strings.Split(value, ",")...)
		}
	}
	for _, tag := range wanted {
		if tag != "" && !slices.Contains(sum.Tags, tag) {
			return false
		}
	}
	return true
}

// sortRepos sorts, the greatest first; unknown orders leave the newest change first.
func sortRepos(list []map[string]any, by string, ascending bool) {
	if by == "last_modified" {
		by = "lastModified"
	}
	if by == "created_at" {
		by = "createdAt"
	}
	slices.SortStableFunc(list, func(a, b map[string]any) int {
		order := 0
		switch by {
		case "likes":
			order = a[by].(int) - b[by].(int)
		case "downloads":
			order = int(a[by].(int64) - b[by].(int64))
		case "createdAt", "lastModified", "id":
			order = strings.Compare(a[by].(string), b[by].(string))
		}
		if ascending {
			return order
		}
		return -order
	})
}

// tagsByType lists the tags in use, by what they are about.
func (c *call) tagsByType() error {
	kind := meta.Model
	if strings.HasPrefix(c.parts[1], "datasets") {
		kind = meta.Dataset
	}
	repos, err := c.s.db.Repos(kind)
	if err != nil {
		return err
	}
	type tag struct {
		ID    string `json:"id"`
		Label string `json:"label"`
		Type  string `json:"type"`
	}
	groups := map[string][]tag{}
	seen := map[string]bool{}
	add := func(group, id string) {
		if id == "" || seen[group+" "+id] {
			return
		}
		seen[group+" "+id] = true
		label := id
		if _, rest, ok := strings.Cut(id, ":"); ok {
			label = rest
		}
		groups[group] = append(groups[group], tag{id, label, group})
	}
	for i := range repos {
		if c.s.level(c.caller, &repos[i]) < reader {
			continue
		}
		sum, err := c.s.summary(&repos[i])
		if err != nil {
			return err
		}
		add("pipeline_tag", sum.Pipeline)
		add("library", sum.Library)
		for _, id := range sum.Tags {
			switch {
			case id == sum.Pipeline || id == sum.Library:
			case strings.HasPrefix(id, "license:"), strings.HasPrefix(id, "dataset:"):
				group, _, _ := strings.Cut(id, ":")
				add(group, id)
			default:
				add("other", id)
			}
		}
	}
	return c.json(groups)
}
