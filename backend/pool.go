package backend

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file keeps pools: keys that operators made and gave to the engine, for
// providers that can switch keys on and off but not make them.
//
//   - To mint is to take a key out of the pool and have it switched on under the
//     record's name; to delete is to have it switched off. The ledger is what it is
//     for all keys, and all that may be switched on has a record.
//   - A key has one holder, whose record it names. It is free once that record is
//     gone, and has rested since: its last holder may be believed for a while.
//   - A key that leaked is retired: it is never handed out again.
//   - Keys are taken and given back under the slot of the pool.

// A poolEntry is a key of a pool, as stored.
//
//	{"version":1,"key_id":"…","scope":"…","api_key":"…","key_hash":"…","added_at":"…","holder":"anthropic~team~bot~…"}
type poolEntry struct {
	Version int       `json:"version"`
	KeyID   string    `json:"key_id"` // at the provider
	Scope   string    `json:"scope"`
	APIKey  string    `json:"api_key"`
	KeyHash string    `json:"key_hash"` // recognises the key when it leaks
	AddedAt time.Time `json:"added_at"`
	By      owner     `json:"by"`
	// Holder is the name of the pointer to the record of the key's holder; empty if
	// nobody has it.
	Holder string `json:"holder,omitempty"`
	// FreedAt is when the key was given back last; zero if it was never handed out.
	FreedAt time.Time `json:"freed_at,omitzero"`
	// RetiredAt is since when the key is never handed out again; zero if it may be.
	RetiredAt time.Time `json:"retired_at,omitzero"`
	// LastError is why the provider did not switch the key on.
	LastError string `json:"last_error,omitempty"`

	config string // from where it is stored
}

const poolVersion = 1

// pooledKind is what a lookup calls a key of a pool that nobody holds. No record is of
// this kind.
const pooledKind kind = "pool"

func poolSlot(config string) string { return "pool " + config }

func (e *poolEntry) key() string { return poolKey(e.config, e.KeyID) }

// A poolState is what a key of a pool is at a moment.
type poolState string

const (
	poolFree    poolState = "free"
	poolHeld    poolState = "held"
	poolResting poolState = "resting"
	poolRetired poolState = "retired"
)

// state is what a key is; holder says whether its holder's record exists.
func (e *poolEntry) state(held bool, rest time.Duration, now time.Time) poolState {
	switch {
	case held:
		return poolHeld
	case !e.RetiredAt.IsZero():
		return poolRetired
	case e.Holder != "" || now.Before(e.restsUntil(rest)):
		return poolResting
	}
	return poolFree
}

// restsUntil is until when a key that was given back is not handed out again.
func (e *poolEntry) restsUntil(rest time.Duration) time.Time {
	if e.FreedAt.IsZero() {
		return time.Time{}
	}
	return e.FreedAt.Add(rest)
}

func loadPooled(ctx context.Context, s logical.Storage, config, keyID string) (*poolEntry, error) {
	e, err := load[poolEntry](ctx, s, poolKey(config, keyID))
	if e != nil {
		e.config = config
	}
	return e, err
}

// pooled returns the keys of a pool.
func pooled(ctx context.Context, s logical.Storage, config string) ([]*poolEntry, error) {
	ids, err := list(ctx, s, poolPrefix+config+"/")
	if err != nil {
		return nil, err
	}
	var all []*poolEntry
	for _, id := range ids {
		e, err := loadPooled(ctx, s, config, id)
		if err != nil {
			return nil, err
		}
		if e != nil {
			all = append(all, e)
		}
	}
	return all, nil
}

// held reports whether the record of a key's holder exists.
func (b *backend) held(ctx context.Context, s logical.Storage, e *poolEntry) (bool, error) {
	if e.Holder == "" {
		return false, nil
	}
	p, err := parsePointer(e.Holder)
	if err != nil {
		return false, fmt.Errorf("bug: key %s of the pool of %q: %w", e.KeyID, e.config, err)
	}
	rec, err := b.ledger(s).get(ctx, p)
	return rec != nil, err
}

