package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file keeps the records of a static role's keys in line with the role.
//
//   - All of it happens under the slot of the role, and every move of a record under
//     that of the record, for a kill takes only that.
//   - A key that was replaced is deleted by the sweep as any other, once it is due.
//   - The provider itself ends a key some time after its next rotation is due, so
//     that those of a mount that is gone die. While rotations fail that is moved.

// A staticMove works on one static role, whose slot is held.
type staticMove struct {
	*backend
	moveState
	storage logical.Storage
	name    string
	entry   *staticEntry // as stored, as far as is known; nil before the first write

	// overlap is how long the key that is replaced stays valid; the role's own if nil.
	overlap *time.Duration
}

// recordPatience is how long a role waits for a record that somebody else is at: that
// is a kill, which may hang.
const recordPatience = 5 * time.Second

// vacantRetry is how long a role that has no key waits for the next try, at the most.
const vacantRetry = 3 * time.Minute

func (b *backend) staticMove(s logical.Storage, e *staticEntry) *staticMove {
	return &staticMove{backend: b, storage: s, name: e.name, entry: e}
}

func (m *staticMove) ledger() ledger    { return m.backend.ledger(m.storage) }
func (m *staticMove) log() hclog.Logger { return m.Logger().With("static_role", m.name) }

// put stores the role, after its entry in the time index. After an error it may be
// stored all the same, so what is stored is read back.
func (m *staticMove) put(ctx context.Context, next *staticEntry) error {
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	next.Due = next.nextDue(m.now())
	err := m.write(ctx, next)
	if err == nil {
		m.entry = next
		return nil
	}
	stored, readErr := loadAnyStatic(ctx, m.storage, m.name)
	if readErr != nil || stored == nil && m.entry != nil {
		m.lost = true
		return err
	}
	m.entry = stored
	return err
}

func (m *staticMove) write(ctx context.Context, next *staticEntry) error {
	to := staticPointer(next.Config, m.name)
	moved := m.entry == nil || m.entry.dueKey() != next.dueKey()
	if moved {
		if err := m.ledger().hint(ctx, to, next.Due); err != nil {
			return err
		}
	}
	if err := saveSealed(ctx, m.storage, staticKey(m.name), next); err != nil {
		return err
	}
	if moved && m.entry != nil {
		m.ledger().forgetHint(ctx, staticPointer(m.entry.Config, m.name), m.entry.Due)
	}
	return nil
}

// dueKey is the role's entry in the time index.
func (e *staticEntry) dueKey() string { return staticPointer(e.Config, e.name).dueKey(e.Due) }

// change stores a change of the schedule.
func (m *staticMove) change(ctx context.Context, how func(*rotationEntry)) error {
	next := m.entry.clone()
	how(&next.Rotation)
	if soon := m.now().Add(vacantRetry); next.Key == nil && next.Rotation.RetryAt.After(soon) {
		next.Rotation.RetryAt = soon
	}
	return m.put(ctx, next)
}

// records are those of the role's keys, under all connections.
func (m *staticMove) records(ctx context.Context) ([]record, error) {
	return m.ledger().staticOf(ctx, m.name, m.entry)
}

