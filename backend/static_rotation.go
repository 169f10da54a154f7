package backend

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file is what the rotation of a static role's key is, other than that of an
// admin key: see rotation.go. The connection mints the new key, which must answer a
// call of its own before it is handed out.

var _ holder = (*staticMove)(nil)

func (m *staticMove) noun() string                    { return "key" }
func (m *staticMove) of() rotated                     { return rotated{static, m.name} }
func (m *staticMove) state() *moveState               { return &m.moveState }
func (m *staticMove) schedule() *rotationEntry        { return &m.entry.Rotation }
func (m *staticMove) rotateAt() time.Time             { return m.entry.rotateAt() }
func (m *staticMove) missedWindow(now time.Time) bool { return m.entry.missedWindow(now) }

func (m *staticMove) clockBehind(ctx context.Context) (bool, error) {
	return m.clockBehindOf(ctx, m.storage, m.entry.Config)
}

func (m *staticMove) candidateMade() time.Time {
	if m.entry.Candidate == nil {
		return time.Time{}
	}
	return m.entry.Candidate.Made
}

var errCandidateRevoked = refuse(http.StatusConflict, "the new key was revoked before it was handed out, and the old one stays in use")

// mintCandidate makes a new key and stores it as the candidate.
func (m *staticMove) mintCandidate(ctx context.Context, who owner) error {
	key, release, err := m.mintKey(ctx, m.entry, who, candidateRetry)
	if err != nil {
		return err
	}
	defer release()
	next := m.entry.clone()
	next.Candidate = key
	if err := m.put(ctx, next); err != nil && (m.lost || m.entry.Candidate == nil) {
		// Its record is due in a minute. It is not deleted here: if the write holds
		// after all, another node may be about to use it.
		return err
	}
	return nil
}

// mintKey makes a key for a role as it is about to be stored, and records it as
// active; the sweep looks at it after wait. The caller must release its record.
func (m *staticMove) mintKey(ctx context.Context, e *staticEntry, who owner, wait time.Duration) (*staticKeyEntry, func(), error) {
	o, err := m.order(ctx, e, who)
	if err != nil {
		return nil, nil, err
	}
	release, err := m.slots.acquire(ctx, recordSlot(o.rec.ID))
	if err != nil {
		return nil, nil, err
	}
	key, err := m.mintOrder(ctx, o, wait)
	if err != nil {
		release()
		return nil, nil, err
	}
	return &staticKeyEntry{
		Config: o.rec.Config, Provider: o.rec.Provider, Record: o.rec.ID, Key: key.Secret.Reveal(), KeyID: key.ID,
		Name: o.rec.Name, Data: key.Data, Made: m.now(), Expires: earlier(key.ExpiresAt, o.asked),
	}, release, nil
}

// earlier is when a key expires, if that is earlier than what was asked for.
func earlier(expires, asked time.Time) time.Time {
	if expires.IsZero() || !expires.Before(asked.Add(-time.Minute)) {
		return time.Time{}
	}
	return expires
}

// order checks everything that can be refused before anything is written.
func (m *staticMove) order(ctx context.Context, e *staticEntry, who owner) (*order, error) {
	conn, err := m.connection(ctx, m.storage, e.Config)
	if errors.Is(err, errNoConnection) {
		return nil, badField("config_name", "connection %q of static role %q does not exist; write config/%s", e.Config, m.name, e.Config)
	}
	if err != nil {
		return nil, err
	}
	if err := firstErrorOf(
		func() error { return conn.allows(&e.keyRole) },
		func() error { return mayUse(ctx, m.storage, m.name) },
	); err != nil {
		return nil, err
	}
	mount, err := m.mount(ctx, m.storage)
	if err != nil {
		return nil, err
	}
	planned := e.Rotation
	planned.planFrom(m.now())
	o := &order{of: &e.keyRole, conn: conn, mount: mount, asked: e.expiryFor(conn, planned.Next, m.now())}
	o.rec = m.newRecord(o, static, staticOwner(who, &e.keyRole))
	return o, nil
}

