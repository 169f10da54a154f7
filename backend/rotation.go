package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file rotates keys: the admin key of a connection, or that of a static role.
// Whose it is, is a holder.
//
//	1  finish what an earlier rotation has left
//	2  record pending, under the name that the new key will have
//	3  mint it. Outcome unknown: look for it by name and delete it; what is not
//	   found stays pending for the sweep
//	4  record active; its secret is stored as the holder's candidate
//	5  try it. It will never do: delete it. Not known everywhere yet: the sweep
//	   tries again, for a while
//	6  one write of the holder puts it in use
//	7  the record of the replaced key is marked for deletion after the overlap
//
// Up to 6 the holder has its old key, from then on the new one. A crash anywhere
// leaves what the sweep finishes or undoes from storage. There is never a second
// candidate, and a rotation is made once, however many due times have passed.

const (
	// rotationBudget bounds one rotation while somebody waits.
	rotationBudget = 75 * time.Second
	// candidatePatience is how long that caller waits for a new key to be accepted.
	candidatePatience = 30 * time.Second
	// sweepPatience is how long a sweep does.
	sweepPatience = 5 * time.Second
	// candidateAge is when a new key that is not accepted is given up.
	candidateAge = 10 * time.Minute
	// candidateRetry is when the sweep looks at a candidate that was left.
	candidateRetry = time.Minute
)

// A holder has one key in use and can have it replaced. Its slot is held.
type holder interface {
	log() hclog.Logger
	// noun is what the key is called in what people read: admin key, or key.
	noun() string
	// of is whose key it is, for metrics and events.
	of() rotated
	state() *moveState
	// schedule is as it is stored: change changes it.
	schedule() *rotationEntry
	change(ctx context.Context, how func(*rotationEntry)) error
	// rotateAt is when the sweep rotates next; zero for never.
	rotateAt() time.Time
	missedWindow(now time.Time) bool
	// clockBehind reports whether our clock is behind the provider's.
	clockBehind(ctx context.Context) (bool, error)
	// candidateMade is when the candidate was made; zero if there is none.
	candidateMade() time.Time

	// reconcile brings the records in line with what is stored of the holder.
	reconcile(ctx context.Context) error
	// mintCandidate makes a new key and stores it as the candidate.
	mintCandidate(ctx context.Context, who owner) error
	// trial returns what tries the candidate.
	trial(ctx context.Context) (func(context.Context) error, error)
	// promote puts the candidate in use, in one write.
	promote(ctx context.Context) error
	// dropCandidate gives the candidate up. Its record then says that nothing uses
	// the key, and deleteGivenUp deletes it.
	dropCandidate(ctx context.Context) error
	deleteGivenUp(ctx context.Context) error
}

// A moveState is what a holder remembers while it is worked on.
type moveState struct {
	lost     bool // what is stored is not known: nothing more is written
	began    bool // a new key was begun
	warnings []string
}

func (s *moveState) warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

// rotate replaces the key of a holder, or finishes a rotation that was begun. After
// an error the holder has the key that it had.
func (b *backend) rotate(ctx context.Context, h holder, who owner, patience time.Duration) error {
	if err := h.reconcile(ctx); err != nil {
		return err
	}
	if h.candidateMade().IsZero() {
		if err := b.prepareMint(ctx, h); err != nil {
			return err
		}
		if err := h.mintCandidate(ctx, who); err != nil {
			return b.rotationFailed(ctx, h, err)
		}
	}
	if err := tryCandidate(ctx, h, patience); err != nil {
		return b.rotationFailed(ctx, h, b.judgeCandidate(ctx, h, err))
	}
	if err := h.promote(ctx); err != nil {
		return b.rotationFailed(ctx, h, err)
	}
	h.log().Info("rotated", "what", h.noun())
	b.tellRotated(h.of(), nil)
	if err := h.reconcile(ctx); err != nil {
		h.log().Warn("the replaced key is marked for deletion by the sweep", "error", err)
	}
	return nil
}

// prepareMint stores that a key is about to be made. If the holder cannot be stored,
// no key is made that it could not have, minute after minute.
func (b *backend) prepareMint(ctx context.Context, h holder) error {
	now := b.now()
	err := h.change(ctx, func(r *rotationEntry) { r.attempt(now) })
	if err != nil && (h.state().lost || !h.schedule().Attempt.Equal(now)) {
		return fmt.Errorf("prepare the rotation: %w", err)
	}
	return nil
}

