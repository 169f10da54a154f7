package openai

import (
	"cmp"
	"context"
	"iter"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/pagination"
	"github.com/openai/openai-go/v3/packages/param"

	"vault-plugin-secrets-llm/backend/provider"
)

var (
	opCreateKey = operation{name: "create key", creates: true}
	opDeleteKey = operation{name: "delete key"}
	opListKeys  = operation{name: "list keys"}
	opExtendKey = operation{name: "extend key"}
	opGetKey    = operation{name: "read key"}
)

// Mint creates a key of the principal, with its scopes and expiry, in one call.
// An expiry in the past becomes one second from now.
func (c *client) Mint(ctx context.Context, spec provider.Spec) (provider.Key, error) {
	project, account := spec.Role.String(fieldProject), spec.Principal
	if account.ID == "" || account.Scope != "" && account.Scope != project {
		return provider.Key{}, refuse(opCreateKey, "there is no service account of the role's project to own the key")
	}
	params := openai.AdminOrganizationProjectServiceAccountAPIKeyNewParams{
		Name:             openai.String(spec.Name),
		ExpiresInSeconds: openai.Int(secondsUntil(spec.ExpiresAt)),
	}
	// A list that is empty, but not nil, would be sent.
	if scopes := spec.Role.Strings(fieldScopes); len(scopes) > 0 {
		params.Scopes = scopes
	}
	type answer = openai.AdminOrganizationProjectServiceAccountAPIKeyNewResponse
	res, err := do(ctx, c, opCreateKey,
		func(watch option.RequestOption) (*answer, error) {
			return c.admin.Projects.ServiceAccounts.APIKeys.New(ctx, project, account.ID, params, watch)
		},
		func(key *answer) bool { return isText(key.JSON.ID) && isText(key.JSON.Value) })
	if err != nil {
		return provider.Key{}, err
	}
	return provider.Key{
		ID:        res.ID,
		Secret:    provider.Secret(res.Value),
		ExpiresAt: fromUnix(res.ExpiresAt),
		Data:      c.KeyData(project),
	}, nil
}

// KeyData is what the holder of a key of a project may need beside it.
func (c *client) KeyData(project string) map[string]string {
	data := map[string]string{fieldProject: project}
	if c.organization != "" {
		data[fieldOrganization] = c.organization
	}
	if c.baseURL != "" {
		data["base_url"] = c.baseURL
	}
	return data
}

// Delete deletes a key, also one of a service account, which OpenAI allows since
// October 2026. "Not found" is checked before it is returned, see confirmGone.
func (c *client) Delete(ctx context.Context, ref provider.Ref) error {
	type answer = openai.AdminOrganizationProjectAPIKeyDeleteResponse
	_, err := do(ctx, c, opDeleteKey,
		func(watch option.RequestOption) (*answer, error) {
			return c.admin.Projects.APIKeys.Delete(ctx, ref.Scope, ref.ID, watch)
		},
		func(res *answer) bool { return isTrue(res.JSON.Deleted) })
	return c.confirmGone(ctx, opDeleteKey, ref.Scope, err, func() error { return c.readKey(ctx, ref) })
}

// readKey fails if a key cannot be read.
func (c *client) readKey(ctx context.Context, ref provider.Ref) error {
	_, err := c.getKey(ctx, ref)
	return err
}

// getKey asks for a key. What is said of another one is no answer.
func (c *client) getKey(ctx context.Context, ref provider.Ref) (*openai.ProjectAPIKey, error) {
	return do(ctx, c, opGetKey,
		func(watch option.RequestOption) (*openai.ProjectAPIKey, error) {
			return c.admin.Projects.APIKeys.Get(ctx, ref.Scope, ref.ID, watch)
		},
		func(key *openai.ProjectAPIKey) bool { return isText(key.JSON.ID) && key.ID == ref.ID })
}

// ReadKey returns a project key. "Not found" is checked before it is returned, see
// confirmGone. One of which OpenAI shows nothing is nobody's to take: a
// *FieldError too.
func (c *client) ReadKey(ctx context.Context, ref provider.Ref, key provider.Secret) (provider.Found, error) {
	if strings.HasPrefix(key.Reveal(), adminPrefix) {
		return provider.Found{}, provider.FieldErrorf("api_key", "is an admin key, which cannot be handed out; give a key of a project")
	}
	c = c.hiding(key)
	res, err := c.getKey(ctx, ref)
	if err = c.confirmGone(ctx, opGetKey, ref.Scope, err, func() error { return c.readKey(ctx, ref) }); err != nil {
		return provider.Found{}, err
	}
	switch same, telling := compare(key, text(res.RedactedValue, res.JSON.RedactedValue)); {
	case !telling:
		return provider.Found{}, provider.FieldErrorf("key_id",
			"cannot be proven to be the id of this key, for OpenAI shows nothing of the key of this id; make a new one instead")
	case !same:
		return provider.Found{}, provider.FieldErrorf("key_id",
			"is not the id of this key; give the id that OpenAI shows beside the key, and the whole key")
	}
	return found(*res), nil
}

