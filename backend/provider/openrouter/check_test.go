package openrouter_test

import (
	"errors"
	"maps"
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
		{"", provider.Values{"budget": 12.5, "budget_period": "day"}},
		{"", provider.Values{"models": []any{"a/b", "openai/gpt-4.1:nitro", "~openai/gpt-latest"}}},
		{"workspace_id", provider.Values{"workspace_id": ""}},
		{"workspace_id", provider.Values{"workspace_id": "default"}},
		{"workspace_id", provider.Values{"workspace_id": strings.ToUpper(workspace)}},
		{"workspace_id", provider.Values{"workspace_id": "ffffffff-d932-4740-82c7-b52af166bc11"}},
		{"workspace_id", provider.Values{"workspace_id": secret}},
		{"models", provider.Values{"models": []string{"gpt-4.1"}}},
		{"models", provider.Values{"models": []string{"a/b/c"}}},
		{"models", provider.Values{"models": []string{""}}},
		{"models", provider.Values{"models": []string{secret}}},
		{"requests_per_minute", provider.Values{"requests_per_minute": 5}},
	} {
		role := plain()
		maps.Copy(role, c.role)
		wantField(t, provider.CheckRole(openrouter.New(), config, role), c.field, secret)
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
