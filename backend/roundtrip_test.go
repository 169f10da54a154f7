package backend

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// asJSON brings what was written and what is read to one form.
func asJSON(t *testing.T, value any) any {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// wantFields asserts that a read returns fields as they were written.
func (m *testMount) wantFields(path string, want map[string]any) {
	m.t.Helper()
	got := asJSON(m.t, m.do("read", path).Data).(map[string]any)
	for field, value := range asJSON(m.t, want).(map[string]any) {
		if !reflect.DeepEqual(got[field], value) {
			m.t.Errorf("%s: %s reads %#v, was written %#v", path, field, got[field], value)
		}
	}
}

func pairsOf(fields map[string]any) []any {
	var out []any
	for name, value := range fields {
		out = append(out, name, value)
	}
	return out
}

func TestReadReturnsWhatWasWritten(t *testing.T) {
	both(t, func(m *testMount) {
		config := map[string]any{
			"provider": "openai", "admin_key_id": m.fake.AdminKeys()[0].ID, "base_url": "https://api.openai.com/v1",
			"allow_http": true, "request_timeout": 20, "max_concurrency": 4,
			"allowed_roles": []any{"z/*", "a", "z/*"}, "expiry_grace": 300,
			"rotation_period": 86400, "disable_automated_rotation": true, "rotation_overlap": 60,
			"organization_id": "org-1", "allowed_projects": []any{"proj_demo", "proj_a"},
		}
		m.do("create", "config/c", append(pairsOf(config), "admin_key", m.fake.AdminKey())...)
		m.wantFields("config/c", config)
		read := m.do("read", "config/c").Data
		for _, hidden := range []string{"admin_key", "verify", "name"} {
			if _, ok := read[hidden]; ok {
				m.t.Errorf("config/c shows %s", hidden)
			}
		}

		role := map[string]any{
			"config_name": "c", "ttl": 60, "max_ttl": 7200, "name_template": "{{.EntityName}}-x",
			"require_entity": true, "max_active_keys": 3, "metadata": map[string]any{"owner": "ada", "env": "prod"},
			"project_id": "proj_demo", "scopes": []any{"api.responses.write", "api.files.read"},
		}
		m.do("create", "roles/z/bot", pairsOf(role)...)
		m.wantFields("roles/z/bot", role)

		// A partial write keeps the rest.
		m.do("write", "roles/z/bot", "ttl", "2h")
		role["ttl"] = 7200
		m.wantFields("roles/z/bot", role)

		// An explicit zero resets.
		zero := map[string]any{
			"ttl": 0, "max_ttl": 0, "name_template": "", "require_entity": false,
			"max_active_keys": 0, "metadata": map[string]any{}, "scopes": []any{},
		}
		m.do("write", "roles/z/bot", pairsOf(zero)...)
		m.wantFields("roles/z/bot", zero)
		m.wantFields("roles/z/bot", map[string]any{"config_name": "c", "project_id": "proj_demo"})
	})
}

func TestCommandLineFormsOfFields(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "roles/bot", "ttl", "90m", "max_active_keys", "5", "require_entity", "true",
			"scopes", "api.a,api.b", "metadata", []any{"owner=ada", "env=prod"})
		m.wantFields("roles/bot", map[string]any{
			"ttl": 5400, "max_active_keys": 5, "require_entity": true,
			"scopes": []any{"api.a", "api.b"}, "metadata": map[string]any{"owner": "ada", "env": "prod"},
		})
		m.do("write", "roles/bot", "metadata", "owner=bob")
		m.wantFields("roles/bot", map[string]any{"metadata": map[string]any{"owner": "bob"}})
	})
}

func TestNullClearsStringsAndIsAbsentElsewhere(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "roles/bot", "ttl", "90m", "name_template", "x")
		m.do("write", "roles/bot", "ttl", nil, "name_template", nil, "metadata", nil)
		m.wantFields("roles/bot", map[string]any{"ttl": 5400, "name_template": ""})
	})
}

