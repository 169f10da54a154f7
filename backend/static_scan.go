package backend

import (
	"context"
	"errors"
	"strings"
	"time"
)

// This file looks at all static roles whenever the time index is listed as a whole:
// after a start, hourly, and when the clock went back. It finds what has no entry in
// the index although there is something to do, and gives it one.
//
//   - It comes after all that is due, reads two entries of each role, calls no
//     provider and writes nothing for a role with which all is well.
//   - What it has no time for, it goes on with in the next sweep.

// scanStatics looks at the static roles, from where the sweep before has ended.
func (r *sweepRun) scanStatics(ctx context.Context) {
	state := &r.sweeps
	if state.whole() && !state.scanning {
		state.scanning, state.scanned = true, ""
	}
	if !state.scanning {
		return
	}
	err := walk(ctx, r.storage, staticPrefix, func(key string) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if key <= state.scanned {
			return nil
		}
		if err := r.scanStatic(ctx, strings.TrimPrefix(key, staticPrefix)); err != nil {
			r.Logger().Error("sweep: a static role cannot be looked at", "key", key, "error", err)
		}
		state.scanned = key
		return nil
	})
	if err != nil && !errors.Is(err, errTimeSpent) {
		r.Logger().Warn("sweep: the static roles are looked at in the next sweep", "error", err)
	}
	state.scanning = err != nil
}

func (r *sweepRun) scanStatic(ctx context.Context, name string) error {
	e, err := loadAnyStatic(ctx, r.storage, name)
	if err != nil || e == nil {
		return err
	}
	todo := e.unfinished(r.now())
	if !todo {
		if todo, err = r.keyNeedsWork(ctx, e); err != nil {
			return err
		}
	}
	if !todo {
		return nil
	}
	return r.notice(ctx, r.storage, e.Config, name, r.now())
}

// unfinished reports whether there is something to do about a role, by what is stored
// of it.
func (e *staticEntry) unfinished(now time.Time) bool {
	planned := e.Rotation
	switch {
	case e.leaving(), e.Key == nil, e.Candidate != nil, e.Previous != nil && !e.Previous.Marked:
		return true
	case !e.rotateAt().After(now):
		return true
	}
	return planned.correct(now)
}

// keyNeedsWork reports whether the key of a role was killed, or ends too early.
func (r *sweepRun) keyNeedsWork(ctx context.Context, e *staticEntry) (bool, error) {
	rec, err := r.ledger(r.storage).get(ctx, e.Key.pointer(e.name))
	if err != nil || rec == nil || rec.State != active || !rec.Due.IsZero() {
		return err == nil, err
	}
	conn, err := r.backend.connection(ctx, r.storage, rec.Config)
	if errors.Is(err, errNoConnection) {
		return false, nil // its rotation will say so
	}
	return err == nil && e.uncovered(*rec, conn, r.now()), err
}
