package litellm

import (
	"context"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file decides when something is gone. The engine forgets a key that is not
// found, so a 404 alone does not do: an ingress answers it while the proxy is being
// redeployed, and so does a proxy with another database.
//
//   - The team must be there, which proves the right database. Where there is none,
//     that database must know the admin key: a virtual key is in one database only.
//     The master key is in none, and every proxy that has the same takes it: with it,
//     nothing is proven of keys without a team.
//   - Reading the key must say "not found" too, in LiteLLM's own words.
//   - An admin key must be missing from the list of them, too, and its user be there.
//
// In a team that was deleted nothing can be proven any more, although LiteLLM deletes
// its keys with it: their records stay until somebody deletes them by hand.

// confirmGone returns what a call about a key that ended in err really means.
func (c *client) confirmGone(ctx context.Context, op operation, ref provider.Ref, err error) error {
	if !provider.IsKind(err, provider.NotFound) {
		return err
	}
	if unknown := c.witness(ctx, op, ref.Scope); unknown != nil {
		return unknown
	}
	return c.confirmUnreadable(ctx, op, ref.ID, err)
}

// witness fails unless the proxy proves to be the right one.
func (c *client) witness(ctx context.Context, op operation, scope string) error {
	if scope == noTeam || scope == "" {
		return c.ownWitness(ctx, op)
	}
	return fromWitness(op, c.getTeam(ctx, scope), "LiteLLM answers not found, but does not know the team either; was it deleted, "+
		"or is this another proxy?")
}

// ownWitness fails unless the database knows the admin key.
func (c *client) ownWitness(ctx context.Context, op operation) error {
	switch k, err := c.own(ctx); {
	case provider.IsKind(err, provider.NotFound):
		return unproven(op, "something answers not found, but not as LiteLLM does; does base_url lead elsewhere?")
	case err != nil:
		return err
	case k == nil:
		return scopeUnknown(op, "LiteLLM answers not found, but the master key does not prove that this is the right database; write an "+
			"admin virtual key to the connection instead")
	}
	return nil
}

// fromWitness is what it means that a witness failed.
func fromWitness(op operation, err error, unknown string) error {
	if provider.IsKind(err, provider.NotFound) {
		return scopeUnknown(op, unknown)
	}
	return err
}

// scopeUnknown is an error about a scope that is not known where it is asked for, so
// that nothing is proven of its keys.
func scopeUnknown(op operation, problem string) error { return fail(op, provider.Unproven, problem) }

// confirmUnreadable returns gone, which is a "not found", if reading says so too.
func (c *client) confirmUnreadable(ctx context.Context, op operation, id string, gone error) error {
	switch _, words, still := c.lookUp(ctx, id); {
	case still == nil:
		return unproven(op, "LiteLLM answers not found, yet it can still be read")
	case !provider.IsKind(still, provider.NotFound):
		return still
	case !words.unknownKey():
		return unproven(op, "something answers not found, but not as LiteLLM does; is there a gateway in front of it?")
	}
	return gone
}

// confirmAdminGone does so for admin keys. The user is the one that they belong to;
// where none is given, another proxy is not told from the right one.
func (c *client) confirmAdminGone(ctx context.Context, ref provider.Ref, err error) error {
	if !provider.IsKind(err, provider.NotFound) {
		return err
	}
	if ref.Scope != "" {
		_, unknown := c.getUser(ctx, ref.Scope)
		if unknown = fromWitness(opDeleteAdmin, unknown, "LiteLLM answers not found, but does not know the admin's user either; is "+
			"this another proxy?"); unknown != nil {
			return unknown
		}
	}
	switch listed, unknown := c.listsAdmin(ctx, ref.ID); {
	case provider.IsKind(unknown, provider.NotFound):
		return unproven(opDeleteAdmin, "LiteLLM answers not found, but does not find the list of admin keys either")
	case unknown != nil:
		return unknown
	case listed:
		return unproven(opDeleteAdmin, "LiteLLM answers not found, yet it is still listed")
	}
	return c.confirmUnreadable(ctx, opDeleteAdmin, ref.ID, err)
}
