package backend

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file writes connections.
//
//   - The stored admin key goes nowhere that it did not go before: a write that
//     changes where it is sent, or whom that is trusted to be, must hold a key that
//     works there. Who may write a connection cannot read its key that way.
//   - An admin key that a rotation has replaced is ignored: Terraform writes the
//     first one for ever. Any other replaces the key in use.
//   - A key that an operator replaces is the operator's to delete; one that a
//     rotation made is deleted after the overlap, for nobody else has it.
//   - Writes and rotations of a connection follow each other.

// verifyBudget bounds all calls of a write.
const verifyBudget = 45 * time.Second

// maxRetired bounds the hashes of replaced keys that a connection remembers.
const maxRetired = 32

// A configWrite is one write of a connection.
type configWrite struct {
	*backend
	storage logical.Storage
	name    string
	fields  *framework.FieldData
	salt    []byte
	old     *configEntry // nil if there is none yet
	next    *configEntry

	holdsKey bool // the write holds the key in use, or a new one
	newKey   bool // the write holds a new one
	madeKey  bool // which the engine has made, so that the provider cannot know it yet
	// leftBehind is the record of a key that is good for nothing at the new host.
	leftBehind string
	retired    string // the key that the write holds and that a rotation has replaced
	verify     bool
	warnings   []string
}

func (b *backend) writeConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	if given(d, "force") {
		return nil, badField("force", "is only for delete; leave it out")
	}
	name, release, err := b.lockNamed(ctx, "connection", d)
	if err != nil {
		return nil, err
	}
	defer release()
	w, err := b.newConfigWrite(ctx, req.Storage, name, d)
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
	b.Logger().Info("connection written", "config", name, "provider", w.next.Provider)
	if len(w.warnings) == 0 {
		return nil, nil
	}
	return &logical.Response{Warnings: w.warnings}, nil
}

func (b *backend) newConfigWrite(ctx context.Context, s logical.Storage, name string, d *framework.FieldData) (*configWrite, error) {
	mount, err := b.mount(ctx, s)
	if err != nil {
		return nil, err
	}
	w := &configWrite{backend: b, storage: s, name: name, fields: d, salt: mount.Salt, next: newConfigEntry(), verify: true}
	if w.old, err = loadConfig(ctx, s, name); err != nil {
		return nil, err
	}
	if w.old != nil {
		w.next = w.old.clone()
	}
	set(d, "verify", &w.verify)
	return w, nil
}

func (w *configWrite) warn(format string, args ...any) {
	w.warnings = append(w.warnings, provider.HideKeys(fmt.Sprintf(format, args...)))
}

// apply applies the write to a copy of what is stored, and checks it without any
// call.
func (w *configWrite) apply(ctx context.Context) error {
	d, next := w.fields, w.next
	set(d, "provider", &next.Provider)
	p, err := w.configProvider(next.Provider)
	if err != nil {
		return err
	}
	if w.old != nil && w.old.Provider != next.Provider {
		if err := w.mayChangeProvider(ctx); err != nil {
			return err
		}
		next.Fields = provider.Values{}
	}
	set(d, "base_url", &next.BaseURL)
	set(d, "allow_http", &next.AllowHTTP)
	set(d, "ca_cert", &next.CACert)
	set(d, "allowed_roles", &next.AllowedRoles)
	if err := w.applyAdminKey(p); err != nil {
		return err
	}
	return firstErrorOf(
		func() error {
			return setSeconds(d, "request_timeout", &next.RequestTimeout, time.Second, time.Minute)
		},
		func() error { return setInt(d, "max_concurrency", &next.MaxConcurrency, 1, 256) },
		func() error { return setSeconds(d, "expiry_grace", &next.ExpiryGrace, minExpiryGrace, 24*time.Hour) },
		func() error {
			return setProviderFields(d, w.registry.ConfigFields(), p.ConfigFields(), p, next.Fields)
		},
		func() error { return checkBaseURL(next) },
		func() error { return w.checkPool(ctx) },
		w.checkWay,
		func() error { return p.CheckConfig(next.settings()) },
		w.applyRotation,
	)
}

