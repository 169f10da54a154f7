package backend

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// snapshot is everything that is stored.
func (m *testMount) snapshot() map[string]string {
	m.t.Helper()
	all := map[string]string{}
	for _, key := range m.stored("") {
		entry, err := m.storage.Storage.Get(m.t.Context(), key)
		if err != nil {
			m.t.Fatal(err)
		}
		all[key] = string(entry.Value)
	}
	return all
}

func TestBadInputIsRefusedAndChangesNothing(t *testing.T) {
	cases := []struct {
		name string
		op   string
		path string
		data pairs
		text []string // what the message names: the field, and the remedy
	}{
		{"unknown field", "write", "config/openai", pairs{"admin_keys", "x"}, []string{`unknown field "admin_keys"`, `did you mean "admin_key"?`}},
		{"unknown field far from any", "write", "roles/bot", pairs{"budget_in_euro", "1"}, []string{`unknown field "budget_in_euro"`, "known are budget, "}},
		{"unknown field on creds", "read", "creds/bot", pairs{"tll", "1h"}, []string{`unknown field "tll"`, `did you mean "ttl"?`}},
		{"unknown provider", "write", "config/new", pairs{"provider", "opnai", "admin_key", "x"}, []string{"provider: is not known", "openai"}},
		{"no provider", "write", "config/new", pairs{"admin_key", "x"}, []string{"provider: is missing", "openai"}},
		{"no admin key", "write", "config/new", pairs{"provider", "openai"}, []string{"admin_key:"}},
		{"malformed admin key", "write", "config/openai", pairs{"admin_key", "sk-admin-has a blank in it"}, []string{"admin_key:"}},
		{"project key as admin key", "write", "config/openai", pairs{"admin_key", "sk-proj-aaaaaaaaaaaaaaaaaaaaaaaa"}, []string{"admin_key:", "project key"}},
		{"dead admin key", "write", "config/openai", pairs{"admin_key", "sk-admin-aaaaaaaaaaaaaaaaaaaaaaaa"}, []string{"admin_key: is refused by the provider", "verify=false"}},
		{"http off loopback", "write", "config/openai", pairs{"base_url", "http://gateway.example.com/v1", "admin_key", "sk-admin-aaaaaaaaaaaaaaaaaaaaaaaa"}, []string{"base_url:", "https", "allow_http=true"}},
		{"no address", "write", "config/openai", pairs{"base_url", "gateway", "admin_key", "sk-admin-aaaaaaaaaaaaaaaaaaaaaaaa"}, []string{"base_url:", "https://"}},
		{"password in the address", "write", "config/openai", pairs{"base_url", "https://u:p@example.com/v1", "admin_key", "sk-admin-aaaaaaaaaaaaaaaaaaaaaaaa"}, []string{"base_url:", "password"}},
		{"base URL without the key", "write", "config/openai", pairs{"base_url", "https://evil.example.com/v1", "verify", false}, []string{"admin_key: is missing", "base_url", "never sent to a new host"}},
		{"certificate that is none", "create", "config/new", pairs{"provider", "openai", "admin_key", "sk-admin-01234567890123456789", "ca_cert", "not pem", "verify", false}, []string{"ca_cert:", "BEGIN CERTIFICATE"}},
		{"timeout too long", "write", "config/openai", pairs{"request_timeout", "2m"}, []string{"request_timeout:", "above the maximum of 1m0s"}},
		{"timeout of zero", "write", "config/openai", pairs{"request_timeout", 0}, []string{"request_timeout:", "below the minimum of 1s"}},
		{"grace too short", "write", "config/openai", pairs{"expiry_grace", "30s"}, []string{"expiry_grace:", "below the minimum of 2m0s"}},
		{"no concurrency", "write", "config/openai", pairs{"max_concurrency", 0}, []string{"max_concurrency:", "give 1 to 256"}},
		{"number that is none", "write", "config/openai", pairs{"max_concurrency", "many"}, []string{"max_concurrency:", "whole number"}},
		{"boolean that is none", "write", "config/openai", pairs{"allow_http", "maybe"}, []string{"allow_http:", "true or false"}},
		{"string that is none", "write", "config/openai", pairs{"admin_key_id", json.Number("3")}, []string{"admin_key_id:", "give a string"}},

		{"ttl above max_ttl", "write", "roles/bot", pairs{"ttl", "2h", "max_ttl", "1h"}, []string{"ttl: 2h0m0s is above max_ttl", "raise max_ttl"}},
		{"ttl above the stored max_ttl", "write", "roles/bot", pairs{"ttl", "48h"}, []string{"ttl: 48h0m0s is above max_ttl"}},
		{"negative ttl", "write", "roles/bot", pairs{"ttl", "-1h"}, []string{"ttl: is negative"}},
		{"negative number as ttl", "write", "roles/bot", pairs{"ttl", -5}, []string{"ttl: is negative"}},
		{"absurd ttl", "write", "roles/bot", pairs{"max_ttl", "87600h"}, []string{"max_ttl:", "above the maximum of 8760h"}},
		{"ttl in fractions", "write", "roles/bot", pairs{"ttl", "1500ms"}, []string{"ttl:", "whole seconds"}},
		{"ttl that is none", "write", "roles/bot", pairs{"ttl", "soon"}, []string{"ttl:", "15m"}},
		{"ttl that is a list", "write", "roles/bot", pairs{"ttl", []any{"1h"}}, []string{"ttl: is a list"}},
		{"negative ttl of a read", "read", "creds/bot", pairs{"ttl", "-1h"}, []string{"ttl: is negative"}},

		{"empty segment", "write", "roles/team//bot", pairs{"config_name", "openai", "project_id", "proj_demo"}, []string{"name:", "single slashes"}},
		{"blank in a name", "write", "roles/team a/bot", pairs{"config_name", "openai"}, []string{"name:", "letters, digits"}},
		{"dots as a segment", "write", "roles/team/../bot", pairs{"config_name", "openai"}, []string{"name:"}},
		{"mark in a name", "write", "roles/team/~bot", pairs{"config_name", "openai"}, []string{"name:"}},
		{"bad name on creds", "read", "creds/a//b", nil, []string{"name:"}},

		{"no project", "write", "roles/new", pairs{"config_name", "openai"}, []string{"project_id:"}},
		{"unknown project", "write", "roles/new", pairs{"config_name", "openai", "project_id", "proj_nowhere"}, []string{"project_id:", "proj_nowhere"}},
		{"archived project", "write", "roles/new", pairs{"config_name", "openai", "project_id", "proj_old"}, []string{"project_id:", "archived"}},
		{"path as a project", "write", "roles/new", pairs{"config_name", "openai", "project_id", "../admin_api_keys?x="}, []string{"project_id:"}},
		{"project outside of the connection", "write", "roles/new", pairs{"config_name", "fenced", "project_id", "proj_demo"}, []string{"project_id:", "allowed_projects"}},
		{"template that does not parse", "write", "roles/bot", pairs{"name_template", "{{.RoleName"}, []string{"name_template: does not render"}},
		{"template of an unknown field", "write", "roles/bot", pairs{"name_template", "{{.Nothing}}"}, []string{"name_template: does not render"}},
		{"template that gives nothing", "write", "roles/bot", pairs{"name_template", "{{- if false}}x{{end}}"}, []string{"name_template: renders to nothing"}},
		{"template of nothing but signs", "write", "roles/bot", pairs{"name_template", "!?%"}, []string{"name_template: renders to nothing"}},
		{"scopes with blanks", "write", "roles/bot", pairs{"scopes", []any{" api.responses.write"}}, []string{"scopes:", "no blanks"}},
		{"scopes with an empty entry", "write", "roles/bot", pairs{"scopes", "api.responses.write,,x"}, []string{"scopes:", "not empty"}},
		{"scopes with a blank inside", "write", "roles/bot", pairs{"scopes", []any{"api responses"}}, []string{"scopes:"}},
		{"scopes that are numbers", "write", "roles/bot", pairs{"scopes", []any{json.Number("1")}}, []string{"scopes:", "give strings"}},
		{"metadata of numbers", "write", "roles/bot", pairs{"metadata", map[string]any{"ticket": json.Number("7")}}, []string{"metadata:", "ticket", "give strings"}},
		{"metadata without a value", "write", "roles/bot", pairs{"metadata", "owner"}, []string{"metadata:", "key=value"}},
		{"cap below zero", "write", "roles/bot", pairs{"max_active_keys", -1}, []string{"max_active_keys:"}},

		{"role of no connection", "write", "roles/new", pairs{"project_id", "proj_demo"}, []string{"config_name: is missing"}},
		{"role of a missing connection", "write", "roles/new", pairs{"config_name", "nowhere", "project_id", "proj_demo"}, []string{"config_name:", `"nowhere" does not exist`, "config/nowhere"}},
		{"role that the connection does not allow", "write", "roles/new", pairs{"config_name", "closed", "project_id", "proj_demo"}, []string{"config_name:", "does not allow", "allowed_roles"}},
		{"empty boolean", "write", "tidy/openai", []any{"dry_run", ""}, []string{"dry_run", "empty", "true or false"}},
		{"empty role", "read", "keys", []any{"role", ""}, []string{"role", "empty", "leave it out"}},
		{"connection with live keys", "delete", "config/openai", nil, []string{"still has live keys (1)", "write <mount>/revoke role="}},
		{"connection that a role uses", "delete", "config/spare", nil, []string{`role "other" uses connection "spare"`}},
		{"provider changed while keys live", "write", "config/openai", pairs{"provider", ""}, []string{"provider: is missing"}},
	}
	both(t, func(m *testMount) {
		m.fake.AddProject("proj_old")
		m.fake.ArchiveProject("proj_old")
		m.configure()
		key := m.fake.AdminKey()
		m.do("create", "config/closed", "provider", "openai", "admin_key", key, "allowed_roles", "other/*")
		m.do("create", "config/fenced", "provider", "openai", "admin_key", key, "allowed_projects", "proj_else")
		m.do("create", "config/spare", "provider", "openai", "admin_key", key)
		m.do("create", "roles/other", "config_name", "spare", "project_id", "proj_demo")
		l := m.lease("creds/bot")
		for _, c := range cases {
			before, live := m.snapshot(), len(m.fake.LiveKeys())
			m.refused(400, c.text, c.op, c.path, c.data...)
			if after := m.snapshot(); !maps.Equal(before, after) {
				m.t.Errorf("%s: the refusal changed what is stored", c.name)
			}
			if now := len(m.fake.LiveKeys()); now != live {
				m.t.Errorf("%s: live keys went from %d to %d", c.name, live, now)
			}
		}
		l.revoke()
	})
}