// rotationFailed notes a failure with the holder and returns it.
func (b *backend) rotationFailed(ctx context.Context, h holder, err error) error {
	h.log().Warn("not rotated", "what", h.noun(), "error", err)
	if !h.state().began && errors.Is(context.Cause(ctx), errTimeSpent) {
		return err
	}
	b.tellRotated(h.of(), err)
	if h.state().lost {
		return err
	}
	if put := h.change(ctx, func(r *rotationEntry) { r.failed(b.now(), h.noun(), err) }); put != nil {
		h.log().Warn("the failure could not be noted", "error", put)
	}
	return err
}

// tryCandidate tries the candidate until it is accepted, is refused for good, or
// patience is over: then no further trial is begun.
func tryCandidate(ctx context.Context, h holder, patience time.Duration) error {
	try, err := h.trial(ctx)
	if err != nil {
		return err
	}
	return tryKey(ctx, try, patience)
}

// tryKey calls try as tryCandidate does.
func tryKey(ctx context.Context, try func(context.Context) error, patience time.Duration) error {
	until := time.Now().Add(patience)
	for wait := time.Second; ; wait = min(2*wait, 8*time.Second) {
		err := try(ctx)
		if err == nil || refusedForGood(err) || time.Until(until) < wait {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// refusedForGood reports whether a new key will never do. Unauthorized is what a
// provider answers until it knows the key everywhere.
func refusedForGood(err error) bool {
	return provider.IsKind(err, provider.Forbidden) || provider.IsKind(err, provider.Invalid) || errors.Is(err, errCandidateRevoked)
}

// judgeCandidate gives up a candidate that will not do, or leaves it to the sweep.
// It returns cause with what comes of it.
func (b *backend) judgeCandidate(ctx context.Context, h holder, cause error) error {
	age := b.now().Sub(h.candidateMade())
	if !refusedForGood(cause) && -clockTolerance < age && age < candidateAge {
		return fmt.Errorf("the new %s does not work yet, so the old one stays in use; it is tried again each minute, for %s: %w", h.noun(), candidateAge, cause)
	}
	err := firstErrorOf(
		func() error { return h.dropCandidate(ctx) },
		func() error { return h.reconcile(ctx) },
		func() error { return h.deleteGivenUp(ctx) },
	)
	if err != nil {
		h.log().Warn("a new key that does not do is deleted later", "error", err)
	}
	return fmt.Errorf("the new %s does not do, so it is deleted and the old one stays in use: %w", h.noun(), cause)
}

// rotateIfDue finishes a rotation that was begun, or begins one if it is time.
func (b *backend) rotateIfDue(ctx context.Context, h holder) error {
	if err := b.correctPlan(ctx, h); err != nil {
		return err
	}
	if h.candidateMade().IsZero() {
		switch at := h.rotateAt(); {
		case at.IsZero() || b.now().Before(at):
			return nil
		case h.missedWindow(b.now()):
			return b.skipRotation(ctx, h)
		}
	}
	return b.rotate(ctx, h, owner{DisplayName: "automated rotation"}, sweepPatience)
}

// correctPlan plans anew what was planned while the clock was ahead. If it is behind
// now, the plan is right.
func (b *backend) correctPlan(ctx context.Context, h holder) error {
	planned := *h.schedule()
	if !planned.correct(b.now()) {
		return nil
	}
	behind, err := h.clockBehind(ctx)
	if err != nil || behind {
		return err
	}
	h.log().Warn("the next rotation lies too far ahead; was this node's clock ahead? It is planned anew", "next", rfc3339(planned.Next))
	return h.change(ctx, func(r *rotationEntry) { r.correct(b.now()) })
}

func (b *backend) skipRotation(ctx context.Context, h holder) error {
	err := h.change(ctx, func(r *rotationEntry) { r.skip(b.now(), h.noun()) })
	h.log().Warn("a rotation has missed its window", "next", rfc3339(h.schedule().Next))
	if err == nil { // else it is noticed again
		b.tellRotated(h.of(), errMissedWindow)
	}
	return err
}
