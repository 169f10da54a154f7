package anthropic_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/anthropic"
)

const keyLike = "sk-ant-api03-0123456789abcdef0123456789abcdef"

// with returns values of which some are others.
func with(values, changes provider.Values) provider.Values {
	out := maps.Clone(values)
	if out == nil {
		out = provider.Values{}
	}
	maps.Copy(out, changes)
	return out
}

func TestCheckFederated(t *testing.T) {
	w := newFederation(t)
	for _, c := range []struct {
		field   string // at fault; empty for none
		changes provider.Values
	}{
		{"", provider.Values{}},
		{"", provider.Values{"issuer_id": "", "admin_rule_id": ""}},
		{"", provider.Values{"issuer_url": "https://vault.example.com/v1/llm", "audience": "urn:x"}},
		{"organization_id", provider.Values{"organization_id": ""}},
		{"organization_id", provider.Values{"organization_id": "a b"}},
		{"organization_id", provider.Values{"organization_id": keyLike}},
		{"issuer_url", provider.Values{"issuer_url": "http://vault.example.com"}},
		{"issuer_url", provider.Values{"issuer_url": "vault.example.com"}},
		{"issuer_url", provider.Values{"issuer_url": "https://u:p@vault.example.com"}},
		{"issuer_url", provider.Values{"issuer_url": "https://x/" + keyLike}},
		{"audience", provider.Values{"audience": "a b"}},
		{"audience", provider.Values{"audience": keyLike}},
		{"issuer_id", provider.Values{"issuer_id": "fdrl_01"}},
		{"issuer_id", provider.Values{"issuer_id": keyLike}},
		{"admin_rule_id", provider.Values{"admin_rule_id": "fdis_01"}},
	} {
		settings := w.Settings()
		settings.Fields = with(settings.Fields, c.changes)
		wantField(t, anthropic.New().CheckConfig(settings), c.field)
	}
	for _, c := range []struct {
		field   string
		changes provider.Values
	}{
		{"", provider.Values{}},
		{"", provider.Values{"federation_rule_id": ""}},
		{"", provider.Values{"workspace_id": "default"}},
		{"federation_rule_id", provider.Values{"federation_rule_id": "fdis_01"}},
		{"federation_rule_id", provider.Values{"federation_rule_id": "../x"}},
		{"service_account_id", provider.Values{"service_account_id": ""}},
		{"service_account_id", provider.Values{"service_account_id": keyLike}},
		{"workspace_id", provider.Values{"workspace_id": ""}},
		{"workspace_id", provider.Values{"workspace_id": "wrkspc_"}},
		{"workspace_id", provider.Values{"workspace_id": keyLike}},
		{"models", provider.Values{"models": []string{"claude"}}},
	} {
		wantField(t, provider.CheckRole(anthropic.New(), w.Settings().Fields, with(w.Role(), c.changes)), c.field)
	}
	settings := w.Settings()
	settings.AdminKey = keyLike
	err := anthropic.New().CheckConfig(settings)
	if wantField(t, err, "admin_key"); err != nil && !strings.Contains(err.Error(), "is made by the engine; leave it out") {
		t.Errorf("got %v", err)
	}
}

func TestCheckPool(t *testing.T) {
	w := newPool()
	const admin = "sk-ant-admin01-0123456789"
	for key, field := range map[string]string{
		admin: "", "": "admin_key", "sk-ant-admin01-": "admin_key", keyLike: "admin_key", admin + "\n": "admin_key", "Bearer " + admin: "admin_key",
	} {
		wantField(t, anthropic.NewPool().CheckConfig(provider.Settings{AdminKey: provider.Secret(key)}), field)
	}
	for _, c := range []struct {
		field   string
		changes provider.Values
	}{
		{"", provider.Values{"quarantine": 120}},
		{"quarantine", provider.Values{"quarantine": 0}},
		{"quarantine", provider.Values{"quarantine": 119}},
		{"", provider.Values{"quarantine": 86400, "allowed_workspaces": []any{"wrkspc_01"}}},
		{"quarantine", provider.Values{"quarantine": -1}},
		{"quarantine", provider.Values{"quarantine": 86401}},
		{"allowed_workspaces", provider.Values{"allowed_workspaces": []string{"default"}}},
		{"allowed_workspaces", provider.Values{"allowed_workspaces": []string{keyLike}}},
	} {
		wantField(t, anthropic.NewPool().CheckConfig(provider.Settings{AdminKey: admin, Fields: c.changes}), c.field)
	}
	for id, field := range map[string]string{
		w.Workspace(): "", "": "workspace_id", "default": "workspace_id", "wrkspc_other": "workspace_id", keyLike: "workspace_id",
	} {
		wantField(t, provider.CheckRole(anthropic.NewPool(), w.Settings().Fields, provider.Values{"workspace_id": id}), field)
	}
}

// wantField checks which field is at fault, and that no key is in the words.
func wantField(t *testing.T, err error, field string) {
	t.Helper()
	got, ok := errors.AsType[*provider.FieldError](err)
	switch {
	case field == "" && err != nil:
		t.Errorf("got %v, want no error", err)
	case field != "" && (!ok || got.Field != field):
		t.Errorf("got %v, want a FieldError of %s", err, field)
	case err != nil && strings.Contains(err.Error(), keyLike):
		t.Errorf("a key is in %v", err)
	}
}
