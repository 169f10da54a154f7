package providertest

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

var adminChecks = []check{
	{"key is made that can replace the one that made it", rotates(adminReplaces)},
	{"key expires as asked, or never", rotates(adminExpires)},
	{"key expires when the answer says so", rotates(adminShortened)},
	{"key is created once, and found if its creation had no answer", rotates(adminLost)},
	{"key is unknown if the answer makes no sense", rotates(adminSpoiled)},
	{"key is created after what was not processed", rotates(adminUnprocessed)},
	{"key is not created for a caller who has gone", rotates(adminCanceled)},
	{"key is deleted, and no other", rotates(adminDeleted)},
	{"key is deleted in spite of failures", rotates(adminDeleteRepeated)},
	{"key is gone only if the answer says so", rotates(adminDeleteSpoiled)},
	{"key is not gone because a gateway says so", rotates(adminBlip)},
	{"key is not gone because another account does not know it", rotates(adminStranger)},
}

// A rotator is a bench whose client can replace its admin key.
type rotator struct {
	*bench
	AdminWorld
	provider.AdminRotator
}

func rotates(run func(rotator)) func(*bench) {
	return func(b *bench) {
		r, ok := b.rotator()
		if !ok {
			b.Skip("no provider.AdminRotator")
		}
		run(r)
	}
}

// rotator reports false for a client that is no AdminRotator.
func (b *bench) rotator() (rotator, bool) {
	b.Helper()
	client, ok := b.client.(provider.AdminRotator)
	if !ok {
		return rotator{}, false
	}
	world, ok := b.World.(AdminWorld)
	if !ok {
		b.Fatalf("%T is no AdminWorld, which a provider.AdminRotator needs", b.World)
	}
	return rotator{b, world, client}, true
}

// adminCalls are the calls about an admin key.
func adminCalls(r rotator) []call {
	own := r.own()
	return []call{
		{MintAdmin, func() error { _, err := r.tryMintAdmin(r.Context(), "vault-test-never", time.Time{}); return err }},
		{FindAdmins, func() error { _, err := r.tryFindAdmins(); return err }},
		{FindAdmins, func() error { _, err := r.identify(r.Settings().AdminKey); return err }},
		{DeleteAdmin, func() error { return r.deleteAdmin(own) }},
		{VerifyAdmin, func() error { _, err := r.AdminScope(r.Context()); return r.note(err) }},
	}
}

// own is the id of the account's first admin key.
func (r rotator) own() string {
	r.Helper()
	keys := r.AdminKeys()
	if len(keys) == 0 {
		r.Fatal("there is no admin key")
	}
	return keys[0].ID
}

// as returns a rotator whose client has another admin key.
func (r rotator) as(key provider.Key) rotator {
	r.Helper()
	r.AdminRotator = r.connect(key.Secret).(provider.AdminRotator)
	return r
}

// The following call the client and keep what it returned.

func (r rotator) tryMintAdmin(ctx context.Context, name string, expires time.Time) (provider.Key, error) {
	key, err := r.AdminRotator.MintAdmin(ctx, name, expires)
	return key, r.note(err)
}

// mintAdmin makes an admin key that must be made.
func (r rotator) mintAdmin(name string) provider.Key {
	r.Helper()
	key, err := r.tryMintAdmin(r.Context(), name, time.Time{})
	if err != nil {
		r.Fatalf("mint admin key %s: %v", name, err)
	}
	return key
}

func (r rotator) deleteAdmin(id string) error {
	r.Helper()
	return r.note(r.AdminRotator.DeleteAdmin(r.Context(), provider.Ref{ID: id, Scope: r.adminScope()}))
}

// adminScope is the scope of admin keys. It does not ask each time, for that may
// be broken.
func (r rotator) adminScope() string {
	r.Helper()
	if r.bench.witness == "" {
		scope, err := r.AdminScope(r.Context())
		if err != nil || scope == "" {
			r.Fatalf("got admin scope %q, error %v", scope, err)
		}
		r.bench.witness = scope
	}
	return r.bench.witness
}

// wantAdmins checks how many admin keys exist.
func (r rotator) wantAdmins(want int) {
	r.Helper()
	if got := len(r.AdminKeys()); got != want {
		r.Errorf("got %d admin keys at the provider, want %d", got, want)
	}
}

