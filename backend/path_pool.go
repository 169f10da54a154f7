package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file is how operators fill and empty pools: see pool.go.

func (b *backend) poolPaths() []*framework.Path {
	config := &framework.FieldSchema{Type: framework.TypeString, Description: "Name of the connection whose pool it is.", Required: true}
	return []*framework.Path{
		{
			Pattern:      poolPrefix + framework.GenericNameRegex("config") + "/?$",
			DisplayAttrs: display("pool-keys"),
			Fields:       map[string]*framework.FieldSchema{"config": config},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: mayRefuse(reading(b.listPool, "List the keys of a pool.", map[string]*framework.FieldSchema{
					"keys":     {Type: framework.TypeStringSlice, Description: "The provider's ids of the keys."},
					"key_info": {Type: framework.TypeMap, Description: "For each id: scope, state and role."},
				}), http.StatusNotFound),
			},
			HelpSynopsis:    "List the keys that a connection was given to hand out.",
			HelpDescription: "Ids of all keys of the pool, each with its scope, its state and the role that has it.",
		},
		{
			Pattern:      poolPrefix + framework.GenericNameRegex("config") + "/" + framework.GenericNameRegex("key_id") + "$",
			DisplayAttrs: display("pool-key"),
			Fields: map[string]*framework.FieldSchema{
				"config":  config,
				"key_id":  {Type: framework.TypeString, Description: "The provider's id of the key.", Required: true},
				"api_key": {Type: framework.TypeString, Description: "The key. Never read back.", DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}},
				"scope":   {Type: framework.TypeString, Description: "Where the key is at the provider: at Anthropic, the id of its workspace."},
				"retired": {Type: framework.TypeBool, Description: "true keeps the key from being handed out again; false lets one that was retired be handed out, after a rest."},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation:   mayRefuse(reading(b.readPooled, "Read what a key of a pool is doing.", pooledFields()), http.StatusNotFound),
				logical.UpdateOperation: mayRefuse(writing(b.writePooled, "Give a key to a pool."), http.StatusNotFound, http.StatusBadGateway, http.StatusServiceUnavailable),
				logical.DeleteOperation: forwarded(b.deletePooled, "Take a key that nobody holds out of a pool.", okOrNothing()),
			},
			HelpSynopsis: "Give a connection a key to hand out, for providers that cannot make any.",
			HelpDescription: `
The key is switched off at the provider, and from then on belongs to the engine: it
is switched on for the time of a lease, for one holder at a time, and rests before
the next one has it. Whoever had it may have kept a copy, which works again whenever the
key is switched on. So one that revoke/ or suspend/ has killed is retired, and handed
out again only after a write of retired=false.`,
		},
	}
}

func pooledFields() map[string]*framework.FieldSchema {
	text := func(description string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeString, Description: description}
	}
	return map[string]*framework.FieldSchema{
		"key_id":     text("The provider's id of the key."),
		"scope":      text("Where the key is at the provider."),
		"state":      text("What the key is: free, held, resting or retired."),
		"role":       text("Role that has the key; empty if none does."),
		"id":         text("Id of the holder's record, as keys/ lists it; empty if nobody has the key."),
		"added_at":   text("Since when the pool has the key, in RFC 3339."),
		"added_by":   text("Who gave the key to the pool."),
		"free_at":    text("When a resting key may be handed out again, in RFC 3339; empty for all others."),
		"retired":    {Type: framework.TypeBool, Description: "Whether the key is not handed out again."},
		"retired_at": text("Since when the key is retired, in RFC 3339; empty if it is not."),
		"last_error": text("Why the provider did not switch the key on the last time; empty if it did."),
	}
}

func (b *backend) listPool(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	config := d.Get("config").(string)
	all, err := b.poolOf(ctx, req.Storage, config)
	if err != nil {
		return nil, err
	}
	ids, info := []string{}, map[string]any{}
	for _, e := range all {
		data, err := b.pooledData(ctx, req.Storage, e)
		if err != nil {
			return nil, err
		}
		ids = append(ids, e.KeyID)
		info[e.KeyID] = map[string]any{"scope": data["scope"], "state": data["state"], "role": data["role"]}
	}
	return logical.ListResponseWithInfo(ids, info), nil
}

