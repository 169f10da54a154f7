package backend

import (
	"context"
	"errors"
	"strconv"
	"sync"
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
//   - Nobody waits for an event: they are sent one after the other, beside what they
//     tell of, and are lost if the host takes them more slowly than they come. A host
//     without an event system is asked once.

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

const (
	// eventBudget bounds the sending of one event.
	eventBudget = 2 * time.Second
	// eventsWaiting is how many events may wait to be sent.
	eventsWaiting = 1000
)

// An eventQueue holds the events that are to be sent. Safe for concurrent use.
type eventQueue struct {
	mu      sync.Mutex
	waiting []queuedEvent
	sending bool               // somebody takes them from the queue
	silent  bool               // the host has no event system, or the mount is being closed
	end     context.CancelFunc // of the sending under way
}

type queuedEvent struct {
	name  string
	pairs []string
}

// put queues an event. It reports whether the caller is to have the queue sent.
func (q *eventQueue) put(e queuedEvent) (begin bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.silent || len(q.waiting) >= eventsWaiting {
		return false
	}
	q.waiting = append(q.waiting, e)
	begin, q.sending = !q.sending, true
	return begin
}

// take takes the next event from the queue, with the time to send it in, or ends the
// sending if there is none.
func (q *eventQueue) take() (ctx context.Context, next queuedEvent, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.end != nil {
		q.end()
	}
	if q.silent || len(q.waiting) == 0 {
		q.waiting, q.sending, q.end = nil, false, nil
		return nil, queuedEvent{}, false
	}
	next = q.waiting[0]
	q.waiting = q.waiting[1:]
	ctx, q.end = context.WithTimeout(context.Background(), eventBudget)
	return ctx, next, true
}

// silence drops all events from now on, that under way included.
func (q *eventQueue) silence() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.silent = true
	if q.end != nil {
		q.end()
	}
}

// send has an event sent with pairs of metadata.
func (b *backend) send(event string, pairs ...string) {
	for i, text := range pairs {
		pairs[i] = provider.HideKeys(text) // a path may hold a key that was put there by mistake
	}
	if b.events.put(queuedEvent{event, pairs}) {
		go b.sendEvents()
	}
}

func (b *backend) sendEvents() {
	for {
		ctx, next, ok := b.events.take()
		if !ok {
			return
		}
		switch err := logical.SendEvent(ctx, b.Backend, eventPrefix+next.name, next.pairs...); {
		case err == nil:
		case errors.Is(err, framework.ErrNoEvents), status.Code(err) == codes.Unimplemented:
			b.events.silence()
		default:
			b.Logger().Debug("an event was not sent", "type", next.name, "error", err)
		}
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
		"reason", reasonOf(err), "error", err.Error(),
	}, pairs...)
}

// issuePath is where the keys of a role of a kind come from.
func issuePath(k kind, role string) string {
	if k == static {
		return "static-roles/" + role
	}
	return "creds/" + role
}

// tellIssued tells that a lease or a static role has a new key.
func (b *backend) tellIssued(rec record) {
	b.metrics.keyIssued(rec)
	b.send(eventIssue, toldOf(rec, issuePath(rec.Kind, rec.Role), "create")...)
}

// tellNotIssued tells that there is no key for a lease, or no first one for a static
// role.
func (b *backend) tellNotIssued(k kind, role string, err error) {
	b.metrics.failed(opIssue, err)
	b.send(eventIssue+eventFail, toldOfFailure(issuePath(k, role), "create", err, "role", role)...)
}

// tellRevoked tells that a key is gone at its provider.
func (b *backend) tellRevoked(rec record) {
	b.metrics.keyRevoked(rec)
	b.send(eventRevoke, toldOf(rec, "keys/"+rec.ID, "revoke")...)
}

// tellNotRevoked tells that a key may still work.
func (b *backend) tellNotRevoked(rec record, err error) {
	b.metrics.failed(opRevoke, err)
	b.send(eventRevoke+eventFail, toldOfFailure("keys/"+rec.ID, "revoke", err,
		"id", rec.ID, "key_id", rec.KeyID, "kind", string(rec.Kind), "config", rec.Config, "role", rec.Role, "provider", rec.Provider)...)
}

// tellKilled tells what came of a kill.
func (b *backend) tellKilled(what string, by owner, r *killResult) {
	b.send(eventKill,
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
func (b *backend) tellRotated(of rotated, err error) {
	b.metrics.rotated(of, err)
	name, path := of.event()
	if err != nil {
		b.send(name+eventFail, toldOfFailure(path, "rotate", err, "name", of.name)...)
		return
	}
	b.send(name, logical.EventMetadataPath, path, logical.EventMetadataOperation, "rotate", logical.EventMetadataModified, "true", "name", of.name)
}
