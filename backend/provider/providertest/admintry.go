package providertest

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

var adminTryChecks = []check{
	{"passes for one that may do all, and changes nothing", rotates(adminGood)},
	{"fails for a weaker one", rotates(adminWeaker)},
	{"fails until the key is known everywhere", rotates(adminSpreading)},
	{"fails until the key is listed", rotates(adminUnlisted)},
	{"fails if any capability is missing", rotates(adminLacksOne)},
	{"fails if any answer is missing, or makes no sense", rotates(adminTryBroken)},
	{"passes although deletions are down", rotates(adminDeleteDown)},
}

// unused returns the admin keys without their last use, which any call moves.
func (r rotator) unused() []provider.Found {
	keys := r.AdminKeys()
	for i := range keys {
		keys[i].LastUsedAt = time.Time{}
	}
	return keys
}

// try tries the client's own admin key. Whatever comes of it, nothing changes.
func (r rotator) try(id string) error {
	r.Helper()
	keys, admins, principals := r.Keys(), r.unused(), r.Principals()
	made := r.Count(MintAdmin) + r.Count(CreatePrincipal)
	err := r.note(r.TryAdmin(r.Context(), id))
	if !slices.Equal(r.Keys(), keys) || !slices.Equal(r.unused(), admins) || r.Principals() != principals {
		r.Errorf("there are keys %+v, admin keys %+v, %d principals; there were %+v, %+v, %d",
			r.Keys(), r.AdminKeys(), r.Principals(), keys, admins, principals)
	}
	if now := r.Count(MintAdmin) + r.Count(CreatePrincipal); now != made {
		r.Errorf("%d requests asked for an admin key or a principal", now-made)
	}
	return err
}

// tried are the moves of which each is a capability of its own.
func (r rotator) tried() []Move {
	if r.harness.SigningKeys { // they have no rights: those are of what registers them
		return []Move{VerifyAdmin, FindAdmins}
	}
	moves := []Move{VerifyAdmin, FindAdmins, DeleteAdmin, Mint, Find, Delete}
	if _, ok := r.client.(provider.Extender); ok {
		moves = append(moves, Extend)
	}
	if _, ok := r.client.(provider.PrincipalKeeper); ok {
		moves = append(moves, FindPrincipal, EnablePrincipal, DeletePrincipal)
	}
	return moves
}

func adminGood(r rotator) {
	r.mint("vault-test-one")
	counts := map[Move]int{}
	for _, move := range r.tried() {
		counts[move] = r.Count(move)
	}
	if err := r.try(r.own()); err != nil {
		r.Error(err)
	}
	for _, move := range r.tried() {
		if r.Count(move) == counts[move] {
			r.Errorf("%s was not tried", move)
		}
	}
	r.plantAdmins(250)
	last := r.mintAdmin("vault-test-last")
	if err := r.as(last).try(last.ID); err != nil {
		r.Errorf("among many: %v", err)
	}
}

func adminWeaker(r rotator) {
	if r.harness.SigningKeys {
		r.Skip("signing keys have no rights of their own")
	}
	r.TreatAdmins(Treatment{Weaker: true})
	key := r.mintAdmin("vault-test-weak")
	weak := r.as(key)
	err := weak.try(key.ID)
	r.wantKind(err, provider.Forbidden)
	r.wantTrial(err)
	_, err = weak.tryMintAdmin(r.Context(), "vault-test-never", time.Time{})
	r.wantKind(err, provider.Forbidden)
	r.wantAdmins(2)
}

// wantTrial checks that an error says that it came of a trial.
func (r rotator) wantTrial(err error) {
	r.Helper()
	if err == nil || !strings.Contains(err.Error(), ": try the admin key: ") {
		r.Errorf("got %v, want it to say that the admin key was tried", err)
	}
}

func adminSpreading(r rotator) {
	if r.harness.SigningKeys {
		r.Skip("a signing key is tried by minting alone")
	}
	r.TreatAdmins(Treatment{Delay: 20 * time.Second})
	key := r.mintAdmin("vault-test-young")
	young := r.as(key)
	r.wantKind(young.try(key.ID), provider.Unauthorized)
	time.Sleep(20 * time.Second)
	if err := young.try(key.ID); err != nil {
		r.Error(err)
	}
}

func adminUnlisted(r rotator) {
	if r.harness.SigningKeys { // it is listed, or there is none
		r.wantUnlisted()
		return
	}
	r.TreatAdmins(Treatment{HideFor: 20 * time.Second})
	key := r.mintAdmin("vault-test-young")
	young := r.as(key)
	err := young.try(key.ID)
	r.wantKind(err, provider.Unavailable)
	r.wantTrial(err)
	time.Sleep(20 * time.Second)
	if err := young.try(key.ID); err != nil {
		r.Error(err)
	}
	r.wantUnlisted()
}

// wantUnlisted checks that a key which is not listed does not pass.
func (r rotator) wantUnlisted() {
	r.Helper()
	for _, id := range []string{"", "never-made"} {
		err := r.try(id)
		r.wantKind(err, provider.Unavailable)
		r.wantTrial(err)
	}
}

func adminLacksOne(r rotator) {
	for _, move := range r.tried() {
		for status, kind := range map[int]provider.Kind{
			http.StatusForbidden: provider.Forbidden, http.StatusUnauthorized: provider.Unauthorized,
		} {
			r.Mend()
			r.breaks(move, Fault{Status: status})
			err := r.try(r.own())
			r.wantKind(err, kind)
			r.wantTrial(err)
		}
	}
	r.Mend()
	if err := r.try(r.own()); err != nil {
		r.Error(err)
	}
}

func adminTryBroken(r rotator) {
	faults := []Fault{
		{Drop: true},
		{Status: http.StatusInternalServerError},
		{Status: http.StatusOK, Body: "{}"},
		{Status: http.StatusOK, Body: "<html>sign in</html>", HTML: true},
		{Redirect: true},
	}
	for _, move := range r.tried() {
		if move == DeleteAdmin {
			continue // see adminDeleteDown
		}
		for _, f := range faults {
			r.Mend()
			if r.Break(move, f) {
				r.wantKind(r.try(r.own()), provider.Unavailable, provider.Ambiguous)
			}
		}
		for _, how := range r.Spoils() {
			r.Mend()
			if r.Break(move, Fault{Spoil: how}) {
				if err := r.try(r.own()); err != nil {
					r.wantKind(err, provider.Unavailable, provider.Ambiguous)
				}
			}
		}
	}
}

// adminDeleteDown: a rotation does not wait for a deletion that can wait itself.
func adminDeleteDown(r rotator) {
	if r.harness.AdminsAreKeys {
		r.Skip("what is down is the deletion of all keys")
	}
	for _, f := range []Fault{{Status: http.StatusInternalServerError}, {Drop: true}, {Status: http.StatusOK, Body: "{}"}} {
		r.Mend()
		r.breaks(DeleteAdmin, f)
		if err := r.try(r.own()); err != nil {
			r.Error(err)
		}
	}
}