// staticOwner is who answers for a static key. It is not the entity that happens to
// write or rotate the role: were it recorded, to kill all keys of an operator who
// leaves would kill those of the applications.
func staticOwner(who owner, role *keyRole) owner {
	who.EntityID, who.Metadata = "", role.Metadata
	return who
}

// mintOrder makes the key of an order.
func (m *staticMove) mintOrder(ctx context.Context, o *order, wait time.Duration) (provider.Key, error) {
	var err error
	m.began = true
	if o.rec, err = m.ledger().open(ctx, o.rec); err != nil {
		return provider.Key{}, err
	}
	key, err := m.mintIfAllowed(ctx, m.storage, o)
	if err != nil {
		m.afterFailedCreate(ctx, m.storage, o.conn, o.rec, err)
		return provider.Key{}, err
	}
	hash := keyHash(o.mount.Salt, key.Secret.Reveal())
	rec, err := m.ledger().activate(ctx, o.rec, key, hash, m.now().Add(wait))
	if err != nil { // nobody has its secret yet
		o.rec.KeyID, o.rec.KeyHash = key.ID, hash
		m.takeBackStatic(ctx, o.rec)
		return provider.Key{}, err
	}
	o.rec = rec
	return key, nil
}

// takeBackStatic deletes a key that nobody has yet. The caller holds its record's
// slot. What it cannot delete stays in the ledger.
func (m *staticMove) takeBackStatic(ctx context.Context, rec record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleBudget)
	defer cancel()
	if err := m.kill(ctx, m.storage, rec); err != nil {
		m.log().Warn("a new key stays in the ledger until the sweep deletes it", "id", rec.ID, "error", err)
	}
}

// trial returns what tries the candidate.
func (m *staticMove) trial(ctx context.Context) (func(context.Context) error, error) {
	c := m.entry.Candidate
	rec, err := m.ledger().get(ctx, c.pointer(m.name))
	switch {
	case err != nil:
		return nil, err
	case rec == nil || rec.State != active:
		return nil, errCandidateRevoked
	}
	return m.trialOf(ctx, m.entry, c)
}

// trialOf returns what tries a key of a role.
func (m *staticMove) trialOf(ctx context.Context, e *staticEntry, key *staticKeyEntry) (func(context.Context) error, error) {
	conn, err := m.connection(ctx, m.storage, key.Config)
	if err != nil {
		return nil, err
	}
	verifier, ok := conn.client.(provider.KeyVerifier)
	if !ok || !e.Verify {
		return func(context.Context) error { return nil }, nil
	}
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, staticTrialBudget)
		defer cancel()
		return verifier.VerifyKey(ctx, provider.Secret(key.Key))
	}, nil
}

// staticTrialBudget bounds one trial of a static key, which is one call: a
// provider that hangs must leave time to answer.
const staticTrialBudget = 30 * time.Second

// promote hands the candidate out, in one write.
func (m *staticMove) promote(ctx context.Context) error {
	c := m.entry.Candidate
	return m.onCandidate(ctx, c, func() error {
		if m.System().Tainted() {
			return errTainted
		}
		if err := mayUse(ctx, m.storage, m.name); err != nil {
			return err
		}
		next := m.entry.clone()
		next.Previous = m.replaced(ctx)
		next.Key, next.Candidate, next.VacantSince = c, nil, time.Time{}
		next.Rotation.succeeded(m.now())
		next.planned()
		err := m.put(ctx, next)
		if err != nil && (m.lost || m.entry.Key == nil || m.entry.Key.Record != c.Record) {
			return err
		}
		m.tellIssued(c.record(m.name))
		return nil
	})
}

// onCandidate calls do under the slot of the candidate's record, unless somebody has
// killed it.
func (m *staticMove) onCandidate(ctx context.Context, c *staticKeyEntry, do func() error) error {
	killed := true
	err := m.onRecord(ctx, c.pointer(m.name), func(rec record) error {
		if rec.State != active {
			return nil
		}
		killed = false
		return do()
	})
	if err != nil || !killed {
		return err
	}
	return errors.Join(errCandidateRevoked, m.dropCandidate(ctx))
}