func adminReplaces(r rotator) {
	old, secret := r.own(), r.Settings().AdminKey
	key := r.mintAdmin("vault-test-next")
	if key.ID == "" || key.ID == old || !r.AdminAlive(key.Secret.Reveal()) || len(key.Data) != 0 {
		r.Fatalf("got admin key %q with data %v, alive %t", key.ID, key.Data, r.AdminAlive(key.Secret.Reveal()))
	}
	next := r.as(key)
	if err := next.try(key.ID); err != nil {
		r.Fatal(err)
	}
	if err := next.deleteAdmin(old); err != nil {
		r.Fatal(err)
	}
	if r.AdminAlive(secret.Reveal()) || !r.AdminAlive(key.Secret.Reveal()) {
		r.Error("want the new admin key alone to live")
	}
	r.wantKind(r.note(r.VerifyAdmin(r.Context())), provider.Unauthorized)
	r.wantKind(next.deleteAdmin(old), provider.NotFound)
	if left := r.AdminKeys(); len(left) != 1 || left[0].ID != key.ID || left[0].Name != "vault-test-next" {
		r.Errorf("got admin keys %+v, want %s alone", left, key.ID)
	}
	if next = next.as(next.mintAdmin("vault-test-after")); next.deleteAdmin(key.ID) != nil {
		r.Error("the new admin key cannot be replaced in its turn")
	}
}

func adminExpires(r rotator) {
	time.Sleep(700 * time.Millisecond) // providers count in whole seconds
	for _, life := range []time.Duration{time.Hour, 30 * 24 * time.Hour, 0} {
		var asked time.Time
		if life > 0 {
			asked = time.Now().Add(life)
		}
		key, err := r.tryMintAdmin(r.Context(), "vault-test-admin-"+life.String(), asked)
		if err != nil {
			r.Fatal(err)
		}
		if r.harness.SigningKeys {
			asked = time.Time{}
		}
		if late := key.ExpiresAt.Sub(asked); late < 0 || late > 2*time.Second || asked.IsZero() && late != 0 {
			r.Errorf("got expiry %s, want %s", key.ExpiresAt, asked)
		}
		r.wantAdminExpiry(key)
	}
}

// wantAdminExpiry checks that what was answered is so.
func (r rotator) wantAdminExpiry(key provider.Key) {
	r.Helper()
	for _, have := range r.AdminKeys() {
		if have.ID == key.ID && !have.ExpiresAt.Equal(key.ExpiresAt) {
			r.Errorf("got expiry %s, the provider has %s", key.ExpiresAt, have.ExpiresAt)
		}
	}
}

func adminShortened(r rotator) {
	if r.harness.SigningKeys {
		r.Skip("signing keys do not expire")
	}
	r.TreatAdmins(Treatment{Lifetime: 10 * time.Minute})
	for i, asked := range []time.Time{{}, time.Now().Add(time.Hour)} {
		key, err := r.tryMintAdmin(r.Context(), fmt.Sprintf("vault-test-admin-%d", i), asked)
		if left := time.Until(key.ExpiresAt); err != nil || left <= 0 || left > 10*time.Minute {
			r.Errorf("asked for %s: got expiry %s, error %v, want what the provider has", asked, key.ExpiresAt, err)
		}
		r.wantAdminExpiry(key)
	}
}

func adminLost(r rotator) {
	for how, f := range lost() {
		for _, f.AfterEffect = range []bool{false, true} {
			f.Times = 1
			if !r.Break(MintAdmin, f) {
				continue
			}
			before, known, name := r.Count(MintAdmin), len(r.AdminKeys()), "vault-test-"+how
			key, err := r.tryMintAdmin(r.Context(), name, time.Time{})
			r.wantKind(err, provider.Ambiguous)
			if key.ID != "" || key.Secret != "" {
				r.Errorf("%s: got key %q beside an error", how, key.ID)
			}
			if sent := r.Count(MintAdmin) - before; sent != 1 {
				r.Errorf("%s: sent %d times, want once", how, sent)
			}
			if made := len(r.AdminKeys()) - known; made == 1 != f.AfterEffect {
				r.Errorf("%s, after the effect %t: made %d admin keys", how, f.AfterEffect, made)
			}
			if f.AfterEffect {
				r.wantAdminCleanUp(name)
			}
		}
	}
	r.wantAdmins(1)
}

