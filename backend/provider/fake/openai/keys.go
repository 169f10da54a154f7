package fakeopenai

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// This file is project API keys (openai-go v3.95.0, adminorganizationprojectapikey.go
// and adminorganizationprojectserviceaccountapikey.go).

// A key is a project API key.
type key struct {
	Key
	born      time.Time // Key.CreatedAt is cut to the second
	deletedAt time.Time
	uses      int
	project   *project
	account   *account // nil for a person's key
	place     int      // in project.keys
}

// addKeyLocked makes a key. An expiry of zero is none.
func (s *Server) addKeyLocked(p *project, a *account, name string, scopes []string, expiry, now time.Time) *key {
	k := &key{born: now, project: p, account: a, Key: Key{
		ID: "key_" + random(24), Name: name, ProjectID: p.id, Scopes: slices.Clone(scopes),
		CreatedAt: now.Truncate(time.Second), ExpiresAt: expiry, Secret: newSecret("sk-proj-"),
	}}
	if a != nil {
		k.ServiceAccountID, k.Secret = a.ID, newSecret("sk-svcacct-")
		a.keys = append(a.keys, k)
	}
	k.place = len(p.keys)
	p.keys = append(p.keys, k)
	s.keys = append(s.keys, k)
	s.byID[k.ID], s.bySecret[k.Secret] = k, k
	return k
}

func (k *key) delete(now time.Time) {
	if !k.Deleted {
		k.Deleted, k.deletedAt = true, now
	}
}

// keyLocked finds the key that a path names.
func (s *Server) keyLocked(c *call) (*key, *refusal) {
	p, refused := s.openProjectLocked(c)
	if refused != nil {
		return nil, refused
	}
	id := c.ids["key"]
	k := s.byID[id]
	if k == nil || k.project != p || k.Deleted || c.now.Sub(k.born) < c.knobs.YoungNotFoundFor {
		return nil, notFound("API key", id)
	}
	return k, nil
}

// createKey is POST …/service_accounts/{account}/api_keys.
func (s *Server) createKey(c *call) (object, *refusal) {
	a, refused := s.accountLocked(c)
	if refused != nil {
		return nil, refused
	}
	f := c.fields()
	name, named := f.text("name")
	checkName(c, f, name)
	if !named {
		name = defaultKeyName
	}
	scopes, _ := f.texts("scopes")
	expiry := c.expiry(f, true)
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	return s.addKeyLocked(a.project, a, name, scopes, expiry, c.now).created(), nil
}

// defaultKeyName is the name of a key that was given none.
const defaultKeyName = "Secret Key"

// expiry reads expires_in_seconds under the policies for project keys. With
// mandatory, the policy applies to a request that leaves it out too.
func (c *call) expiry(f *fields, mandatory bool) time.Time {
	seconds, given := f.seconds()
	life, k := time.Duration(seconds)*time.Second, c.knobs
	switch {
	case k.ExpiryPolicy > 0 && mandatory && !given:
		f.refuse(badRequest("The expiry policy requires '"+expiresIn+"'.", expiresIn))
	case k.ExpiryPolicy > 0 && life > k.ExpiryPolicy:
		f.refuse(badRequest(fmt.Sprintf("'%s' exceeds the expiry policy's maximum of %d.", expiresIn, int(k.ExpiryPolicy.Seconds())), expiresIn))
	}
	if k.MaxExpiry > 0 && (!given || life > k.MaxExpiry) {
		life, given = k.MaxExpiry, true
	}
	if !given || k.IgnoreExpiry {
		return time.Time{}
	}
	return c.now.Add(life).Truncate(time.Second)
}

// created is a new key, with its secret; nothing else shows that.
func (k *key) created() object {
	return object{
		{"object", "organization.project.service_account.api_key"},
		{"id", k.ID},
		{"name", k.Name},
		{"value", k.Secret},
		{"created_at", k.CreatedAt.Unix()},
		{"expires_at", unix(k.ExpiresAt)},
	}
}

// shown is a key as it is read. Its scopes are not in the answer.
func (k *key) shown() object {
	return object{
		{"object", "organization.project.api_key"},
		{"id", k.ID},
		{"name", k.Name},
		{"redacted_value", k.Secret[:6] + "..." + k.Secret[len(k.Secret)-3:]},
		{"created_at", k.CreatedAt.Unix()},
		{"last_used_at", unix(k.LastUsedAt)},
		{"expires_at", unix(k.ExpiresAt)},
		{"owner_project_access", k.ownerAccess()},
		{"owner", k.owner()},
	}
}

