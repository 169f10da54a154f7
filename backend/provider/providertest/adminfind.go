package providertest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

var adminFindChecks = []check{
	{"yields every admin key once, over all pages", rotates(adminFindAll)},
	{"says whose each key is, how old, and when it was used", rotates(adminFindAttributes)},
	{"fetches pages as the loop goes on", rotates(adminFindLazily)},
	{"yields an error once and last", rotates(adminFindError)},
	{"is sent again after a failure", rotates(adminFindRepeated)},
	{"never takes nonsense for an empty list", rotates(adminFindSpoiled)},
	{"ends with its context", rotates(adminFindCanceled)},
	{"tells which key is which", rotates(adminIdentified)},
	{"tells one among many, and both of two", rotates(adminIdentifiedAmongMany)},
	{"tells nothing of a list that it could not read", rotates(adminUnidentified)},
}

// tryFindAdmins lists the admin keys. It checks that an error comes once and
// last.
func (r rotator) tryFindAdmins() (keys []provider.Found, err error) {
	r.Helper()
	for key, e := range r.AdminRotator.FindAdmins(r.Context()) {
		if err != nil {
			r.Errorf("find goes on after its error %v", err)
		}
		if err = e; err == nil {
			keys = append(keys, key)
		}
	}
	return keys, r.note(err)
}

// findAdmins lists admin keys that must be listed.
func (r rotator) findAdmins() []provider.Found {
	r.Helper()
	keys, err := r.tryFindAdmins()
	if err != nil {
		r.Fatalf("find admin keys: %v", err)
	}
	return keys
}

func (r rotator) identify(key provider.Secret) ([]string, error) {
	ids, err := r.IdentifyAdmin(r.Context(), key)
	return ids, r.note(err)
}

// plantAdmins makes so many admin keys of others.
func (r rotator) plantAdmins(n int) {
	for i := range n {
		r.PlantAdmin(fmt.Sprintf("%s-%d", foreign, i), false)
	}
}

func adminFindAll(r rotator) {
	r.plantAdmins(205)
	for i, expires := range []time.Time{{}, time.Now().Add(time.Hour)} {
		if _, err := r.tryMintAdmin(r.Context(), fmt.Sprintf("vault-test-admin-%d", i), expires); err != nil {
			r.Fatal(err)
		}
	}
	want := r.adminsByID()
	got := map[string]bool{}
	for _, key := range r.findAdmins() {
		if got[key.ID] {
			r.Errorf("admin key %s is yielded twice", key.ID)
		}
		got[key.ID] = true
		r.wantFound(key, want[key.ID])
	}
	if len(got) != len(want) || len(want) != 208 {
		r.Errorf("got %d admin keys, want %d", len(got), len(want))
	}
}

func (r rotator) adminsByID() map[string]provider.Found {
	byID := map[string]provider.Found{}
	for _, key := range r.AdminKeys() {
		byID[key.ID] = key
	}
	return byID
}

func adminFindAttributes(r rotator) {
	r.plantAdmins(2)
	all := r.AdminKeys()
	year := time.Now().AddDate(-1, 0, 0).Truncate(time.Second)
	used := map[string]time.Time{all[1].ID: year.AddDate(0, 1, 0), all[2].ID: {}}
	for id, at := range used {
		r.wantAged(id, year, at)
	}
	listed := r.findAdmins()
	want := r.adminsByID()
	for _, key := range listed {
		r.wantFound(key, want[key.ID])
		if at, aged := used[key.ID]; aged && (!key.CreatedAt.Equal(year) || !key.LastUsedAt.Equal(at)) {
			r.Errorf("got admin key %+v, want made on %s and used on %s", key, year, at)
		}
	}
}

func adminFindLazily(r rotator) {
	r.plantAdmins(250)
	keys := r.AdminRotator.FindAdmins(r.Context())
	r.wantCount(FindAdmins, 0)
	for _, err := range keys {
		if err != nil {
			r.Fatal(err)
		}
		break
	}
	r.wantCount(FindAdmins, 1)
}

