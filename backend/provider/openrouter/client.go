package openrouter

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file makes calls and tells their failures apart. The calls are few and
// small, and OpenRouter's own SDK for Go is a beta: they are written by hand.
//
// An answer counts only if it is a 2xx and holds what was asked for.

// defaultBaseURL is OpenRouter's own address.
const defaultBaseURL = "https://openrouter.ai/api/v1"

// A client acts on one account.
type client struct {
	// Admin makes all calls but those of VerifyKey.
	Admin provider.Secret
	// Secrets are kept out of every error: the admin key, and the key that a call is
	// about. They are exported, as is Admin, because package fmt hides them in no
	// other field.
	Secrets []provider.Secret

	transport *provider.Transport
	http      *http.Client
	baseURL   string // of calls
	ownURL    string // that the operator gave; empty if none
}

// What OpenRouter's API can do. It moves no expiry, replaces no management key,
// and shows too little of a key to prove whose it is.
var (
	_ provider.Client        = (*client)(nil)
	_ provider.KeyVerifier   = (*client)(nil)
	_ provider.AdminVerifier = (*client)(nil)
	_ provider.RoleChecker   = (*client)(nil)
	_ provider.ScopeLister   = (*client)(nil)
)

// Connect returns a client. A nil transport does for one that is only asked what
// it can do.
func (openRouter) Connect(s provider.Settings, t *provider.Transport) (provider.Client, error) {
	return &client{
		Admin:     s.AdminKey,
		Secrets:   []provider.Secret{s.AdminKey},
		transport: t,
		http:      t.HTTPClient(),
		baseURL:   strings.TrimSuffix(cmp.Or(s.BaseURL, defaultBaseURL), "/"),
		ownURL:    s.BaseURL,
	}, nil
}

// hiding returns a client that keeps a key out of its errors, too.
func (c *client) hiding(key provider.Secret) *client {
	out := *c
	out.Secrets = append(slices.Clone(c.Secrets), key)
	return &out
}

// as returns a client that calls with another key, and keeps both out of its
// errors.
func (c *client) as(key provider.Secret) *client {
	out := c.hiding(key)
	out.Admin = key
	return out
}

// An operation is a kind of call.
type operation struct {
	name    string // in errors
	method  string
	creates bool // a lost answer may mean that a key exists
}

// do makes one call. A body of nil is none. What it returns is valid, or an
// *provider.Error says why there is nothing.
func do[T any](ctx context.Context, c *client, op operation, path string, query url.Values, body any, valid func(*T) bool) (*T, error) {
	req, err := c.request(ctx, op, path, query, body)
	if err != nil {
		return nil, refuse(op, "the request cannot be made")
	}
	call := provider.Call{Provider: name, Op: op.name, Creates: op.creates, Secrets: c.Secrets}
	resp, err := c.http.Do(req)
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
	call.Response = resp
	call.Reason = reason(raw)
	return nil, provider.Classify(call)
}

func (c *client) request(ctx context.Context, op operation, path string, query url.Values, body any) (*http.Request, error) {
	address := c.baseURL + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, op.method, address, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.Admin.Reveal())
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// reason is what OpenRouter says of a failure; empty if it says nothing.
func reason(raw []byte) string {
	var envelope struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(raw, &envelope) != nil {
		return ""
	}
	var text string
	if json.Unmarshal(envelope.Error, &text) == nil {
		return text
	}
	var told struct {
		Message *string `json:"message"`
	}
	if json.Unmarshal(envelope.Error, &told) != nil || told.Message == nil {
		return ""
	}
	return *told.Message
}

// segment is an id in a path. One that would change the path's meaning is no id.
func segment(id string) (string, bool) {
	return url.PathEscape(id), id != "" && id != "." && id != ".."
}

// refuse is an error about what was asked, which OpenRouter has not been asked or
// cannot do.
func refuse(op operation, problem string) error {
	return &provider.Error{Kind: provider.Invalid, Provider: name, Op: op.name, Reason: problem}
}

// unproven is an error about an answer that is not to be believed.
func unproven(op operation, problem string) error {
	return &provider.Error{Kind: provider.Unavailable, Provider: name, Op: op.name, Reason: problem}
}

// because returns a provider's error of another kind, with something said first.
func because(err error, kind provider.Kind, op operation, what string) error {
	out := &provider.Error{Kind: kind, Provider: name, Op: op.name, Reason: what}
	if e, ok := errors.AsType[*provider.Error](err); ok {
		out.RequestID, out.RetryAfter = e.RequestID, e.RetryAfter
		out.Reason = what + ": " + e.Op + ": " + string(e.Kind) + ": " + e.Reason
	}
	return out
}
