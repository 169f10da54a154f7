package openai_test

import (
	"strings"
	"testing"

	"vault-plugin-secrets-llm/backend/provider"
)

// found is the one key of a list.
func found(t *testing.T, key string, admin bool) (out provider.Found) {
	t.Helper()
	client := connect(t, provider.Settings{AdminKey: goodKey}, answering(`{"data":[`+key+`],"has_more":false}`))
	items := client.Find(t.Context(), "proj_x")
	if admin {
		items = client.(provider.AdminRotator).FindAdmins(t.Context())
	}
	n := 0
	for got, err := range items {
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		out, n = got, n+1
	}
	if n != 1 || out.ID != "key_1" {
		t.Fatalf("%s: got %d keys, the last %+v", key, n, out)
	}
	return out
}

func TestOwnerOfKey(t *testing.T) {
	for _, test := range []struct{ owner, want, principal string }{
		{`{"type":"user","user":{"id":"user_1","name":"Ada","email":"ada@example.com","role":"owner"}}`, "user ada@example.com", ""},
		{`{"type":"user","user":{"id":"user_1","name":"Ada","email":null}}`, "user Ada", ""},
		{`{"type":"user","user":{"id":"user_1","name":"","email":""}}`, "user user_1", ""},
		{`{"type":"user","user":{"id":"user_1"},"service_account":null}`, "user user_1", ""},
		{`{"user":{"email":"ada@example.com"}}`, "user ada@example.com", ""},
		{`{"type":"user","user":{"id":7,"name":["Ada"],"email":{"text":"ada@example.com"}}}`, "", ""},
		{`{"type":"service_account","service_account":{"id":"svc_1","name":"bot","role":"member"}}`, "service account bot", "svc_1"},
		{`{"type":"service_account","service_account":{"id":"svc_1","name":null},"user":null}`, "service account svc_1", "svc_1"},
		{`{"type":"service_account","service_account":{"name":"bot"}}`, "service account bot", ""},
		{`{"service_account":{"id":"svc_1","name":{"text":"bot"}}}`, "service account svc_1", "svc_1"},
		{`{"type":"service_account","service_account":{"id":{"text":"svc_1"}}}`, "", ""},
		{`{"type":"service_account"}`, "", ""},
		{`{"type":"user","user":{}}`, "", ""},
		{`{"type":"user","user":"ada"}`, "", ""},
		{`{}`, "", ""},
		{`null`, "", ""},
		{`"ada"`, "", ""},
		{`["ada"]`, "", ""},
	} {
		got := found(t, `{"id":"key_1","redacted_value":"sk-abc...def","owner":`+test.owner+`}`, false)
		if got.Owner != test.want || got.PrincipalID != test.principal {
			t.Errorf("%s: got owner %q, principal %q, want %q, %q", test.owner, got.Owner, got.PrincipalID, test.want, test.principal)
		}
	}
}

func TestOwnerOfAdminKey(t *testing.T) {
	for _, test := range []struct{ owner, want, principal string }{
		{`{"type":"user","object":"organization.user","id":"user_1","name":"Ada","created_at":0,"role":"owner"}`, "user Ada", ""},
		{`{"type":"user","id":"user_1","name":null}`, "user user_1", ""},
		{`{"type":"service_account","object":"organization.service_account","id":"sa_1","name":"Terraform"}`, "service account Terraform", "sa_1"},
		{`{"type":"service_account","id":"sa_1"}`, "service account sa_1", "sa_1"},
		{`{"type":"service_account","id":{"text":"sa_1"},"name":7}`, "", ""},
		{`{"type":"workload_identity","id":"wi_1"}`, "workload identity wi_1", ""},
		{`{"id":"user_1","name":"Ada"}`, "Ada", ""},
		{`{"type":{"text":"user"},"id":"user_1"}`, "user_1", ""},
		{`{"type":"user"}`, "", ""},
		{`{}`, "", ""},
		{`null`, "", ""},
		{`7`, "", ""},
	} {
		got := found(t, `{"id":"key_1","redacted_value":"sk-admin...xyz","owner":`+test.owner+`}`, true)
		if got.Owner != test.want || got.PrincipalID != test.principal {
			t.Errorf("%s: got owner %q, principal %q, want %q, %q", test.owner, got.Owner, got.PrincipalID, test.want, test.principal)
		}
	}
}

// People choose names, and paste keys where none belong.
func TestOwnerHidesKeys(t *testing.T) {
	const key = "sk-svcacct-0123456789abcdefghij"
	account := found(t, `{"id":"key_1","owner":{"service_account":{"id":"svc_1","name":"bot `+key+`"}}}`, false)
	user := found(t, `{"id":"key_1","owner":{"user":{"name":"`+key+`"}}}`, false)
	admin := found(t, `{"id":"key_1","owner":{"type":"user","name":"`+key+`"}}`, true)
	for _, got := range []provider.Found{account, user, admin} {
		if got.Owner == "" || strings.Contains(got.Owner, "0123456789") {
			t.Errorf("got owner %q", got.Owner)
		}
	}
}