func adminFindError(r rotator) {
	r.plantAdmins(150)
	r.findAdmins()
	if r.Count(FindAdmins) < 2 {
		r.Skip("there is one page only")
	}
	r.breaks(FindAdmins, Fault{Skip: 1, Status: http.StatusForbidden})
	keys, err := r.tryFindAdmins()
	r.wantKind(err, provider.Forbidden)
	if len(keys) == 0 {
		r.Error("got no admin keys of the first page")
	}
}

func adminFindRepeated(r rotator) {
	for how, f := range lost() {
		f.Times = 2
		if !r.Break(FindAdmins, f) {
			continue
		}
		keys, err := r.tryFindAdmins()
		if err != nil || len(keys) != 1 {
			r.Errorf("%s: got %d admin keys, error %v, want 1", how, len(keys), err)
		}
	}
}

// broken makes every list of admin keys one that makes no sense, in turn.
func (r rotator) broken(do func(how string)) {
	for _, how := range r.Spoils() {
		r.Mend()
		if r.Break(FindAdmins, Fault{Spoil: how}) {
			do(how)
		}
	}
	for _, body := range []string{"{}", "null", "[]", `{"data":null}`, `{"data":"all"}`, `{"data":[{}]}`, `{"data":[null]}`} {
		r.Mend()
		if r.Break(FindAdmins, Fault{Status: http.StatusOK, Body: body}) {
			do(body)
		}
	}
}

func adminFindSpoiled(r rotator) {
	r.broken(func(how string) {
		keys, err := r.tryFindAdmins()
		if err != nil {
			r.wantKind(err, provider.Unavailable)
		} else if len(keys) != 1 {
			r.Errorf("%s: got %d admin keys and no error, want 1", how, len(keys))
		}
	})
}

func adminFindCanceled(r rotator) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	r.plantAdmins(250)
	var last error
	n := 0
	for _, err := range r.AdminRotator.FindAdmins(ctx) {
		cancel()
		last = r.note(err)
		n++
	}
	if n < 250 {
		r.wantKind(last, provider.Unavailable)
	}
	r.wantCount(FindAdmins, 1)
}

// wantIdentified checks which admin keys a secret may be.
func (r rotator) wantIdentified(key provider.Secret, want ...string) {
	r.Helper()
	got, err := r.identify(key)
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		r.Errorf("got admin keys %v, error %v, want %v", got, err, want)
	}
}

func adminIdentified(r rotator) {
	own := r.Settings().AdminKey
	r.wantIdentified(own, r.own())
	r.wantIdentified(own + "-not")
	r.wantIdentified("")
	key := r.mintAdmin("vault-test-one")
	if own[len(own)-3:] != key.Secret[len(key.Secret)-3:] {
		r.wantIdentified(key.Secret, key.ID)
		r.wantIdentified(own, r.own())
	}
	if err := r.deleteAdmin(key.ID); err != nil {
		r.Fatal(err)
	}
	r.wantIdentified(key.Secret)
}

func adminIdentifiedAmongMany(r rotator) {
	r.plantAdmins(150)
	if r.harness.AdminsAreKeys {
		r.wantIdentified(r.Settings().AdminKey, r.own())
		return
	}
	r.PlantAdmin(foreign, true)
	all := r.AdminKeys()
	r.wantIdentified(r.Settings().AdminKey, all[0].ID, all[len(all)-1].ID)
}

func adminUnidentified(r rotator) {
	r.broken(func(how string) {
		switch ids, err := r.identify(r.Settings().AdminKey); {
		case err != nil && len(ids) == 0:
			r.wantKind(err, provider.Unavailable)
		case err != nil || len(ids) > 1:
			r.Errorf("%s: got admin keys %v, error %v", how, ids, err)
		}
	})
	r.Mend()
	if r.harness.AdminsAreKeys {
		return
	}
	r.plantAdmins(150)
	before := r.Count(FindAdmins)
	if r.findAdmins(); r.Count(FindAdmins)-before < 2 {
		return // there is one page only
	}
	r.breaks(FindAdmins, Fault{Skip: 1, Status: http.StatusForbidden})
	ids, err := r.identify(r.Settings().AdminKey)
	if r.wantKind(err, provider.Forbidden); len(ids) != 0 {
		r.Errorf("got admin keys %v of half a list", ids)
	}
}
