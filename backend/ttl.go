package backend

import (
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
)

// minExpiryGrace is the least time by which a key outlives its lease at the
// provider. Vault counts a lease from the moment when our answer reaches it,
// which may be 90 s after the expiry was computed, and the two clocks differ.
const minExpiryGrace = 2 * time.Minute

// longestTTL bounds every duration of a role: a year, as providers do.
const longestTTL = 365 * 24 * time.Hour

// A term is how long a lease may last, computed as Vault will compute it.
type term struct {
	ttl      time.Duration
	end      time.Time // now + ttl
	warnings []string  // why it is shorter than what was asked for
	// strict says that the lease must not end later than end. Vault counts from
	// the moment when it has our answer; most leases may end that much later.
	strict bool
}

// leaseTerm returns the term of a lease that begins, or is renewed, now.
// increment is what the client asked for, issued when the lease began; both may
// be zero. It fails if the lease is past its maximum.
func (b *backend) leaseTerm(role *roleEntry, increment time.Duration, issued time.Time) (term, error) {
	now := b.now()
	if !issued.IsZero() {
		// CalculateTTL reads the system's clock itself; move issued to that clock.
		issued = issued.Add(time.Since(now))
	}
	ttl, warnings, err := framework.CalculateTTL(b.System(), increment, role.TTL.duration(), 0, role.MaxTTL.duration(), 0, issued)
	if err != nil {
		return term{}, fmt.Errorf("compute the lease's end: %w", err)
	}
	return term{ttl: ttl, end: now.Add(ttl), warnings: warnings}, nil
}

// lastEnd is the latest moment to which a lease of the role can be renewed.
func (b *backend) lastEnd(role *roleEntry) time.Time {
	longest := b.System().MaxLeaseTTL()
	if own := role.MaxTTL.duration(); own > 0 && own < longest {
		longest = own
	}
	return b.now().Add(longest)
}

// answerTime is how long after a term was computed Vault may have the answer, and
// count the lease from then: a request of Vault lives for 90 s.
const answerTime = 90 * time.Second

// within shortens a term that a key's expiry at the provider does not cover. The
// lease then ends a tenth of the rest before the key, at most minExpiryGrace.
func (b *backend) within(t term, expires time.Time) term {
	if expires.IsZero() || !expires.Before(t.end.Add(answerTime)) {
		return t
	}
	left := expires.Sub(b.now())
	end := expires.Add(-min(left/10, minExpiryGrace))
	if !end.Before(t.end) {
		return t
	}
	return t.shortenTo(end, b.now(), fmt.Sprintf("the provider ends this key at %s already; the lease is shortened to that", expires.UTC().Format(time.RFC3339)))
}

// dueOf is when the sweep takes an active key for lost: a while after its lease, or at
// the provider's own expiry if that is earlier. A provider that keeps keys for longer
// than asked, or for ever, does not make them outlive the lease.
func dueOf(lost, expires time.Time) time.Time {
	if !expires.IsZero() && expires.Before(lost) {
		return expires
	}
	return lost
}

// dueAt is dueOf for a record: there is nothing to do about a token before it is over.
func (r record) dueAt(lost, expires time.Time) time.Time {
	if r.Token {
		r.ExpiresAt = expires
		return r.tokenEnd()
	}
	return dueOf(lost, expires)
}

// shortenTo ends a term earlier.
func (t term) shortenTo(end time.Time, now time.Time, why string) term {
	return term{end: end, ttl: end.Sub(now).Truncate(time.Second), warnings: append(t.warnings, why), strict: true}
}
