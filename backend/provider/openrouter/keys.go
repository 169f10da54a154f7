package openrouter

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

var (
	opCreateKey = operation{name: "create key", method: http.MethodPost, creates: true}
	opDeleteKey = operation{name: "delete key", method: http.MethodDelete}
	opListKeys  = operation{name: "list keys", method: http.MethodGet}
	opGetKey    = operation{name: "read key", method: http.MethodGet}
)

// A key is what OpenRouter shows of one.
type key struct {
	Hash      string      `json:"hash"`
	Name      string      `json:"name"`
	Limit     json.Number `json:"limit"`
	Reset     string      `json:"limit_reset"`
	Creator   string      `json:"creator_user_id"`
	Workspace string      `json:"workspace_id"`
	CreatedAt time.Time   `json:"created_at"`
	ExpiresAt time.Time   `json:"expires_at"`
	OwnKeys   bool        `json:"include_byok_in_limit"`
}

// A newKey is what is asked for.
type newKey struct {
	Name      string      `json:"name"`
	Workspace string      `json:"workspace_id"`
	ExpiresAt string      `json:"expires_at"`
	Limit     json.Number `json:"limit,omitempty"`
	Reset     string      `json:"limit_reset,omitempty"`
	// OwnKeys counts what is spent by provider keys that the account brought along:
	// a budget is on the whole.
	OwnKeys bool `json:"include_byok_in_limit,omitempty"`
}

// Mint creates a key, with its expiry and budget, in one call, and then puts it
// under the guardrail that allows the role's models. That is found or made before:
// a role whose models cannot be bounded gets no key at all.
func (c *client) Mint(ctx context.Context, spec provider.Spec) (provider.Key, error) {
	workspace := spec.Role.String(fieldWorkspace)
	models := spec.Role.Strings(provider.FieldModels)
	var rail string
	if len(models) > 0 {
		var err error
		if rail, err = c.ensureGuardrail(ctx, workspace, models); err != nil {
			return provider.Key{}, err
		}
	}
	until := c.theirs(spec.ExpiresAt) // once: the answer may tell of another clock
	asked := newKey{Name: spec.Name, Workspace: workspace, ExpiresAt: expiry(until)}
	if budget := spec.Role.Float(provider.FieldBudget); budget != 0 {
		asked.Limit, asked.OwnKeys = json.Number(strconv.FormatFloat(budget, 'f', -1, 64)), true
		asked.Reset = resets[spec.Role.String(provider.FieldBudgetPeriod)]
	}
	type answer struct {
		Key  provider.Secret `json:"key"`
		Data key             `json:"data"`
	}
	res, err := do(ctx, c, opCreateKey, "/keys", nil, asked,
		func(a *answer) bool { return a.Key != "" && a.Data.Hash != "" })
	if err != nil {
		return provider.Key{}, err
	}
	// A key exists: what follows must not end because the caller has gone.
	ctx = provider.FollowUp(ctx)
	if problem := asked.unlike(res.Data, until); problem != "" {
		return provider.Key{}, c.undo(ctx, res.Data, unproven(opCreateKey, problem))
	}
	if rail != "" {
		if err := c.hiding(res.Key).assign(ctx, rail, res.Data.Hash); err != nil {
			return provider.Key{}, c.undo(ctx, res.Data, err)
		}
	}
	out := provider.Key{ID: res.Data.Hash, Secret: res.Key, ExpiresAt: res.Data.ExpiresAt}
	if c.ownURL != "" {
		out.Data = map[string]string{"base_url": c.ownURL}
	}
	return out, nil
}

// unlike says in what a new key is not bounded as it was asked to be.
func (n newKey) unlike(k key, until time.Time) string {
	limit, _ := n.Limit.Float64()
	got, _ := k.Limit.Float64()
	switch {
	case got != limit || (n.Limit == "") != (k.Limit == ""):
		return "the key was made with another budget than asked"
	case n.OwnKeys && !k.OwnKeys:
		return "the key was made with a budget that leaves out what provider keys of your own are charged"
	case k.ExpiresAt.IsZero():
		return "the key was made without an expiry"
	case k.ExpiresAt.Sub(until).Abs() > maxOff:
		return "the key was made with another expiry than asked"
	case n.Reset != k.Reset:
		return "the key was made with another budget period than asked"
	case k.Workspace != "" && k.Workspace != n.Workspace:
		return "the key was made in another workspace than asked"
	}
	return ""
}