func TestRefusalsOfCreds(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.refused(404, []string{`role "nobody" does not exist`}, "read", "creds/nobody")

		m.do("write", "roles/bot", "max_active_keys", 2)
		first := m.lease("creds/bot")
		m.lease("creds/bot")
		m.refused(429, []string{"2 keys", "max_active_keys is 2"}, "read", "creds/bot")
		first.revoke()
		m.lease("creds/bot")

		m.do("write", "roles/bot", "max_active_keys", 0, "require_entity", true)
		m.lease("creds/bot")
		req := m.request(operations["read"], "creds/bot", nil)
		req.EntityID = ""
		status, text := outcome(m.b.HandleRequest(m.t.Context(), req))
		if status != 403 {
			m.t.Errorf("no entity: got %d (%s), want 403", status, text)
		}
	})
}

func TestProviderFailuresAreToldApart(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot").revoke()
		m.fake.Inject(fakeopenai.Limited(fakeopenai.OpAny, 7*time.Second, 0))
		start := time.Now()
		m.refused(503, []string{"rate limited", "Retry-After: "}, "read", "creds/bot")
		if waited := time.Since(start); waited > 90*time.Second {
			m.t.Errorf("the caller waited %s", waited)
		}
		m.fake.ClearFaults()
		time.Sleep(time.Hour)
		m.fake.RevokeAdminKey(m.fake.AdminKeys()[0].ID)
		m.refused(502, []string{"openai: create key: unauthorized"}, "read", "creds/bot")
		if got := m.do("read", "config/openai").Data["last_error"].(string); got == "" {
			m.t.Error("last_error is empty after the admin key was refused")
		}
	})
}
