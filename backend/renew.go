package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file renews leases.
//
//   - The provider's own expiry moves first. If it covers the new end already,
//     the provider is not called and nothing is stored. One that cannot be moved
//     covers the role's max_ttl from the start; then a renew makes no call.
//   - The lease never gets more than the provider honours. Where the provider
//     cannot be asked, the lease gets what its expiry covers, with a warning.
//   - It fails only if there is nothing left to give: a client that sees a failed
//     renew asks for a new key.
//   - What is returned is a Go error without an HTTP status: Vault answers 400
//     whatever it is, and prints an error response as a Go struct.

// renewBudget bounds the calls for one renew.
const renewBudget = 60 * time.Second

// renewLease prolongs the lease of a key.
func (b *backend) renewLease(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	rec, resp, err := b.renew(ctx, req)
	if err != nil {
		b.metrics.failed(opRenew, err)
		return nil, err
	}
	b.metrics.keyRenewed(rec)
	return resp, nil
}

func (b *backend) renew(ctx context.Context, req *logical.Request) (record, *logical.Response, error) {
	held, err := leaseData(req.Secret)
	if err != nil {
		return record{}, nil, err
	}
	role, err := loadRole(ctx, req.Storage, held.role)
	if err != nil {
		return record{}, nil, err
	}
	if role == nil {
		return record{}, nil, notRenewable(fmt.Sprintf("role %q does not exist any more; its leases end as they are", held.role))
	}
	release, err := b.slots.acquire(ctx, recordSlot(held.id))
	if err != nil {
		return record{}, nil, fmt.Errorf("wait for record %s: %w", held.id, err)
	}
	defer release()
	if err := mayRenew(ctx, req.Storage, held.role); err != nil {
		return record{}, nil, err
	}
	rec, err := b.renewable(ctx, req.Storage, held)
	if err != nil {
		return record{}, nil, err
	}
	t, err := b.leaseTerm(role, req.Secret.Increment, req.Secret.IssueTime)
	if err != nil {
		return record{}, nil, err
	}
	promised, err := b.cover(ctx, req.Storage, rec, role, t)
	if err != nil {
		return record{}, nil, err
	}
	if err := mayRenew(ctx, req.Storage, held.role); err != nil {
		return record{}, nil, err
	}
	return rec, renewed(req, role, t, promised), nil
}

// renewable returns the record of a lease whose key can live on.
func (b *backend) renewable(ctx context.Context, s logical.Storage, held pointer) (record, error) {
	rec, err := b.ledger(s).get(ctx, held)
	switch {
	case err != nil:
		return record{}, err
	case rec != nil && rec.Token:
		return record{}, notRenewable("a token cannot be extended; read a new one")
	case rec == nil || rec.State != active:
		return record{}, notRenewable("the key of this lease is revoked; read a new one")
	}
	return *rec, nil
}

// cover makes the provider honour the term, and returns the term that it does
// honour.
func (b *backend) cover(ctx context.Context, s logical.Storage, rec record, role *roleEntry, t term) (term, error) {
	if rec.covers(t.end.Add(minExpiryGrace)) {
		return t, nil
	}
	extended, err := b.extend(ctx, s, rec, role, t)
	switch {
	case errors.Is(err, errGone):
		return term{}, err
	case err == nil:
		rec = extended
	default:
		b.Logger().Warn("a key could not be extended", "role", rec.Role, "config", rec.Config, "id", rec.ID, "error", err)
	}
	if rec.covers(t.end) {
		t.strict = !rec.covers(t.end.Add(minExpiryGrace))
		return t, nil
	}
	left := rec.Due.Sub(b.now()).Truncate(time.Second)
	if left < time.Second {
		return term{}, fmt.Errorf("renew: the provider has ended this key: %w", cmp.Or(err, errNotExtended))
	}
	why := fmt.Sprintf("the provider honours this key until %s only (%s); the lease is shortened to that", rec.Due.UTC().Format(time.RFC3339), cmp.Or(err, errNotExtended))
	return t.shortenTo(rec.Due, b.now(), why), nil
}

var (
	errNotExtended = errors.New("it does not extend it further")
	errGone        = notRenewable("this key is gone at the provider; read a new one")
)

// A notRenewable is why a lease is not renewed, for good.
type notRenewable string

func (e notRenewable) Error() string { return string(e) }

// covers reports whether a key outlives a moment: neither does the provider
// refuse it before, nor does the sweep take it for lost.
func (r record) covers(end time.Time) bool {
	if !r.ExpiresAt.IsZero() && r.ExpiresAt.Before(end) {
		return false
	}
	return !r.Due.Before(end)
}

// extend moves the provider's expiry past the term, records it, and returns the
// record as it then is. That the key is gone is errGone, which nothing covers. An
// expiry that cannot be moved stays, and was far enough from the start: then only
// the record learns that the lease goes on.
func (b *backend) extend(ctx context.Context, s logical.Storage, rec record, role *roleEntry, t term) (record, error) {
	conn, err := b.connection(ctx, s, rec.Config)
	if err != nil {
		return record{}, err
	}
	expires := rec.ExpiresAt
	if _, ok := conn.client.(provider.Extender); ok {
		if expires, err = b.moveExpiry(ctx, conn, rec, b.expiryFor(conn, role, t.end)); err != nil {
			return record{}, err
		}
	}
	return b.ledger(s).extend(ctx, rec, expires, dueOf(conn.lostAfter(t.end), expires))
}

// moveExpiry moves the provider's expiry of a key and returns what it then is. That
// the key is gone is errGone.
func (b *backend) moveExpiry(ctx context.Context, conn *connection, rec record, until time.Time) (time.Time, error) {
	extender, ok := conn.client.(provider.Extender)
	if !ok {
		return time.Time{}, errors.New("this provider cannot extend a key")
	}
	ctx, cancel := context.WithTimeout(ctx, renewBudget)
	defer cancel()
	expires, err := extender.Extend(ctx, rec.ref(), until)
	if provider.IsKind(err, provider.NotFound) && !b.now().Before(rec.knownFrom(conn)) {
		return time.Time{}, errGone
	}
	if b.noted(conn, err) != nil {
		return time.Time{}, err
	}
	b.Logger().Debug("key extended", "role", rec.Role, "config", rec.Config, "id", rec.ID, "expires_at", expires)
	return expires, nil
}

// renewed is the answer to a renew. MaxTTL alone holds against the increment of
// a client, so a strict term is set there. Vault itself warns of a lease that
// the role's max_ttl cuts.
func renewed(req *logical.Request, role *roleEntry, asked, promised term) *logical.Response {
	resp := &logical.Response{Secret: req.Secret}
	resp.Secret.TTL = role.TTL.duration()
	resp.Secret.MaxTTL = role.MaxTTL.duration()
	if promised.strict {
		resp.Secret.TTL = promised.ttl
		resp.Secret.MaxTTL = promised.end.Sub(req.Secret.IssueTime).Truncate(time.Second)
	}
	for _, warning := range promised.warnings[len(asked.warnings):] {
		resp.AddWarning(warning)
	}
	return resp
}