// ownerAccess tells whether the key's owner has access to the project.
func (k *key) ownerAccess() string {
	if k.account != nil && k.account.Role == roleNone {
		return "inactive"
	}
	return "active"
}

func (k *key) owner() object {
	if k.account != nil {
		return object{{"type", "service_account"}, {"service_account", k.account.owner()}}
	}
	return object{{"type", "user"}, {"user", object{
		{"id", "user_ada"},
		{"name", "Ada"},
		{"email", "ada@example.com"},
		{"role", roleOwner},
		{"created_at", k.project.createdAt.Unix()},
	}}}
}

// getKey is GET …/api_keys/{key}.
func (s *Server) getKey(c *call) (object, *refusal) {
	if refused := c.plain(); refused != nil {
		return nil, refused
	}
	k, refused := s.keyLocked(c)
	if refused != nil {
		return nil, refused
	}
	return k.shown(), nil
}

// updateKey is POST …/api_keys/{key}. It needs one field at least, takes no null,
// and changes all or nothing. Empty scopes lift every restriction.
func (s *Server) updateKey(c *call) (object, *refusal) {
	if c.knobs.UpdateUnsupported {
		return nil, &refusal{status: http.StatusMethodNotAllowed, kind: invalidRequest, message: "Not allowed to POST on this API key."}
	}
	k, refused := s.keyLocked(c)
	if refused != nil {
		return nil, refused
	}
	f := c.fields()
	scopes, newScopes := f.texts("scopes")
	expiry := c.expiry(f, false)
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	if len(f.raw) == 0 {
		return nil, badRequest("Provide at least one of 'scopes' or 'expires_in_seconds'.", "")
	}
	if expired(k.ExpiresAt, c.now) {
		return nil, badRequest("Expired API keys cannot be updated.", "")
	}
	if newScopes {
		k.Scopes = scopes
	}
	if _, moves := f.raw[expiresIn]; moves {
		k.ExpiresAt = expiry
	}
	return k.shown(), nil
}

// deleteKey is DELETE …/api_keys/{key}. It works for keys of service accounts
// since October 2026 (openai-go 3.85.1). A second time it is 404.
func (s *Server) deleteKey(c *call) (object, *refusal) {
	if refused := c.plain(); refused != nil {
		return nil, refused
	}
	k, refused := s.keyLocked(c)
	if refused != nil {
		return nil, refused
	}
	k.delete(c.now)
	return gone("organization.project.api_key.deleted", k.ID), nil
}

// listKeys is GET …/api_keys.
func (s *Server) listKeys(c *call) (object, *refusal) {
	query, refused := c.listQuery("owner_project_access")
	if refused != nil {
		return nil, refused
	}
	access, refused := oneOf(query, "owner_project_access", "", "active", "inactive", "any")
	if refused != nil {
		return nil, refused
	}
	p, refused := s.openProjectLocked(c)
	if refused != nil {
		return nil, refused
	}
	return page(c, query, p.keys, p.placeOf(s), func(k *key) bool {
		switch {
		case k.Deleted, c.now.Sub(k.born) < c.knobs.HideFor:
			return false
		case c.knobs.ExpiredKeysUnlisted && expired(k.ExpiresAt, c.now):
			return false
		case access == "" && c.knobs.defaultListHides():
			return k.account == nil
		}
		return access == "" || access == "any" || access == k.ownerAccess()
	})
}

func gone(kind, id string) object {
	return object{{"object", kind}, {"id", id}, {"deleted", true}}
}

func checkName(c *call, f *fields, name string) {
	if n := c.knobs.NameLimit; n > 0 && len(name) > n {
		f.refuse(badRequest(fmt.Sprintf("Invalid 'name': expected at most %d characters.", n), "name"))
	}
}

// random returns n letters and digits.
func random(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	const fair = 256 / len(alphabet) * len(alphabet) // bytes from here on would favour the first letters
	out, buf := make([]byte, 0, n), make([]byte, n)
	for len(out) < n {
		_, _ = rand.Read(buf) // does not fail since Go 1.24
		for _, b := range buf {
			if int(b) < fair && len(out) < n {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out)
}

func newSecret(prefix string) string { return prefix + random(40) }
