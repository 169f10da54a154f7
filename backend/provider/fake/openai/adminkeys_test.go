package fakeopenai

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAdminKeyReplacesItself(t *testing.T) {
	w := newWorld(t)
	old := w.AdminKeys()[0]
	r := w.ok("POST", adminsPath, `{"name":"next"}`)
	next := r.text("value")
	if !strings.HasPrefix(next, "sk-admin-") || r.at("expires_at") != nil || r.text("owner", "type") != "user" ||
		r.text("redacted_value") != "sk-admin..."+next[len(next)-3:] {
		t.Errorf("answer = %s", r.raw)
	}
	deleted := w.do(w.request(t.Context(), "DELETE", adminsPath+"/"+old.ID, next, ""))
	if deleted.status != 200 || deleted.at("deleted") != true || deleted.text("object") != "organization.admin_api_key.deleted" {
		t.Errorf("delete = %d %s", deleted.status, deleted.raw)
	}
	if w.AdminAlive(old.Secret) || !w.AdminAlive(next) {
		t.Error("the old key lives, or the next one does not")
	}
	w.refused(401, "GET", adminsPath, "") // by the old key
	read := w.do(w.request(t.Context(), "GET", adminsPath+"/"+r.text("id"), next, ""))
	if read.status != 200 || read.text("name") != "next" || strings.Contains(read.raw, next) {
		t.Errorf("get = %d %s", read.status, read.raw)
	}
	if got := w.do(w.request(t.Context(), "DELETE", adminsPath+"/"+old.ID, next, "")); got.status != 404 {
		t.Errorf("second delete = %d, want 404", got.status)
	}
}

func TestAdminKeyList(t *testing.T) {
	w := newWorld(t, WithAdminKey("sk-admin-one-aaa"), WithAdminKey("sk-admin-two-aaa"))
	third, _ := w.AddAdminKey()
	all := w.AdminKeys()
	want := []string{all[0].ID, all[1].ID, third}
	if got := w.list(adminsPath, "limit=2"); !slices.Equal(got, want) {
		t.Errorf("keys = %v, want %v", got, want)
	}
	slices.Reverse(want)
	if got := w.list(adminsPath, "order=desc&limit=1"); !slices.Equal(got, want) {
		t.Errorf("descending = %v, want %v", got, want)
	}
	r := w.ok("GET", adminsPath, "")
	if a, b := r.text("data", 0, "redacted_value"), r.text("data", 1, "redacted_value"); a != b || a != "sk-admin...aaa" {
		t.Errorf("redacted values %q and %q, want both sk-admin...aaa", a, b)
	}
}

func TestAdminKeyExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		secret := w.ok("POST", adminsPath, `{"name":"brief","expires_in_seconds":60}`).text("value")
		time.Sleep(59 * time.Second)
		if !w.AdminAlive(secret) {
			t.Error("dead after 59 s")
		}
		time.Sleep(time.Second)
		if w.AdminAlive(secret) {
			t.Error("alive after 60 s")
		}
		w.wantRefusal(w.do(w.request(t.Context(), "GET", adminsPath, secret, "")), 401, "expired admin key")
	})
}

func TestCreateAdminKeyRefuses(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{`{}`, `{"name":null}`, `{"name":"x","expires_in_seconds":0}`, `{"name":"x","expires_in_seconds":null}`, `{"name":"x","scopes":[]}`} {
		w.refused(400, "POST", adminsPath, body)
	}
	if got := len(w.AdminKeys()); got != 1 {
		t.Errorf("%d admin keys, want 1", got)
	}
}

func TestAdminKeyKnobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, WithKnobs(Knobs{AdminSelfDeleteForbidden: true, AdminKeyDelay: 10 * time.Second, WeakerAdminKeys: true}))
		w.refused(403, "DELETE", adminsPath+"/"+w.AdminKeys()[0].ID, "")

		weak := w.ok("POST", adminsPath, `{"name":"weak"}`).text("value")
		w.wantRefusal(w.do(w.request(t.Context(), "GET", projectsPath, weak, "")), 401, "new admin key")
		time.Sleep(10 * time.Second)
		if r := w.do(w.request(t.Context(), "GET", projectsPath, weak, "")); r.status != 200 {
			t.Errorf("read by a weak key = %d, want 200", r.status)
		}
		w.wantRefusal(w.do(w.request(t.Context(), "POST", accountsPath, weak, `{"name":"x"}`)), 403, "write by a weak key")
		w.wantRefusal(w.do(w.request(t.Context(), "DELETE", adminsPath+"/x", weak, "")), 403, "delete by a weak key")

		w.SetKnobs(Knobs{})
		w.ok("DELETE", adminsPath+"/"+w.AdminKeys()[0].ID, "")
		if w.AdminAlive(w.AdminKey()) {
			t.Error("the key deleted itself and lives")
		}
	})
}

// A read-only key learns nothing of what there is: 403 comes before 404 and 400.
func TestWeakAdminKeyIsRefusedBeforeLookup(t *testing.T) {
	w := newWorld(t, WithKnobs(Knobs{WeakerAdminKeys: true}))
	weak := w.ok("POST", adminsPath, `{"name":"weak"}`).text("value")
	for _, call := range []struct{ method, path, body string }{
		{"POST", accountsPath, `{}`},
		{"POST", accountsPath + "/x", `{"role":"member"}`},
		{"POST", accountsPath + "/x", `{}`},
		{"POST", accountsPath + "/x/api_keys", `{}`},
		{"POST", projectsPath + "/x/service_accounts/x/api_keys", `{}`},
		{"POST", keysPath + "/x", `{"expires_in_seconds":60}`},
		{"DELETE", keysPath + "/x", ""},
		{"DELETE", accountsPath + "/x", ""},
		{"DELETE", adminsPath + "/x", ""},
		{"POST", adminsPath, `{}`},
	} {
		w.wantRefusal(w.do(w.request(t.Context(), call.method, call.path, weak, call.body)), 403, call.method+" "+call.path)
	}
	w.wantLive(0)
}

