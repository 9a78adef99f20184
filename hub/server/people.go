package server

import (
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// ownRepos lists the repos of a namespace to those who belong there.
func (c *call) ownRepos() error {
	namespace := c.vars["name"]
	if namespace == "" {
		namespace = c.user.Name
	}
	repos, err := c.s.db.Repos("")
	if err != nil {
		return err
	}
	list := []map[string]any{}
	for i := range repos {
		r := &repos[i]
		if !strings.EqualFold(r.Namespace, namespace) || c.s.level(c.caller, r) < reader {
			continue
		}
		sum, err := c.s.summary(r)
		if err != nil {
			return err
		}
		visibility := "public"
		if r.Private {
			visibility = "private"
		}
		list = append(list, map[string]any{"id": r.FullName(), "_id": r.ID, "type": r.Type, "visibility": visibility,
			"private": r.Private, "storage": sum.UsedStorage, "updatedAt": stamp(r.Modified), "createdAt": stamp(r.Created)})
	}
	return c.json(list)
}

// members lists who belongs to an organization.
func (c *call) members() error {
	org, err := c.s.db.User(c.vars["name"])
	if err != nil || !org.Org {
		return notFound("Organization not found")
	}
	list := []map[string]any{}
	for name, role := range org.Members {
		if u, err := c.s.db.User(name); err == nil {
			list = append(list, map[string]any{"_id": u.ID, "user": u.Name, "fullname": u.Fullname, "avatarUrl": "", "isPro": false, "role": role, "type": "user"})
		}
	}
	slices.SortFunc(list, func(a, b map[string]any) int { return strings.Compare(a["user"].(string), b["user"].(string)) })
	return c.json(list)
}

// overview describes a user or an organization.
func (c *call) overview() error {
	org := c.parts[1] == "organizations"
	u, err := c.s.db.User(c.vars["name"])
	if err != nil || u.Org != org {
		return notFound("User or organization not found")
	}
	count := map[string]int{}
	repos, err := c.s.db.Repos("")
	if err != nil {
		return err
	}
	for i := range repos {
		if strings.EqualFold(repos[i].Namespace, u.Name) && c.s.level(c.caller, &repos[i]) >= reader {
			count[repos[i].Type]++
		}
	}
	answer := map[string]any{"_id": u.ID, "fullname": u.Fullname, "avatarUrl": "", "isPro": false, "numModels": count[meta.Model],
		"numDatasets": count[meta.Dataset], "numSpaces": count[meta.Space], "createdAt": stamp(u.Created)}
	if org {
		answer["name"], answer["type"], answer["numUsers"] = u.Name, "org", len(u.Members)
	} else {
		answer["user"], answer["type"] = u.Name, "user"
	}
	return c.json(answer)
}

// likes lists what a user likes, as far as the caller may see it.
func (c *call) likes() error {
	u, err := c.s.db.User(c.vars["name"])
	if err != nil {
		return notFound("User not found")
	}
	repos, since, err := c.s.db.Liked(u.Name)
	if err != nil {
		return err
	}
	list := []map[string]any{}
	for i := range repos {
		if c.s.level(c.caller, &repos[i]) >= reader {
			list = append(list, map[string]any{"createdAt": stamp(since[i]),
				"repo": map[string]string{"name": repos[i].FullName(), "type": repos[i].Type}})
		}
	}
	return c.json(list)
}

// like sets or takes back the caller's like.
func (c *call) like() error {
	if err := mayAct(c.caller, &c.repo); err != nil {
		return err
	}
	if err := c.s.db.Like(c.repo.ID, c.user.Name, c.r.Method == post); err != nil {
		return err
	}
	return c.ok()
}

// likers lists who likes a repo.
func (c *call) likers() error {
	users, err := c.s.db.Likers(c.repo.ID)
	if err != nil {
		return err
	}
	list := []map[string]any{}
	for _, u := range users {
		list = append(list, map[string]any{"user": u.Name, "fullname": u.Fullname, "avatarUrl": "", "_id": u.ID, "type": "user", "isPro": false})
	}
	return c.json(list)
}
