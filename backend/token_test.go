package backend

import (
	"fmt"
	"strings"
	"testing"
	"time"

	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
)

// federatedAdmin gives the connection to Anthropic access to the issuer and the
// rules, as its read says.
func (m *testMount) federatedAdmin() *fakeanthropic.Server {
	m.t.Helper()
	org := m.sims[anthropicHost].simulator.(*fakeanthropic.Server)
	read := m.do("read", "config/anthropic").Data
	issuer, err := org.CreateIssuer(fmt.Sprint(read["admin_issuer"]))
	if err != nil {
		m.t.Fatal(err)
	}
	account := org.CreateServiceAccount("vault-admin")
	body := strings.NewReplacer(
		"<id of the admin issuer>", issuer,
		"<id of a service account with the organization role admin>", account,
	).Replace(fmt.Sprint(read["admin_rule"]))
	rule, err := org.CreateRule(body)
	if err != nil {
		m.t.Fatal(err)
	}
	m.do("write", "config/anthropic", "admin_rule_id", rule)
	return org
}

func TestTokenOfARole(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(anthropicShape, "ttl", 900)
		l := m.lease("creds/anthropic")
		if _, ok := l.data["api_key"]; ok || l.data["auth_token"] == nil || l.secret.Renewable {
			m.t.Errorf("got %v, renewable %v", l.data, l.secret.Renewable)
		}
		if _, err := l.tryRenew(0); err == nil || !strings.Contains(err.Error(), "cannot be extended") {
			m.t.Errorf("a token was renewed: %v", err)
		}
		org := s.simulator.(*fakeanthropic.Server)
		token := org.LiveTokens()[0]
		if got := token.Claims["vault_role"]; got != "anthropic" {
			m.t.Errorf("the assertion says role %v", got)
		}
		if got := token.Claims["vault_entity_id"]; got != "entity-1" {
			m.t.Errorf("the assertion says entity %v", got)
		}
		// It outlives its lease by less than three minutes, renewed or not.
		if over := token.ExpiresAt.Sub(l.end); over < 0 || over > 3*time.Minute {
			m.t.Errorf("the token ends %s after its lease", over)
		}
		l.revoke()
		if recs := m.records(); len(recs) != 1 || recs[0].State != revoking || !strings.Contains(recs[0].LastError, "cannot revoke a token") {
			m.t.Errorf("got the records %+v", recs)
		}
		l.revoke() // as Vault may
		found := m.do("write", "lookup", "api_key", l.secretOf(anthropicShape)).Data
		if found["role"] != "anthropic" || found["state"] != "revoking" {
			m.t.Errorf("a leaked token is %v", found)
		}
	})
}

func TestKillOfTokensSaysWhatLivesOn(t *testing.T) {
	both(t, func(m *testMount) {
		m.connect(anthropicShape, "ttl", 900)
		org := m.federatedAdmin()
		var leases []*testLease
		for range 3 {
			leases = append(leases, m.lease("creds/anthropic"))
		}
		resp := m.do("write", "revoke", "role", "anthropic")
		if fmt.Sprint(resp.Data["revoked"], resp.Data["queued"]) != "0 3" || !strings.Contains(fmt.Sprint(resp.Warnings), "3 tokens cannot be revoked at the provider and may work until") {
			m.t.Errorf("got %v, warnings %v", resp.Data, resp.Warnings)
		}
		again := m.do("write", "revoke", "role", "anthropic") // is no worse
		if fmt.Sprint(again.Data["queued"]) != "3" {
			m.t.Errorf("got %v the second time", again.Data)
		}
		one := m.do("write", "revoke", "api_key", leases[0].secretOf(anthropicShape))
		if fmt.Sprint(one.Data["queued"]) != "1" || !strings.Contains(fmt.Sprint(one.Warnings), "1 token cannot be revoked") {
			m.t.Errorf("got %v, warnings %v", one.Data, one.Warnings)
		}
		resp = m.do("write", "suspend/anthropic", "revoke", true, "close", true, "reason", "leaked")
		closed := fmt.Sprint(resp.Data["closed"])
		if !strings.Contains(closed, "is archived") || !strings.Contains(closed, "role:anthropic") {
			m.t.Errorf("got closed %s", closed)
		}
		m.do("write", "resume/anthropic")
		m.refused(502, []string{"unauthorized", "not archived"}, "read", "creds/anthropic")
		if got := len(org.LiveTokens()); got != 3 {
			m.t.Errorf("got %d live tokens", got)
		}
		m.sweepFor(25 * time.Minute)
		if got := len(org.LiveTokens()); got != 0 {
			m.t.Errorf("got %d live tokens after their end", got)
		}
		m.wantRecords(0)
	})
}

