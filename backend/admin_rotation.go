package backend

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file is what the rotation of an admin key is, other than that of a static
// role: see rotation.go.
//
//   - The present key makes the new one, which is tried for each thing that the
//     engine needs.
//   - The record of the replaced key is marked for deletion after the overlap. A
//     deletion that fails is retried for ever and never fails the rotation.

var _ holder = (*adminMove)(nil)

func (m *adminMove) log() hclog.Logger        { return m.Logger().With("config", m.config) }
func (m *adminMove) noun() string             { return "admin key" }
func (m *adminMove) of() rotated              { return rotated{admin, m.config} }
func (m *adminMove) schedule() *rotationEntry { return &m.entry.Rotation }
func (m *adminMove) rotateAt() time.Time      { return m.entry.rotateAt() }
func (m *adminMove) state() *moveState        { return &m.moveState }

func (m *adminMove) missedWindow(now time.Time) bool { return m.entry.missedWindow(now) }

func (m *adminMove) clockBehind(ctx context.Context) (bool, error) {
	return m.clockBehindOf(ctx, m.storage, m.config)
}

func (m *adminMove) candidateMade() time.Time {
	if m.entry.Candidate == nil {
		return time.Time{}
	}
	return m.entry.Candidate.Made
}

// change stores a change of the schedule.
func (m *adminMove) change(ctx context.Context, how func(*rotationEntry)) error {
	next := m.entry.clone()
	how(&next.Rotation)
	return m.put(ctx, next)
}

// mintCandidate makes a new admin key and stores it as the candidate.
func (m *adminMove) mintCandidate(ctx context.Context, who owner) error {
	conn, err := m.connection(ctx, m.storage, m.config)
	if err != nil {
		return err
	}
	rotator, err := conn.rotator()
	if err != nil {
		return err
	}
	if err := m.refuseSharedKey(ctx); err != nil {
		return err
	}
	scope, err := rotator.AdminScope(ctx)
	if provider.IsKind(err, provider.Invalid) { // it is for the operator to change something
		return badRequest(err.Error())
	}
	if m.noted(conn, err) != nil {
		return fmt.Errorf("prepare the rotation: %w", err)
	}
	next := m.entry.clone()
	if err := m.identifyPresent(ctx, rotator, next, scope); err != nil {
		return err
	}
	m.began = true
	rec, err := m.openAdminRecord(ctx, conn, who, scope)
	if err != nil {
		return err
	}
	key, err := m.mintAdmin(ctx, conn, rotator, rec)
	if err != nil {
		return err
	}
	next.Candidate = &candidate{Record: rec.ID, Key: key.Secret.Reveal(), KeyID: key.ID, Expires: key.ExpiresAt, Made: m.now()}
	if err := m.put(ctx, next); err != nil && (m.lost || m.entry.Candidate == nil) {
		// Its record is due in a minute. It is not deleted here: if the write holds
		// after all, another node may be about to use it.
		return err
	}
	return nil
}

// refuseSharedKey refuses to end a key that another connection uses.
func (m *adminMove) refuseSharedKey(ctx context.Context) error {
	if m.entry.AdminMinted {
		return nil
	}
	names, err := list(ctx, m.storage, configPrefix)
	if err != nil {
		return err
	}
	for _, name := range names {
		other, err := loadConfig(ctx, m.storage, name)
		if err != nil {
			return err
		}
		if name != m.config && other != nil && other.AdminKey == m.entry.AdminKey {
			return badRequest(fmt.Sprintf("connection %q has the same admin key, which a rotation would end; write an admin key of its own to config/%s first", name, m.config))
		}
	}
	return nil
}

// identifyPresent makes sure of the id of an operator's key, which is all that can
// delete it. One that is not certain counts as not known.
func (m *adminMove) identifyPresent(ctx context.Context, rotator provider.AdminRotator, next *configEntry, scope string) error {
	if next.AdminMinted {
		return nil
	}
	ids, err := rotator.IdentifyAdmin(ctx, provider.Secret(next.AdminKey))
	if err != nil {
		return fmt.Errorf("find the id of the present admin key: %w", err)
	}
	next.AdminKeyID = certainID(next.AdminKeyID, ids)
	if next.AdminKeyID == "" {
		m.warn("the replaced admin key stays valid, for its id is not certain; %s, in one write with that key as admin_key: then it is deleted", possibleIDs(ids))
	}
	if next.AdminRecord == "" {
		return m.adoptBefore(ctx, next, scope)
	}
	rec, err := m.ledger().get(ctx, pointer{config: m.config, id: next.AdminRecord})
	if err != nil || rec == nil || rec.KeyID == next.AdminKeyID && rec.Scope == scope {
		return err
	}
	_, err = m.ledger().identify(ctx, *rec, next.AdminKeyID, scope)
	return err
}

// adoptBefore records the admin key of a connection that was written before there
// were records of them.
func (m *adminMove) adoptBefore(ctx context.Context, next *configEntry, scope string) error {
	if err := m.adoptAdminKey(ctx, m.storage, m.config, next); err != nil {
		return err
	}
	rec, err := m.ledger().get(ctx, pointer{config: m.config, id: next.AdminRecord})
	if err == nil && rec != nil {
		_, err = m.ledger().identify(ctx, *rec, next.AdminKeyID, scope)
	}
	return err
}

// certainID returns the id on which the operator, if one was given, and the
// provider agree.
func certainID(given string, ids []string) string {
	if len(ids) == 1 && (given == "" || given == ids[0]) {
		return ids[0]
	}
	if slices.Contains(ids, given) {
		return given
	}
	return ""
}