// applyAdminKey decides what becomes of the admin key and its id.
func (w *configWrite) applyAdminKey(p provider.Provider) error {
	if maker, ok := p.(provider.AdminKeyMaker); ok {
		return w.makeAdminKey(maker)
	}
	d, next := w.fields, w.next
	var key, id string
	set(d, "admin_key", &key)
	set(d, "admin_key_id", &id)
	if !adminIDForm.MatchString(id) || provider.HideKeys(id) != id {
		return badField("admin_key_id", "is not an id; give the provider's id of the admin key, or leave the field out")
	}
	switch {
	case !given(d, "admin_key"):
	case w.old != nil && key == w.old.AdminKey:
		w.holdsKey = true
	case w.old != nil && key != "" && slices.Contains(w.old.Retired, keyHash(w.salt, key)):
		w.retired = key
		return nil // its id, if given, is not that of the key in use
	default:
		w.holdsKey, w.newKey = true, true
		w.replaceKey(key)
	}
	switch {
	case !given(d, "admin_key_id"):
	case next.AdminMinted && id != next.AdminKeyID:
		return badField("admin_key_id", "is not the id of the admin key, which is %s since a rotation made it; leave the field out, or write another admin_key too", next.AdminKeyID)
	default:
		next.AdminKeyID = id
	}
	return nil
}

// generateKey asks for a new key where the engine makes it.
const generateKey = "generate"

// makeAdminKey makes the admin key of a connection that has none yet. One that has
// keeps it, unless it must not go where the write sends it: that makes another one,
// if the write says so, for everything at the provider has to be made anew then.
func (w *configWrite) makeAdminKey(maker provider.AdminKeyMaker) error {
	var key, id string
	set(w.fields, "admin_key", &key)
	set(w.fields, "admin_key_id", &id)
	switch {
	case key != "" && key != generateKey:
		return badField("admin_key", "is not for provider %q, for which the engine makes its own key; leave it out", w.next.Provider)
	case id != "":
		return badField("admin_key_id", "is not for provider %q, for which the engine makes its own key; leave it out", w.next.Provider)
	case w.old != nil && !w.goesElsewhere():
		return nil
	case w.old != nil && w.old.Provider == w.next.Provider && key != generateKey:
		return badField("admin_key", "is never sent to a new host, so another base_url or ca_cert needs a new one, and then a new issuer and new rules at the provider; give admin_key=%s in the same write to have it made", generateKey)
	}
	made, err := maker.MakeAdminKey()
	if err != nil {
		return fmt.Errorf("make a key for the connection: %w", err)
	}
	w.holdsKey, w.newKey, w.madeKey = true, true, true
	w.replaceKey(made.Reveal())
	if w.old != nil {
		// What the old one was registered with is left behind.
		w.next.PreviousRecord, w.leftBehind = "", w.old.AdminRecord
		w.warn("the connection has a new key; read config/%s and enter what it shows at the provider, and end there what lists the old one, which nobody has any more", w.name)
	}
	return nil
}

// checkPool refuses to send the keys of the pool where they did not go before.
func (w *configWrite) checkPool(ctx context.Context) error {
	if w.old != nil && !w.goesElsewhere() {
		return nil
	}
	return w.mayLeavePool(ctx, w.storage, w.name)
}

// goesElsewhere reports whether a write changes where the admin key is sent, or whom
// that is trusted to be.
func (w *configWrite) goesElsewhere() bool {
	return w.old.Provider != w.next.Provider || w.old.BaseURL != w.next.BaseURL || w.old.CACert != w.next.CACert
}

var adminIDForm = regexp.MustCompile(`^[A-Za-z0-9_.:-]{0,128}$`)

// replaceKey puts an operator's key in the place of the present one.
func (w *configWrite) replaceKey(key string) {
	next := w.next
	next.PreviousRecord = ""
	if next.AdminMinted {
		next.PreviousRecord = next.AdminRecord
	}
	next.AdminKey, next.AdminKeyID, next.AdminRecord = key, "", newID(w.now())
	next.AdminMinted, next.AdminKeyExpires, next.Candidate = false, time.Time{}, nil
	next.Rotation.Last, next.Rotation.LastError = w.now(), ""
}

// checkWay refuses to send a stored key where it did not go before.
func (w *configWrite) checkWay() error {
	if w.old == nil {
		return nil
	}
	if w.holdsKey {
		if w.old.way() != w.next.way() {
			w.next.Candidate = nil // who holds the key in use need not hold that one
		}
		return nil
	}
	for _, way := range []struct {
		field    string
		was, now string
	}{
		{"base_url", w.old.BaseURL, w.next.BaseURL},
		{"provider", w.old.Provider, w.next.Provider},
		{"ca_cert", w.old.CACert, w.next.CACert},
	} {
		switch {
		case way.was == way.now:
		case w.retired != "":
			return badField("admin_key", "was replaced by a rotation; a write that changes %s must hold an admin key that is in use or new, for a stored key is never sent to a new host: create one at the provider", way.field)
		default:
			return badField("admin_key", "is missing; a write that changes %s must hold it, for a stored key is never sent to a new host", way.field)
		}
	}
	return nil
}

