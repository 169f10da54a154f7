package fakeopenai

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeyLivesAsLongAsItWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, secret := w.mint(w.account("bot"), `{"name":"k","expires_in_seconds":60}`)
		w.wantAlive(secret, true)
		time.Sleep(59 * time.Second)
		w.wantAlive(secret, true)
		w.wantLive(1)
		time.Sleep(time.Second)
		w.wantAlive(secret, false)
		w.wantLive(0)
	})
}

func TestCreateAnswersTheSecretOnce(t *testing.T) {
	w := newWorld(t)
	account := w.account("bot")
	r := w.ok("POST", accountsPath+"/"+account+"/api_keys", `{"name":"k","scopes":["api.responses.write"],"expires_in_seconds":3900}`)
	id, secret := r.text("id"), r.text("value")
	if !strings.HasPrefix(id, "key_") || !strings.HasPrefix(secret, "sk-svcacct-") || len(secret) != len("sk-svcacct-")+40 {
		t.Errorf("id %q, value %q; want key_…, sk-svcacct-… with 40 characters", id, secret)
	}
	if got := r.at("expires_at").(float64) - r.at("created_at").(float64); got != 3900 {
		t.Errorf("the key lives for %v s, want 3900", got)
	}
	if r.text("object") != "organization.project.service_account.api_key" || r.text("name") != "k" {
		t.Errorf("answer = %s", r.raw)
	}
	for _, path := range []string{keysPath + "/" + id, keysPath + "?owner_project_access=any", accountsPath + "/" + account} {
		if read := w.ok("GET", path, ""); strings.Contains(read.raw, secret) {
			t.Errorf("GET %s shows the secret", path)
		}
	}
	if got := fmt.Sprint(w.Keys()[0].Scopes); got != "[api.responses.write]" {
		t.Errorf("scopes = %s", got)
	}
}

// Whoever made a key, its ends tell which it is.
func TestEndsOfKeysAreShown(t *testing.T) {
	w := newWorld(t)
	account := w.account("bot")
	w.mint(account, `{}`)
	w.PlantKey(DefaultProject, "laptop")
	w.PlantServiceAccountKey(account, "planted", 0)
	listed := w.ok("GET", keysPath+"?owner_project_access=any", "")
	for i, k := range w.Keys() {
		want := k.Secret[:6] + "..." + k.Secret[len(k.Secret)-3:]
		read := w.ok("GET", keysPath+"/"+k.ID, "").text("redacted_value")
		if inList := listed.text("data", i, "redacted_value"); read != want || inList != want {
			t.Errorf("%s: shown as %q, and as %q in the list, want %q", k.Name, read, inList, want)
		}
	}
	if got := len(w.Keys()); got != 3 {
		t.Errorf("%d keys, want 3", got)
	}
}

func TestKeyAsItIsRead(t *testing.T) {
	w := newWorld(t)
	account := w.account("bot")
	id, secret := w.mint(account, `{"scopes":["api.all.read"]}`)
	r := w.ok("GET", keysPath+"/"+id, "")
	want := map[string]any{
		"object": "organization.project.api_key", "id": id, "name": "Secret Key", "expires_at": nil, "last_used_at": nil,
		"owner_project_access": "active", "redacted_value": secret[:6] + "..." + secret[len(secret)-3:],
	}
	for name, value := range want {
		if got := r.at(name); got != value {
			t.Errorf("%s = %v, want %v", name, got, value)
		}
	}
	if got := r.text("owner", "service_account", "id"); got != account || r.text("owner", "type") != "service_account" {
		t.Errorf("owner = %v", r.at("owner"))
	}
	if _, shown := r.body["scopes"]; shown {
		t.Error("scopes are shown; OpenAI does not")
	}
	w.models(secret)
	if r := w.ok("GET", keysPath+"/"+id, ""); r.at("last_used_at") == nil {
		t.Error("last_used_at is null after a use")
	}
	planted := w.PlantKey(DefaultProject, "laptop")
	if r := w.ok("GET", keysPath+"/"+planted.ID, ""); r.text("owner", "type") != "user" || r.text("owner", "user", "id") == "" {
		t.Errorf("owner of a person's key = %v", r.at("owner"))
	}
}