// wantAdminCleanUp checks that an admin key whose secret is lost can be found by
// its name, and deleted.
func (r rotator) wantAdminCleanUp(name string) {
	r.Helper()
	deleted := 0
	for _, key := range r.findAdmins() {
		if key.Name == name {
			if err := r.deleteAdmin(key.ID); err != nil {
				r.Errorf("delete %s: %v", name, err)
			}
			deleted++
		}
	}
	if deleted != 1 {
		r.Errorf("found %d admin keys named %s, want 1", deleted, name)
	}
}

func adminSpoiled(r rotator) {
	for _, how := range r.Spoils() {
		if !r.Break(MintAdmin, Fault{Spoil: how, Times: 1}) {
			continue
		}
		before, name := r.Count(MintAdmin), "vault-test-spoiled"
		key, err := r.tryMintAdmin(r.Context(), name, time.Time{})
		switch {
		case err != nil:
			r.wantKind(err, provider.Ambiguous)
		case key.ID == "" || !r.AdminAlive(key.Secret.Reveal()):
			r.Errorf("%s: got admin key %q, which does not live, and no error", how, key.ID)
		}
		r.wantAdminCleanUp(name)
		if sent := r.Count(MintAdmin) - before; sent != 1 {
			r.Errorf("%s: sent %d times, want once", how, sent)
		}
	}
	r.wantAdmins(1)
}

func adminUnprocessed(r rotator) {
	if r.Break(MintAdmin, Fault{Status: http.StatusTooManyRequests, RetryAfter: 7 * time.Second, Times: 2}) {
		start := time.Now()
		r.mintAdmin("vault-test-limited")
		r.wantElapsed(start, 14*time.Second, 15*time.Second)
		r.wantAdmins(2)
	}
	if r.Break(MintAdmin, Fault{Refuse: true}) {
		_, err := r.tryMintAdmin(r.Context(), "vault-test-refused", time.Time{})
		r.wantKind(err, provider.Unavailable)
		r.wantAdmins(2)
	}
}

func adminCanceled(r rotator) {
	ctx, cancel := context.WithCancel(r.Context())
	r.breaks(MintAdmin, Fault{Hang: true, AfterEffect: true})
	time.AfterFunc(5*time.Second, cancel)
	_, err := r.tryMintAdmin(ctx, "vault-test-meanwhile", time.Time{})
	r.wantKind(err, provider.Ambiguous)
	r.wantAdminCleanUp("vault-test-meanwhile")

	before := r.Count(MintAdmin)
	_, err = r.tryMintAdmin(ctx, "vault-test-gone", time.Time{})
	r.wantKind(err, provider.Unavailable)
	r.wantCount(MintAdmin, before)
}

func adminDeleted(r rotator) {
	key, other := r.mintAdmin("vault-test-one"), r.mintAdmin("vault-test-two")
	if err := r.deleteAdmin(key.ID); err != nil {
		r.Fatal(err)
	}
	if r.AdminAlive(key.Secret.Reveal()) || !r.AdminAlive(other.Secret.Reveal()) {
		r.Error("want the other admin key alone to live")
	}
	for _, id := range []string{key.ID, "never-made", "../x?y=z#%2e"} {
		r.wantKind(r.deleteAdmin(id), provider.NotFound)
		nowhere := provider.Ref{ID: id} // whoever minted it could not tell the scope
		r.wantKind(r.note(r.AdminRotator.DeleteAdmin(r.Context(), nowhere)), provider.NotFound)
	}
	if err := r.note(r.AdminRotator.DeleteAdmin(r.Context(), provider.Ref{ID: other.ID})); err != nil {
		r.Error(err)
	}
	r.wantAdmins(1)
}

