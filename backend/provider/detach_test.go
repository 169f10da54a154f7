package provider

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// A detached call that has left is finished, whether or not its caller waits.
func TestDetachFinishesWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := newTransport(t, func(req *http.Request) (*http.Response, error) {
			connect(req)
			time.Sleep(5 * time.Second)
			if err := req.Context().Err(); err != nil {
				return nil, err
			}
			return answer(200, "{}"), nil
		})
		caller, gone := context.WithTimeout(t.Context(), time.Second)
		defer gone()
		ctx, cancel := Detach(caller, time.Minute)
		defer cancel()
		resp, err := transport.RoundTrip(newRequest(ctx, "POST", "{}"))
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("got %v, %v, want the answer", resp, err)
		}
	})
}

func TestDetachEndsAfterItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := newTransport(t, hang)
		ctx, cancel := Detach(t.Context(), 7*time.Second)
		defer cancel()
		start := time.Now()
		_, err := transport.RoundTrip(newRequest(ctx, "POST", "{}"))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 7*time.Second {
			t.Errorf("got %v after %s, want 7s", err, time.Since(start))
		}
	})
}

func TestDetachKeepsValues(t *testing.T) {
	type key struct{}
	ctx, cancel := Detach(context.WithValue(t.Context(), key{}, "kept"), time.Minute)
	defer cancel()
	if ctx.Value(key{}) != "kept" {
		t.Error("a value of the caller's context is lost")
	}
}

// A detached call whose turn has not come ends with its caller: nothing was
// sent, and nothing is tried again.
func TestDetachEndsWaitForTurn(t *testing.T) {
	why := errors.New("the client hung up")
	for name, goneAfter := range map[string]time.Duration{"in the queue": 3 * time.Second, "before": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := newTransport(t, hang)
				for range 2 { // nobody else has a turn for half a minute
					go func() { _, _ = transport.RoundTrip(newRequest(t.Context(), "POST", "{}")) }()
				}
				synctest.Wait()
				caller, gone := context.WithCancelCause(t.Context())
				if goneAfter == 0 {
					gone(why)
				}
				time.AfterFunc(goneAfter, func() { gone(why) })
				ctx, cancel := Detach(caller, time.Minute)
				defer cancel()
				start := time.Now()
				_, err := transport.RoundTrip(newRequest(ctx, "POST", "{}"))
				if !errors.Is(err, why) || !noTurn(err) || time.Since(start) != goneAfter || transport.sent.Load() != 2 {
					t.Errorf("got %v after %s and %d requests, want %v after %s", err, time.Since(start), transport.sent.Load(), why, goneAfter)
				}
				if e := Classify(Call{Creates: true, Err: err}); e.Kind != Unavailable {
					t.Errorf("got kind %s, want %s", e.Kind, Unavailable)
				}
			})
		})
	}
}

// The caller's deadline counts while the call waits for a pause to end.
func TestDetachTellsCallerWhomPauseOutlasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := newTransport(t, always(429, "Retry-After", "60"))
		caller, gone := context.WithTimeout(t.Context(), 10*time.Second)
		defer gone()
		ctx, cancel := Detach(caller, time.Hour)
		defer cancel()
		start := time.Now()
		resp, err := transport.RoundTrip(newRequest(ctx, "POST", "{}"))
		if err != nil || resp.StatusCode != 429 || time.Since(start) != 0 {
			t.Errorf("got %v, %v after %s, want the rate limit at once", resp, err, time.Since(start))
		}
	})
}

// A caller who goes while a detached call waits to be sent again ends it.
func TestDetachEndsBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := newTransport(t, always(503, "Retry-After", "20"))
		caller, gone := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, gone)
		ctx, cancel := Detach(caller, time.Minute)
		defer cancel()
		start := time.Now()
		resp, err := transport.RoundTrip(newRequest(ctx, "DELETE", ""))
		if err != nil || resp.StatusCode != 503 || time.Since(start) != time.Second {
			t.Errorf("got %v, %v after %s, want the failure after 1s", resp, err, time.Since(start))
		}
	})
}

// What follows a call that has left is sent, too, although the caller has gone; it
// ends with the detached context.
func TestFollowUpOfADetachedCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := newTransport(t, func(req *http.Request) (*http.Response, error) {
			connect(req)
			return answer(200, "{}"), nil
		})
		caller, gone := context.WithCancel(t.Context())
		ctx, cancel := Detach(caller, time.Minute)
		gone()
		if _, err := transport.RoundTrip(newRequest(ctx, "POST", "{}")); err == nil {
			t.Error("got an answer for a caller who has gone, want none")
		}
		if _, err := transport.RoundTrip(newRequest(FollowUp(ctx), "POST", "{}")); err != nil {
			t.Errorf("follow-up: %v", err)
		}
		cancel()
		if _, err := transport.RoundTrip(newRequest(FollowUp(ctx), "POST", "{}")); err == nil {
			t.Error("got an answer after the end of the context, want none")
		}
	})
}
