package provider

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Kind says what a failure means for the key that the call was about. Only
// this package and the provider packages decide it; the engine switches on it.
type Kind string

const (
	// NotFound: the provider does not know the object.
	NotFound Kind = "not found"
	// Unauthorized: the provider refuses the credential that the call was made with:
	// the admin key, or the key that a KeyVerifier tries.
	Unauthorized Kind = "unauthorized"
	// Forbidden: the provider does not let that credential do this.
	Forbidden Kind = "forbidden"
	// Invalid: the provider refuses what was asked. Nothing was changed.
	Invalid Kind = "refused"
	// RateLimited: the request was not processed; Error.RetryAfter tells when to
	// ask again.
	RateLimited Kind = "rate limited"
	// Unavailable: the provider did not answer, or not in a way that can be
	// understood, and it is known that no key was created.
	Unavailable Kind = "unavailable"
	// Unproven: the provider does not know the object, nor the scope that it was in:
	// that may have been closed, or the answer comes from another account. Other
	// objects of the connection are not concerned.
	Unproven Kind = "not proven"
	// Ambiguous: a create may have taken effect.
	Ambiguous Kind = "outcome unknown"
)

// An Error is a failed call to a provider. Its text never holds key material,
// a request or a response.
type Error struct {
	Kind     Kind
	Provider string // "openai"
	Op       string // what was being done: "create key"
	// Reason is the provider's own code and words, or what broke, redacted.
	Reason string
	// RequestID is the provider's, for its support; often empty.
	RequestID string
	// RetryAfter is how long a rate limit holds; zero if unknown.
	RetryAfter time.Duration
	// Touched says that the key of a pool could be used for a while, though Mint has
	// failed and it cannot any more.
	Touched bool
}

// Error reads "openai: create key: forbidden: …; Retry-After: 40 (request …)".
func (e *Error) Error() string {
	var b strings.Builder
	if e.Provider != "" {
		b.WriteString(e.Provider + ": ")
	}
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	b.WriteString(string(e.Kind))
	if e.Reason != "" {
		b.WriteString(": " + e.Reason)
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, "; Retry-After: %d", int((e.RetryAfter+time.Second-1)/time.Second))
	}
	if e.RequestID != "" {
		b.WriteString(" (request " + e.RequestID + ")")
	}
	return b.String()
}

// KindOf returns the kind of an error, or "" if it is not a provider's.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}

// TouchedKey reports whether a failed Mint has left a trace of the key of a pool: see
// Error.Touched.
func TouchedKey(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Touched
}

// IsKind reports whether err is a provider's error of that kind.
func IsKind(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }

// A FieldError is a field that an operator must write differently. Its text
// names the field, what is wrong, and what would be right.
type FieldError struct {
	Field, Problem string
}

// Error reads "project_id: …".
func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// FieldErrorf makes a FieldError.
func FieldErrorf(field, format string, args ...any) *FieldError {
	return &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
}
