package backend

import (
	"context"
	"errors"
	"fmt"
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
				logical.ListOperation: reading(b.listPool, "List the keys of a pool.", map[string]*framework.FieldSchema{
					"keys":     {Type: framework.TypeStringSlice, Description: "The provider's ids of the keys."},
					"key_info": {Type: framework.TypeMap, Description: "For each id: scope, state and role."},
				}),
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
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation:   reading(b.readPooled, "Read what a key of a pool is doing.", pooledFields()),
				logical.UpdateOperation: forwarded(b.writePooled, "Give a key to a pool.", okOrNothing()),
				logical.DeleteOperation: forwarded(b.deletePooled, "Take a key that nobody holds out of a pool.", okOrNothing()),
			},
			HelpSynopsis: "Give a connection a key to hand out, for providers that cannot make any.",
			HelpDescription: `
The key is switched off at the provider, and from then on belongs to the engine: it
is switched on for the time of a lease, for one holder at a time, and rests before
the next one has it. One that leaked is retired by revoke/ and never handed out again.`,
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
		"state":      text("free, held, resting or retired."),
		"role":       text("Role that has the key."),
		"id":         text("Id of the holder's record, as keys/ lists it."),
		"added_at":   text("Since when the pool has the key, in RFC 3339."),
		"added_by":   text("Who gave it."),
		"free_at":    text("When a resting key may be handed out again, in RFC 3339."),
		"retired_at": text("Since when the key is never handed out again, in RFC 3339."),
		"last_error": text("Why the provider did not switch the key on the last time."),
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
		"free_at": "", "retired_at": rfc3339(e.RetiredAt), "last_error": e.LastError,
	}
	if p, err := parsePointer(e.Holder); err == nil && held {
		data["role"], data["id"] = p.role, p.id
	}
	if state == poolResting {
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
	switch {
	case key == "":
		return nil, badField("api_key", "is missing; give the key, for nobody can read it at the provider again")
	case scope == "":
		return nil, badField("scope", "is missing; give the place of the key at the provider, such as the id of its workspace")
	}
	release, err := b.lockPool(ctx, config)
	if err != nil {
		return nil, err
	}
	defer release()
	mount, err := b.mount(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	next := &poolEntry{
		Version: poolVersion, KeyID: id, Scope: scope, APIKey: key, KeyHash: keyHash(mount.Salt, key),
		AddedAt: b.now(), By: b.callerOf(req), config: config,
	}
	known, err := b.mayTakeIn(ctx, req.Storage, next)
	if err != nil || known {
		return nil, err
	}
	return nil, b.takeIn(ctx, req.Storage, next)
}

// lockPool takes the slots of a connection, so that it stays, and of its pool.
func (b *backend) lockPool(ctx context.Context, config string) (release func(), err error) {
	first, err := b.slots.acquire(ctx, connectionSlot(config))
	if err != nil {
		return nil, fmt.Errorf("wait for connection %q: %w", config, err)
	}
	second, err := b.slots.acquire(ctx, poolSlot(config))
	if err != nil {
		first()
		return nil, fmt.Errorf("wait for the pool of connection %q: %w", config, err)
	}
	return func() { second(); first() }, nil
}

// mayTakeIn refuses a key that is in use already. It reports whether the pool has it.
func (b *backend) mayTakeIn(ctx context.Context, s logical.Storage, next *poolEntry) (known bool, err error) {
	old, err := loadPooled(ctx, s, next.config, next.KeyID)
	if err != nil {
		return false, err
	}
	if old != nil {
		if old.KeyHash == next.KeyHash && old.Scope == next.Scope {
			return true, nil
		}
		return false, badField("api_key", "or scope is another than the pool has for this id; delete pool/%s/%s first", next.config, next.KeyID)
	}
	twin, err := b.pooledByHash(ctx, s, next.KeyHash)
	if err != nil {
		return false, err
	}
	if twin != nil {
		return false, badField("api_key", "is in the pool of connection %q already, as %s", twin.config, twin.KeyID)
	}
	recs, err := b.recordsWith(ctx, s, byKeyHash(next.KeyHash))
	if err != nil {
		return false, err
	}
	if len(recs) > 0 {
		return false, badField("api_key", "is in use by role %q of connection %q, whose record is %s", recs[0].Role, recs[0].Config, recs[0].ID)
	}
	return false, nil
}

// takeIn switches a key off at the provider and stores it.
func (b *backend) takeIn(ctx context.Context, s logical.Storage, next *poolEntry) error {
	conn, err := b.connection(ctx, s, next.config)
	if errors.Is(err, errNoConnection) {
		return errNoSuchConnection(next.config)
	}
	if err != nil {
		return err
	}
	keeper, ok := conn.client.(provider.PoolKeeper)
	if !ok {
		return badField("config", "is a connection to provider %q, which makes keys itself; a pool is for those that cannot", conn.provider.Name())
	}
	ctx, cancel := context.WithTimeout(ctx, verifyBudget)
	defer cancel()
	found, err := keeper.TakeIn(ctx, provider.Ref{ID: next.KeyID, Scope: next.Scope}, provider.Secret(next.APIKey))
	if b.noted(conn, err) != nil {
		return err
	}
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
	release, err := b.lockPool(ctx, config)
	if err != nil {
		return nil, err
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
	if err := remove(ctx, req.Storage, e.key()); err != nil {
		return nil, err
	}
	b.Logger().Info("key taken out of a pool", "config", config, "key_id", id, "by", b.callerOf(req).String())
	resp := &logical.Response{}
	resp.AddWarning("the key stays switched off at the provider; archive it there if nobody needs it")
	return resp, nil
}

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
