package backend

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file alone writes and removes ledger records. It calls no provider.
//
//   - A record is stored before the call that may create its key.
//   - A record is removed only once the provider has said that the key is gone.
//   - Every record that is ever due has an entry in the time index, which is
//     written before the record is: the entry is only a hint to look, the record
//     decides. An entry whose record says another minute is stale, and the sweep
//     removes it.
//   - The facts by which a record is found are stored before the record says them,
//     and removed before it is: see index.go.
//   - Every move of a record happens under its slot, so that a hint cannot be
//     found stale while the record that it announces is being written.

// A state is where a key is in its life.
type state string

const (
	// pending: the create is under way, or its outcome is unknown.
	pending state = "pending"
	// active: the key exists and a holder has it.
	active state = "active"
	// revoking: the key is to be deleted, until the provider says that it is gone.
	revoking state = "revoking"
)

// A kind is what sort of holder a key has.
type kind string

const (
	lease kind = "lease"
	// static: a static role has the key, and hands it to whoever may read it.
	static kind = "static"
	// admin: a connection has the key, as its admin key.
	admin kind = "admin"
)

const recordVersion = 1

// A record is one key that may exist at a provider because of this mount.
//
//	{"version":1,"id":"…","name":"vault-…","key_id":"key_…","state":"active",
//	 "kind":"lease","config":"openai","role":"team/bot","provider":"openai",
//	 "scope":"proj_…","key_hash":"…","created_at":"…","expires_at":"…","due":"…"}
type record struct {
	Version int    `json:"version"` // layout of this struct; testdata/storage holds one of each
	ID      string `json:"id"`      // ours; sorts by creation; a part of Name
	Name    string `json:"name"`    // at the provider; all that finds the key while pending
	KeyID   string `json:"key_id"`  // at the provider; empty while pending
	State   state  `json:"state"`
	Kind    kind   `json:"kind"`

	Config   string `json:"config"`
	Role     string `json:"role"` // empty for admin keys
	Provider string `json:"provider"`
	Scope    string `json:"scope"` // where the provider lists the key; see AdminRotator for admin keys

	// KeyHash recognises the key when it leaks; empty while pending.
	KeyHash string `json:"key_hash,omitempty"`

	// Token says that the provider can neither revoke nor list the key: see token.go.
	// ExpiresAt is then set while pending, too, to what the provider is asked for.
	Token bool `json:"token,omitempty"`

	// Killed says that somebody had the key deleted, and not only its lease ended.
	Killed bool `json:"killed,omitempty"`

	// Adopted says that an operator made the key, and the engine only uses it.
	Adopted bool `json:"adopted,omitempty"`

	owner

	CreatedAt time.Time `json:"created_at"` // of the record
	// MintedAt is when the provider had answered with the key; zero while pending.
	MintedAt time.Time `json:"minted_at,omitzero"`
	// ExpiresAt is when the provider itself refuses the key; zero while pending, but
	// for tokens, and if it never does.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// Due is when the sweep looks at the record, and names its entry in the time
	// index. It is the end of the wait while pending, the end of the key while
	// active, and the next try while revoking. Zero for the admin key in use and for
	// the key of a static role, which are never due, and for an admin key that cannot
	// be deleted because its id is not known.
	Due time.Time `json:"due,omitzero"`
	// OwedSince is from when on the deletion of the key is owed: nobody may use it any
	// more. Zero unless the record is revoking.
	OwedSince time.Time `json:"owed_since,omitzero"`
	// NotBefore is until when a static key that was replaced stays valid for those
	// who have it; zero for all others.
	NotBefore time.Time `json:"not_before,omitzero"`

	Attempts  int    `json:"attempts,omitempty"` // deletions that failed
	LastError string `json:"last_error,omitempty"`
}

// An owner is who asked for a key. Renew and revoke carry no identity, so it is
// recorded when the key is issued.
type owner struct {
	EntityID    string            `json:"entity_id,omitempty"`
	EntityName  string            `json:"entity_name,omitempty"`
	DisplayName string            `json:"display_name,omitempty"`
	RequestID   string            `json:"request_id,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"` // of the role, at the time
	// Aliases are how the entity logs in, as <type of the auth mount>/<name>, and
	// AliasMetadata is what Vault knows of them, under <alias>/<key>.
	Aliases       []string          `json:"aliases,omitempty"`
	AliasMetadata map[string]string `json:"alias_metadata,omitempty"`
}

// String names an owner for a person to read; empty if nobody is known.
func (o owner) String() string {
	name := cmp.Or(o.EntityName, o.DisplayName, o.EntityID)
	if keeper := o.Metadata[ownerMetadata]; keeper != "" {
		return cmp.Or(name, "a token without a name") + ", for " + keeper
	}
	return name
}

