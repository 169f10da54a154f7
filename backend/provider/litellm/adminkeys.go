package litellm

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file replaces the admin key. An admin key is a virtual key like any other,
// which has the rights of its user, a proxy_admin: another key of that user may do
// the same. The admin keys of the account are those of that user.
//
// The master key is a setting of the deployment and is in no database. It works, but
// nothing here can replace it, and it is never tried: /key/regenerate with
// new_master_key encrypts the database anew, and leaves the deployment locked out of
// it.

var (
	opOwnAdmin    = operation{name: "read the admin key", method: http.MethodGet, path: "/key/info"}
	opCreateAdmin = operation{name: "create admin key", method: http.MethodPost, path: "/key/generate", creates: true}
	opListAdmins  = operation{name: "list admin keys", method: http.MethodGet, path: "/key/list"}
	opDeleteAdmin = operation{name: "delete admin key", method: http.MethodPost, path: "/key/delete"}
)

const masterProblem = "this is the master key of the proxy, a setting of its deployment, which cannot be replaced by a call; write an " +
	"admin virtual key to the connection instead: a key of a user who is proxy_admin"

const nobodysProblem = "the admin key belongs to no user; give a virtual key of a user who is proxy_admin"

// own reads the admin key itself. It returns nil for the master key: nothing else is
// accepted and yet unknown to the database, but for a key that was deleted and is
// still in a cache, which is refused a minute later.
func (c *client) own(ctx context.Context) (*key, error) {
	type answer struct {
		Info *key `json:"info"`
	}
	res, words, err := inWords(ctx, c, opOwnAdmin, nil, nil, func(a *answer) bool { return a.Info != nil })
	switch {
	case words.unknownKey():
		return nil, nil
	case err != nil:
		return nil, err
	}
	return res.Info, nil
}

// ownVirtual reads the admin key itself, which must be one that can be replaced.
func (c *client) ownVirtual(ctx context.Context) (*key, error) {
	k, err := c.own(ctx)
	switch {
	case err != nil:
		return nil, err
	case k == nil:
		return nil, refuse(opOwnAdmin, masterProblem)
	case k.User == "":
		return nil, fail(opOwnAdmin, provider.Forbidden, nobodysProblem)
	}
	return k, nil
}

// VerifyAdmin reads the admin key and the role of its user. The master key may do
// all.
func (c *client) VerifyAdmin(ctx context.Context) error {
	k, err := c.own(ctx)
	if err != nil || k == nil {
		return err
	}
	return c.checkManager(ctx, k)
}

// checkManager fails unless a key belongs to an admin.
func (c *client) checkManager(ctx context.Context, k *key) error {
	if k.User == "" {
		return fail(opOwnAdmin, provider.Forbidden, nobodysProblem)
	}
	role, err := c.getUser(ctx, k.User)
	switch {
	case provider.IsKind(err, provider.NotFound):
		return fail(opGetUser, provider.Forbidden, "the admin key belongs to a user who does not exist")
	case err == nil && role != roleAdmin:
		return fail(opGetUser, provider.Forbidden, "the admin key belongs to a user who is not proxy_admin")
	}
	return err
}

// AdminScope returns the id of the admin's user. Another proxy knows no such user,
// unless the key was made for LiteLLM's own, which has one name everywhere.
func (c *client) AdminScope(ctx context.Context) (string, error) {
	k, err := c.ownVirtual(ctx)
	if err != nil {
		return "", err
	}
	return k.User, nil
}

