package backend

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// What reviews of the operators' paths have found.

// A laggingStorage takes its time for every operation, as one on disk does.
type laggingStorage struct {
	logical.Storage
	delay time.Duration
}

func (s *laggingStorage) wait(ctx context.Context) error {
	select {
	case <-time.After(s.delay):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *laggingStorage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Storage.Get(ctx, key)
}

func (s *laggingStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.Storage.Put(ctx, entry)
}

func (s *laggingStorage) Delete(ctx context.Context, key string) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.Storage.Delete(ctx, key)
}

func (s *laggingStorage) List(ctx context.Context, prefix string) ([]string, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Storage.List(ctx, prefix)
}

// slowDown makes the storage slow from here on.
func (m *testMount) slowDown(delay time.Duration) {
	m.storage.Storage = &laggingStorage{Storage: m.storage.Storage, delay: delay}
}

// trySweep sweeps; a sweep that fails is logged by Vault and comes again.
func (m *testMount) trySweep() {
	req := logical.RollbackRequest("")
	req.Storage = m.storage
	if _, err := m.b.HandleRequest(m.t.Context(), req); err != nil {
		m.t.Logf("sweep: %v", err)
	}
}

func (m *testMount) liveOf(leases []*testLease) int {
	n := 0
	for _, l := range leases {
		if m.fake.Alive(l.key()) {
			n++
		}
	}
	return n
}

func (m *testMount) leases(n int) []*testLease {
	m.t.Helper()
	var leases []*testLease
	for range n {
		leases = append(leases, m.lease("creds/bot", "ttl", "10h"))
	}
	return leases
}

// TestKillBehindAHangingRenewIsNotLost: what is said to be queued is.
func TestKillBehindAHangingRenewIsNotLost(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.advance(50 * time.Minute)
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpUpdateKey, Hang: fakeopenai.HangBefore})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = l.tryRenew(0)
		}()
		time.Sleep(100 * time.Millisecond)
		m.wantKill(m.do("write", "revoke", "api_key", l.key()), 0, 1, 0)
		m.fake.ClearFaults()
		<-done
		m.sweepFor(3 * time.Minute)
		m.wantAlive(l.key(), false)
		if _, err := l.tryRenew(0); err == nil {
			m.t.Error("the lease of a killed key was renewed")
		}
		m.wantNoOrders()
	})
}

func (m *testMount) wantNoOrders() {
	m.t.Helper()
	if left := m.stored(orderPrefix); len(left) > 0 {
		m.t.Errorf("orders left: %v", left)
	}
}

func TestKillWhoseCallerHangsUpIsNotLost(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot", "ttl", "10h")
		release, _ := m.engine.slots.try(recordSlot(l.id())) // as a renew does
		ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Second)
		defer cancel()
		resp, err := m.b.HandleRequest(ctx, m.request(logical.UpdateOperation, "revoke", map[string]any{"api_key": l.key()}))
		if err != nil {
			m.t.Fatal(err)
		}
		m.wantKill(resp, 0, 1, 0)
		release()
		m.sweepFor(2 * time.Minute)
		m.wantAlive(l.key(), false)
		m.wantNoOrders()
	})
}

// TestTwoKillsDoNotWaitForEachOther kills twice at once where creates without an
// answer are to be looked for.
func TestTwoKillsDoNotWaitForEachOther(t *testing.T) {
	for _, width := range []int{1, 2, 16} {
		bubble(t, func(m *testMount) {
			m.configure()
			live := m.leases(20)
			m.do("write", "config/openai", "max_concurrency", width)
			m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Status: http.StatusInternalServerError, AfterEffect: true})
			m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpListKeys, Status: http.StatusForbidden})
			for range 20 {
				if _, err := m.try("read", "creds/bot"); err == nil {
					m.t.Fatal("a create without an answer has issued a key")
				}
			}
			m.fake.ClearFaults()
			m.slowDown(2 * time.Millisecond)
			started := time.Now()
			done := make(chan struct{})
			for range 2 {
				go func() {
					defer func() { done <- struct{}{} }()
					m.do("write", "revoke", "role", "bot")
				}()
			}
			<-done
			<-done
			if took := time.Since(started); took > 20*time.Second || m.liveOf(live) > 0 {
				m.t.Errorf("width %d: after %v, %d keys are alive", width, took, m.liveOf(live))
			}
			m.wantLive(0)
		})
	}
}

