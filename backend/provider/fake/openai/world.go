package fakeopenai

import (
	"slices"
	"time"
)

// A Key is a project API key as it is in the world, whatever lists show.
type Key struct {
	ID, Name, ProjectID string
	// ServiceAccountID is empty for a person's key.
	ServiceAccountID string
	// Scopes are empty for a key that may do all that its owner may.
	Scopes    []string
	CreatedAt time.Time
	// ExpiresAt is zero for a key that does not expire.
	ExpiresAt time.Time
	// LastUsedAt is zero for a key that the data plane never served.
	LastUsedAt time.Time
	// Deleted is also true if the key's service account was deleted.
	Deleted bool
	// Secret is what the data plane takes.
	Secret string
}

// A ServiceAccount is an account of a project.
type ServiceAccount struct {
	ID, Name, ProjectID string
	Role                string // "owner", "member" or "none"
	CreatedAt           time.Time
	Deleted             bool
}

// An AdminKey is an admin API key of the organization.
type AdminKey struct {
	ID, Name             string
	CreatedAt, ExpiresAt time.Time
	LastUsedAt           time.Time // zero if it never called
	Deleted              bool
	ReadOnly             bool
	// ServiceAccountID is empty for a person's key.
	ServiceAccountID string
	Secret           string
}

// A Request is one that arrived.
type Request struct {
	Op                     Op
	Method, Path, RawQuery string
	// Status is what was answered; 0 while it is under way, and if the connection
	// was dropped before any answer.
	Status int
	At     time.Time
	// Fault says which fault it met; empty for none.
	Fault string
	// ID is the X-Request-Id of the answer.
	ID string
}

// Alive reports whether the data plane would accept a key now.
func (s *Server) Alive(secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.bySecret[secret]
	return k != nil && s.acceptedLocked(k, s.clock())
}

// LiveKeys returns the project keys that exist and are not expired, in the order
// of their creation.
func (s *Server) LiveKeys() []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	var live []Key
	for _, k := range s.keys {
		if !k.Deleted && !expired(k.ExpiresAt, now) {
			live = append(live, k.world())
		}
	}
	return live
}

// Keys returns all project keys that were ever made.
func (s *Server) Keys() []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Key, len(s.keys))
	for i, k := range s.keys {
		all[i] = k.world()
	}
	return all
}

// Secrets returns every secret that ever was, admin keys included.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var secrets []string
	for _, a := range s.admins {
		secrets = append(secrets, a.Secret)
	}
	for _, k := range s.keys {
		secrets = append(secrets, k.Secret)
	}
	return secrets
}

// ServiceAccounts returns the accounts that exist in a project.
func (s *Server) ServiceAccounts(project string) []ServiceAccount {
	s.mu.Lock()
	defer s.mu.Unlock()
	var accounts []ServiceAccount
	if p := s.projectLocked(project); p != nil {
		for _, a := range p.accounts {
			if !a.Deleted {
				accounts = append(accounts, a.ServiceAccount)
			}
		}
	}
	return accounts
}

// AdminKeys returns all admin keys that were ever made.
func (s *Server) AdminKeys() []AdminKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]AdminKey, len(s.admins))
	for i, a := range s.admins {
		all[i] = a.AdminKey
	}
	return all
}

// AdminAlive reports whether admin paths would accept an admin key now.
func (s *Server) AdminAlive(secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.adminLocked(secret)
	return a != nil && s.adminAcceptedLocked(a, s.clock())
}

// Usage returns how many data plane requests a key has been served.
func (s *Server) Usage(keyID string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.byID[keyID]; k != nil {
		return k.uses
	}
	return 0
}

// Requests returns the requests that arrived since the last ResetRequests.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Request, len(s.requests))
	for i, r := range s.requests {
		all[i] = *r
	}
	return all
}

// Count returns how many requests of an operation arrived, answered or not.
func (s *Server) Count(op Op) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if op == OpAny || r.Op == op {
			n++
		}
	}
	return n
}

// ResetRequests forgets the requests so far.
func (s *Server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

func (k *key) world() Key {
	out := k.Key
	out.Scopes = slices.Clone(k.Scopes)
	return out
}

// expired reports whether a time of expiry, zero for none, has come.
func expired(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }
