package fakelitellm

import (
	"net/http"
	"slices"
)

// This file is teams and users, and what people do behind the engine's back, in
// LiteLLM's own pages: nothing of that is a request.

// getTeam is GET /team/info. It lists all keys of the team along.
func (s *Server) getTeam(c *call) (any, *refusal) {
	query, refused := c.query("team_id")
	if refused != nil {
		return nil, refused
	}
	id := query.Get("team_id")
	if !s.teams[id] {
		return nil, &refusal{http.StatusNotFound, "internal_server_error", "None", "{'message': 'Team not found, passed team id: " + id + ".'}"}
	}
	return object{
		"team_id": id, "team_info": object{"team_id": id, "team_alias": "Team " + id, "blocked": false}, "team_memberships": []any{},
		"keys": s.rowsLocked(func(k *key) bool { return k.TeamID == id }),
	}, nil
}

// getUser is GET /user/info. It lists all keys of the user along.
func (s *Server) getUser(c *call) (any, *refusal) {
	query, refused := c.query("user_id")
	if refused != nil {
		return nil, refused
	}
	id := query.Get("user_id")
	role, ok := s.users[id]
	if !ok && c.knobs.UnknownUserRefused {
		return nil, &refusal{http.StatusNotFound, "not_found_error", "user_id", "User " + id + " not found"}
	}
	var info any
	if ok {
		info = object{"user_id": id, "user_role": role, "user_email": nil, "models": []any{}}
	}
	return object{
		"user_id": id, "user_info": info, "teams": []any{},
		"keys": s.rowsLocked(func(k *key) bool { return k.UserID == id }),
	}, nil
}

func (s *Server) rowsLocked(which func(*key) bool) []any {
	rows := []any{}
	for _, k := range s.keys {
		if !k.Deleted && which(k) {
			rows = append(rows, k.with(object{"token": k.Hash}))
		}
	}
	return rows
}

// Alive reports whether the proxy would accept a key now.
func (s *Server) Alive(secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.keys, func(k *key) bool { return k.Secret == secret && s.acceptedLocked(k, s.clock()) })
}

// LiveKeys returns the keys that exist and are not expired, in the order of their
// creation, without those of admins.
func (s *Server) LiveKeys() []Key { return s.live(false) }

// AdminKeys returns those of admins.
func (s *Server) AdminKeys() []Key { return s.live(true) }

func (s *Server) live(admins bool) []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	var live []Key
	for _, k := range s.keys {
		if !k.Deleted && !expired(k.ExpiresAt, s.clock()) && (s.users[k.UserID] == RoleAdmin) == admins {
			live = append(live, k.Key)
		}
	}
	return live
}

// PlantKey makes a key that somebody else owns, without any bound. Team and user
// may be empty.
func (s *Server) PlantKey(teamID, userID, alias string) Key {
	return s.plant(Key{TeamID: teamID, UserID: userID, Alias: alias})
}

// PlantAdminKey makes another key of the admin.
func (s *Server) PlantAdminKey(alias string) Key { return s.plant(Key{UserID: s.user, Alias: alias}) }

func (s *Server) plant(k Key) Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	k.CreatedAt, k.Secret = s.clock(), newSecret()
	made := s.addLocked(k)
	made.planted = true
	return made.Key
}

// ChangeKey changes a key. It reports whether there was one.
func (s *Server) ChangeKey(hash string, change func(*Key)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if k.Hash == hash && !k.Deleted {
			change(&k.Key)
			return true
		}
	}
	return false
}

// DeleteKey deletes a key. It reports whether there was one.
func (s *Server) DeleteKey(hash string) bool {
	return s.ChangeKey(hash, func(k *Key) { k.Deleted = true })
}

// AddTeam makes a team, AddUser a user with a role.
func (s *Server) AddTeam(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.teams[id] = true
}

// AddUser is described at AddTeam.
func (s *Server) AddUser(id, role string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[id] = role
}

// DeleteTeam deletes a team, and its keys with it.
func (s *Server) DeleteTeam(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.teams, id)
	for _, k := range s.keys {
		if k.TeamID == id && !k.Deleted {
			k.Deleted, k.deletedAt = true, s.clock()
		}
	}
}
