package litellm_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/litellm"
)

func TestCheckRole(t *testing.T) {
	const secret = "sk-0123456789abcdefghijklmnop"
	for _, c := range []struct {
		field   string // at fault; empty for none
		allowed []string
		role    provider.Values
	}{
		{"", nil, provider.Values{}},
		{"", nil, provider.Values{"team_id": "0df9e665-d932-4740-82c7-b52af166bc11", "user_id": "ada@example.com"}},
		{"", nil, bounded()},
		{"", []string{team}, provider.Values{"team_id": team}},
		{"team_id", []string{team}, provider.Values{}},
		{"team_id", []string{team}, provider.Values{"team_id": "team-red"}},
		{"team_id", nil, provider.Values{"team_id": "no-team"}},
		{"team_id", nil, provider.Values{"team_id": "litellm-dashboard"}},
		{"team_id", nil, provider.Values{"team_id": "two words"}},
		{"team_id", nil, provider.Values{"team_id": secret}},
		{"user_id", nil, provider.Values{"user_id": strings.Repeat("x", 129)}},
		{"user_id", nil, provider.Values{"user_id": secret}},
		{"budget_period", nil, provider.Values{"budget_period": "day"}},
		{"requests_per_minute", nil, provider.Values{"requests_per_minute": -1}},
	} {
		role := plain()
		maps.Copy(role, c.role)
		config := provider.Values{"allowed_teams": c.allowed}
		wantField(t, provider.CheckRole(litellm.New(), config, role), c.field, secret)
	}
}

func TestCheckConfig(t *testing.T) {
	const good = "sk-0123456789abcdef0123456789"
	for key, ok := range map[string]bool{
		good: true, "sk-1234": true, "": false, "sk-": false, "0123456789abcdef": false, good + "\n": false, "Bearer " + good: false,
	} {
		field := ""
		if !ok {
			field = "admin_key"
		}
		settings := provider.Settings{AdminKey: provider.Secret(key), BaseURL: baseURL}
		wantField(t, litellm.New().CheckConfig(settings), field, good)
	}
	for address, ok := range map[string]bool{
		baseURL: true, "http://litellm.ai.svc:4000/": true, "": false, "https://litellm.test/v1": false, "https://litellm.test/v1/": false,
	} {
		field := ""
		if !ok {
			field = "base_url"
		}
		wantField(t, litellm.New().CheckConfig(provider.Settings{AdminKey: good, BaseURL: address}), field, good)
	}
	wantField(t, litellm.New().CheckConfig(provider.Settings{
		AdminKey: good, BaseURL: baseURL, Fields: provider.Values{"allowed_teams": []string{good}},
	}), "allowed_teams", good)
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
