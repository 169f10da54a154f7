package fakeopenrouter

import (
	"net/http"
	"net/url"
	"slices"
	"time"
)

// This file is workspaces and guardrails, and what people do behind the engine's
// back, in OpenRouter's settings: nothing of that is a request.

type workspace struct{ id string }

// A Guardrail bounds the keys that are assigned to it.
type Guardrail struct {
	ID, Name, WorkspaceID string
	Models                []string // nil for all
}

type guardrail struct {
	Guardrail
	born time.Time
}

// workspaces0 is the id of the default workspace.
func (s *Server) workspaces0() string {
	if len(s.workspaces) == 0 {
		return ""
	}
	return s.workspaces[0].id
}

func (s *Server) workspaceLocked(id string) *workspace {
	for _, w := range s.workspaces {
		if w.id == id {
			return w
		}
	}
	return nil
}

// filterLocked is the workspace that a list is asked for. That one which does not
// exist lists nothing is not documented, hence the knob.
func (s *Server) filterLocked(c *call, query url.Values) (string, *refusal) {
	if !query.Has("workspace_id") {
		return s.workspaces0(), nil
	}
	id := query.Get("workspace_id")
	if c.knobs.UnknownWorkspaceRefused && s.workspaceLocked(id) == nil {
		return "", notFound()
	}
	return id, nil
}

func (w *workspace) shown() object {
	return object{"id": w.id, "name": "Workspace " + w.id, "slug": "w-" + w.id, "created_by": nil, "created_at": "2025-08-24T10:30:00Z"}
}

// listWorkspaces is GET /workspaces.
func (s *Server) listWorkspaces(c *call) (any, *refusal) {
	query, refused := c.query("offset", "limit")
	if refused != nil {
		return nil, refused
	}
	var items []any
	for _, w := range s.workspaces {
		items = append(items, w.shown())
	}
	return c.page(query, items)
}

// getWorkspace is GET /workspaces/{id}, by its slug too.
func (s *Server) getWorkspace(c *call) (any, *refusal) {
	if _, refused := c.query(); refused != nil {
		return nil, refused
	}
	for _, w := range s.workspaces {
		if w.id == c.id || "w-"+w.id == c.id {
			return object{"data": w.shown()}, nil
		}
	}
	return nil, notFound()
}

func (g *guardrail) shown(canonical bool) object {
	var models any
	if g.Models != nil {
		list := []any{}
		for _, m := range g.Models {
			if canonical {
				m += "-2025-08-24"
			}
			list = append(list, m)
		}
		models = list
	}
	return object{
		"id": g.ID, "name": g.Name, "workspace_id": g.WorkspaceID, "allowed_models": models, "allowed_providers": nil,
		"limit_usd": nil, "reset_interval": nil, "created_at": stamp(g.born), "updated_at": nil,
	}
}

// listGuardrails is GET /guardrails. Without a workspace it is the default one.
func (s *Server) listGuardrails(c *call) (any, *refusal) {
	query, refused := c.query("offset", "limit", "workspace_id")
	if refused != nil {
		return nil, refused
	}
	in, refused := s.filterLocked(c, query)
	if refused != nil {
		return nil, refused
	}
	var items []any
	for _, g := range s.guardrails {
		if g.WorkspaceID == in && c.now.Sub(g.born) >= c.knobs.HideFor {
			items = append(items, g.shown(c.knobs.CanonicalModels))
		}
	}
	return c.page(query, items)
}

// createGuardrail is POST /guardrails.
func (s *Server) createGuardrail(c *call) (any, *refusal) {
	g := Guardrail{ID: NewID(), WorkspaceID: s.workspaces0()}
	f := c.fields()
	f.read("name", false, &g.Name)
	if g.Name == "" {
		f.refuse("Invalid input: name")
	}
	if f.read("allowed_models", true, &g.Models) && (len(g.Models) == 0 || slices.Contains(g.Models, "")) {
		f.refuse("Invalid input: allowed_models")
	}
	if f.read("workspace_id", false, &g.WorkspaceID) && s.workspaceLocked(g.WorkspaceID) == nil {
		f.refuse("Invalid input: workspace_id")
	}
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	made := &guardrail{g, c.now}
	s.guardrails = append(s.guardrails, made)
	return object{"data": made.shown(c.knobs.CanonicalModels)}, nil
}

