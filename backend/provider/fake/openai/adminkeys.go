package fakeopenai

import (
	"slices"
	"time"
)

// This file is admin API keys (openai-go v3.95.0, adminorganizationadminapikey.go).

// An adminKey is an admin API key.
type adminKey struct {
	AdminKey
	born     time.Time // AdminKey.CreatedAt is cut to the second; zero for keys that were there first
	goodFrom time.Time // refused before; zero for never
}

// addAdminLocked makes an admin key. A goodFrom and an expiry of zero are none.
func (s *Server) addAdminLocked(name, secret string, goodFrom, expiry time.Time) *adminKey {
	now := s.clock()
	a := &adminKey{born: now, goodFrom: goodFrom, AdminKey: AdminKey{
		ID: "key_" + random(24), Name: name, Secret: secret,
		CreatedAt: now.Truncate(time.Second), ExpiresAt: expiry,
	}}
	s.admins = append(s.admins, a)
	return a
}

// adminLocked finds an admin key by its secret.
func (s *Server) adminLocked(secret string) *adminKey {
	for _, a := range s.admins {
		if a.Secret == secret {
			return a
		}
	}
	return nil
}

// adminAcceptedLocked reports whether admin paths accept a key.
func (s *Server) adminAcceptedLocked(a *adminKey, now time.Time) bool {
	return !a.Deleted && !expired(a.ExpiresAt, now) && !now.Before(a.goodFrom)
}

// shown is an admin key as it is read. Its secret's ends tell which it is.
func (a *adminKey) shown() object {
	return object{
		{"object", "organization.admin_api_key"},
		{"id", a.ID},
		{"name", a.Name},
		{"redacted_value", a.Secret[:min(8, len(a.Secret))] + "..." + a.Secret[max(0, len(a.Secret)-3):]},
		{"created_at", a.CreatedAt.Unix()},
		{"expires_at", unix(a.ExpiresAt)},
		{"last_used_at", unix(a.LastUsedAt)},
		{"owner", a.owner()},
	}
}

// owner is who an admin key belongs to. By the field's description that is a
// user; the specification's example shows a service account (OpenAPI spec 2.3.0).
func (a *adminKey) owner() object {
	kind, id, name := "user", "user_ada", "Ada"
	if a.ServiceAccountID != "" {
		kind, id, name = "service_account", a.ServiceAccountID, "Terraform"
	}
	return object{
		{"type", kind},
		{"object", "organization." + kind},
		{"id", id},
		{"name", name},
		{"created_at", 0},
		{"role", roleOwner},
	}
}

// createAdminKey is POST /v1/organization/admin_api_keys. A weak key makes weak
// keys; it is refused before it comes here.
func (s *Server) createAdminKey(c *call) (object, *refusal) {
	f := c.fields()
	f.require("name")
	name, _ := f.text("name")
	checkName(c, f, name)
	expiry := adminExpiry(c, f)
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	a := s.addAdminLocked(name, newSecret("sk-admin-"), c.now.Add(c.knobs.AdminKeyDelay), expiry)
	a.ReadOnly = c.knobs.WeakerAdminKeys
	if c.knobs.AdminKeysOfServiceAccount {
		a.ServiceAccountID = "sa_" + random(24)
	}
	return append(a.shown(), member{"value", a.Secret}), nil
}

// adminExpiry reads expires_in_seconds. The policies for project keys do not
// apply.
func adminExpiry(c *call, f *fields) time.Time {
	seconds, given := f.seconds()
	life := time.Duration(seconds) * time.Second
	if most := c.knobs.AdminKeyMaxExpiry; most > 0 && (!given || life > most) {
		life, given = most, true
	}
	if !given {
		return time.Time{}
	}
	return c.now.Add(life).Truncate(time.Second)
}

// adminKeyLocked finds the admin key that a path names.
func (s *Server) adminKeyLocked(c *call) (*adminKey, *refusal) {
	if refused := c.plain(); refused != nil {
		return nil, refused
	}
	for _, a := range s.admins {
		if a.ID == c.ids["key"] && !a.Deleted {
			return a, nil
		}
	}
	return nil, notFound("admin API key", c.ids["key"])
}

// getAdminKey is GET /v1/organization/admin_api_keys/{key}.
func (s *Server) getAdminKey(c *call) (object, *refusal) {
	a, refused := s.adminKeyLocked(c)
	if refused != nil {
		return nil, refused
	}
	return a.shown(), nil
}

// deleteAdminKey is DELETE /v1/organization/admin_api_keys/{key}.
func (s *Server) deleteAdminKey(c *call) (object, *refusal) {
	a, refused := s.adminKeyLocked(c)
	if refused != nil {
		return nil, refused
	}
	if a == c.admin && c.knobs.AdminSelfDeleteForbidden {
		return nil, forbidden("An admin API key cannot delete itself.")
	}
	a.Deleted = true
	return gone("organization.admin_api_key.deleted", a.ID), nil
}

// listAdminKeys is GET /v1/organization/admin_api_keys.
func (s *Server) listAdminKeys(c *call) (object, *refusal) {
	query, refused := c.listQuery("order")
	if refused != nil {
		return nil, refused
	}
	order, refused := oneOf(query, "order", "asc", "desc")
	if refused != nil {
		return nil, refused
	}
	items := s.admins
	if order == "desc" {
		items = slices.Clone(items)
		slices.Reverse(items)
	}
	return page(c, query, items, placeIn(items), func(a *adminKey) bool {
		return !a.Deleted && c.now.Sub(a.born) >= c.knobs.AdminKeyHideFor
	})
}