func (w *configWrite) configProvider(name string) (provider.Provider, error) {
	p, ok := w.registry.Get(name)
	switch known := strings.Join(w.registry.Names(), ", "); {
	case name == "":
		return nil, badField("provider", "is missing; give one of %s", known)
	case !ok:
		return nil, badField("provider", "is not known; give one of %s", known)
	}
	return p, nil
}

// mayChangeProvider refuses to lose the way to keys that may be live.
func (w *configWrite) mayChangeProvider(ctx context.Context) error {
	live, err := w.ledger(w.storage).holdsAny(ctx, w.name)
	if err != nil {
		return err
	}
	admins, err := w.ledger(w.storage).ofRole(ctx, w.name, "")
	if err != nil {
		return err
	}
	if live || slices.ContainsFunc(admins, func(rec record) bool { return !rec.Adopted || rec.State == revoking }) {
		return badField("provider", "cannot change while keys of connection %q may be live; revoke them first, or write another connection", w.name)
	}
	return nil
}

// applyRotation applies the rotation fields and plans the next rotation. What does
// not change the schedule does not move it either.
func (w *configWrite) applyRotation() error {
	r := &w.next.Rotation
	if err := r.apply(w.fields, "rotation_overlap", maxOverlap, w.now()); err != nil {
		return err
	}
	if w.old == nil || w.newKey || !r.plansLike(&w.old.Rotation) {
		r.replan(w.now())
	}
	return nil
}

// check asks the provider about the key.
func (w *configWrite) check(ctx context.Context) error {
	conn, err := w.connect(w.name, w.next, nil)
	if err != nil {
		return err
	}
	defer conn.transport.Close()
	rotator, rotates := conn.client.(provider.AdminRotator)
	if !rotates && (w.next.Rotation.Period > 0 || w.next.Rotation.Schedule != "") {
		return badField("rotation_period", "is not for provider %q, whose API cannot make admin keys; leave rotation_period and rotation_schedule out, and rotate by hand: write the new key to config/%s", conn.provider.Name(), w.name)
	}
	ctx, cancel := context.WithTimeout(ctx, verifyBudget)
	defer cancel()
	if w.madeKey {
		return nil
	}
	if w.verify {
		if err := verifyAdmin(ctx, conn); err != nil {
			return err
		}
	}
	if !rotates {
		return nil
	}
	if w.retired != "" {
		return w.checkRetired(ctx, conn, rotator)
	}
	return w.checkKeyID(ctx, rotator)
}

// verifyAdmin tries the admin key at the provider.
func verifyAdmin(ctx context.Context, conn *connection) error {
	verifier, ok := conn.client.(provider.AdminVerifier)
	if !ok {
		return nil
	}
	err := verifier.VerifyAdmin(ctx)
	switch provider.KindOf(err) {
	case provider.Unauthorized, provider.Forbidden:
		return badField("admin_key", "is refused by the provider (%s); give a live admin key, or verify=false to store it untried", err)
	}
	if err != nil {
		return fmt.Errorf("try the admin key (verify=false stores it untried): %w", err)
	}
	return nil
}

// checkKeyID finds the id of an operator's key, or checks the one that is given.
// Without it everything works, but the key cannot be deleted after a rotation.
func (w *configWrite) checkKeyID(ctx context.Context, rotator provider.AdminRotator) error {
	given := given(w.fields, "admin_key_id") && w.next.AdminKeyID != ""
	if w.next.AdminMinted || w.next.AdminKeyID != "" && !given {
		return nil
	}
	if !w.verify {
		if !given {
			w.warn("the id of the admin key is not known; it is looked for at the first rotation, and until it is found the key cannot be deleted")
		}
		return nil
	}
	ids, err := rotator.IdentifyAdmin(ctx, provider.Secret(w.next.AdminKey))
	switch {
	case err != nil && given:
		w.warn("whether %q is the id of the admin key could not be checked: %s", w.next.AdminKeyID, err)
	case err != nil:
		w.warn("the id of the admin key could not be found out, and without it the key cannot be deleted after a rotation: %s; give it as admin_key_id", err)
	case given && !slices.Contains(ids, w.next.AdminKeyID):
		return badField("admin_key_id", "is not the id of this admin key; %s", possibleIDs(ids))
	case given:
	case len(ids) == 1:
		w.next.AdminKeyID = ids[0]
	default:
		w.warn("the id of the admin key is not certain, and without it the key cannot be deleted after a rotation; %s", possibleIDs(ids))
	}
	return nil
}

// possibleIDs says what to give as admin_key_id.
func possibleIDs(ids []string) string {
	if len(ids) == 0 {
		return "the provider lists no admin key that looks like it"
	}
	return "by its looks it is " + strings.Join(ids, " or ") + ": give that as admin_key_id"
}

