package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file deletes connections. Only a connection can delete the keys that were
// minted through it, so it stays as long as there may be any.
//
//   - Admin keys that rotations have replaced are deleted first.
//   - An admin key that a rotation made is known to nobody else, so it is the last
//     thing that it deletes itself. Until that is certain, the connection is kept
//     under another key, where nothing but the sweep sees it.
//   - An operator's admin key is the operator's to delete.
//   - By force, what is left is given up: the records stay, so that a connection
//     of the same name and account finds it all again. A key that expires is
//     forgotten when its provider has ended it.

// deleteBudget bounds the calls of a deletion before the connection is gone, and
// those after it.
const deleteBudget = 30 * time.Second

// A configDelete is one deletion of a connection.
type configDelete struct {
	*adminMove
	force  bool
	looked time.Time // when the sweep looks, should this be cut short
}

func (b *backend) deleteConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	for _, field := range slices.Sorted(maps.Keys(d.Raw)) {
		if field != "name" && field != "force" {
			return nil, badField(field, "is not for delete; leave it out")
		}
	}
	name, release, err := b.lockNamed(ctx, "connection", d)
	if err != nil {
		return nil, err
	}
	defer release()
	entry, err := loadConfig(ctx, req.Storage, name)
	if err != nil || entry == nil {
		return nil, err
	}
	c := &configDelete{adminMove: b.adminMove(req.Storage, name, entry)}
	set(d, "force", &c.force)
	if err := c.run(ctx); err != nil {
		return nil, err
	}
	b.Logger().Info("connection deleted", "config", name, "force", c.force)
	if len(c.warnings) == 0 {
		return nil, nil
	}
	return &logical.Response{Warnings: c.warnings}, nil
}

func (c *configDelete) run(ctx context.Context) error {
	if err := firstErrorOf(
		func() error { return c.leftovers(ctx) },
		func() error { return c.deleteAdminKeys(ctx) },
		func() error { return c.keepForLast(ctx) },
	); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout+deleteBudget)
	defer cancel()
	removed := remove(ctx, c.storage, configKey(c.config))
	c.dropConnection(c.config)
	if err := firstError(c.keepIfUsed(ctx), removed); err != nil {
		return err
	}
	if c.force {
		c.abandonPool(ctx)
	}
	if err := c.tendGone(ctx, c.storage, c.config); err == nil {
		c.ledger().forgetHint(ctx, adminPointer(c.config), c.looked)
	} else {
		c.warn("admin key %s was made by a rotation and could not be deleted: %s; the sweep tries again, or delete it at the provider", c.entry.AdminKeyID, err)
	}
	c.connections.forget(c.config)
	c.metrics.connectionDeleted(c.config)
	return nil
}

// leftovers refuses what would leave something that nothing can delete, or says
// what that is.
func (c *configDelete) leftovers(ctx context.Context) error {
	err := c.mayDeleteConfig(ctx, c.storage, c.config)
	if _, refused := errors.AsType[badRequest](err); !refused || !c.force {
		return err
	}
	return c.abandon(ctx)
}