func (b *backend) readPooled(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	config, id, err := pooledName(d)
	if err != nil {
		return nil, err
	}
	e, err := loadPooled(ctx, req.Storage, config, id)
	if err != nil || e == nil {
		return nil, err
	}
	data, err := b.pooledData(ctx, req.Storage, e)
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: data}, nil
}

// pooledName returns the names in the path, which are storage keys too.
func pooledName(d *framework.FieldData) (config, id string, err error) {
	config, id = d.Get("config").(string), d.Get("key_id").(string)
	if !isName(id) {
		return "", "", badField("key_id", "is not an id; give the provider's id of the key")
	}
	if provider.HideKeys(id) != id {
		return "", "", badField("key_id", "looks like a key; give the provider's id of it, and the key as api_key")
	}
	return config, id, checkName(config)
}

func (b *backend) pooledData(ctx context.Context, s logical.Storage, e *poolEntry) (map[string]any, error) {
	held, err := b.held(ctx, s, e)
	if err != nil {
		return nil, err
	}
	rest := b.restOf(ctx, s, e.config)
	state := e.state(held, rest, b.now())
	data := map[string]any{
		"key_id": e.KeyID, "scope": e.Scope, "state": string(state), "role": "", "id": "",
		"added_at": rfc3339(e.AddedAt), "added_by": e.By.String(),
		"free_at": "", "retired": !e.RetiredAt.IsZero(), "retired_at": rfc3339(e.RetiredAt), "last_error": e.LastError,
	}
	if p, err := parsePointer(e.Holder); err == nil && held {
		data["role"], data["id"] = p.role, p.id
	}
	if state == poolResting && !e.FreedAt.IsZero() {
		data["free_at"] = rfc3339(e.restsUntil(rest))
	}
	return data, nil
}

