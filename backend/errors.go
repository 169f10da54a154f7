package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file is the one place that turns errors into what a caller sees.
//
//   - Bad input is 400 and names the field and the remedy.
//   - Another refusal has the status that says why: 403, 404, 429, 503.
//   - A provider that limits the rate for too long is 503, any other failure of
//     a provider is 502 with its reason.
//   - Everything else is 500, with what was being done.
//
// Through the plugin protocol a status survives only as a bare coded error with
// a nil response, and 400 as an error response.

// A refusal is an answer with a status other than 400.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

// badField refuses a field of the request with 400.
func badField(field, format string, args ...any) error {
	return provider.FieldErrorf(field, format, args...)
}

// badRequest refuses a request as a whole with 400.
type badRequest string

func (r badRequest) Error() string { return string(r) }

// answer turns an error of a handler into what Vault passes on intact.
func answer(resp *logical.Response, err error) (*logical.Response, error) {
	if err == nil {
		return resp, nil
	}
	if errors.Is(err, logical.ErrReadOnly) || errors.Is(err, logical.ErrUnsupportedOperation) || errors.Is(err, logical.ErrUnsupportedPath) {
		return nil, err
	}
	if bad, ok := errors.AsType[badRequest](err); ok {
		return errorResponse(bad), nil
	}
	if bad, ok := errors.AsType[*provider.FieldError](err); ok {
		return errorResponse(bad), nil
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return nil, logical.CodedError(r.status, provider.HideKeys(r.text))
	}
	switch provider.KindOf(err) {
	case "":
		if text := err.Error(); provider.HideKeys(text) != text {
			return nil, errors.New(provider.HideKeys(text))
		}
		return nil, err
	case provider.RateLimited:
		return nil, logical.CodedError(http.StatusServiceUnavailable, err.Error())
	default:
		return nil, logical.CodedError(http.StatusBadGateway, err.Error())
	}
}

// errorResponse does not format: an error's text may hold percent signs. Nor does
// it repeat a key that was given in the wrong place.
func errorResponse(err error) *logical.Response {
	return &logical.Response{Data: map[string]any{"error": provider.HideKeys(err.Error())}}
}

// hasNoEffect reports whether a failed Mint is known to have created nothing.
func hasNoEffect(err error) bool {
	switch provider.KindOf(err) {
	case "", provider.Ambiguous:
		return false
	}
	return true
}

// isNotKnown reports whether err says that no key is known by what was asked for.
func isNotKnown(err error) bool {
	refused, ok := errors.AsType[*refusal](err)
	return ok && refused.status == http.StatusNotFound
}

// blamesConnection reports whether a failure lies with the connection rather
// than with one key, so that the next key of the connection will fail alike.
func blamesConnection(err error) bool {
	switch provider.KindOf(err) {
	case provider.Unauthorized, provider.Forbidden, provider.RateLimited, provider.Unavailable, provider.Ambiguous:
		return true
	case "":
		return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errNoConnection)
	}
	return false
}

// errNoConnection is the failure to find a stored connection.
var errNoConnection = errors.New("the connection does not exist")
