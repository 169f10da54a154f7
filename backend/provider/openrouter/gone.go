package openrouter

import (
	"context"

	"vault-plugin-secrets-llm/backend/provider"
)

// confirmGone returns what a deletion that ended in err really means. The engine
// forgets a key that is not found, so a 404 alone does not do: a gateway that is
// being redeployed answers it, and so does OpenRouter to the management key of
// another account.
//
//   - The workspace must be there, which proves the right account.
//   - Reading the key must say "not found" too.
//
// In a workspace that was deleted nothing can be proven any more: its keys stay
// what they are until somebody deletes their records by hand.
func (c *client) confirmGone(ctx context.Context, ref provider.Ref, err error) error {
	if !provider.IsKind(err, provider.NotFound) {
		return err
	}
	switch unknown := c.readWorkspace(ctx, ref.Scope); {
	case provider.IsKind(unknown, provider.NotFound):
		return because(unknown, provider.Unproven, opDeleteKey, "OpenRouter answers not found, but does not know the workspace either; "+
			"was it deleted, or is the management key of another account?")
	case unknown != nil:
		return unknown
	}
	switch still := c.readKey(ctx, ref.ID); {
	case still == nil:
		return unproven(opDeleteKey, "OpenRouter answers not found, yet it can still be read")
	case !provider.IsKind(still, provider.NotFound):
		return still
	}
	return err
}
