package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file keeps the records of admin keys in line with the connection, and
// deletes the admin keys that it does not use any more.
//
//   - The stored connection alone says which admin key is in use; the records
//     follow. So whatever was cut short is finished from what is stored.
//   - An admin key never deletes itself while its connection exists, nor does one
//     delete what may be in use: a deletion begins with a look at the connection.
//   - An operator's key is deleted only if a rotation has replaced it and its id is
//     certain. One that an operator has replaced is the operator's to delete.
//   - All of it happens under the slot of the connection.

func connectionSlot(config string) string { return "connection " + config }

// An adminMove works on the admin key of one connection, whose slot is held.
type adminMove struct {
	*backend
	moveState
	storage logical.Storage
	config  string
	entry   *configEntry // as stored, as far as is known
}

func (b *backend) adminMove(s logical.Storage, config string, e *configEntry) *adminMove {
	return &adminMove{backend: b, storage: s, config: config, entry: e}
}

func (m *adminMove) ledger() ledger { return m.backend.ledger(m.storage) }

// put stores a changed connection. After an error it may be stored all the same,
// so what is stored is read back.
func (m *adminMove) put(ctx context.Context, next *configEntry) error {
	err := m.putConfig(ctx, m.storage, m.config, next)
	if err == nil {
		m.entry = next
		return nil
	}
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	stored, readErr := loadConfig(ctx, m.storage, m.config)
	if readErr != nil || stored == nil {
		m.lost = true
		return err
	}
	m.entry = stored
	return err
}

// adoptAdminKey records the admin key that an operator wrote.
func (b *backend) adoptAdminKey(ctx context.Context, s logical.Storage, config string, e *configEntry) error {
	mount, err := b.mount(ctx, s)
	if err != nil {
		return err
	}
	if e.AdminRecord == "" {
		e.AdminRecord = newID(b.now())
	}
	return b.ledger(s).adopt(ctx, record{
		ID: e.AdminRecord, Kind: admin, Config: config, Provider: e.Provider,
		KeyID: e.AdminKeyID, KeyHash: keyHash(mount.Salt, e.AdminKey),
	})
}