// TestBusyRecordHoldsUpNoOtherKey kills while others are at some of the keys, and
// hang: all but those die at once.
func TestBusyRecordHoldsUpNoOtherKey(t *testing.T) {
	for _, delay := range []time.Duration{0, 5, 10, 20, 30, 50} {
		bubble(t, func(m *testMount) {
			m.configure()
			live := m.leases(20)
			renewing := m.lease("creds/bot")
			m.advance(50 * time.Minute)
			m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpUpdateKey, Hang: fakeopenai.HangBefore})
			m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteKey, Hang: fakeopenai.HangBefore, Times: 1})
			m.slowDown(2 * time.Millisecond)
			go func() { _, _ = renewing.tryRenew(0) }()
			go func() {
				time.Sleep(delay * time.Millisecond)
				_ = live[0].tryRevoke()
			}()
			time.Sleep(time.Millisecond)
			done := make(chan struct{})
			go func() {
				defer close(done)
				data := m.do("write", "revoke", "role", "bot").Data
				if told := data["revoked"].(int) + data["queued"].(int) + len(data["failed"].([]map[string]any)); told != 21 {
					m.t.Errorf("revoke %v after the kill began: %v, of 21 keys", delay*time.Millisecond, data)
				}
			}()
			time.Sleep(5 * time.Second)
			if n := m.liveOf(live); n > 1 {
				m.t.Errorf("revoke %v after the kill began: %d of 20 keys are alive after 5 s", delay*time.Millisecond, n)
			}
			<-done
			time.Sleep(2 * time.Minute)
			m.fake.ClearFaults()
			m.sweepFor(5 * time.Minute)
			m.wantLive(0)
			m.wantNoOrders()
		})
	}
}

// TestSuspendedRoleHandsNothingOver suspends while an issue and a renew are under
// way: neither gives anything out after the suspension was answered.
func TestSuspendedRoleHandsNothingOver(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.advance(50 * time.Minute)
		slow := 20 * time.Second
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, LatencyAfter: slow})
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpUpdateKey, LatencyAfter: slow})
		answers := make(chan error)
		go func() { _, err := m.try("read", "creds/bot"); answers <- err }()
		go func() { _, err := l.tryRenew(0); answers <- err }()
		time.Sleep(time.Second)
		m.do("write", "suspend/bot", "reason", "leaked")
		for range 2 {
			if err := <-answers; err == nil || !strings.Contains(err.Error(), "is suspended") {
				m.t.Errorf("under way while its role was suspended: %v", err)
			}
		}
		m.wantLive(1)
	})
}

// TestLeakedKeyInTheWrongFieldIsNotRepeated pastes a leaked key where a name belongs.
func TestLeakedKeyInTheWrongFieldIsNotRepeated(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		for _, field := range []string{"role", "entity_id", "id", "key_id"} {
			m.refused(400, []string{field, "give it as api_key"}, "write", "revoke", field, l.key())
		}
		m.refused(400, []string{"give it as api_key"}, "write", "lookup", "key_id", l.key())
		for key, value := range m.backup() {
			if strings.Contains(key+string(value), l.key()) {
				m.t.Errorf("it is stored under %s", key)
			}
		}
		m.wantAlive(l.key(), true)
	})
}