// ownerMetadata is the metadata of a role that says who answers for its keys.
const ownerMetadata = "owner"

func (r record) pointer() pointer  { return pointer{config: r.Config, role: r.Role, id: r.ID} }
func (r record) ref() provider.Ref { return provider.Ref{ID: r.KeyID, Scope: r.Scope} }

// A ledger moves records. What it moves is in storage alone.
type ledger struct {
	storage logical.Storage
	now     func() time.Time
	census  *census // is told of every move
}

// open stores a new pending record. After an error nothing is stored that the
// sweep does not find, and the key must not be created.
func (l ledger) open(ctx context.Context, rec record) (record, error) {
	rec.Version, rec.State, rec.CreatedAt = recordVersion, pending, l.now()
	rec.Due = rec.CreatedAt.Add(pendingAge())
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	if err := l.write(ctx, record{}, rec); err != nil {
		l.unopen(ctx, rec)
		return record{}, fmt.Errorf("open record %s: %w", rec.ID, err)
	}
	return rec, nil
}

// unopen removes the facts of a record that was not stored. Its hint stays: should
// the write that failed take effect after all, the sweep finds the record.
func (l ledger) unopen(ctx context.Context, rec record) {
	if stored, err := l.get(ctx, rec.pointer()); err != nil || stored != nil {
		return
	}
	_ = l.forgetFacts(ctx, rec) // what stays leads nowhere, and does no harm
}

// activate makes a pending record active once the provider has answered with a
// key. On error the record stays pending and the sweep finds the key by name.
func (l ledger) activate(ctx context.Context, rec record, key provider.Key, hash string, due time.Time) (record, error) {
	if rec.State != pending {
		return record{}, fmt.Errorf("bug: activate %s: record is %s", rec.ID, rec.State)
	}
	next := rec
	next.State, next.KeyID, next.KeyHash = active, key.ID, hash
	next.MintedAt, next.ExpiresAt, next.Due = l.now(), key.ExpiresAt, due
	return l.move(ctx, rec, next)
}

// extend records the new end of an active key. On error the record holds the
// old end, and so must the lease.
func (l ledger) extend(ctx context.Context, rec record, expires, due time.Time) (record, error) {
	if rec.State != active {
		return record{}, fmt.Errorf("bug: extend %s: record is %s", rec.ID, rec.State)
	}
	next := rec
	next.ExpiresAt, next.Due = expires, due
	return l.move(ctx, rec, next)
}

// adopt stores the record of a key that an operator made. It is active.
func (l ledger) adopt(ctx context.Context, rec record) error {
	rec.Version, rec.State, rec.Adopted = recordVersion, active, true
	rec.CreatedAt = l.now()
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	if err := l.write(ctx, record{}, rec); err != nil {
		l.unopen(ctx, rec)
		return fmt.Errorf("record %s: %w", rec.ID, err)
	}
	return nil
}

// use makes a key the one that its connection or static role has: it is not due any
// more.
func (l ledger) use(ctx context.Context, rec record) (record, error) {
	next := rec
	next.State, next.Due, next.NotBefore, next.Attempts, next.LastError = active, time.Time{}, time.Time{}, 0, ""
	next.OwedSince = time.Time{}
	return l.move(ctx, rec, next)
}

// identify notes the id of an adopted key.
func (l ledger) identify(ctx context.Context, rec record, keyID, scope string) (record, error) {
	next := rec
	next.KeyID, next.Scope, next.LastError = keyID, scope, ""
	return l.move(ctx, rec, next)
}

// revoke marks a key for deletion. On error the record is as it was.
func (l ledger) revoke(ctx context.Context, rec record) (record, error) {
	next := rec.owed(l.now())
	next.State, next.Due, next.NotBefore = revoking, l.now().Add(retryDelay(0)), time.Time{}
	return l.move(ctx, rec.stored(), next)
}

// hurry marks a key for deletion now, whatever was tried before. On error the record
// is as it was.
func (l ledger) hurry(ctx context.Context, rec record) (record, error) {
	next := rec.owed(l.now())
	next.State, next.Due, next.NotBefore, next.Attempts, next.Killed = revoking, l.now(), time.Time{}, 0, true
	return l.move(ctx, rec.stored(), next)
}

// retire marks a key for deletion, but not before due; zero for never, as long as
// its id is not known. On error the record is as it was.
func (l ledger) retire(ctx context.Context, rec record, due time.Time) (record, error) {
	from := due
	if from.Before(l.now()) {
		from = l.now()
	}
	next := rec.owed(from)
	next.State, next.Due, next.NotBefore = revoking, due, time.Time{}
	return l.move(ctx, rec.stored(), next)
}

