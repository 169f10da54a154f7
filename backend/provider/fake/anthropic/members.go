package fakeanthropic

import "slices"

// This file is service accounts and the workspaces that they are members of.

// createAccount is POST /service_accounts.
func (s *Server) createAccount(c *call) (any, *refusal) {
	f := c.fields()
	a := account{id: newID("svac")}
	var description, role string
	f.need("name", &a.name)
	f.read("description", &description)
	if f.read("organization_role", &role) && role != "developer" {
		f.refuse("organization_role: only developer may be set with a token")
	}
	if !slug.MatchString(a.name) {
		f.refuse("name: Input should be a slug")
	}
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	if slices.ContainsFunc(s.accounts, func(other *account) bool { return other.name == a.name }) {
		return nil, conflict("a service account of that name exists")
	}
	s.accounts = append(s.accounts, &a)
	return a.shown(), nil
}

func (a *account) shown() object {
	return object{"type": "service_account", "id": a.id, "name": a.name, "archived_at": stamp(a.archivedAt)}
}

// archiveAccount is POST /service_accounts/{id}/archive.
func (s *Server) archiveAccount(c *call) (any, *refusal) {
	a := s.accountLocked(c.ids[0])
	if a == nil {
		return nil, notFound()
	}
	for _, r := range s.rules {
		if r.account == a.id && r.archivedAt.IsZero() {
			return nil, badRequest("a live rule targets the service account")
		}
	}
	if a.archivedAt.IsZero() {
		a.archivedAt = c.now
	}
	return a.shown(), nil
}

// addMember is POST /workspaces/{id}/service_accounts.
func (s *Server) addMember(c *call) (any, *refusal) {
	w := s.workspaceLocked(c.ids[0])
	if w == nil {
		return nil, notFound()
	}
	f := c.fields()
	var id, role string
	f.need("service_account_id", &id)
	f.need("workspace_role", &role)
	roles := []string{"workspace_user", "workspace_developer", "workspace_restricted_developer", "workspace_admin"}
	switch a := s.accountLocked(id); {
	case !slices.Contains(roles, role):
		f.refuse("workspace_role: unknown")
	case a == nil || !a.archivedAt.IsZero():
		f.refuse("service_account_id: no such service account")
	case !w.archivedAt.IsZero():
		f.refuse("the workspace is archived")
	}
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	w.members[id] = true
	return object{"type": "service_account_workspace_member", "service_account_id": id, "workspace_id": w.id, "workspace_role": role}, nil
}

// removeMember is DELETE /workspaces/{id}/service_accounts/{sub}. It is idempotent.
func (s *Server) removeMember(c *call) (any, *refusal) {
	if _, refused := c.query(); refused != nil {
		return nil, refused
	}
	w, a := s.workspaceLocked(c.ids[0]), s.accountLocked(c.ids[1])
	switch {
	case c.ids[0] == defaultWorkspace:
		return nil, badRequest("a service account cannot leave the default workspace")
	case w == nil || a == nil:
		return nil, notFound()
	case !w.archivedAt.IsZero():
		return nil, badRequest("the workspace is archived")
	}
	delete(w.members, a.id)
	for _, t := range s.tokens {
		if c.knobs.RemovalKillsTokens && t.WorkspaceID == w.id && t.ServiceAccountID == a.id && c.now.Before(t.ExpiresAt) {
			t.ExpiresAt = c.now
		}
	}
	return object{"type": "service_account_workspace_member_deleted", "service_account_id": a.id, "workspace_id": w.id}, nil
}
