package backend

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file writes static roles.
//
//   - A new role is stored together with its first key, or not at all.
//   - A key that an operator brings along is looked up at the provider: the first
//     rotation will delete the key of that id. Its record comes first, and is dropped
//     again if the role is not stored.
//   - A client may write the key that it brought for ever: then it is ignored.

// A staticWrite is one write of a static role.
type staticWrite struct {
	*staticMove
	req    *logical.Request
	fields *framework.FieldData
	conn   *connection
	old    *staticEntry // nil if there is none yet
	next   *staticEntry

	apiKey string // that the write brings
}

func (b *backend) writeStaticRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, release, err := b.lockNamed(ctx, "role", d)
	if err != nil {
		return nil, err
	}
	defer release()
	w, err := b.newStaticWrite(ctx, req, d, name)
	if err != nil {
		return nil, err
	}
	if err := firstErrorOf(
		func() error { return w.apply(ctx) },
		func() error { return w.check(ctx) },
		func() error { return w.store(ctx) },
	); err != nil {
		return nil, err
	}
	b.Logger().Info("static role written", "static_role", name, "config", w.next.Config)
	if len(w.warnings) == 0 {
		return nil, nil
	}
	return &logical.Response{Warnings: w.warnings}, nil
}

func (b *backend) newStaticWrite(ctx context.Context, req *logical.Request, d *framework.FieldData, name string) (*staticWrite, error) {
	old, err := loadAnyStatic(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	if old != nil && old.leaving() {
		if err := b.staticMove(req.Storage, old).leave(ctx); err != nil {
			return nil, fmt.Errorf("finish the deletion of the static role of this name: %w", err)
		}
		old = nil
	}
	w := &staticWrite{req: req, fields: d, old: old, next: newStaticEntry(name)}
	w.staticMove = &staticMove{backend: b, storage: req.Storage, name: name, entry: old}
	if old != nil {
		w.next = old.clone()
	}
	return w, nil
}

// apply applies the write to a copy of what is stored, and checks it without any
// call.
func (w *staticWrite) apply(ctx context.Context) error {
	if err := w.nameIsFree(ctx, w.storage, w.name, roleKey, "role"); err != nil {
		return err
	}
	var err error
	if w.conn, err = w.next.apply(ctx, w.backend, w.storage, w.fields); err != nil {
		return err
	}
	set(w.fields, "verify", &w.next.Verify)
	if err := firstErrorOf(
		func() error { return refuseTokens(w.conn.provider) },
		func() error { return w.next.Rotation.apply(w.fields, "overlap", longestTTL, w.now()) },
		w.checkScheduled,
		func() error { return w.next.checkLifetime(w.conn, w.now()) },
		func() error { return w.applyImport(ctx) },
	); err != nil {
		return err
	}
	if w.old != nil {
		w.replan()
	}
	return nil
}

func (w *staticWrite) checkScheduled() error {
	if r := w.next.Rotation; r.Period > 0 || r.Schedule != "" {
		return nil
	}
	return badField("rotation_period", "and rotation_schedule are both missing; give one, for a static key is always rotated")
}

// replan plans the next rotation of a role whose schedule has changed.
func (w *staticWrite) replan() {
	if w.next.Rotation.plansLike(&w.old.Rotation) {
		return
	}
	w.next.Rotation.replan(w.now())
	w.next.planned()
}

// applyImport takes the key that the write brings along, if it is not the one that
// the role was begun with.
func (w *staticWrite) applyImport(ctx context.Context) error {
	var key, id string
	set(w.fields, "api_key", &key)
	set(w.fields, "key_id", &id)
	if key == "" && id == "" {
		return nil
	}
	mount, err := w.mount(ctx, w.storage)
	if err != nil {
		return err
	}
	if w.old != nil {
		if (key == "" || keyHash(mount.Salt, key) == w.old.ImportedHash) && (id == "" || id == w.old.ImportedID) {
			return nil
		}
		return badField("api_key", "and key_id are only for a new static role; leave them out, or write rotate-role/%s for another key", w.name)
	}
	switch {
	case key == "":
		return badField("api_key", "is missing beside key_id; give both to begin with a key that exists, or neither")
	case id == "":
		return badField("key_id", "is missing beside api_key; give the provider's id of that key: the first rotation deletes it by that")
	case provider.HideKeys(id) != id:
		return badField("key_id", "looks like a key; give the provider's id of it")
	}
	w.apiKey, w.next.ImportedID, w.next.ImportedHash = key, id, keyHash(mount.Salt, key)
	return nil
}

// check asks the provider about what the role names.
func (w *staticWrite) check(ctx context.Context) error {
	var before *keyRole
	if w.old != nil {
		before = &w.old.keyRole
	}
	warning, err := w.checkRoleAt(ctx, w.conn, before, &w.next.keyRole)
	if err != nil {
		return err
	}
	if warning != "" {
		w.warn("%s", warning)
	}
	return nil
}

func (w *staticWrite) store(ctx context.Context) error {
	switch {
	case w.old != nil:
		return w.update(ctx)
	case w.apiKey != "":
		return w.begin(ctx, w.bring)
	}
	err := w.begin(ctx, w.mintFirst)
	if err != nil {
		w.tellNotIssued(static, w.name, err)
		return err
	}
	w.tellIssued(w.next.Key.record(w.name))
	return nil
}

// update stores a role that exists. A new key that would be minted elsewhere now is
// given up.
func (w *staticWrite) update(ctx context.Context) error {
	if w.old.Config != w.next.Config || !reflect.DeepEqual(w.old.Fields, w.next.Fields) {
		w.next.Candidate = nil
	}
	if !mintsAlike(w.conn, &w.old.keyRole, &w.next.keyRole) {
		if err := w.retirePrincipals(ctx, w.storage, w.name); err != nil {
			return err
		}
		w.warn("the key that is handed out stays as it is until the next rotation; write rotate-role/%s to have one of the new place now", w.name)
	}
	if !provider.SameGuardrails(w.old.Fields, w.next.Fields) {
		w.warn("the key that is handed out keeps the bounds that it was made with until the next rotation; write rotate-role/%s to have one with the new bounds now", w.name)
	}
	if err := w.put(ctx, w.next); err != nil {
		return err
	}
	// Its key may have to live longer than the provider knows, and a candidate may
	// have been given up.
	return w.notice(ctx, w.storage, w.next.Config, w.name, w.now())
}

// begin stores a new role with the key that get returns, which it has recorded.
func (w *staticWrite) begin(ctx context.Context, get func(context.Context) (*staticKeyEntry, func(), error)) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rotationBudget)
	defer cancel()
	key, release, err := get(ctx)
	if err != nil {
		return err
	}
	stored := false
	defer func() {
		if !stored {
			w.undo(ctx, key)
		}
		release()
	}()
	if err := w.try(ctx, key); err != nil {
		return err
	}
	if w.System().Tainted() {
		return errTainted
	}
	if err := mayUse(ctx, w.storage, w.name); err != nil {
		return err
	}
	w.next.Key = key
	w.next.Rotation.succeeded(w.now())
	w.next.planned()
	err = w.put(ctx, w.next)
	stored = err == nil || w.lost || w.entry != nil
	if !stored || w.lost {
		return err
	}
	rec, err := w.ledger().get(ctx, key.pointer(w.name))
	if err == nil && rec != nil {
		_, err = w.ledger().use(ctx, *rec)
	}
	if err != nil {
		w.log().Warn("the record of a new key is brought in line by the sweep", "id", key.Record, "error", err)
	}
	return nil
}