func TestDefaultsOfARole(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.wantFields("roles/bot", map[string]any{
			"ttl": 3600, "max_ttl": 86400, "name_template": "", "require_entity": false, "max_active_keys": 0,
			"metadata": map[string]any{}, "scopes": []any{},
		})
		m.wantFields("config/openai", map[string]any{
			"request_timeout": 30, "max_concurrency": 16, "allowed_roles": []any{"*"}, "expiry_grace": 600,
			"allow_http": false, "base_url": "", "ca_cert": "", "live_keys": 0, "last_error": "",
			"rotation_period": 0, "rotation_schedule": "", "rotation_window": 0, "disable_automated_rotation": false,
			"rotation_overlap": 300, "admin_key_ttl": 0, "next_vault_rotation": "", "admin_key_expires_at": "",
			"admin_key_id":     m.fake.AdminKeys()[0].ID,
			"allowed_projects": []any{}, "organization_id": "",
		})
	})
}

func TestMissingObjectsAndLists(t *testing.T) {
	both(t, func(m *testMount) {
		for _, path := range []string{"config/none", "roles/none", "roles/a/b"} {
			if resp := m.do("read", path); resp != nil {
				m.t.Errorf("read %s: got %v, want nothing (404)", path, resp)
			}
			if resp := m.do("delete", path); resp != nil {
				m.t.Errorf("delete %s: got %v, want nothing (204)", path, resp)
			}
		}
		m.configure()
		for _, name := range []string{"team-a/one", "team-a/deep/two", "team-b/one", "team-a"} {
			m.do("create", "roles/"+name, "config_name", "openai", "project_id", "proj_demo")
		}
		for path, want := range map[string][]string{
			"config/":            {"openai"},
			"roles/":             {"bot", "team-a", "team-a/", "team-b/"},
			"roles/team-a/":      {"deep/", "one"},
			"roles/team-a/deep/": {"two"},
			"creds/":             {"bot", "team-a", "team-a/", "team-b/"},
			"creds/team-b/":      {"one"},
		} {
			got := asJSON(m.t, m.do("list", path).Data["keys"])
			if fmt.Sprint(got) != fmt.Sprint(want) {
				m.t.Errorf("list %s: got %v, want %v", path, got, want)
			}
		}
		// Names that are prefixes of others do not mix up their keys.
		m.lease("creds/team-a")
		m.lease("creds/team-a/one")
		m.do("delete", "roles/team-a")
		m.wantFields("roles/team-a/one", map[string]any{"config_name": "openai"})
	})
}

func TestInfo(t *testing.T) {
	both(t, func(m *testMount) {
		list := func(words string) (all []any) {
			for word := range strings.FieldsSeq(words) {
				all = append(all, word)
			}
			return all
		}
		got := asJSON(m.t, m.do("read", "info").Data["providers"])
		want := map[string]any{
			"openai":         list("check_role extend list_scopes mint principal read_key revoke rotate_admin verify_admin verify_key"),
			"openrouter":     list("budget budget_period check_role list_scopes mint models revoke verify_admin verify_key"),
			"litellm":        list("budget budget_period check_role extend mint models read_key requests_per_minute revoke rotate_admin tokens_per_minute verify_admin verify_key"),
			"anthropic":      list("check_role close_role mint rotate_admin verify_admin"),
			"anthropic-pool": list("check_role list_scopes mint pool revoke verify_admin verify_key"),
		}
		if !reflect.DeepEqual(got, want) {
			m.t.Errorf("info: got %v, want %v", got, want)
		}
	})
}

// A body is what a client such as Terraform writes again and again: JSON text, which
// it decodes, marshals with its keys sorted, and compares with what it reads.
type body struct {
	path string
	text string   // an object
	own  pairs    // the shape's own fields, beside those of the text
	not  []string // fields that no read returns
}

func (b body) decode(t *testing.T) map[string]any {
	t.Helper()
	own := map[string]any{}
	for i := 0; i < len(b.own); i += 2 {
		own[b.own[i].(string)] = b.own[i+1]
	}
	raw, err := json.Marshal(own)
	if err != nil {
		t.Fatal(err)
	}
	text := b.text
	if inner := strings.Trim(string(raw), "{}"); inner != "" {
		text = strings.TrimSuffix(text, "}") + "," + inner + "}"
	}
	return decodeExactly(t, text)
}

