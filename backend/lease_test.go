package backend

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

func TestLeaseMainJob(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.wantAlive(l.key(), true)
		m.wantRecords(1)
		if _, err := l.tryRenew(0); err != nil {
			m.t.Fatal(err)
		}
		l.revoke()
		m.wantAlive(l.key(), false)
		m.wantLive(0)
		m.wantRecords(0)
		l.revoke() // again: success
		m.sweepFor(principalRetry + time.Minute)
		if keys := m.stored(duePrefix); len(keys) != 0 {
			m.t.Errorf("the time index still holds %v", keys)
		}
	})
}

func TestLeaseData(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "roles/bot", "scopes", "api.model.request", "metadata", "owner=ada")
		for _, op := range []string{"read", "write"} { // GET and POST
			l := m.keep("creds/bot", m.do(op, "creds/bot", "ttl", "30m"))
			for field, value := range l.data {
				if _, ok := value.(string); !ok {
					m.t.Errorf("%s is a %T, want a string", field, value)
				}
			}
			if !l.secret.Renewable || l.secret.TTL != 30*time.Minute || l.secret.MaxTTL != 24*time.Hour {
				m.t.Errorf("lease: renewable %v, ttl %s, max_ttl %s", l.secret.Renewable, l.secret.TTL, l.secret.MaxTTL)
			}
			expires, err := time.Parse(time.RFC3339, fmt.Sprint(l.data["expires_at"]))
			if err != nil {
				m.t.Fatal(err)
			}
			if off := expires.Sub(l.end.Add(10 * time.Minute)); off < -2*time.Second || off > 2*time.Second {
				m.t.Errorf("expires_at is %s off the lease's end + grace", off)
			}
			for field, want := range map[string]string{"provider": "openai", "role": "bot", "project_id": "proj_demo"} {
				if l.data[field] != want {
					m.t.Errorf("%s: got %v, want %s", field, l.data[field], want)
				}
			}
			for _, absent := range []string{"base_url", "organization_id"} {
				if _, ok := l.data[absent]; ok {
					m.t.Errorf("%s is shown although the connection has none", absent)
				}
			}
			if strings.Contains(fmt.Sprint(l.secret.InternalData), l.key()) {
				m.t.Error("the lease's internal data holds the key")
			}
			live := m.fake.LiveKeys()[0]
			if live.Name != l.data["name"] || live.ID != l.data["key_id"] || fmt.Sprint(live.Scopes) != "[api.model.request]" {
				m.t.Errorf("at the provider: %+v, in the lease: %v", live, l.data["name"])
			}
			l.revoke()
		}
	})
}

func TestOwnerIsRecorded(t *testing.T) {
	both(t, func(m *testMount) {
		m.sys.set(func(v *logical.StaticSystemView) { v.EntityVal = &logical.Entity{ID: "entity-1", Name: "agent-7"} })
		m.configure()
		m.do("write", "roles/bot", "metadata", "owner=ada", "name_template", "{{.EntityName}}-{{.Metadata.owner}}")
		l := m.lease("creds/bot")
		rec := m.records()[0]
		want := owner{EntityID: "entity-1", EntityName: "agent-7", DisplayName: "approle-bot", RequestID: "request-1", Metadata: map[string]string{"owner": "ada"}}
		if fmt.Sprint(rec.owner) != fmt.Sprint(want) {
			m.t.Errorf("owner: got %+v, want %+v", rec.owner, want)
		}
		if name := fmt.Sprint(l.data["name"]); !strings.Contains(name, "-agent-7-ada-") || !strings.HasSuffix(name, rec.ID) {
			m.t.Errorf("name %q does not show the template and the id", name)
		}
		if rec.KeyHash == "" || strings.Contains(rec.KeyHash, l.key()) {
			m.t.Errorf("the record holds the hash %q", rec.KeyHash)
		}
	})
}