// abandon gives up what the connection has at the provider, and says what it is.
func (c *configDelete) abandon(ctx context.Context) error {
	keys := map[string]int{}
	err := walk(ctx, c.storage, recordsPrefix(c.config, ""), func(key string) error {
		if p, err := parseStored(key); err == nil && !p.admin() {
			keys[p.role]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(keys) > 0 {
		c.warn("abandoned: keys of %s; they stay valid until they expire at the provider, and until then their leases cannot be revoked, except by vault lease revoke -force; write config/%s again, for the same account, to have them deleted", countsOf(keys), c.config)
	}
	users, err := c.rolesOf(ctx, c.storage, c.config)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		c.warn("no key can be read any more for the roles that use the connection: %s", strings.Join(users, ", "))
	}
	return c.abandonPrincipals(ctx)
}

// abandonPool forgets the keys of a deleted connection's pool. What cannot be forgotten
// keeps a connection of the same name from being written.
func (c *configDelete) abandonPool(ctx context.Context) {
	release, err := c.slots.acquire(ctx, poolSlot(c.config))
	if err != nil {
		c.warn("the keys of the pool are left: %s; delete pool/%s/<key_id>", err, c.config)
		return
	}
	defer release()
	all, err := pooled(ctx, c.storage, c.config)
	var on, off []string
	for _, e := range all {
		if held, heldErr := c.held(ctx, c.storage, e); held || heldErr != nil {
			on = append(on, e.KeyID)
		} else {
			off = append(off, e.KeyID)
		}
		err = firstError(err, firstErrorOf(
			func() error { return c.keepPast(ctx, c.storage, e) },
			func() error { return remove(ctx, c.storage, e.key()) },
		))
	}
	if len(off) > 0 {
		c.warn("abandoned: keys of the pool that are switched off: %s", strings.Join(off, ", "))
	}
	if len(on) > 0 {
		c.warn("abandoned: keys of the pool that are switched on, and stay so without end: %s; switch them off at the provider", strings.Join(on, ", "))
	}
	if err != nil {
		c.warn("some keys of the pool are left: %s; delete pool/%s/<key_id>", err, c.config)
	}
}

func countsOf(keys map[string]int) string {
	var parts []string
	for _, role := range slices.Sorted(maps.Keys(keys)) {
		parts = append(parts, fmt.Sprintf("role %q: %d", role, keys[role]))
	}
	return strings.Join(parts, ", ")
}

// abandonPrincipals forgets the service accounts of a connection. One of the same
// name finds them again by their names.
func (c *configDelete) abandonPrincipals(ctx context.Context) error {
	var names []string
	err := walk(ctx, c.storage, principalPrefix+c.config+"/", func(key string) error {
		p, err := load[principalEntry](ctx, c.storage, key)
		if err != nil {
			return err
		}
		if p != nil {
			names = append(names, p.Name)
		}
		return remove(ctx, c.storage, key)
	})
	if len(names) > 0 {
		c.warn("abandoned: service accounts %s", strings.Join(names, ", "))
	}
	return err
}

// deleteAdminKeys deletes all admin keys that are not in use.
func (c *configDelete) deleteAdminKeys(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, deleteBudget)
	defer cancel()
	err := firstErrorOf(
		func() error {
			if c.entry.Candidate == nil {
				return nil
			}
			return c.dropCandidate(ctx)
		},
		func() error { return c.reconcile(ctx) },
		func() error { return c.deleteReplaced(ctx, true) },
	)
	switch {
	case err == nil:
		return nil
	case !c.force || provider.KindOf(err) == "":
		return fmt.Errorf("delete the admin keys that rotations have replaced (force=true gives them up): %w", err)
	}
	c.warn("abandoned: an admin key that a rotation has replaced: %s", err)
	return nil
}

// keepForLast makes the sweep look at what will be left, and keeps an admin key
// that has to delete itself. It says which one of an operator's lives on.
func (c *configDelete) keepForLast(ctx context.Context) error {
	recs, err := c.ledger().ofRole(ctx, c.config, "")
	if err != nil {
		return err
	}
	for _, rec := range recs {
		if rec.Adopted && rec.State == revoking && rec.KeyID == "" {
			c.warn("an admin key of yours that a rotation has replaced is still valid, for its id was never known; delete it at the provider")
		}
	}
	c.looked = c.now()
	if err := c.ledger().hint(ctx, adminPointer(c.config), c.looked); err != nil {
		return err
	}
	if !c.entry.AdminMinted {
		return nil
	}
	if err := c.finishEarlier(ctx); err != nil {
		return err
	}
	return saveSealed(ctx, c.storage, goneKey(c.config), c.entry)
}

// finishEarlier makes sure that no earlier connection of the same name has an admin
// key left that has to delete itself.
func (c *configDelete) finishEarlier(ctx context.Context) error {
	if err := c.tendGone(ctx, c.storage, c.config); err != nil {
		return err
	}
	earlier, err := load[configEntry](ctx, c.storage, goneKey(c.config))
	if err != nil || earlier == nil || earlier.AdminRecord == c.entry.AdminRecord {
		return err
	}
	return badRequest(fmt.Sprintf("admin key %s of an earlier connection %q is still to be deleted; try again in an hour, or delete it at the provider", earlier.AdminKeyID, c.config))
}

// keepIfUsed puts a deleted connection back if a key was issued through it in
// the meantime. An issue writes its record before it asks for the connection a
// second time: so either the record is seen here, or the issue finds no
// connection.
func (c *configDelete) keepIfUsed(ctx context.Context) error {
	if c.force {
		return nil
	}
	used, err := c.ledger().holdsAny(ctx, c.config)
	if err == nil && !used {
		return nil
	}
	if put := c.putConfig(ctx, c.storage, c.config, c.entry); put != nil {
		return fmt.Errorf("put connection %q back: %w", c.config, put)
	}
	if err != nil {
		return err
	}
	return badRequest(fmt.Sprintf("a key is being issued through connection %q; it is kept", c.config))
}

// mayDeleteConfig refuses what would leave keys that nothing can delete.
func (b *backend) mayDeleteConfig(ctx context.Context, s logical.Storage, name string) error {
	live, err := b.ledger(s).countConfig(ctx, name)
	if err != nil {
		return err
	}
	if live > 0 {
		return badRequest(fmt.Sprintf("connection %q still has live keys (%d) that only it can delete; delete its static roles, then revoke: vault write <mount>/revoke role=<role>, or role=<tree>/, which ends the overlap of their keys too", name, live))
	}
	users, err := b.rolesOf(ctx, s, name)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return badRequest(fmt.Sprintf("role %q uses connection %q; delete the role, or give it another config_name", users[0], name))
	}
	pool, err := list(ctx, s, poolPrefix+name+"/")
	if err != nil {
		return err
	}
	if len(pool) > 0 {
		return badRequest(fmt.Sprintf("connection %q has a pool of keys (%d); delete pool/%s/<key_id> first", name, len(pool), name))
	}
	return b.deletePrincipals(ctx, s, name)
}

// rolesOf returns the roles and static roles that use a connection.
func (b *backend) rolesOf(ctx context.Context, s logical.Storage, config string) ([]string, error) {
	var users []string
	err := walkKeyRoles(ctx, s, func(role *keyRole) {
		if role.Config == config {
			users = append(users, role.name)
		}
	})
	return users, err
}

var errPrincipalBusy = errors.New("something is still being done under one")

// deletePrincipals deletes the principals of a connection, none of whose roles exists
// any more. It refuses while one is left, which the sweep then deletes.
func (b *backend) deletePrincipals(ctx context.Context, s logical.Storage, name string) error {
	var all []pointer
	err := walk(ctx, s, principalPrefix+name+"/", func(key string) error {
		p, err := parseStored(key)
		if err != nil {
			return err
		}
		all = append(all, p)
		return b.ledger(s).hint(ctx, p, b.now())
	})
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, deleteBudget)
	defer cancel()
	for i, p := range all {
		_, why := b.sweepPrincipal(asking, s, p, false)
		left, err := load[principalEntry](ctx, s, p.key())
		if err != nil {
			return err
		}
		if left != nil {
			return badRequest(fmt.Sprintf("connection %q still has service accounts of deleted roles (%d), which the sweep deletes at the provider; try again in a minute: %s", name, len(all)-i, cmp.Or(why, errPrincipalBusy)))
		}
	}
	return nil
}