// decodeExactly decodes JSON as Vault and its clients do, with numbers as they are.
func decodeExactly(t *testing.T, text string) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var out map[string]any
	if err := decoder.Decode(&out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

func marshalled(t *testing.T, value any) string {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// writeAndCompare writes a body, and once more, and asserts that a read, restricted to
// the body's fields, is the body to the last byte.
func (m *testMount) writeAndCompare(b body) {
	m.t.Helper()
	written := b.decode(m.t)
	for range 2 {
		m.do("write", b.path, pairsOf(written)...)
		read := decodeExactly(m.t, marshalled(m.t, m.do("read", b.path).Data))
		want := decodeExactly(m.t, marshalled(m.t, written))
		for _, field := range b.not {
			if _, ok := read[field]; ok {
				m.t.Errorf("%s shows %s", b.path, field)
			}
			delete(want, field)
		}
		got := map[string]any{}
		for field := range want {
			if value, ok := read[field]; ok {
				got[field] = value
			}
		}
		if got, want := marshalled(m.t, got), marshalled(m.t, want); got != want {
			m.t.Errorf("%s\nreads   %s\nwritten %s", b.path, got, want)
		}
	}
}

// At every provider: what a client compares is what it has written.
func TestReadEqualsTheBodyAtEachProvider(t *testing.T) {
	eachShape(t, func(m *testMount, sh shape) {
		s := m.sim(sh)
		config := body{
			path: "config/" + sh.name,
			text: `{"provider": "` + sh.name + `", "request_timeout": 20, "max_concurrency": 4, "verify": true,
				"allowed_roles": ["z/*", "a", "z/*", "B-*"], "expiry_grace": 300, "allow_http": true, "ca_cert": ""}`,
			own: sh.config(s), not: []string{"admin_key", "verify"},
		}
		if sh.rotates != nil {
			config.own = append(config.own, "rotation_period", 2592000, "rotation_overlap", 60, "disable_automated_rotation", true)
		}
		m.writeAndCompare(config)

		own := sh.role(s)
		common := `"config_name": "` + sh.name + `", "name_template": "{{.RoleName}}-X", "require_entity": true,
			"metadata": {"owner": "Ada", "ticket": "007", "environment": ""}`
		m.writeAndCompare(body{path: "roles/z/bot", text: `{` + common + `, "ttl": 900, "max_ttl": 3600, "max_active_keys": 3}`, own: own})
		if sh.static == nil {
			return
		}
		if sh.ready != nil {
			sh.ready(m, s, "z/bot")
		}
		if sh.static.ready != nil {
			sh.static.ready(m, s)
		}
		m.writeAndCompare(body{
			path: "static-roles/z/app", own: own,
			text: `{` + common + `, "rotation_period": 86400, "overlap": 3600, "verify": true}`,
		})
		m.writeAndCompare(body{
			path: "static-roles/z/app", own: own,
			text: `{` + common + `, "rotation_period": 0, "rotation_schedule": "0 3 * * SAT", "rotation_window": 7200, "overlap": 60, "verify": false}`,
		})
	})
}

// The fields that are lists, and numbers in the forms that they may have, come back as
// they were, in the order given.
func TestReadEqualsTheBodyOfLists(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.writeAndCompare(body{path: "config/openai", text: `{"allowed_projects": ["proj_demo", "proj_a", "proj_A"], "organization_id": "org-Z"}`})
		for _, scopes := range []string{`["api.responses.write", "api.files.read"]`, `["api.files.read", "api.responses.write"]`, `[]`} {
			m.writeAndCompare(body{path: "roles/bot", text: `{"config_name": "openai", "project_id": "proj_demo", "scopes": ` + scopes + `}`})
		}
	})
	both(t, func(m *testMount) {
		m.connect(liteLLMShape)
		for _, budget := range []string{"12.5", "10", "0", "1000000", "0.01"} {
			m.writeAndCompare(body{
				path: "roles/litellm", own: pairs{"team_id", "team-blue"},
				text: `{"config_name": "litellm", "budget": ` + budget + `, "budget_period": "", "models": ["gpt-4.1-mini", "gpt-4.1"], "requests_per_minute": 60}`,
			})
		}
	})
}
