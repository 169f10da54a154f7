package fakeanthropic

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// This file is workspaces, their keys, and the data plane.

// The states of a key.
const (
	statusActive   = "active"
	statusInactive = "inactive"
	statusArchived = "archived"
	statusExpired  = "expired"
)

// A Key is a key as it is in the world, whatever lists show.
type Key struct {
	ID, Name, WorkspaceID string // a workspace of "" is the whole organization
	Status                string
	CreatedAt, ExpiresAt  time.Time // an expiry of zero is none
	ServiceAccountID      string
	Secret                string
}

type key struct {
	Key
	changedAt time.Time // its status
}

type workspace struct {
	id         string
	archivedAt time.Time
	members    map[string]bool // ids of service accounts
}

// statusOf is what a key is now.
func (k *key) statusOf(now time.Time) string {
	if !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) && k.Status != statusArchived {
		return statusExpired
	}
	return k.Status
}

// acceptedLocked reports whether the data plane accepts a key.
func (s *Server) acceptedLocked(k *key, now time.Time) bool {
	if k.WorkspaceID != "" {
		if w := s.workspaceLocked(k.WorkspaceID); w == nil || !w.archivedAt.IsZero() {
			return false
		}
	}
	since := now.Sub(k.changedAt)
	switch k.statusOf(now) {
	case statusActive:
		return since >= s.knobs.ActiveDelay
	case statusInactive:
		return since < s.knobs.InactiveDelay
	}
	return false
}

func (k *key) shown(now time.Time) object {
	scope := object{"type": "organization"}
	if k.WorkspaceID != "" {
		scope = object{"type": "workspace", "workspace_id": k.WorkspaceID}
	}
	return object{
		"type": "api_key", "id": k.ID, "name": k.Name, "status": k.statusOf(now),
		"partial_key_hint": k.Secret[:16] + "..." + k.Secret[len(k.Secret)-4:],
		"created_at":       stamp(k.CreatedAt), "expires_at": stamp(k.ExpiresAt),
		"created_by": object{"id": Creator, "type": "user"},
		"principal":  object{"type": "service_account_actor", "service_account_id": k.ServiceAccountID},
		"scope":      scope,
	}
}

// Creator is who made all keys.
const Creator = "user_01WCz1FkmYMm4gnmykNKUu3Q"

func (s *Server) workspaceLocked(id string) *workspace {
	for _, w := range s.workspaces {
		if w.id == id {
			return w
		}
	}
	return nil
}

func (w *workspace) shown() object {
	return object{
		"type": "workspace", "id": w.id, "name": "Workspace " + w.id, "display_color": "#6C5BB9",
		"created_at": "2026-01-30T23:58:27.427722Z", "archived_at": stamp(w.archivedAt),
	}
}

// createKey is POST /api_keys, which there is not.
func (*Server) createKey(c *call) (any, *refusal) {
	return nil, &refusal{cmp.Or(c.knobs.KeyCreateStatus, http.StatusMethodNotAllowed), "invalid_request_error", "API keys are created in the Console"}
}

func (s *Server) keyLocked(id string) (*key, *refusal) {
	for _, k := range s.keys {
		if k.ID == id {
			return k, nil
		}
	}
	return nil, notFound()
}

// getKey is GET /api_keys/{id}.
func (s *Server) getKey(c *call) (any, *refusal) {
	if _, refused := c.query(); refused != nil {
		return nil, refused
	}
	k, refused := s.keyLocked(c.ids[0])
	if refused != nil {
		return nil, refused
	}
	return k.shown(c.now), nil
}

