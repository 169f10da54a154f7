package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestClassifyStatus(t *testing.T) {
	for _, test := range []struct {
		status        int
		kind, created Kind // of a call that creates nothing, and of one that does
		reason        string
	}{
		{200, Unavailable, Ambiguous, "the answer cannot be understood"},
		{204, Unavailable, Ambiguous, "the answer cannot be understood"},
		{301, Unavailable, Unavailable, "the provider redirects; base_url must be its final address"},
		{307, Unavailable, Unavailable, "the provider redirects; base_url must be its final address"},
		{400, Invalid, Invalid, "Bad Request"},
		{401, Unauthorized, Unauthorized, "Unauthorized"},
		{402, Invalid, Invalid, "Payment Required"},
		{403, Forbidden, Forbidden, "Forbidden"},
		{404, NotFound, NotFound, "Not Found"},
		{405, Invalid, Invalid, "Method Not Allowed"},
		{408, Unavailable, Ambiguous, "Request Timeout"},
		{409, Invalid, Invalid, "Conflict"},
		{410, NotFound, NotFound, "Gone"},
		{422, Invalid, Invalid, "Unprocessable Entity"},
		{429, RateLimited, RateLimited, "Too Many Requests"},
		{499, Invalid, Invalid, "unexpected status"},
		{500, Unavailable, Ambiguous, "Internal Server Error"},
		{503, Unavailable, Ambiguous, "Service Unavailable"},
		{599, Unavailable, Ambiguous, "unexpected status"},
	} {
		for creates, kind := range map[bool]Kind{false: test.kind, true: test.created} {
			resp := &http.Response{StatusCode: test.status, Header: http.Header{"Retry-After": {"40"}}}
			got := Classify(Call{Provider: "p", Op: "op", Creates: creates, Response: resp})
			want := Error{Kind: kind, Provider: "p", Op: "op", Reason: test.reason}
			if kind == RateLimited {
				want.RetryAfter = 40 * time.Second
			}
			if *got != want {
				t.Errorf("%d, creates %t: got %+v, want %+v", test.status, creates, *got, want)
			}
		}
	}
}

func TestClassifyWithoutAnswer(t *testing.T) {
	inURL := func(err error) error {
		return fmt.Errorf("sdk: %w", &url.Error{Op: "Post", URL: "https://provider.test/v1?key=x", Err: err})
	}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for _, test := range []struct {
		name          string
		err           error
		kind, created Kind
		reason        string
	}{
		{"broken", inURL(io.ErrUnexpectedEOF), Unavailable, Ambiguous, "unexpected EOF"},
		{"timeout", inURL(context.DeadlineExceeded), Unavailable, Ambiguous, "context deadline exceeded"},
		{"never sent", inURL(&notSentError{err: refused}), Unavailable, Unavailable, "dial tcp: connection refused"},
		{"no turn", inURL(&notSentError{err: context.Canceled, noTurn: true}), Unavailable, Unavailable, "context canceled"},
		{"pause", inURL(&notSentError{err: &Error{Kind: RateLimited, Reason: "a pause"}}), RateLimited, RateLimited, "a pause"},
		{"nothing", nil, Unavailable, Ambiguous, "no answer"},
	} {
		for creates, kind := range map[bool]Kind{false: test.kind, true: test.created} {
			got := Classify(Call{Provider: "p", Op: "op", Creates: creates, Err: test.err})
			if want := (Error{Kind: kind, Provider: "p", Op: "op", Reason: test.reason}); *got != want {
				t.Errorf("%s, creates %t: got %+v, want %+v", test.name, creates, *got, want)
			}
		}
	}
}

func TestClassifyRedacts(t *testing.T) {
	const secret = "opaque0123456789"
	call := Call{
		Response:  &http.Response{StatusCode: 401},
		Reason:    "wrong key " + secret + ", or sk-proj-****abcd",
		RequestID: "req " + secret,
		Err:       errors.New("never shown: " + secret),
		Secrets:   []Secret{secret, ""},
	}
	for range 2 {
		if got := fmt.Sprintf("%+v", *Classify(call)); strings.Contains(got, secret) || strings.Contains(got, "abcd") {
			t.Errorf("got %s", got)
		}
		call.Response = nil // so that the error's text is the reason
	}
}

func TestErrorText(t *testing.T) {
	for want, e := range map[string]Error{
		"unavailable": {Kind: Unavailable},
		"openai: create key: forbidden: may not create accounts (request req_91)": {
			Kind: Forbidden, Provider: "openai", Op: "create key", Reason: "may not create accounts", RequestID: "req_91",
		},
		"openai: delete key: rate limited: slow down; Retry-After: 41": {
			Kind: RateLimited, Provider: "openai", Op: "delete key", Reason: "slow down", RetryAfter: 40*time.Second + 1,
		},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := FieldErrorf("ttl", "%s is too short", time.Second).Error(); got != "ttl: 1s is too short" {
		t.Errorf("got %q", got)
	}
}

func TestKindOf(t *testing.T) {
	err := fmt.Errorf("revoke: %w", &Error{Kind: NotFound, RetryAfter: time.Second})
	if !IsKind(err, NotFound) || IsKind(err, Forbidden) || RetryAfter(err) != time.Second {
		t.Errorf("got kind %q, Retry-After %s of a wrapped error", KindOf(err), RetryAfter(err))
	}
	for _, other := range []error{nil, io.EOF, FieldErrorf("a", "b")} {
		if KindOf(other) != "" || IsKind(other, "") && other == nil || RetryAfter(other) != 0 {
			t.Errorf("got kind %q of %v", KindOf(other), other)
		}
	}
}
