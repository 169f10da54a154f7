package openai_test

import (
	"errors"
	"strings"
	"testing"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/openai"
)

const goodKey = "sk-admin-0123456789abcdef"

// wantRefusal checks a FieldError; "" for the field means none.
func wantRefusal(t *testing.T, name string, err error, field, problem string) {
	t.Helper()
	got, refused := errors.AsType[*provider.FieldError](err)
	switch {
	case field == "" && err != nil:
		t.Errorf("%s: got %v, want no error", name, err)
	case field == "":
	case !refused || got.Field != field || !strings.Contains(got.Problem, problem):
		t.Errorf("%s: got %v, want %s: …%s…", name, err, field, problem)
	}
}

func TestCheckConfig(t *testing.T) {
	for _, test := range []struct {
		name           string
		key            string
		fields         provider.Values
		field, problem string
	}{
		{name: "good", key: goodKey},
		{name: "good with fields", key: goodKey, fields: provider.Values{
			"organization_id": "org-Demo_1", "allowed_projects": []any{"proj_A", "proj-b"},
		}},
		{name: "no key", field: "admin_key", problem: "is required"},
		{name: "project key", key: "sk-proj-0123456789abcdef", field: "admin_key", problem: "a project key cannot administer"},
		{name: "service account's key", key: "sk-svcacct-0123456789abcdef", field: "admin_key", problem: "create an admin key"},
		{name: "user's key", key: "sk-0123456789abcdef0123", field: "admin_key", problem: "is not an admin key"},
		{name: "another provider's key", key: "sk-ant-admin01-0123456789", field: "admin_key", problem: "is not an admin key"},
		{name: "cut off", key: "sk-admin-0123456789", field: "admin_key", problem: "too short"},
		{name: "line break", key: goodKey + "\n", field: "admin_key", problem: "line break"},
		{name: "blank", key: "Bearer " + goodKey, field: "admin_key", problem: "blank"},
		{name: "not ASCII", key: goodKey + "…", field: "admin_key", problem: "another character"},
		{name: "not UTF-8", key: goodKey + "\xff", field: "admin_key", problem: "another character"},
		{
			name: "odd organization", key: goodKey, fields: provider.Values{"organization_id": "org demo"},
			field: "organization_id", problem: "is not an id",
		},
		{
			name: "odd project", key: goodKey, fields: provider.Values{"allowed_projects": []string{"proj_a", "../x"}},
			field: "allowed_projects", problem: `"../x" is not an id`,
		},
		{
			name: "empty project", key: goodKey, fields: provider.Values{"allowed_projects": []string{""}},
			field: "allowed_projects", problem: `"" is not an id`,
		},
	} {
		err := openai.New().CheckConfig(provider.Settings{AdminKey: provider.Secret(test.key), Fields: test.fields})
		wantRefusal(t, test.name, err, test.field, test.problem)
		if err != nil && test.key != "" && strings.Contains(err.Error(), strings.TrimSpace(test.key)) {
			t.Errorf("%s: the key is in %q", test.name, err)
		}
	}
}

func TestCheckRole(t *testing.T) {
	config := provider.Values{"allowed_projects": []any{"proj_a", "proj_b"}}
	for _, test := range []struct {
		name           string
		config, role   provider.Values
		field, problem string
	}{
		{name: "good", role: provider.Values{"project_id": "proj_x"}},
		{name: "allowed", config: config, role: provider.Values{
			"project_id": "proj_b", "scopes": []string{"api.responses.write", "api.all.read", "api.model.*"},
		}},
		{name: "no project", role: provider.Values{}, field: "project_id", problem: "is required"},
		{
			name: "traversal", role: provider.Values{"project_id": "../admin_api_keys?x="},
			field: "project_id", problem: "is not an id",
		},
		{
			name: "too long", role: provider.Values{"project_id": strings.Repeat("p", 129)},
			field: "project_id", problem: "is not an id",
		},
		{
			name: "line break", role: provider.Values{"project_id": "proj_x\n"},
			field: "project_id", problem: "is not an id",
		},
		{
			name: "of another team", config: config, role: provider.Values{"project_id": "proj_c"},
			field: "project_id", problem: "not among the connection's allowed_projects",
		},
		{
			name: "empty scope", role: provider.Values{"project_id": "proj_x", "scopes": []any{"api.all.read", ""}},
			field: "scopes", problem: `"" is not a scope`,
		},
		{
			name: "blank in a scope", role: provider.Values{"project_id": "proj_x", "scopes": []string{"api.all.read api.files.read"}},
			field: "scopes", problem: "is not a scope",
		},
		{
			name: "scope twice", role: provider.Values{"project_id": "proj_x", "scopes": []string{"a.b", "c.d", "a.b"}},
			field: "scopes", problem: `"a.b" is given twice`,
		},
	} {
		wantRefusal(t, test.name, openai.New().CheckRole(test.config, test.role), test.field, test.problem)
	}
}

func TestDescription(t *testing.T) {
	p := openai.New()
	if p.Name() != "openai" || p.Scope(provider.Values{"project_id": "proj_x"}) != "proj_x" {
		t.Errorf("got name %q, scope %q", p.Name(), p.Scope(provider.Values{"project_id": "proj_x"}))
	}
	if seconds := p.Limits().Lifetime.Seconds(); seconds != 31_536_000 {
		t.Errorf("got a lifetime of %.0f s", seconds)
	}
}