// checkRetired handles a key that a rotation has replaced: it changes nothing,
// unless that key lives on because its id was not known.
func (w *configWrite) checkRetired(ctx context.Context, conn *connection, rotator provider.AdminRotator) error {
	w.warn("this admin_key was replaced by a rotation and is ignored; the connection keeps the key that it has")
	rec, err := w.unidentified(ctx, keyHash(w.salt, w.retired))
	if err != nil || rec == nil || !w.verify {
		return err
	}
	dead, err := w.retiredIsDead(ctx, conn)
	if err != nil {
		return err
	}
	if dead { // else the only one that looks like it would be another key
		return w.ledger(w.storage).drop(ctx, *rec)
	}
	var id string
	set(w.fields, "admin_key_id", &id)
	ids, err := rotator.IdentifyAdmin(ctx, provider.Secret(w.retired))
	switch {
	case err != nil:
		return fmt.Errorf("find the id of the replaced admin key: %w", err)
	case id == "":
		w.warn("the replaced admin key is still valid, for its id is not certain; %s", possibleIDs(ids))
		return nil
	case !slices.Contains(ids, id) || id == w.next.AdminKeyID:
		return badField("admin_key_id", "is not the id of this admin key; %s", possibleIDs(ids))
	}
	scope, err := rotator.AdminScope(ctx)
	if err != nil {
		return fmt.Errorf("prepare the deletion of the replaced admin key: %w", err)
	}
	if err := w.retireIdentified(ctx, *rec, id, scope); err != nil {
		return err
	}
	w.warn("the replaced admin key is %s, and will be deleted at %s within minutes", id, conn.provider.Name())
	return nil
}

// retiredIsDead reports whether the provider refuses a replaced key.
func (w *configWrite) retiredIsDead(ctx context.Context, conn *connection) (bool, error) {
	settings := w.next.settings()
	settings.AdminKey = provider.Secret(w.retired)
	client, err := conn.provider.Connect(settings, conn.transport)
	if err != nil {
		return false, err
	}
	err = client.(provider.AdminRotator).VerifyAdmin(ctx)
	if provider.IsKind(err, provider.Unauthorized) {
		return true, nil
	}
	return false, err
}

// unidentified returns the record of a replaced key whose id is not known.
func (w *configWrite) unidentified(ctx context.Context, hash string) (*record, error) {
	recs, err := w.ledger(w.storage).ofRole(ctx, w.name, "")
	for _, rec := range recs {
		if rec.State == revoking && rec.KeyID == "" && rec.KeyHash == hash {
			return &rec, nil
		}
	}
	return nil, err
}

func (w *configWrite) retireIdentified(ctx context.Context, rec record, id, scope string) error {
	rec, err := w.ledger(w.storage).identify(ctx, rec, id, scope)
	if err == nil {
		_, err = w.ledger(w.storage).retire(ctx, rec, w.now())
	}
	return err
}

// store stores the connection, after the record of a key that it is the first to
// use, and brings the records in line.
func (w *configWrite) store(ctx context.Context) error {
	if w.newKey || w.next.AdminRecord == "" {
		// The sweep drops the record again, should the connection not be stored.
		if err := w.ledger(w.storage).hint(ctx, adminPointer(w.name), w.now()); err != nil {
			return err
		}
		if err := w.adoptAdminKey(ctx, w.storage, w.name, w.next); err != nil {
			return err
		}
	}
	if err := w.putConfig(ctx, w.storage, w.name, w.next); err != nil {
		return err
	}
	move := w.adminMove(w.storage, w.name, w.next)
	if err := firstErrorOf(
		func() error { return w.dropLeftBehind(ctx) },
		func() error { return move.reconcile(ctx) },
	); err != nil {
		w.Logger().Warn("the records of admin keys are brought in line by the sweep", "config", w.name, "error", err)
	}
	if w.next.AdminMinted && !w.next.AdminKeyExpires.IsZero() && w.next.rotateAt().IsZero() {
		w.warn("the admin key expires at %s, and no rotation is planned; rotate it once by rotate-root/%s", rfc3339(w.next.AdminKeyExpires), w.name)
	}
	return nil
}

// dropLeftBehind drops the record of a key that a move has made good for nothing.
func (w *configWrite) dropLeftBehind(ctx context.Context) error {
	if w.leftBehind == "" {
		return nil
	}
	rec, err := w.ledger(w.storage).get(ctx, pointer{config: w.name, id: w.leftBehind})
	if err != nil || rec == nil {
		return err
	}
	return w.ledger(w.storage).drop(ctx, *rec)
}