// TestOneFailedReadDoesNotStopAKill: the other keys die, and that one soon after.
func TestOneFailedReadDoesNotStopAKill(t *testing.T) {
	for _, target := range []string{"role bot", "entity_id entity-1"} {
		bubble(t, func(m *testMount) {
			m.configure()
			live := m.leases(50)
			m.storage.spoil(opID{"get ledger", 17}, failBefore, nil)
			field, value, _ := strings.Cut(target, " ")
			m.do("write", "revoke", field, value)
			m.storage.heal()
			if n := m.liveOf(live); n > 1 {
				m.t.Errorf("%s: %d keys are alive", target, n)
			}
			m.sweepFor(3 * time.Minute)
			m.wantLive(0)
			m.wantNoOrders()
		})
	}
}

// TestKeyWhoseRecordCannotBeMarkedIsDeleted: the provider can be reached, and that is
// what counts.
func TestKeyWhoseRecordCannotBeMarkedIsDeleted(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		live := m.leases(5)
		m.storage.spoilOp("put "+m.records()[2].pointer().key(), failBefore)
		m.wantKill(m.do("write", "revoke", "role", "bot"), 5, 0, 0)
		m.storage.heal()
		if n := m.liveOf(live); n > 0 {
			m.t.Errorf("%d keys are alive", n)
		}
		m.sweepFor(2 * time.Minute)
		m.wantNoOrders()
	})
}

// TestKillOfManyOnASlowStorage has more keys than one request, or one sweep, can
// mark. What else is due is swept all the same.
func TestKillOfManyOnASlowStorage(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.leases(500)
		m.slowDown(600 * time.Millisecond)
		resp := m.do("write", "revoke", "entity_id", "entity-1")
		got := resp.Data["revoked"].(int) + resp.Data["queued"].(int) + len(resp.Data["failed"].([]map[string]any))
		if got != 500 || len(m.stored(orderPrefix)) == 0 {
			m.t.Errorf("answer: %v", resp.Data)
		}
		for range 150 {
			m.trySweep()
			time.Sleep(15 * time.Second)
		}
		m.wantLive(0)
		m.wantNoOrders()
	})
}

// TestReindexLeavesTimeForTheSweep makes the index of many records on a slow
// storage, while they are all due.
func TestReindexLeavesTimeForTheSweep(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.leases(500)
		m.dropIndex()
		m.advance(26 * time.Hour)
		m.slowDown(36 * time.Millisecond)
		for range 20 {
			m.trySweep()
			time.Sleep(15 * time.Second)
		}
		m.wantRecords(0)
		if m.engine.mountEntry.Index != indexVersion {
			m.t.Error("the index is not made")
		}
	})
}

// TestKillOfAnAdminKeyThatWasReplacedByHand: nothing here deletes it, and nothing
// says so.
func TestKillOfAnAdminKeyThatWasReplacedByHand(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		old, rec := m.fake.AdminKey(), m.adminRecords()[0]
		_, second := m.fake.AddAdminKey()
		m.storage.spoilOp("list ledger/openai/", failBefore)
		m.do("write", "config/openai", "admin_key", second)
		m.storage.heal()
		m.refused(400, []string{"delete it at the provider"}, "write", "revoke", "id", rec.ID)
		if !m.fake.AdminAlive(old) {
			m.t.Error("the operator's key was deleted")
		}
	})
}

// TestAskingAgainDoesNotLengthenTheWait revokes again and again while the provider
// refuses: the next try stays near.
func TestAskingAgainDoesNotLengthenTheWait(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteKey, Status: http.StatusForbidden})
		for range 8 {
			m.wantKill(m.do("write", "revoke", "id", l.id()), 0, 0, 1)
			time.Sleep(time.Second)
		}
		next, err := time.Parse(time.RFC3339, m.do("read", "keys/"+l.id()).Data["next_attempt"].(string))
		if err != nil || time.Until(next) > 2*time.Minute {
			m.t.Errorf("next attempt in %v, %v", time.Until(next), err)
		}
	})
}

