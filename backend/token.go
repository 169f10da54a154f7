package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file holds what is different with tokens: keys that leave nothing behind at
// their provider, which can neither be deleted nor looked for.
//
//   - A token ends at its expiry and at nothing else, so it is given the end of its
//     lease, without the grace that other keys have.
//   - Its lease is not renewable: there is nothing to extend.
//   - To revoke its lease succeeds, for all that can be done is done: nothing more is
//     given to the holder. The record stays, as revoking, until the token has ended.
//   - A token whose creation had no answer is known to nobody. Its record stays for
//     as long as the token may live.

// A livesOnError says that a token cannot be revoked.
type livesOnError struct{ until time.Time }

func (e *livesOnError) Error() string {
	return fmt.Sprintf("this provider cannot revoke a token; it ends at %s", rfc3339(e.until.Truncate(time.Second)))
}

// livesOn returns what err says of a token that cannot be revoked; nil if it is
// another error, or none.
func livesOn(err error) *livesOnError {
	e, _ := errors.AsType[*livesOnError](err)
	return e
}

// tokenExpiry is when a token is to end whose lease ends at end. Vault counts the
// lease from when it has our answer.
func tokenExpiry(end time.Time) time.Time { return end.Add(answerTime) }

// tokenEnd is from when on a token is certainly over.
func (r record) tokenEnd() time.Time { return r.ExpiresAt.Add(tokenGrace()) }

// endToken drops the record of a token that is over, or keeps it until then, which is
// a livesOnError. The caller holds the record's slot.
func (b *backend) endToken(ctx context.Context, s logical.Storage, rec record) error {
	if b.tokenIsOver(ctx, s, rec) {
		return b.ledger(s).drop(ctx, rec)
	}
	lives := &livesOnError{until: rec.ExpiresAt}
	if rec.State == revoking && rec.Due.Equal(rec.tokenEnd()) && rec.Due.After(b.now()) {
		return lives
	}
	if _, err := b.ledger(s).outlive(ctx, rec, lives); err != nil {
		return err
	}
	return lives
}

// tokenIsOver reports whether a token has ended, by the clock of its provider too,
// where that is known: nothing else would tell that ours is ahead.
func (b *backend) tokenIsOver(ctx context.Context, s logical.Storage, rec record) bool {
	if b.now().Before(rec.tokenEnd()) {
		return false
	}
	conn, err := b.connection(ctx, s, rec.Config)
	if err != nil {
		return true
	}
	theirs, known := conn.transport.Now()
	return !known || !theirs.Before(rec.ExpiresAt)
}

// outlive marks a token as revoked, until it is over. On error the record is as it
// was.
func (l ledger) outlive(ctx context.Context, rec record, cause error) (record, error) {
	next := rec.owed(rec.tokenEnd())
	next.State, next.Due, next.LastError = revoking, rec.tokenEnd(), cause.Error()
	if !next.Due.After(l.now()) { // our clock is ahead of the provider's
		next.Due = l.now().Add(retryDelay(4))
	}
	return l.move(ctx, rec.stored(), next)
}

// refuseTokens refuses a holder that has its key for longer than a token lives.
func refuseTokens(p provider.Provider) error {
	if !p.Limits().Irrevocable {
		return nil
	}
	return badField("config_name", "is a connection to provider %q, whose tokens end within %s and cannot be revoked; use roles/, which issue a token for each lease", p.Name(), p.Limits().Lifetime)
}
