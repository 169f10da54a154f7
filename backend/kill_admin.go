package backend

import (
	"cmp"
	"context"
	"fmt"

	"github.com/hashicorp/vault/sdk/logical"
)

// This file kills admin keys that a connection does not use any more, before their
// overlap is over. The one in use is replaced first, by a rotation.

// killAdmin deletes the admin key of a record.
func (b *backend) killAdmin(ctx context.Context, s logical.Storage, rec record) (*killResult, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, killBudget, errTimeSpent)
	defer cancel()
	release, ok, err := b.beginRotation(ctx, rec.Config)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errRotating(rec.Config)
	}
	defer release()
	entry, err := loadConfig(ctx, s, rec.Config)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return nil, badRequest(fmt.Sprintf("connection %q of this admin key is deleted; the key deletes itself, or delete it at the provider", rec.Config))
	}
	m := b.adminMove(s, rec.Config, entry)
	if err := m.reconcile(ctx); err != nil {
		return nil, err
	}
	now, err := m.ledger().get(ctx, rec.pointer())
	if err != nil {
		return nil, err
	}
	if now == nil {
		return nil, badRequest(fmt.Sprintf("connection %q does not have this admin key any more, and it was not made here, so nothing here deletes it; delete it at the provider", rec.Config))
	}
	if now.ID == entry.AdminRecord || now.KeyID != "" && now.KeyID == entry.AdminKeyID {
		return nil, badRequest(fmt.Sprintf("this is the admin key that connection %q uses; replace it first (write rotate-root/%s, or another admin_key to config/%s where the provider makes none), then revoke it again: without it no key of the connection could be deleted", rec.Config, rec.Config, rec.Config))
	}
	if !m.deletable(*now) {
		return nil, badRequest(fmt.Sprintf("admin key %s cannot be deleted here now: it is being tried by a rotation, or its id at the provider is not known; wait, or delete it at the provider", cmp.Or(now.KeyID, now.ID)))
	}
	if now.State == revoking {
		if *now, err = m.ledger().hurry(ctx, *now); err != nil {
			return nil, err
		}
	}
	if err := m.deleteReplacedKey(ctx, *now); err != nil {
		return &killResult{failed: []keyFailure{{id: now.ID, err: err}}}, nil
	}
	return &killResult{revoked: 1}, nil
}
