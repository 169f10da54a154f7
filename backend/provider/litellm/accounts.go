package litellm

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file is teams and users. What LiteLLM answers about them is known from its
// documentation and from what others have seen, not from its source: that a team
// which does not exist is 404, and that a user who does not exist is 404 in newer
// versions and one without user_info in older ones.

var (
	opGetTeam = operation{name: "read team", method: http.MethodGet, path: "/team/info", enough: "team_id"}
	opGetUser = operation{name: "read user", method: http.MethodGet, path: "/user/info", enough: "user_info"}
)

// The roles of users whose keys may manage the proxy, or read all of it.
const (
	roleAdmin  = "proxy_admin"
	roleViewer = "proxy_admin_viewer"
)

// getTeam fails if a team cannot be read.
func (c *client) getTeam(ctx context.Context, team string) error {
	type answer struct {
		ID string `json:"team_id"`
	}
	_, err := do(ctx, c, opGetTeam, url.Values{fieldTeam: {team}}, nil, func(a *answer) bool { return a.ID == team })
	return err
}

// getUser returns the role of a user.
func (c *client) getUser(ctx context.Context, user string) (role string, err error) {
	type answer struct {
		ID   string          `json:"user_id"`
		Info json.RawMessage `json:"user_info"`
	}
	var info struct {
		ID   string `json:"user_id"`
		Role string `json:"user_role"`
	}
	res, err := do(ctx, c, opGetUser, url.Values{fieldUser: {user}}, nil, func(a *answer) bool {
		return a.ID == user && (string(a.Info) == "null" || json.Unmarshal(a.Info, &info) == nil && info.ID == user)
	})
	if err != nil {
		return "", err
	}
	if string(res.Info) == "null" {
		return "", fail(opGetUser, provider.NotFound, "there is no such user")
	}
	return info.Role, nil
}

// CheckRoleAt asks for the role's team and user. A key has the rights of its user,
// which must not be an admin's.
func (c *client) CheckRoleAt(ctx context.Context, role provider.Values) error {
	if team := role.String(fieldTeam); team != "" {
		switch err := c.getTeam(ctx, team); {
		case provider.IsKind(err, provider.NotFound):
			return provider.FieldErrorf(fieldTeam, "there is no team %q at this proxy", team)
		case err != nil:
			return err
		}
	}
	user := role.String(fieldUser)
	err := c.refuseManager(ctx, fieldUser, user)
	if provider.IsKind(err, provider.NotFound) {
		return provider.FieldErrorf(fieldUser, "there is no user %q at this proxy", user)
	}
	return err
}

// refuseManager returns a *FieldError for a user whose keys could do more than call
// models. No user is none.
func (c *client) refuseManager(ctx context.Context, field, user string) error {
	if user == "" {
		return nil
	}
	switch role, err := c.getUser(ctx, user); {
	case err != nil:
		return err
	case role == roleAdmin || role == roleViewer:
		return provider.FieldErrorf(field, "user %q is %s, and has keys that manage the proxy; give an ordinary user's", user, role)
	}
	return nil
}
