package provider

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// A TransportConfig configures a Transport.
type TransportConfig struct {
	// Timeout bounds one attempt, in which the whole answer is read. Positive.
	Timeout time.Duration
	// MaxConcurrency is how many requests may be under way at once. Positive.
	MaxConcurrency int
	// CACert are PEM certificates to trust instead of the system's; optional.
	CACert string
	// Base sends the requests; nil for a transport of the connection's own,
	// which honours the proxy variables of the environment.
	Base http.RoundTripper
	// Observe is told of every request that was sent; optional. It must not block.
	Observe func(Attempt)
}

// A Transport carries the requests of one connection: timeouts, limiter,
// pauses, repeats. Nothing else sends a request to a provider. It is an
// http.RoundTripper and safe for concurrent use. It outlives a change of the
// admin key, so that a pause does too.
type Transport struct {
	timeout time.Duration
	gate    *gate
	base    http.RoundTripper
	observe func(Attempt)
	sent    atomic.Int64                  // requests that have left so far
	skew    atomic.Pointer[time.Duration] // the provider's clock less ours; nil until it answers
}

// NewTransport returns a transport. It fails if CACert holds no certificate.
func NewTransport(cfg TransportConfig) (*Transport, error) {
	if cfg.Timeout <= 0 || cfg.MaxConcurrency <= 0 {
		return nil, fmt.Errorf("bug: transport with timeout %s, concurrency %d", cfg.Timeout, cfg.MaxConcurrency)
	}
	roots, err := rootsOf(cfg.CACert)
	if err != nil {
		return nil, err
	}
	base := cfg.Base
	if base == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxIdleConnsPerHost = cfg.MaxConcurrency
		own.IdleConnTimeout = 30 * time.Second
		if own.TLSClientConfig == nil {
			own.TLSClientConfig = &tls.Config{}
		}
		own.TLSClientConfig.RootCAs = roots
		base = own
	}
	observe := cfg.Observe
	if observe == nil {
		observe = func(Attempt) {}
	}
	return &Transport{timeout: cfg.Timeout, gate: newGate(cfg.MaxConcurrency), base: base, observe: observe}, nil
}

// rootsOf returns the certificates of a ca_cert; nil, which means the system's,
// if it is empty.
func rootsOf(pem string) (*x509.CertPool, error) {
	if pem == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		return nil, FieldErrorf("ca_cert", "holds no PEM certificate; give one or more -----BEGIN CERTIFICATE----- blocks")
	}
	return pool, nil
}

// HTTPClient returns a client that sends through t and follows no redirect: a
// redirect would carry the admin key along.
func (t *Transport) HTTPClient() *http.Client {
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close drops idle connections. Requests under way go on.
func (t *Transport) Close() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Now is the time at the provider, by the Date of its last answer. It reports
// false if no answer had one. After a jump of our own clock, it is right again
// with the next answer.
func (t *Transport) Now() (time.Time, bool) {
	skew := t.skew.Load()
	if skew == nil {
		return time.Time{}, false
	}
	return time.Now().Add(*skew), true
}

type asideKey struct{}

// Aside marks the calls under ctx as made with another key than the connection's own:
// a rate limit of that key pauses nothing, and is returned at once.
func Aside(ctx context.Context) context.Context {
	return context.WithValue(ctx, asideKey{}, true)
}

func isAside(ctx context.Context) bool { return ctx.Value(asideKey{}) != nil }

type waiterKey struct{}

// Detach returns a context for a call whose answer matters even if the caller
// has gone: it ends after timeout, not with ctx. While the request still waits
// for its turn, the end of ctx does end it, for nothing has been sent yet.
func Detach(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	detached := context.WithValue(context.WithoutCancel(ctx), waiterKey{}, ctx)
	return context.WithTimeout(detached, timeout)
}

// FollowUp returns a context for a call that must finish what an earlier one under
// ctx has begun: it waits for its turn until ctx ends, also if ctx is detached and
// the caller has gone meanwhile.
func FollowUp(ctx context.Context) context.Context {
	return context.WithValue(ctx, waiterKey{}, nil)
}

// waiting returns the context that governs the wait for a turn.
func waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	caller, ok := ctx.Value(waiterKey{}).(context.Context)
	if !ok {
		return ctx, func() {}
	}
	end := func() {}
	if deadline, ok := caller.Deadline(); ok {
		ctx, end = context.WithDeadline(ctx, deadline)
	}
	both, cancel := context.WithCancelCause(ctx)
	if caller.Err() != nil {
		cancel(context.Cause(caller)) // AfterFunc would do it, but later
	}
	stop := context.AfterFunc(caller, func() { cancel(context.Cause(caller)) })
	return both, func() { stop(); cancel(nil); end() }
}

// RoundTrip sends req, again if it may be, until there is an answer to keep or
// the time of its context is up. A failed request is an *Error without
// Provider and Op, or what broke; Classify makes one *Error of both.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	var limited *http.Response // the last answer, if it was a rate limit
	for repeats := 0; ; {
		resp, err := t.attempt(req)
		if limited != nil && noTurn(err) {
			return limited, nil // it says more than that there is no time to wait
		}
		limited = nil
		if err == nil && resp.StatusCode == http.StatusTooManyRequests {
			if isAside(req.Context()) {
				return resp, nil
			}
			limited = resp
		} else {
			if repeats >= maxRepeats || !mayRepeat(req, resp, err) || !pause(req.Context(), backoff(repeats, resp)) {
				return resp, err
			}
			repeats++
		}
		next, ok := again(req)
		if !ok {
			return resp, err
		}
		req = next
	}
}

// attempt sends req once, in its turn, and reads the whole answer.
func (t *Transport) attempt(req *http.Request) (*http.Response, error) {
	wait, stop := waiting(req.Context())
	turn, err := t.gate.enter(wait)
	stop()
	if err != nil {
		closeBody(req)
		return nil, &notSentError{err: err, noTurn: true}
	}

	started := time.Now()
	resp, err := t.send(req)
	t.observe(observed(resp, err, time.Since(started)))
	switch {
	case err != nil || resp.StatusCode >= 500 || isAside(req.Context()):
		t.gate.leave(turn)
	case resp.StatusCode == http.StatusTooManyRequests:
		t.gate.leaveRateLimited(turn, retryAfter(resp.Header))
	default:
		t.gate.leaveSuccess(turn)
	}
	return resp, err
}

// send sends req now. Its error is a *notSentError only where that is proven.
func (t *Transport) send(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeoutCause(req.Context(), t.timeout,
		fmt.Errorf("no answer within the request_timeout of %s", t.timeout))
	defer cancel()
	var asked, connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	t.sent.Add(1)
	resp, err := t.base.RoundTrip(req.Clone(ctx))
	if err != nil {
		unsent := asked.Load() && !connected.Load() || dialing(err)
		err = causeOr(ctx, err)
		if unsent {
			return nil, &notSentError{err: err}
		}
		return nil, err
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		t.skew.Store(new(time.Until(date)))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	resp.Body.Close()
	if err != nil && resp.StatusCode < 400 { // a failure needs no body to be one
		return nil, causeOr(ctx, err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// causeOr returns why ctx ended, or err if it has not.
func causeOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}
