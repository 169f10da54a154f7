package backend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

func TestLostHolderIsSwept(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot", "ttl", "60s")
		m.sweepFor(9 * time.Minute)
		m.wantAlive(l.key(), true)
		m.sweepFor(3 * time.Minute)
		m.wantRecords(0)
		if got := m.fake.Count(fakeopenai.OpDeleteKey); got != 1 {
			m.t.Errorf("deletes: got %d, want 1", got)
		}
	})
}

func TestSweepDeletesKeyOfLostCreate(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.SetKnobs(fakeopenai.Knobs{HideFor: 2 * time.Minute})
		m.fake.Inject(fakeopenai.DropAfter(fakeopenai.OpCreateKey, 1))
		m.refused(502, []string{"openai: create key", "outcome unknown"}, "read", "creds/bot")
		m.wantLive(1) // it exists, and nobody holds it

		m.sweepFor(pendingAge() + 2*time.Minute)
		m.wantLive(0)
		m.wantRecords(0)
	})
}

func TestSettleFindsKeysOnLaterPagesAndLeavesOthersAlone(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		for i := range 250 { // other people's keys, before and after ours
			m.fake.PlantKey("proj_demo", fmt.Sprintf("laptop-%d", i))
			if i == 120 {
				m.fake.SetKnobs(fakeopenai.Knobs{HideFor: time.Minute})
				m.fake.Inject(fakeopenai.DropAfter(fakeopenai.OpCreateKey, 1))
				m.refused(502, nil, "read", "creds/bot")
			}
		}
		m.wantLive(251)
		m.sweepFor(pendingAge() + 2*time.Minute)
		m.wantLive(250)
		m.wantRecords(0)
	})
}

func TestOnePassSettlesAllPendingsOfAProject(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot").revoke()
		m.fake.SetKnobs(fakeopenai.Knobs{HideFor: time.Minute})
		m.fake.Inject(fakeopenai.DropAfter(fakeopenai.OpCreateKey, 5))
		for range 5 {
			m.refused(502, nil, "read", "creds/bot")
		}
		m.advance(pendingAge() + time.Second)
		m.fake.ResetRequests()
		m.sweep()
		m.wantLive(0)
		if got := m.fake.Count(fakeopenai.OpListKeys); got != 1 {
			m.t.Errorf("lists: got %d, want 1 for all five", got)
		}
	})
}

func TestSweepCostDoesNotGrowWithLiveKeys(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		cost := func() int {
			m.sweep() // the first lists the index as a whole
			m.advance(time.Minute)
			m.storage.spoil(noOp, 0, nil)
			m.sweep()
			return len(m.storage.heal())
		}
		for range 10 {
			m.lease("creds/bot", "ttl", "23h")
		}
		few := cost()
		for range 1000 {
			m.lease("creds/bot", "ttl", "23h")
		}
		if many := cost(); many != few {
			m.t.Errorf("storage operations of a sweep: %d with 10 keys, %d with 1010", few, many)
		}
	})
}

func TestFailingConnectionDoesNotHoldUpAnother(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("create", "config/second", "provider", "openai", "admin_key", m.fake.AdminKey())
		m.do("create", "roles/other", "config_name", "second", "project_id", "proj_demo")
		var leases []*testLease
		for range 40 {
			leases = append(leases, m.lease("creds/bot", "ttl", "60s"), m.lease("creds/other", "ttl", "60s"))
		}
		m.engine.dropConnection("openai")
		conn, err := m.engine.connection(m.t.Context(), m.storage, "openai")
		if err != nil {
			m.t.Fatal(err)
		}
		conn.client = hanging{conn.client}
		m.advance(12 * time.Minute)
		m.sweep()
		for i, l := range leases {
			if rec := m.recordOf(l); (rec != nil) != (i%2 == 0) {
				m.t.Fatalf("lease %d on %s: record %+v", i, l.path, rec)
			}
		}
	})
}

func (m *testMount) recordOf(l *testLease) *record {
	m.t.Helper()
	p, err := leaseData(l.secret)
	if err != nil {
		m.t.Fatal(err)
	}
	rec, err := m.engine.ledger(m.storage).get(m.t.Context(), p)
	if err != nil {
		m.t.Fatal(err)
	}
	return rec
}

