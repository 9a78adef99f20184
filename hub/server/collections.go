package server

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
	"github.com/mamba-encoder-swarm/mes/hub/server/view"
)

// Bounds of collections. Lists show the first few items of each.
const (
	maxTitle           = 100 // characters
	maxDescription     = 150
	maxNote            = 500
	maxCollectionItems = 1000
	pageCollections    = 100
	listedItems        = 4
)

var themes = []string{"orange", "blue", "green", "purple", "pink", "indigo"}

const onCollection = "/api/collections/{name}/{slug}"

// collectionRoutes are lists of repos. Who may not see a collection gets the answer
// for one that is not there; an item that the caller may not see is left out.
func collectionRoutes() []route {
	return []route{
		{Method: get, Pattern: "/api/collections", Handler: (*call).listCollections},
		{Method: post, Pattern: "/api/collections", Access: user, Handler: (*call).createCollection},
		{Method: get, Pattern: onCollection, Handler: (*call).getCollection},
		{Method: patch, Pattern: onCollection, Access: user, Handler: (*call).updateCollection},
		{Method: del, Pattern: onCollection, Access: user, Handler: (*call).deleteCollection},
		{Method: post, Pattern: onCollection + "/items", Access: user, Handler: (*call).addItem},
		{Method: patch, Pattern: onCollection + "/items/{id}", Access: user, Handler: (*call).updateItem},
		{Method: del, Pattern: onCollection + "/items/{id}", Access: user, Handler: (*call).deleteItem},
		{Method: get, Pattern: "/collections/{name}/{slug}", Handler: (*call).collectionPage, page: true},
	}
}

// collectionLevel is how much of a collection a caller has: as of a repo there.
func (c *call) collectionLevel(col *meta.Collection) access {
	return c.s.level(c.caller, &meta.Repo{Namespace: col.Namespace, Private: col.Private})
}

// collection finds the collection that the path names, for a caller who needs so
// much of it.
func (c *call) collection(need access) (meta.Collection, error) {
	col, err := c.s.db.Collection(c.vars["name"], c.vars["slug"])
	if err != nil && !errors.Is(err, meta.ErrNotFound) {
		return col, err
	}
	level := c.collectionLevel(&col)
	if err != nil || level < reader {
		return meta.Collection{}, notFound("Collection not found")
	}
	if level < need {
		return col, &Error{http.StatusForbidden, codeForbidden, "You have no permission to do this with this collection, or your token has not"}
	}
	return col, nil
}

