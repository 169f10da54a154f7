package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file issues keys.
//
//	1  refusals: nothing was written
//	2  record pending, under the name that the key will have
//	3  mint, with the provider's own expiry
//	4  no effect: drop the record. Outcome unknown: look for the key by name now;
//	   what is not found stays pending for the sweep
//	5  record active. If that fails, or the caller has gone: delete the key
//	6  answer with the lease. If Vault does not store it, the record ends it

const (
	// issueBudget bounds all calls of a provider for one key. A request of Vault
	// lives for 90 s; what is left is for settling and recording.
	issueBudget = 60 * time.Second
	// settleBudget bounds the search for a key whose creation had no answer,
	// while the caller waits.
	settleBudget = 15 * time.Second
)

var errTainted = refuse(http.StatusServiceUnavailable, "the mount is being disabled or moved")

// An order is a key that is to be minted, checked.
type order struct {
	of    *keyRole
	conn  *connection
	mount *mountEntry
	rec   record
	asked time.Time // the expiry that the provider is asked for
}

// A leaseOrder is one request for a key as a lease.
type leaseOrder struct {
	order
	role *roleEntry
	term term
	lost time.Time // from when on the lease is over, unless it was renewed
}

// An issued key is what the holder of a lease gets.
type issued struct {
	leaseOrder
	key provider.Key
}

// issue mints a key for the caller of req.
func (b *backend) issue(ctx context.Context, req *logical.Request, roleName string, ttl time.Duration) (*issued, error) {
	o, err := b.takeOrder(ctx, req, roleName, ttl)
	if err != nil {
		return nil, err
	}
	release, err := b.slots.acquire(ctx, recordSlot(o.rec.ID))
	if err != nil {
		return nil, err
	}
	defer release()
	if o.rec, err = b.openRecord(ctx, req.Storage, o); err != nil {
		return nil, err
	}
	key, err := b.mintIfAllowed(ctx, req.Storage, &o.order)
	if err != nil {
		b.afterFailedCreate(ctx, req.Storage, o.conn, o.rec, err)
		return nil, err
	}
	return b.handOver(ctx, req.Storage, o, key)
}