// try tries the first key. One that was brought along is tried whatever verify says:
// that is the proof that who brings it has it.
func (w *staticWrite) try(ctx context.Context, key *staticKeyEntry) error {
	role := *w.next
	role.Verify = role.Verify || w.apiKey != ""
	try, err := w.trialOf(ctx, &role, key)
	if err == nil {
		err = tryKey(ctx, try, candidatePatience)
	}
	switch {
	case err == nil:
		return nil
	case w.apiKey != "" && provider.IsKind(err, provider.Unauthorized):
		return badField("api_key", "is refused by the provider (%s); give a live key", err)
	case w.apiKey != "":
		return fmt.Errorf("try the key: %w", err)
	}
	return fmt.Errorf("try the key (verify=false hands it out untried): %w", err)
}

// undo forgets a key that was brought along, and deletes one that was minted. The
// caller holds its record's slot.
func (w *staticWrite) undo(ctx context.Context, key *staticKeyEntry) {
	rec, err := w.ledger().get(ctx, key.pointer(w.name))
	switch {
	case err != nil:
		w.log().Warn("a key that is not handed out stays in the ledger until the sweep looks at it", "id", key.Record, "error", err)
	case rec == nil:
	case rec.Adopted:
		if err := w.ledger().drop(ctx, *rec); err != nil {
			w.log().Warn("the record of a key that was not taken over stays until the sweep drops it", "id", key.Record, "error", err)
		}
	default:
		w.takeBackStatic(ctx, *rec)
	}
}

