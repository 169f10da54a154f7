package fakelitellm

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// This file is who may do what. A key has the rights of the user whom it belongs
// to, within its allowed routes.

// The roles of users.
const (
	RoleAdmin  = "proxy_admin"
	RoleViewer = "proxy_admin_viewer"
	RoleUser   = "internal_user"
)

func (s *Server) authoriseLocked(c *call) *refusal {
	secret, ok := strings.CutPrefix(c.request.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok || secret == "":
		return authError("Authentication Error, No api key passed in.")
	case secret == s.master:
		return nil
	case !strings.HasPrefix(secret, "sk-"):
		return authError("Authentication Error, LiteLLM Virtual Key expected. Received=" + mask(secret) + ", expected to start with 'sk-'.")
	}
	i := slices.IndexFunc(s.keys, func(k *key) bool { return k.Secret == secret && s.knownLocked(k, c.now) })
	if i < 0 {
		return &refusal{http.StatusUnauthorized, "token_not_found_in_db", "key", fmt.Sprintf("Authentication Error, Invalid proxy server "+
			"token passed. Received API Key = %s, Key Hash (Token) =%s. Unable to find token in cache or `LiteLLM_VerificationTokenTable`",
			mask(secret), Hash(secret))}
	}
	c.key = s.keys[i]
	switch {
	case c.key.Blocked:
		return authError("Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin.")
	case expired(c.key.ExpiresAt, c.now):
		return &refusal{cmp.Or(c.knobs.ExpiredStatus, http.StatusBadRequest), "expired_key", mask(secret), fmt.Sprintf(
			"Authentication Error - Expired Key. Key Expiry time %s and current time %s", stamp(c.key.ExpiresAt), stamp(c.now))}
	}
	return s.mayLocked(c)
}

// mayLocked refuses what a key may not do that works.
func (s *Server) mayLocked(c *call) *refusal {
	routes := c.key.AllowedRoutes
	if c.key.weak {
		routes = []string{"info_routes"}
	}
	if len(routes) > 0 && !slices.ContainsFunc(routes, c.within) {
		return &refusal{http.StatusForbidden, "auth_error", "None", fmt.Sprintf("Virtual key is not allowed to call this route. "+
			"Only allowed to call routes: ['%s']. Tried to call route: %s", strings.Join(routes, "', '"), c.path)}
	}
	role := s.users[c.key.UserID]
	if c.plane != management || role == RoleAdmin || role == RoleViewer && c.method == http.MethodGet {
		return nil
	}
	return authError(fmt.Sprintf("Authentication Error, Only proxy admin can be used to generate, delete, update info for new "+
		"keys/users/teams. Route=%s. Your role=%s. Your user_id=%s", c.path, cmp.Or(role, "unknown"), cmp.Or(c.key.UserID, "unknown")))
}

// within reports whether a route, or a group of them, covers a request.
func (c *call) within(allowed string) bool {
	switch allowed {
	case "llm_api_routes":
		return c.plane == dataPlane
	case "info_routes":
		return c.plane != dataPlane && c.method == http.MethodGet
	case "management_routes":
		return c.plane != dataPlane
	}
	return allowed == c.path
}

func authError(message string) *refusal {
	return &refusal{http.StatusUnauthorized, "auth_error", "None", message}
}

// mask is how LiteLLM shows a key.
func mask(secret string) string { return "sk-..." + secret[max(0, len(secret)-4):] }

// knownLocked reports whether the proxy knows a key that it is called with, expired
// or not.
func (s *Server) knownLocked(k *key, now time.Time) bool {
	delay := s.knobs.DataPlaneDelay
	if s.users[k.UserID] == RoleAdmin {
		delay = s.knobs.AdminKeyDelay
	}
	if k.Deleted {
		return now.Sub(k.deletedAt) < s.knobs.DeletedAcceptedFor
	}
	return k.planted || now.Sub(k.CreatedAt) >= delay
}

// acceptedLocked reports whether the data plane accepts a key.
func (s *Server) acceptedLocked(k *key, now time.Time) bool {
	return s.knownLocked(k, now) && !k.Blocked && !expired(k.ExpiresAt, now)
}

// expired reports whether a time of expiry, zero for none, has come.
func expired(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }
