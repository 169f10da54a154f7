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
//     gone, and has rested since: its last holder may be believed for a while. That
//     it is given back is noted before the record is dropped, so that no repeated
//     deletion ever meets the next holder.
//   - Whoever had a key once has a copy. So a key that somebody has killed, or that
//     leaked, is retired: it is handed out again only if an operator says so.
//   - Keys are taken and given back under the slot of the pool, which nobody holds
//     while a provider is asked.

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
	// Holder is the name of the pointer to the record of the key's holder, or of its
	// last one, whose record is gone; empty if nobody ever had it.
	Holder string `json:"holder,omitempty"`
	// FreedAt is when the key was given back last; zero if it was not, by its holder.
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
	case e.Holder != "" && e.FreedAt.IsZero() || now.Before(e.restsUntil(rest)):
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
	rec, err := b.holderOf(ctx, s, e)
	return rec != nil, err
}

// A reservation is a key that was taken out of the pool for a record.
type reservation struct {
	entry, before *poolEntry
}

// spec is what the provider gets of it; nil if there is none.
func (r *reservation) spec() *provider.PooledKey {
	if r == nil {
		return nil
	}
	return &provider.PooledKey{ID: r.entry.KeyID, Secret: provider.Secret(r.entry.APIKey)}
}

// fromPool takes a key for an order out of the pool; nil where the provider makes
// keys itself. The order's record is stored.
func (b *backend) fromPool(ctx context.Context, s logical.Storage, o *order) (*reservation, error) {
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
	now := b.realNow(o.conn)
	free, err := b.freeOf(ctx, s, all, o.rec.Scope, keeper.Rest(), now)
	if err != nil {
		return nil, err
	}
	if free == nil {
		return nil, b.emptyPool(ctx, s, o, all, keeper.Rest(), now)
	}
	r := &reservation{entry: free, before: new(*free)}
	free.Holder, free.FreedAt = o.rec.pointer().name(), time.Time{}
	if err := savePooled(ctx, s, free); err != nil {
		_ = savePooled(ctx, s, r.before) // it may be stored all the same
		return nil, err
	}
	return r, nil
}

// freeOf returns the key of a scope to hand out next: one that the provider has not
// refused before others, then the one that has rested longest. Nil if none is free. A
// key whose holder's record is gone, without that it was given back, rests from now
// on, and so does one that was given back in the future: a clock was wrong then.
func (b *backend) freeOf(ctx context.Context, s logical.Storage, all []*poolEntry, scope string, rest time.Duration, now time.Time) (*poolEntry, error) {
	var best *poolEntry
	for _, e := range all {
		if e.Scope != scope {
			continue
		}
		held, err := b.held(ctx, s, e)
		if err != nil {
			return nil, err
		}
		lost := e.Holder != "" && e.FreedAt.IsZero() || e.FreedAt.After(now.Add(clockTolerance))
		if lost && !held {
			e.FreedAt = now
			if err := savePooled(ctx, s, e); err != nil {
				return nil, err
			}
		}
		if e.state(held, rest, now) == poolFree && (best == nil || e.before(best)) {
			best = e
		}
	}
	return best, nil
}

// before reports whether a free key is handed out before another.
func (e *poolEntry) before(other *poolEntry) bool {
	if bad, worse := e.LastError != "", other.LastError != ""; bad != worse {
		return worse
	}
	return e.FreedAt.Before(other.FreedAt)
}

// emptyPool says why no key is free, and when one is.
func (b *backend) emptyPool(ctx context.Context, s logical.Storage, o *order, all []*poolEntry, rest time.Duration, now time.Time) error {
	counts, next := map[poolState]int{}, time.Time{}
	for _, e := range all {
		if e.Scope != o.rec.Scope {
			continue
		}
		held, err := b.held(ctx, s, e)
		if err != nil {
			return err
		}
		state := e.state(held, rest, now)
		counts[state]++
		if until := e.restsUntil(rest); state == poolResting && (next.IsZero() || until.Before(next)) {
			next = until
		}
	}
	text := fmt.Sprintf("the pool of connection %q has no free key of %q: %d held, %d resting, %d retired", o.conn.name, o.rec.Scope, counts[poolHeld], counts[poolResting], counts[poolRetired])
	if !next.IsZero() {
		text += ", the next one free at " + rfc3339(next.Truncate(time.Second))
	}
	return refuse(http.StatusTooManyRequests, "%s; add keys by pool/%s/<key_id>, or revoke a lease", text, o.conn.name)
}

// giveBack notes that the key of a record is switched off, if it is of a pool: it
// rests from now on, and is retired if somebody has killed it. The record still holds
// it; after an error it stays, and this is tried again.
func (b *backend) giveBack(ctx context.Context, s logical.Storage, conn *connection, rec record) error {
	if _, ok := conn.client.(provider.PoolKeeper); !ok || rec.Kind == admin {
		return nil
	}
	return b.changePooled(ctx, s, rec, rec.KeyID, func(e *poolEntry) {
		e.FreedAt = b.realNow(conn)
		if rec.Killed && e.RetiredAt.IsZero() {
			e.RetiredAt = b.now()
			b.Logger().Info("key of a pool retired, for it was killed", "config", rec.Config, "key_id", e.KeyID)
		}
	})
}

// giveBackReserved is giveBack for a pending record, of whose key it is not known
// whether it was switched on for a while.
func (b *backend) giveBackReserved(ctx context.Context, s logical.Storage, conn *connection, rec record) error {
	if _, ok := conn.client.(provider.PoolKeeper); !ok || rec.Kind == admin {
		return nil
	}
	e, err := b.pooledOf(ctx, s, rec)
	if err != nil || e == nil {
		return err
	}
	rec.KeyID = e.KeyID
	return b.giveBack(ctx, s, conn, rec)
}

// pooledOf returns the key of the pool that a record holds; nil if it holds none.
func (b *backend) pooledOf(ctx context.Context, s logical.Storage, rec record) (*poolEntry, error) {
	all, err := pooled(ctx, s, rec.Config)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if e.Holder == rec.pointer().name() {
			return e, nil
		}
	}
	return nil, nil
}

// unreserve frees a key that is certainly not switched on. One that the provider
// refuses rests, so that others come first, and so does one that was switched on for a
// while. It reports whether another key may do.
func (b *backend) unreserve(ctx context.Context, s logical.Storage, rec record, r *reservation, cause error) (another bool) {
	if r == nil {
		return false
	}
	refused := provider.IsKind(cause, provider.Invalid) || provider.IsKind(cause, provider.NotFound)
	// A provider that is down has done nothing to the key: it must not cost the pool all
	// of its keys that callers ask again.
	touched := provider.TouchedKey(cause)
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	err := b.changePooled(ctx, s, rec, r.entry.KeyID, func(e *poolEntry) {
		e.Holder, e.FreedAt = r.before.Holder, r.before.FreedAt
		if refused || touched {
			e.FreedAt, e.LastError = b.now(), provider.HideKeys(cause.Error())
		}
	})
	if err != nil {
		b.Logger().Warn("a key of a pool rests, though it was not used", "config", rec.Config, "key_id", r.entry.KeyID, "error", err)
	}
	return refused && err == nil
}

// changePooled changes the key of a pool that a record holds.
func (b *backend) changePooled(ctx context.Context, s logical.Storage, rec record, keyID string, how func(*poolEntry)) error {
	if keyID == "" {
		return nil
	}
	release, err := b.slots.acquire(ctx, poolSlot(rec.Config))
	if err != nil {
		return fmt.Errorf("wait for the pool of connection %q: %w", rec.Config, err)
	}
	defer release()
	e, err := loadPooled(ctx, s, rec.Config, keyID)
	if err != nil || e == nil || e.Holder != rec.pointer().name() {
		return err
	}
	how(e)
	return savePooled(ctx, s, e)
}

// retiredMeanwhile refuses to hand out a key that was retired since it was taken.
func (b *backend) retiredMeanwhile(ctx context.Context, s logical.Storage, o *order, key provider.Key) error {
	if _, ok := o.conn.client.(provider.PoolKeeper); !ok {
		return nil
	}
	e, err := loadPooled(ctx, s, o.conn.name, key.ID)
	if err == nil && e != nil && !e.RetiredAt.IsZero() {
		err = refuse(http.StatusServiceUnavailable, "the key of the pool that was to be handed out is retired since; ask again")
	}
	return err
}

func savePooled(ctx context.Context, s logical.Storage, e *poolEntry) error {
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	return saveSealed(ctx, s, e.key(), e)
}

// retire keeps a key of a pool from being handed out again.
func (b *backend) retire(ctx context.Context, s logical.Storage, found *poolEntry) error {
	release, err := b.slots.acquire(ctx, poolSlot(found.config))
	if err != nil {
		return fmt.Errorf("wait for the pool of connection %q: %w", found.config, err)
	}
	defer release()
	e, err := loadPooled(ctx, s, found.config, found.KeyID)
	if err != nil || e == nil || !e.RetiredAt.IsZero() {
		return err
	}
	e.RetiredAt = b.now()
	b.Logger().Info("key of a pool retired", "config", e.config, "key_id", e.KeyID)
	return savePooled(ctx, s, e)
}

// holderOf returns the record of the key's holder; nil if nobody has it.
func (b *backend) holderOf(ctx context.Context, s logical.Storage, e *poolEntry) (*record, error) {
	if e.Holder == "" {
		return nil, nil
	}
	p, err := parsePointer(e.Holder)
	if err != nil {
		return nil, fmt.Errorf("bug: key %s of the pool of %q: %w", e.KeyID, e.config, err)
	}
	return b.ledger(s).get(ctx, p)
}

// warnRetired says in an answer that a key of a pool is retired.
func (e *poolEntry) warnRetired(resp *logical.Response) {
	resp.AddWarning(fmt.Sprintf("key %s of the pool of connection %q is retired, and not handed out again; archive it at the provider, and take it out by deleting pool/%s/%s", e.KeyID, e.config, e.config, e.KeyID))
}

// pooledAnswer is the answer to a lookup of a key that nobody holds.
func pooledAnswer(e *poolEntry) *logical.Response {
	resp := &logical.Response{Data: recordData(record{Config: e.config, KeyID: e.KeyID, Scope: e.Scope, Kind: pooledKind, CreatedAt: e.AddedAt, owner: e.By})}
	if !e.RetiredAt.IsZero() {
		e.warnRetired(resp)
		return resp
	}
	resp.AddWarning("the key is in a pool and nobody holds it: it is switched off at the provider; revoke it to have it never handed out again")
	return resp
}

// pooledBy returns the key of any pool that a field of a request names, api_key or
// key_id; nil if none is.
func (b *backend) pooledBy(ctx context.Context, s logical.Storage, field, value string) (*poolEntry, error) {
	switch field {
	case "api_key":
		mount, err := b.mount(ctx, s)
		if err != nil {
			return nil, err
		}
		hash := keyHash(mount.Salt, value)
		return b.findPooled(ctx, s, func(e *poolEntry) bool { return e.KeyHash == hash })
	case "key_id":
		return b.findPooled(ctx, s, func(e *poolEntry) bool { return e.KeyID == value })
	}
	return nil, nil
}

// findPooled returns the key of any pool that is meant; nil if none is. Keys that
// cannot be read are passed over, if another is the one.
func (b *backend) findPooled(ctx context.Context, s logical.Storage, is func(*poolEntry) bool) (*poolEntry, error) {
	var found *poolEntry
	var unread error
	err := walk(ctx, s, poolPrefix, func(key string) error {
		config, id, _ := strings.Cut(strings.TrimPrefix(key, poolPrefix), "/")
		e, err := loadPooled(ctx, s, config, id)
		if err != nil {
			unread = err
		}
		if e != nil && is(e) {
			found = e
		}
		return nil
	})
	if found != nil {
		return found, nil
	}
	return nil, firstError(err, unread)
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
		err = badField("config", "cannot be new, nor go to another provider, base_url or ca_cert, while the pool of connection %q has keys (%d), which are never sent to a new host; delete pool/%s/<key_id> first, or write another connection", config, len(ids), config)
	}
	return err
}
