package server

import (
	"slices"

	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// askAccess notes that the caller wants to read a gated repo; where the gate is
// automatic, the caller is let in at once.
func (c *call) askAccess() error {
	if err := mayAct(c.caller, &c.repo); err != nil {
		return err
	}
	if c.repo.Gated == "" {
		return badRequest("This repo is not gated")
	}
	request, err := c.s.db.AccessOf(c.repo.ID, c.user.Name)
	if err == nil && request.Status != "pending" {
		return c.json(map[string]string{"status": request.Status})
	}
	request = meta.AccessRequest{User: c.user.Name, Status: "pending"}
	if c.repo.Gated == "auto" {
		request.Status = "accepted"
	}
	if err := c.s.db.SetAccess(c.repo.ID, request); err != nil {
		return err
	}
	return c.json(map[string]string{"status": request.Status})
}

var accessStates = []string{"pending", "accepted", "rejected"}

// accessRequests lists the requests of one state.
func (c *call) accessRequests() error {
	status := c.vars["status"]
	if !slices.Contains(accessStates, status) {
		return badRequest("The state of a request is pending, accepted or rejected")
	}
	if c.repo.Gated == "" {
		return badRequest("This repo is not gated")
	}
	requests, err := c.s.db.Access(c.repo.ID)
	if err != nil {
		return err
	}
	list := []map[string]any{}
	for _, request := range requests {
		if request.Status != status {
			continue
		}
		entry := map[string]any{"requestId": request.User, "status": status, "timestamp": stamp(request.At), "fields": nil}
		if u, err := c.s.db.User(request.User); err == nil {
			entry["user"] = map[string]any{"user": u.Name, "fullname": u.Fullname, "email": u.Email}
		}
		list = append(list, entry)
	}
	return c.json(list)
}

// handleAccess accepts, rejects or reopens a request.
func (c *call) handleAccess() error {
	var req struct {
		User      string `json:"user"`
		RequestID string `json:"requestId"`
		Status    string `json:"status"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	if req.User == "" {
		req.User = req.RequestID
	}
	if !slices.Contains(accessStates, req.Status) {
		return badRequest("The state of a request is pending, accepted or rejected")
	}
	request, err := c.s.db.AccessOf(c.repo.ID, req.User)
	if err != nil {
		return notFound("This user has not asked for access")
	}
	if request.Status == req.Status {
		return badRequest("The request is %s already", req.Status)
	}
	request.Status = req.Status
	if err := c.s.db.SetAccess(c.repo.ID, request); err != nil {
		return err
	}
	return c.ok()
}

// grantAccess lets a user in who did not ask.
func (c *call) grantAccess() error {
	var req struct {
		User string `json:"user"`
	}
	if err := c.decode(&req, maxBody); err != nil {
		return err
	}
	if c.repo.Gated == "" {
		return badRequest("This repo is not gated")
	}
	u, err := c.s.db.User(req.User)
	if err != nil {
		return notFound("User not found")
	}
	if request, err := c.s.db.AccessOf(c.repo.ID, u.Name); err == nil && request.Status == "accepted" {
		return badRequest("This user has access already")
	}
	if err := c.s.db.SetAccess(c.repo.ID, meta.AccessRequest{User: u.Name, Status: "accepted"}); err != nil {
		return err
	}
	return c.ok()
}