// reconcile brings the records in line with the role.
func (m *staticMove) reconcile(ctx context.Context) error {
	recs, err := m.records(ctx)
	if err != nil {
		return err
	}
	for _, rec := range recs {
		if m.verdict(rec) == nil {
			continue
		}
		if err := m.onRecord(ctx, rec.pointer(), func(rec record) error {
			if move := m.verdict(rec); move != nil {
				return move(ctx, rec)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if m.entry == nil || m.entry.Previous == nil || m.entry.Previous.Marked {
		return nil
	}
	next := m.entry.clone()
	marked := *next.Previous
	marked.Marked = true
	next.Previous = &marked
	return m.put(ctx, next)
}

// onRecord calls do with a record as it is, under its slot, unless it is gone.
func (m *staticMove) onRecord(ctx context.Context, p pointer, do func(record) error) error {
	wait, cancel := context.WithTimeoutCause(ctx, recordPatience, fmt.Errorf("record %s is being worked on", p.id))
	defer cancel()
	release, err := m.slots.acquire(wait, recordSlot(p.id))
	if err != nil {
		return err
	}
	defer release()
	rec, err := m.ledger().get(ctx, p)
	if err != nil || rec == nil {
		return err
	}
	return do(*rec)
}

// verdict is what has to become of a record; nil for nothing.
func (m *staticMove) verdict(rec record) func(context.Context, record) error {
	if rec.State != active {
		return nil // a create without an answer, or to be deleted: the sweep does it
	}
	e := m.entry
	switch {
	case e == nil:
	case e.Key != nil && e.Key.Record == rec.ID && e.leaving():
		if e.AtOnce {
			return m.replaceAt(time.Time{})
		}
		return m.replaceAt(e.Leaving)
	case e.Key != nil && e.Key.Record == rec.ID:
		if rec.Due.IsZero() {
			return nil
		}
		return func(ctx context.Context, rec record) error { _, err := m.ledger().use(ctx, rec); return err }
	case e.Candidate != nil && e.Candidate.Record == rec.ID:
		return nil
	case e.Previous != nil && e.Previous.Record == rec.ID:
		return m.replaceAt(e.Previous.Until)
	}
	if rec.Adopted {
		return m.ledger().drop // an import that was cut short: the key is the operator's
	}
	return func(ctx context.Context, rec record) error {
		_, err := m.ledger().retire(ctx, rec, m.now())
		return err
	}
}

// replaceAt marks a key for deletion, and makes the provider honour it until then.
func (m *staticMove) replaceAt(until time.Time) func(context.Context, record) error {
	return func(ctx context.Context, rec record) error {
		if until.IsZero() {
			_, err := m.ledger().retire(ctx, rec, m.now())
			return err
		}
		if !rec.Adopted && !rec.ExpiresAt.IsZero() && rec.ExpiresAt.Before(until) {
			extended, err := m.extend(ctx, rec, until.Add(minExpiryGrace))
			if err != nil {
				m.log().Warn("a replaced key ends at its provider before its overlap is over", "id", rec.ID, "key_id", rec.KeyID, "expires_at", rfc3339(rec.ExpiresAt), "error", err)
			} else {
				rec = extended
			}
		}
		_, err := m.ledger().replace(ctx, rec, until)
		return err
	}
}

// extend moves the provider's expiry of a key. The caller holds the record's slot.
func (m *staticMove) extend(ctx context.Context, rec record, until time.Time) (record, error) {
	conn, err := m.connection(ctx, m.storage, rec.Config)
	if err != nil {
		return record{}, err
	}
	expires, err := m.moveExpiry(ctx, conn, rec, until)
	if err != nil {
		return record{}, err
	}
	return m.ledger().extend(ctx, rec, expires, rec.Due)
}

// cover makes the provider honour the key until its next rotation and the overlap
// are over, however late that comes. A key that was imported is left as it is, and one
// that turns out to be gone is replaced.
func (m *staticMove) cover(ctx context.Context) error {
	if m.entry == nil || m.entry.Key == nil {
		return nil
	}
	conn, err := m.connection(ctx, m.storage, m.entry.Key.Config)
	if err != nil {
		return err
	}
	gone := false
	err = m.onRecord(ctx, m.entry.Key.pointer(m.name), func(rec record) error {
		if rec.State != active || !m.entry.uncovered(rec, conn, m.now()) {
			return nil
		}
		_, err := m.extend(ctx, rec, m.entry.expiryFor(conn, m.entry.Rotation.Next, m.now()))
		switch {
		case errors.Is(err, errGone):
			gone = true
			return m.ledger().drop(ctx, rec)
		case err == nil:
			m.log().Info("the expiry of a key is moved, for it is not replaced yet", "key_id", rec.KeyID)
		}
		return err
	})
	if err == nil && gone {
		return m.noticeLoss(ctx)
	}
	return err
}

// uncovered reports whether the provider ends the role's key before its next rotation
// and the overlap are surely over. One that lives too briefly for that is rotated
// before it ends (see rotateBefore), and only if that is late it is uncovered.
func (e *staticEntry) uncovered(rec record, conn *connection, now time.Time) bool {
	if _, ok := conn.client.(provider.Extender); !ok || rec.Adopted || rec.ExpiresAt.IsZero() {
		return false
	}
	if shortLived := !e.Key.Expires.IsZero(); shortLived && now.Before(e.rotateDue()) {
		return false
	}
	return !rec.ExpiresAt.After(e.expiryFor(conn, e.Rotation.Next, now).Add(-staticSlack / 2))
}