func (m *adminMove) openAdminRecord(ctx context.Context, conn *connection, who owner, scope string) (record, error) {
	mount, err := m.mount(ctx, m.storage)
	if err != nil {
		return record{}, err
	}
	id := newID(m.now())
	return m.ledger().open(ctx, record{
		ID: id, Kind: admin, owner: who,
		Name:     keyName(mount.Tag, "admin-"+cleanName(m.config), id, conn.provider.Limits().NameLength),
		Config:   m.config,
		Provider: conn.provider.Name(),
		Scope:    scope,
	})
}

// mintAdmin makes the key of a pending record and records it as active.
func (m *adminMove) mintAdmin(ctx context.Context, conn *connection, rotator provider.AdminRotator, rec record) (provider.Key, error) {
	var expires time.Time
	if ttl := m.entry.Rotation.KeyTTL.duration(); ttl > 0 {
		expires = m.now().Add(min(ttl, conn.provider.Limits().Lifetime))
	}
	work, cancel := provider.Detach(ctx, issueBudget)
	defer cancel()
	key, err := rotator.MintAdmin(work, rec.Name, expires)
	if m.noted(conn, err) != nil {
		m.afterFailedCreate(ctx, m.storage, conn, rec, err)
		return provider.Key{}, fmt.Errorf("make a new admin key: %w", err)
	}
	mount, err := m.mount(ctx, m.storage)
	if err == nil {
		_, err = m.ledger().activate(ctx, rec, key, keyHash(mount.Salt, key.Secret.Reveal()), m.now().Add(candidateRetry))
	}
	if err != nil { // nobody has its secret yet
		rec.KeyID = key.ID
		if err := m.kill(ctx, m.storage, rec); err != nil {
			m.Logger().Warn("a new admin key stays in the ledger until the sweep deletes it", "config", m.config, "id", rec.ID, "error", err)
		}
		return provider.Key{}, err
	}
	return key, nil
}

// trial returns what tries the candidate.
func (m *adminMove) trial(ctx context.Context) (func(context.Context) error, error) {
	conn, err := m.connection(ctx, m.storage, m.config)
	if err != nil {
		return nil, err
	}
	settings := m.entry.settings()
	settings.AdminKey = provider.Secret(m.entry.Candidate.Key)
	client, err := conn.provider.Connect(settings, conn.transport)
	if err != nil {
		return nil, fmt.Errorf("connect with the new admin key: %w", err)
	}
	id := m.entry.Candidate.KeyID
	return func(ctx context.Context) error { return client.(provider.AdminRotator).TryAdmin(ctx, id) }, nil
}

func (m *adminMove) deleteGivenUp(ctx context.Context) error { return m.deleteReplaced(ctx, false) }

// dropCandidate gives the candidate up. Its record then says that nothing uses the
// key.
func (m *adminMove) dropCandidate(ctx context.Context) error {
	next := m.entry.clone()
	next.Candidate = nil
	if err := m.put(ctx, next); err != nil && (m.lost || m.entry.Candidate != nil) {
		return err
	}
	return nil
}

// promote puts the candidate in use, in one write.
func (m *adminMove) promote(ctx context.Context) error {
	mount, err := m.mount(ctx, m.storage)
	if err != nil {
		return err
	}
	next, c := m.entry.clone(), m.entry.Candidate
	if !next.AdminMinted {
		next.Retired = append(next.Retired, keyHash(mount.Salt, next.AdminKey))
		next.Retired = next.Retired[max(0, len(next.Retired)-maxRetired):]
	}
	next.PreviousRecord = next.AdminRecord
	next.AdminKey, next.AdminKeyID, next.AdminRecord = c.Key, c.KeyID, c.Record
	next.AdminMinted, next.AdminKeyExpires, next.Candidate = true, c.Expires, nil
	next.Rotation.succeeded(m.now())
	if err := m.put(ctx, next); err != nil && (m.lost || m.entry.AdminRecord != c.Record) {
		return err
	}
	if !next.AdminKeyExpires.IsZero() && next.rotateAt().IsZero() {
		m.warn("the provider ends the new admin key at %s, and no rotation is planned; set rotation_period at config/%s", rfc3339(next.AdminKeyExpires), m.config)
	}
	return nil
}

func rotationSlot(config string) string { return "rotation " + config }

// beginRotation takes what a rotation needs. If another one is under way, it
// returns false.
func (b *backend) beginRotation(ctx context.Context, config string) (release func(), ok bool, err error) {
	first, ok := b.slots.try(rotationSlot(config))
	if !ok {
		return nil, false, nil
	}
	second, err := b.slots.acquire(ctx, connectionSlot(config))
	if err != nil {
		first()
		return nil, true, fmt.Errorf("wait for connection %q: %w", config, err)
	}
	return func() { second(); first() }, true, nil
}

// rotateNow rotates the admin key of a connection for a caller.
func (b *backend) rotateNow(ctx context.Context, s logical.Storage, config string, who owner) (*adminMove, error) {
	release, ok, err := b.beginRotation(ctx, config)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errRotating(config)
	}
	defer release()
	entry, err := loadConfig(ctx, s, config)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return nil, errNoSuchConnection(config)
	}
	conn, err := b.connection(ctx, s, config)
	if err == nil {
		_, err = conn.rotator()
	}
	if err != nil { // no rotation has failed: there is none
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rotationBudget)
	defer cancel()
	m := b.adminMove(s, config, entry)
	return m, b.rotate(ctx, m, who, candidatePatience)
}