// visible gives the items whose repos the caller may see, and these.
func (c *call) visible(col *meta.Collection) (items []meta.CollectionItem, repos []meta.Repo, err error) {
	for _, item := range col.Items {
		r, err := c.s.db.RepoByID(item.Repo)
		if errors.Is(err, meta.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if c.s.level(c.caller, &r) >= reader {
			items, repos = append(items, item), append(repos, r)
		}
	}
	return items, repos, nil
}

// describeCollection is a collection as clients read it, with so many items.
func (c *call) describeCollection(col *meta.Collection, most int) (map[string]any, error) {
	visible, repos, err := c.visible(col)
	if err != nil {
		return nil, err
	}
	items := []map[string]any{}
	for i, item := range visible[:min(len(visible), most)] {
		r := &repos[i]
		described := map[string]any{"_id": item.ID, "id": r.FullName(), "type": r.Type, "repoType": r.Type, "position": i,
			"author": r.Namespace, "private": r.Private, "likes": r.Likes, "lastModified": stamp(r.Modified)}
		if item.Note != "" {
			described["note"] = map[string]string{"text": item.Note, "html": escapeHTML(item.Note)}
		}
		items = append(items, described)
	}
	owner := map[string]any{"name": col.Namespace, "type": "user", "avatarUrl": ""}
	if u, err := c.s.db.User(col.Namespace); err == nil && u.Org {
		owner["type"] = "org"
	}
	return map[string]any{"slug": col.Slug(), "title": col.Title, "description": col.Description, "owner": owner, "items": items,
		"lastUpdated": stamp(col.Updated), "theme": col.Theme, "private": col.Private, "upvotes": 0, "isUpvotedByUser": false}, nil
}

// answerCollection sends one collection with all items.
func (c *call) answerCollection(col *meta.Collection) error {
	answer, err := c.describeCollection(col, maxCollectionItems)
	if err != nil {
		return err
	}
	answer["position"] = col.Position
	return c.json(answer)
}

// listCollections lists the collections that the caller may see, the last changed
// first, of an owner or with an item when asked.
func (c *call) listCollections() error {
	all, err := c.s.db.Collections()
	if err != nil {
		return err
	}
	q := c.r.URL.Query()
	wanted := "" // id of the repo that has to be in it
	if item := q.Get("item"); item != "" {
		kind, name, _ := strings.Cut(item, "/")
		ns, name, _ := strings.Cut(name, "/")
		r, err := c.s.db.Repo(strings.TrimSuffix(kind, "s"), ns, name)
		if wanted = r.ID; err != nil || c.s.level(c.caller, &r) < reader {
			all = nil
		}
	}
	all = slices.DeleteFunc(all, func(col meta.Collection) bool {
		holds := func(i meta.CollectionItem) bool { return i.Repo == wanted }
		return c.collectionLevel(&col) < reader || q.Get("owner") != "" && !strings.EqualFold(q.Get("owner"), col.Namespace) ||
			wanted != "" && !slices.ContainsFunc(col.Items, holds)
	})
	limit, skip := c.page(pageCollections)
	list := []map[string]any{}
	for i := skip; i < min(skip+limit, len(all)); i++ {
		described, err := c.describeCollection(&all[i], listedItems)
		if err != nil {
			return err
		}
		list = append(list, described)
	}
	if skip+limit < len(all) {
		c.next("p", strconv.Itoa(skip/limit+1))
	}
	return c.json(list)
}

// collectionChange is what may be said of a collection; nil is not said.
type collectionChange struct {
	Title       *string `json:"title"`
	Description *string `json:"description"`
	Private     *bool   `json:"private"`
	Theme       *string `json:"theme"`
	Position    *int    `json:"position"`
}

// apply checks a change and makes it.
func (ch *collectionChange) apply(col *meta.Collection) error {
	if ch.Title != nil {
		col.Title = strings.TrimSpace(*ch.Title)
	}
	if ch.Description != nil {
		col.Description = *ch.Description
	}
	if ch.Private != nil {
		col.Private = *ch.Private
	}
	if ch.Theme != nil {
		col.Theme = *ch.Theme
	}
	if ch.Position != nil {
		col.Position = *ch.Position
	}
	switch {
	case col.Title == "" || len([]rune(col.Title)) > maxTitle:
		return badRequest("A title has 1 to %d characters", maxTitle)
	case len([]rune(col.Description)) > maxDescription:
		return badRequest("A description has up to %d characters", maxDescription)
	case !slices.Contains(themes, col.Theme):
		return badRequest("A theme is one of %s", strings.Join(themes, ", "))
	case col.Position < 0:
		return badRequest("A position is 0 or more")
	}
	return nil
}

func (c *call) createCollection() error {
	var req struct {
		Namespace string `json:"namespace"`
		collectionChange
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	col := meta.Collection{Namespace: req.Namespace, Theme: themes[0]}
	if col.Namespace == "" {
		col.Namespace = c.user.Name
	}
	if err := req.apply(&col); err != nil {
		return err
	}
	if !c.s.mayCreate(c.caller, col.Namespace, "collection", "") {
		return &Error{http.StatusForbidden, codeForbidden, "You may not make collections there, or your token may not"}
	}
	col, err := c.s.db.AddCollection(col)
	if errors.Is(err, meta.ErrExists) {
		text := "There is a collection of this title"
		c.w.Header().Set("X-Error-Code", codeConflict)
		c.w.Header().Set("X-Error-Message", text)
		return c.jsonStatus(http.StatusConflict, map[string]any{"error": text, "slug": col.Slug()})
	}
	if err != nil {
		return err
	}
	return c.answerCollection(&col)
}

func (c *call) getCollection() error {
	col, err := c.collection(reader)
	if err != nil {
		return err
	}
	return c.answerCollection(&col)
}

func (c *call) updateCollection() error {
	col, err := c.collection(writer)
	if err != nil {
		return err
	}
	var req collectionChange
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	if col, err = c.s.db.UpdateCollection(col.ID, req.apply); err != nil {
		return err
	}
	answer, err := c.describeCollection(&col, maxCollectionItems)
	if err != nil {
		return err
	}
	answer["position"] = col.Position
	return c.json(map[string]any{"success": true, "data": answer})
}

func (c *call) deleteCollection() error {
	col, err := c.collection(writer)
	if err != nil {
		return err
	}
	if err := c.s.db.DeleteCollection(col.ID); err != nil {
		return err
	}
	return c.json(map[string]any{"success": true})
}

// addItem puts a repo at the end of a collection.
func (c *call) addItem() error {
	col, err := c.collection(writer)
	if err != nil {
		return err
	}
	var req struct {
		Item struct{ ID, Type string } `json:"item"`
		Note string                    `json:"note"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	kind, err := kindOf(req.Item.Type)
	if err != nil {
		return badRequest("A collection here holds models, datasets and Spaces")
	}
	if len([]rune(req.Note)) > maxNote {
		return badRequest("A note has up to %d characters", maxNote)
	}
	ns, name, _ := strings.Cut(req.Item.ID, "/")
	r, err := c.s.repoFor(c.caller, kind, ns, name, reader)
	if err != nil {
		return err
	}
	col, err = c.s.db.UpdateCollection(col.ID, func(col *meta.Collection) error {
		if slices.ContainsFunc(col.Items, func(i meta.CollectionItem) bool { return i.Repo == r.ID }) {
			return conflict("%s is in the collection already", r.FullName())
		}
		if len(col.Items) >= maxCollectionItems {
			return badRequest("A collection has up to %d items", maxCollectionItems)
		}
		col.Items = append(col.Items, meta.NewCollectionItem(r.ID, req.Note))
		return nil
	})
	if err != nil {
		return err
	}
	return c.answerCollection(&col)
}

// item changes the collection around one item that the caller may see; at is its
// index among all.
func (c *call) item(change func(col *meta.Collection, at int, visible []meta.CollectionItem) error) error {
	col, err := c.collection(writer)
	if err != nil {
		return err
	}
	visible, _, err := c.visible(&col)
	if err != nil {
		return err
	}
	same := func(i meta.CollectionItem) bool { return i.ID == c.vars["id"] }
	if !slices.ContainsFunc(visible, same) {
		return notFound("Item not found")
	}
	_, err = c.s.db.UpdateCollection(col.ID, func(col *meta.Collection) error {
		at := slices.IndexFunc(col.Items, same)
		if at < 0 {
			return notFound("Item not found")
		}
		return change(col, at, visible)
	})
	if err != nil {
		return err
	}
	return c.json(map[string]any{"success": true})
}

// updateItem changes the note of an item, or its place among those that the caller
// sees.
func (c *call) updateItem() error {
	var req struct {
		Note     *string `json:"note"`
		Position *int    `json:"position"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	if req.Note != nil && len([]rune(*req.Note)) > maxNote {
		return badRequest("A note has up to %d characters", maxNote)
	}
	return c.item(func(col *meta.Collection, at int, visible []meta.CollectionItem) error {
		if req.Note != nil {
			col.Items[at].Note = *req.Note
		}
		if req.Position == nil {
			return nil
		}
		if *req.Position < 0 || *req.Position >= len(visible) {
			return badRequest("A position is 0 to %d", len(visible)-1)
		}
		moved := col.Items[at]
		col.Items = slices.Delete(col.Items, at, at+1)
		visible = slices.DeleteFunc(visible, func(i meta.CollectionItem) bool { return i.ID == moved.ID })
		to := len(col.Items)
		if *req.Position < len(visible) {
			follower := visible[*req.Position].ID
			if i := slices.IndexFunc(col.Items, func(i meta.CollectionItem) bool { return i.ID == follower }); i >= 0 {
				to = i
			}
		}
		col.Items = slices.Insert(col.Items, to, moved)
		return nil
	})
}

func (c *call) deleteItem() error {
	return c.item(func(col *meta.Collection, at int, _ []meta.CollectionItem) error {
		col.Items = slices.Delete(col.Items, at, at+1)
		return nil
	})
}

// collectionPage shows a collection in a browser.
func (c *call) collectionPage() error {
	col, err := c.collection(reader)
	if err != nil {
		return err
	}
	items, repos, err := c.visible(&col)
	if err != nil {
		return err
	}
	page := view.Collection{Page: c.newPage(col.Title), Owner: col.Namespace, Description: col.Description, Private: col.Private}
	for i := range repos {
		line, err := c.repoLine(&repos[i])
		if err != nil {
			return err
		}
		if note := items[i].Note; note != "" {
			line.Notes = append(line.Notes, note)
		}
		page.Repos = append(page.Repos, line)
	}
	return c.show(http.StatusOK, view.CollectionPage(page))
}
