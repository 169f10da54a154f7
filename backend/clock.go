package backend

import (
	"context"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file compares this node's clock with that of a provider. Overlaps and leases
// are promises in real time: a clock that jumps must neither end nor prolong them.

// clockTolerance is by how much a provider's clock may lie behind ours.
const clockTolerance = 5 * time.Minute

// askTimeAfter is how long what a provider has said of its time serves for all keys.
const askTimeAfter = 20 * time.Second

// askTime makes a cheap call, so that the provider's time is known as of now.
func (b *backend) askTime(ctx context.Context, conn *connection) {
	if verifier, ok := conn.client.(provider.AdminVerifier); ok && conn.health.mayAskTime() {
		_ = b.noted(conn, verifier.VerifyAdmin(ctx))
	}
}

// realNow is our time, or the provider's if ours is wrong by that. It makes no call:
// it knows what the last answer said.
func (b *backend) realNow(conn *connection) time.Time {
	now := b.now()
	theirs, known := conn.transport.Now()
	if off := theirs.Sub(now); known && (off > clockTolerance || off < -clockTolerance) {
		return theirs
	}
	return now
}

// clockConfirmed reports whether the provider's clock agrees with ours. It asks.
func (b *backend) clockConfirmed(ctx context.Context, conn *connection) bool {
	b.askTime(ctx, conn)
	theirs, known := conn.transport.Now()
	off := theirs.Sub(b.now())
	return known && -clockTolerance <= off && off <= clockTolerance
}

// isBehind reports whether our clock is behind that of a connection's provider. It
// asks.
func (b *backend) isBehind(ctx context.Context, s logical.Storage, config string) bool {
	conn, err := b.connection(ctx, s, config)
	if err != nil {
		return false
	}
	b.askTime(ctx, conn)
	return b.realNow(conn).After(b.now())
}
