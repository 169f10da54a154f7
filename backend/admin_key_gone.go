package backend

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file ends the admin keys of deleted connections. One that a rotation made
// deletes itself, for nobody else has it: that is tried until it is certain.

// tendGone works on what is left of a connection after its deletion, if anything
// is. The caller holds its slot.
func (b *backend) tendGone(ctx context.Context, s logical.Storage, config string) error {
	entry, err := loadConfig(ctx, s, config)
	if err != nil {
		return err
	}
	gone, err := load[configEntry](ctx, s, goneKey(config))
	if err != nil {
		return err
	}
	switch {
	case gone == nil:
	case entry != nil && entry.AdminRecord == gone.AdminRecord: // it was not deleted after all
		err = remove(ctx, s, goneKey(config))
	default:
		err = b.endGone(ctx, s, config, gone, entry != nil)
	}
	if err != nil || entry != nil {
		return err
	}
	return b.tendLeftAdminKeys(ctx, s, config)
}

// endGone lets the admin key of a deleted connection delete itself. Another
// connection of the same name may be able to delete it too, so if there is one, a
// failure is nothing: the connection comes next, and notes its own.
func (b *backend) endGone(ctx context.Context, s logical.Storage, config string, gone *configEntry, replaced bool) error {
	l := b.ledger(s)
	rec, err := l.get(ctx, pointer{config: config, id: gone.AdminRecord})
	if err != nil {
		return err
	}
	if rec != nil {
		if rec.State == revoking && rec.Due.After(b.now()) {
			return nil
		}
		if rec.State == active { // as long as it is not deleted, the sweep looks
			if *rec, err = l.revoke(ctx, *rec); err != nil {
				return err
			}
		}
		if err := b.deleteItself(ctx, s, config, gone, *rec); err != nil {
			if replaced {
				return nil
			}
			_, noted := l.failed(ctx, *rec, err, rec.Due)
			return errors.Join(err, noted)
		}
		if err := l.drop(ctx, *rec); err != nil {
			return err
		}
		b.tellRevoked(*rec)
		b.Logger().Info("admin key of a deleted connection deleted", "config", config, "key_id", rec.KeyID)
	}
	return remove(ctx, s, goneKey(config))
}

// refusedLong is how long an admin key must have been refused, and nothing else, to
// count as gone: a provider or a gateway may refuse everything for hours.
const refusedLong = 24 * time.Hour

// deleteItself deletes an admin key with itself, after all others that it is to
// delete. It may be gone already, by hand or by an answer that was lost.
func (b *backend) deleteItself(ctx context.Context, s logical.Storage, config string, gone *configEntry, rec record) error {
	ctx, cancel := context.WithTimeout(ctx, deleteBudget)
	defer cancel()
	conn, err := b.connect(config, gone, nil)
	if err != nil {
		return err
	}
	defer conn.transport.Close()
	rotator, err := conn.rotator()
	if err != nil {
		return err
	}
	if err = b.deleteOthers(ctx, s, config, rotator, rec.ID); err == nil {
		err = rotator.DeleteAdmin(ctx, rec.ref())
	}
	if provider.IsKind(err, provider.NotFound) {
		return nil
	}
	return b.refused(ctx, s, config, gone, err)
}

// deleteOthers deletes the replaced admin keys of a deleted connection.
func (b *backend) deleteOthers(ctx context.Context, s logical.Storage, config string, rotator provider.AdminRotator, but string) error {
	recs, err := b.ledger(s).ofRole(ctx, config, "")
	for _, rec := range recs {
		if rec.ID == but || rec.State != revoking || rec.KeyID == "" {
			continue
		}
		if err := rotator.DeleteAdmin(ctx, rec.ref()); err != nil && !provider.IsKind(err, provider.NotFound) {
			return err
		}
		if err := b.ledger(s).drop(ctx, rec); err != nil {
			return err
		}
		b.tellRevoked(rec)
	}
	return err
}

// refused notes whether an admin key is refused. It returns err, or nil once that
// has been so for long.
func (b *backend) refused(ctx context.Context, s logical.Storage, config string, gone *configEntry, err error) error {
	next := gone.clone()
	switch unauthorized := provider.IsKind(err, provider.Unauthorized); {
	case err == nil:
		return nil
	case unauthorized && !gone.RefusedSince.IsZero() && b.now().Sub(gone.RefusedSince) >= refusedLong:
		return nil
	case unauthorized == !gone.RefusedSince.IsZero():
		return err
	case unauthorized:
		next.RefusedSince = b.now()
	default:
		next.RefusedSince = time.Time{}
	}
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	return errors.Join(err, saveSealed(ctx, s, goneKey(config), next))
}

// tendLeftAdminKeys looks at the other admin keys of a connection that was deleted:
// only another connection of the same name and account can delete them.
func (b *backend) tendLeftAdminKeys(ctx context.Context, s logical.Storage, config string) error {
	recs, err := b.ledger(s).ofRole(ctx, config, "")
	if err != nil {
		return err
	}
	var errs []error
	for _, rec := range recs {
		switch {
		case rec.Adopted && (rec.State == active || rec.KeyID == ""): // the operator's to delete
			errs = append(errs, b.ledger(s).drop(ctx, rec))
		case !rec.Due.IsZero() && !rec.Due.After(b.now()):
			errs = append(errs, b.deleteKey(ctx, s, rec))
		}
	}
	return errors.Join(errs...)
}
