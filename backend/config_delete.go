package backend

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// This file deletes connections. Only a connection can delete the keys that were
// minted through it, so it stays as long as there may be any.

func (b *backend) deleteConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, release, err := b.lockNamed(ctx, "connection", d)
	if err != nil {
		return nil, err
	}
	defer release()
	entry, err := req.Storage.Get(ctx, configKey(name))
	if err != nil || entry == nil {
		return nil, err
	}
	if err := b.mayDeleteConfig(ctx, req.Storage, name); err != nil {
		return nil, err
	}
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	removed := remove(ctx, req.Storage, configKey(name))
	b.dropConnection(name)
	if err := firstError(b.keepIfUsed(ctx, req.Storage, name, entry), removed); err != nil {
		return nil, err
	}
	b.connections.forget(name)
	b.Logger().Info("connection deleted", "config", name)
	return nil, nil
}

// keepIfUsed puts a deleted connection back if a key was issued through it in
// the meantime. An issue writes its record before it asks for the connection a
// second time: so either the record is seen here, or the issue finds no
// connection.
func (b *backend) keepIfUsed(ctx context.Context, s logical.Storage, name string, entry *logical.StorageEntry) error {
	used, err := b.ledger(s).holdsAny(ctx, name)
	if err == nil && !used {
		return nil
	}
	entry.SealWrap = true
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	if put := s.Put(ctx, entry); put != nil {
		return fmt.Errorf("put connection %q back: %w", name, put)
	}
	if err != nil {
		return err
	}
	return badRequest(fmt.Sprintf("a key is being issued through connection %q; it is kept", name))
}

// mayDeleteConfig refuses what would leave keys that nothing can delete.
func (b *backend) mayDeleteConfig(ctx context.Context, s logical.Storage, name string) error {
	live, err := b.ledger(s).countConfig(ctx, name)
	if err != nil {
		return err
	}
	if live > 0 {
		return badRequest(fmt.Sprintf("connection %q still has live keys (%d) that only it can delete; revoke their leases first: vault lease revoke -prefix <mount>/creds/<role>", name, live))
	}
	var user string
	err = walk(ctx, s, rolePrefix, func(key string) error {
		role, err := load[roleEntry](ctx, s, key)
		if err == nil && role != nil && role.Config == name {
			user, err = strings.TrimPrefix(key, rolePrefix), errEnough
		}
		return err
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if user != "" {
		return badRequest(fmt.Sprintf("role %q uses connection %q; delete the role, or give it another config_name", user, name))
	}
	return b.mayForgetPrincipals(ctx, s, name)
}

// mayForgetPrincipals refuses while the connection has principals left at the
// provider. None of its roles exists any more, so the sweep deletes them all.
func (b *backend) mayForgetPrincipals(ctx context.Context, s logical.Storage, name string) error {
	left := 0
	err := walk(ctx, s, principalPrefix+name+"/", func(key string) error {
		p, err := parseStored(key)
		if err != nil {
			return err
		}
		left++
		return b.ledger(s).hint(ctx, p, b.now())
	})
	if err == nil && left > 0 {
		err = badRequest(fmt.Sprintf("connection %q still has service accounts of deleted roles (%d), which the sweep deletes at the provider; try again in a minute", name, left))
	}
	return err
}
