package openrouter_test

import (
	"errors"
	"strings"
	"testing"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/openrouter"
)

func TestCheckRole(t *testing.T) {
	const secret = "sk-or-v1-0123456789abcdef0123456789abcdef"
	config := provider.Values{"allowed_workspaces": []string{workspace}}
	for _, c := range []struct {
		field string // at fault; empty for none
		role  provider.Values
	}{
		{"", provider.Values{}},
		{"", provider.Values{"budget": "12.50"}},
		{"", provider.Values{"budget": "0.01", "budget_period": "month"}},
		{"", provider.Values{"budget": "9999999.99", "budget_period": "week"}},
		{"", provider.Values{"models": []any{"a/b", "openai/gpt-4.1:nitro", "~openai/gpt-latest"}}},
		{"workspace_id", provider.Values{"workspace_id": ""}},
		{"workspace_id", provider.Values{"workspace_id": "default"}},
		{"workspace_id", provider.Values{"workspace_id": strings.ToUpper(workspace)}},
		{"workspace_id", provider.Values{"workspace_id": "ffffffff-d932-4740-82c7-b52af166bc11"}},
		{"workspace_id", provider.Values{"workspace_id": secret}},
		{"models", provider.Values{"models": []string{"gpt-4.1"}}},
		{"models", provider.Values{"models": []string{"a/b/c"}}},
		{"models", provider.Values{"models": []string{"a/b", "a/b"}}},
		{"models", provider.Values{"models": []string{""}}},
		{"models", provider.Values{"models": []string{secret}}},
		{"budget_period", provider.Values{"budget_period": "day"}},
		{"budget_period", provider.Values{"budget": "1", "budget_period": "daily"}},
		{"budget_period", provider.Values{"budget": "1", "budget_period": secret}},
		{"budget", provider.Values{"budget": secret}},
	} {
		role := plain()
		for name, value := range c.role {
			role[name] = value
		}
		wantField(t, openrouter.New().CheckRole(config, role), c.field, secret)
	}
	for _, bad := range []string{
		"0", "0.00", "-1", "+1", "1.", ".5", "1.234", "1,50", "1e3", "0x10", "NaN", "Inf", " 1", "1 ", "01", "$1", "1_000", "10000000", "١",
	} {
		role := plain()
		role["budget"] = bad
		wantField(t, openrouter.New().CheckRole(nil, role), "budget", secret)
	}
}

func TestCheckConfig(t *testing.T) {
	const good = "sk-or-v1-0123456789abcdef"
	for key, ok := range map[string]bool{
		good: true, "": false, "sk-or-v1-": false, "sk-proj-0123456789abcdef": false, good + "\n": false, "Bearer " + good: false,
	} {
		field := ""
		if !ok {
			field = "admin_key"
		}
		wantField(t, openrouter.New().CheckConfig(provider.Settings{AdminKey: provider.Secret(key)}), field, good)
	}
	wantField(t, openrouter.New().CheckConfig(provider.Settings{
		AdminKey: good, Fields: provider.Values{"allowed_workspaces": []string{good}},
	}), "allowed_workspaces", good)
}

// wantField checks which field is at fault, and that no key is in the words.
func wantField(t *testing.T, err error, field, secret string) {
	t.Helper()
	got, ok := errors.AsType[*provider.FieldError](err)
	switch {
	case field == "" && err != nil:
		t.Errorf("got %v, want no error", err)
	case field != "" && (!ok || got.Field != field):
		t.Errorf("got %v, want a FieldError of %s", err, field)
	case err != nil && strings.Contains(err.Error(), secret):
		t.Errorf("a key is in %v", err)
	}
}
