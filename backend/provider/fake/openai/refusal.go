package fakeopenai

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// This file holds the words of OpenAI's errors. Only the envelope and 400, 401,
// 403, 404 and 429 as such are documented for admin paths; their codes are not.

const invalidRequest = "invalid_request_error"

func badRequest(message, param string) *refusal {
	return &refusal{status: http.StatusBadRequest, message: message, kind: invalidRequest, param: param}
}

func badRequestCode(message, param, code string) *refusal {
	r := badRequest(message, param)
	r.code = code
	return r
}

func notFound(what, id string) *refusal {
	return &refusal{
		status: http.StatusNotFound, kind: invalidRequest,
		message: fmt.Sprintf("No such %s: %s", what, id),
	}
}

func forbidden(message string) *refusal {
	return &refusal{status: http.StatusForbidden, message: message, kind: invalidRequest}
}

func missingScopes(scope string) *refusal {
	return forbidden("You have insufficient permissions for this operation. Missing scopes: " + scope + ".")
}

func rateLimited() *refusal {
	return &refusal{
		status: http.StatusTooManyRequests, message: "Rate limit reached for requests.",
		kind: "requests", code: "rate_limit_exceeded", retryAfter: time.Second,
	}
}

func noCredential() *refusal {
	return &refusal{
		status: http.StatusUnauthorized, kind: invalidRequest,
		message: "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth.",
	}
}

func wrongCredential(secret string) *refusal {
	return &refusal{
		status: http.StatusUnauthorized, kind: invalidRequest, code: "invalid_api_key",
		message: "Incorrect API key provided: " + mask(secret) + ". You can find your API key at https://platform.openai.com/account/api-keys.",
	}
}

// mask shows the ends of a key, as OpenAI does in its errors.
func mask(secret string) string {
	if len(secret) < 16 {
		return "***"
	}
	return secret[:7] + "***" + secret[len(secret)-4:]
}

func unknownURL(r *http.Request) *refusal {
	return &refusal{
		status: http.StatusNotFound, kind: invalidRequest,
		message: fmt.Sprintf("Invalid URL (%s %s)", r.Method, r.URL.Path),
	}
}

func methodNotAllowed(r *http.Request) *refusal {
	return &refusal{
		status: http.StatusMethodNotAllowed, kind: invalidRequest, code: "method_not_supported",
		message: fmt.Sprintf("Not allowed to %s on %s.", r.Method, r.URL.Path),
	}
}

// refusalOf is what a fault answers for a status.
func refusalOf(status int, secret string) *refusal {
	r := &refusal{status: status, kind: invalidRequest, message: http.StatusText(status)}
	switch {
	case status == http.StatusUnauthorized:
		r = wrongCredential(secret)
	case status == http.StatusForbidden:
		r = missingScopes("api.management.write")
	case status == http.StatusTooManyRequests:
		r = rateLimited()
		r.retryAfter = 0 // the fault says it
	case status >= 500:
		r.kind = "server_error"
		r.message = "The server had an error while processing your request. Sorry about that!"
	}
	return r
}

func bearer(r *http.Request) string {
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}
