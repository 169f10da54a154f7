package openai

import (
	"context"
	"errors"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file tells what an admin key may do. OpenAI says it nowhere, and an admin
// key that a restricted one made may be weaker than that.
//
//   - What reads, reads.
//   - What writes is asked of an id that nothing has. The permission is checked
//     before the object is looked up, as any API must that does not tell strangers
//     what there is: "not found", or a complaint about the id, proves it.
//   - What would make something without naming an object, a service account or an
//     admin key, is not tried. An incomplete request for one would be a bet on how
//     the server reads it.

// deletePatience bounds the trial of a deletion, which is not needed at once.
const deletePatience = 5 * time.Second

// probe is the id that nothing has.
const probe = "vault_probe"

// TryAdmin lists and deletes admin keys, and does in the first project all that
// roles need. Where there is no project, there is nothing to do in one.
func (c *client) TryAdmin(ctx context.Context, id string) error {
	project, found, err := c.firstProject(ctx)
	if err == nil {
		err = c.tryAdminKeys(ctx, id, project)
	}
	if err == nil && found {
		err = c.tryProject(ctx, project)
	}
	if e, ok := errors.AsType[*provider.Error](err); ok {
		trial := *e
		trial.Op = "try the admin key: " + e.Op
		return &trial
	}
	return err
}

// tryAdminKeys tries what replaces the key itself, the next time.
func (c *client) tryAdminKeys(ctx context.Context, id, project string) error {
	switch listed, err := c.listsAdmin(ctx, id); {
	case err != nil:
		return err
	case !listed:
		return unproven(opListAdmins, "it does not list itself yet")
	}
	ctx, cancel := context.WithTimeout(ctx, deletePatience)
	defer cancel()
	err := c.DeleteAdmin(ctx, provider.Ref{ID: probe, Scope: project})
	if provider.IsKind(err, provider.Unavailable) || provider.IsKind(err, provider.RateLimited) {
		return nil // to delete the replaced key can wait, and is tried again for ever
	}
	return probed(opDeleteAdmin, err)
}

// tryProject tries what roles need in a project.
func (c *client) tryProject(ctx context.Context, project string) error {
	if _, _, err := head(c.accounts(ctx, project)); err != nil {
		return err
	}
	if _, _, err := head(c.keys(ctx, project)); err != nil {
		return err
	}
	ref := provider.Ref{ID: probe, Scope: project}
	account := provider.Principal{ID: probe, Scope: project}
	for _, try := range []struct {
		op operation
		do func() error
	}{
		{opUpdateAccount, func() error { return c.giveAccess(ctx, project, probe) }},
		{opCreateKey, func() error { return c.tryMint(ctx, account) }},
		{opExtendKey, func() error { _, err := c.Extend(ctx, ref, time.Now().Add(time.Hour)); return err }},
		{opDeleteKey, func() error { return c.Delete(ctx, ref) }},
		{opDeleteAccount, func() error { return c.DeletePrincipal(ctx, account) }},
	} {
		if err := probed(try.op, try.do()); err != nil {
			return err
		}
	}
	return nil
}

// tryMint asks for a key of an account that does not exist. Should there be one
// after all, the key ends at once.
func (c *client) tryMint(ctx context.Context, account provider.Principal) error {
	_, err := c.Mint(ctx, provider.Spec{
		Name: probe, ExpiresAt: time.Now(), Principal: account,
		Role: provider.Values{fieldProject: account.Scope},
	})
	return err
}

// probed returns what the outcome of a call about the probe says of the
// permission: nil if it is there. A success is odd, and proves nothing.
func probed(op operation, err error) error {
	switch provider.KindOf(err) {
	case provider.NotFound, provider.Invalid:
		return nil
	}
	if err == nil {
		return unproven(op, "OpenAI knows "+probe+", which does not exist")
	}
	return err
}
