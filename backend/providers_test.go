package backend

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-llm/backend/provider/fake"
	fakelitellm "vault-plugin-secrets-llm/backend/provider/fake/litellm"
	fakeopenrouter "vault-plugin-secrets-llm/backend/provider/fake/openrouter"
)

// The main job, at every provider.

func (l *testLease) secretOf(sh shape) string { return fmt.Sprint(l.data[sh.secret]) }

func TestMainJobOfEachProvider(t *testing.T) {
	eachShape(t, func(m *testMount, sh shape) {
		s := m.connect(sh, "ttl", 1800, "max_ttl", 7200)
		l := m.lease("creds/" + sh.name)
		for field, want := range map[string]string{"provider": sh.name, "role": sh.name} {
			if l.data[field] != want {
				t := l.data[field]
				m.t.Errorf("%s: got %v, want %s", field, t, want)
			}
		}
		if l.data["name"] == "" || l.data["key_id"] == "" || !s.Alive(l.secretOf(sh)) {
			m.t.Fatalf("got the lease of %v, which is alive: %t", slices.Sorted(maps.Keys(l.data)), s.Alive(l.secretOf(sh)))
		}
		if l.secret.Renewable == sh.tokens || l.secret.TTL != 30*time.Minute {
			m.t.Errorf("lease: renewable %v, ttl %s", l.secret.Renewable, l.secret.TTL)
		}
		if !sh.tokens {
			m.renewTwice(sh, s, l)
		}
		l.revoke()
		if s.Alive(l.secretOf(sh)) != sh.tokens {
			m.t.Errorf("after a revoke the key is alive: %t", !sh.tokens)
		}
		m.sweepFor(45 * time.Minute)
		if left := s.live(); len(left) > 0 {
			m.t.Errorf("live keys: %v", left)
		}
		m.wantRecords(0)
	})
}

// renewTwice renews a lease past its first end.
func (m *testMount) renewTwice(sh shape, s *sim, l *testLease) {
	m.t.Helper()
	for range 2 {
		m.sweepFor(20 * time.Minute)
		before := len(s.requests())
		if _, err := l.tryRenew(0); err != nil {
			m.t.Fatalf("renew: %v", err)
		}
		if calls := len(s.requests()) - before; sh.fixed && calls > 0 {
			m.t.Errorf("a renew made %d calls, and the expiry cannot be moved", calls)
		}
		if left := l.end.Sub(m.clock.now()); left.Round(time.Second) != 30*time.Minute {
			m.t.Errorf("the lease was renewed by %s", left)
		}
	}
	if !s.Alive(l.secretOf(sh)) {
		m.t.Error("the key is dead while its lease lasts")
	}
}

// A lease that Vault never stored ends with a sweep, wherever the provider's own
// expiry lies.
func TestLostLeaseOfEachProvider(t *testing.T) {
	eachShape(t, func(m *testMount, sh shape) {
		s := m.connect(sh, "ttl", 600)
		l := m.lease("creds/" + sh.name)
		m.sweepFor(9 * time.Minute)
		if !s.Alive(l.secretOf(sh)) {
			m.t.Error("the key is dead while its lease lasts")
		}
		m.sweepFor(13 * time.Minute) // grace and a sweep
		if left := s.live(); len(left) > 0 {
			m.t.Errorf("live keys: %v", left)
		}
		m.sweepFor(time.Minute)
		m.wantRecords(0)
	})
}

// All providers in one mount: one that hangs slows none of the others.
func TestProvidersTogether(t *testing.T) {
	for _, hung := range shapes {
		t.Run(hung.name+" hangs", func(t *testing.T) {
			bubble(t, func(m *testMount) {
				for _, sh := range shapes {
					m.connect(sh, "ttl", 1800)
					m.lease("creds/" + sh.name) // which Vault never stored
				}
				m.advance(41 * time.Minute)
				m.sim(hung).Inject(fake.Fault{Hang: fake.HangBefore})
				done := make(chan error)
				go func() {
					_, err := m.try("read", "creds/"+hung.name)
					done <- err
				}()
				go func() { m.sweep(); done <- nil }()
				time.Sleep(time.Second)
				began := time.Now()
				for _, sh := range shapes {
					if sh.name != hung.name {
						if left := m.sim(sh).live(); len(left) > 0 {
							m.t.Errorf("%s: the sweep has left %v", sh.name, left)
						}
						m.mainJob(sh)
					}
				}
				if took := time.Since(began); took > time.Millisecond {
					m.t.Errorf("with %s hanging, the others took %s", hung.name, took)
				}
				for range 2 {
					if err := <-done; err == nil {
						continue
					} else if !strings.Contains(err.Error(), hung.name) {
						m.t.Errorf("got %v, want an error of %s", err, hung.name)
					}
				}
				m.sim(hung).ClearFaults()
				m.sweepFor(35 * time.Minute)
				m.mainJob(hung)
				m.sweepFor(45 * time.Minute)
				for _, sh := range shapes {
					if left := m.sim(sh).live(); len(left) > 0 {
						m.t.Errorf("%s: live keys %v", sh.name, left)
					}
				}
				m.wantRecords(0)
			})
		})
	}
}