// reconcile brings the records in line with the connection. The one in use comes
// last: as long as it is not in line, the sweep looks again.
func (m *adminMove) reconcile(ctx context.Context) error {
	recs, err := m.ledger().ofRole(ctx, m.config, "")
	if err != nil {
		return err
	}
	mount, err := m.mount(ctx, m.storage)
	if err != nil {
		return err
	}
	inUse := keyHash(mount.Salt, m.entry.AdminKey)
	slices.SortStableFunc(recs, func(a, b record) int {
		return cmp.Compare(m.rank(a), m.rank(b))
	})
	for _, rec := range recs {
		if rec.ID == m.entry.AdminRecord {
			err = m.reconcileInUse(ctx, rec)
		} else {
			err = m.reconcileOther(ctx, rec, inUse)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *adminMove) rank(rec record) int {
	if rec.ID == m.entry.AdminRecord {
		return 1
	}
	return 0
}

func (m *adminMove) reconcileInUse(ctx context.Context, rec record) error {
	var err error
	if rec.State != active || !rec.Due.IsZero() {
		rec, err = m.ledger().use(ctx, rec)
	}
	if err == nil && rec.Adopted && rec.KeyID != m.entry.AdminKeyID {
		_, err = m.ledger().identify(ctx, rec, m.entry.AdminKeyID, rec.Scope)
	}
	return err
}

// reconcileOther decides what becomes of an admin key that is not in use.
func (m *adminMove) reconcileOther(ctx context.Context, rec record, inUse string) error {
	switch {
	case m.entry.Candidate != nil && m.entry.Candidate.Record == rec.ID:
		return nil
	case rec.KeyHash == inUse:
		return m.ledger().drop(ctx, rec) // an operator wrote again what is in use now
	case rec.State != active:
		return nil
	case rec.ID == m.entry.PreviousRecord:
		return m.retirePrevious(ctx, rec)
	case rec.Adopted:
		return m.ledger().drop(ctx, rec)
	}
	_, err := m.ledger().retire(ctx, rec, m.now())
	return err
}

// retirePrevious marks the replaced key for deletion after the overlap, in which
// requests under way may still use it.
func (m *adminMove) retirePrevious(ctx context.Context, rec record) error {
	if rec.KeyID == "" {
		rec.LastError = fmt.Sprintf("its id at the provider is not known; write it with its key: admin_key and admin_key_id at config/%s", m.config)
		_, err := m.ledger().retire(ctx, rec, time.Time{})
		return err
	}
	_, err := m.ledger().retire(ctx, rec, m.now().Add(m.entry.Rotation.Overlap.duration()))
	return err
}

// deleteReplaced deletes the admin keys that are due, and on request all that are
// not in use, at once.
func (m *adminMove) deleteReplaced(ctx context.Context, all bool) error {
	recs, err := m.ledger().ofRole(ctx, m.config, "")
	if err != nil {
		return err
	}
	var errs []error
	for _, rec := range recs {
		if m.deletable(rec) && (all || !rec.Due.After(m.now())) {
			errs = append(errs, m.deleteReplacedKey(ctx, rec))
		}
	}
	return errors.Join(errs...)
}

// deletable reports whether an admin key is not in use, nor a candidate, and can
// be found.
func (m *adminMove) deletable(rec record) bool {
	switch {
	case rec.ID == m.entry.AdminRecord, m.entry.Candidate != nil && m.entry.Candidate.Record == rec.ID:
		return false
	case rec.KeyID != "" && rec.KeyID == m.entry.AdminKeyID:
		return false
	}
	return rec.State == pending || rec.State == revoking && rec.KeyID != ""
}

func (m *adminMove) deleteReplacedKey(ctx context.Context, rec record) error {
	if rec.State == pending {
		conn, err := m.connection(ctx, m.storage, m.config)
		if err != nil {
			return err
		}
		return m.settle(ctx, m.storage, conn, []record{rec})[0]
	}
	if err := m.deleteKey(ctx, m.storage, rec); err != nil {
		return err
	}
	m.Logger().Info("replaced admin key deleted", "config", m.config, "id", rec.ID, "key_id", rec.KeyID)
	return nil
}

// tend does all that is to be done about the admin key of a connection. On a mount
// that is being disabled that is to delete all but the one in use: after a move,
// the mount lives on with it.
func (m *adminMove) tend(ctx context.Context, tainted bool) error {
	if tainted {
		return m.tendTainted(ctx)
	}
	if err := m.reconcile(ctx); err != nil {
		return err
	}
	rotated := m.rotateIfDue(ctx, m) // first: a deletion that hangs must not keep it from being made
	ctx, cancel := context.WithTimeout(ctx, tendDeletions)
	defer cancel()
	return errors.Join(rotated, m.deleteReplaced(ctx, false))
}

// tendDeletions bounds the deletions of one sweep, so that what hangs is noted and
// waits longer the next time.
const tendDeletions = 15 * time.Second

func (m *adminMove) tendTainted(ctx context.Context) error {
	if m.entry.Candidate != nil {
		if err := m.dropCandidate(ctx); err != nil {
			return err
		}
	}
	if err := m.reconcile(ctx); err != nil {
		return err
	}
	if m.entry.AdminMinted {
		m.Logger().Warn("this mount is being disabled or moved; the admin key of this connection was made by a rotation and stays valid: delete it at the provider if the mount is not to live on", "config", m.config, "key_id", m.entry.AdminKeyID)
	}
	return m.deleteReplaced(ctx, true)
}

// tendAdminKey tends the admin key of a connection, or what is left of a
// connection that is gone. The caller holds its slot.
func (b *backend) tendAdminKey(ctx context.Context, s logical.Storage, config string, tainted bool) error {
	gone := b.tendGone(ctx, s, config)
	entry, err := loadConfig(ctx, s, config)
	if err != nil || entry == nil {
		return errors.Join(gone, err)
	}
	return errors.Join(gone, b.adminMove(s, config, entry).tend(ctx, tainted))
}

// delete deletes the key of a record at the provider.
func (c *connection) delete(ctx context.Context, rec record) error {
	if rec.Kind != admin {
		return c.client.Delete(ctx, rec.ref())
	}
	if rec.KeyID == c.entry.AdminKeyID {
		return fmt.Errorf("bug: admin key %s of connection %q is in use and was to be deleted", rec.KeyID, c.name)
	}
	rotator, err := c.rotator()
	if err != nil {
		return err
	}
	return rotator.DeleteAdmin(ctx, rec.ref())
}

// find yields the keys of the kind and the scope of a record.
func (c *connection) find(ctx context.Context, rec record) iter.Seq2[provider.Found, error] {
	if rec.Kind != admin {
		return c.client.Find(ctx, rec.Scope)
	}
	rotator, err := c.rotator()
	if err != nil {
		return func(yield func(provider.Found, error) bool) { yield(provider.Found{}, err) }
	}
	return rotator.FindAdmins(ctx)
}

// rotator is the client as one that can rotate its admin key. Without that the
// error is 400.
func (c *connection) rotator() (provider.AdminRotator, error) {
	rotator, ok := c.client.(provider.AdminRotator)
	if !ok {
		return nil, badRequest(fmt.Sprintf("the API of provider %q cannot make admin keys; rotate it by hand: write the new key to config/%s", c.provider.Name(), c.name))
	}
	return rotator, nil
}
