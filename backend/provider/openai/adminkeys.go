package openai

import (
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
	opCreateAdmin = operation{name: "create admin key", creates: true}
	opListAdmins  = operation{name: "list admin keys"}
	opDeleteAdmin = operation{name: "delete admin key"}
	opGetAdmin    = operation{name: "read admin key"}
)

// AdminScope returns the id of a project: no other organization can read it, and
// it cannot be deleted. An organization without any is Invalid, not Unavailable:
// OpenAI has answered, and will say the same until somebody makes a project.
func (c *client) AdminScope(ctx context.Context) (string, error) {
	id, found, err := c.firstProject(ctx)
	if err == nil && !found {
		return "", refuse(opListProjects, "the organization has no project that is not archived; create one")
	}
	return id, err
}

// MintAdmin creates an admin key. OpenAI gives it an owner and permissions of its
// own choice: the request has a place for neither.
func (c *client) MintAdmin(ctx context.Context, name string, expires time.Time) (provider.Key, error) {
	params := openai.AdminOrganizationAdminAPIKeyNewParams{Name: name}
	if !expires.IsZero() {
		params.ExpiresInSeconds = openai.Int(secondsUntil(expires))
	}
	type answer = openai.AdminOrganizationAdminAPIKeyNewResponse
	res, err := do(ctx, c, opCreateAdmin,
		func(watch option.RequestOption) (*answer, error) {
			return c.admin.AdminAPIKeys.New(ctx, params, watch)
		},
		func(key *answer) bool { return isText(key.AdminAPIKey.JSON.ID) && isText(key.JSON.Value) })
	if err != nil {
		return provider.Key{}, err
	}
	return provider.Key{ID: res.ID, Secret: provider.Secret(res.Value), ExpiresAt: fromUnix(res.ExpiresAt)}, nil
}

// DeleteAdmin deletes an admin key of the organization. "Not found" is checked
// before it is returned, see confirmAdminGone.
func (c *client) DeleteAdmin(ctx context.Context, ref provider.Ref) error {
	type answer = openai.AdminOrganizationAdminAPIKeyDeleteResponse
	_, err := do(ctx, c, opDeleteAdmin,
		func(watch option.RequestOption) (*answer, error) {
			return c.admin.AdminAPIKeys.Delete(ctx, ref.ID, watch)
		},
		func(res *answer) bool { return isTrue(res.JSON.Deleted) })
	return c.confirmAdminGone(ctx, ref, err)
}

// readAdmin fails if an admin key cannot be read.
func (c *client) readAdmin(ctx context.Context, id string) error {
	_, err := do(ctx, c, opGetAdmin,
		func(watch option.RequestOption) (*openai.AdminAPIKey, error) {
			return c.admin.AdminAPIKeys.Get(ctx, id, watch)
		},
		func(key *openai.AdminAPIKey) bool { return isText(key.JSON.ID) })
	return err
}

// FindAdmins yields the admin keys of the organization.
func (c *client) FindAdmins(ctx context.Context) iter.Seq2[provider.Found, error] {
	return func(yield func(provider.Found, error) bool) {
		for key, err := range c.adminKeys(ctx) {
			if !yield(foundAdmin(key), err) {
				return
			}
		}
	}
}

// adminKeys lists the admin keys, oldest first: one that is made meanwhile comes
// last.
func (c *client) adminKeys(ctx context.Context) iter.Seq2[openai.AdminAPIKey, error] {
	type page = pagination.CursorPage[openai.AdminAPIKey]
	return all(ctx, c, list[openai.AdminAPIKey, page]{
		op: opListAdmins, read: byLastItem[openai.AdminAPIKey],
		id: func(key openai.AdminAPIKey) (string, bool) { return key.ID, isText(key.JSON.ID) },
		fetch: func(after param.Opt[string], watch option.RequestOption) (*page, error) {
			return c.admin.AdminAPIKeys.List(ctx, openai.AdminOrganizationAdminAPIKeyListParams{
				After: after, Limit: openai.Int(pageSize),
				Order: openai.AdminOrganizationAdminAPIKeyListParamsOrderAsc,
			}, watch)
		},
	})
}

// listsAdmin reports whether an admin key is listed.
func (c *client) listsAdmin(ctx context.Context, id string) (bool, error) {
	for key, err := range c.adminKeys(ctx) {
		if err != nil {
			return false, err
		}
		if key.ID == id {
			return true, nil
		}
	}
	return false, nil
}

// foundAdmin reads an admin key. Its owner is a user by the field's description,
// yet a service account in the example of OpenAI's specification.
func foundAdmin(key openai.AdminAPIKey) provider.Found {
	of := key.Owner
	kind, id := text(of.Type, of.JSON.Type), text(of.ID, of.JSON.ID)
	out := provider.Found{
		ID:         key.ID,
		Name:       key.Name,
		Owner:      owner(strings.ReplaceAll(kind, "_", " "), text(of.Name, of.JSON.Name), id),
		CreatedAt:  fromUnix(key.CreatedAt),
		ExpiresAt:  fromUnix(key.ExpiresAt),
		LastUsedAt: fromUnix(key.LastUsedAt),
		UseKnown:   told(key.JSON.LastUsedAt),
	}
	if kind == "service_account" {
		out.PrincipalID = id
	}
	return out
}

// IdentifyAdmin compares the key with the ends that OpenAI shows of each: three
// characters of the secret, as far as is known, which several keys may share.
func (c *client) IdentifyAdmin(ctx context.Context, key provider.Secret) ([]string, error) {
	var ids []string
	for listed, err := range c.adminKeys(ctx) {
		if err != nil {
			return nil, err
		}
		if same, _ := compare(key, listed.RedactedValue); same {
			ids = append(ids, listed.ID)
		}
	}
	return ids, nil
}