// takeOrder checks everything that can be refused before anything is written.
func (b *backend) takeOrder(ctx context.Context, req *logical.Request, roleName string, ttl time.Duration) (*leaseOrder, error) {
	role, err := loadRole(ctx, req.Storage, roleName)
	if err != nil {
		return nil, err
	}
	if role == nil {
		return nil, refuse(http.StatusNotFound, "role %q does not exist", roleName)
	}
	if err := role.mayAsk(ctx, req); err != nil {
		return nil, err
	}
	conn, err := b.connection(ctx, req.Storage, role.Config)
	if errors.Is(err, errNoConnection) {
		return nil, badField("config_name", "connection %q of role %q does not exist; write config/%s", role.Config, roleName, role.Config)
	}
	if err != nil {
		return nil, err
	}
	if err := conn.allows(&role.keyRole); err != nil {
		return nil, err
	}
	mount, err := b.mount(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	o := &leaseOrder{order: order{of: &role.keyRole, conn: conn, mount: mount}, role: role}
	if o.term, err = b.leaseTerm(role, ttl, time.Time{}); err != nil {
		return nil, err
	}
	o.asked, o.lost = b.expiryFor(conn, role, o.term.end), conn.lostAfter(o.term.end)
	o.rec = b.newRecord(&o.order, lease, b.ownerOf(req, o.of))
	return o, nil
}

// expiryFor is when the provider is to refuse a key whose lease ends at end. An
// expiry that cannot be moved covers all renewals at once.
func (b *backend) expiryFor(conn *connection, role *roleEntry, end time.Time) time.Time {
	if _, ok := conn.client.(provider.Extender); !ok && !conn.provider.Limits().Irrevocable {
		end = b.lastEnd(role)
	}
	expiry := conn.lostAfter(end)
	if conn.provider.Limits().Irrevocable {
		expiry = tokenExpiry(end)
	}
	if last := b.now().Add(conn.provider.Limits().Lifetime); expiry.After(last) {
		return last
	}
	return expiry
}

// lostAfter is when the sweep takes a key for lost whose lease ends at end: a renewal
// would have moved that.
func (c *connection) lostAfter(end time.Time) time.Time {
	return end.Add(c.entry.ExpiryGrace.duration())
}

// newRecord is the record of a key that is to be minted.
func (b *backend) newRecord(o *order, k kind, who owner) record {
	id := newID(b.now())
	rec := record{
		ID: id, Kind: k, owner: who,
		Name:     keyName(o.mount.Tag, o.of.renderName(who), id, o.conn.provider.Limits().NameLength),
		Config:   o.conn.name,
		Role:     o.of.name,
		Provider: o.conn.provider.Name(),
		Scope:    o.conn.provider.Scope(o.of.Fields),
	}
	if o.conn.provider.Limits().Irrevocable {
		rec.Token, rec.ExpiresAt = true, o.asked
	}
	return rec
}

// ownerOf records who asks for a key of a role. An entity whose name cannot be
// read is recorded by its id alone: that is no reason to refuse a key.
func (b *backend) ownerOf(req *logical.Request, role *keyRole) owner {
	who := b.callerOf(req)
	who.Metadata = role.Metadata
	return who
}

// callerOf is who makes a request.
func (b *backend) callerOf(req *logical.Request) owner {
	who := owner{EntityID: req.EntityID, DisplayName: req.DisplayName, RequestID: req.ID}
	if req.EntityID != "" {
		if entity, err := b.System().EntityInfo(req.EntityID); err == nil && entity != nil {
			who.EntityName = entity.Name
			who.Aliases, who.AliasMetadata = aliasesOf(entity)
		}
	}
	return who
}

// maxAliasFacts bounds what a record says of its owner's aliases.
const maxAliasFacts = 32

// aliasesOf says how an entity logs in.
func aliasesOf(entity *logical.Entity) (names []string, metadata map[string]string) {
	for _, alias := range entity.Aliases {
		name := alias.MountType + "/" + alias.Name
		if len(names) == maxAliasFacts {
			break
		}
		names = append(names, name)
		for _, key := range slices.Sorted(maps.Keys(alias.Metadata)) {
			if len(metadata) == maxAliasFacts {
				break
			}
			if metadata == nil {
				metadata = map[string]string{}
			}
			metadata[name+"/"+key] = alias.Metadata[key]
		}
	}
	return names, metadata
}

// openRecord writes the pending record, within the role's cap. Counting and
// writing are one step for each role, so that two callers cannot both be last.
func (b *backend) openRecord(ctx context.Context, s logical.Storage, o *leaseOrder) (record, error) {
	l := b.ledger(s)
	if o.role.MaxActiveKeys == 0 {
		return l.open(ctx, o.rec)
	}
	release, err := b.slots.acquire(ctx, "cap "+o.role.name)
	if err != nil {
		return record{}, err
	}
	defer release()
	count, err := l.countRoleEverywhere(ctx, o.role.name)
	if err != nil {
		return record{}, err
	}
	if count >= o.role.MaxActiveKeys {
		return record{}, refuse(http.StatusTooManyRequests, "role %q has %d keys that may be live, and max_active_keys is %d; revoke a lease, or raise the cap", o.role.name, count, o.role.MaxActiveKeys)
	}
	return l.open(ctx, o.rec)
}

// mintIfAllowed mints unless the connection was deleted, or closed to the role,
// since the order was taken. From the record on, a deletion sees that the connection
// is used.
func (b *backend) mintIfAllowed(ctx context.Context, s logical.Storage, o *order) (provider.Key, error) {
	conn, err := b.connection(ctx, s, o.conn.name)
	if err == nil {
		err = conn.allows(o.of)
	}
	if err == nil && b.System().Tainted() {
		// Either a drain has seen the record and waits, or this sees the taint.
		err = errTainted
	}
	if err != nil {
		return provider.Key{}, &beforeMintError{err}
	}
	o.conn = conn
	return b.mint(ctx, s, o)
}

// mint creates the key. Once sent, the create does not stop when the caller
// goes away: then its answer is the quickest way to delete the key.
func (b *backend) mint(ctx context.Context, s logical.Storage, o *order) (provider.Key, error) {
	work, cancel := provider.Detach(ctx, mintBudget(ctx))
	defer cancel()
	who, err := b.principal(work, s, o.conn, o.of)
	if err != nil {
		return provider.Key{}, &beforeMintError{err}
	}
	spec := provider.Spec{ID: o.rec.ID, Name: o.rec.Name, ExpiresAt: o.asked, Principal: who, Role: o.of.Fields, Holder: o.holder()}
	key, err := b.mintPooled(work, s, o, spec)
	if provider.IsKind(err, provider.NotFound) && who.ID != "" {
		// The principal was deleted behind our back. Nothing was created.
		if err := b.forgetPrincipal(work, s, o.conn, o.of, who); err != nil {
			return provider.Key{}, &beforeMintError{err}
		}
		if spec.Principal, err = b.principal(work, s, o.conn, o.of); err != nil {
			return provider.Key{}, &beforeMintError{err}
		}
		key, err = b.mintPooled(work, s, o, spec)
	}
	return key, b.noted(o.conn, err)
}

// poolTries is how many keys of a pool are tried for one order.
const poolTries = 3

// mintPooled mints, with a key of the pool where there is one. If the provider refuses
// that, the next one is tried.
func (b *backend) mintPooled(ctx context.Context, s logical.Storage, o *order, spec provider.Spec) (provider.Key, error) {
	var refused error
	for try := 1; ; try++ {
		reserved, err := b.fromPool(ctx, s, o)
		if err != nil { // that the pool is empty now says less than why a key was refused
			return provider.Key{}, &beforeMintError{cmp.Or(refused, err)}
		}
		spec.Pooled = reserved.spec()
		key, err := o.conn.client.Mint(ctx, spec)
		if !hasNoEffect(err) {
			return key, err
		}
		if another := b.unreserve(ctx, s, o.rec, reserved, err); !another || try == poolTries {
			return key, err
		}
		refused = err
		b.Logger().Warn("a key of the pool is refused; another one is tried", "config", o.conn.name, "key_id", spec.Pooled.ID, "error", err)
	}
}

// holder says to the provider for whom the key is.
func (o *order) holder() provider.Holder {
	return provider.Holder{
		Mount: o.mount.Tag, Role: o.of.name, Metadata: o.of.Metadata,
		EntityID: o.rec.EntityID, EntityName: o.rec.EntityName, DisplayName: o.rec.DisplayName,
	}
}

// mintBudget is how long a mint may take: little longer than the sweep that it is a
// part of.
func mintBudget(ctx context.Context) time.Duration {
	end, ok := ctx.Deadline()
	if !ok {
		return issueBudget
	}
	return min(issueBudget, max(leastMint, time.Until(end)+leastMint))
}

// leastMint is what a mint has at least.
const leastMint = 10 * time.Second

// A beforeMintError is a failure before the key's create was sent: whatever its
// kind, no key exists.
type beforeMintError struct{ err error }

func (e *beforeMintError) Error() string { return e.err.Error() }
func (e *beforeMintError) Unwrap() error { return e.err }

// afterFailedCreate drops the record of a key that was certainly not created, and
// looks for one that may have been. What it leaves pending the sweep settles.
func (b *backend) afterFailedCreate(ctx context.Context, s logical.Storage, conn *connection, rec record, cause error) {
	log := b.Logger().With("role", rec.Role, "config", rec.Config, "id", rec.ID)
	if _, before := errors.AsType[*beforeMintError](cause); before || hasNoEffect(cause) {
		log.Warn("no key was created", "error", cause)
		if err := b.ledger(s).drop(ctx, rec); err != nil {
			log.Warn("the pending record stays until the sweep", "error", err)
		}
		return
	}
	log.Warn("a create had no usable answer; looking for its key by name", "error", cause)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleBudget)
	defer cancel()
	if err := b.settle(ctx, s, conn, []record{rec})[0]; err != nil {
		log.Warn("the sweep will look again", "error", err)
	}
}

