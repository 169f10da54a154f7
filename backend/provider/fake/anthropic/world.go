package fakeanthropic

import (
	"encoding/json"
	"slices"
)

// This file is what people do in the Console, behind the engine's back, and what
// tests ask: nothing of that is a request.

// AdminKey returns the Admin API key.
func (s *Server) AdminKey() string { return s.admin }

// OrganizationID returns the id of the organization.
func (s *Server) OrganizationID() string { return s.org }

// RevokeAdminKey deletes the Admin API key.
func (s *Server) RevokeAdminKey() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = true
}

// Workspace returns the id of the first workspace that is not the default one.
func (s *Server) Workspace() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.workspaces[0].id
}

// AddWorkspace makes a workspace of an id, or a random one, and returns the id.
func (s *Server) AddWorkspace(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == "" {
		id = newID("wrkspc")
	}
	s.workspaces = append(s.workspaces, &workspace{id: id, members: map[string]bool{}})
	return id
}

// ArchiveWorkspace archives a workspace and with it its keys.
func (s *Server) ArchiveWorkspace(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.workspaceLocked(id); w != nil {
		w.archivedAt = s.clock()
	}
	for _, k := range s.keys {
		if k.WorkspaceID == id {
			k.Status, k.changedAt = statusArchived, s.clock()
		}
	}
}

// CreateServiceAccount makes a service account and returns its id.
func (s *Server) CreateServiceAccount(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &account{id: newID("svac"), name: name}
	s.accounts = append(s.accounts, a)
	return a.id
}

// AddMember makes a service account a member of a workspace.
func (s *Server) AddMember(workspaceID, accountID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.workspaceLocked(workspaceID); w != nil {
		w.members[accountID] = true
	}
}

// IsMember reports whether a service account is one.
func (s *Server) IsMember(workspaceID, accountID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.workspaceLocked(workspaceID)
	return w != nil && w.members[accountID]
}

// CreateIssuer makes an issuer by the body that the API takes, and returns its id.
func (s *Server) CreateIssuer(body string) (string, error) {
	return s.inConsole((*Server).createIssuer, body)
}

// CreateRule makes a rule by the body that the API takes, of any scope, and returns
// its id.
func (s *Server) CreateRule(body string) (string, error) {
	return s.inConsole((*Server).createRule, body)
}

// UpdateIssuer changes an issuer by the body that the API takes.
func (s *Server) UpdateIssuer(id, body string) error {
	_, err := s.inConsole((*Server).updateIssuer, body, id)
	return err
}

// ArchiveRule archives a rule.
func (s *Server) ArchiveRule(id string) error {
	_, err := s.inConsole((*Server).archiveRule, "", id)
	return err
}

// ArchiveIssuer archives an issuer.
func (s *Server) ArchiveIssuer(id string) error {
	_, err := s.inConsole((*Server).archiveIssuer, "", id)
	return err
}

func (s *Server) inConsole(do func(*Server, *call) (any, *refusal), body string, ids ...string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, refused := do(s, &call{console: true, body: []byte(body), ids: ids, now: s.clock(), knobs: s.knobs})
	if refused != nil {
		return "", refused
	}
	id, _ := answer.(object)["id"].(string)
	return id, nil
}

// RuleArchived reports whether a rule is archived.
func (s *Server) RuleArchived(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.ruleLocked(id)
	return r != nil && !r.archivedAt.IsZero()
}

// IssuerKeys returns the public keys of an issuer, as they were given.
func (s *Server) IssuerKeys(id string) []json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.issuerLocked(id); i != nil {
		return slices.Clone(i.keys)
	}
	return nil
}

// PlantKey makes an active key in a workspace, or in the organization, as a person
// does.
func (s *Server) PlantKey(workspaceID, name string) Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := &key{Key: Key{
		ID: newID("apikey"), Name: name, WorkspaceID: workspaceID, Status: statusActive, CreatedAt: s.clock(),
		ServiceAccountID: "svac_01" + text(22), Secret: "sk-ant-api03-" + text(80) + "AA",
	}}
	s.keys = append(s.keys, k)
	return k.Key
}

// PlantPoolKey makes an inactive key in the first workspace, as it is in a pool.
func (s *Server) PlantPoolKey(name string) Key {
	k := s.PlantKey(s.Workspace(), name)
	s.ChangeKey(k.ID, func(k *Key) { k.Status = statusInactive })
	k.Status = statusInactive
	return k
}

// ChangeKey changes a key behind the engine's back. It reports whether there was
// one.
func (s *Server) ChangeKey(id string, change func(*Key)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, refused := s.keyLocked(id)
	if refused != nil {
		return false
	}
	before := k.Status
	if change(&k.Key); k.Status != before {
		k.changedAt = s.clock()
	}
	return true
}

// Alive reports whether the data plane would accept a key or a token now.
func (s *Server) Alive(secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	if t := s.tokenLocked(secret, now); t != nil {
		return t.Scope != scopeAdmin
	}
	for _, k := range s.keys {
		if k.Secret == secret {
			return s.acceptedLocked(k, now)
		}
	}
	return false
}

// LiveKeys returns the keys that are active, in the order of their creation.
func (s *Server) LiveKeys() []Key {
	var live []Key
	for _, k := range s.Keys() {
		if k.Status == statusActive {
			live = append(live, k)
		}
	}
	return live
}

// Keys returns all keys.
func (s *Server) Keys() []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Key
	for _, k := range s.keys {
		shown := k.Key
		shown.Status = k.statusOf(s.clock())
		all = append(all, shown)
	}
	return all
}

// LiveTokens returns the tokens of workspaces that have not expired.
func (s *Server) LiveTokens() []Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	var live []Token
	for _, t := range s.tokens {
		if t.Scope != scopeAdmin && s.clock().Before(t.ExpiresAt) {
			live = append(live, *t)
		}
	}
	return live
}

// Secrets returns every secret that ever was here: the Admin API key, keys, tokens
// and assertions.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	secrets := []string{s.admin}
	for _, k := range s.keys {
		secrets = append(secrets, k.Secret)
	}
	for _, t := range s.tokens {
		secrets = append(secrets, t.Secret)
	}
	for _, a := range s.assertions {
		if a != "" {
			secrets = append(secrets, a)
		}
	}
	return secrets
}