func TestAdminKeysForbidden(t *testing.T) {
	w := newWorld(t)
	second, _ := w.AddAdminKey()
	w.SetKnobs(Knobs{AdminKeysForbidden: true})
	w.refused(403, "GET", adminsPath, "")
	w.refused(403, "POST", adminsPath, `{"name":"x"}`)
	for _, id := range []string{second, "key_x"} {
		w.refused(403, "GET", adminsPath+"/"+id, "")
		w.refused(403, "DELETE", adminsPath+"/"+id, "")
	}
	w.ok("GET", projectsPath, "")
	w.mint(w.account("bot"), `{}`)
	if got := len(w.AdminKeys()); got != 2 || w.AdminKeys()[1].Deleted {
		t.Errorf("admin keys = %+v, want two", w.AdminKeys())
	}
}

func TestYoungAdminKeyIsHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, WithKnobs(Knobs{AdminKeyHideFor: time.Minute}))
		first := w.AdminKeys()[0].ID
		young := w.ok("POST", adminsPath, `{"name":"young"}`).text("id")
		time.Sleep(time.Minute - time.Second)
		if got := w.list(adminsPath, ""); !slices.Equal(got, []string{first}) {
			t.Errorf("keys = %v, want %v alone", got, first)
		}
		w.ok("GET", adminsPath+"/"+young, "")
		time.Sleep(time.Second)
		if got := w.list(adminsPath, ""); !slices.Equal(got, []string{first, young}) {
			t.Errorf("keys = %v, want both", got)
		}
	})
}

func TestAdminKeyMaxExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, WithKnobs(Knobs{AdminKeyMaxExpiry: time.Hour, MaxExpiry: time.Minute, ExpiryPolicy: time.Minute}))
		for body, want := range map[string]time.Duration{
			`{"name":"x"}`:                             time.Hour,
			`{"name":"x","expires_in_seconds":7200}`:   time.Hour,
			`{"name":"x","expires_in_seconds":1800}`:   30 * time.Minute,
			`{"name":"x","expires_in_seconds":3600}`:   time.Hour,
			`{"name":"x","expires_in_seconds":999999}`: time.Hour,
		} {
			at, _ := w.ok("POST", adminsPath, body).at("expires_at").(float64)
			if got := time.Until(time.Unix(int64(at), 0)); got != want {
				t.Errorf("%s: life = %s, want %s", body, got, want)
			}
		}
		time.Sleep(time.Hour)
		for _, a := range w.AdminKeys()[1:] {
			if w.AdminAlive(a.Secret) {
				t.Errorf("admin key %s is alive, want it expired", a.ID)
			}
		}
	})
}

func TestAdminKeyOwners(t *testing.T) {
	w := newWorld(t)
	w.SetKnobs(Knobs{AdminKeysOfServiceAccount: true})
	r := w.ok("POST", adminsPath, `{"name":"x"}`)
	made := w.AdminKeys()[1]
	if made.ServiceAccountID == "" || r.text("owner", "id") != made.ServiceAccountID ||
		r.text("owner", "type") != "service_account" || r.text("owner", "object") != "organization.service_account" {
		t.Errorf("owner = %v, want service account %q", r.at("owner"), made.ServiceAccountID)
	}
	r = w.ok("GET", adminsPath+"/"+w.AdminKeys()[0].ID, "")
	if w.AdminKeys()[0].ServiceAccountID != "" || r.text("owner", "type") != "user" || r.text("owner", "object") != "organization.user" {
		t.Errorf("owner = %v, want a user", r.at("owner"))
	}
}

func TestPlantAdminKey(t *testing.T) {
	w := newWorld(t)
	first := w.AdminKey()
	secret := "sk-admin-another" + first[len(first)-3:]
	planted := w.PlantAdminKey("ada's script", secret)
	if planted.Name != "ada's script" || planted.Secret != secret || !w.AdminAlive(secret) {
		t.Errorf("planted %+v, alive %t", planted, w.AdminAlive(secret))
	}
	r := w.ok("GET", adminsPath, "")
	if a, b := r.text("data", 0, "redacted_value"), r.text("data", 1, "redacted_value"); a == "" || a != b {
		t.Errorf("redacted values %q and %q, want the same", a, b)
	}
	if r.text("data", 1, "id") != planted.ID {
		t.Errorf("listed %s, want %s", r.text("data", 1, "id"), planted.ID)
	}
}

func TestSecretsHoldsEverySecret(t *testing.T) {
	w := newWorld(t)
	account := w.account("bot")
	_, minted := w.mint(account, `{}`)
	initial := w.ok("POST", accountsPath, `{"name":"x"}`).text("api_key", "value")
	admin := w.ok("POST", adminsPath, `{"name":"x"}`).text("value")
	planted := w.PlantKey(DefaultProject, "x").Secret
	second := w.PlantServiceAccountKey(account, "x", time.Minute).Secret
	w.DeleteServiceAccount(account)
	secrets := w.Secrets()
	for _, secret := range []string{w.AdminKey(), minted, initial, admin, planted, second} {
		if !slices.Contains(secrets, secret) {
			t.Errorf("%q is missing", secret)
		}
	}
	if len(secrets) != 6 {
		t.Errorf("%d secrets, want 6", len(secrets))
	}
}