// owed is a record the deletion of whose key is owed from then on, or from before.
func (r record) owed(from time.Time) record {
	if r.OwedSince.IsZero() || from.Before(r.OwedSince) {
		r.OwedSince = from
	}
	return r
}

// stored is a record as storage has it: one that is pending there may have been given
// the id and the hash of its key since.
func (r record) stored() record {
	if r.State == pending {
		r.KeyID, r.KeyHash = "", ""
	}
	return r
}

// replace marks the key of a static role for deletion, but not before until, as long
// as those who have it may still use it. On error the record is as it was.
func (l ledger) replace(ctx context.Context, rec record, until time.Time) (record, error) {
	next := rec.owed(until)
	next.State, next.Due, next.NotBefore = revoking, until, until
	return l.move(ctx, rec, next)
}

// failed notes that deleting a key, or looking for it, did not work, and when
// it is tried again: not before after, if that is set.
func (l ledger) failed(ctx context.Context, rec record, cause error, after time.Time) (record, error) {
	next := rec
	if next.Attempts++; next.State == revoking && next.OwedSince.IsZero() { // it is of before there was one
		next = next.owed(cmp.Or(next.Due, l.now())).owed(l.now())
	}
	next.LastError = cause.Error()
	next.Due = l.now().Add(retryDelay(next.Attempts))
	if wait := provider.RetryAfter(cause); wait > 0 {
		next.Due = l.now().Add(max(wait, retryDelay(0)))
	}
	if next.Due.Before(after) {
		next.Due = after
	}
	return l.move(ctx, rec, next)
}

// drop removes the record of a key that the provider says is gone, or that was
// certainly never made. On error the sweep asks again.
func (l ledger) drop(ctx context.Context, rec record) error {
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	if err := l.forgetFacts(ctx, rec); err != nil {
		return fmt.Errorf("drop record %s: %w", rec.ID, err)
	}
	if err := remove(ctx, l.storage, rec.pointer().key()); err != nil {
		l.census.unknown(rec.pointer())
		return fmt.Errorf("drop record %s: %w", rec.ID, err)
	}
	l.census.dropped(rec.pointer())
	l.forgetHint(ctx, rec.pointer(), rec.Due)
	return nil
}

// move replaces a record and its entries in the indexes.
func (l ledger) move(ctx context.Context, from, to record) (record, error) {
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	if err := l.write(ctx, from, to); err != nil {
		return record{}, fmt.Errorf("record %s as %s: %w", to.ID, to.State, err)
	}
	return to, nil
}

// write stores a record after its entries in the indexes, and then removes the
// entry at its old time.
func (l ledger) write(ctx context.Context, from, to record) error {
	at := to.pointer()
	moved := at.dueKey(from.Due) != at.dueKey(to.Due)
	work := l.newFacts(from, to)
	if moved {
		work = append(work, func(ctx context.Context) error { return l.hint(ctx, at, to.Due) })
	}
	if err := together(ctx, work...); err != nil {
		return err
	}
	if err := save(ctx, l.storage, at.key(), to); err != nil {
		l.census.unknown(at) // it may be stored all the same
		return err
	}
	l.census.noted(to)
	if moved {
		l.forgetHint(ctx, at, from.Due)
	}
	return nil
}

// hint makes the sweep look at what p points to, in the minute of due; zero for
// never.
func (l ledger) hint(ctx context.Context, p pointer, due time.Time) error {
	if due.IsZero() {
		return nil
	}
	return save(ctx, l.storage, p.dueKey(due), dueEntry{Version: dueVersion})
}

// A dueEntry is an entry of the time index. Its key says all.
//
//	{"version":1}
type dueEntry struct {
	Version int `json:"version"`
}

const dueVersion = 1

// forgetHint removes an entry of the time index. Its failure can be ignored: the
// sweep removes what is stale when its minute comes.
func (l ledger) forgetHint(ctx context.Context, p pointer, due time.Time) {
	if due.IsZero() {
		return
	}
	_ = remove(ctx, l.storage, p.dueKey(due))
}

// retryDelays is how long to wait after the nth failure; the last holds for all
// that follow. Elapsed: 1m, 2m, 4m, 8m, 16m, 32m, 62m, then hourly.
var retryDelays = [...]time.Duration{
	time.Minute, time.Minute, 2 * time.Minute, 4 * time.Minute,
	8 * time.Minute, 16 * time.Minute, 30 * time.Minute, time.Hour,
}

// retryDelay returns a delay of the table, up to a fifth shorter at random, so
// that what failed together does not come back together.
func retryDelay(failures int) time.Duration {
	d := retryDelays[min(failures, len(retryDelays)-1)]
	return d - rand.N(d/5)
}
