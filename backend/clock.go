package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file compares this node's clock with that of a provider. Overlaps and leases
// are promises in real time: a clock that jumps must neither end nor prolong them.

const (
	// clockTolerance is by how much two clocks may differ.
	clockTolerance = 5 * time.Minute
	// askTimeAfter is how long what a provider has said of its time serves for all
	// keys.
	askTimeAfter = 20 * time.Second
	// askTimeBudget bounds the question while a caller waits who can do without.
	askTimeBudget = 5 * time.Second
)

// A clockState is how our clock compares with a provider's.
type clockState int

const (
	clockUnknown clockState = iota // the provider does not tell its time
	clocksAgree
	clockAhead
	clockBehind
)

// compareClocks asks the provider for its time. It fails if there is no answer.
func (b *backend) compareClocks(ctx context.Context, conn *connection) (clockState, error) {
	if err := b.askTime(ctx, conn); err != nil {
		return clockUnknown, fmt.Errorf("compare the clocks: %w", err)
	}
	theirs, known := conn.transport.Now()
	switch off := theirs.Sub(b.now()); {
	case !known:
		return clockUnknown, nil
	case off > clockTolerance:
		return clockBehind, nil
	case off < -clockTolerance:
		return clockAhead, nil
	}
	return clocksAgree, nil
}

// askTime makes a cheap call, so that the provider's time is known as of now. Who
// comes while it is under way waits for its answer.
func (b *backend) askTime(ctx context.Context, conn *connection) error {
	verifier, ok := conn.client.(provider.AdminVerifier)
	if !ok {
		return nil
	}
	release, err := b.slots.acquire(ctx, "time "+conn.name)
	if err != nil {
		return err
	}
	defer release()
	if conn.health.knowsTime() {
		return nil
	}
	err = b.noted(conn, verifier.VerifyAdmin(ctx))
	switch provider.KindOf(err) {
	case provider.Unauthorized, provider.Forbidden, provider.Invalid, provider.NotFound:
		err = nil // that has a date too
	}
	if err == nil {
		conn.health.toldTime()
	}
	return err
}

// clockBehindOf reports whether our clock is behind that of a connection's provider.
func (b *backend) clockBehindOf(ctx context.Context, s logical.Storage, config string) (bool, error) {
	conn, err := b.connection(ctx, s, config)
	if errors.Is(err, errNoConnection) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	state, err := b.compareClocks(ctx, conn)
	return state == clockBehind, err
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
