package fakeopenai

import "time"

// This file is what people do behind the engine's back, in OpenAI's console.
// Nothing here is a request: no fault, no rate, no log.

// AddProject adds an active project. A project of that id that is there already
// is left as it is.
func (s *Server) AddProject(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addProjectLocked(id)
}

// ArchiveProject archives a project: its keys stop working, and nothing in it
// can be read or changed any more.
func (s *Server) ArchiveProject(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.projectLocked(id); p != nil && p.archivedAt.IsZero() {
		p.archivedAt = s.clock()
	}
}

// AddAdminKey makes an admin key that may do everything.
func (s *Server) AddAdminKey() (id, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.addAdminLocked("console", newSecret("sk-admin-"), time.Time{}, time.Time{})
	return a.ID, a.Secret
}

// PlantAdminKey makes an admin key that may do everything, of a chosen name and
// secret: of one that ends as another does, the redacted values are the same.
func (s *Server) PlantAdminKey(name, secret string) AdminKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addAdminLocked(name, secret, time.Time{}, time.Time{}).AdminKey
}

// RevokeAdminKey deletes an admin key. It reports whether there was one.
func (s *Server) RevokeAdminKey(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.admins {
		if a.ID == id && !a.Deleted {
			a.Deleted = true
			return true
		}
	}
	return false
}

// DeleteKey deletes a project key. It reports whether there was one.
func (s *Server) DeleteKey(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.byID[id]
	if k == nil || k.Deleted {
		return false
	}
	k.delete(s.clock())
	return true
}

// PlantKey makes a key that a person owns and that does not expire. It makes the
// project if there is none.
func (s *Server) PlantKey(project, name string) Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.addKeyLocked(s.addProjectLocked(project), nil, name, nil, time.Time{}, s.clock())
	return k.world()
}

// PlantServiceAccount makes an account with the role member, and the project if
// there is none.
func (s *Server) PlantServiceAccount(project, name string) ServiceAccount {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addAccountLocked(s.addProjectLocked(project), name, roleMember, s.clock()).ServiceAccount
}

// PlantServiceAccountKey makes a key of an account that does not expire if
// expiresIn is zero. It returns the zero Key if there is no such account.
func (s *Server) PlantServiceAccountKey(accountID, name string, expiresIn time.Duration) Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[accountID]
	if a == nil || a.Deleted {
		return Key{}
	}
	now, expiry := s.clock(), time.Time{}
	if expiresIn > 0 {
		expiry = now.Add(expiresIn)
	}
	return s.addKeyLocked(a.project, a, name, nil, expiry, now).world()
}

// Age gives a key, an admin key or a service account another past: when it was
// made, and when it was last used, zero for never. An account has no last use.
// Lists keep their order. It reports whether there is anything of that id.
func (s *Server) Age(id string, created, lastUsed time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	made, used := created.Truncate(time.Second), lastUsed.Truncate(time.Second)
	if k := s.byID[id]; k != nil && !k.Deleted {
		k.born, k.CreatedAt, k.LastUsedAt = created, made, used
		return true
	}
	if a := s.accounts[id]; a != nil && !a.Deleted {
		a.born, a.CreatedAt = created, made
		return true
	}
	for _, a := range s.admins {
		if a.ID == id && !a.Deleted {
			a.born, a.CreatedAt, a.LastUsedAt = created, made, used
			return true
		}
	}
	return false
}

// SetRole gives an account a role: "owner", "member" or "none". It reports
// whether there is such an account.
func (s *Server) SetRole(accountID, role string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[accountID]
	if a == nil || a.Deleted {
		return false
	}
	a.Role = role
	return true
}

// DeleteServiceAccount deletes an account and all its keys. It reports whether
// there was one.
func (s *Server) DeleteServiceAccount(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[id]
	if a == nil || a.Deleted {
		return false
	}
	a.delete(s.clock())
	return true
}

// A World is what exists in an organization: what Restore makes again.
type World struct {
	AdminKeys       []AdminKey
	ServiceAccounts []ServiceAccount
	Keys            []Key
}

// World returns all that exists, and is not deleted.
func (s *Server) World() World {
	s.mu.Lock()
	defer s.mu.Unlock()
	var w World
	for _, a := range s.admins {
		if !a.Deleted {
			w.AdminKeys = append(w.AdminKeys, a.AdminKey)
		}
	}
	for _, p := range s.projects {
		for _, a := range p.accounts {
			if !a.Deleted {
				w.ServiceAccounts = append(w.ServiceAccounts, a.ServiceAccount)
			}
		}
	}
	for _, k := range s.keys {
		if !k.Deleted {
			w.Keys = append(w.Keys, k.world())
		}
	}
	return w
}

// Restore adds all of a world to what is there, with the ids, secrets and times that
// it has: an organization to which a Vault comes back that was restored from a
// backup. Projects are made as needed.
func (s *Server) Restore(w World) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, admin := range w.AdminKeys {
		a := s.addAdminLocked(admin.Name, admin.Secret, time.Time{}, time.Time{})
		a.AdminKey, a.born = admin, admin.CreatedAt
	}
	for _, account := range w.ServiceAccounts {
		a := s.addAccountLocked(s.addProjectLocked(account.ProjectID), account.Name, account.Role, account.CreatedAt)
		delete(s.accounts, a.ID)
		a.ServiceAccount = account
		s.accounts[a.ID] = a
	}
	for _, made := range w.Keys {
		k := s.addKeyLocked(s.addProjectLocked(made.ProjectID), s.accounts[made.ServiceAccountID], made.Name, nil, made.ExpiresAt, made.CreatedAt)
		delete(s.byID, k.ID)
		delete(s.bySecret, k.Secret)
		k.Key = made
		s.byID[k.ID], s.bySecret[k.Secret] = k, k
	}
}
