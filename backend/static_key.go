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

// This file keeps the records of a static role's keys in line with the role, and
// does what the sweep has to do for it.
//
//   - All of it happens under the slot of the role, and every move of a record under
//     that of the record, for a kill takes only that.
//   - A key that was replaced is deleted by the sweep as any other, once it is due.
//   - A key that was killed is replaced by the next sweep, unless the role is
//     suspended.
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

// noticeLoss takes a key that was killed from the role, which then has none.
func (m *staticMove) noticeLoss(ctx context.Context) error {
	alive, err := m.staticKeyAlive(ctx, m.storage, m.entry)
	if err != nil || alive || m.entry.Key == nil {
		return err
	}
	m.log().Info("the key was revoked; a new one is made", "key_id", m.entry.Key.KeyID)
	next := m.entry.clone()
	next.Key, next.VacantSince = nil, m.now()
	return m.put(ctx, next)
}

// staticKeyAlive reports whether the role has a key that nobody has killed.
func (b *backend) staticKeyAlive(ctx context.Context, s logical.Storage, e *staticEntry) (bool, error) {
	if e.Key == nil {
		return false, nil
	}
	rec, err := b.ledger(s).get(ctx, e.Key.pointer(e.name))
	return rec != nil && rec.State == active, err
}

// tend does all that is to be done about a static role.
func (m *staticMove) tend(ctx context.Context) error {
	if m.entry == nil {
		return m.reconcile(ctx)
	}
	if m.entry.leaving() {
		return m.leave(ctx)
	}
	if err := firstErrorOf(
		func() error { return m.reconcile(ctx) },
		func() error { return m.noticeLoss(ctx) },
	); err != nil {
		return err
	}
	suspended, err := suspensionOf(ctx, m.storage, m.name)
	if err != nil {
		return err
	}
	if suspended != nil {
		return m.tendSuspended(ctx)
	}
	if err := m.correctClock(ctx); err != nil {
		return err
	}
	rotated := m.rotateIfDue(ctx, m)
	return errors.Join(rotated, m.cover(ctx))
}

// tendSuspended gives up a new key that was not handed out: a suspended role gets
// none.
func (m *staticMove) tendSuspended(ctx context.Context) error {
	if m.entry.Candidate == nil {
		return nil
	}
	return firstErrorOf(
		func() error { return m.dropCandidate(ctx) },
		func() error { return m.reconcile(ctx) },
		func() error { return m.deleteGivenUp(ctx) },
	)
}

// correctClock mends what was stored while the clock was ahead: since when there is no
// key, when to try again, and overlaps. Overlaps are shortened only if the provider's
// clock agrees with ours.
func (m *staticMove) correctClock(ctx context.Context) error {
	now := m.now()
	if m.entry.VacantSince.After(now) || m.entry.Key == nil && m.entry.Rotation.RetryAt.After(now.Add(2*vacantRetry)) {
		next := m.entry.clone()
		next.VacantSince, next.Rotation.RetryAt = now, time.Time{}
		if err := m.put(ctx, next); err != nil {
			return err
		}
	}
	if planned := m.entry.Rotation; !planned.correct(now) {
		return nil
	}
	conn, err := m.connection(ctx, m.storage, m.entry.Config)
	if err != nil {
		return err
	}
	state, err := m.compareClocks(ctx, conn)
	if err != nil || state != clocksAgree {
		return err
	}
	return m.shorten(ctx, now.Add(m.entry.Rotation.Overlap.duration()), false)
}

// shorten ends the overlap of all replaced keys, at the latest at until, or now.
func (m *staticMove) shorten(ctx context.Context, until time.Time, now bool) error {
	recs, err := m.records(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, rec := range recs {
		if !rec.overlapsPast(until, now) {
			continue
		}
		errs = append(errs, m.onRecord(ctx, rec.pointer(), func(rec record) error {
			if !rec.overlapsPast(until, now) {
				return nil
			}
			var err error
			if now {
				_, err = m.ledger().hurry(ctx, rec)
			} else {
				_, err = m.ledger().replace(ctx, rec, until)
			}
			return err
		}))
	}
	return errors.Join(errs...)
}

// overlapsPast reports whether a replaced key stays valid after until, or at all.
func (r record) overlapsPast(until time.Time, atAll bool) bool {
	if atAll {
		return r.State == revoking && !r.NotBefore.IsZero()
	}
	return r.State == revoking && r.NotBefore.After(until)
}

// deleteGivenUp deletes the keys that nobody may use any more. One in its overlap is
// left to the sweep, which looks at the provider's clock.
func (m *staticMove) deleteGivenUp(ctx context.Context) error {
	recs, err := m.records(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, rec := range recs {
		if !m.overNow(rec) {
			continue
		}
		errs = append(errs, m.onRecord(ctx, rec.pointer(), func(rec record) error {
			if !m.overNow(rec) {
				return nil
			}
			return m.kill(ctx, m.storage, rec)
		}))
	}
	return errors.Join(errs...)
}

func (m *staticMove) overNow(rec record) bool {
	return rec.State == revoking && rec.NotBefore.IsZero() && !rec.Due.After(m.now())
}

// leave finishes the deletion of a role.
func (m *staticMove) leave(ctx context.Context) error {
	return firstErrorOf(
		func() error { return m.reconcile(ctx) },
		func() error { return m.shorten(ctx, m.entry.Leaving, m.entry.AtOnce) },
		func() error { return m.retirePrincipals(ctx, m.storage, m.name) },
		func() error {
			ctx, cancel := mustRecord(ctx)
			defer cancel()
			if err := remove(ctx, m.storage, staticKey(m.name)); err != nil {
				return err
			}
			m.ledger().forgetHint(ctx, staticPointer(m.entry.Config, m.name), m.entry.Due)
			return nil
		},
	)
}

// lookAtStatics makes the sweep look at the static roles that a name stands for. One
// that cannot be read is left out.
func (b *backend) lookAtStatics(ctx context.Context, s logical.Storage, name string) error {
	roles, err := rolesUnder(ctx, s, name)
	if err != nil {
		return err
	}
	var errs []error
	for _, role := range roles {
		e, err := loadStatic(ctx, s, role)
		if err != nil {
			b.Logger().Error("a static role cannot be read", "role", role, "error", err)
		}
		if e != nil {
			errs = append(errs, b.notice(ctx, s, e.Config, role, b.now()))
		}
	}
	return errors.Join(errs...)
}
