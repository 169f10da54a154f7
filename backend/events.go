package backend

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file tells Vault's event system, and the metrics, what has happened to keys.
//
//   - Types are named as those of the database engine are, under eventPrefix.
//   - An event says which key, never what it is: paths and ids, and of a failure the
//     text that its caller saw.
//   - An event that cannot be sent changes nothing. A host without an event system is
//     asked once.

const eventPrefix = "llm/"

// The types of events.
const (
	eventIssue      = "creds-create"
	eventRevoke     = "revoke"
	eventKill       = "kill"
	eventRotateRoot = "rotate-root"
	eventRotateRole = "rotate-role"
	eventFail       = "-fail" // ends the type of what failed
)

// eventBudget bounds the sending of one event.
const eventBudget = 2 * time.Second

// An eventSender sends events while the host takes them.
type eventSender struct{ silent atomic.Bool }

// send sends an event with pairs of metadata.
func (b *backend) send(ctx context.Context, event string, pairs ...string) {
	if b.events.silent.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventBudget)
	defer cancel()
	switch err := logical.SendEvent(ctx, b.Backend, eventPrefix+event, pairs...); {
	case err == nil:
	case errors.Is(err, framework.ErrNoEvents), status.Code(err) == codes.Unimplemented:
		b.events.silent.Store(true)
	default:
		b.Logger().Debug("an event was not sent", "type", event, "error", err)
	}
}

// toldOf is what an event says of a key.
func toldOf(rec record, path, operation string, pairs ...string) []string {
	return append([]string{
		logical.EventMetadataPath, path,
		logical.EventMetadataOperation, operation,
		logical.EventMetadataModified, "true",
		"id", rec.ID, "key_id", rec.KeyID, "kind", string(rec.Kind),
		"config", rec.Config, "role", rec.Role, "provider", rec.Provider,
		"entity_id", rec.EntityID,
	}, pairs...)
}

// toldOfFailure is what an event says of a failure.
func toldOfFailure(path, operation string, err error, pairs ...string) []string {
	return append([]string{
		logical.EventMetadataPath, path,
		logical.EventMetadataOperation, operation,
		logical.EventMetadataModified, "false",
		"reason", reasonOf(err), "error", provider.HideKeys(err.Error()),
	}, pairs...)
}

// tellIssued tells that a lease or a static role has a new key.
func (b *backend) tellIssued(ctx context.Context, rec record) {
	b.metrics.keyIssued(rec)
	path := "creds/" + rec.Role
	if rec.Kind == static {
		path = "static-roles/" + rec.Role
	}
	b.send(ctx, eventIssue, toldOf(rec, path, "create")...)
}

// tellNotIssued tells that a caller got no key for a lease.
func (b *backend) tellNotIssued(ctx context.Context, role string, err error) {
	b.metrics.failed(opIssue, err)
	b.send(ctx, eventIssue+eventFail, toldOfFailure("creds/"+role, "create", err, "role", role)...)
}

// tellRevoked tells that a key is gone at its provider.
func (b *backend) tellRevoked(ctx context.Context, rec record) {
	b.metrics.keyRevoked(rec)
	b.send(ctx, eventRevoke, toldOf(rec, "keys/"+rec.ID, "revoke")...)
}

// tellNotRevoked tells that a key may still work.
func (b *backend) tellNotRevoked(ctx context.Context, rec record, err error) {
	b.metrics.failed(opRevoke, err)
	b.send(ctx, eventRevoke+eventFail, toldOfFailure("keys/"+rec.ID, "revoke", err,
		"id", rec.ID, "key_id", rec.KeyID, "kind", string(rec.Kind), "config", rec.Config, "role", rec.Role, "provider", rec.Provider)...)
}

// tellKilled tells what came of a kill.
func (b *backend) tellKilled(ctx context.Context, what string, by owner, r *killResult) {
	b.send(ctx, eventKill,
		logical.EventMetadataPath, "revoke",
		logical.EventMetadataOperation, "revoke",
		logical.EventMetadataModified, "true",
		"target", what, "by", by.String(), "entity_id", by.EntityID,
		"revoked", strconv.Itoa(r.revoked), "queued", strconv.Itoa(r.queued+r.tokens), "failed", strconv.Itoa(len(r.failed)))
}

// A rotated is whose key is rotated: a connection, or a static role.
type rotated struct {
	kind kind // admin or static
	name string
}

func (r rotated) operation() string {
	if r.kind == admin {
		return opRotateRoot
	}
	return opRotateRole
}

func (r rotated) event() (name, path string) {
	if r.kind == admin {
		return eventRotateRoot, "rotate-root/" + r.name
	}
	return eventRotateRole, "rotate-role/" + r.name
}

// tellRotated tells what came of a rotation; err is why it failed.
func (b *backend) tellRotated(ctx context.Context, of rotated, err error) {
	b.metrics.rotated(of, err)
	name, path := of.event()
	if err != nil {
		b.send(ctx, name+eventFail, toldOfFailure(path, "rotate", err, "name", of.name)...)
		return
	}
	b.send(ctx, name, logical.EventMetadataPath, path, logical.EventMetadataOperation, "rotate", logical.EventMetadataModified, "true", "name", of.name)
}
