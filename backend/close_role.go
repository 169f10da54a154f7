package backend

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file closes roles at their provider, for those that mint tokens: a suspension
// stops what this engine mints, and closing stops also what a stolen admin key could.
// It is for good, and the operator waits for it: what fails is to be asked for again.

// closeBudget bounds the calls for all roles that are closed at once.
const closeBudget = 20 * time.Second

// closeWorkers is how many roles are closed at the same time.
const closeWorkers = 8

// A closedRole is what came of closing one role.
type closedRole struct {
	role string
	done string // what was done, for a person to read
	err  error
}

func (c closedRole) data() map[string]any {
	data := map[string]any{"role": c.role, "done": c.done}
	if c.err != nil {
		data["error"] = provider.HideKeys(c.err.Error())
	}
	return data
}

// closeRoles closes all roles that a name stands for. Those of providers that cannot
// are passed over.
func (b *backend) closeRoles(ctx context.Context, s logical.Storage, name string) ([]closedRole, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeBudget)
	defer cancel()
	roles, err := rolesUnder(ctx, s, name)
	if err != nil {
		return nil, err
	}
	closed := make([]closedRole, len(roles))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(closeWorkers, len(roles)) {
		wg.Go(func() {
			ctx := ownIndexState(ctx)
			for i := int(next.Add(1)) - 1; i < len(roles); i = int(next.Add(1)) - 1 {
				closed[i] = b.closeRole(ctx, s, roles[i])
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(closed, func(c closedRole) bool { return c.done == "" && c.err == nil }), nil
}

// closeRole closes one role; it returns nothing done if its provider cannot.
func (b *backend) closeRole(ctx context.Context, s logical.Storage, role string) (c closedRole) {
	c.role = role
	defer func() {
		if p := recover(); p != nil {
			logPanic(b.Logger(), p, "closing of role", role)
			c.err = errors.New("a bug ended this; see the log")
		}
	}()
	closer, stored, err := b.roleCloser(ctx, s, role)
	if err != nil || closer == nil {
		c.err = err
		return c
	}
	mount, err := b.mount(ctx, s)
	if err != nil {
		c.err = err
		return c
	}
	if c.done, c.err = closer.CloseRole(ctx, provider.Holder{Mount: mount.Tag, Role: role}, stored.Fields); c.err == nil {
		b.Logger().Info("role closed at its provider", "role", role, "config", stored.Config, "done", c.done)
	}
	return c
}

// roleCloser returns what closes a role; nil if its provider cannot.
func (b *backend) roleCloser(ctx context.Context, s logical.Storage, role string) (provider.RoleCloser, *keyRole, error) {
	stored, err := loadKeyRole(ctx, s, role)
	if err != nil || stored == nil {
		return nil, nil, err
	}
	conn, err := b.connection(ctx, s, stored.Config)
	if err != nil {
		return nil, nil, err
	}
	closer, _ := conn.client.(provider.RoleCloser)
	return closer, stored, nil
}
