package backend

import (
	"strings"
	"testing"
	"time"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

func TestRenewMovesTheProvidersExpiry(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure() // ttl 1h, max_ttl 24h, grace 10m
		l := m.lease("creds/bot")
		for l.end.Before(l.issued.Add(24 * time.Hour)) { // as an agent does, at two thirds
			m.sweepFor(40 * time.Minute)
			if _, err := l.tryRenew(0); err != nil {
				m.t.Fatal(err)
			}
			m.wantAlive(l.key(), true)
			key := m.fake.LiveKeys()[0]
			if over := key.ExpiresAt.Sub(l.end); over < minExpiryGrace || over > 10*time.Minute+2*time.Second {
				m.t.Fatalf("at %s the key outlives its lease by %s, want 2m to 10m", time.Since(l.issued), over)
			}
		}
		if got := l.end.Sub(l.issued); got != 24*time.Hour {
			m.t.Errorf("the lease was renewed to %s in all, want 24h", got)
		}
		m.sweepFor(time.Until(l.end))
		m.wantAlive(l.key(), true)
		l.revoke()
		m.wantLive(0)
	})
}

func TestRenewIncrementNeverPassesTheProvidersExpiry(t *testing.T) {
	for _, increment := range []time.Duration{0, time.Second, 10 * time.Minute, 5 * time.Hour, 100 * time.Hour} {
		bubble(t, func(m *testMount) {
			m.configure()
			l := m.lease("creds/bot")
			m.advance(30 * time.Minute)
			if _, err := l.tryRenew(increment); err != nil {
				m.t.Fatal(err)
			}
			if key := m.fake.LiveKeys()[0]; key.ExpiresAt.Before(l.end) {
				m.t.Errorf("increment %s: the lease ends %s after the key", increment, l.end.Sub(key.ExpiresAt))
			}
			if l.end.After(l.issued.Add(24 * time.Hour)) {
				m.t.Errorf("increment %s: the lease ends after max_ttl", increment)
			}
		})
	}
}

func TestRenewRightAfterIssueNeedsNoProvider(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.fake.Inject(fakeopenai.Fault{Refuse: true})
		m.fake.ResetRequests()
		if _, err := l.tryRenew(0); err != nil {
			m.t.Fatalf("renew with the provider down: %v", err)
		}
		m.wantCalls("renew")
	})
}

func TestRenewGivesWhatTheProviderHonours(t *testing.T) {
	faults := map[string]fakeopenai.Fault{
		"down":         {Refuse: true},
		"500":          {Status: 500},
		"429":          {Status: 429, RetryAfter: time.Hour},
		"unauthorized": {Status: 401},
		"not allowed":  {Status: 405},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(m *testMount) {
				m.configure()
				l := m.lease("creds/bot") // the key lives for 70m
				m.fake.Inject(fault)
				m.advance(40 * time.Minute)

				// Asked for 100m, honoured until 70m.
				if _, err := l.tryRenew(0); err != nil {
					m.t.Fatal(err)
				}
				if got := l.end.Sub(l.issued).Round(time.Minute); got != 70*time.Minute || len(l.warnings) == 0 {
					m.t.Fatalf("the lease ends after %s with warnings %v; want 70m and one", got, l.warnings)
				}
				m.advance(time.Until(l.end) - time.Second)
				m.wantAlive(l.key(), true)
				m.advance(2 * time.Second)
				if _, err := l.tryRenew(0); err == nil {
					m.t.Error("a renew of a key that the provider has ended succeeded")
				}
			})
		})
	}
}

func TestRenewErrors(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "roles/bot", "ttl", "20m")
		l := m.lease("creds/bot")

		gone := m.lease("creds/bot")
		gone.revoke()
		m.renewFails(gone, "revoked")

		m.fake.DeleteKey(l.data["key_id"].(string))
		m.advance(15 * time.Minute)
		m.renewFails(l, "gone at the provider")

		m.do("delete", "roles/bot")
		m.renewFails(l, `role "bot" does not exist`)
	})
}

func (m *testMount) renewFails(l *testLease, part string) {
	m.t.Helper()
	resp, err := l.tryRenew(0)
	if err == nil || resp != nil {
		m.t.Fatalf("renew: got %v and no error, want an error and no response", resp)
	}
	if !strings.Contains(err.Error(), part) {
		m.t.Errorf("renew: error %q lacks %q", err, part)
	}
	if strings.Contains(err.Error(), "permission denied") {
		m.t.Errorf("renew: %q would stop a client from ever renewing", err)
	}
}
