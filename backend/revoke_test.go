package backend

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

func TestRevokeOfAKeyThatIsGoneSucceeds(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.advance(2 * time.Minute)
		m.fake.DeleteKey(l.data["key_id"].(string)) // in the web console
		l.revoke()
		m.wantRecords(0)
	})
}

func TestNotFoundOfAYoungKeyProvesNothing(t *testing.T) {
	both(t, func(m *testMount) {
		m.fake.SetKnobs(fakeopenai.Knobs{YoungNotFoundFor: 30 * time.Second})
		m.configure()
		l := m.lease("creds/bot")
		if err := l.tryRevoke(); err == nil || !strings.Contains(err.Error(), "too young") {
			m.t.Fatalf("revoke of a young key that the provider does not know: %v", err)
		}
		m.wantRecords(1)
		m.sweepFor(3 * time.Minute)
		m.wantAlive(l.key(), false)
		m.wantRecords(0)
	})
}

func TestRevokeNeedsNeitherRoleNorConnectionCache(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.do("delete", "roles/bot")
		m.b.InvalidateKey(m.t.Context(), configKey("openai"))
		l.revoke()
		m.wantLive(0)
	})
}

// vaultPauses are Vault's pauses between its six tries to revoke a lease.
var vaultPauses = []time.Duration{0, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 320 * time.Second}

func TestKeyGoesAfterVaultHasGivenUp(t *testing.T) {
	for _, fault := range []fakeopenai.Fault{{Refuse: true}, {Status: 503}, {Drop: true}, {Hang: fakeopenai.HangBefore}, {Status: 401}} {
		t.Run(fault.String(), func(t *testing.T) {
			bubble(t, func(m *testMount) {
				m.configure()
				l := m.lease("creds/bot", "ttl", "30m")
				m.sweepFor(29 * time.Minute)
				m.fake.Inject(fault)
				m.sweepFor(time.Minute)
				for _, pause := range vaultPauses {
					m.advance(pause)
					if err := l.tryRevoke(); err == nil {
						m.t.Fatal("a revoke succeeded while the provider was down")
					}
				}
				m.sweepFor(10 * time.Minute) // Vault has given up: the lease is irrevocable
				rec := m.records()[0]
				if rec.State != revoking || rec.Attempts < 6 || rec.LastError == "" {
					m.t.Errorf("record: state %s, attempts %d, last error %q", rec.State, rec.Attempts, rec.LastError)
				}
				m.fake.ClearFaults()
				m.sweepFor(61 * time.Minute) // the longest pause between tries, and a sweep
				m.wantRecords(0)
				for _, key := range m.fake.Keys() {
					if !key.Deleted {
						m.t.Errorf("key %s was never deleted", key.ID)
					}
				}
				l.revoke() // an operator retries the irrevocable lease: success
			})
		})
	}
}

// TestManyRevokesPaceThemselves is a mass expiry: Vault revokes with 200 workers
// against a provider that allows 20 requests a second.
func TestManyRevokesPaceThemselves(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		var leases []*testLease
		for range 200 {
			leases = append(leases, m.lease("creds/bot"))
		}
		m.fake.SetRate(20, 20)
		m.fake.ResetRequests()
		start := time.Now()
		var wg sync.WaitGroup
		errs := make([]error, len(leases))
		for i, l := range leases {
			wg.Go(func() { errs[i] = l.tryRevoke() })
		}
		wg.Wait()
		took := time.Since(start)
		for _, err := range errs {
			if err != nil {
				m.t.Fatalf("a revoke failed, and would have burnt a try: %v", err)
			}
		}
		m.wantLive(0)
		m.wantRecords(0)
		limited := 0
		var pausedTo time.Time
		for _, req := range m.fake.Requests() {
			// What was under way when the limit was hit has left already.
			if req.At.Before(pausedTo) && req.Status != 429 {
				m.t.Errorf("a request left during a pause, at %s", req.At)
			}
			if req.Status == 429 {
				limited++
				pausedTo = req.At.Add(time.Second)
			}
		}
		if took > 15*time.Second {
			m.t.Errorf("200 revokes at 20/s took %s, want about 10s", took)
		}
		if limited > 40 {
			m.t.Errorf("%d requests ran into the limit, want at most 40", limited)
		}
		m.t.Logf("200 revokes at 20/s: %s of provider time, %d requests, %d of them limited", took, len(m.fake.Requests()), limited)
	})
}

func TestDisableLeavesNoLiveKey(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		var leases []*testLease
		for range 5 {
			leases = append(leases, m.lease("creds/bot"))
		}
		m.sys.taint(true)
		m.sweep()
		m.wantLive(0)
		m.wantRecords(0)
		if left := m.fake.ServiceAccounts("proj_demo"); len(left) != 0 {
			m.t.Errorf("service accounts left: %v", left)
		}
		for _, l := range leases { // Vault now revokes each lease once
			l.revoke()
		}
	})
}

func TestMoveKeepsTheMountAtWork(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot")
		m.sys.taint(true) // a move looks like a disable
		m.sweep()
		m.sys.taint(false)
		m.sweep()
		l := m.lease("creds/bot")
		m.wantAlive(l.key(), true)
		m.sweepFor(10 * time.Minute)
		m.wantAlive(l.key(), true)
		l.revoke()
	})
}

func TestDisableWhileTheProviderIsDownKeepsTheRecords(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.fake.Inject(fakeopenai.Fault{Refuse: true})
		m.sys.taint(true)
		m.sweep()
		if err := l.tryRevoke(); err == nil {
			m.t.Fatal("the lease was revoked, and Vault would have wiped the ledger")
		}
		m.wantRecords(1)
		m.fake.ClearFaults()
		m.sweep() // the mount stays tainted and is swept on
		m.wantLive(0)
		l.revoke()
	})
}

// TestConcurrentMoves issues, renews, revokes and sweeps at once.
func TestConcurrentMoves(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "roles/bot", "max_active_keys", 16)
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Skip: 20, Times: 5, Drop: true, AfterEffect: true})
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				for range 5 {
					resp, err := m.try("read", "creds/bot")
					if err != nil {
						continue // one of the five, or the cap, which they now hold
					}
					l := m.keep("creds/bot", resp)
					_, _ = l.tryRenew(0)
					if err := l.tryRevoke(); err != nil {
						m.t.Errorf("caller %d: %v", i, err)
					}
				}
			})
		}
		for range 5 {
			m.sweep()
		}
		wg.Wait()
		m.advance(pendingAge())
		m.sweepFor(2 * time.Minute)
		m.wantLive(0)
		m.wantRecords(0)
	})
}

func TestRevokeSaysWhatWentWrongWithoutTheKey(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.fake.Inject(fakeopenai.Answer(fakeopenai.OpDeleteKey, 403, 0))
		err := l.tryRevoke()
		if err == nil {
			m.t.Fatal("the revoke succeeded")
		}
		for _, part := range []string{"openai: delete key: forbidden", "stays queued"} {
			if !strings.Contains(err.Error(), part) {
				m.t.Errorf("error %q lacks %q", err, part)
			}
		}
		m.checkText("error", fmt.Sprintf("%v %+v", err, err))
	})
}