// replaced is the key that the candidate replaces.
func (m *staticMove) replaced(ctx context.Context) *replacedKey {
	old := m.entry.Key
	if old == nil {
		return nil
	}
	overlap := m.entry.Rotation.Overlap.duration()
	if m.overlap != nil {
		overlap = *m.overlap
	}
	return &replacedKey{Config: old.Config, Record: old.Record, Until: m.realTime(ctx).Add(overlap)}
}

// askTimeOf asks the provider for its time, for the sake of realTime.
func (m *staticMove) askTimeOf(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeBudget)
	defer cancel()
	if conn, err := m.connection(ctx, m.storage, m.entry.Config); err == nil {
		_ = m.askTime(ctx, conn)
	}
}

// realTime is the time from which an overlap counts.
func (m *staticMove) realTime(ctx context.Context) time.Time {
	if conn, err := m.connection(ctx, m.storage, m.entry.Config); err == nil {
		return m.realNow(conn)
	}
	return m.now()
}

// dropCandidate gives the candidate up. Its record then says that nothing uses the
// key.
func (m *staticMove) dropCandidate(ctx context.Context) error {
	next := m.entry.clone()
	next.Candidate = nil
	if err := m.put(ctx, next); err != nil && (m.lost || m.entry.Candidate != nil) {
		return err
	}
	return nil
}

// rotateStatic rotates the key of a static role for a caller, who may shorten the
// overlap; nil leaves it as it is.
func (b *backend) rotateStatic(ctx context.Context, s logical.Storage, name string, who owner, overlap *time.Duration) (*staticMove, error) {
	release, ok := b.slots.try(staticSlot(name))
	if !ok {
		return nil, errRotatingStatic(name)
	}
	defer release()
	entry, err := loadStatic(ctx, s, name)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return nil, errNoStaticRole(name)
	}
	if overlap != nil && *overlap > entry.Rotation.Overlap.duration() {
		return nil, badField("overlap", "%s is above the role's own overlap of %s; give at most that, or raise it at static-roles/%s", *overlap, entry.Rotation.Overlap.duration(), name)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rotationBudget)
	defer cancel()
	m := b.staticMove(s, entry)
	m.overlap = overlap
	if err := firstErrorOf(
		func() error { return mayUse(ctx, s, name) },
		func() error { return m.reconcile(ctx) },
		func() error { return m.noticeLoss(ctx) },
		func() error { return b.rotate(ctx, m, who, candidatePatience) },
	); err != nil {
		return nil, err
	}
	if overlap != nil {
		m.endOverlaps(ctx, *overlap)
	}
	return m, nil
}

// endOverlaps ends the overlap of all keys that were replaced, now or before.
func (m *staticMove) endOverlaps(ctx context.Context, overlap time.Duration) {
	err := m.reconcile(ctx)
	if err == nil {
		err = m.shorten(ctx, m.realTime(ctx).Add(overlap), overlap == 0)
	}
	if err == nil && overlap == 0 {
		err = m.deleteGivenUp(ctx)
	}
	if err != nil {
		m.warn("a replaced key may still work; its deletion is tried again until the provider confirms it: %s", err)
	}
}

// tendStatic does what the sweep has to do about a static role. The caller holds its
// slot. It returns the role's entry in the time index, before and after; empty if
// there is none.
func (b *backend) tendStatic(ctx context.Context, s logical.Storage, name string) (before, after string, err error) {
	entry, err := loadAnyStatic(ctx, s, name)
	if err != nil {
		return "", "", err
	}
	m := &staticMove{backend: b, storage: s, name: name, entry: entry}
	if entry != nil {
		before = entry.dueKey()
	}
	err = m.tend(ctx)
	now, readErr := loadAnyStatic(ctx, s, name)
	if readErr != nil {
		return before, before, errors.Join(err, readErr)
	}
	if now != nil {
		after = now.dueKey()
	}
	return before, after, err
}