// TestTTL goes through the inputs of a lease's end: the caller's, the role's and
// the mount's.
func TestTTL(t *testing.T) {
	const day = 24 * time.Hour
	cases := []struct {
		name              string
		ttl, maxTTL       string
		mount, mountMax   time.Duration
		asked             string
		want              time.Duration
		warns, wantNoCaps bool
	}{
		{"the role's", "1h", "24h", 32 * day, 32 * day, "", time.Hour, false, false},
		{"the caller's", "1h", "24h", 32 * day, 32 * day, "24h", day, false, false},
		{"the caller's above the maximum", "1h", "24h", 32 * day, 32 * day, "48h", day, true, false},
		{"the caller's of zero", "1h", "24h", 32 * day, 32 * day, "0", time.Hour, false, false},
		{"the mount's default", "0", "0", 2 * time.Hour, 32 * day, "", 2 * time.Hour, false, false},
		{"the mount's default above the role's maximum", "0", "24h", 32 * day, 32 * day, "", day, true, false},
		{"the mount's maximum", "12h", "0", time.Hour, 6 * time.Hour, "", 6 * time.Hour, true, false},
		{"a second", "1s", "1s", 32 * day, 32 * day, "", time.Second, false, false},
	}
	both(t, func(m *testMount) {
		for _, c := range cases {
			m.sys.set(func(v *logical.StaticSystemView) { v.DefaultLeaseTTLVal, v.MaxLeaseTTLVal = c.mount, c.mountMax })
			m.do("write", "config/openai", "provider", "openai", "admin_key", m.fake.AdminKey())
			m.do("write", "roles/bot", "config_name", "openai", "project_id", "proj_demo", "ttl", c.ttl, "max_ttl", c.maxTTL)
			pairs := []any{}
			if c.asked != "" {
				pairs = append(pairs, "ttl", c.asked)
			}
			l := m.lease("creds/bot", pairs...)
			if l.secret.TTL != c.want {
				m.t.Errorf("%s: ttl is %s, want %s", c.name, l.secret.TTL, c.want)
			}
			if warned := len(l.warnings) > 0; warned != c.warns {
				m.t.Errorf("%s: warnings %v, want some: %v", c.name, l.warnings, c.warns)
			}
			key := m.fake.LiveKeys()[0]
			if over := key.ExpiresAt.Sub(l.end); over < 10*time.Minute-2*time.Second || over > 10*time.Minute+2*time.Second {
				m.t.Errorf("%s: the key outlives its lease by %s at the provider, want 10m", c.name, over)
			}
			l.revoke()
		}
	})
}

func TestCallsAndWritesOfALease(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot").revoke()
		m.fake.ResetRequests()
		m.storage.spoil(noOp, 0, nil)

		l := m.lease("creds/bot")
		writes := 0
		for _, op := range m.storage.heal() {
			if strings.HasPrefix(op.what, "put ") || strings.HasPrefix(op.what, "delete ") {
				writes++
			}
		}
		if writes > 9 {
			m.t.Errorf("storage writes of an issue: got %d, want at most 9", writes)
		}
		m.wantCalls("issue", fakeopenai.OpCreateKey)
		if _, err := l.tryRenew(0); err != nil {
			m.t.Fatal(err)
		}
		m.wantCalls("renew that is covered")
		l.revoke()
		m.wantCalls("revoke", fakeopenai.OpDeleteKey)
	})
}

// wantCalls asserts all calls since the last time.
func (m *testMount) wantCalls(what string, want ...fakeopenai.Op) {
	m.t.Helper()
	var got []fakeopenai.Op
	for _, req := range m.fake.Requests() {
		got = append(got, req.Op)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		m.t.Errorf("%s: calls %v, want %v", what, got, want)
	}
	m.fake.ResetRequests()
}

func TestWritesOfRolesCostNoMintsAndSurviveAnOutage(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.Inject(fakeopenai.Fault{Refuse: true})
		resp := m.do("create", "roles/new", "config_name", "openai", "project_id", "proj_demo")
		if resp == nil || len(resp.Warnings) == 0 {
			m.t.Error("the role was stored without saying that its project could not be checked")
		}
		m.fake.ClearFaults()
		m.fake.ResetRequests()
		m.do("write", "roles/new", "ttl", "2h")
		m.wantCalls("write that does not move the role")
	})
}