// TestFailingProviderIsGivenUpUntilTheNextSweep counts what a sweep over many keys
// asks of a provider that is down: each try of one key is four requests.
func TestFailingProviderIsGivenUpUntilTheNextSweep(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		for range 200 {
			m.lease("creds/bot", "ttl", "60s")
		}
		m.advance(15 * time.Minute)
		m.fake.Inject(fakeopenai.Answer(fakeopenai.OpDeleteKey, 503, 0))
		m.fake.ResetRequests()
		m.sweep()
		if got := m.fake.Count(fakeopenai.OpDeleteKey); got == 0 || got > 150 {
			m.t.Errorf("requests to a provider that is down: %d, want a few and at most 150", got)
		}
		m.sweepFor(20 * time.Minute)
		m.fake.ClearFaults()
		m.sweepFor(3 * time.Minute)
		for _, rec := range m.records() { // what was tried waits for its time
			if rec.Attempts == 0 {
				m.t.Fatal("a key that was never tried is not looked at any more")
			}
		}
		m.sweepFor(70 * time.Minute)
		m.wantRecords(0)
	})
}

// TestEntriesOfPassedMinutesAreFound files entries under minutes that sweeps have
// passed: one that was written late, and one that is far behind.
func TestEntriesOfPassedMinutesAreFound(t *testing.T) {
	for behind, within := range map[time.Duration]time.Duration{
		5 * time.Minute: time.Minute,
		3 * time.Hour:   indexFull + time.Minute,
	} {
		bubble(t, func(m *testMount) {
			m.configure()
			m.advance(5 * time.Hour)
			m.sweepFor(2 * time.Minute)
			rec := record{ID: newID(m.engine.now()), Name: "vault-x", State: pending, Config: "openai", Role: "bot", Scope: "proj_demo"}
			rec.Due = m.engine.now().Add(-behind)
			if err := m.engine.ledger(m.storage).write(m.t.Context(), record{}, rec); err != nil {
				m.t.Fatal(err)
			}
			m.sweepFor(within)
			m.wantRecords(0)
		})
	}
}

func TestRetryAfterDelaysTheNextTry(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.fake.Inject(fakeopenai.Limited(fakeopenai.OpDeleteKey, 30*time.Minute, 1))
		if err := l.tryRevoke(); err == nil {
			m.t.Fatal("the revoke succeeded")
		}
		if wait := time.Until(m.records()[0].Due); wait < 29*time.Minute || wait > 31*time.Minute {
			m.t.Errorf("the next try is in %s, the provider asked for 30m", wait)
		}
		m.fake.ResetRequests()
		m.sweepFor(28 * time.Minute)
		m.wantCalls("sweeps before that")
		m.sweepFor(4 * time.Minute)
		m.wantRecords(0)
	})
}

func TestUnreadableRecordDoesNotStopTheSweep(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		bad := m.lease("creds/bot", "ttl", "60s")
		m.lease("creds/bot", "ttl", "60s")
		p, _ := leaseData(bad.secret)
		if err := m.storage.Put(m.t.Context(), &logical.StorageEntry{Key: p.key(), Value: []byte("{broken")}); err != nil {
			m.t.Fatal(err)
		}
		m.sweepFor(12 * time.Minute)
		if got := m.stored(recordsPrefix("openai", "bot")); len(got) != 1 || got[0] != p.key() {
			m.t.Errorf("records: %v, want only the unreadable one", got)
		}
		if !strings.Contains(m.log.String(), "decode "+p.key()) {
			m.t.Error("the log does not say which record cannot be read")
		}
	})
}

func TestSweepResumesAfterItsBudget(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		for range 100 {
			m.lease("creds/bot", "ttl", "60s")
		}
		m.advance(15 * time.Minute)
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteKey, Latency: 10 * time.Second})
		start := time.Now()
		m.sweep()
		if took := time.Since(start); took > sweepBudget+time.Second {
			m.t.Errorf("a sweep took %s, want at most %s", took, sweepBudget)
		}
		if left := len(m.records()); left < 20 || left > 50 {
			m.t.Errorf("records after one sweep: %d, want about 36", left)
		}
		m.sweepFor(4 * time.Minute)
		m.wantRecords(0)
	})
}

