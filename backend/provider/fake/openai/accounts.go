package fakeopenai

import "time"

// This file is service accounts (openai-go v3.95.0,
// adminorganizationprojectserviceaccount.go).

const (
	roleOwner  = "owner"
	roleMember = "member"
	roleNone   = "none" // no access to the project
)

// An account is a service account of a project.
type account struct {
	ServiceAccount
	born    time.Time
	project *project
	keys    []*key
	place   int // in project.accounts
}

func (s *Server) addAccountLocked(p *project, name, role string, now time.Time) *account {
	a := &account{born: now, project: p, place: len(p.accounts), ServiceAccount: ServiceAccount{
		ID: "svc_acct_" + random(24), Name: name, ProjectID: p.id, Role: role, CreatedAt: now.Truncate(time.Second),
	}}
	p.accounts = append(p.accounts, a)
	s.accounts[a.ID] = a
	return a
}

// delete deletes an account and with it all its keys.
func (a *account) delete(now time.Time) {
	a.Deleted = true
	for _, k := range a.keys {
		k.delete(now)
	}
}

// accountLocked finds the account that a path names.
func (s *Server) accountLocked(c *call) (*account, *refusal) {
	p, refused := s.openProjectLocked(c)
	if refused != nil {
		return nil, refused
	}
	id := c.ids["account"]
	a := s.accounts[id]
	if a == nil || a.project != p || a.Deleted || c.now.Sub(a.born) < c.knobs.YoungAccountNotFoundFor {
		return nil, notFound("service account", id)
	}
	return a, nil
}

// owner is the account as its keys show it.
func (a *account) owner() object {
	return object{{"id", a.ID}, {"name", a.Name}, {"role", a.Role}, {"created_at", a.CreatedAt.Unix()}}
}

func (a *account) shown() object {
	return append(object{{"object", "organization.project.service_account"}}, a.owner()...)
}

// createAccount is POST …/service_accounts. Without create_service_account_only
// it makes a key too, which has no scopes.
func (s *Server) createAccount(c *call) (object, *refusal) {
	p, refused := s.openProjectLocked(c)
	if refused != nil {
		return nil, refused
	}
	f := c.fields()
	f.require("name")
	name, _ := f.text("name")
	checkName(c, f, name)
	bare := f.flag("create_service_account_only")
	f.allowNull(expiresIn) // "If omitted or null, the key does not expire"
	if _, given := f.raw[expiresIn]; bare && given {
		f.refuse(badRequest("'expires_in_seconds' cannot be used when 'create_service_account_only' is true.", expiresIn))
	}
	expiry := c.expiry(f, !bare)
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	if bare {
		a := s.addAccountLocked(p, name, roleNone, c.now)
		return append(a.shown(), member{"api_key", nil}), nil
	}
	a := s.addAccountLocked(p, name, roleMember, c.now)
	k := s.addKeyLocked(p, a, defaultKeyName, nil, expiry, c.now)
	return append(a.shown(), member{"api_key", k.created()}), nil
}

// getAccount is GET …/service_accounts/{account}.
func (s *Server) getAccount(c *call) (object, *refusal) {
	if refused := c.plain(); refused != nil {
		return nil, refused
	}
	a, refused := s.accountLocked(c)
	if refused != nil {
		return nil, refused
	}
	return a.shown(), nil
}

// updateAccount is POST …/service_accounts/{account}. A role cannot be taken
// away: only member and owner are accepted.
func (s *Server) updateAccount(c *call) (object, *refusal) {
	a, refused := s.accountLocked(c)
	if refused != nil {
		return nil, refused
	}
	f := c.fields()
	name, renames := f.text("name")
	checkName(c, f, name)
	role, promotes := f.text("role")
	if promotes && role != roleMember && role != roleOwner {
		f.refuse(badRequestCode("Invalid value for 'role': expected 'member' or 'owner'.", "role", "invalid_value"))
	}
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	if !renames && !promotes {
		return nil, badRequest("Provide at least one of 'name' or 'role'.", "")
	}
	if renames {
		a.Name = name
	}
	if promotes {
		a.Role = role
	}
	return a.shown(), nil
}

// deleteAccount is DELETE …/service_accounts/{account}.
func (s *Server) deleteAccount(c *call) (object, *refusal) {
	if refused := c.plain(); refused != nil {
		return nil, refused
	}
	a, refused := s.accountLocked(c)
	if refused != nil {
		return nil, refused
	}
	a.delete(c.now)
	return gone("organization.project.service_account.deleted", a.ID), nil
}

// listAccounts is GET …/service_accounts.
func (s *Server) listAccounts(c *call) (object, *refusal) {
	query, refused := c.listQuery()
	if refused != nil {
		return nil, refused
	}
	p, refused := s.openProjectLocked(c)
	if refused != nil {
		return nil, refused
	}
	placeOf := func(id string) int {
		if a := s.accounts[id]; a != nil && a.project == p {
			return a.place
		}
		return -1
	}
	return page(c, query, p.accounts, placeOf, func(a *account) bool {
		return !a.Deleted && c.now.Sub(a.born) >= c.knobs.HideFor
	})
}
