package provider

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// This file decides when a request of a connection may leave.
//
//   - At most limit requests are under way. Waiters are served first come, first
//     served.
//   - A rate limit pauses the whole connection: until it is over nothing leaves,
//     and a waiter whose time ends before the pause does is told at once.
//   - Each rate limit halves how many may be under way, and successes raise it
//     again by one at a time, so that the connection settles at the rate that
//     the provider allows instead of running into the limit at full width.

// successesPerStep is how many answers, for each request that may be under way,
// raise that number by one.
const successesPerStep = 8

// unknownPause is how long a rate limit without Retry-After pauses a connection
// the first time; it doubles up to maxUnknownPause while rate limits follow
// each other.
const (
	unknownPause    = time.Second
	maxUnknownPause = 30 * time.Second
)

// A gate admits requests. Safe for concurrent use.
type gate struct {
	max int

	mu        sync.Mutex
	limit     int // at most this many under way now
	underWay  int
	successes int // since limit last changed
	// epoch grows with each rate limit. Requests of one epoch that are refused
	// together are one event, not many.
	epoch     int
	pausedTo  time.Time     // nothing leaves before
	pauses    int64         // so far
	lastPause time.Duration // of a rate limit without Retry-After; 0 after a success
	waiters   list.List     // of *waiter, the first to come first
	timer     *time.Timer   // admits waiters at the end of a pause
}

func newGate(limit int) *gate { return &gate{max: limit, limit: limit} }

// A waiter is a request that waits for its turn.
type waiter struct {
	deadline time.Time  // of its context; zero if there is none
	turn     chan error // nil: go; an error: there will be no turn. Holds one.
}

// A ticket is one admitted request; one of the leave methods must follow.
type ticket struct{ epoch int }

// enter waits until a request may leave. It fails with a RateLimited *Error if
// the connection is paused beyond the end of ctx, or with the cause of ctx.
func (g *gate) enter(ctx context.Context) (ticket, error) {
	if err := context.Cause(ctx); err != nil {
		return ticket{}, err
	}
	w := &waiter{turn: make(chan error, 1)}
	w.deadline, _ = ctx.Deadline()
	place := g.queue(w)
	for {
		select {
		case err := <-w.turn:
			if err != nil {
				return ticket{}, err
			}
			t, again := g.start(w)
			if again == nil {
				return t, nil
			}
			place = again
		case <-ctx.Done():
			return ticket{}, g.giveUp(ctx, w, place)
		}
	}
}

// queue puts w at the end of the line.
func (g *gate) queue(w *waiter) *list.Element {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.refusalLocked(w); err != nil {
		w.turn <- err
		return nil
	}
	place := g.waiters.PushBack(w)
	g.admitLocked()
	return place
}

// start turns an admission into a ticket. If a pause began since the admission,
// w goes back to the head of the line and start returns its place there.
func (g *gate) start(w *waiter) (ticket, *list.Element) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Until(g.pausedTo) <= 0 {
		return ticket{epoch: g.epoch}, nil
	}
	g.underWay--
	place := g.waiters.PushFront(w)
	g.refuseLocked()
	g.admitLocked()
	return ticket{}, place
}

// giveUp leaves the line, or hands on an admission that came too late.
func (g *gate) giveUp(ctx context.Context, w *waiter, place *list.Element) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case err := <-w.turn:
		if err != nil {
			return err
		}
		g.underWay--
		g.admitLocked()
	default:
		g.waiters.Remove(place)
	}
	if err := g.refusalLocked(w); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// refusalLocked is the error of a waiter whose time ends before the pause does;
// nil for any other.
func (g *gate) refusalLocked(w *waiter) error {
	wait := time.Until(g.pausedTo)
	if wait <= 0 || w.deadline.IsZero() || !w.deadline.Before(g.pausedTo) {
		return nil
	}
	return &Error{Kind: RateLimited, Reason: "the provider asked for a pause", RetryAfter: wait}
}

// refuseLocked tells every waiter that the pause outlasts.
func (g *gate) refuseLocked() {
	var next *list.Element
	for place := g.waiters.Front(); place != nil; place = next {
		next = place.Next()
		w := place.Value.(*waiter)
		if err := g.refusalLocked(w); err != nil {
			g.waiters.Remove(place)
			w.turn <- err
		}
	}
}

// admitLocked lets as many waiters go as may leave now.
func (g *gate) admitLocked() {
	if wait := time.Until(g.pausedTo); wait > 0 {
		if g.timer == nil && g.waiters.Len() > 0 {
			g.timer = time.AfterFunc(wait, g.pauseOver)
		}
		return
	}
	for g.underWay < g.limit && g.waiters.Len() > 0 {
		w := g.waiters.Remove(g.waiters.Front()).(*waiter)
		g.underWay++
		w.turn <- nil
	}
}

func (g *gate) pauseOver() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.timer = nil
	g.admitLocked()
}

// leave ends a request that was neither a success nor rate limited.
func (g *gate) leave(ticket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.underWay--
	g.admitLocked()
}

// leaveSuccess ends a request that the provider answered.
func (g *gate) leaveSuccess(t ticket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.underWay--
	if t.epoch == g.epoch {
		g.lastPause = 0
		g.widenLocked()
	}
	g.admitLocked()
}

// widenLocked counts a success.
func (g *gate) widenLocked() {
	if g.successes++; g.successes >= successesPerStep*g.limit && g.limit < g.max {
		g.limit++
		g.successes = 0
	}
}

// leaveRateLimited ends a request that the provider refused for its rate. A
// retryAfter of zero means that it did not say for how long.
func (g *gate) leaveRateLimited(t ticket, retryAfter time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.underWay--
	news := t.epoch == g.epoch
	if news {
		g.epoch++
		g.pauses++
		g.limit = max(1, g.limit/2)
		g.successes = 0
	}
	if retryAfter <= 0 {
		if news || g.lastPause == 0 {
			g.lastPause = min(max(unknownPause, 2*g.lastPause), maxUnknownPause)
		}
		retryAfter = g.lastPause
	}
	g.pauseLocked(retryAfter)
}

// pauseLocked holds the connection for d from now, unless it is held longer
// already.
func (g *gate) pauseLocked(d time.Duration) {
	if until := time.Now().Add(d); until.After(g.pausedTo) {
		g.pausedTo = until // a timer that ends before it sets a new one
		g.refuseLocked()
	}
	g.admitLocked()
}