func TestExpiryThatTheProviderCutsShortensTheLease(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.fake.SetKnobs(fakeopenai.Knobs{MaxExpiry: 20 * time.Minute})
		l := m.lease("creds/bot")
		if l.secret.TTL > 18*time.Minute || l.secret.TTL < 17*time.Minute || len(l.warnings) == 0 {
			m.t.Errorf("ttl %s, warnings %v; want 18m and a warning", l.secret.TTL, l.warnings)
		}
	})
}

func TestKeyWithoutAnExpiryIsSaidAndEnded(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.fake.SetKnobs(fakeopenai.Knobs{IgnoreExpiry: true})
		l := m.lease("creds/bot", "ttl", "60s")
		if _, ok := l.data["expires_at"]; ok || len(l.warnings) == 0 {
			m.t.Errorf("expires_at %v, warnings %v; want none and one", l.data["expires_at"], l.warnings)
		}
		m.sweepFor(13 * time.Minute)
		m.wantAlive(l.key(), false)
		m.wantRecords(0)
	})
}

func TestServiceAccounts(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.lease("creds/bot").revoke()
		accounts := m.fake.ServiceAccounts("proj_demo")
		if len(accounts) != 1 || !strings.HasPrefix(accounts[0].Name, "vault-") || accounts[0].Role != "member" {
			m.t.Fatalf("service accounts: %+v, want one member of the role", accounts)
		}

		// Gone behind our back, with all of its keys: the next issue makes another.
		m.fake.DeleteServiceAccount(accounts[0].ID)
		m.advance(2 * time.Minute)
		l.revoke()
		l = m.lease("creds/bot")
		m.wantAlive(l.key(), true)

		// It outlives its role as long as there are keys.
		m.do("delete", "roles/bot")
		m.sweepFor(2 * time.Minute)
		m.wantAlive(l.key(), true)
		m.refused(400, []string{"still has live keys"}, "delete", "config/openai")
		l.revoke()
		m.sweepFor(12 * time.Minute)
		if left := m.fake.ServiceAccounts("proj_demo"); len(left) != 0 {
			m.t.Errorf("service accounts of a deleted role: %+v", left)
		}
		m.do("delete", "config/openai")
		for _, key := range m.stored("") {
			if key != mountKey {
				m.t.Errorf("still stored: %s", key)
			}
		}
	})
}

func TestServiceAccountFollowsItsRole(t *testing.T) {
	both(t, func(m *testMount) {
		m.fake.AddProject("proj_two")
		m.configure()
		old := m.lease("creds/bot")
		m.do("write", "roles/bot", "project_id", "proj_two")
		l := m.lease("creds/bot")
		if l.data["project_id"] != "proj_two" {
			m.t.Errorf("project: %v", l.data["project_id"])
		}
		m.wantAlive(old.key(), true)
		old.revoke()
		l.revoke()
		m.sweepFor(12 * time.Minute)
		if one, two := m.fake.ServiceAccounts("proj_demo"), m.fake.ServiceAccounts("proj_two"); len(one) != 0 || len(two) != 1 {
			m.t.Errorf("service accounts: %v and %v, want none and one", one, two)
		}
	})
}

func TestRoleThatComesBackKeepsItsServiceAccount(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot").revoke()
		m.do("delete", "roles/bot")
		m.do("create", "roles/bot", "config_name", "openai", "project_id", "proj_demo")
		l := m.lease("creds/bot")
		m.sweepFor(2 * time.Minute)
		m.wantAlive(l.key(), true)
		if got := m.fake.Count(fakeopenai.OpCreateServiceAccount); got != 1 {
			m.t.Errorf("service accounts made: %d, want 1", got)
		}
	})
}
