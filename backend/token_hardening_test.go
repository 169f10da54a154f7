package backend

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
	fakelitellm "vault-plugin-secrets-llm/backend/provider/fake/litellm"
)

// A clock that is ahead makes nobody believe that a token is gone.
func TestClockAheadForgetsNoToken(t *testing.T) {
	bubble(t, func(m *testMount) {
		clock := m.ownClock()
		m.connect(anthropicShape, "ttl", 3600)
		m.lease("creds/anthropic")
		clock.ahead.Store(int64(2 * time.Hour))
		resp := m.do("write", "revoke", "role", "anthropic")
		if fmt.Sprint(resp.Data["revoked"], resp.Data["queued"]) != "0 1" {
			m.t.Errorf("got %v of a token that lives", resp.Data)
		}
		m.sweepFor(3 * time.Minute)
		m.wantRecords(1)
		clock.ahead.Store(0)
		m.sweepFor(3 * time.Hour) // what is due by the wrong clock comes up late
		m.wantRecords(0)
	})
}

// A kill that was cut short leaves no token of which every sweep complains.
func TestKilledTokensAreQuiet(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.ownClock()
		m.connect(anthropicShape, "ttl", 3600)
		m.lease("creds/anthropic")
		m.storage.spoil(opID{what: "delete order"}, crashBefore, nil)
		_, _ = m.try("write", "revoke", "role", "anthropic")
		m.storage.heal()
		m.restart()
		before := strings.Count(m.log.String(), "clock")
		m.sweepFor(10 * time.Minute)
		if n := strings.Count(m.log.String(), "clock") - before; n > 0 {
			m.t.Errorf("%d complaints about clocks in 10 minutes\n%s", n, m.log)
		}
	})
}

// A connection that was deleted by force and written again for the pool may have tokens
// of the first among its pending records. Neither is taken for the other.
func TestTokensAmongPendingKeys(t *testing.T) {
	for _, first := range []bool{true, false} {
		bubble(t, func(m *testMount) {
			s := m.connect(poolShape)
			s.Inject(fake.DropAfter(fakeanthropic.OpActivateKey, 1))
			s.Inject(fake.Answer(fakeanthropic.OpListKeys, 500, 0))
			if _, err := m.try("read", "creds/anthropic-pool"); err == nil || len(s.live()) != 1 {
				m.t.Fatalf("the premise fails: %v, live %v", err, s.live())
			}
			s.ClearFaults()
			key := m.records()[0]
			ledger := m.engine.ledger(m.storage)
			token, err := ledger.open(m.t.Context(), record{
				ID: newID(m.clock.now()), Kind: lease, Config: key.Config, Role: "old", Scope: key.Scope, Token: true,
				ExpiresAt: m.clock.now().Add(time.Hour),
			})
			if err != nil {
				m.t.Fatal(err)
			}
			conn, err := m.engine.connection(m.t.Context(), m.storage, key.Config)
			if err != nil {
				m.t.Fatal(err)
			}
			pendings := []record{key, token}
			if first {
				pendings = []record{token, key}
			}
			m.advance(10 * time.Minute)
			m.engine.settle(m.t.Context(), m.storage, conn, pendings)
			if left := s.live(); len(left) > 0 {
				m.t.Errorf("token first %t: the key lives on: %v", first, left)
			}
			if recs := m.records(); len(recs) != 1 || !recs[0].Token {
				m.t.Errorf("token first %t: left is %+v, want the token", first, recs)
			}
		})
	}
}

// A write that moves a connection nowhere keeps its keys, and one that moves it says
// what that costs.
func TestMoveOfAFederatedConnection(t *testing.T) {
	bubble(t, func(m *testMount) {
		s := m.connect(anthropicShape, "ttl", 900)
		org := m.federatedAdmin()
		m.do("write", "rotate-root/anthropic")
		m.sweepFor(15 * time.Minute)
		m.refused(400, []string{"admin_key=generate"}, "write", "config/anthropic", "ca_cert", "", "base_url", "https://api.anthropic.com")
		m.lease("creds/anthropic")
		m.sims["elsewhere.test"] = s
		m.do("write", "config/anthropic", "base_url", "https://elsewhere.test", "admin_key", "generate", "admin_rule_id", "", "issuer_id", "")
		issuer, err := org.CreateIssuer(fmt.Sprint(m.do("read", "config/anthropic").Data["federation_issuer"]))
		if err != nil {
			m.t.Fatal(err)
		}
		m.do("write", "config/anthropic", "issuer_id", issuer)
		rule, err := org.CreateRule(strings.Replace(fmt.Sprint(m.do("read", "roles/anthropic").Data["federation_rule"]), `"name":"`, `"name":"second-`, 1))
		if err != nil {
			m.t.Fatal(err)
		}
		m.do("write", "roles/anthropic", "federation_rule_id", rule)
		m.lease("creds/anthropic")
		m.sweepFor(24 * time.Hour)
		if recs := m.adminRecords(); len(recs) != 1 {
			m.t.Errorf("records of signing keys: %+v", recs)
		}
		if got := m.do("read", "config/anthropic").Data["last_error"]; got != "" {
			m.t.Errorf("last_error: %v", got)
		}
	})
}

