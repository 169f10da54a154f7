package anthropic

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file switches keys. An active key is one that somebody may hold; all others
// are gone, as far as the engine's ledger is concerned, and rest in the pool.

var (
	opActivate   = operation{name: "activate key", method: http.MethodPost, creates: true}
	opDeactivate = operation{name: "deactivate key", method: http.MethodPost}
	opListKeys   = operation{name: "list keys", method: http.MethodGet}
	opGetKey     = operation{name: "read key", method: http.MethodGet}
	opTryKey     = operation{name: "try key", method: http.MethodGet}
)

const keysPath = "/v1/organizations/api_keys"

const statusActive, statusInactive = "active", "inactive"

const (
	// patience is how long a key may be unknown to the data plane after its
	// activation, before it is given up.
	patience = 10 * time.Second
	// firstTry and lastTry bound the pauses meanwhile.
	firstTry, lastTry = 250 * time.Millisecond, 2 * time.Second
)

// A key is what Anthropic shows of one.
type key struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Status    string    `json:"status"`
	Hint      string    `json:"partial_key_hint"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	CreatedBy struct {
		ID   string `json:"id"`
		Type string `json:"type"`
	} `json:"created_by"`
	Principal struct {
		Account string `json:"service_account_id"`
		User    string `json:"user_id"`
	} `json:"principal"`
	Scope struct {
		Workspace string `json:"workspace_id"`
	} `json:"scope"`
}

// A change is what is asked of a key.
type change struct {
	Status string `json:"status"`
	Name   string `json:"name,omitempty"`
}

// Mint activates a key of the pool, and gives it the name by which it is found if
// the answer is lost. It is handed out once the data plane takes it. One that is
// active already is somebody's: a person has switched it on, or a Vault that was
// restored from a backup does not know who holds it.
func (c *pool) Mint(ctx context.Context, spec provider.Spec) (provider.Key, error) {
	if spec.Pooled == nil {
		return provider.Key{}, c.refuse(opActivate, "no key of the pool was chosen; Anthropic's API creates none")
	}
	pooled, workspace := *spec.Pooled, spec.Role.String(fieldWorkspace)
	asked := change{Status: statusActive, Name: spec.Name}
	if err := c.mustBeOff(ctx, pooled); err != nil {
		return provider.Key{}, err
	}
	got, err := c.change(ctx, opActivate, pooled.ID, asked, func(k *key) bool { return k.Status != "" }, pooled.Secret)
	if err != nil {
		return provider.Key{}, err
	}
	// The key is active: what follows must not end because the caller has gone.
	ctx = provider.FollowUp(ctx)
	if problem := asked.unlike(got, workspace); problem != "" {
		return provider.Key{}, c.undo(ctx, pooled, c.unproven(opActivate, problem))
	}
	if err := c.await(ctx, pooled.Secret); err != nil {
		return provider.Key{}, c.undo(ctx, pooled, err)
	}
	out := provider.Key{ID: pooled.ID, Secret: pooled.Secret, ExpiresAt: got.ExpiresAt}
	if c.ownURL != "" {
		out.Data = map[string]string{"base_url": c.ownURL}
	}
	return out, nil
}

// mustBeOff refuses a key that somebody may use. Nothing was changed yet.
func (c *pool) mustBeOff(ctx context.Context, pooled provider.PooledKey) error {
	switch now, err := c.readKey(ctx, pooled.ID, pooled.Secret); {
	case err != nil:
		return err
	case now.Status == statusActive:
		return c.refuse(opActivate, "the key is active already, under the name "+provider.HideKeys(now.Name)+"; somebody may use it: switch it off in "+
			"the Console")
	case now.Status != statusInactive: // it is not documented that it could not be switched on
		return c.refuse(opActivate, "the key is "+provider.Redact(now.Status)+"; take it out of the pool")
	}
	return nil
}

// unlike says in what a key is not as it was asked to be.
func (a change) unlike(k *key, workspace string) string {
	switch {
	case k.Status != a.Status:
		return "the key is not active after it was activated"
	case k.Name != a.Name:
		return "the key has another name than it was given"
	case k.Scope.Workspace != workspace:
		return "the key is in another workspace than the role's"
	}
	return ""
}

// await waits until the data plane takes a key. One that is limited is known.
func (c *pool) await(ctx context.Context, secret provider.Secret) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for pause := firstTry; ; pause = min(2*pause, lastTry) {
		err := c.VerifyKey(ctx, secret)
		if err == nil || provider.IsKind(err, provider.RateLimited) {
			return nil
		}
		if !sleep(ctx, pause) {
			return err
		}
	}
}

// undo deactivates a key that must not be handed out, and returns why. That the data
// plane refuses the key is no fault of the admin key's but of the key: another one may
// do.
func (c *pool) undo(ctx context.Context, pooled provider.PooledKey, why error) error {
	if err := c.deactivate(ctx, pooled.ID, pooled.Secret); err != nil {
		return c.because(why, provider.Ambiguous, opActivate, "the key may be active, for it could not be deactivated after a failure")
	}
	kind := provider.Unavailable
	if provider.IsKind(why, provider.Unauthorized) || provider.IsKind(why, provider.Forbidden) {
		kind = provider.Invalid
	}
	undone := c.because(why, kind, opActivate, "the key was deactivated again after a failure")
	undone.Touched = true
	return undone
}

// Delete deactivates a key. One that is not active is gone, and stays what it is: to
// write inactive might bring an archived one back.
func (c *pool) Delete(ctx context.Context, ref provider.Ref) error {
	now, err := c.readKey(ctx, ref.ID)
	if err == nil {
		if now.Status != statusActive {
			return nil
		}
		err = c.deactivate(ctx, ref.ID)
	}
	if provider.IsKind(err, provider.Invalid) || provider.IsKind(err, provider.NotFound) {
		return c.settle(ctx, ref, err)
	}
	return err
}

func (c *pool) deactivate(ctx context.Context, id string, hide ...provider.Secret) error {
	_, err := c.change(provider.Repeatable(ctx), opDeactivate, id, change{Status: statusInactive},
		func(k *key) bool { return k.Status != "" && k.Status != statusActive }, hide...)
	return err
}

// settle returns what a refused deactivation means. An archived key cannot become
// inactive, and needs not. The engine forgets a key that is not found, so a 404
// alone does not do: a gateway that is being redeployed answers it, and so does
// Anthropic to the admin key of another organization. The workspace must be there,
// and reading the key must say "not found" too.
func (c *pool) settle(ctx context.Context, ref provider.Ref, err error) error {
	k, unread := c.readKey(ctx, ref.ID)
	switch {
	case unread == nil && k.Status != statusActive:
		return nil
	case unread == nil && provider.IsKind(err, provider.NotFound):
		return c.unproven(opDeactivate, "Anthropic answers not found, yet the key can still be read")
	case unread == nil, provider.IsKind(err, provider.Invalid):
		return err
	case !provider.IsKind(unread, provider.NotFound):
		return unread
	}
	switch _, unknown := c.readWorkspace(ctx, ref.Scope); {
	case provider.IsKind(unknown, provider.NotFound):
		return c.because(unknown, provider.Unproven, opDeactivate, "Anthropic answers not found, but does not know the workspace either; is "+
			"the admin key of another organization?")
	case unknown != nil:
		return unknown
	}
	return err
}

// change changes a key.
func (c *pool) change(ctx context.Context, op operation, id string, to change, valid func(*key) bool, hide ...provider.Secret) (*key, error) {
	part, ok := segment(id)
	if !ok {
		return nil, c.refuse(op, "that is not the id of a key")
	}
	r := c.admin(op, keysPath+"/"+part)
	r.body, r.Hide = to, hide
	return do(ctx, c.api, r, func(k *key) bool { return k.ID == id && valid(k) })
}

func (c *pool) readKey(ctx context.Context, id string, hide ...provider.Secret) (*key, error) {
	part, ok := segment(id)
	if !ok {
		return nil, c.refuse(opGetKey, "that is not the id of a key")
	}
	r := c.admin(opGetKey, keysPath+"/"+part)
	r.Hide = hide
	return do(ctx, c.api, r, func(k *key) bool { return k.ID == id && k.Status != "" })
}

// Find yields the active keys of a workspace. Anthropic does not say what it lists of
// a workspace that does not exist: where there is nothing, the workspace must be
// there.
func (c *pool) Find(ctx context.Context, workspace string) iter.Seq2[provider.Found, error] {
	return func(yield func(provider.Found, error) bool) {
		empty := true
		for k, err := range c.activeKeys(ctx, workspace) {
			if err == nil && (k.Status != statusActive || k.Scope.Workspace != workspace) {
				err = c.unproven(opListKeys, "Anthropic lists keys of another workspace or status than asked")
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
		if _, err := c.readWorkspace(ctx, workspace); err != nil {
			yield(provider.Found{}, err)
		}
	}
}

func (c *pool) activeKeys(ctx context.Context, workspace string) iter.Seq2[key, error] {
	return all(ctx, c, list[key]{
		op: opListKeys, path: keysPath, id: func(k key) string { return k.ID },
		query: url.Values{"status": {statusActive}, "workspace_id": {workspace}},
	})
}

// found leaves out the principal, for it owns no keys of a role alone.
func found(k key) provider.Found {
	out := provider.Found{ID: k.ID, Name: k.Name, CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt}
	switch {
	case k.Principal.Account != "":
		out.Owner = "service account " + k.Principal.Account
	case k.Principal.User != "":
		out.Owner = "user " + k.Principal.User
	case k.CreatedBy.ID != "":
		out.Owner = strings.TrimSpace(strings.ReplaceAll(k.CreatedBy.Type, "_", " ") + " " + k.CreatedBy.ID)
	}
	return out
}

// TakeIn deactivates a key that a person has made, once Anthropic shows that id and
// secret are of one key.
func (c *pool) TakeIn(ctx context.Context, ref provider.Ref, secret provider.Secret) (provider.Found, error) {
	k, err := c.readKey(ctx, ref.ID, secret)
	if provider.IsKind(err, provider.NotFound) {
		return provider.Found{}, provider.FieldErrorf("key_id", "there is no key %q in this organization", provider.HideKeys(ref.ID))
	}
	if err != nil {
		return provider.Found{}, err
	}
	if err := k.mayBePooled(ref.Scope, secret); err != nil {
		return provider.Found{}, err
	}
	if err := c.switchOff(ctx, k, secret); err != nil {
		return provider.Found{}, err
	}
	switch k, err = c.readKey(provider.FollowUp(ctx), ref.ID, secret); {
	case err != nil:
		return provider.Found{}, c.because(err, provider.KindOf(err), opDeactivate, "the key is switched off, but that could not be confirmed; give it again")
	case k.Status != statusInactive:
		return provider.Found{}, c.unproven(opDeactivate, "the key is not inactive after it was deactivated")
	}
	return found(*k), c.awaitRefusal(ctx, secret)
}

// switchOff deactivates a key that is active.
func (c *pool) switchOff(ctx context.Context, k *key, secret provider.Secret) error {
	if k.Status != statusActive {
		return nil
	}
	return c.deactivate(ctx, k.ID, secret)
}

// awaitRefusal waits until the data plane refuses a key that is switched off. One that
// it goes on taking may be another key than its hint says, which shows but a few
// characters.
func (c *pool) awaitRefusal(ctx context.Context, secret provider.Secret) error {
	ctx, cancel := context.WithTimeout(provider.FollowUp(ctx), patience)
	defer cancel()
	for pause := firstTry; ; pause = min(2*pause, lastTry) {
		err := c.VerifyKey(ctx, secret)
		if provider.IsKind(err, provider.Unauthorized) || provider.IsKind(err, provider.Forbidden) {
			return nil
		}
		if !sleep(ctx, pause) {
			return c.unproven(opTryKey, "the key is switched off, yet it still works; if that lasts, key and key_id are not of one key, else write it again")
		}
	}
}

// mayBePooled refuses a key that is another than it is said to be, or that can never
// be switched on.
func (k *key) mayBePooled(workspace string, secret provider.Secret) error {
	switch {
	case !hints(k.Hint, secret.Reveal()):
		return provider.FieldErrorf("key_id", "%s is another key than the one given, by what Anthropic shows of it", k.ID)
	case k.Scope.Workspace == "":
		return provider.FieldErrorf("key_id", "%s belongs to no workspace; give a key of one", k.ID)
	case workspace != "" && k.Scope.Workspace != workspace:
		return provider.FieldErrorf("key_id", "%s is in the workspace %s, not in %s", k.ID, k.Scope.Workspace, workspace)
	case k.Status == statusActive && strings.HasPrefix(k.Name, "vault-"):
		return provider.FieldErrorf("key_id", "%s is switched on under the name %s, as if an engine had handed it out; switch it off in the Console first", k.ID, provider.HideKeys(k.Name))
	case k.Status != statusActive && k.Status != statusInactive:
		return provider.FieldErrorf("key_id", "%s is %s; give a key that can be active", k.ID, provider.Redact(k.Status))
	}
	return nil
}

// hints reports whether a partial_key_hint, which is both ends of a key with dots
// between, is one of a secret. It must show something of the end: all keys begin
// alike.
func hints(hint, secret string) bool {
	begin, end, ok := strings.Cut(hint, "...")
	if !ok {
		begin, end, ok = strings.Cut(hint, "…")
	}
	return ok && len(end) >= 2 && len(begin)+len(end) < len(secret) && strings.HasPrefix(secret, begin) && strings.HasSuffix(secret, end)
}

// VerifyKey lists the models with the key, which costs nothing.
func (c *pool) VerifyKey(ctx context.Context, secret provider.Secret) error {
	type answer struct {
		Data []json.RawMessage `json:"data"`
	}
	_, err := do(provider.Aside(ctx), c.api, request{op: opTryKey, path: "/v1/models", Key: secret, Hide: []provider.Secret{c.Admin}},
		func(a *answer) bool { return a.Data != nil })
	return err
}
