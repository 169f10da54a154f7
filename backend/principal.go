package backend

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file keeps the principals (service accounts) under which the keys of a
// role are minted, for providers that have them.
//
//   - A principal is found by its name, which depends on mount, connection and
//     role only, or made without a key. So a lost answer costs nothing but a second look.
//   - It is deleted when its role is gone and the role's last key is. Deleting it
//     deletes all of its keys, so it is first marked as leaving: an issue that
//     comes in between either sees the mark, or has already stored a record that
//     stops the deletion.
//   - Making and deleting happen under the slot of the role.

// A principalEntry is a principal that exists at a provider.
type principalEntry struct {
	Version int `json:"version"`
	provider.Principal
	// Leaving says that the principal is being deleted.
	Leaving bool `json:"leaving,omitempty"`
}

const principalVersion = 1

// principalRetry is when a principal that still has keys is looked at again.
const principalRetry = 10 * time.Minute

func principalSlot(config, role string) string { return "principal " + config + "/" + role }

func principalNameSlot(name string) string { return "principal named " + name }

// principal returns the principal of a role, and makes it if needed. Zero where
// the provider keeps none.
func (b *backend) principal(ctx context.Context, s logical.Storage, conn *connection, role *keyRole) (provider.Principal, error) {
	if _, ok := conn.client.(provider.PrincipalKeeper); !ok {
		return provider.Principal{}, nil
	}
	key := principalKey(conn.name, role.name, conn.provider.Scope(role.Fields))
	entry, err := load[principalEntry](ctx, s, key)
	if err != nil {
		return provider.Principal{}, err
	}
	if entry != nil && !entry.Leaving {
		return entry.Principal, nil
	}
	release, err := b.slots.acquire(ctx, principalSlot(conn.name, role.name))
	if err != nil {
		return provider.Principal{}, fmt.Errorf("wait for the service account of role %q: %w", role.name, err)
	}
	defer release()
	entry, err = load[principalEntry](ctx, s, key)
	switch {
	case err != nil:
		return provider.Principal{}, err
	case entry == nil:
		return b.makePrincipal(ctx, s, conn, role, key)
	case entry.Leaving:
		return provider.Principal{}, refuse(http.StatusServiceUnavailable, "the service account of role %q is being deleted; Retry-After: 60", role.name)
	}
	return entry.Principal, nil
}

func (b *backend) makePrincipal(ctx context.Context, s logical.Storage, conn *connection, role *keyRole, key string) (provider.Principal, error) {
	mount, err := b.mount(ctx, s)
	if err != nil {
		return provider.Principal{}, err
	}
	name := principalName(mount, conn.name, role.name, conn.provider.Limits().NameLength)
	release, err := b.slots.acquire(ctx, principalNameSlot(name)) // see deleteOrphanedPrincipal
	if err != nil {
		return provider.Principal{}, fmt.Errorf("wait for the service account of role %q: %w", role.name, err)
	}
	defer release()
	made, err := conn.client.(provider.PrincipalKeeper).EnsurePrincipal(ctx, name, role.Fields)
	if b.noted(conn, err) != nil {
		return provider.Principal{}, err
	}
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	// The role may have been deleted meanwhile, when there was nothing to retire:
	// so the sweep looks once.
	p, err := parseStored(key)
	if err != nil {
		return provider.Principal{}, err
	}
	if err := b.ledger(s).hint(ctx, p, b.now().Add(principalRetry)); err != nil {
		return provider.Principal{}, err
	}
	if err := save(ctx, s, key, principalEntry{Version: principalVersion, Principal: made}); err != nil {
		return provider.Principal{}, err
	}
	b.Logger().Info("service account ready", "config", conn.name, "role", role.name, "id", made.ID)
	return made, nil
}

// forgetPrincipal makes the next issue look for the principal again, after the
// provider has said that the one on record does not exist.
func (b *backend) forgetPrincipal(ctx context.Context, s logical.Storage, conn *connection, role *keyRole, gone provider.Principal) error {
	release, err := b.slots.acquire(ctx, principalSlot(conn.name, role.name))
	if err != nil {
		return err
	}
	defer release()
	key := principalKey(conn.name, role.name, conn.provider.Scope(role.Fields))
	entry, err := load[principalEntry](ctx, s, key)
	if err != nil || entry == nil || entry.ID != gone.ID {
		return err
	}
	return remove(ctx, s, key)
}

// retireAfter is when the sweep looks at a principal that was retired: after the
// change of its role, which follows the request to retire, has been stored.
const retireAfter = 2 * time.Minute

