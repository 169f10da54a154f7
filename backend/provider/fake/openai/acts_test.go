package fakeopenai

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, WithKnobs(Knobs{HideFor: time.Hour, AdminKeyHideFor: time.Hour}))
		account := w.PlantServiceAccount(DefaultProject, "bot").ID
		admin, _ := w.AddAdminKey()
		key := w.PlantKey(DefaultProject, "laptop").ID
		owned := w.PlantServiceAccountKey(account, "k", 0).ID
		created := time.Now().AddDate(-1, 0, 0).Add(700 * time.Millisecond)
		used := created.AddDate(0, 0, 7)
		for _, id := range []string{account, admin, key, owned} {
			if !w.Age(id, created, used) {
				t.Errorf("there is no %s", id)
			}
		}
		for _, path := range []string{keysPath + "/" + key, keysPath + "/" + owned, adminsPath + "/" + admin, accountsPath + "/" + account} {
			r := w.ok("GET", path, "")
			if got := r.at("created_at"); got != float64(created.Unix()) {
				t.Errorf("%s: created_at = %v, want %d", path, got, created.Unix())
			}
			got, shown := r.body["last_used_at"]
			if want := path != accountsPath+"/"+account; shown != want || want && got != float64(used.Unix()) {
				t.Errorf("%s: last_used_at = %v, want %d", path, got, used.Unix())
			}
		}
		if got := w.list(keysPath, "owner_project_access=any"); len(got) != 2 {
			t.Errorf("keys = %v, want two: what is old is listed", got)
		}
		if got := w.list(accountsPath, ""); len(got) != 1 {
			t.Errorf("accounts = %v, want one", got)
		}
		if got := w.list(adminsPath, ""); len(got) != 2 {
			t.Errorf("admin keys = %v, want two", got)
		}
	})
}

func TestAgeOfWhatWasNeverUsed(t *testing.T) {
	w := newWorld(t)
	key := w.PlantKey(DefaultProject, "laptop")
	w.models(key.Secret)
	if !w.Age(key.ID, time.Unix(1711471533, 0), time.Time{}) || !w.Keys()[0].LastUsedAt.IsZero() {
		t.Errorf("key = %+v, want one that was never used", w.Keys()[0])
	}
	if r := w.ok("GET", keysPath+"/"+key.ID, ""); r.at("last_used_at") != nil || r.at("created_at") != 1711471533. {
		t.Errorf("key = %s", r.raw)
	}
	account := w.PlantServiceAccount(DefaultProject, "bot").ID
	admin, _ := w.AddAdminKey()
	w.DeleteKey(key.ID)
	w.DeleteServiceAccount(account)
	w.RevokeAdminKey(admin)
	for _, id := range []string{key.ID, account, admin, "key_x", ""} {
		if w.Age(id, time.Now(), time.Now()) {
			t.Errorf("%q has an age, and does not exist", id)
		}
	}
}

// A key is used when it was served, and an admin key when it was let in.
func TestLastUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		second, _ := w.AddAdminKey()
		id, secret := w.mint(w.account("bot"), `{"scopes":["api.all.read"]}`)
		chat := w.request(t.Context(), "POST", "/v1/chat/completions", secret, `{"model":"gpt-4.1","messages":[]}`)
		w.wantRefusal(w.do(chat), 403, "a scope that the key has not")
		w.wantLastUse(keysPath+"/"+id, time.Time{})
		time.Sleep(time.Minute + 300*time.Millisecond)
		used := time.Now()
		w.models(secret)
		time.Sleep(time.Minute)
		w.wantLastUse(keysPath+"/"+id, used)
		w.wantLastUse(adminsPath+"/"+second, time.Time{})
		w.wantLastUse(adminsPath+"/"+w.AdminKeys()[0].ID, time.Now()) // it asks
		if got := w.Keys()[0].LastUsedAt; got.Unix() != used.Unix() {
			t.Errorf("last use = %s, want %s", got, used)
		}

		w.RevokeAdminKey(w.AdminKeys()[0].ID)
		before := w.AdminKeys()[0].LastUsedAt
		time.Sleep(time.Minute)
		w.refused(401, "GET", adminsPath, "")
		if got := w.AdminKeys()[0].LastUsedAt; !got.Equal(before) || got.IsZero() {
			t.Errorf("last use of a dead admin key = %s, want %s", got, before)
		}
	})
}

// wantLastUse checks the last use of what is at a path; zero means never.
func (w *world) wantLastUse(path string, want time.Time) {
	w.t.Helper()
	got, _ := w.ok("GET", path, "").at("last_used_at").(float64)
	if want.IsZero() != (got == 0) || got != 0 && int64(got) != want.Unix() {
		w.t.Errorf("%s: last_used_at = %v, want %s", path, got, want)
	}
}
