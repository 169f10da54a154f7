package litellm

import (
	"context"
	"errors"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file tells what an admin key may do. Its user's role says so, but a key may
// be restricted to some routes.
//
//   - What reads, reads.
//   - What changes a key is asked of one that nothing has.
//   - What makes a key is asked for one that LiteLLM refuses, for it does not begin
//     with sk-. A version so old that it makes the key all the same makes one that
//     works nowhere, and that ends in a second.

// probe is the key that nothing has.
const probe = "vault-probe"

// TryAdmin reads the admin key, lists its like, and tries all that roles need. To
// delete an admin key takes no other right than to delete any key.
func (c *client) TryAdmin(ctx context.Context, id string) error {
	err := c.tryAdmin(ctx, id)
	if e, ok := errors.AsType[*provider.Error](err); ok {
		trial := *e
		trial.Op = "try the admin key: " + e.Op
		return &trial
	}
	return err
}

func (c *client) tryAdmin(ctx context.Context, id string) error {
	switch k, err := c.own(ctx); {
	case err != nil:
		return err
	case k == nil: // the master key is never tried, for nothing makes one
		return unproven(opOwnAdmin, "it does not know itself yet")
	default:
		if err := c.checkManager(ctx, k); err != nil {
			return err
		}
	}
	switch listed, err := c.listsAdmin(ctx, id); {
	case err != nil:
		return err
	case !listed:
		return unproven(opListAdmins, "it does not list itself yet")
	}
	if _, _, err := c.page(ctx, opListKeys, nil, 1, 1); err != nil {
		return err
	}
	return c.tryWrites(ctx)
}

func (c *client) tryWrites(ctx context.Context) error {
	for _, try := range []struct {
		op operation
		do func() error
	}{
		{opCreateKey, func() error { return c.tryMint(ctx) }},
		{opExtendKey, func() error {
			_, err := c.update(provider.Repeatable(ctx), idOf(probe), time.Now().Add(time.Second))
			return err
		}},
		{opDeleteKey, func() error { return c.remove(ctx, opDeleteKey, idOf(probe)) }},
	} {
		if err := probed(try.op, try.do()); err != nil {
			return err
		}
	}
	return nil
}

// tryMint asks for the key that LiteLLM refuses.
func (c *client) tryMint(ctx context.Context) error {
	_, err := c.create(ctx, opCreateKey, newKey{Key: probe, Alias: probe, Duration: "1s", Routes: []string{llmRoutes}})
	if err == nil {
		return refuse(opCreateKey, "an old version made the probe")
	}
	return err
}

// probed returns what the outcome of a call about the probe says of the permission:
// nil if it is there. A success is odd, and proves nothing.
func probed(op operation, err error) error {
	switch provider.KindOf(err) {
	case provider.NotFound, provider.Invalid:
		return nil
	}
	if err == nil {
		return unproven(op, "LiteLLM knows "+probe+", which does not exist")
	}
	return err
}