// mainJob issues, renews and revokes a key.
func (m *testMount) mainJob(sh shape) {
	m.t.Helper()
	l := m.lease("creds/" + sh.name)
	if !m.sim(sh).Alive(l.secretOf(sh)) {
		m.t.Errorf("%s: the key does not work", sh.name)
	}
	if !sh.tokens {
		if _, err := l.tryRenew(0); err != nil {
			m.t.Errorf("%s: renew: %v", sh.name, err)
		}
	}
	l.revoke()
}

// A provider that has asked for a pause pauses nobody else.
func TestPausedProviderPausesNoOther(t *testing.T) {
	for _, paused := range shapes {
		t.Run(paused.name, func(t *testing.T) {
			bubble(t, func(m *testMount) {
				for _, sh := range shapes {
					m.connect(sh)
				}
				m.sim(paused).Inject(fake.Limited(fake.OpAny, 10*time.Minute, 1))
				if _, err := m.try("read", "creds/"+paused.name); err == nil {
					m.t.Error("a paused provider has issued a key")
				}
				began := time.Now()
				for _, sh := range shapes {
					if sh.name != paused.name {
						m.mainJob(sh)
					}
				}
				if took := time.Since(began); took > time.Millisecond {
					m.t.Errorf("with %s paused, the others took %s", paused.name, took)
				}
				m.advance(11 * time.Minute)
				m.mainJob(paused)
			})
		})
	}
}

func TestGuardrailsOfARole(t *testing.T) {
	both(t, func(m *testMount) {
		m.connect(openAIShape)
		m.connect(openRouterShape)
		m.refused(400, []string{"models: ", `provider "openai" does not enforce it for a key`, "per project"}, "write", "roles/openai", "models", []string{"gpt-4.1"})
		m.refused(400, []string{"requests_per_minute: ", "it enforces budget, budget_period, models"}, "write", "roles/openrouter", "requests_per_minute", 60)
		m.refused(400, []string{"budget: ", "at most two decimals"}, "write", "roles/openrouter", "budget", 0.005)
		m.refused(400, []string{"budget: is a string that does not fit; give a number"}, "write", "roles/openrouter", "budget", "cheap")
		// What asks for nothing is taken everywhere, so that one configuration does for all.
		m.do("write", "roles/openai", "models", []string{}, "budget", 0, "budget_period", "", "requests_per_minute", 0)
		for _, field := range []string{"models", "budget", "budget_period", "requests_per_minute", "tokens_per_minute"} {
			if value, ok := m.do("read", "roles/openai").Data[field]; ok {
				m.t.Errorf("a role of openai reads %s as %v", field, value)
			}
		}
		got := m.do("read", "roles/openrouter").Data
		if got["budget"] != 12.5 || got["budget_period"] != "day" || fmt.Sprint(got["models"]) != "[openai/gpt-4.1-mini]" {
			m.t.Errorf("got the bounds of %v", got)
		}
		m.do("write", "roles/openrouter", "budget", "7.25") // as the command line has it
		if got := m.do("read", "roles/openrouter").Data["budget"]; got != 7.25 {
			m.t.Errorf("got a budget of %v", got)
		}
		// A bound is not lost by a move to a provider that does not enforce it.
		m.refused(400, []string{"does not enforce it"}, "write", "roles/openrouter", "config_name", "openai", "project_id", "proj_demo")
		m.do("write", "roles/openrouter", "config_name", "openai", "project_id", "proj_demo", "models", []string{}, "budget", 0, "budget_period", "")
		if value, ok := m.do("read", "roles/openrouter").Data["workspace_id"]; ok {
			m.t.Errorf("a role of openai has the workspace %v", value)
		}
	})
}