// Find yields the keys of a project; none if it is archived.
func (c *client) Find(ctx context.Context, project string) iter.Seq2[provider.Found, error] {
	return func(yield func(provider.Found, error) bool) {
		for key, err := range unlessClosed(ctx, c, project, c.keys(ctx, project)) {
			if !yield(found(key), err) {
				return
			}
		}
	}
}

// keys lists the keys of a project. A list without owner_project_access may hide
// keys that work, so it asks for any.
func (c *client) keys(ctx context.Context, project string) iter.Seq2[openai.ProjectAPIKey, error] {
	type page = pagination.ConversationCursorPage[openai.ProjectAPIKey]
	return all(ctx, c, list[openai.ProjectAPIKey, page]{
		op: opListKeys, id: keyID, read: byLastID[openai.ProjectAPIKey],
		fetch: func(after param.Opt[string], watch option.RequestOption) (*page, error) {
			return c.admin.Projects.APIKeys.List(ctx, project, openai.AdminOrganizationProjectAPIKeyListParams{
				After: after, Limit: openai.Int(pageSize),
				OwnerProjectAccess: openai.AdminOrganizationProjectAPIKeyListParamsOwnerProjectAccessAny,
			}, watch)
		},
	})
}

func keyID(key openai.ProjectAPIKey) (string, bool) { return key.ID, isText(key.JSON.ID) }

func found(key openai.ProjectAPIKey) provider.Found {
	return provider.Found{
		ID:          key.ID,
		Name:        key.Name,
		PrincipalID: text(key.Owner.ServiceAccount.ID, key.Owner.ServiceAccount.JSON.ID),
		Owner:       ownerOf(key.Owner),
		CreatedAt:   fromUnix(key.CreatedAt),
		ExpiresAt:   fromUnix(key.ExpiresAt),
		LastUsedAt:  fromUnix(key.LastUsedAt),
		UseKnown:    told(key.JSON.LastUsedAt),
	}
}

// ownerOf names the owner of a project key: the one that the answer describes,
// whatever type it says.
func ownerOf(o openai.ProjectAPIKeyOwner) string {
	account, user := o.ServiceAccount, o.User
	return cmp.Or(
		owner("service account", text(account.Name, account.JSON.Name), text(account.ID, account.JSON.ID)),
		owner("user", text(user.Email, user.JSON.Email), text(user.Name, user.JSON.Name), text(user.ID, user.JSON.ID)))
}

// owner names an owner by the first of some texts that is not empty; it is empty
// if all are. People choose these names, and may have pasted a key.
func owner(kind string, names ...string) string {
	name := cmp.Or(names...)
	if name == "" {
		return ""
	}
	return provider.HideKeys(strings.TrimSpace(kind + " " + name))
}

// Extend moves the expiry of a key that has not expired. OpenAI counts the time
// from each request, so a repeat only moves it further.
func (c *client) Extend(ctx context.Context, ref provider.Ref, until time.Time) (time.Time, error) {
	ctx = provider.Repeatable(ctx)
	params := openai.AdminOrganizationProjectAPIKeyUpdateParams{ExpiresInSeconds: secondsUntil(until)}
	res, err := do(ctx, c, opExtendKey,
		func(watch option.RequestOption) (*openai.ProjectAPIKey, error) {
			return c.admin.Projects.APIKeys.Update(ctx, ref.Scope, ref.ID, params, watch)
		},
		func(key *openai.ProjectAPIKey) bool { return key.JSON.ExpiresAt.Valid() && key.ExpiresAt > 0 })
	if err = c.confirmGone(ctx, opExtendKey, ref.Scope, err, func() error { return c.readKey(ctx, ref) }); err != nil {
		return time.Time{}, err
	}
	return fromUnix(res.ExpiresAt), nil
}

// secondsUntil is an expiry as OpenAI takes it: whole seconds from now, at least
// one. OpenAI's expiries are whole seconds too, so it rounds up twice: a key
// never ends before its lease, and ends less than two seconds after at.
func secondsUntil(at time.Time) int64 {
	if whole := at.Truncate(time.Second); whole.Before(at) {
		at = whole.Add(time.Second)
	}
	left := min(time.Until(at), maxLifetime)
	return max(1, int64((left+time.Second-1)/time.Second))
}

// fromUnix reads a timestamp; zero, which the SDK makes of null, is no time.
func fromUnix(seconds int64) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
