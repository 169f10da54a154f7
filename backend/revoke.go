package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file deletes the keys of records. Keys that share a pending record's name
// are deleted in settle.go, and principals in principal.go.
//
//   - A revoke needs neither role nor caller: what the lease carries points to
//     the record, and the record says the rest.
//   - No record means that the provider has confirmed the deletion before.
//   - Gone at the provider is success, except for a key so young that the
//     provider may not know it everywhere yet.
//   - A token cannot be deleted: see token.go.
//   - A failure is noted in the record, which stays revoking, and is returned:
//     success is never pretended, and Vault's own retries are not relied upon.

// revokeBudget bounds the calls for one revoke. Vault gives an expiring lease
// 90 s; a connection that is paused is waited for.
const revokeBudget = 75 * time.Second

func recordSlot(id string) string { return "record " + id }

// revokeLease ends the key of a lease.
func (b *backend) revokeLease(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	held, err := leaseData(req.Secret)
	if err != nil {
		return nil, err
	}
	release, err := b.slots.acquire(ctx, recordSlot(held.id))
	if err != nil {
		return nil, fmt.Errorf("wait for record %s: %w", held.id, err)
	}
	defer release()
	rec, err := b.ledger(req.Storage).get(ctx, held)
	if err != nil || rec == nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, revokeBudget)
	defer cancel()
	err = b.kill(ctx, req.Storage, *rec)
	if lives := livesOn(err); lives != nil {
		b.Logger().Info("lease revoked; its token cannot be", "role", rec.Role, "config", rec.Config, "id", rec.ID, "until", rfc3339(lives.until))
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w (the key stays queued for deletion)", err)
	}
	b.Logger().Info("key revoked", "role", rec.Role, "config", rec.Config, "id", rec.ID, "key_id", rec.KeyID)
	return nil, nil
}

// kill records a key as revoking and deletes it now. The caller holds the
// record's slot, and the key's id is known. If the record cannot be changed, the
// key is deleted all the same: the record as it stands still leads to it. On
// error the key is still in the ledger.
func (b *backend) kill(ctx context.Context, s logical.Storage, rec record) error {
	if rec.Token {
		return b.endToken(ctx, s, rec)
	}
	if rec.State == revoking {
		return b.deleteKey(ctx, s, rec)
	}
	marked, err := b.ledger(s).revoke(ctx, rec)
	if err != nil {
		b.Logger().Warn("a record could not be marked for deletion; deleting its key all the same", "id", rec.ID, "error", err)
		marked = rec
	}
	return b.deleteKey(ctx, s, marked)
}

// deleteKey deletes the key of a revoking record and drops the record. The
// caller holds the record's slot.
func (b *backend) deleteKey(ctx context.Context, s logical.Storage, rec record) error {
	conn, err := b.connection(ctx, s, rec.Config)
	if err == nil {
		err = b.noted(conn, conn.delete(ctx, rec))
	}
	if errors.Is(err, errNoConnection) && rec.over(b.now()) {
		b.Logger().Info("a key of a deleted connection has expired at its provider", "role", rec.Role, "config", rec.Config, "id", rec.ID, "key_id", rec.KeyID)
		return b.ledger(s).drop(ctx, rec)
	}
	if provider.IsKind(err, provider.Unproven) && rec.over(b.now()) {
		b.Logger().Info("a key of a closed scope has expired at its provider", "role", rec.Role, "config", rec.Config, "id", rec.ID, "key_id", rec.KeyID, "scope", rec.Scope)
		return b.ledger(s).drop(ctx, rec)
	}
	if provider.IsKind(err, provider.NotFound) {
		known := rec.knownFrom(conn)
		if b.now().Before(known) {
			return b.noteFailure(ctx, s, rec, fmt.Errorf("the key is too young for this answer to prove that it is gone: %w", err), known)
		}
		err = nil
	}
	if err == nil {
		err = b.giveBack(ctx, s, conn, rec)
	}
	if err != nil {
		if !errors.Is(context.Cause(ctx), errTimeSpent) {
			b.tellNotRevoked(rec, err)
		}
		return b.noteFailure(ctx, s, rec, err, time.Time{})
	}
	if err := b.ledger(s).drop(ctx, rec); err != nil {
		return err
	}
	b.tellRevoked(rec)
	return nil
}

// knownFrom is when a provider knows a key everywhere, so that "not found" means
// gone. A key whose creation had no answer may be as much younger than its record
// as the longest create takes.
func (r record) knownFrom(conn *connection) time.Time {
	made := r.MintedAt
	if made.IsZero() {
		made = r.CreatedAt.Add(issueBudget)
	}
	return made.Add(conn.provider.Limits().Consistency)
}

// over reports whether the provider itself has ended the key.
func (r record) over(now time.Time) bool {
	return !r.ExpiresAt.IsZero() && now.After(r.ExpiresAt.Add(clockTolerance))
}

// noteFailure records a failed deletion and returns its cause. That the sweep's
// time was spent says nothing of the key.
func (b *backend) noteFailure(ctx context.Context, s logical.Storage, rec record, cause error, after time.Time) error {
	if errors.Is(context.Cause(ctx), errTimeSpent) {
		return cause
	}
	if _, err := b.ledger(s).failed(ctx, rec, cause, after); err != nil {
		b.Logger().Warn("a failed deletion could not be noted; it is tried again all the same", "id", rec.ID, "error", err)
	}
	return cause
}