// In an incident, a role that cannot be closed is suspended all the same.
func TestSuspensionDoesNotWaitForClosing(t *testing.T) {
	for what, gone := range map[string]func(m *testMount){
		"role": func(m *testMount) { m.do("delete", "roles/anthropic") },
		"connection": func(m *testMount) {
			m.do("delete", "config/anthropic", "force", true)
		},
		"provider": func(m *testMount) {
			m.federatedAdmin()
			m.sim(anthropicShape).Inject(fake.Fault{Hang: fake.HangBefore})
		},
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(m *testMount) {
				m.connect(anthropicShape)
				m.lease("creds/anthropic")
				gone(m)
				began := time.Now()
				resp := m.do("write", "suspend/anthropic", "revoke", true, "close", true)
				if len(m.stored(suspendPrefix)) == 0 || time.Since(began) > 30*time.Second {
					m.t.Errorf("stored %v after %s", m.stored(suspendPrefix), time.Since(began))
				}
				if text := fmt.Sprint(resp.Warnings); !strings.Contains(text, "close") {
					m.t.Errorf("nothing says that the role is not closed: %s", text)
				}
			})
		})
	}
}

// Many roles are closed at the same time.
func TestCloseOfManyRoles(t *testing.T) {
	bubble(t, func(m *testMount) {
		s := m.connect(anthropicShape)
		org := m.federatedAdmin()
		for i := range 40 {
			name := fmt.Sprintf("roles/team/r%02d", i)
			m.do("create", name, append(pairs{"config_name", "anthropic"}, anthropicShape.role(s)...)...)
			rule, err := org.CreateRule(fmt.Sprint(m.do("read", name).Data["federation_rule"]))
			if err != nil {
				m.t.Fatal(err)
			}
			m.do("write", name, "federation_rule_id", rule)
		}
		s.Inject(fake.Fault{Op: fakeanthropic.OpArchiveRule, Latency: 600 * time.Millisecond})
		s.Inject(fake.Fault{Op: fakeanthropic.OpRemoveMember, Latency: 600 * time.Millisecond})
		resp := m.do("write", "suspend/team", "subtree", true, "close", true)
		closed := 0
		for _, c := range resp.Data["closed"].([]map[string]any) {
			if c["error"] == nil {
				closed++
			}
		}
		if closed != 40 {
			m.t.Errorf("%d of 40 roles are closed: %v", closed, resp.Warnings)
		}
	})
}

// A key that is brought along has no bounds, so a role with bounds takes none.
func TestBoundsOfABroughtKey(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(liteLLMShape)
		key := s.simulator.(*fakelitellm.Server).PlantKey("team-blue", "", "ada's")
		m.refused(400, []string{"budget: cannot be put on a key that exists"}, "create", "static-roles/app",
			append(pairs{"config_name", "litellm", "rotation_period", "48h", "api_key", key.Secret, "key_id", key.Hash}, liteLLMShape.role(s)...)...)
		m.do("create", "static-roles/app", "config_name", "litellm", "team_id", "team-blue", "rotation_period", "48h", "api_key", key.Secret, "key_id", key.Hash)
	})
}

// That a bound of a static role is changed says when it holds.
func TestChangedBoundsOfAStaticRole(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(openRouterShape)
		m.do("create", "static-roles/app", append(pairs{"config_name", "openrouter", "rotation_period", "720h"}, openRouterShape.role(s)...)...)
		resp := m.do("write", "static-roles/app", "budget", 0.5)
		if resp == nil || !strings.Contains(fmt.Sprint(resp.Warnings), "keeps the bounds that it was made with") {
			m.t.Errorf("got %v", resp)
		}
		if resp := m.do("write", "static-roles/app", "budget", 0.5); resp != nil {
			m.t.Errorf("a write that changes nothing warns: %v", resp.Warnings)
		}
	})
}

// A bound that blocks a role, for its connection has another provider now, is read.
func TestBlockingBoundIsRead(t *testing.T) {
	both(t, func(m *testMount) {
		m.connect(openRouterShape)
		m.do("write", "config/openrouter", "provider", "openai", "admin_key", m.fake.AdminKey())
		if got := m.do("read", "roles/openrouter").Data; got["budget"] != 12.5 || got["requests_per_minute"] != nil {
			m.t.Errorf("got %v", got)
		}
		m.refused(400, []string{"does not enforce it"}, "read", "creds/openrouter")
		m.do("write", "roles/openrouter", "project_id", "proj_demo", "budget", 0, "models", []string{}, "budget_period", "")
		m.lease("creds/openrouter")
	})
}

func TestDescriptionsOfSharedFields(t *testing.T) {
	registry, err := testRegistry()
	if err != nil {
		t.Fatal(err)
	}
	for field, providers := range map[string][]string{"workspace_id": {"OpenRouter:", "Anthropic:"}} {
		for _, name := range providers {
			if text := registry.RoleFields()[field].Description; !strings.Contains(text, name) {
				t.Errorf("%s: %q lacks %s", field, text, name)
			}
		}
	}
}
