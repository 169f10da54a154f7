package backend

import (
	"context"

	"vault-plugin-secrets-llm/backend/provider"
)

// A hanging client never answers a delete.
type hanging struct{ provider.Client }

func (hanging) Delete(ctx context.Context, _ provider.Ref) error {
	<-ctx.Done()
	return &provider.Error{Kind: provider.Unavailable, Reason: context.Cause(ctx).Error()}
}