// handOver records a minted key as active and makes it ready for its holder, or
// deletes it if it cannot be handed over.
func (b *backend) handOver(ctx context.Context, s logical.Storage, o *leaseOrder, key provider.Key) (*issued, error) {
	hash := keyHash(o.mount.Salt, key.Secret.Reveal())
	rec, err := b.ledger(s).activate(ctx, o.rec, key, hash, o.rec.dueAt(o.lost, key.ExpiresAt))
	if err != nil {
		o.rec.KeyID, o.rec.KeyHash = key.ID, hash
		return nil, b.takeBack(ctx, s, o, err)
	}
	o.rec = rec
	if cause := context.Cause(ctx); cause != nil {
		return nil, b.takeBack(ctx, s, o, fmt.Errorf("the caller went away: %w", cause))
	}
	if b.System().Tainted() {
		return nil, b.takeBack(ctx, s, o, errTainted)
	}
	if err := firstErrorOf(
		func() error { return mayUse(ctx, s, o.role.name) },
		func() error { return b.retiredMeanwhile(ctx, s, &o.order, key) },
	); err != nil {
		return nil, b.takeBack(ctx, s, o, err)
	}
	if o.term = b.within(o.term, key.ExpiresAt); o.term.ttl < time.Second {
		return nil, b.takeBack(ctx, s, o, refuse(http.StatusBadGateway, "%s: create key: the provider answered with a key that has expired already; compare the clocks", o.rec.Provider))
	}
	b.Logger().Info("key issued", "role", o.role.name, "config", o.conn.name, "id", o.rec.ID, "key_id", key.ID, "ttl", o.term.ttl.String())
	return &issued{leaseOrder: *o, key: key}, nil
}

// takeBack deletes a key that was minted and cannot be handed over, and returns
// cause. What it cannot delete stays in the ledger.
func (b *backend) takeBack(ctx context.Context, s logical.Storage, o *leaseOrder, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleBudget)
	defer cancel()
	log := b.Logger().With("role", o.role.name, "config", o.conn.name, "id", o.rec.ID)
	log.Warn("a new key cannot be handed over; deleting it", "error", cause)
	if err := b.kill(ctx, s, o.rec); livesOn(err) != nil {
		log.Warn("nobody has the token, which lives on", "error", err)
	} else if err != nil {
		log.Warn("the key stays in the ledger until the sweep deletes it", "error", err)
	}
	return cause
}

func errNoEntity(role string) error {
	return refuse(http.StatusForbidden, "role %q wants a caller with an identity entity, and this token has none; log in through an auth method instead of using a root or batch token", role)
}
