package provider

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// A Call is the outcome of one call to a provider, as its SDK returned it.
type Call struct {
	Provider string // "openai"
	Op       string // "create key"
	// Creates says that the call makes something: if it may have reached the
	// provider and the answer is not understood, its outcome is unknown.
	Creates bool
	// Response is the last answer; nil if there was none.
	Response *http.Response
	// Err is what the SDK returned. It is not shown: an SDK's errors may hold
	// the request.
	Err error
	// Reason is the provider's code and message, if the answer had any.
	Reason string
	// RequestID is the provider's.
	RequestID string
	// Secrets are removed from Reason.
	Secrets []Secret
}

// Classify turns the outcome of a failed call into an *Error.
func Classify(c Call) *Error {
	e := &Error{Provider: c.Provider, Op: c.Op, RequestID: Redact(c.RequestID, c.Secrets...)}
	if c.Response == nil {
		classifyUnanswered(e, c)
		return e
	}
	e.Reason = Redact(c.Reason, c.Secrets...)
	if e.Kind = kindOfStatus(c.Response.StatusCode, c.Creates); e.Kind == RateLimited {
		e.RetryAfter = retryAfter(c.Response.Header)
	}
	if e.Reason == "" {
		e.Reason = statusReason(c.Response.StatusCode)
	}
	return e
}

func classifyUnanswered(e *Error, c Call) {
	e.Kind = Unavailable
	if c.Creates {
		e.Kind = Ambiguous
	}
	if own, ok := errors.AsType[*Error](c.Err); ok {
		e.Kind, e.Reason, e.RetryAfter = own.Kind, own.Reason, own.RetryAfter
		return
	}
	inner := c.Err
	if unsent, ok := errors.AsType[*notSentError](c.Err); ok {
		e.Kind, inner = Unavailable, unsent.err
	}
	e.Reason = Redact(networkReason(inner), c.Secrets...)
}

// kindOfStatus maps an HTTP status to what it means for the key.
func kindOfStatus(status int, creates bool) Kind {
	switch {
	case status == http.StatusUnauthorized:
		return Unauthorized
	case status == http.StatusForbidden:
		return Forbidden
	case status == http.StatusNotFound, status == http.StatusGone:
		return NotFound
	case status == http.StatusTooManyRequests:
		return RateLimited
	case status >= 300 && status < 400:
		return Unavailable // a redirect; never followed, so nothing was done
	case status >= 400 && status < 500 && status != http.StatusRequestTimeout:
		return Invalid
	case creates: // 408, 5xx, or a success whose body makes no sense
		return Ambiguous
	}
	return Unavailable
}

func statusReason(status int) string {
	switch {
	case status >= 300 && status < 400:
		return "the provider redirects; base_url must be its final address"
	case status < 300:
		return "the answer cannot be understood"
	}
	return cmp.Or(http.StatusText(status), "unexpected status")
}

// networkReason says what broke, without the URL that net/http puts before it.
func networkReason(err error) string {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if err == nil {
		return "no answer"
	}
	return err.Error()
}

// RetryAfter returns how long to wait before asking again after err; zero if
// unknown.
func RetryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.RetryAfter
	}
	return 0
}