// fromPool takes a key for an order out of the pool; nil where the provider makes
// keys itself. The order's record is stored.
func (b *backend) fromPool(ctx context.Context, s logical.Storage, o *order) (*provider.PooledKey, error) {
	keeper, ok := o.conn.client.(provider.PoolKeeper)
	if !ok {
		return nil, nil
	}
	release, err := b.slots.acquire(ctx, poolSlot(o.conn.name))
	if err != nil {
		return nil, fmt.Errorf("wait for the pool of connection %q: %w", o.conn.name, err)
	}
	defer release()
	all, err := pooled(ctx, s, o.conn.name)
	if err != nil {
		return nil, err
	}
	free, err := b.freeOf(ctx, s, all, o.rec.Scope, keeper.Rest())
	if err != nil {
		return nil, err
	}
	if free == nil {
		return nil, b.emptyPool(ctx, s, o, all, keeper.Rest())
	}
	before := *free
	free.Holder, free.LastError = o.rec.pointer().name(), ""
	if err := savePooled(ctx, s, free); err != nil {
		_ = savePooled(ctx, s, &before) // it may be stored all the same
		return nil, err
	}
	return &provider.PooledKey{ID: free.KeyID, Secret: provider.Secret(free.APIKey)}, nil
}

// freeOf returns the key of a scope that has rested longest; nil if none is free. One
// whose holder's record is gone, without that it was given back, rests from now on.
func (b *backend) freeOf(ctx context.Context, s logical.Storage, all []*poolEntry, scope string, rest time.Duration) (*poolEntry, error) {
	var best *poolEntry
	for _, e := range all {
		if e.Scope != scope {
			continue
		}
		held, err := b.held(ctx, s, e)
		if err != nil {
			return nil, err
		}
		if !held && e.Holder != "" {
			e.Holder, e.FreedAt = "", b.now()
			if err := savePooled(ctx, s, e); err != nil {
				return nil, err
			}
		}
		if e.state(held, rest, b.now()) == poolFree && (best == nil || e.FreedAt.Before(best.FreedAt)) {
			best = e
		}
	}
	return best, nil
}

// emptyPool says why no key is free, and when one is.
func (b *backend) emptyPool(ctx context.Context, s logical.Storage, o *order, all []*poolEntry, rest time.Duration) error {
	counts, next := map[poolState]int{}, time.Time{}
	for _, e := range all {
		if e.Scope != o.rec.Scope {
			continue
		}
		held, err := b.held(ctx, s, e)
		if err != nil {
			return err
		}
		state := e.state(held, rest, b.now())
		counts[state]++
		if until := e.restsUntil(rest); state == poolResting && (next.IsZero() || until.Before(next)) {
			next = until
		}
	}
	text := fmt.Sprintf("the pool of connection %q has no free key of %q: %d held, %d resting, %d retired", o.conn.name, o.rec.Scope, counts[poolHeld], counts[poolResting], counts[poolRetired])
	if !next.IsZero() {
		text += ", the next one free at " + rfc3339(next)
	}
	return refuse(http.StatusTooManyRequests, "%s; add keys by pool/%s/<key_id>, or revoke a lease", text, o.conn.name)
}

// giveBack frees the key of a record, if it is of a pool: it is switched off. After an error the
// record stays, and it is tried again.
func (b *backend) giveBack(ctx context.Context, s logical.Storage, conn *connection, rec record) error {
	if _, ok := conn.client.(provider.PoolKeeper); !ok || rec.Kind == admin {
		return nil
	}
	return b.freePooled(ctx, s, rec.Config, rec.KeyID, rec.pointer(), func(e *poolEntry) { e.FreedAt = b.now() })
}

// giveBackReserved frees the key that was reserved for a pending record, of which it
// is not known whether it was switched on for a while.
func (b *backend) giveBackReserved(ctx context.Context, s logical.Storage, conn *connection, rec record) error {
	if _, ok := conn.client.(provider.PoolKeeper); !ok || rec.Kind == admin {
		return nil
	}
	all, err := pooled(ctx, s, rec.Config)
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.Holder == rec.pointer().name() {
			rec.KeyID = e.KeyID
			return b.giveBack(ctx, s, conn, rec)
		}
	}
	return nil
}

// unreserve frees a key that was certainly not switched on. One that the provider
// refuses rests, so that others come first.
func (b *backend) unreserve(ctx context.Context, s logical.Storage, rec record, key *provider.PooledKey, cause error) {
	if key == nil {
		return
	}
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	err := b.freePooled(ctx, s, rec.Config, key.ID, rec.pointer(), func(e *poolEntry) {
		if provider.IsKind(cause, provider.Invalid) || provider.IsKind(cause, provider.NotFound) {
			e.FreedAt, e.LastError = b.now(), provider.HideKeys(cause.Error())
		}
	})
	if err != nil {
		b.Logger().Warn("a key of a pool rests, though it was not used", "config", rec.Config, "key_id", key.ID, "error", err)
	}
}

func (b *backend) freePooled(ctx context.Context, s logical.Storage, config, keyID string, holder pointer, how func(*poolEntry)) error {
	if keyID == "" {
		return nil
	}
	release, err := b.slots.acquire(ctx, poolSlot(config))
	if err != nil {
		return fmt.Errorf("wait for the pool of connection %q: %w", config, err)
	}
	defer release()
	e, err := loadPooled(ctx, s, config, keyID)
	if err != nil || e == nil || e.Holder != holder.name() {
		return err
	}
	e.Holder = ""
	how(e)
	return savePooled(ctx, s, e)
}

func savePooled(ctx context.Context, s logical.Storage, e *poolEntry) error {
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	return saveSealed(ctx, s, e.key(), e)
}

// retireIfLeaked keeps a key that is revoked by itself from ever being handed out
// again, if it is of a pool: who can name it by that has found it. It returns the key,
// and nil if it is of none.
func (b *backend) retireIfLeaked(ctx context.Context, s logical.Storage, field, value string) (*poolEntry, error) {
	if field != "api_key" {
		return nil, nil
	}
	found, err := b.pooledBy(ctx, s, value)
	if err != nil || found == nil {
		return nil, err
	}
	release, err := b.slots.acquire(ctx, poolSlot(found.config))
	if err != nil {
		return nil, fmt.Errorf("wait for the pool of connection %q: %w", found.config, err)
	}
	defer release()
	e, err := loadPooled(ctx, s, found.config, found.KeyID)
	if err != nil || e == nil || !e.RetiredAt.IsZero() {
		return e, err
	}
	e.RetiredAt = b.now()
	b.Logger().Info("key of a pool retired, for it leaked", "config", e.config, "key_id", e.KeyID)
	return e, savePooled(ctx, s, e)
}

// retiredResponse is the answer to a revoke; e is nil if its key is of no pool.
func (e *poolEntry) retiredResponse(r *killResult) *logical.Response {
	resp := r.response()
	if e != nil {
		resp.AddWarning(fmt.Sprintf("key %s of the pool of connection %q is retired: it is never handed out again; archive it at the provider, and take it out by deleting pool/%s/%s", e.KeyID, e.config, e.config, e.KeyID))
	}
	return resp
}

// pooledAnswer is the answer to a lookup of a key that nobody holds.
func pooledAnswer(e *poolEntry) *logical.Response {
	if e == nil {
		return nil
	}
	resp := &logical.Response{Data: recordData(record{Config: e.config, KeyID: e.KeyID, Scope: e.Scope, Kind: pooledKind, CreatedAt: e.AddedAt, owner: e.By})}
	resp.AddWarning("the key is in a pool and nobody holds it: it is switched off at the provider; revoke it by api_key to have it never handed out again")
	return resp
}

// pooledBy returns the key of any pool that is value; nil if none is.
func (b *backend) pooledBy(ctx context.Context, s logical.Storage, value string) (*poolEntry, error) {
	mount, err := b.mount(ctx, s)
	if err != nil {
		return nil, err
	}
	return b.pooledByHash(ctx, s, keyHash(mount.Salt, value))
}

// pooledByHash returns the key of any pool that has a hash; nil if none has.
func (b *backend) pooledByHash(ctx context.Context, s logical.Storage, hash string) (*poolEntry, error) {
	var found *poolEntry
	err := walk(ctx, s, poolPrefix, func(key string) error {
		config, id, _ := strings.Cut(strings.TrimPrefix(key, poolPrefix), "/")
		e, err := loadPooled(ctx, s, config, id)
		if e != nil && e.KeyHash == hash {
			found = e
		}
		return err
	})
	return found, err
}

// poolOf says what the keys of a pool are, sorted by id.
func (b *backend) poolOf(ctx context.Context, s logical.Storage, config string) ([]*poolEntry, error) {
	all, err := pooled(ctx, s, config)
	slices.SortFunc(all, func(x, y *poolEntry) int { return cmp.Compare(x.KeyID, y.KeyID) })
	return all, err
}

// mayLeavePool refuses to send the keys of a pool where they did not go before, or to
// lose the way to them.
func (b *backend) mayLeavePool(ctx context.Context, s logical.Storage, config string) error {
	ids, err := list(ctx, s, poolPrefix+config+"/")
	if err == nil && len(ids) > 0 {
		err = badField("config", "cannot go to another provider, base_url or ca_cert while the pool of connection %q has keys (%d), which are never sent to a new host; delete pool/%s/<key_id> first, or write another connection", config, len(ids), config)
	}
	return err
}
