package provider

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A gateTest is a gate and what became of those who came to it.
type gateTest struct {
	*testing.T
	*gate

	mu       sync.Mutex
	admitted []string
	refused  map[string]error
	tickets  map[string]ticket
}

// atGate runs a test at a gate in a bubble.
func atGate(t *testing.T, limit int, run func(*gateTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		run(&gateTest{T: t, gate: newGate(limit), refused: map[string]error{}, tickets: map[string]ticket{}})
	})
}

// come sends somebody to the gate, and waits until he waits or is through.
func (g *gateTest) come(ctx context.Context, name string) {
	go func() {
		t, err := g.enter(ctx)
		g.mu.Lock()
		defer g.mu.Unlock()
		if err != nil {
			g.refused[name] = err
			return
		}
		g.admitted = append(g.admitted, name)
		g.tickets[name] = t
	}()
	synctest.Wait()
}

func (g *gateTest) ticket(name string) ticket {
	g.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	t, ok := g.tickets[name]
	if !ok {
		g.Fatalf("%s was not admitted", name)
	}
	return t
}

func (g *gateTest) wantAdmitted(names ...string) {
	g.Helper()
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Equal(g.admitted, names) {
		g.Errorf("admitted %q, want %q", g.admitted, names)
	}
}

// wantState checks who is under way, who waits, and how wide the gate is.
func (g *gateTest) wantState(underWay, waiting, limit int) {
	g.Helper()
	synctest.Wait()
	g.gate.mu.Lock()
	defer g.gate.mu.Unlock()
	if g.underWay != underWay || g.waiters.Len() != waiting || g.limit != limit {
		g.Errorf("got %d under way, %d waiting, limit %d; want %d, %d, %d",
			g.underWay, g.waiters.Len(), g.limit, underWay, waiting, limit)
	}
}

func TestGateServesInOrder(t *testing.T) {
	atGate(t, 2, func(g *gateTest) {
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			g.come(g.Context(), name)
		}
		g.wantAdmitted("a", "b")
		g.leaveSuccess(g.ticket("b"))
		g.wantAdmitted("a", "b", "c")
		g.leave(g.ticket("a"))
		g.wantAdmitted("a", "b", "c", "d")
		g.leaveSuccess(g.ticket("c"))
		g.wantAdmitted("a", "b", "c", "d", "e")
		g.wantState(2, 0, 2)
	})
}

func TestGatePauseHoldsEverything(t *testing.T) {
	atGate(t, 4, func(g *gateTest) {
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			g.come(g.Context(), name)
		}
		g.leaveRateLimited(g.ticket("a"), 10*time.Second)
		g.leaveSuccess(g.ticket("b"))
		g.leaveSuccess(g.ticket("c"))
		time.Sleep(5 * time.Second)
		g.come(g.Context(), "g")
		time.Sleep(5*time.Second - time.Nanosecond)
		g.wantAdmitted("a", "b", "c", "d")

		time.Sleep(time.Nanosecond)
		g.wantAdmitted("a", "b", "c", "d", "e") // d is still under way, and two may be
		g.leaveSuccess(g.ticket("d"))
		g.wantAdmitted("a", "b", "c", "d", "e", "f")
	})
}

func TestGateLongerPauseWins(t *testing.T) {
	atGate(t, 4, func(g *gateTest) {
		for _, name := range []string{"a", "b", "c"} {
			g.come(g.Context(), name)
		}
		g.leaveRateLimited(g.ticket("a"), 10*time.Second)
		g.come(g.Context(), "d")
		g.leaveRateLimited(g.ticket("b"), 30*time.Second)
		g.leaveRateLimited(g.ticket("c"), 5*time.Second)
		time.Sleep(30*time.Second - time.Nanosecond)
		g.wantAdmitted("a", "b", "c")
		time.Sleep(time.Nanosecond)
		g.wantAdmitted("a", "b", "c", "d")
	})
}

func TestGateTellsAtOnceWhomThePauseOutlasts(t *testing.T) {
	atGate(t, 1, func(g *gateTest) {
		soon, cancel := context.WithTimeout(g.Context(), 5*time.Second)
		defer cancel()
		late, cancel := context.WithTimeout(g.Context(), time.Hour)
		defer cancel()
		g.come(g.Context(), "a")
		g.come(soon, "waits")
		g.come(late, "late")
		g.leaveRateLimited(g.ticket("a"), time.Minute)
		g.come(soon, "comes")
		for _, name := range []string{"waits", "comes"} {
			if err := g.refused[name]; !IsKind(err, RateLimited) || RetryAfter(err) != time.Minute {
				g.Errorf("%s: got %v, want to be told that the pause is a minute", name, err)
			}
		}
		g.wantState(0, 1, 1)
		time.Sleep(time.Minute)
		g.wantAdmitted("a", "late")
	})
}

func TestGateEndOfContext(t *testing.T) {
	atGate(t, 1, func(g *gateTest) {
		why := errors.New("the operator went home")
		ctx, cancel := context.WithCancelCause(g.Context())
		g.come(g.Context(), "a")
		g.come(ctx, "b")
		g.come(g.Context(), "c")
		cancel(why)
		g.come(ctx, "d")
		if g.refused["b"] != why || g.refused["d"] != why {
			g.Errorf("got %v and %v, want the cause of the context", g.refused["b"], g.refused["d"])
		}
		g.leaveSuccess(g.ticket("a"))
		g.wantAdmitted("a", "c")
	})
}