// TestTidyLeavesTheServiceAccountOfARole: after a restore it is not on record, and
// the next issue finds it by its name.
func TestTidyLeavesTheServiceAccountOfARole(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		backup := m.backup()
		m.lease("creds/bot").revoke()
		m.restore(backup)
		m.restart()
		m.advance(2 * time.Hour)
		m.wantTidy(m.do("write", "tidy/openai", "dry_run", false).Data, 0, 0, 0, 0)
		m.lease("creds/bot")
		if accounts := m.fake.ServiceAccounts("proj_demo"); len(accounts) != 1 {
			m.t.Errorf("service accounts: %v", accounts)
		}
	})
}

// TestTidyOfACopyLeavesWhatIsUsed: a copy of this mount, from a backup, has the same
// tag. What the original made since looks like an orphan there.
func TestTidyOfACopyLeavesWhatIsUsed(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		backup := m.backup()
		used, unused := m.lease("creds/bot", "ttl", "10h"), m.lease("creds/bot", "ttl", "10h")
		m.do("write", "config/openai", "rotation_overlap", "12h")
		m.do("write", "rotate-root/openai")
		entry, err := loadConfig(m.t.Context(), m.storage, "openai")
		if err != nil {
			m.t.Fatal(err)
		}
		m.restore(backup)
		m.restart() // the copy
		m.advance(2 * time.Hour)
		now := m.clock.now()
		m.fake.Age(keyIDOf(used), now.Add(-2*time.Hour), now.Add(-time.Minute))
		m.wantTidy(m.do("write", "tidy/openai", "dry_run", false).Data, 3, 1, 2, 0)
		m.wantAlive(used.key(), true)
		m.wantAlive(unused.key(), false)
		if !m.fake.AdminAlive(entry.AdminKey) {
			m.t.Error("the admin key that the original uses is deleted")
		}
	})
}

// TestTidyOfALargeAccountGoesOn: what one tidy has no time for, the next ones do.
func TestTidyOfALargeAccountGoesOn(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		for i := range 1200 {
			m.fake.AddProject("proj_a" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i%11) + strings.Repeat("z", i/26))
		}
		m.plantOrphan("proj_demo")
		m.plantOrphan("proj_zz")
		m.advance(2 * time.Hour)
		m.fake.SetRate(20, 20)
		for range 6 {
			m.do("write", "tidy/openai", "dry_run", false)
			m.advance(time.Minute)
		}
		m.wantLive(0)
	})
}

// TestPageWithoutAMatchLeadsOn: Vault answers an empty list as 404, and the next page
// would be lost.
func TestPageWithoutAMatchLeadsOn(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		for range keysScan + 1 {
			rec := record{Version: recordVersion, ID: newID(m.clock.now()), State: active, Kind: lease, Config: "openai", Role: "bot"}
			if err := save(m.t.Context(), m.storage, rec.pointer().key(), rec); err != nil {
				m.t.Fatal(err)
			}
		}
		for _, op := range []string{"list", "read"} {
			resp := m.do(op, "keys", "state", "revoking")
			if _, listed := resp.Data["keys"]; listed && op == "list" || resp.Data["next"] == nil {
				m.t.Errorf("%s: %v", op, resp.Data)
			}
		}
	})
}

// A lateStorage stores one record only after its write has failed, as a node that
// loses its leader may.
type lateStorage struct {
	logical.Storage
	late *logical.StorageEntry
}

func (s *lateStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	if s.late == nil && strings.HasPrefix(entry.Key, ledgerPrefix) {
		s.late = entry
		return errInjected
	}
	return s.Storage.Put(ctx, entry)
}

// TestRecordThatIsStoredLateIsSwept: nothing was made for it, and it must not count
// as a live key for ever.
func TestRecordThatIsStoredLateIsSwept(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		below := m.storage.Storage
		late := &lateStorage{Storage: below}
		m.storage.Storage = late
		m.refused(500, nil, "read", "creds/bot")
		m.storage.Storage = below
		if err := below.Put(m.t.Context(), late.late); err != nil {
			m.t.Fatal(err)
		}
		m.wantRecords(1)
		m.sweepFor(30 * time.Minute)
		m.wantRecords(0)
	})
}