func TestCloseIsOnlyForTokens(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		resp := m.do("write", "suspend/bot", "close", true) // in an incident, that must not be in the way
		if !strings.Contains(fmt.Sprint(resp.Warnings), "nothing was closed") || m.do("read", "roles/bot").Data["suspended"] != true {
			m.t.Errorf("got %v, warnings %v", resp.Data, resp.Warnings)
		}
		m.connect(anthropicShape)
		resp = m.do("write", "suspend/anthropic", "close", true) // without an admin rule
		if !strings.Contains(fmt.Sprint(resp.Data["closed"]), "admin_rule_id") || !strings.Contains(fmt.Sprint(resp.Warnings), "1 role could not be closed") {
			m.t.Errorf("got %v, warnings %v", resp.Data, resp.Warnings)
		}
	})
}

// A rule that is written to a role that exists is looked at, too.
func TestRuleOfARoleIsChecked(t *testing.T) {
	both(t, func(m *testMount) {
		m.connect(anthropicShape)
		m.federatedAdmin()
		m.refused(400, []string{"federation_rule_id: there is no rule"}, "write", "roles/anthropic", "federation_rule_id", "fdrl_nothing")
	})
}

func TestTokensAreNotForStaticRoles(t *testing.T) {
	both(t, func(m *testMount) {
		m.connect(anthropicShape)
		m.refused(400, []string{"config_name: ", "cannot be revoked; use roles/"}, "create", "static-roles/app", "config_name", "anthropic",
			"service_account_id", "svac_1", "workspace_id", "default", "rotation_period", "48h")
	})
}

// The mount does not wait for tokens, of which nothing can be done.
func TestDisableWithTokens(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.connect(anthropicShape)
		m.lease("creds/anthropic")
		m.sys.taint(true)
		began := time.Now()
		m.sweep()
		if took := time.Since(began); took > time.Second {
			m.t.Errorf("the sweep took %s", took)
		}
	})
}

func TestSigningKeyIsMadeByTheEngine(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(anthropicShape)
		before := m.do("read", "config/anthropic").Data
		if before["admin_key_fingerprint"] == "" || before["admin_key"] != nil {
			m.t.Errorf("got %v", before)
		}
		for _, shown := range []string{"jwks", "federation_issuer", "admin_issuer"} {
			if text := fmt.Sprint(before[shown]); !strings.Contains(text, `"kty":"EC"`) || strings.Contains(text, `"d":`) {
				m.t.Errorf("%s: got %s", shown, text)
			}
		}
		m.refused(400, []string{"admin_key: ", "leave it out"}, "write", "config/anthropic", "admin_key", "sk-ant-admin01-0123456789abcdef")
		m.do("write", "config/anthropic", "request_timeout", "20s")
		if after := m.do("read", "config/anthropic").Data; after["jwks"] != before["jwks"] {
			m.t.Error("a write that changes nothing made another key")
		}
		// The key signs for no other host.
		m.sims["elsewhere.test"] = s
		m.refused(400, []string{"admin_key: is never sent to a new host", "admin_key=generate"}, "write", "config/anthropic", "base_url", "https://elsewhere.test")
		m.do("write", "config/anthropic", "admin_key", "generate") // changes nothing: a client writes it for ever
		if after := m.do("read", "config/anthropic").Data; after["jwks"] != before["jwks"] {
			m.t.Error("a write that moves nothing made another key")
		}
		resp := m.do("write", "config/anthropic", "base_url", "https://elsewhere.test", "admin_key", "generate")
		if !strings.Contains(fmt.Sprint(resp.Warnings), "the connection has a new key") {
			m.t.Errorf("got warnings %v", resp.Warnings)
		}
		if after := m.do("read", "config/anthropic").Data; after["jwks"] == before["jwks"] {
			m.t.Error("the key goes to a new host")
		}
	})
}