func adminDeleteRepeated(r rotator) {
	for how, f := range lost() {
		for _, f.AfterEffect = range []bool{false, true} {
			key := r.mintAdmin("vault-test-" + how)
			f.Times = 2
			if f.AfterEffect {
				f.Times = 1
			}
			if !r.Break(DeleteAdmin, f) {
				continue
			}
			before := r.Count(DeleteAdmin)
			err := r.deleteAdmin(key.ID)
			if err != nil && !(f.AfterEffect && provider.IsKind(err, provider.NotFound)) {
				r.Errorf("%s, after the effect %t: %v", how, f.AfterEffect, err)
			}
			if sent := r.Count(DeleteAdmin) - before; sent != f.Times+1 {
				r.Errorf("%s, after the effect %t: sent %d times, want %d", how, f.AfterEffect, sent, f.Times+1)
			}
		}
	}
	r.wantAdmins(1)
}

// The simulator deletes the key, and then spoils the answer.
func adminDeleteSpoiled(r rotator) {
	for _, how := range r.Spoils() {
		key := r.mintAdmin("vault-test-spoiled")
		if !r.Break(DeleteAdmin, Fault{Spoil: how, Times: 1}) {
			continue
		}
		if err := r.deleteAdmin(key.ID); err != nil {
			r.wantKind(err, provider.Unavailable, provider.NotFound)
		}
		r.wantAdmins(1)
	}
	key := r.mintAdmin("vault-test-undone")
	for _, body := range []string{"{}", "null", "[]", `"ok"`, `{"deleted":false}`, `{"deleted":"true"}`, ""} {
		if r.Break(DeleteAdmin, Fault{Status: http.StatusOK, Body: body, HTML: body == "", Times: 1}) {
			r.wantKind(r.deleteAdmin(key.ID), provider.Unavailable)
		}
	}
	r.wantAdmins(2)
}

// All that proves that a key is gone is taken away, in every combination.
func adminBlip(r rotator) {
	key := r.mintAdmin("vault-test-one")
	time.Sleep(time.Hour)
	hidden := r.hiddenAdmin(key)
	r.adminScope()
	blips := []Fault{
		{Status: http.StatusNotFound, Body: "<html>no route</html>", HTML: true},
		{Status: http.StatusGone},
	}
	for _, blip := range blips {
		for _, moves := range subsets(r.witnesses()...) {
			r.Mend()
			for _, move := range append(moves, DeleteAdmin) {
				r.breaks(move, blip)
			}
			r.wantKind(r.deleteAdmin(key.ID), provider.Unproven, provider.Unavailable)
		}
		r.Mend()
		r.breaks(DeleteAdmin, blip)
		r.wantKind(r.deleteAdmin(hidden.ID), provider.Unavailable) // it can be read
	}
	for _, move := range r.witnesses() {
		r.Mend()
		r.breaks(move, Fault{Status: http.StatusForbidden})
		r.wantKind(r.deleteAdmin("never-made"), provider.Forbidden)
	}
	if !r.AdminAlive(key.Secret.Reveal()) || !r.AdminAlive(hidden.Secret.Reveal()) {
		r.Error("the admin keys do not live")
	}
}

// witnesses are the moves that prove that an admin key is gone.
func (r rotator) witnesses() []Move {
	if r.harness.SigningKeys {
		return []Move{FindAdmins}
	}
	return []Move{CheckRole, FindAdmins, ReadAdmin}
}

// hiddenAdmin makes an admin key that can be read and is not listed. Where reading
// one is listing them all there is none, and key must do.
func (r rotator) hiddenAdmin(key provider.Key) provider.Key {
	r.Helper()
	if r.harness.SigningKeys {
		return key
	}
	r.TreatAdmins(Treatment{HideFor: time.Hour})
	return r.mintAdmin("vault-test-hidden")
}

// subsets returns all choices of some moves.
func subsets(moves ...Move) [][]Move {
	all := [][]Move{nil}
	for _, move := range moves {
		for _, some := range all {
			all = append(all, append(some[:len(some):len(some)], move))
		}
	}
	return all
}

func adminStranger(r rotator) {
	key := r.mintAdmin("vault-test-one")
	settings, base := r.Stranger()
	stranger, err := r.provider.Connect(settings, r.newTransport(base))
	if err != nil {
		r.Fatal(err)
	}
	ref := provider.Ref{ID: key.ID, Scope: r.adminScope()}
	r.wantKind(r.note(stranger.(provider.AdminRotator).DeleteAdmin(r.Context(), ref)), provider.Unproven, provider.Unavailable)
	if !r.AdminAlive(key.Secret.Reveal()) {
		r.Error("the admin key does not live")
	}
}
