package anthropic

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file makes calls and tells their failures apart, for both providers. The
// calls are few and small, and the errors of Anthropic's SDK print whole bodies:
// they are written by hand.
//
// An answer counts only if it is a 2xx and holds what was asked for.

const (
	// defaultBaseURL is Anthropic's own address, and whom assertions are for.
	defaultBaseURL = "https://api.anthropic.com"
	apiVersion     = "2023-06-01"
	// betaOAuth is wanted of every call with a token, betaExchange of those that get
	// one.
	betaOAuth    = "oauth-2025-04-20"
	betaExchange = betaOAuth + ",oidc-federation-2026-04-01"
)

// An api is one account, for one of the two providers.
type api struct {
	name    string // of the provider
	http    *http.Client
	baseURL string // of calls
	ownURL  string // that the operator gave; empty if none
}

func newAPI(name string, s provider.Settings, t *provider.Transport) api {
	return api{
		name: name, http: t.HTTPClient(), ownURL: s.BaseURL,
		baseURL: strings.TrimSuffix(cmp.Or(s.BaseURL, defaultBaseURL), "/"),
	}
}

// An operation is a kind of call.
type operation struct {
	name    string // in errors
	method  string
	creates bool // a lost answer may mean that a key exists
}

// A request is one call. It is made with a key, with a token, or with neither.
type request struct {
	op         operation
	Key, Token provider.Secret
	path       string
	query      url.Values
	body       any // nil for none
	beta       string
	// Hide are further secrets that no error may hold.
	Hide []provider.Secret
}

// do makes one call. What it returns is valid, or an *provider.Error says why there
// is nothing.
func do[T any](ctx context.Context, a api, r request, valid func(*T) bool) (*T, error) {
	req, err := a.request(ctx, r)
	if err != nil {
		return nil, a.refuse(r.op, "the request cannot be made")
	}
	call := provider.Call{
		Provider: a.name, Op: r.op.name, Creates: r.op.creates,
		Secrets: append([]provider.Secret{r.Key, r.Token}, r.Hide...),
	}
	resp, err := a.http.Do(req)
	if err != nil {
		call.Err = err
		return nil, provider.Classify(call)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 200 && resp.StatusCode < 300 {
		out := new(T)
		if json.Unmarshal(raw, out) == nil && valid(out) {
			return out, nil
		}
	}
	call.Response, call.Reason, call.RequestID = resp, reason(raw), resp.Header.Get("Request-Id")
	return nil, provider.Classify(call)
}

func (a api) request(ctx context.Context, r request) (*http.Request, error) {
	address := a.baseURL + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	var content io.Reader
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, r.op.method, address, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Anthropic-Version", apiVersion)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch {
	case r.Token != "":
		req.Header.Set("Authorization", "Bearer "+r.Token.Reveal())
		req.Header.Set("Anthropic-Beta", betaOAuth)
	case r.beta != "":
		req.Header.Set("Anthropic-Beta", r.beta)
	default:
		req.Header.Set("X-Api-Key", r.Key.Reveal())
	}
	return req, nil
}

// reason is what Anthropic says of a failure, in its own form or that of OAuth;
// empty if it says nothing.
func reason(raw []byte) string {
	var envelope struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal(raw, &envelope) != nil {
		return ""
	}
	var code string
	if json.Unmarshal(envelope.Error, &code) == nil {
		return strings.TrimSuffix(code+": "+envelope.Description, ": ")
	}
	var told struct {
		Type    string  `json:"type"`
		Message *string `json:"message"`
	}
	if json.Unmarshal(envelope.Error, &told) != nil || told.Message == nil {
		return ""
	}
	return strings.TrimPrefix(told.Type+": "+*told.Message, ": ")
}

// segment is an id in a path. One that would change the path's meaning is no id.
func segment(id string) (string, bool) {
	return url.PathEscape(id), id != "" && id != "." && id != ".."
}

// refuse is an error about what was asked, which Anthropic has not been asked or
// cannot do.
func (a api) refuse(op operation, problem string) error {
	return &provider.Error{Kind: provider.Invalid, Provider: a.name, Op: op.name, Reason: problem}
}

// unproven is an error about an answer that is not to be believed.
func (a api) unproven(op operation, problem string) error {
	return &provider.Error{Kind: provider.Unavailable, Provider: a.name, Op: op.name, Reason: problem}
}

// because returns a provider's error of another kind, with something said first.
func (a api) because(err error, kind provider.Kind, op operation, what string) *provider.Error {
	out := &provider.Error{Kind: kind, Provider: a.name, Op: op.name, Reason: what}
	if e, ok := errors.AsType[*provider.Error](err); ok {
		out.RequestID, out.RetryAfter = e.RequestID, e.RetryAfter
		out.Reason = what + ": " + e.Op + ": " + string(e.Kind) + ": " + e.Reason
	}
	return out
}

// sleep reports whether d passed before the end of ctx.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
