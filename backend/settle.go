package backend

import (
	"context"
	"fmt"

	"github.com/hashicorp/vault/sdk/logical"
)

// This file settles pending records: creates whose outcome is unknown.
//
//   - The key is looked for by its name, over all pages of its scope, and deleted:
//     nobody has its secret.
//   - A record whose key is not listed is dropped only when it is older than the
//     longest create.
//   - A token is not looked for: see token.go.
//   - One pass over a scope serves all of its pending records.

// settle settles pending records of one scope of one connection. It returns what
// became of each: nil if its record is gone, else why it is left. The caller holds the
// records' slots. Tokens may be among others: those of an earlier connection of that
// name.
func (b *backend) settle(ctx context.Context, s logical.Storage, conn *connection, pendings []record) []error {
	outcomes := make([]error, len(pendings))
	var listed []record
	var at []int // where in pendings those are
	for i, rec := range pendings {
		if rec.Token {
			outcomes[i] = b.endToken(ctx, s, rec)
			continue
		}
		listed, at = append(listed, rec), append(at, i)
	}
	if len(listed) > 0 {
		for n, err := range b.settleListed(ctx, s, conn, listed) {
			outcomes[at[n]] = err
		}
	}
	return outcomes
}

// settleListed settles keys that the provider lists. If the scope cannot be listed,
// only the first record notes it: that costs one write for however many there are.
func (b *backend) settleListed(ctx context.Context, s logical.Storage, conn *connection, pendings []record) []error {
	outcomes := make([]error, len(pendings))
	found, err := b.findByName(ctx, conn, pendings)
	if err != nil {
		for i := range outcomes {
			outcomes[i] = err
		}
		_ = b.noteFailure(ctx, s, pendings[0], err, pendings[0].Due)
		return outcomes
	}
	for i, rec := range pendings {
		outcomes[i] = b.settleOne(ctx, s, conn, rec, found[rec.Name])
	}
	return outcomes
}

// settleOne settles a pending record whose name the keys of ids bear.
func (b *backend) settleOne(ctx context.Context, s logical.Storage, conn *connection, rec record, ids []string) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case len(ids) > 0:
		return b.deleteFound(ctx, s, conn, rec, ids)
	case b.now().Before(rec.CreatedAt.Add(pendingAge())):
		return fmt.Errorf("the provider does not list key %s yet", rec.Name)
	}
	if err := b.giveBackReserved(ctx, s, conn, rec); err != nil {
		return err
	}
	return b.ledger(s).drop(ctx, rec)
}

// findByName returns the ids of the keys that bear the records' names. It lists
// everything before anything is deleted, so that no page shifts under it.
func (b *backend) findByName(ctx context.Context, conn *connection, pendings []record) (map[string][]string, error) {
	wanted := map[string]bool{}
	for _, rec := range pendings {
		wanted[rec.Name] = true
	}
	found := map[string][]string{}
	for key, err := range conn.find(ctx, pendings[0]) {
		if b.noted(conn, err) != nil {
			return nil, err
		}
		if wanted[key.Name] {
			found[key.Name] = append(found[key.Name], key.ID)
		}
	}
	return found, nil
}

// deleteFound deletes all keys that bear the name of a record. A create is sent
// once, yet something between us and the provider may have repeated it: the
// record stays pending, and so leads to all of them by name, until only one is
// left.
func (b *backend) deleteFound(ctx context.Context, s logical.Storage, conn *connection, rec record, ids []string) error {
	for _, id := range ids[1:] {
		extra := rec
		extra.KeyID = id
		err := b.noted(conn, conn.delete(ctx, extra))
		if err != nil { // "not found" included: the provider has just listed it
			return b.noteFailure(ctx, s, rec, err, rec.Due)
		}
	}
	rec.KeyID = ids[0]
	if err := b.kill(ctx, s, rec); err != nil {
		return err
	}
	b.Logger().Info("a key whose creation had no answer is deleted", "kind", rec.Kind, "role", rec.Role, "config", rec.Config, "id", rec.ID, "key_id", rec.KeyID)
	return nil
}