// mintFirst mints the first key of a role. It is tried before it is stored with the
// role, so the sweep looks at its record only if that takes too long.
func (w *staticWrite) mintFirst(ctx context.Context) (*staticKeyEntry, func(), error) {
	return w.mintKey(ctx, w.next, w.callerOf(w.req), candidateAge)
}

// bring takes over a key that exists, after a look at it. A key has one record.
func (w *staticWrite) bring(ctx context.Context) (*staticKeyEntry, func(), error) {
	if err := mayUse(ctx, w.storage, w.name); err != nil {
		return nil, nil, err
	}
	// Nobody else may bring the same key meanwhile.
	releaseKey, err := w.slots.acquire(ctx, "import "+shortHash(w.next.ImportedID))
	if err != nil {
		return nil, nil, err
	}
	found, err := w.lookAtImport(ctx)
	if err != nil {
		releaseKey()
		return nil, nil, err
	}
	id := newID(w.now())
	releaseRecord, err := w.slots.acquire(ctx, recordSlot(id))
	if err != nil {
		releaseKey()
		return nil, nil, err
	}
	release := func() { releaseRecord(); releaseKey() }
	rec := record{
		ID: id, Name: provider.HideKeys(found.Name), KeyID: w.next.ImportedID, Kind: static, Config: w.conn.name, Role: w.name,
		Provider: w.conn.provider.Name(), Scope: w.conn.provider.Scope(w.next.Fields), KeyHash: w.next.ImportedHash,
		owner: staticOwner(w.callerOf(w.req), &w.next.keyRole), ExpiresAt: found.ExpiresAt, Due: w.now().Add(candidateAge),
	}
	if err := w.ledger().adopt(ctx, rec); err != nil {
		release()
		return nil, nil, err
	}
	return &staticKeyEntry{
		Config: rec.Config, Provider: rec.Provider, Record: id, Key: w.apiKey, KeyID: rec.KeyID,
		Name: rec.Name, Data: w.conn.client.(provider.KeyReader).KeyData(rec.Scope), Expires: found.ExpiresAt, Made: w.now(),
	}, release, nil
}

// lookAtImport asks the provider what the key is that the write brings. Whether the
// ledger knows it is told only to who has shown that it is theirs.
func (w *staticWrite) lookAtImport(ctx context.Context) (provider.Found, error) {
	reader, ok := w.conn.client.(provider.KeyReader)
	if !ok {
		return provider.Found{}, badField("api_key", "is not for provider %q, whose API does not show keys; leave api_key and key_id out", w.conn.provider.Name())
	}
	ref := provider.Ref{ID: w.next.ImportedID, Scope: w.conn.provider.Scope(w.next.Fields)}
	found, err := reader.ReadKey(ctx, ref, provider.Secret(w.apiKey))
	if _, bad := errors.AsType[*provider.FieldError](err); bad {
		return provider.Found{}, err
	}
	if provider.IsKind(err, provider.NotFound) {
		return provider.Found{}, badField("key_id", "the provider has no key of this id in %q; give the id that it shows beside the key", ref.Scope)
	}
	if w.noted(w.conn, err) != nil {
		return provider.Found{}, fmt.Errorf("look the key up: %w", err)
	}
	if field := provider.FirstGuardrail(w.next.Fields); field != "" {
		return provider.Found{}, badField(field, "cannot be put on a key that exists; leave the bounds out until the first rotation, or let the role have its own key made: leave api_key and key_id out")
	}
	if mountOf(found.Name) != "" {
		return provider.Found{}, badField("key_id", "is a key that a mount of this engine has made (%s); give one that nobody keeps yet", found.Name)
	}
	return found, w.hasNoHolder(ctx)
}

// hasNoHolder refuses a key that is in the ledger: it has one record.
func (w *staticWrite) hasNoHolder(ctx context.Context) error {
	for _, f := range []fact{byKeyHash(w.next.ImportedHash), byKeyID(w.next.ImportedID)} {
		recs, err := w.recordsWith(ctx, w.storage, f)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(recs, func(rec record) bool { return rec.Role != w.name || !rec.Adopted || rec.State != active }) {
			return badField("key_id", "is in the ledger already; a key has one holder (see lookup)")
		}
	}
	return nil
}