func TestClockThatJumpsBackStillSweeps(t *testing.T) {
	both(t, func(m *testMount) {
		if !m.grpc {
			m.engine.now = func() time.Time { return time.Now().Add(time.Duration(m.clock.ahead.Load())) }
		}
		m.configure()
		m.sweep()
		m.clock.ahead.Add(int64(1000 * time.Hour))
		m.sweep() // what was due is done, and the sweep has seen a far minute
		m.clock.ahead.Add(-int64(1000 * time.Hour))
		m.lease("creds/bot", "ttl", "60s")
		m.sweepFor(13 * time.Minute)
		m.wantRecords(0)
		m.wantLive(0)
	})
}

func TestReplicationStates(t *testing.T) {
	cases := []struct {
		state    consts.ReplicationState
		mayWrite bool
	}{
		{consts.ReplicationUnknown, true},
		{consts.ReplicationPerformancePrimary, true},
		{consts.ReplicationPerformanceStandby, false},
		{consts.ReplicationPerformanceSecondary, false},
		{consts.ReplicationDRSecondary, false},
	}
	for _, c := range cases {
		both(t, func(m *testMount) {
			m.configure()
			m.lease("creds/bot", "ttl", "60s")
			m.sys.set(func(v *logical.StaticSystemView) { v.ReplicationStateVal = c.state })
			m.advance(12 * time.Minute)
			m.storage.spoil(noOp, 0, nil)
			m.sweep()
			if swept := len(m.storage.heal()) > 0; swept != c.mayWrite {
				m.t.Errorf("%s: swept %v, want %v", c.state.GetPerformanceString(), swept, c.mayWrite)
			}
			m.fake.ResetRequests()
			_, err := m.try("read", "creds/bot")
			forwards := c.state.HasState(consts.ReplicationPerformanceStandby) || c.state.HasState(consts.ReplicationPerformanceSecondary)
			if readOnly := err != nil && strings.Contains(err.Error(), logical.ErrReadOnly.Error()); readOnly != forwards {
				m.t.Errorf("%s: read of creds: %v; want it forwarded: %v", c.state.GetPerformanceString(), err, forwards)
			}
			if forwards && len(m.fake.Requests()) > 0 {
				m.t.Errorf("%s: a node that forwards called the provider", c.state.GetPerformanceString())
			}
		})
	}
}

func TestInvalidateDropsTheConnection(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot")
		// Another node rotates the admin key behind our back.
		entry, err := loadConfig(m.t.Context(), m.storage, "openai")
		if err != nil {
			m.t.Fatal(err)
		}
		_, entry.AdminKey = m.fake.AddAdminKey()
		m.fake.RevokeAdminKey(m.fake.AdminKeys()[0].ID)
		if err := save(m.t.Context(), m.storage, configKey("openai"), entry); err != nil {
			m.t.Fatal(err)
		}
		m.refused(http.StatusBadGateway, []string{"unauthorized"}, "read", "creds/bot")
		m.b.InvalidateKey(m.t.Context(), configKey("openai"))
		m.lease("creds/bot")
	})
}

func TestTwoMountsShareNothing(t *testing.T) {
	bubble(t, func(one *testMount) {
		two := prepareMount(one.t)
		two.restart()
		one.configure()
		two.configure()
		a, b := one.lease("creds/bot"), two.lease("creds/bot")
		one.do("write", "config/openai", "max_concurrency", 2)
		one.fake.Inject(fakeopenai.Fault{Status: 429, RetryAfter: time.Hour})
		_, _ = one.try("read", "creds/bot")
		b.revoke() // not paused
		one.wantAlive(a.key(), true)
		if one.engine.mountEntry.Tag == two.engine.mountEntry.Tag {
			one.t.Error("two mounts have one tag")
		}
		two.wantRecords(0)
		one.wantRecords(1)
		two.checkNoSecrets()
	})
}
