package fakeopenai

import (
	"fmt"
	"testing"
)

func TestCompletionsAreMetered(t *testing.T) {
	w := newWorld(t)
	id, secret := w.mint(w.account("bot"), `{}`)
	chat := w.do(w.request(t.Context(), "POST", "/v1/chat/completions", secret, `{"model":"gpt-4.1","messages":[{"role":"user","content":"hi"}],"temperature":0}`))
	if chat.status != 200 || chat.text("choices", 0, "message", "content") == "" {
		t.Errorf("chat = %d %s", chat.status, chat.raw)
	}
	response := w.do(w.request(t.Context(), "POST", "/v1/responses", secret, `{"model":"gpt-4.1","input":"hi"}`))
	if response.status != 200 || response.text("output", 0, "content", 0, "text") == "" {
		t.Errorf("response = %d %s", response.status, response.raw)
	}
	for _, body := range []string{`{}`, `{"model":"gpt-4.1"}`, `{"model":1,"input":"hi"}`, `{"model":"gpt-4.1","input":null}`} {
		w.wantRefusal(w.do(w.request(t.Context(), "POST", "/v1/responses", secret, body)), 400, body)
	}
	w.wantRefusal(w.do(w.request(t.Context(), "POST", "/v1/responses", secret, `{"model":"gpt-0","input":"hi"}`)), 404, "unknown model")
	if got := w.Usage(id); got != 2 {
		t.Errorf("usage = %d, want 2", got)
	}
	if got := w.Count(OpCompletion); got != 7 {
		t.Errorf("%d completions arrived, want 7", got)
	}
}

func TestScopes(t *testing.T) {
	w := newWorld(t)
	account := w.account("bot")
	tests := []struct {
		scopes                  string
		models, chat, responses int
	}{
		{`[]`, 200, 200, 200},
		{`["api.all.read"]`, 200, 403, 403},
		{`["api.responses.write"]`, 403, 403, 200},
		{`["api.model.request"]`, 403, 200, 200},
		{`["api.files.read"]`, 403, 403, 403},
		{`["api.files.read","api.all.read","api.model.request"]`, 200, 200, 200},
	}
	for _, tt := range tests {
		id, secret := w.mint(account, fmt.Sprintf(`{"scopes":%s}`, tt.scopes))
		models := w.models(secret).status
		chat := w.do(w.request(t.Context(), "POST", "/v1/chat/completions", secret, `{"model":"gpt-4.1","messages":[]}`)).status
		responses := w.do(w.request(t.Context(), "POST", "/v1/responses", secret, `{"model":"gpt-4.1","input":[]}`)).status
		if models != tt.models || chat != tt.chat || responses != tt.responses {
			t.Errorf("%s: models %d, chat %d, responses %d; want %d, %d, %d", tt.scopes, models, chat, responses, tt.models, tt.chat, tt.responses)
		}
		if !w.Alive(secret) {
			t.Errorf("%s: dead; a key without the scope is alive", tt.scopes)
		}
		w.ok("POST", keysPath+"/"+id, `{"scopes":[]}`)
		if got := w.models(secret).status; got != 200 {
			t.Errorf("%s: models = %d after all scopes were lifted", tt.scopes, got)
		}
	}
}

func TestRolesOfTheOwner(t *testing.T) {
	w := newWorld(t)
	account := w.PlantServiceAccount(DefaultProject, "bot").ID
	key := w.PlantServiceAccountKey(account, "k", 0)
	for _, tt := range []struct {
		role string
		want bool
	}{{"member", true}, {"none", false}, {"owner", true}} {
		w.SetRole(account, tt.role)
		w.wantAlive(key.Secret, tt.want)
	}
	w.SetRole(account, "none")
	w.SetKnobs(Knobs{NoneRoleKeysWork: true})
	w.wantAlive(key.Secret, true)
	w.wantLive(1)
}

func TestActsOfTheWorld(t *testing.T) {
	w := newWorld(t)
	person := w.PlantKey("proj_new", "laptop")
	w.wantAlive(person.Secret, true)
	if got := w.ok("GET", projectsPath+"/proj_new", "").text("id"); got != "proj_new" {
		t.Errorf("project = %q, want the one that was planted in", got)
	}
	if !w.DeleteKey(person.ID) || w.DeleteKey(person.ID) || w.DeleteKey("key_x") {
		t.Error("DeleteKey = want true once, then false")
	}
	w.wantAlive(person.Secret, false)

	account := w.PlantServiceAccount("proj_new", "bot")
	key := w.PlantServiceAccountKey(account.ID, "k", 0)
	if got := w.ServiceAccounts("proj_new"); len(got) != 1 || got[0] != account {
		t.Errorf("accounts = %v, want %v", got, account)
	}
	if !w.DeleteServiceAccount(account.ID) || w.DeleteServiceAccount(account.ID) || w.SetRole(account.ID, "owner") {
		t.Error("DeleteServiceAccount = want true once, then false")
	}
	w.wantAlive(key.Secret, false)
	if got := w.PlantServiceAccountKey(account.ID, "k", 0); got.ID != "" {
		t.Errorf("a key in a deleted account: %v", got)
	}
	if id, _ := w.AddAdminKey(); !w.RevokeAdminKey(id) || w.RevokeAdminKey(id) {
		t.Error("RevokeAdminKey = want true once, then false")
	}
	if w.ServiceAccounts("proj_unknown") != nil || w.Usage("key_x") != 0 || w.Alive("sk-x") || w.AdminAlive("sk-x") {
		t.Error("unknown things are known")
	}
}
