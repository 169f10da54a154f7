package litellm

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

var (
	opDeleteKey = operation{name: "delete key", method: http.MethodPost, path: "/key/delete"}
	opGetKey    = operation{name: "read key", method: http.MethodGet, path: "/key/info"}
	opExtendKey = operation{name: "extend key", method: http.MethodPost, path: "/key/update"}
)

// clockTrust is how far the clocks may be apart before LiteLLM's counts; its answers
// tell the time in whole seconds, and take a while.
const clockTrust = 5 * time.Second

// A key is what LiteLLM shows of one.
type key struct {
	Token     string   `json:"token"` // its id; not shown of one that was asked for by it
	Alias     string   `json:"key_alias"`
	Team      string   `json:"team_id"`
	User      string   `json:"user_id"`
	Models    []string `json:"models"`
	Routes    []string `json:"allowed_routes"`
	Budget    *float64 `json:"max_budget"`
	Period    string   `json:"budget_duration"`
	RPM       *int     `json:"rpm_limit"`
	TPM       *int     `json:"tpm_limit"`
	Metadata  any      `json:"metadata"` // what people have put there, in any form
	CreatedAt moment   `json:"created_at"`
	ExpiresAt moment   `json:"expires"`
}

// A moment is a time as LiteLLM shows it. Some versions leave the zone out, which is
// UTC then.
type moment struct{ time.Time }

// UnmarshalJSON reads a time; null is none.
func (m *moment) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil || text == "" {
		return err
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		at, err = time.Parse("2006-01-02T15:04:05", strings.Replace(text, " ", "T", 1))
	}
	m.Time = at.UTC()
	return err
}

// in reports whether a key belongs to a scope. One that was asked for without a team
// may have got one by the defaults of a proxy, and belongs where it was asked for.
func (k key) in(scope string) bool {
	if scope == noTeam {
		return k.Team == "" || k.meta(metaScope) == noTeam
	}
	return k.Team == scope
}

// meta returns a text of a key's metadata.
func (k key) meta(name string) string {
	members, _ := k.Metadata.(map[string]any)
	text, _ := members[name].(string)
	return text
}

// addressable reports whether an id may be part of an address: LiteLLM would take a
// key in its place, too.
func addressable(id string) bool {
	return id != "" && !strings.HasPrefix(id, keyPrefix) && provider.HideKeys(id) == id
}

// Delete deletes a key. "Not found" is checked before it is returned, see
// confirmGone.
func (c *client) Delete(ctx context.Context, ref provider.Ref) error {
	return c.confirmGone(ctx, opDeleteKey, ref, c.remove(ctx, opDeleteKey, ref.ID))
}

// remove deletes a key. It is safe to repeat.
func (c *client) remove(ctx context.Context, op operation, id string) error {
	if !addressable(id) {
		return refuse(op, "that is not the id of a key")
	}
	type answer struct {
		Deleted []string `json:"deleted_keys"`
	}
	asked := struct {
		Keys []string `json:"keys"`
	}{[]string{id}}
	_, err := do(provider.Repeatable(ctx), c, op, nil, always(asked), func(a *answer) bool { return slices.Contains(a.Deleted, id) })
	return err
}

// getKey reads a key.
func (c *client) getKey(ctx context.Context, id string) (*key, error) {
	k, _, err := c.lookUp(ctx, id)
	return k, err
}

// lookUp reads a key, and also returns what LiteLLM said of a failure. It repeats
// the id that it was asked for.
func (c *client) lookUp(ctx context.Context, id string) (*key, told, error) {
	if !addressable(id) {
		return nil, told{}, refuse(opGetKey, "that is not the id of a key")
	}
	type answer struct {
		Key  string `json:"key"`
		Info *key   `json:"info"`
	}
	res, words, err := inWords(ctx, c, opGetKey, url.Values{"key": {id}}, nil,
		func(a *answer) bool { return a.Key == id && a.Info != nil })
	if err != nil {
		return nil, words, err
	}
	res.Info.Token = id
	return res.Info, told{}, nil
}

// present reads a key that should be there. "Not found" is checked before it is
// returned, see confirmGone.
func (c *client) present(ctx context.Context, op operation, ref provider.Ref) (*key, error) {
	k, err := c.getKey(ctx, ref.ID)
	return k, c.confirmGone(ctx, op, ref, err)
}