// MintAdmin creates another key of the same user, with the same team, models and
// routes. A budget or a rate that somebody set on the present one is not copied.
func (c *client) MintAdmin(ctx context.Context, name string, expires time.Time) (provider.Key, error) {
	present, err := c.ownVirtual(ctx)
	if err != nil {
		return provider.Key{}, err
	}
	secret := newSecret()
	c = c.hiding(secret)
	asked := newKey{
		Key: secret.Reveal(), Alias: name, User: present.User, Team: present.Team,
		Models: present.Models, Routes: present.Routes, Metadata: map[string]string{metaAdmin: "true"},
	}
	if !expires.IsZero() {
		asked.Duration = duration(expires)
	}
	made, err := c.create(ctx, opCreateAdmin, asked)
	if err != nil && !provider.IsKind(err, provider.Ambiguous) { // a lost one is found by its name
		made, err = c.rescue(ctx, opCreateAdmin, asked, err)
	}
	if err != nil {
		return provider.Key{}, err
	}
	if problem := asked.unlikeAdmin(*made); problem != "" {
		return provider.Key{}, c.undo(ctx, opCreateAdmin, idOf(secret), unproven(opCreateAdmin, problem))
	}
	return provider.Key{ID: idOf(secret), Secret: secret, ExpiresAt: made.ExpiresAt.Time}, nil
}

// unlikeAdmin says in what a new admin key is not as it was asked for. One that is
// bounded where the present one is not may do less, and the engine would be left with
// it. An earlier expiry than asked is taken: it is answered, and the engine knows then
// when to rotate.
func (n newKey) unlikeAdmin(k key) string {
	what := ""
	switch {
	case k.Alias != n.Alias:
		what = "alias"
	case k.User != n.User:
		what = "user"
	case k.Team != n.Team:
		what = "team"
	case !sameTexts(k.Models, n.Models):
		what = "list of models"
	case !sameTexts(k.Routes, n.Routes):
		what = "list of allowed_routes"
	case n.Duration != "" && k.ExpiresAt.IsZero():
		return withoutExpiry
	default:
		return ""
	}
	return otherwise(what)
}

// DeleteAdmin deletes an admin key. "Not found" is checked before it is returned,
// see confirmAdminGone.
func (c *client) DeleteAdmin(ctx context.Context, ref provider.Ref) error {
	return c.confirmAdminGone(ctx, ref, c.remove(ctx, opDeleteAdmin, ref.ID))
}

// FindAdmins yields the keys of the admin's user. The master key has no user: then
// it is those that the engine has made.
func (c *client) FindAdmins(ctx context.Context) iter.Seq2[provider.Found, error] {
	return func(yield func(provider.Found, error) bool) {
		present, err := c.own(ctx)
		if err != nil {
			yield(provider.Found{}, err)
			return
		}
		for k, err := range c.adminKeys(ctx, present) {
			if err != nil {
				yield(provider.Found{}, err)
				return
			}
			if !yield(found(k), nil) {
				return
			}
		}
	}
}

// adminKeys lists the keys of the user of present, or of nobody.
func (c *client) adminKeys(ctx context.Context, present *key) iter.Seq2[key, error] {
	query := url.Values{}
	if present != nil && present.User != "" {
		query.Set(fieldUser, present.User)
	}
	return func(yield func(key, error) bool) {
		for k, err := range c.keys(ctx, opListAdmins, query) {
			switch {
			case err != nil:
			case query.Has(fieldUser) && k.User != present.User:
				k, err = key{}, unproven(opListAdmins, "LiteLLM lists keys of another user than asked")
			case !query.Has(fieldUser) && k.meta(metaAdmin) == "":
				continue
			}
			if !yield(k, err) || err != nil {
				return
			}
		}
	}
}

// listsAdmin reports whether an admin key is listed.
func (c *client) listsAdmin(ctx context.Context, id string) (bool, error) {
	for k, err := range c.FindAdmins(ctx) {
		if err != nil || k.ID == id {
			return err == nil, err
		}
	}
	return false, nil
}

// IdentifyAdmin computes the id of a key, and looks whether it is listed.
func (c *client) IdentifyAdmin(ctx context.Context, key provider.Secret) ([]string, error) {
	id := idOf(key)
	listed, err := c.hiding(key).listsAdmin(ctx, id)
	if err != nil || !listed {
		return nil, err
	}
	return []string{id}, nil
}
