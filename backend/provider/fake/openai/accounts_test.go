package fakeopenai

import (
	"strings"
	"testing"
)

func TestAccountWithoutKey(t *testing.T) {
	w := newWorld(t)
	r := w.ok("POST", accountsPath, `{"name":"bot","create_service_account_only":true,"expires_in_seconds":null}`)
	if key, there := r.body["api_key"]; key != nil || !there || r.text("role") != "none" || r.text("name") != "bot" {
		t.Errorf("answer = %s; want api_key null and role none", r.raw)
	}
	if !strings.HasPrefix(r.text("id"), "svc_acct_") || r.text("object") != "organization.project.service_account" {
		t.Errorf("answer = %s", r.raw)
	}
	if got := w.Keys(); len(got) != 0 {
		t.Errorf("keys = %v, want none", got)
	}
}

func TestAccountWithInitialKey(t *testing.T) {
	w := newWorld(t)
	r := w.ok("POST", accountsPath, `{"name":"bot","expires_in_seconds":60}`)
	if r.text("role") != "member" || r.text("api_key", "name") != "Secret Key" {
		t.Errorf("answer = %s; want role member and a key", r.raw)
	}
	if got := r.at("api_key", "expires_at").(float64) - r.at("api_key", "created_at").(float64); got != 60 {
		t.Errorf("the key lives for %v s, want 60", got)
	}
	w.wantAlive(r.text("api_key", "value"), true)
	never := w.ok("POST", accountsPath, `{"name":"bot"}`) // names are not unique
	if never.at("api_key", "expires_at") != nil {
		t.Errorf("answer = %s; want no expiry", never.raw)
	}
	if got := w.ServiceAccounts(DefaultProject); len(got) != 2 || got[0].Name != "bot" || got[0].ID == got[1].ID {
		t.Errorf("accounts = %v", got)
	}
}

func TestCreateAccountRefuses(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{
		``, `{}`, `{"name":null}`, `{"name":""}`, `{"name":["bot"]}`, `{"name":"bot","role":"owner"}`,
		`{"name":"bot","create_service_account_only":"true"}`, `{"name":"bot","create_service_account_only":null}`,
		`{"name":"bot","create_service_account_only":true,"expires_in_seconds":60}`,
		`{"name":"bot","expires_in_seconds":0}`,
	} {
		w.refused(400, "POST", accountsPath, body)
	}
	w.refused(404, "POST", projectsPath+"/proj_unknown/service_accounts", `{"name":"bot"}`)
	if got := w.ServiceAccounts(DefaultProject); len(got) != 0 {
		t.Errorf("accounts = %v, want none", got)
	}
}

func TestUpdateAccount(t *testing.T) {
	w := newWorld(t)
	id := w.ok("POST", accountsPath, `{"name":"bot","create_service_account_only":true}`).text("id")
	_, secret := w.mint(id, `{}`)
	w.wantAlive(secret, false) // role none
	for _, body := range []string{`{}`, `{"role":"none"}`, `{"role":null}`, `{"name":null}`, `{"name":"x","role":"admin"}`, `{"id":"x"}`} {
		w.refused(400, "POST", accountsPath+"/"+id, body)
	}
	if r := w.ok("POST", accountsPath+"/"+id, `{"role":"member"}`); r.text("role") != "member" || r.text("name") != "bot" {
		t.Errorf("answer = %s", r.raw)
	}
	w.wantAlive(secret, true)
	if r := w.ok("POST", accountsPath+"/"+id, `{"role":"owner","name":"robot"}`); r.text("role") != "owner" || r.text("name") != "robot" {
		t.Errorf("answer = %s", r.raw)
	}
	if r := w.ok("GET", accountsPath+"/"+id, ""); r.text("name") != "robot" {
		t.Errorf("account = %s", r.raw)
	}
}

func TestDeleteAccountKillsItsKeys(t *testing.T) {
	w := newWorld(t)
	bot, other := w.account("bot"), w.account("other")
	id, secret := w.mint(bot, `{}`)
	_, safe := w.mint(other, `{}`)
	r := w.ok("DELETE", accountsPath+"/"+bot, "")
	if r.at("deleted") != true || r.text("object") != "organization.project.service_account.deleted" || r.text("id") != bot {
		t.Errorf("answer = %s", r.raw)
	}
	w.wantAlive(secret, false)
	w.wantAlive(safe, true)
	w.wantLive(1)
	w.refused(404, "GET", keysPath+"/"+id, "")
	w.refused(404, "GET", accountsPath+"/"+bot, "")
	w.refused(404, "DELETE", accountsPath+"/"+bot, "")
	w.refused(404, "POST", accountsPath+"/"+bot+"/api_keys", `{}`)
	if got := w.list(accountsPath, ""); len(got) != 1 || got[0] != other {
		t.Errorf("accounts = %v, want %s", got, other)
	}
}
