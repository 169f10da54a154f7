package openai

import (
	"cmp"
	"context"
	"iter"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/pagination"
	"github.com/openai/openai-go/v3/packages/param"

	"vault-plugin-secrets-llm/backend/provider"
)

var (
	opListAccounts  = operation{name: "list service accounts"}
	opCreateAccount = operation{name: "create service account", creates: true}
	opUpdateAccount = operation{name: "give service account the role member"}
	opDeleteAccount = operation{name: "delete service account"}
	opGetAccount    = operation{name: "read service account"}
)

// An account is what is needed of a service account.
type account struct {
	id        string
	hasAccess bool // its keys work
}

// EnsurePrincipal finds or makes a service account of the role's project. Names
// are not unique at OpenAI: of several, all callers settle on the oldest.
func (c *client) EnsurePrincipal(ctx context.Context, name string, role provider.Values) (provider.Principal, error) {
	project := role.String(fieldProject)
	account, err := c.findAccount(ctx, project, name)
	if err != nil {
		return provider.Principal{}, err
	}
	if account.id == "" {
		if account, err = c.createAccount(ctx, project, name); err != nil {
			return provider.Principal{}, err
		}
	}
	if !account.hasAccess {
		if err := c.giveAccess(ctx, project, account.id); err != nil {
			return provider.Principal{}, err
		}
	}
	return provider.Principal{ID: account.id, Name: name, Scope: project}, nil
}

// findAccount returns the oldest account of a name; one without id if there is
// none.
func (c *client) findAccount(ctx context.Context, project, name string) (account, error) {
	var oldest openai.ProjectServiceAccount
	for a, err := range c.accounts(ctx, project) {
		if err != nil {
			return account{}, err
		}
		if a.Name == name && (oldest.ID == "" || older(a, oldest)) {
			oldest = a
		}
	}
	return account{id: oldest.ID, hasAccess: hasAccess(oldest)}, nil
}

// accounts lists the service accounts of a project.
func (c *client) accounts(ctx context.Context, project string) iter.Seq2[openai.ProjectServiceAccount, error] {
	type page = pagination.ConversationCursorPage[openai.ProjectServiceAccount]
	return all(ctx, c, list[openai.ProjectServiceAccount, page]{
		op: opListAccounts, read: byLastID[openai.ProjectServiceAccount],
		id: func(a openai.ProjectServiceAccount) (string, bool) { return a.ID, isText(a.JSON.ID) },
		fetch: func(after param.Opt[string], watch option.RequestOption) (*page, error) {
			return c.admin.Projects.ServiceAccounts.List(ctx, project,
				openai.AdminOrganizationProjectServiceAccountListParams{After: after, Limit: openai.Int(pageSize)}, watch)
		},
	})
}

// older is an order of all accounts, so that every caller chooses the same one.
func older(a, b openai.ProjectServiceAccount) bool {
	return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.ID, b.ID)) < 0
}

// hasAccess reports whether keys of an account work. One with the role none has
// no access to its project.
func hasAccess(a openai.ProjectServiceAccount) bool {
	return a.Role == openai.ProjectServiceAccountRoleMember || a.Role == openai.ProjectServiceAccountRoleOwner
}

// createAccount makes an account without a key: the key that OpenAI makes with
// an account can have no scopes. Such an account has the role none.
func (c *client) createAccount(ctx context.Context, project, name string) (account, error) {
	type answer = openai.AdminOrganizationProjectServiceAccountNewResponse
	params := openai.AdminOrganizationProjectServiceAccountNewParams{
		Name:                     name,
		CreateServiceAccountOnly: openai.Bool(true),
	}
	res, err := do(ctx, c, opCreateAccount,
		func(watch option.RequestOption) (*answer, error) {
			return c.admin.Projects.ServiceAccounts.New(ctx, project, params, watch)
		},
		func(a *answer) bool { return isText(a.JSON.ID) })
	if err != nil {
		return account{}, err
	}
	return account{id: res.ID}, nil
}

// giveAccess makes an account a member of its project. It may be repeated.
func (c *client) giveAccess(ctx context.Context, project, id string) error {
	ctx = provider.Repeatable(ctx)
	params := openai.AdminOrganizationProjectServiceAccountUpdateParams{
		Role: openai.AdminOrganizationProjectServiceAccountUpdateParamsRoleMember,
	}
	_, err := do(ctx, c, opUpdateAccount,
		func(watch option.RequestOption) (*openai.ProjectServiceAccount, error) {
			return c.admin.Projects.ServiceAccounts.Update(ctx, project, id, params, watch)
		},
		func(a *openai.ProjectServiceAccount) bool { return hasAccess(*a) })
	return err
}

// DeletePrincipal deletes a service account, and with it all of its keys.
func (c *client) DeletePrincipal(ctx context.Context, p provider.Principal) error {
	type answer = openai.AdminOrganizationProjectServiceAccountDeleteResponse
	_, err := do(ctx, c, opDeleteAccount,
		func(watch option.RequestOption) (*answer, error) {
			return c.admin.Projects.ServiceAccounts.Delete(ctx, p.Scope, p.ID, watch)
		},
		func(res *answer) bool { return isTrue(res.JSON.Deleted) })
	return c.confirmGone(ctx, opDeleteAccount, p.Scope, err, func() error {
		_, err := do(ctx, c, opGetAccount,
			func(watch option.RequestOption) (*openai.ProjectServiceAccount, error) {
				return c.admin.Projects.ServiceAccounts.Get(ctx, p.Scope, p.ID, watch)
			},
			func(a *openai.ProjectServiceAccount) bool { return isText(a.JSON.ID) })
		return err
	})
}

// FindPrincipals yields the service accounts of a project; none if it is
// archived.
func (c *client) FindPrincipals(ctx context.Context, project string) iter.Seq2[provider.FoundPrincipal, error] {
	return func(yield func(provider.FoundPrincipal, error) bool) {
		for a, err := range unlessClosed(ctx, c, project, c.accounts(ctx, project)) {
			if err != nil {
				yield(provider.FoundPrincipal{}, err)
				return
			}
			p := provider.Principal{ID: a.ID, Name: text(a.Name, a.JSON.Name), Scope: project}
			if !yield(provider.FoundPrincipal{Principal: p, CreatedAt: fromUnix(a.CreatedAt)}, nil) {
				return
			}
		}
	}
}
