package backend

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// This file does what the sweep has to do for a static role, apart from its rotation.
//
//   - A key that was killed is replaced by the next sweep, unless the role is
//     suspended.
//   - A suspended role gets no key, and what was begun for it is given up.
//   - What was stored while the clock was ahead is mended.

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