// retirePrincipals asks the sweep to delete those principals of a role, under
// every connection, that the role will not use any more. It comes before the
// change of the role, so that a crash in between forgets nothing.
func (b *backend) retirePrincipals(ctx context.Context, s logical.Storage, role string) error {
	configs, err := list(ctx, s, principalPrefix)
	if err != nil {
		return err
	}
	for _, config := range configs {
		config = strings.TrimSuffix(config, "/")
		names, err := list(ctx, s, principalPrefix+config+"/"+role+"/")
		if err != nil {
			return err
		}
		for _, name := range names {
			id, ok := strings.CutPrefix(name, mark)
			if !ok {
				continue
			}
			if err := b.ledger(s).hint(ctx, pointer{config: config, role: role, id: id}, b.now().Add(retireAfter)); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweepPrincipal deletes a principal whose role and keys are gone. It reports
// whether its entry in the time index is done with.
func (b *backend) sweepPrincipal(ctx context.Context, s logical.Storage, p pointer, tainted bool) (done bool, err error) {
	release, ok := b.slots.try(principalSlot(p.config, p.role))
	if !ok {
		return false, nil
	}
	defer release()
	entry, err := load[principalEntry](ctx, s, p.key())
	if err != nil || entry == nil {
		return err == nil, err
	}
	// A deletion that was begun is finished: the provider may carry it out late,
	// and nothing must live under the principal then.
	if !tainted && !entry.Leaving {
		used, err := b.usesPrincipal(ctx, s, p)
		if err != nil {
			b.Logger().Warn("a service account is left, for it is not known whether its role needs it", "config", p.config, "role", p.role, "error", err)
			err = b.ledger(s).hint(ctx, p, b.now().Add(principalRetry))
			return err == nil, err
		}
		if used {
			return true, nil
		}
	}
	return b.deletePrincipal(ctx, s, p, entry, tainted)
}

// usesPrincipal reports whether the role exists and still mints under p.
func (b *backend) usesPrincipal(ctx context.Context, s logical.Storage, p pointer) (bool, error) {
	role, err := loadKeyRole(ctx, s, p.role)
	if err != nil || role == nil || role.Config != p.config {
		return false, err
	}
	conn, err := b.connection(ctx, s, p.config)
	if err != nil {
		return false, err
	}
	return principalKey(p.config, p.role, conn.provider.Scope(role.Fields)) == p.key(), nil
}

// deletePrincipal deletes a principal without keys. On a mount that is being
// disabled it does not wait for keys whose creation had no answer: deleting their
// principal ends them, listed or not.
func (b *backend) deletePrincipal(ctx context.Context, s logical.Storage, p pointer, entry *principalEntry, tainted bool) (done bool, err error) {
	// First the hint, as for records: whatever fails from here on is tried again.
	retry := b.now().Add(principalRetry)
	if err := b.ledger(s).hint(ctx, p, retry); err != nil {
		return false, err
	}
	begun := entry.Leaving
	entry.Leaving = true
	if err := save(ctx, s, p.key(), entry); err != nil {
		return false, err
	}
	left, err := b.keysUnder(ctx, s, p, entry)
	if err != nil {
		return false, err
	}
	held := slices.ContainsFunc(left, func(rec record) bool { return rec.State != pending || !tainted })
	switch {
	case held && begun:
		return true, nil // a late deletion may still come: nothing new goes under it
	case held:
		entry.Leaving = false
		return true, save(ctx, s, p.key(), entry)
	}
	if err := b.deletePrincipalAt(ctx, s, p, entry.Principal); err != nil {
		return false, err
	}
	for _, rec := range left {
		if err := b.ledger(s).drop(ctx, rec); err != nil {
			return false, err
		}
	}
	if err := remove(ctx, s, p.key()); err != nil {
		return false, err
	}
	b.ledger(s).forgetHint(ctx, p, retry)
	return true, nil
}

// keysUnder returns the records of keys that a principal may own.
func (b *backend) keysUnder(ctx context.Context, s logical.Storage, p pointer, entry *principalEntry) ([]record, error) {
	recs, err := b.ledger(s).ofRole(ctx, p.config, p.role)
	return slices.DeleteFunc(recs, func(rec record) bool { return rec.Scope != entry.Scope }), err
}

// deletePrincipalAt deletes a principal at its provider.
func (b *backend) deletePrincipalAt(ctx context.Context, s logical.Storage, p pointer, who provider.Principal) error {
	conn, err := b.connection(ctx, s, p.config)
	if err != nil {
		return err
	}
	if keeper, ok := conn.client.(provider.PrincipalKeeper); ok {
		err = b.noted(conn, keeper.DeletePrincipal(ctx, who))
	}
	if err != nil && !provider.IsKind(err, provider.NotFound) {
		return err
	}
	b.Logger().Info("service account deleted", "config", p.config, "role", p.role, "id", who.ID)
	return nil
}