// An admin key is replaced, the leases live on, and the master key is refused with
// what to do instead.
func TestRotateRootOfLiteLLM(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(liteLLMShape, "ttl", 7200, "max_ttl", 14400)
		proxy := s.simulator.(*fakelitellm.Server)
		l := m.lease("creds/litellm")
		first := proxy.AdminKeys()[0]
		m.do("write", "rotate-root/litellm")
		m.sweepFor(time.Hour)
		left := proxy.AdminKeys()
		if len(left) != 1 || left[0].Hash == first.Hash || s.Alive(first.Secret) {
			m.t.Fatalf("got the admin keys %+v, want the new one alone\n%s", left, m.log)
		}
		m.wantText("config/litellm", "admin_key_id", left[0].Hash)
		if _, err := l.tryRenew(0); err != nil || !s.Alive(l.secretOf(liteLLMShape)) {
			m.t.Errorf("renew: %v, alive: %t", err, s.Alive(l.secretOf(liteLLMShape)))
		}

		m.do("write", "config/litellm", "admin_key", proxy.MasterKey())
		m.refused(400, []string{"this is the master key of the proxy", "write an admin virtual key"}, "write", "rotate-root/litellm")
		l.revoke()
		if s.Alive(l.secretOf(liteLLMShape)) || len(s.live()) != 0 {
			m.t.Error("the key lives on")
		}
	})
}

// Whose a key is, and what for, is written on it.
func TestHolderOfALiteLLMKey(t *testing.T) {
	bubble(t, func(m *testMount) {
		s := m.connect(liteLLMShape)
		l := m.lease("creds/litellm")
		defer l.revoke()
		for _, k := range s.simulator.(*fakelitellm.Server).LiveKeys() {
			if k.Metadata["vault_role"] != "litellm" || k.Metadata["vault_mount"] == nil || k.Metadata["vault_scope"] != "team-blue" {
				m.t.Errorf("got metadata %v", k.Metadata)
			}
			if !slices.Equal(k.AllowedRoutes, []string{"llm_api_routes"}) {
				m.t.Errorf("got routes %v", k.AllowedRoutes)
			}
		}
	})
}

// A scope that was closed, and of whose keys nothing can be proven any more, holds up
// none of another; its records go once the provider has ended its keys.
func TestClosedScopeHoldsUpNoOther(t *testing.T) {
	bubble(t, func(m *testMount) {
		s := m.connect(openRouterShape, "ttl", 600, "max_ttl", 7200)
		account := s.simulator.(*fakeopenrouter.Server)
		for range 150 {
			m.lease("creds/openrouter")
		}
		second := account.AddWorkspace(fakeopenrouter.NewID())
		m.do("create", "roles/other", "config_name", "openrouter", "workspace_id", second, "ttl", 600)
		account.DeleteWorkspace(fakeopenrouter.DefaultWorkspace)
		m.sweepFor(25 * time.Minute) // the sweep has met those
		lost := m.lease("creds/other")
		m.sweepFor(22 * time.Minute) // ttl, grace and a sweep
		if s.Alive(lost.key()) {
			m.t.Errorf("a key whose lease was lost lives, for those of another workspace cannot be proven gone\n%s", m.log)
		}
		m.sweepFor(4 * time.Hour)
		m.wantRecords(0)
	})
}

// Where no API makes admin keys, asking for one is no failure that stays.
func TestRotationThatThereIsNot(t *testing.T) {
	both(t, func(m *testMount) {
		m.connect(openRouterShape)
		m.refused(400, []string{"cannot make admin keys; rotate it by hand: write the new key to config/openrouter"}, "write", "rotate-root/openrouter")
		if got := m.do("read", "config/openrouter").Data["last_error"]; got != "" {
			m.t.Errorf("last_error: %v", got)
		}
		if got := m.do("read", "audit/openrouter").Data["overdue"].(map[string]any); fmt.Sprint(got["count"]) != "0" {
			m.t.Errorf("overdue: %v", got)
		}
		m.refused(400, []string{"rotation_period: is not for provider"}, "write", "config/openrouter", "rotation_period", "24h")
	})
}

// A lease that is lost after a renewal ends when that says so, and not with the
// provider's own expiry, which lies behind max_ttl where it cannot be moved.
func TestLostRenewedLeaseOfEachProvider(t *testing.T) {
	eachShape(t, func(m *testMount, sh shape) {
		if sh.tokens {
			return // there is no renewal
		}
		s := m.connect(sh, "ttl", 1800, "max_ttl", 86400)
		l := m.lease("creds/" + sh.name)
		m.sweepFor(20 * time.Minute)
		if _, err := l.tryRenew(0); err != nil {
			m.t.Fatalf("renew: %v", err)
		}
		m.sweepFor(25 * time.Minute)
		if !s.Alive(l.secretOf(sh)) {
			m.t.Error("the key is dead while its lease lasts")
		}
		m.sweepFor(18 * time.Minute) // the rest, grace and a sweep
		if left := s.live(); len(left) > 0 {
			m.t.Errorf("live keys: %v", left)
		}
	})
}
