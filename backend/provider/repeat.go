package provider

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"
)

// This file alone says what may be sent again.
//
//   - What was not processed may be: a 429, and a request that never reached a
//     connection.
//   - What is safe to repeat may be, a few times: GET, HEAD, DELETE, and calls
//     under a Repeatable context, after a 408, a 5xx or a broken connection.
//   - Everything else is sent once. If it then fails, its outcome is unknown.

const (
	// maxRepeats bounds how often a request is sent again after a failure that
	// is not a rate limit. Rate limits are bounded by the caller's time alone.
	maxRepeats = 3
	// firstBackoff is the wait before the first repeat; it doubles each time.
	firstBackoff = 250 * time.Millisecond
	// maxBackoff bounds that wait: if Retry-After asks for a longer one, there is
	// no repeat.
	maxBackoff = 30 * time.Second
	// maxRetryAfter bounds what is believed of a Retry-After.
	maxRetryAfter = time.Hour
)

type repeatableKey struct{}

// Repeatable marks the calls under ctx as safe to repeat although they POST.
func Repeatable(ctx context.Context) context.Context {
	return context.WithValue(ctx, repeatableKey{}, true)
}

func repeatable(req *http.Request) bool {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodDelete:
		return true
	}
	return req.Context().Value(repeatableKey{}) != nil
}

// mayRepeat is the rule at the head of this file, but for rate limits.
func mayRepeat(req *http.Request, resp *http.Response, err error) bool {
	if unsent, ok := errors.AsType[*notSentError](err); ok {
		return !unsent.noTurn
	}
	if err == nil && resp.StatusCode < 500 && resp.StatusCode != http.StatusRequestTimeout {
		return false
	}
	return repeatable(req)
}

// backoff grows with the number of repeats and is up to a half shorter at
// random, so that callers that failed together do not come back together. It is
// no shorter than the Retry-After of resp, which may be nil.
func backoff(repeats int, resp *http.Response) time.Duration {
	d := firstBackoff << repeats
	d -= rand.N(d / 2)
	if resp != nil {
		d = max(d, retryAfter(resp.Header))
	}
	return d
}

// pause reports whether d passed before the end of the wait for a turn. It does
// not begin to wait in vain.
func pause(ctx context.Context, d time.Duration) bool {
	if d > maxBackoff {
		return false
	}
	ctx, stop := waiting(ctx)
	defer stop()
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// again returns req with a fresh body. It reports false if there is none to be
// had.
func again(req *http.Request) (*http.Request, bool) {
	next := req.Clone(req.Context())
	if req.Body == nil || req.Body == http.NoBody {
		return next, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	next.Body = body
	return next, err == nil
}

// A notSentError is a failure before the request reached a connection.
type notSentError struct {
	err    error
	noTurn bool // its turn never came, so that waiting again is no use
}

func (e *notSentError) Error() string { return e.err.Error() }
func (e *notSentError) Unwrap() error { return e.err }

func noTurn(err error) bool {
	unsent, ok := errors.AsType[*notSentError](err)
	return ok && unsent.noTurn
}

// dialing reports whether err came from opening a connection.
func dialing(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// retryAfter reads Retry-After, in seconds or as a date; zero if absent.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil {
		seconds = min(max(0, seconds), int(maxRetryAfter/time.Second))
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, time.Until(at)), maxRetryAfter)
	}
	return 0
}