// maxOff is by how much an expiry may differ from what was asked: it is rounded.
const maxOff = time.Minute

// clockTrust is how far the clocks may be apart before OpenRouter's counts: it is the
// one that ends a key.
const clockTrust = 30 * time.Second

// theirs is a time of ours as OpenRouter's clock will show it.
func (c *client) theirs(at time.Time) time.Time {
	if now, known := c.transport.Now(); known {
		if off := time.Until(now); off.Abs() > clockTrust {
			return at.Add(off)
		}
	}
	return at
}

// undo deletes a key that must not be handed out, and returns why. Only where the
// deletion is confirmed is there no key: a "not found" says nothing of one so
// young.
func (c *client) undo(ctx context.Context, k key, why error) error {
	if err := c.remove(ctx, k.Hash); err != nil {
		return because(why, provider.Ambiguous, opCreateKey, "the key may exist, for it could not be deleted after a failure")
	}
	kind := provider.KindOf(why)
	if kind == provider.NotFound || kind == provider.Ambiguous {
		kind = provider.Unavailable
	}
	return because(why, kind, opCreateKey, "the key was deleted again after a failure")
}

// expiry is a time as OpenRouter takes it: UTC, and no other zone. It is rounded
// up to whole seconds, so that a key never ends before its lease.
func expiry(at time.Time) string {
	if whole := at.Truncate(time.Second); whole.Before(at) {
		at = whole.Add(time.Second)
	}
	return at.UTC().Format(time.RFC3339)
}

// Delete deletes a key. "Not found" is checked before it is returned, see
// confirmGone.
func (c *client) Delete(ctx context.Context, ref provider.Ref) error {
	return c.confirmGone(ctx, ref, c.remove(ctx, ref.ID))
}

func (c *client) remove(ctx context.Context, hash string) error {
	id, ok := segment(hash)
	if !ok {
		return refuse(opDeleteKey, "that is not the hash of a key")
	}
	type answer struct {
		Deleted bool `json:"deleted"`
	}
	_, err := do(ctx, c, opDeleteKey, "/keys/"+id, nil, nil, func(a *answer) bool { return a.Deleted })
	return err
}

// readKey fails if a key cannot be read.
func (c *client) readKey(ctx context.Context, hash string) error {
	id, ok := segment(hash)
	if !ok {
		return refuse(opGetKey, "that is not the hash of a key")
	}
	type answer struct {
		Data key `json:"data"`
	}
	_, err := do(ctx, c, opGetKey, "/keys/"+id, nil, nil, func(a *answer) bool { return a.Data.Hash == hash })
	return err
}

// Find yields the keys of a workspace, those that are disabled too. OpenRouter does
// not say what it lists of a workspace that does not exist: where there is nothing,
// the workspace must be there.
func (c *client) Find(ctx context.Context, workspace string) iter.Seq2[provider.Found, error] {
	return func(yield func(provider.Found, error) bool) {
		empty := true
		for k, err := range c.keys(ctx, workspace) {
			if err == nil && k.Workspace != "" && k.Workspace != workspace {
				err = unproven(opListKeys, "OpenRouter lists keys of another workspace than asked")
			}
			if err != nil {
				yield(provider.Found{}, err)
				return
			}
			empty = false
			if !yield(found(k), nil) {
				return
			}
		}
		if !empty {
			return
		}
		if err := c.readWorkspace(ctx, workspace); err != nil {
			yield(provider.Found{}, err)
		}
	}
}

func (c *client) keys(ctx context.Context, workspace string) iter.Seq2[key, error] {
	query := url.Values{"include_disabled": {"true"}, "workspace_id": {workspace}}
	return all(ctx, c, list[key]{op: opListKeys, path: "/keys", query: query, id: func(k key) string { return k.Hash }})
}

func found(k key) provider.Found {
	out := provider.Found{ID: k.Hash, Name: k.Name, CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt}
	if k.Creator != "" {
		out.Owner = "user " + k.Creator
	}
	return out
}