// Somebody who gives up just as he is admitted hands his place on.
func TestGateGivingUpWhileAdmitted(t *testing.T) {
	atGate(t, 1, func(g *gateTest) {
		ctx, cancel := context.WithCancel(g.Context())
		w := &waiter{turn: make(chan error, 1)}
		place := g.queue(w)
		g.come(g.Context(), "next")
		cancel()
		if err := g.giveUp(ctx, w, place); err != context.Canceled {
			g.Errorf("got %v, want %v", err, context.Canceled)
		}
		g.wantAdmitted("next")
		g.wantState(1, 0, 1)
	})
}

// Somebody who is admitted just before a pause begins does not leave, and is
// first when it ends.
func TestGatePauseBetweenAdmissionAndStart(t *testing.T) {
	atGate(t, 2, func(g *gateTest) {
		g.come(g.Context(), "a")
		w := &waiter{turn: make(chan error, 1)}
		g.queue(w)
		g.come(g.Context(), "next")
		g.leaveRateLimited(g.ticket("a"), time.Second)
		if err := <-w.turn; err != nil {
			g.Fatal(err)
		}
		if _, place := g.start(w); place == nil {
			g.Fatal("started in the pause")
		}
		g.wantState(0, 2, 1)
		time.Sleep(time.Second)
		if err := <-w.turn; err != nil {
			g.Fatal(err)
		}
		if _, place := g.start(w); place != nil {
			g.Fatal("did not start after the pause")
		}
		g.wantAdmitted("a")
	})
}

func TestGateHalvesOncePerEvent(t *testing.T) {
	atGate(t, 16, func(g *gateTest) {
		for i := range 8 {
			g.come(g.Context(), string(rune('a'+i)))
		}
		for _, name := range []string{"a", "b", "c"} {
			g.leaveRateLimited(g.ticket(name), time.Second)
		}
		g.wantState(5, 0, 8)
		time.Sleep(time.Second) // at the very end of the pause
		g.come(g.Context(), "z")
		g.leaveRateLimited(g.ticket("d"), time.Second)
		g.wantState(5, 0, 8) // d left before the first event
		g.leaveRateLimited(g.ticket("z"), time.Second)
		g.wantState(4, 0, 4)
	})
}

func TestGateWidensBySuccesses(t *testing.T) {
	g := newGate(4)
	for range 10 { // never below one
		g.underWay++
		g.leaveRateLimited(ticket{epoch: g.epoch}, time.Nanosecond)
	}
	for want, successes := range map[int]int{1: 0, 2: 8, 3: 8 + 16, 4: 8 + 16 + 24} {
		g.limit, g.successes = 1, 0
		for range successes {
			g.underWay++
			g.leaveSuccess(ticket{epoch: g.epoch})
		}
		if g.limit != want {
			t.Errorf("after %d successes: got limit %d, want %d", successes, g.limit, want)
		}
	}
	for range 1000 { // never above max
		g.underWay++
		g.leaveSuccess(ticket{epoch: g.epoch})
	}
	if g.limit != 4 {
		t.Errorf("got limit %d, want 4", g.limit)
	}
}

func TestGatePausesOfUnknownLength(t *testing.T) {
	atGate(t, 4, func(g *gateTest) {
		pause := func(news bool) time.Duration {
			epoch := g.epoch
			if !news {
				epoch--
			}
			g.underWay++
			g.leaveRateLimited(ticket{epoch}, 0)
			d := time.Until(g.pausedTo)
			time.Sleep(d)
			return d
		}
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			if got := pause(true); got != want*time.Second {
				g.Errorf("got pause %s, want %s", got, want*time.Second)
			}
		}
		if got := pause(false); got != 30*time.Second {
			g.Errorf("got pause %s for a straggler, want no longer one", got)
		}
		g.underWay++
		g.leaveSuccess(ticket{g.epoch - 1})
		if got := pause(true); got != 30*time.Second {
			g.Errorf("got pause %s after the success of a straggler, want 30s", got)
		}
		g.underWay++
		g.leaveSuccess(ticket{g.epoch})
		if got := pause(true); got != time.Second {
			g.Errorf("got pause %s after a success, want 1s", got)
		}
	})
}

// Whatever happens, nobody is lost, no place is lost, and no more are under way
// than may be.
func TestGateLosesNobody(t *testing.T) {
	atGate(t, 8, func(g *gateTest) {
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				time.Sleep(rand.N(10 * time.Second))
				ctx, cancel := context.WithTimeout(g.Context(), rand.N(10*time.Second))
				defer cancel()
				tk, err := g.enter(ctx)
				if err != nil {
					return
				}
				g.gate.mu.Lock()
				if g.underWay > g.max || time.Until(g.pausedTo) > 0 && tk.epoch == g.epoch {
					g.Errorf("%d under way, paused to %s", g.underWay, g.pausedTo)
				}
				g.gate.mu.Unlock()
				time.Sleep(rand.N(200 * time.Millisecond))
				switch rand.N(20) {
				case 0:
					g.leaveRateLimited(tk, rand.N(time.Second))
				case 1:
					g.leave(tk)
				default:
					g.leaveSuccess(tk)
				}
			})
		}
		wg.Wait()
		if g.underWay != 0 || g.waiters.Len() != 0 {
			g.Errorf("got %d under way, %d waiting, want none", g.underWay, g.waiters.Len())
		}
	})
}