// Extend moves the expiry of a key that has not expired: LiteLLM would bring one
// back that has. The time counts from when each request is made. LiteLLM goes on
// with the old expiry for as long as it has the key in a cache, a minute by
// default, since an update by its id does not clear that.
func (c *client) Extend(ctx context.Context, ref provider.Ref, until time.Time) (time.Time, error) {
	ctx = provider.Repeatable(ctx)
	now, err := c.present(ctx, opExtendKey, ref)
	switch {
	case err != nil:
		return time.Time{}, err
	case !now.ExpiresAt.IsZero() && !c.now().Before(now.ExpiresAt.Time):
		return time.Time{}, refuse(opExtendKey, "the key has expired")
	}
	moved, err := c.update(ctx, ref.ID, until)
	if err = c.confirmGone(ctx, opExtendKey, ref, err); err != nil {
		return time.Time{}, err
	}
	if moved.ExpiresAt.IsZero() { // not shown: ask
		if moved, err = c.present(ctx, opExtendKey, ref); err != nil {
			return time.Time{}, err
		}
	}
	if moved.ExpiresAt.IsZero() {
		return time.Time{}, unproven(opExtendKey, "the key was left without an expiry")
	}
	return moved.ExpiresAt.Time, nil
}

// now is the time by which LiteLLM judges a key, as far as its answers tell.
func (c *client) now() time.Time {
	if theirs, known := c.transport.Now(); known && time.Until(theirs).Abs() > clockTrust {
		return theirs
	}
	return time.Now()
}

// update asks for another expiry, and returns the key as LiteLLM shows it then.
func (c *client) update(ctx context.Context, id string, until time.Time) (*key, error) {
	type answer struct {
		Key string `json:"key"`
		key
	}
	type request struct {
		Key      string `json:"key"`
		Duration string `json:"duration"`
	}
	res, err := do(ctx, c, opExtendKey, nil, func() any { return request{id, duration(until)} },
		func(a *answer) bool { return a.Key == id })
	if err != nil {
		return nil, err
	}
	return &res.key, nil
}

// ReadKey returns a key. That key hashes to the id proves that it is the one.
// Nobody else's is handed out that could manage the proxy.
func (c *client) ReadKey(ctx context.Context, ref provider.Ref, key provider.Secret) (provider.Found, error) {
	if key == c.Admin {
		return provider.Found{}, provider.FieldErrorf("api_key", "is the connection's admin key, which cannot be handed out")
	}
	c = c.hiding(key)
	k, err := c.present(ctx, opGetKey, ref)
	if err != nil {
		return provider.Found{}, err
	}
	switch {
	case idOf(key) != ref.ID:
		return provider.Found{}, provider.FieldErrorf("key_id", "is not the id of this key; give the hash that LiteLLM shows beside the key, and the whole key")
	case !k.in(ref.Scope):
		return provider.Found{}, provider.FieldErrorf("key_id", "is the id of a key of another team than the role's; give the role that team, or another key")
	}
	if err := c.refuseManager(ctx, "key_id", k.User); err != nil {
		return provider.Found{}, err
	}
	return found(*k), nil
}

// KeyData is where a key is good for.
func (c *client) KeyData(string) map[string]string { return map[string]string{"base_url": c.baseURL} }

// Find yields the keys of a team, or those that are in none; admin keys are not
// among them, see FindAdmins. Where a team has none, it must exist.
func (c *client) Find(ctx context.Context, scope string) iter.Seq2[provider.Found, error] {
	return func(yield func(provider.Found, error) bool) {
		empty := true
		for k, err := range c.keysOf(ctx, scope) {
			if err != nil {
				yield(provider.Found{}, err)
				return
			}
			empty = false
			if !yield(found(k), nil) {
				return
			}
		}
		if !empty || scope == noTeam {
			return
		}
		if err := c.getTeam(ctx, scope); err != nil {
			yield(provider.Found{}, err)
		}
	}
}

// keysOf lists the keys of a scope, admin keys left out. LiteLLM has no filter for
// keys without a team, so that it is asked for all.
func (c *client) keysOf(ctx context.Context, scope string) iter.Seq2[key, error] {
	query := url.Values{}
	if scope != noTeam {
		query.Set(fieldTeam, scope)
	}
	own := idOf(c.Admin)
	return func(yield func(key, error) bool) {
		for k, err := range c.keys(ctx, opListKeys, query) {
			switch {
			case err != nil:
			case k.Token == own || k.meta(metaAdmin) != "":
				continue
			case k.in(scope):
			case scope == noTeam:
				continue
			default:
				k, err = key{}, unproven(opListKeys, "LiteLLM lists keys of another team than asked")
			}
			if !yield(k, err) || err != nil {
				return
			}
		}
	}
}

func found(k key) provider.Found {
	out := provider.Found{ID: k.Token, Name: k.Alias, CreatedAt: k.CreatedAt.Time, ExpiresAt: k.ExpiresAt.Time}
	switch {
	case k.User != "":
		out.Owner = provider.HideKeys("user " + k.User)
	case k.Team != "":
		out.Owner = provider.HideKeys("team " + k.Team)
	}
	return out
}