// updateKey is POST /api_keys/{id}.
func (s *Server) updateKey(c *call) (any, *refusal) {
	k, refused := s.keyLocked(c.ids[0])
	if refused != nil {
		return nil, refused
	}
	f := c.fields()
	changed := k.Key
	if f.read("name", &changed.Name) && changed.Name == "" {
		f.refuse("name: String should have at least 1 character")
	}
	writable := []string{statusActive, statusInactive, statusArchived}
	if f.read("status", &changed.Status) && !slices.Contains(writable, changed.Status) {
		f.refuse("status: Input should be 'active', 'inactive' or 'archived'")
	}
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	switch now := k.statusOf(c.now); {
	case now == statusExpired && changed.Status == statusActive:
		return nil, badRequest("status: the key is expired")
	case now == statusArchived && changed.Status != statusArchived && !c.knobs.ArchivedIsReversible:
		return nil, badRequest("status: the key is archived")
	}
	if c.knobs.IgnoreName {
		changed.Name = k.Name
	}
	if c.knobs.IgnoreStatus {
		changed.Status = k.Status
	}
	if changed.Status != k.Status {
		k.changedAt = c.now
	}
	k.Key = changed
	return k.shown(c.now), nil
}

// listKeys is GET /api_keys.
func (s *Server) listKeys(c *call) (any, *refusal) {
	query, refused := c.query("limit", "after_id", "before_id", "status", "workspace_id", "created_by_user_id")
	if refused != nil {
		return nil, refused
	}
	status, in := query.Get("status"), query.Get("workspace_id")
	known := []string{statusActive, statusInactive, statusArchived, statusExpired}
	if query.Has("status") && !slices.Contains(known, status) {
		return nil, badRequest("status: Input should be one of %v", known)
	}
	if in != "" && c.knobs.UnknownWorkspaceRefused && s.workspaceLocked(in) == nil {
		return nil, notFound()
	}
	var items []object
	for _, k := range s.keys {
		if c.knobs.IgnoreFilters || (in == "" || k.WorkspaceID == in) && (status == "" || k.statusOf(c.now) == status) {
			items = append(items, k.shown(c.now))
		}
	}
	return c.page(query, items)
}

// listWorkspaces is GET /workspaces. The default one is not among them.
func (s *Server) listWorkspaces(c *call) (any, *refusal) {
	query, refused := c.query("limit", "after_id", "before_id", "include_archived")
	if refused != nil {
		return nil, refused
	}
	var items []object
	for _, w := range s.workspaces {
		if w.archivedAt.IsZero() || query.Get("include_archived") == "true" {
			items = append(items, w.shown())
		}
	}
	return c.page(query, items)
}

// getWorkspace is GET /workspaces/{id}.
func (s *Server) getWorkspace(c *call) (any, *refusal) {
	if _, refused := c.query(); refused != nil {
		return nil, refused
	}
	w := s.workspaceLocked(c.ids[0])
	if w == nil {
		return nil, notFound()
	}
	return w.shown(), nil
}

// listModels is GET /v1/models.
func (*Server) listModels(c *call) (any, *refusal) {
	query, refused := c.query("limit", "after_id", "before_id")
	if refused != nil {
		return nil, refused
	}
	return c.page(query, []object{
		{"type": "model", "id": "claude-opus-4-1-20250805", "display_name": "Claude Opus 4.1", "created_at": "2025-08-05T00:00:00Z"},
		{"type": "model", "id": "claude-haiku-4-5-20251001", "display_name": "Claude Haiku 4.5", "created_at": "2025-10-15T00:00:00Z"},
	})
}

// message is POST /v1/messages. There are many more fields, which are taken without
// a look.
func (*Server) message(c *call) (any, *refusal) {
	f := c.fields()
	var model string
	var messages []json.RawMessage
	var most int
	f.need("model", &model)
	f.need("max_tokens", &most)
	f.need("messages", &messages)
	if f.refused != nil {
		return nil, f.refused
	}
	return object{
		"type": "message", "id": newID("msg"), "role": "assistant", "model": model, "stop_reason": "end_turn",
		"content": []any{object{"type": "text", "text": "Hello."}},
		"usage":   object{"input_tokens": 8, "output_tokens": 4},
	}, nil
}