func TestRotationOfTheSigningKey(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.connect(anthropicShape, "ttl", 900)
		m.refused(400, []string{"admin_rule_id"}, "write", "rotate-root/anthropic")
		org := m.federatedAdmin()
		issuer := fmt.Sprint(m.do("read", "config/anthropic").Data["issuer_id"])
		// The exchange goes on with the old keys for a while.
		org.SetKnobs(fakeanthropic.Knobs{JWKSCache: 3 * time.Minute})
		var kids []string
		for range 2 {
			m.do("write", "rotate-root/anthropic")
			if got := len(org.IssuerKeys(issuer)); got != 2 {
				m.t.Errorf("got %d public keys within the overlap", got)
			}
			m.lease("creds/anthropic")
			m.sweepFor(12 * time.Minute)
			if got := len(org.IssuerKeys(issuer)); got != 1 {
				m.t.Errorf("got %d public keys after the overlap\n%s", got, m.log)
			}
			l := m.lease("creds/anthropic")
			if !org.Alive(l.secretOf(anthropicShape)) {
				m.t.Error("a token is not alive")
			}
			kids = append(kids, org.LiveTokens()[len(org.LiveTokens())-1].Kid)
		}
		if kids[0] == kids[1] {
			m.t.Errorf("both rotations left the key %s", kids[0])
		}
		if got := m.do("read", "config/anthropic").Data["last_error"]; got != "" {
			m.t.Errorf("last_error: %v", got)
		}
	})
}

func TestRoleWithoutARule(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.sim(anthropicShape)
		m.do("create", "config/anthropic", append(pairs{"provider", "anthropic"}, anthropicShape.config(s)...)...)
		m.do("create", "roles/bot", append(pairs{"config_name", "anthropic"}, anthropicShape.role(s)...)...)
		m.refused(502, []string{"federation_rule_id", "federation_rule"}, "read", "creds/bot")
		m.wantRecords(0)
		rule := fmt.Sprint(m.do("read", "roles/bot").Data["federation_rule"])
		mount, err := load[mountEntry](m.t.Context(), m.storage, mountKey)
		if err != nil {
			m.t.Fatal(err)
		}
		if want := "vault-llm:" + mount.Tag + ":bot:*"; !strings.Contains(rule, want) {
			m.t.Errorf("got %s, want it to match %s", rule, want)
		}
	})
}

func TestAuditOfTokens(t *testing.T) {
	both(t, func(m *testMount) {
		m.connect(anthropicShape)
		m.federatedAdmin()
		m.lease("creds/anthropic")
		got := m.do("read", "audit/anthropic").Data
		for _, class := range []string{"missing", "orphaned"} {
			if found, ok := got[class].(map[string]any); ok && fmt.Sprint(found["count"]) != "0" {
				m.t.Errorf("%s: got %v", class, found)
			}
		}
	})
}

// The signing key that a rotation made is taken off the issuer with its connection.
func TestDeleteAConnectionWithARotatedSigningKey(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.connect(anthropicShape)
		m.federatedAdmin()
		m.do("write", "rotate-root/anthropic")
		m.do("delete", "roles/anthropic")
		if resp := m.do("delete", "config/anthropic"); resp != nil {
			m.t.Errorf("got warnings %v", resp.Warnings)
		}
		for range 40 {
			m.advance(time.Hour)
			m.sweep()
		}
		if left := m.adminRecords(); len(left) > 0 {
			m.t.Errorf("records of admin keys without a connection: %+v", left)
		}
	})
}