// assignKeys is POST /guardrails/{id}/assignments/keys. All keys or none. A key is
// under one guardrail at most: another one takes its place.
func (s *Server) assignKeys(c *call) (any, *refusal) {
	i := slices.IndexFunc(s.guardrails, func(g *guardrail) bool { return g.ID == c.id })
	if i < 0 {
		return nil, notFound()
	}
	f := c.fields()
	var hashes []string
	if !f.read("key_hashes", false, &hashes) || len(hashes) == 0 {
		f.refuse("Invalid input: key_hashes")
	}
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	if c.knobs.IgnoreAssignment {
		return object{"assigned_count": 0}, nil
	}
	var keys []*key
	for _, hash := range hashes {
		k, refused := s.keyLocked(c, hash)
		if refused != nil {
			return nil, refused
		}
		keys = append(keys, k)
	}
	for _, k := range keys {
		k.GuardrailID = c.id
	}
	return object{"assigned_count": len(keys)}, nil
}

// Alive reports whether the data plane would accept a key now.
func (s *Server) Alive(secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if k.Secret == secret {
			return s.acceptedLocked(k, s.clock())
		}
	}
	return false
}

// LiveKeys returns the keys that exist and are not expired, in the order of their
// creation.
func (s *Server) LiveKeys() []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	var live []Key
	for _, k := range s.keys {
		if !k.Deleted && !expired(k.ExpiresAt, s.clock()) {
			live = append(live, k.Key)
		}
	}
	return live
}

// Keys returns all keys that were ever made.
func (s *Server) Keys() []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Key, len(s.keys))
	for i, k := range s.keys {
		all[i] = k.Key
	}
	return all
}

// Guardrails returns the guardrails that exist.
func (s *Server) Guardrails() []Guardrail {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Guardrail
	for _, g := range s.guardrails {
		all = append(all, g.Guardrail)
	}
	return all
}

// Complete makes a completion by a model with a key, and returns the status that
// the data plane answers.
func (s *Server) Complete(secret, model string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if k.Secret != secret || !s.acceptedLocked(k, s.clock()) {
			continue
		}
		if refused := s.chargeLocked(k, model, s.clock()); refused != nil {
			return refused.status
		}
		return http.StatusOK
	}
	return http.StatusUnauthorized
}

// PlantKey makes a key that somebody else owns, without any bound.
func (s *Server) PlantKey(workspaceID, name string) Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addLocked(Key{Name: name, WorkspaceID: workspaceID, CreatedAt: s.clock()}).Key
}

// DisableKey disables a key. It reports whether there was one.
func (s *Server) DisableKey(hash string) bool {
	return s.change(hash, func(k *key) { k.Disabled = true })
}

// DeleteKey deletes a key. It reports whether there was one.
func (s *Server) DeleteKey(hash string) bool {
	return s.change(hash, func(k *key) { k.Deleted, k.deletedAt = true, s.clock() })
}

func (s *Server) change(hash string, do func(*key)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if k.Hash == hash && !k.Deleted {
			do(k)
			return true
		}
	}
	return false
}

// SetModels changes what a guardrail allows; nil is everything. It reports whether
// there is such a guardrail.
func (s *Server) SetModels(id string, models []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.guardrails {
		if g.ID == id {
			g.Models = models
			return true
		}
	}
	return false
}

// AddWorkspace makes a workspace of an id, or a random one, and returns the id.
func (s *Server) AddWorkspace(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == "" {
		id = NewID()
	}
	s.workspaces = append(s.workspaces, &workspace{id})
	return id
}

// DeleteWorkspace deletes a workspace. That its keys die with it is not documented.
func (s *Server) DeleteWorkspace(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workspaces = slices.DeleteFunc(s.workspaces, func(w *workspace) bool { return w.id == id })
}