func (b *backend) writePooled(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	config, id, err := pooledName(d)
	if err != nil {
		return nil, err
	}
	key, scope := strings.TrimSpace(d.Get("api_key").(string)), d.Get("scope").(string)
	if old, err := loadPooled(ctx, req.Storage, config, id); err != nil || old != nil && key == "" {
		return nil, firstErrorOf(
			func() error { return err },
			func() error { return b.changeRetired(ctx, req.Storage, d, old) },
		)
	}
	switch {
	case key == "":
		return nil, badField("api_key", "is missing; give the key, for nobody can read it at the provider again")
	case scope == "":
		return nil, badField("scope", "is missing; give the place of the key at the provider, such as the id of its workspace")
	}
	mount, err := b.mount(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	next := &poolEntry{
		Version: poolVersion, KeyID: id, Scope: scope, APIKey: key, KeyHash: keyHash(mount.Salt, key),
		AddedAt: b.now(), By: b.callerOf(req), config: config,
	}
	if d.Get("retired").(bool) {
		next.RetiredAt = b.now()
	}
	release, err := b.lockTakeIn(ctx, next)
	if err != nil {
		return nil, err
	}
	defer release()
	if _, _, err := b.poolKeeper(ctx, req.Storage, config); err != nil {
		return nil, err
	}
	known, err := b.mayTakeIn(ctx, req.Storage, next)
	if err != nil {
		return nil, err
	}
	if known != nil {
		return nil, b.changeRetired(ctx, req.Storage, d, known)
	}
	return nil, b.takeIn(ctx, req.Storage, next)
}

// changeRetired retires a key of a pool, or lets it be handed out again, if a request
// says so.
func (b *backend) changeRetired(ctx context.Context, s logical.Storage, d *framework.FieldData, known *poolEntry) error {
	if scope := d.Get("scope").(string); scope != "" && scope != known.Scope {
		return badField("scope", "is another than the pool has for this key; delete pool/%s/%s first", known.config, known.KeyID)
	}
	if !given(d, "retired") {
		return nil
	}
	if d.Get("retired").(bool) {
		return b.retire(ctx, s, known)
	}
	release, err := b.slots.acquire(ctx, poolSlot(known.config))
	if err != nil {
		return fmt.Errorf("wait for the pool of connection %q: %w", known.config, err)
	}
	defer release()
	e, err := loadPooled(ctx, s, known.config, known.KeyID)
	if err != nil || e == nil || e.RetiredAt.IsZero() {
		return err
	}
	held, err := b.held(ctx, s, e)
	if err != nil {
		return err
	}
	if held {
		return badField("retired", "cannot be lifted while role %q still has the key; wait until it is gone", e.holderRole())
	}
	e.RetiredAt, e.FreedAt = time.Time{}, b.now()
	b.Logger().Info("key of a pool may be handed out again", "config", e.config, "key_id", e.KeyID)
	return savePooled(ctx, s, e)
}

// holderRole is the role that has a key, or had it last.
func (e *poolEntry) holderRole() string {
	p, err := parsePointer(e.Holder)
	if err != nil {
		return ""
	}
	return p.role
}

// lockTakeIn takes the slots of a connection, so that it stays, and of a key, so that
// nobody takes it in twice.
func (b *backend) lockTakeIn(ctx context.Context, next *poolEntry) (release func(), err error) {
	var held []func()
	release = func() {
		for _, one := range held {
			one()
		}
	}
	for _, slot := range []string{connectionSlot(next.config), "take in " + next.config + "/" + next.KeyID, "take in " + next.KeyHash} {
		one, err := b.slots.acquire(ctx, slot)
		if err != nil {
			release()
			return nil, fmt.Errorf("wait for connection %q: %w", next.config, err)
		}
		held = append(held, one)
	}
	return release, nil
}

// mayTakeIn refuses a key that is in use already, or that was retired. It returns the
// key if the pool has it.
func (b *backend) mayTakeIn(ctx context.Context, s logical.Storage, next *poolEntry) (known *poolEntry, err error) {
	old, err := loadPooled(ctx, s, next.config, next.KeyID)
	if err != nil {
		return nil, err
	}
	if old != nil {
		if old.KeyHash == next.KeyHash && old.Scope == next.Scope {
			return old, nil
		}
		return nil, badField("api_key", "or scope is another than the pool has for this id; delete pool/%s/%s first", next.config, next.KeyID)
	}
	twin, err := b.findPooled(ctx, s, func(e *poolEntry) bool { return e.KeyHash == next.KeyHash })
	if err != nil {
		return nil, err
	}
	if twin != nil {
		return nil, badField("api_key", "is in the pool of connection %q already, as %s", twin.config, twin.KeyID)
	}
	recs, err := b.recordsWith(ctx, s, byKeyHash(next.KeyHash))
	if err != nil {
		return nil, err
	}
	if len(recs) > 0 && recs[0].Kind == admin {
		return nil, badField("api_key", "is the admin key of connection %q", recs[0].Config)
	}
	if len(recs) > 0 {
		return nil, badField("api_key", "is in use by role %q of connection %q, whose record is %s", recs[0].Role, recs[0].Config, recs[0].ID)
	}
	return nil, b.remember(ctx, s, next)
}

// A pastKey is what is kept of a key that was taken out of its pool: that it was
// retired, and that it rests.
//
//	{"version":1,"retired_at":"…","freed_at":"…"}
type pastKey struct {
	Version   int       `json:"version"`
	RetiredAt time.Time `json:"retired_at,omitzero"`
	FreedAt   time.Time `json:"freed_at,omitzero"`
}

// remember gives a key that was in a pool before the rest that it still needs, and
// refuses one that was retired.
func (b *backend) remember(ctx context.Context, s logical.Storage, next *poolEntry) error {
	past, err := load[pastKey](ctx, s, pastKeyKey(next.KeyHash))
	if err != nil || past == nil {
		return err
	}
	if !past.RetiredAt.IsZero() {
		return badField("api_key", "was retired at %s, for somebody may have a copy; make another key at the provider", rfc3339(past.RetiredAt))
	}
	next.FreedAt = past.FreedAt
	return nil
}

// poolKeeper returns a connection that has a pool.
func (b *backend) poolKeeper(ctx context.Context, s logical.Storage, config string) (*connection, provider.PoolKeeper, error) {
	conn, err := b.connection(ctx, s, config)
	if errors.Is(err, errNoConnection) {
		return nil, nil, errNoSuchConnection(config)
	}
	if err != nil {
		return nil, nil, err
	}
	keeper, ok := conn.client.(provider.PoolKeeper)
	if !ok {
		return nil, nil, badField("config", "is a connection to provider %q, which makes keys itself; a pool is for those that cannot", conn.provider.Name())
	}
	return conn, keeper, nil
}

// takeIn switches a key off at the provider and stores it.
func (b *backend) takeIn(ctx context.Context, s logical.Storage, next *poolEntry) error {
	conn, keeper, err := b.poolKeeper(ctx, s, next.config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, verifyBudget)
	defer cancel()
	found, err := keeper.TakeIn(ctx, provider.Ref{ID: next.KeyID, Scope: next.Scope}, provider.Secret(next.APIKey))
	if b.noted(conn, err) != nil {
		return err
	}
	release, err := b.slots.acquire(ctx, poolSlot(next.config))
	if err != nil {
		return fmt.Errorf("wait for the pool of connection %q: %w", next.config, err)
	}
	defer release()
	if err := savePooled(ctx, s, next); err != nil {
		return fmt.Errorf("the key is switched off at the provider, but not in the pool; write it again: %w", err)
	}
	b.Logger().Info("key taken into a pool", "config", next.config, "key_id", next.KeyID, "name", provider.HideKeys(found.Name), "by", next.By.String())
	return nil
}

func (b *backend) deletePooled(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	config, id, err := pooledName(d)
	if err != nil {
		return nil, err
	}
	release, err := b.slots.acquire(ctx, poolSlot(config))
	if err != nil {
		return nil, fmt.Errorf("wait for the pool of connection %q: %w", config, err)
	}
	defer release()
	e, err := loadPooled(ctx, req.Storage, config, id)
	if err != nil || e == nil {
		return nil, err
	}
	held, err := b.held(ctx, req.Storage, e)
	if err != nil {
		return nil, err
	}
	if held {
		p, _ := parsePointer(e.Holder)
		return nil, badRequest(fmt.Sprintf("role %q has this key; revoke it first: vault write <mount>/revoke id=%s", p.role, p.id))
	}
	if err := b.keepPast(ctx, req.Storage, e); err != nil {
		return nil, err
	}
	if err := remove(ctx, req.Storage, e.key()); err != nil {
		return nil, err
	}
	b.Logger().Info("key taken out of a pool", "config", config, "key_id", id, "by", b.callerOf(req).String())
	resp := &logical.Response{}
	resp.AddWarning("the key stays switched off at the provider; archive it there if nobody needs it")
	return resp, nil
}

// keepPast keeps what must not be forgotten of a key that leaves its pool.
func (b *backend) keepPast(ctx context.Context, s logical.Storage, e *poolEntry) error {
	past := pastKey{Version: pastKeyVersion, RetiredAt: e.RetiredAt, FreedAt: e.FreedAt}
	if e.Holder != "" && e.FreedAt.IsZero() {
		past.FreedAt = b.now()
	}
	if past.RetiredAt.IsZero() && past.FreedAt.IsZero() {
		return nil
	}
	return save(ctx, s, pastKeyKey(e.KeyHash), past)
}

const pastKeyVersion = 1

// restOf is how long the keys of a pool rest; zero if that is not known.
func (b *backend) restOf(ctx context.Context, s logical.Storage, config string) (rest time.Duration) {
	conn, err := b.connection(ctx, s, config)
	if err != nil {
		return 0
	}
	if keeper, ok := conn.client.(provider.PoolKeeper); ok {
		return keeper.Rest()
	}
	return 0
}
