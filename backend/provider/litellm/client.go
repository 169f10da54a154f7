package litellm

import (
	"bytes"
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
// small, and LiteLLM has no SDK for Go: they are written by hand.
//
// An answer counts only if it is a 2xx and holds what was asked for.

// A client acts on one proxy.
type client struct {
	// Admin makes all calls but those of VerifyKey.
	Admin provider.Secret
	// Secrets are kept out of every error, for LiteLLM likes to repeat what it was
	// given: the admin key, and the key that a call is about. They are exported, as
	// is Admin, because package fmt hides them in no other field.
	Secrets []provider.Secret

	http      *http.Client
	transport *provider.Transport
	baseURL   string
}

// What LiteLLM's API can do. It knows no principals that are made and deleted for
// one role, and its list of teams is not paged in all versions.
var (
	_ provider.Client       = (*client)(nil)
	_ provider.Extender     = (*client)(nil)
	_ provider.KeyVerifier  = (*client)(nil)
	_ provider.KeyReader    = (*client)(nil)
	_ provider.AdminRotator = (*client)(nil)
	_ provider.RoleChecker  = (*client)(nil)
)

// Connect returns a client. A nil transport does for one that is only asked what
// it can do.
func (liteLLM) Connect(s provider.Settings, t *provider.Transport) (provider.Client, error) {
	return &client{
		Admin:     s.AdminKey,
		Secrets:   []provider.Secret{s.AdminKey},
		http:      t.HTTPClient(),
		transport: t,
		baseURL:   strings.TrimRight(s.BaseURL, "/"),
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
	path    string
	creates bool // a lost answer may mean that a key exists
	// enough is the member after which an answer is not read any further; empty for
	// all of it.
	enough string
}

// A body makes what a request asks for, anew for each time that it is sent.
type body func() any

// always is a body that does not change.
func always(v any) body { return func() any { return v } }

// told is what LiteLLM says of a failure. Its code is the status once more.
type told struct {
	Message string `json:"message"`
	Type    string `json:"type"`

	cut bool // it is a success that breaks off, or is no JSON at all
}

// do makes one call. A body of nil is none. What it returns is valid, or an
// *provider.Error says why there is nothing.
func do[T any](ctx context.Context, c *client, op operation, query url.Values, ask body, valid func(*T) bool) (*T, error) {
	out, _, err := inWords(ctx, c, op, query, ask, valid)
	return out, err
}

// inWords makes one call, as do does, and also returns what LiteLLM said of a failure.
func inWords[T any](ctx context.Context, c *client, op operation, query url.Values, ask body, valid func(*T) bool) (*T, told, error) {
	req, err := c.request(ctx, op, query, ask)
	if err != nil {
		return nil, told{}, refuse(op, "the request cannot be made")
	}
	call := provider.Call{Provider: name, Op: op.name, Creates: op.creates, Secrets: c.Secrets}
	resp, err := c.http.Do(req)
	if err != nil {
		call.Err = err
		return nil, told{}, provider.Classify(call)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	success := resp.StatusCode >= 200 && resp.StatusCode < 300
	if err == nil && success {
		out := new(T)
		if json.Unmarshal(upTo(raw, op.enough), out) == nil && valid(out) {
			return out, told{}, nil
		}
	}
	words := reason(raw)
	words.cut = success && !json.Valid(raw)
	call.Response, call.Reason = resp, words.Message
	failed := provider.Classify(call)
	failed.Kind = words.means(op, failed.Kind)
	return nil, words, failed
}

// means corrects what a status seems to mean. LiteLLM answers 401 to a key that is
// good but too weak, and to an update of a key that does not exist; and 400, in
// older versions, to a key that has expired. No other call than the update answers
// so about the key that it asks for: elsewhere it is about the one that calls.
func (w told) means(op operation, kind provider.Kind) provider.Kind {
	switch {
	case w.Type == "expired_key":
		return provider.Unauthorized
	case kind != provider.Unauthorized:
		return kind
	case strings.Contains(w.Message, "Only proxy admin can be used"):
		return provider.Forbidden
	case op == opExtendKey && strings.Contains(w.Message, "user key does not exist in db"):
		return provider.NotFound
	}
	return kind
}

// unknownKey reports whether LiteLLM said, in its own words, that its database has
// no such key. A gateway in front of it finds other words.
func (w told) unknownKey() bool {
	return w.Type == "not_found_error" && strings.Contains(w.Message, "Key not found")
}

func (c *client) request(ctx context.Context, op operation, query url.Values, ask body) (*http.Request, error) {
	address := c.baseURL + op.path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, op.method, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.Admin.Reveal())
	req.Header.Set("Accept", "application/json")
	if ask == nil {
		return req, nil
	}
	req.Header.Set("Content-Type", "application/json")
	first, err := json.Marshal(ask())
	if err != nil {
		return nil, err
	}
	// What is sent again is made again. Its length has been told by then, so blanks
	// make up for a number that has become shorter.
	req.ContentLength = int64(len(first))
	req.Body = io.NopCloser(bytes.NewReader(first))
	req.GetBody = func() (io.ReadCloser, error) {
		text, err := json.Marshal(ask())
		if err != nil || len(text) > len(first) {
			text = first
		}
		text = append(text, bytes.Repeat([]byte(" "), len(first)-len(text))...)
		return io.NopCloser(bytes.NewReader(text)), nil
	}
	return req, nil
}

// upTo returns an object up to a member. What tells of a team or user ends in all
// its keys, which may be more than is read of an answer.
func upTo(raw []byte, member string) []byte {
	if member == "" {
		return raw
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return raw
	}
	head := map[string]json.RawMessage{}
	for dec.More() {
		name, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil {
			return raw
		}
		key, _ := name.(string)
		if head[key] = value; key != member {
			continue
		}
		if text, err := json.Marshal(head); err == nil {
			return text
		}
	}
	return raw
}

// reason is what LiteLLM says of a failure; empty if it says nothing. Some refusals
// come without its envelope, as the framework that it is built on writes them.
func reason(raw []byte) told {
	var envelope struct {
		Error  json.RawMessage `json:"error"`
		Detail json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(raw, &envelope) != nil {
		return told{}
	}
	for _, plain := range []json.RawMessage{envelope.Error, envelope.Detail} {
		var text string
		if json.Unmarshal(plain, &text) == nil && text != "" {
			return told{Message: text}
		}
	}
	var words told
	if json.Unmarshal(envelope.Error, &words) != nil {
		return told{}
	}
	return words
}

// refuse is an error about what was asked, which LiteLLM has not been asked or
// cannot do.
func refuse(op operation, problem string) error { return fail(op, provider.Invalid, problem) }

// unproven is an error about an answer that is not to be believed.
func unproven(op operation, problem string) error { return fail(op, provider.Unavailable, problem) }

func fail(op operation, kind provider.Kind, problem string) error {
	return &provider.Error{Kind: kind, Provider: name, Op: op.name, Reason: problem}
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