func TestCreateKeyRefuses(t *testing.T) {
	w := newWorld(t)
	path := accountsPath + "/" + w.account("bot") + "/api_keys"
	for _, body := range []string{
		``, `null`, `[]`, `"k"`, `{`, `{} {}`, `{"name":1}`, `{"name":null}`, `{"name":""}`, `{"name":"a","name":"b"}`,
		`{"scope":["x"]}`, `{"scopes":"x"}`, `{"scopes":null}`, `{"scopes":[1]}`, `{"scopes":[null]}`, `{"scopes":[""]}`,
		`{"expires_in_seconds":0}`, `{"expires_in_seconds":-1}`, `{"expires_in_seconds":31536001}`,
		`{"expires_in_seconds":1.5}`, `{"expires_in_seconds":"60"}`, `{"expires_in_seconds":null}`,
	} {
		w.refused(400, "POST", path, body)
	}
	w.wantLive(0)
	w.mint(w.account("other"), `{"expires_in_seconds":31536000}`)
	w.mint(w.account("other"), `{}`)
	w.wantLive(2)
}

func TestUpdateMovesExpiryFromNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id, secret := w.mint(w.account("bot"), `{"scopes":["api.all.read"],"expires_in_seconds":60}`)
		time.Sleep(30 * time.Second)
		r := w.ok("POST", keysPath+"/"+id, `{"expires_in_seconds":60}`)
		if got, want := int64(r.at("expires_at").(float64)), time.Now().Add(time.Minute).Unix(); got != want {
			t.Errorf("expires_at = %d, want %d", got, want)
		}
		if got := fmt.Sprint(w.Keys()[0].Scopes); got != "[api.all.read]" {
			t.Errorf("scopes = %s, want them left alone", got)
		}
		time.Sleep(59 * time.Second)
		w.wantAlive(secret, true)
		time.Sleep(time.Second)
		w.wantAlive(secret, false)
		w.refused(400, "POST", keysPath+"/"+id, `{"expires_in_seconds":60}`) // expired keys cannot be updated
		w.wantAlive(secret, false)
	})
}

func TestUpdateChangesAllOrNothing(t *testing.T) {
	w := newWorld(t)
	id, _ := w.mint(w.account("bot"), `{"scopes":["api.all.read"],"expires_in_seconds":60}`)
	before := w.Keys()[0]
	for _, body := range []string{
		`{}`, ``, `{"scopes":null}`, `{"expires_in_seconds":null}`, `{"scopes":["x"],"expires_in_seconds":0}`,
		`{"scopes":["x"],"expires_in_seconds":"60"}`, `{"scopes":[2],"expires_in_seconds":90}`,
		`{"scopes":["x"],"name":"y"}`,
	} {
		w.refused(400, "POST", keysPath+"/"+id, body)
	}
	if after := w.Keys()[0]; fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("key = %v, want %v", after, before)
	}
	w.ok("POST", keysPath+"/"+id, `{"scopes":[]}`)
	if got := w.Keys()[0]; len(got.Scopes) != 0 || !got.ExpiresAt.Equal(before.ExpiresAt) {
		t.Errorf("key = %v, want no scopes and the expiry as before", got)
	}
}

func TestDeleteKey(t *testing.T) {
	w := newWorld(t, WithProject(DefaultProject), WithProject("proj_other"))
	account := w.account("bot")
	id, secret := w.mint(account, `{}`)
	_, other := w.mint(account, `{}`)

	w.refused(404, "DELETE", projectsPath+"/proj_other/api_keys/"+id, "")
	w.refused(404, "DELETE", keysPath+"/key_unknown", "")
	w.wantAlive(secret, true)

	r := w.ok("DELETE", keysPath+"/"+id, "")
	if r.at("deleted") != true || r.text("id") != id || r.text("object") != "organization.project.api_key.deleted" {
		t.Errorf("answer = %s", r.raw)
	}
	w.wantAlive(secret, false)
	w.wantAlive(other, true)
	w.refused(404, "DELETE", keysPath+"/"+id, "")
	w.refused(404, "GET", keysPath+"/"+id, "")
	w.refused(404, "POST", keysPath+"/"+id, `{"scopes":[]}`)
	if got := w.Keys(); len(got) != 2 || !got[0].Deleted || got[1].Deleted {
		t.Errorf("keys = %v, want the first deleted and the second not", got)
	}
}

func TestArchivedProject(t *testing.T) {
	w := newWorld(t)
	account := w.account("bot")
	id, secret := w.mint(account, `{}`)
	w.ArchiveProject(DefaultProject)
	w.refused(400, "POST", accountsPath, `{"name":"x"}`)
	w.refused(400, "GET", accountsPath, "")
	w.refused(400, "DELETE", accountsPath+"/"+account, "")
	w.refused(400, "POST", accountsPath+"/"+account+"/api_keys", `{}`)
	w.refused(400, "GET", keysPath, "")
	w.refused(400, "DELETE", keysPath+"/"+id, "")
	w.wantAlive(secret, false)
	if got := w.ok("GET", demo, "").text("status"); got != "archived" {
		t.Errorf("status = %q, want archived", got)
	}
}
