package anthropic_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/anthropic"
	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
	"vault-plugin-secrets-llm/backend/provider/providertest"
)

// published is the rule that a read of the role shows.
func (w *federation) published(t *testing.T) map[string]any {
	t.Helper()
	holder := providertest.Holder()
	var body map[string]any
	text := anthropic.New().(provider.Publisher).PublishRole(w.settings, holder.Mount, holder.Role, w.role)["federation_rule"]
	if err := json.Unmarshal([]byte(text), &body); err != nil {
		t.Fatal(err)
	}
	return body
}

func TestCheckRoleAt(t *testing.T) {
	for what, c := range map[string]struct {
		change func(w *federation, body map[string]any)
		want   string // in the error; empty for none
	}{
		"as published": {func(*federation, map[string]any) {}, ""},
		"another role of the engine": {func(_ *federation, body map[string]any) {
			body["match"] = map[string]string{"subject_prefix": "vault-llm:m7k2:other:*"}
		}, ""},
		"all workspaces": {func(_ *federation, body map[string]any) {
			delete(body, "workspace_id")
			body["applies_to_all_workspaces"] = true
		}, ""},
		"issuer": {func(w *federation, body map[string]any) {
			body["issuer_id"], _ = w.CreateIssuer(`{"name":"other","issuer_url":"https://other.test","jwks":{"type":"inline","keys":[` + w.issuerKeys()[0] + `]}}`)
		}, "belongs to another issuer"},
		"account": {func(w *federation, body map[string]any) {
			body["target"] = map[string]string{"type": "service_account", "service_account_id": w.CreateServiceAccount("other")}
		}, "targets another service account"},
		"scope": {func(_ *federation, body map[string]any) { body["oauth_scope"] = "org:admin" }, "grants the scope org:admin"},
		"workspace": {func(w *federation, body map[string]any) {
			body["workspace_id"] = w.AddWorkspace("")
		}, "not enabled for the workspace"},
		"subject": {func(_ *federation, body map[string]any) {
			body["match"] = map[string]string{"subject_prefix": "repo:acme/*"}
		}, "not of this engine"},
		"broad": {func(_ *federation, body map[string]any) {
			body["match"] = map[string]string{"subject_prefix": "vault-llm:m7k2:*"}
		}, "fits more than one role"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newFederation(t)
			body := w.published(t)
			body["name"] = "another"
			c.change(w, body)
			text, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			w.role["federation_rule_id"] = must(t)(w.CreateRule(string(text)))
			err = w.client(t).(provider.RoleChecker).CheckRoleAt(t.Context(), w.role)
			if c.want == "" {
				wantField(t, err, "")
				return
			}
			if wantField(t, err, "federation_rule_id"); err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want %s", what, err, c.want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		if err := w.ArchiveRule(w.rule); err != nil {
			t.Fatal(err)
		}
		check := w.client(t).(provider.RoleChecker).CheckRoleAt
		wantField(t, check(t.Context(), w.role), "federation_rule_id")
		w.role["federation_rule_id"] = "fdrl_01none"
		wantField(t, check(t.Context(), w.role), "federation_rule_id")
		w.role["federation_rule_id"] = ""
		wantField(t, check(t.Context(), w.role), "")
	})
}

func TestCloseRole(t *testing.T) {
	for _, kills := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newFederation(t)
			w.SetKnobs(fakeanthropic.Knobs{RemovalKillsTokens: kills})
			c := w.client(t)
			key, err := w.mint(t, c, "01", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			done, err := c.(provider.RoleCloser).CloseRole(t.Context(), providertest.Holder(), w.role)
			if err != nil || !strings.Contains(done, w.rule) || !strings.Contains(done, "work until they expire") || !strings.Contains(done, w.account) {
				t.Errorf("got %q, error %v", done, err)
			}
			if !w.RuleArchived(w.rule) || w.IsMember(w.Workspace(), w.account) || w.RuleArchived(w.adminRule) {
				t.Error("want the rule archived, the service account out of the workspace, and nothing else")
			}
			if w.Alive(key.Secret.Reveal()) == kills {
				t.Errorf("the token is alive: %t", !kills)
			}
		})
	}
}

func TestCloseRoleInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		closer := w.client(t).(provider.RoleCloser)
		closeRole := func(ctx context.Context, role provider.Values) (string, error) {
			return closer.CloseRole(ctx, providertest.Holder(), role)
		}
		w.Inject(fake.Fault{Op: fakeanthropic.OpArchiveRule, Times: 1, Status: http.StatusOK, Body: `{"id":"` + w.rule + `","archived_at":null}`})
		if _, err := closeRole(t.Context(), w.role); !provider.IsKind(err, provider.Unavailable) {
			t.Errorf("got %v of a rule that is not archived, want Unavailable", err)
		}
		w.Inject(fake.Answer(fakeanthropic.OpRemoveMember, http.StatusForbidden, 1))
		done, err := closeRole(t.Context(), w.role)
		if done != "" || !provider.IsKind(err, provider.Forbidden) || !strings.Contains(err.Error(), w.rule+" is archived, but") || !w.RuleArchived(w.rule) {
			t.Errorf("got %q, error %v", done, err)
		}
		if _, err := closeRole(t.Context(), w.role); err != nil || w.IsMember(w.Workspace(), w.account) {
			t.Errorf("got %v the second time", err)
		}

		w.role["workspace_id"] = "default"
		before := w.Server.Count(fakeanthropic.OpRemoveMember)
		done, err = closeRole(t.Context(), w.role)
		if err != nil || !strings.Contains(done, "default workspace") || w.Server.Count(fakeanthropic.OpRemoveMember) != before {
			t.Errorf("got %q, error %v", done, err)
		}
		w.role["federation_rule_id"] = ""
		sent := len(w.Requests())
		if done, err := closeRole(t.Context(), w.role); err != nil || !strings.Contains(done, "names no federation_rule_id") || len(w.Requests()) != sent {
			t.Errorf("got %q, error %v of a role without a rule", done, err)
		}
	})
}

func TestDefaultWorkspace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		w.role["workspace_id"] = "default"
		body := w.published(t)
		body["name"] = "in-default"
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		w.role["federation_rule_id"] = must(t)(w.CreateRule(string(text)))
		if _, err := w.mint(t, w.client(t), "01", time.Hour); err != nil {
			t.Error(err)
		}
	})
}

func TestPublished(t *testing.T) {
	w := newFederation(t)
	publisher := anthropic.New().(provider.Publisher)
	delete(w.settings.Fields, "issuer_id")
	w.settings.Fields["audience"], w.settings.Fields["issuer_url"] = "urn:vault", "https://vault.example.com/"
	got := publisher.Publish(w.settings, "m7k2")
	for name, parts := range map[string][]string{
		"federation_issuer": {`"issuer_url":"https://vault.example.com/"`, `"kid":"` + workload(w.settings.AdminKey).Kid, `"max_jwt_lifetime_seconds":43260`},
		"admin_issuer":      {`"issuer_url":"https://vault.example.com/admin"`, `"max_jwt_lifetime_seconds":300`},
		"admin_rule":        {`"subject_prefix":"vault-llm:admin"`, `"audience":"urn:vault"`, `"oauth_scope":"org:admin"`},
		"jwks":              {`{"keys":[{"kty":"EC","crv":"P-256","kid":`},
	} {
		for _, part := range parts {
			if !strings.Contains(got[name], part) {
				t.Errorf("%s is not in %s: %s", part, name, got[name])
			}
		}
	}
	if strings.Contains(fmt.Sprint(got), `"d"`) {
		t.Error("a private member is published")
	}
	rule := publisher.PublishRole(w.settings, "m7k2", "bot", nil)["federation_rule"]
	for _, part := range []string{
		`"name":"vault-llm-m7k2-bot-`, `"subject_prefix":"vault-llm:m7k2:bot:*"`, "<id of the connection's issuer>", "<service_account_id>", "<workspace_id>",
	} {
		if !strings.Contains(rule, part) {
			t.Errorf("%s is not in %s", part, rule)
		}
	}
	if got := publisher.Publish(provider.Settings{AdminKey: "nonsense"}, "m7k2"); len(got) != 0 {
		t.Errorf("got %v of no keyring", got)
	}
}

// A role closes no rule but its own, whatever it names.
func TestCloseRoleOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		other := providertest.Holder()
		other.Role = "team-b/bot"
		for what, rule := range map[string]string{"another role's": w.rule, "the admin rule": w.adminRule} {
			w.role["federation_rule_id"] = rule
			_, err := w.client(t).(provider.RoleCloser).CloseRole(t.Context(), other, w.role)
			if !provider.IsKind(err, provider.Invalid) || w.RuleArchived(rule) || !w.IsMember(w.Workspace(), w.account) {
				t.Errorf("%s: got %v; archived: %t", what, err, w.RuleArchived(rule))
			}
		}
		w.role["federation_rule_id"] = w.adminRule
		wantField(t, anthropic.New().CheckRole(w.settings.Fields, w.role), "federation_rule_id")
	})
}
