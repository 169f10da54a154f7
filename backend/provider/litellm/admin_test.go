package litellm_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/fake"
	fakelitellm "vault-plugin-secrets-llm/backend/provider/fake/litellm"
)

// with returns a client of a proxy that has another admin key.
func with(t *testing.T, w *world, admin string) provider.AdminRotator {
	t.Helper()
	settings := w.Settings()
	settings.AdminKey = provider.Secret(admin)
	return connect(t, settings, w.RoundTripper()).(provider.AdminRotator)
}

// The master key does everything but replace itself.
func TestMasterKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, virtual := newWorld(t, bounded())
		master := with(t, w, w.MasterKey())
		wantKind(t, w, "verify", master.VerifyAdmin(t.Context()), "")
		key := mustMint(t, w, master.(provider.Client))
		wantKind(t, w, "delete", master.(provider.Client).Delete(t.Context(), ref(key, team)), "")

		before := len(w.Server.AdminKeys())
		_, err := master.MintAdmin(t.Context(), "vault-admin-one", time.Time{})
		wantKind(t, w, "mint admin", err, provider.Invalid)
		if err == nil || !strings.Contains(err.Error(), "write an admin virtual key to the connection instead") {
			t.Errorf("got %v, want what to do instead", err)
		}
		_, err = master.AdminScope(t.Context())
		wantKind(t, w, "scope", err, provider.Invalid)
		if n := len(w.Server.AdminKeys()); n != before {
			t.Errorf("got %d admin keys, want %d", n, before)
		}
		if ids, err := master.IdentifyAdmin(t.Context(), provider.Secret(w.MasterKey())); err != nil || len(ids) != 0 {
			t.Errorf("got ids %v, error %v, want neither", ids, err)
		}

		// It still finds what a virtual key has made before it was written.
		made, err := virtual.(provider.AdminRotator).MintAdmin(t.Context(), "vault-admin-two", time.Time{})
		wantKind(t, w, "mint by a virtual key", err, "")
		var found []string
		for k, err := range master.FindAdmins(t.Context()) {
			wantKind(t, w, "find", err, "")
			found = append(found, k.ID)
		}
		if len(found) != 1 || found[0] != made.ID {
			t.Errorf("found %v, want %s", found, made.ID)
		}
		wantKind(t, w, "delete admin", master.DeleteAdmin(t.Context(), ref(made, w.AdminUser())), "")
	})
}

// Roles do not get to see admin keys among their own, nor to change them.
func TestAdminKeysAreNoKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := newWorld(t, plain())
		if _, err := c.(provider.AdminRotator).MintAdmin(t.Context(), "vault-admin-one", time.Time{}); err != nil {
			t.Fatal(err)
		}
		for key, err := range c.Find(t.Context(), "no-team") {
			t.Errorf("found %+v, error %v", key, err)
		}
	})
}

func TestAdminKeyThatManagesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newWorld(t, plain())
		w.AddUser("viewer", fakelitellm.RoleViewer)
		for what, owner := range map[string]string{"nobody's": "", "a user's": user, "a viewer's": "viewer", "a ghost's": "ghost"} {
			weak := with(t, w, w.PlantKey("", owner, what).Secret)
			wantKind(t, w, what, weak.VerifyAdmin(t.Context()), provider.Forbidden)
		}
		blocked := w.PlantAdminKey("blocked")
		w.ChangeKey(blocked.Hash, func(k *fakelitellm.Key) { k.Blocked = true })
		wantKind(t, w, "blocked", with(t, w, blocked.Secret).VerifyAdmin(t.Context()), provider.Unauthorized)
	})
}

// The next admin key may do what the present one may: no more, no less.
func TestMintAdminCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newWorld(t, plain())
		present := w.PlantAdminKey("present")
		w.ChangeKey(present.Hash, func(k *fakelitellm.Key) {
			k.TeamID, k.AllowedRoutes, k.Models = team, []string{"management_routes"}, []string{model}
		})
		key, err := with(t, w, present.Secret).MintAdmin(t.Context(), "vault-admin-one", time.Now().Add(time.Hour))
		wantKind(t, w, "mint", err, "")
		for _, k := range w.Server.AdminKeys() {
			if k.Hash == key.ID && (k.TeamID != team || k.UserID != w.AdminUser() || len(k.AllowedRoutes) != 1 || len(k.Models) != 1) {
				t.Errorf("got %+v, want it like %+v", k, present)
			}
		}
		wantKind(t, w, "try", with(t, w, key.Secret.Reveal()).TryAdmin(t.Context(), key.ID), "")
	})
}

// An admin key that may do less than was asked for is deleted again.
func TestOtherAdminKeyIsDeleted(t *testing.T) {
	for what, knobs := range map[string]fakelitellm.Knobs{
		"team": {DefaultTeam: team}, "models": {IgnoreModels: true}, "routes": {IgnoreRoutes: true}, "expiry": {IgnoreExpiry: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			w, _ := newWorld(t, plain())
			present := w.PlantAdminKey("present")
			w.ChangeKey(present.Hash, func(k *fakelitellm.Key) {
				k.AllowedRoutes, k.Models = []string{"management_routes"}, []string{model}
			})
			w.SetKnobs(knobs)
			for left, kind := range []provider.Kind{provider.Unavailable, provider.Ambiguous} {
				if kind == provider.Ambiguous {
					w.Inject(fake.Answer(fakelitellm.OpDeleteKey, http.StatusForbidden, 0))
				}
				before := len(w.Server.AdminKeys())
				_, err := with(t, w, present.Secret).MintAdmin(t.Context(), fmt.Sprint("vault-admin-", left), time.Now().Add(time.Hour))
				wantKind(t, w, what, err, kind)
				if n := len(w.Server.AdminKeys()) - before; n != left {
					t.Errorf("%s: left %d admin keys, want %d", what, n, left)
				}
			}
		})
	}
}

// An admin key whose creation was refused may exist, as any key.
func TestRefusedAdminKeyMayExist(t *testing.T) {
	for _, status := range []int{http.StatusBadRequest, http.StatusNotFound} {
		for _, readable := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				w, c := newWorld(t, plain())
				w.Inject(fake.Fault{Op: fakelitellm.OpCreateAdminKey, Status: status, AfterEffect: true})
				want := provider.Kind("")
				if !readable {
					w.Inject(fake.Answer(fakelitellm.OpReadKey, http.StatusNotFound, 0))
					want = provider.Ambiguous
				}
				key, err := c.(provider.AdminRotator).MintAdmin(t.Context(), "vault-admin-one", time.Time{})
				wantKind(t, w, fmt.Sprint(status), err, want)
				if readable != w.AdminAlive(key.Secret.Reveal()) {
					t.Errorf("%d: got key %q, which does not live", status, key.ID)
				}
			})
		}
	}
}

// A database that lags behind does not make a new admin key a master key.
func TestYoungAdminKeyIsNoMasterKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t, plain())
		w.SetKnobs(fakelitellm.Knobs{YoungNotFoundFor: time.Minute})
		key, err := c.(provider.AdminRotator).MintAdmin(t.Context(), "vault-admin-one", time.Time{})
		wantKind(t, w, "mint", err, "")
		young := with(t, w, key.Secret.Reveal())
		wantKind(t, w, "young", young.TryAdmin(t.Context(), key.ID), provider.Unavailable)
		time.Sleep(time.Minute)
		wantKind(t, w, "grown", young.TryAdmin(t.Context(), key.ID), "")
	})
}
