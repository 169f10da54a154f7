package backend

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// What hostile readers of static roles have found, one test each.

// TestTwoImportsOfOneKey: one of two roles gets the key.
func TestTwoImportsOfOneKey(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		planted := m.fake.PlantKey("proj_demo", "ada's")
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpGetKey, Latency: time.Second, Times: 2})
		var writers sync.WaitGroup
		var statuses [2]int
		for i, name := range []string{"a", "b"} {
			writers.Go(func() {
				statuses[i], _ = outcome(m.try("create", "static-roles/"+name, staticFields("api_key", planted.Secret, "key_id", planted.ID)...))
			})
		}
		writers.Wait()
		if statuses != [2]int{204, 400} && statuses != [2]int{400, 204} {
			m.t.Errorf("got %v, want one 204 and one 400", statuses)
		}
		if recs := m.staticRecords(); len(recs) != 1 {
			m.t.Errorf("records: %+v", recs)
		}
	})
}

// TestImportNeedsProof: nobody takes over a key that they do not have, or that a mount
// of the engine keeps, whatever verify says.
func TestImportNeedsProof(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		victim := m.fake.PlantKey("proj_demo", "victim's")
		half := len(victim.Secret) / 2
		forged := victim.Secret[:half] + "zzz" + victim.Secret[half+3:]
		m.refused(400, []string{"api_key", "is refused by the provider"}, "create", "static-roles/app", staticFields("api_key", forged, "key_id", victim.ID, "verify", false)...)
		others := m.fake.PlantKey("proj_demo", "vault-0123abcd-bot-"+newID(time.Now()))
		m.refused(400, []string{"key_id", "a mount of this engine has made"}, "create", "static-roles/app", staticFields("api_key", others.Secret, "key_id", others.ID)...)
		m.sweepFor(15 * time.Minute)
		m.wantAlive(victim.Secret, true)
		m.wantAlive(others.Secret, true)
	})
}

// TestKillDuringARotation waits for the new key, and kills it: the role gets another.
func TestKillDuringARotation(t *testing.T) {
	for _, latency := range []time.Duration{time.Second, 5 * time.Second} {
		bubble(t, func(m *testMount) {
			m.static()
			m.sweepFor(time.Minute)
			m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Latency: latency, Times: 1})
			m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpListModels, Latency: latency, Times: 1})
			var both sync.WaitGroup
			both.Go(func() { _, _ = m.try("write", "rotate-role/app") })
			time.Sleep(latency / 2)
			both.Go(func() { m.do("write", "revoke", "role", "app") })
			both.Wait()
			m.sweepFor(3 * time.Minute)
			m.wantAlive(m.staticKey(), true)
			m.sweepFor(65 * time.Minute)
			m.wantLive(1)
		})
	}
}

// TestKillBeforeTheReplacedKeyIsMarked: the key before it keeps its overlap.
func TestKillBeforeTheReplacedKeyIsMarked(t *testing.T) {
	for _, imported := range []bool{false, true} {
		bubble(t, func(m *testMount) {
			var extra []any
			if imported {
				planted := m.fake.PlantKey("proj_demo", "ada's")
				extra = []any{"api_key", planted.Secret, "key_id", planted.ID}
			}
			m.static(extra...)
			first := m.staticKey()
			rec := m.staticRecords()[0]
			m.storage.spoilOp("put "+rec.pointer().key(), failBefore)
			m.do("write", "rotate-role/app")
			m.storage.heal()
			m.do("write", "revoke", "api_key", m.staticKey())
			m.do("write", "rotate-role/app")
			m.sweepFor(50 * time.Minute)
			m.wantAlive(first, true)
			m.sweepFor(15 * time.Minute)
			m.wantAlive(first, false)
			m.wantLive(1)
		})
	}
}

// TestVacancyWhileTheClockIsAhead: a role that lost its key then gets one soon after
// the clock is right.
func TestVacancyWhileTheClockIsAhead(t *testing.T) {
	bubble(t, func(m *testMount) {
		clock := m.ownClock()
		m.static()
		m.sweep()
		clock.ahead.Store(int64(10 * 24 * time.Hour))
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Status: 403})
		m.do("write", "revoke", "role", "app")
		m.sweepFor(3 * time.Minute)
		clock.ahead.Store(0)
		m.fake.ClearFaults()
		m.sweepFor(10 * time.Minute)
		m.wantAlive(m.staticKey(), true)
	})
}

// TestDeletionWhileTheClockIsAhead: the key lives on for the overlap, not for the jump.
func TestDeletionWhileTheClockIsAhead(t *testing.T) {
	bubble(t, func(m *testMount) {
		clock := m.ownClock()
		m.static()
		key := m.staticKey()
		m.sweep()
		clock.ahead.Store(int64(60 * 24 * time.Hour))
		m.lease("creds/bot") // its answer tells the provider's time
		m.do("delete", "static-roles/app")
		clock.ahead.Store(0)
		m.sweepFor(50 * time.Minute)
		m.wantAlive(key, true)
		m.sweepFor(30 * time.Minute)
		m.wantAlive(key, false)
	})
}

// TestGivenUpWhileTheClockIsAhead deletes the key that will not do, and no other.
func TestGivenUpWhileTheClockIsAhead(t *testing.T) {
	bubble(t, func(m *testMount) {
		clock := m.ownClock()
		m.static("overlap", "12h")
		first := m.staticKey()
		m.sweep()
		m.do("write", "rotate-role/app")
		m.sweep()
		clock.ahead.Store(int64(25 * time.Hour))
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpListModels, Status: 403, Body: "<html>gateway</html>"})
		m.sweepFor(3 * time.Minute)
		m.wantAlive(first, true)
		m.wantLive(2)
	})
}

// TestSlowerClockAfterAFailover: a rotation is made once for one due time.
func TestSlowerClockAfterAFailover(t *testing.T) {
	for _, slower := range []time.Duration{2 * time.Second, 90 * time.Second, 4 * time.Minute} {
		bubble(t, func(m *testMount) {
			clock := m.ownClock()
			m.static("rotation_schedule", "0 3 * * *")
			m.sweepFor(3*time.Hour + time.Second)
			second := m.staticKey()
			m.restart()
			m.engine.now = clock.now
			clock.ahead.Store(-int64(slower))
			m.sweepFor(20 * time.Minute)
			if m.staticKey() != second || len(m.fake.Keys()) != 2 {
				m.t.Errorf("clock %s slower: %d keys were made, want 2", slower, len(m.fake.Keys()))
			}
		})
	}
}

// TestRoleThatCannotBeStored: no key is minted that the role could not have.
func TestRoleThatCannotBeStored(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		key := m.staticKey()
		made := len(m.fake.Keys())
		m.advance(24 * time.Hour)
		m.storage.spoilOp("put static/app", failBefore)
		m.sweepFor(2 * time.Hour)
		m.storage.heal()
		if got := len(m.fake.Keys()) - made; got > 0 {
			m.t.Errorf("%d keys were minted", got)
		}
		if m.staticKey() != key {
			m.t.Error("another key is handed out")
		}
		m.sweepFor(65 * time.Minute)
		if m.staticKey() == key {
			m.t.Error("it is not rotated when it can be stored")
		}
	})
}

// TestUnreadableStaticRole holds up nobody else.
func TestUnreadableStaticRole(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		m.lease("creds/bot", "ttl", "60s")
		if err := m.storage.Put(m.t.Context(), &logical.StorageEntry{Key: "static/broken", Value: []byte("{")}); err != nil {
			m.t.Fatal(err)
		}
		m.restart()
		m.sweepFor(15 * time.Minute)
		m.wantRecords(0)
		m.sweepFor(24 * time.Hour)
		if len(m.fake.Keys()) != 3 {
			m.t.Errorf("%d keys were made, want 3", len(m.fake.Keys()))
		}
	})
}

// TestFailuresByHandPutNothingOff: neither the schedule nor ttl.
func TestFailuresByHandPutNothingOff(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		m.sweepFor(23*time.Hour + 50*time.Minute)
		_, before := m.stable("static-creds/app")
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Status: 403})
		for range 8 {
			m.refused(502, nil, "write", "rotate-role/app")
		}
		m.fake.ClearFaults()
		if _, ttl := m.stable("static-creds/app"); ttl > before {
			m.t.Errorf("ttl grew from %d to %d", before, ttl)
		}
		key := m.staticKey()
		m.sweepFor(12 * time.Minute)
		if m.staticKey() == key {
			m.t.Error("the rotation was put off")
		}
	})
}

// TestThrottledKeyPausesNothing: a rate limit of the data plane is not one of the
// admin API.
func TestThrottledKeyPausesNothing(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		l := m.lease("creds/bot")
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpListModels, Status: 429, RetryAfter: 20 * time.Minute})
		m.refused(503, []string{"rate limited"}, "write", "rotate-role/app")
		l.revoke()
		m.wantAlive(l.key(), false)
	})
}

// TestSweepThatHangsInARotation ends before Vault ends it.
func TestSweepThatHangsInARotation(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "config/openai", "request_timeout", "60s", "max_concurrency", 1)
		for i := range 3 {
			m.do("create", fmt.Sprintf("static-roles/app-%d", i), staticFields()...)
		}
		m.sweep()
		m.advance(24 * time.Hour)
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Latency: 33 * time.Second, Times: 1})
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Hang: fakeopenai.HangAfter})
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpListKeys, Hang: fakeopenai.HangBefore})
		began := time.Now()
		m.sweep()
		if took := time.Since(began); took > 85*time.Second {
			m.t.Errorf("the sweep took %s", took)
		}
	})
}

// TestDeletionAgain of a role that is being deleted does not prolong its key.
func TestDeletionAgain(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		key := m.staticKey()
		m.storage.spoilOp("delete static/app", failBefore)
		wantWarning(m, m.do("delete", "static-roles/app", "overlap", "5m"), "within a minute")
		m.do("delete", "static-roles/app")
		m.storage.heal()
		m.sweepFor(4 * time.Minute)
		m.wantAlive(key, true)
		m.sweepFor(3 * time.Minute)
		m.wantAlive(key, false)
		if got := m.stored(staticPrefix); len(got) > 0 {
			m.t.Errorf("stored: %v", got)
		}
	})
}

// TestCandidateOfAnotherScope: a key that was begun before its role was given less is
// not handed out.
func TestCandidateOfAnotherScope(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		m.advance(time.Hour)
		m.fake.SetKnobs(fakeopenai.Knobs{DataPlaneDelay: 3 * time.Minute})
		m.refused(502, []string{"does not work yet"}, "write", "rotate-role/app")
		m.do("write", "static-roles/app", "scopes", "api.model.read")
		m.sweepFor(10 * time.Minute)
		m.wantLive(1)
		m.refused(502, []string{"does not work yet"}, "write", "rotate-role/app")
		m.sweepFor(10 * time.Minute)
		for _, key := range m.fake.LiveKeys() {
			if key.Secret == m.staticKey() && fmt.Sprint(key.Scopes) != "[api.model.read]" {
				m.t.Errorf("handed out with the scopes %v", key.Scopes)
			}
		}
	})
}

// TestShortLivedKeyIsNotExtendedInVain: where the provider caps lives, a key is rotated
// before it ends.
func TestShortLivedKeyIsNotExtendedInVain(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.fake.SetKnobs(fakeopenai.Knobs{MaxExpiry: 10 * 24 * time.Hour})
		m.static("rotation_period", "30d")
		m.fake.ResetRequests()
		m.sweepFor(48 * time.Hour)
		if n := m.fake.Count(fakeopenai.OpUpdateKey); n > 0 {
			m.t.Errorf("%d calls to extend it", n)
		}
		if strings.Contains(m.log.String(), "is moved") {
			m.t.Error("the log tells of an extension")
		}
	})
}

// TestWhileTheNewKeyIsTried: what happens meanwhile keeps it from being handed out.
func TestWhileTheNewKeyIsTried(t *testing.T) {
	for _, meanwhile := range []struct {
		name   string
		do     func(m *testMount)
		status int
	}{
		{"killed", func(m *testMount) {
			m.do("write", "revoke", "key_id", m.fake.Keys()[1].ID)
		}, 409},
		{"killed, and not deleted yet", func(m *testMount) {
			m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteKey, Status: 403})
			m.do("write", "revoke", "key_id", m.fake.Keys()[1].ID)
		}, 409},
		{"suspended", func(m *testMount) { m.do("write", "suspend/app") }, 403},
		{"disabled", func(m *testMount) { m.sys.taint(true) }, 503},
	} {
		t.Run(meanwhile.name, func(t *testing.T) {
			bubble(t, func(m *testMount) {
				m.static()
				first := m.staticKey()
				m.sweep()
				m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpListModels, LatencyAfter: 10 * time.Second, Times: 1})
				var rotating sync.WaitGroup
				rotating.Go(func() { m.refused(meanwhile.status, nil, "write", "rotate-role/app") })
				time.Sleep(5 * time.Second)
				meanwhile.do(m)
				rotating.Wait()
				m.sys.taint(false)
				m.fake.ClearFaults()
				m.do("write", "resume/app")
				if m.staticKey() != first {
					m.t.Error("the new key is handed out")
				}
				m.sweepFor(3 * time.Minute)
				m.wantAlive(m.staticKey(), true)
			})
		})
	}
}

// TestForcedDeletionOfTheConnection: the key is not forgotten, and dies as soon as a
// connection of that name is there again.
func TestForcedDeletionOfTheConnection(t *testing.T) {
	for _, moved := range []bool{false, true} {
		bubble(t, func(m *testMount) {
			m.static()
			key := m.staticKey()
			m.sweepFor(20 * time.Minute)
			m.do("delete", "config/openai", "force", true)
			m.sweepFor(20 * time.Minute)
			if moved {
				m.do("create", "config/other", "provider", "openai", "admin_key", m.fake.AdminKey())
				m.do("write", "static-roles/app", "config_name", "other")
				wantWarning(m, m.do("write", "rotate-role/app", "overlap", "0s"), "may still work")
			} else {
				wantWarning(m, m.do("delete", "static-roles/app", "overlap", "0s"), "may still work")
			}
			m.wantAlive(key, true)
			m.do("create", "config/openai", "provider", "openai", "admin_key", m.fake.AdminKey())
			m.sweepFor(65 * time.Minute)
			m.wantAlive(key, false)
		})
	}
}

// TestSeveralRolesAndTheClock: each of them learns the provider's time.
func TestSeveralRolesAndTheClock(t *testing.T) {
	const roles = 4
	prepare := func(m *testMount, pairs ...any) {
		m.configure()
		for i := range roles {
			m.do("create", fmt.Sprintf("static-roles/app-%d", i), staticFields(pairs...)...)
		}
		m.sweepFor(3 * time.Minute)
	}
	slow := fakeopenai.Fault{Op: fakeopenai.OpListProjects, Latency: 200 * time.Millisecond}
	t.Run("behind", func(t *testing.T) {
		bubble(t, func(m *testMount) {
			prepare(m, "rotation_period", "10d")
			m.restart()
			clock := m.ownClock()
			clock.ahead.Store(-int64(20 * 24 * time.Hour))
			m.fake.Inject(slow)
			m.sweepFor(5 * time.Minute)
			clock.ahead.Store(0)
			m.sweepFor(30 * time.Minute)
			if made := len(m.fake.Keys()); made != roles {
				m.t.Errorf("%d keys were made, want %d", made, roles)
			}
		})
	})
	t.Run("was ahead", func(t *testing.T) {
		bubble(t, func(m *testMount) {
			m.engine.now = func() time.Time { return time.Now().Add(0) }
			prepare(m)
			m.engine.now = func() time.Time { return time.Now().Add(60 * 24 * time.Hour) }
			m.sweepFor(3 * time.Minute) // they are rotated, and the provider tells no time
			m.restart()
			m.ownClock()
			m.fake.Inject(slow)
			m.sweepFor(10 * time.Minute)
			for _, rec := range m.staticRecords() {
				if rec.NotBefore.After(time.Now().Add(2 * time.Hour)) {
					m.t.Errorf("an overlap ends at %s", rec.NotBefore)
				}
			}
		})
	})
}

// TestDeletionAfterAStartWithTheClockAhead asks the provider for its time.
func TestDeletionAfterAStartWithTheClockAhead(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		key := m.staticKey()
		m.sweep()
		m.restart()
		clock := m.ownClock()
		clock.ahead.Store(int64(60 * 24 * time.Hour))
		m.do("delete", "static-roles/app")
		clock.ahead.Store(0)
		m.sweepFor(80 * time.Minute)
		m.wantAlive(key, false)
	})
}

// TestVacancyWhileTheClockIsAheadByAnHour is less than what a backoff may be.
func TestVacancyWhileTheClockIsAheadByAnHour(t *testing.T) {
	bubble(t, func(m *testMount) {
		clock := m.ownClock()
		m.static()
		m.sweep()
		clock.ahead.Store(int64(time.Hour))
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Status: 403})
		m.do("write", "revoke", "role", "app")
		m.sweepFor(3 * time.Minute)
		clock.ahead.Store(0)
		m.fake.ClearFaults()
		m.sweepFor(8 * time.Minute)
		m.wantAlive(m.staticKey(), true)
	})
}

// TestKillThatWaitsForAnotherKey: a static role whose key is dead gets its next one
// although the kill goes on.
func TestKillThatWaitsForAnotherKey(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("create", "static-roles/team/app", staticFields()...)
		m.do("create", "roles/team/bot", "config_name", "openai", "project_id", "proj_demo")
		l := m.lease("creds/team/bot", "ttl", "10h")
		m.sweepFor(10 * time.Minute)
		release, _ := m.engine.slots.try(recordSlot(l.id()))
		m.do("write", "revoke", "role", "team/")
		m.sweepFor(3 * time.Minute)
		m.wantAlive(fmt.Sprint(m.do("read", "static-creds/team/app").Data["api_key"]), true)
		release()
		m.sweepFor(3 * time.Minute)
		m.wantAlive(l.key(), false)
		if left := m.stored(orderPrefix); len(left) > 0 {
			m.t.Errorf("orders: %v", left)
		}
	})
}

// TestUnreadableRoleInAnIncident: all others are killed, suspended and audited.
func TestUnreadableRoleInAnIncident(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("create", "static-roles/team/app", staticFields()...)
		m.do("create", "static-roles/team/bad", staticFields()...)
		m.sweep()
		if err := m.storage.Put(m.t.Context(), &logical.StorageEntry{Key: "static/team/bad", Value: []byte("{")}); err != nil {
			m.t.Fatal(err)
		}
		resp := m.do("write", "suspend/team", "subtree", true, "revoke", true)
		if fmt.Sprint(resp.Data["revoked"]) != "2" {
			m.t.Errorf("killed: %v", resp.Data)
		}
		m.wantLive(0)
		if left := m.stored(orderPrefix); len(left) > 0 {
			m.t.Errorf("orders: %v", left)
		}
		m.audit().wantComplete(false)
		m.do("write", "resume/team", "subtree", true)
		m.sweepFor(2 * time.Minute)
		m.wantAlive(fmt.Sprint(m.do("read", "static-creds/team/app").Data["api_key"]), true)
		listings := 0
		for range 120 {
			m.sweepFor(time.Minute)
			if m.engine.sweeps.whole() {
				listings++
			}
		}
		if listings > 3 {
			m.t.Errorf("the whole index was listed %d times in two hours", listings)
		}
	})
}

// TestResumeThatFailsHalfWay is finished by another one.
func TestResumeThatFailsHalfWay(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		m.sweep()
		m.do("write", "suspend/app", "revoke", true)
		m.sweepFor(3 * time.Minute)
		m.storage.spoilOp("get static/app", failBefore)
		_, _ = m.try("write", "resume/app")
		m.storage.heal()
		m.do("write", "resume/app")
		m.sweepFor(2 * time.Minute)
		m.wantAlive(m.staticKey(), true)
	})
}

// TestExtensionThatIsRefused is not tried each minute.
func TestExtensionThatIsRefused(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static("rotation_period", "30d", "overlap", "1h")
		m.sweepFor(20 * time.Minute)
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpUpdateKey, Status: 403})
		m.do("write", "static-roles/app", "overlap", "20d")
		m.fake.ResetRequests()
		m.sweepFor(24 * time.Hour)
		if n := m.fake.Count(fakeopenai.OpUpdateKey); n < 3 || n > 200 {
			m.t.Errorf("%d calls to extend it in a day", n)
		}
	})
}

// TestKeyThatIsGoneAtTheProvider is replaced as soon as that is known.
func TestKeyThatIsGoneAtTheProvider(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static("rotation_period", "30d", "overlap", "1h")
		first := m.staticKey()
		m.sweepFor(20 * time.Minute)
		m.fake.DeleteKey(m.staticRecords()[0].KeyID)
		m.do("write", "static-roles/app", "overlap", "20d") // its expiry has to be moved
		m.sweepFor(3 * time.Minute)
		if key := m.staticKey(); key == first || !m.fake.Alive(key) {
			m.t.Error("the key that is gone is still handed out")
		}
	})
}

// TestManyIdleRolesStarveNobody: what is due comes first.
func TestManyIdleRolesStarveNobody(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "config/openai", "max_concurrency", 1)
		for i := range 300 {
			m.do("create", fmt.Sprintf("static-roles/idle-%03d", i), staticFields("rotation_period", "60d", "verify", false)...)
		}
		m.do("create", "static-roles/app", staticFields("rotation_period", "2h", "overlap", "10m")...)
		key := m.staticKey()
		l := m.lease("creds/bot", "ttl", "60s")
		fast := m.storage.Storage
		m.storage.Storage = slowReads{m.storage.Storage, 130 * time.Millisecond}
		m.sweepFor(2*time.Hour + 10*time.Minute)
		m.storage.Storage = fast
		if m.staticKey() == key {
			m.t.Error("it was not rotated")
		}
		m.wantAlive(l.key(), false)
	})
}

// A slowReads takes its time for each read.
type slowReads struct {
	logical.Storage
	takes time.Duration
}

func (s slowReads) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	time.Sleep(s.takes)
	return s.Storage.Get(ctx, key)
}

// TestVacantRoleIsTriedOften: whoever waits for a key has none.
func TestVacantRoleIsTriedOften(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		m.sweep()
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Status: 403})
		m.do("write", "revoke", "role", "app")
		m.sweepFor(3 * time.Hour)
		m.fake.ClearFaults()
		m.sweepFor(5 * time.Minute)
		m.wantAlive(m.staticKey(), true)
	})
}

// TestCandidateThatIsGivenUp at once, for it was killed or its role suspended.
func TestCandidateThatIsGivenUp(t *testing.T) {
	for _, suspend := range []bool{false, true} {
		bubble(t, func(m *testMount) {
			m.static()
			m.advance(time.Hour)
			m.fake.SetKnobs(fakeopenai.Knobs{DataPlaneDelay: 30 * time.Minute})
			m.refused(502, []string{"does not work yet"}, "write", "rotate-role/app")
			if suspend {
				m.do("write", "suspend/app")
			} else {
				m.do("write", "revoke", "key_id", m.fake.Keys()[1].ID)
			}
			m.sweepFor(3 * time.Minute)
			e, err := loadStatic(m.t.Context(), m.storage.Storage, "app")
			if err != nil || e.Candidate != nil {
				m.t.Errorf("suspended %v: candidate %+v, %v", suspend, e.Candidate, err)
			}
			m.wantLive(1)
		})
	}
}

// TestRotationWhileTheClockIsAhead: the overlap is one in real time.
func TestRotationWhileTheClockIsAhead(t *testing.T) {
	bubble(t, func(m *testMount) {
		clock := m.ownClock()
		m.static()
		first := m.staticKey()
		m.sweep()
		clock.ahead.Store(int64(60 * 24 * time.Hour))
		m.do("write", "rotate-role/app")
		clock.ahead.Store(0)
		e, err := loadStatic(m.t.Context(), m.storage.Storage, "app")
		if until := e.Previous.Until; err != nil || until.After(time.Now().Add(61*time.Minute)) {
			m.t.Errorf("the replaced key stays valid until %s", until)
		}
		m.sweepFor(50 * time.Minute)
		m.wantAlive(first, true)
		m.sweepFor(15 * time.Minute)
		m.wantAlive(first, false)
	})
}

// TestAuditOfARotationThatNobodyMakes: Vault does not sweep, and says so.
func TestAuditOfARotationThatNobodyMakes(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static("metadata", "owner=ada")
		m.advance(25 * time.Hour)
		for _, item := range m.audit().items(overdue) {
			if !strings.Contains(fmt.Sprint(item["why"]), "is due since 2000-01-02T00:00:0") {
				m.t.Errorf("overdue: %v", item)
			}
		}
		if m.audit().count(overdue) != 1 {
			m.t.Error("it is not overdue")
		}
	})
}

// TestStartFindsAKilledKey, although nothing in the time index says so.
func TestStartFindsAKilledKey(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		m.sweep()
		m.do("write", "revoke", "role", "app")
		for _, key := range m.stored(duePrefix) {
			if err := m.storage.Delete(m.t.Context(), key); err != nil {
				m.t.Fatal(err)
			}
		}
		m.restart()
		m.sweepFor(3 * time.Minute)
		m.wantAlive(m.staticKey(), true)
	})
}

// TestScanGoesOn where the sweep before had to stop.
func TestScanGoesOn(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		for i := range 300 {
			m.do("create", fmt.Sprintf("static-roles/idle-%03d", i), staticFields("rotation_period", "60d", "verify", false)...)
		}
		m.do("create", "static-roles/last", staticFields()...)
		m.sweepFor(2 * time.Minute)
		m.do("write", "revoke", "role", "last")
		for _, key := range m.stored(duePrefix) {
			if err := m.storage.Delete(m.t.Context(), key); err != nil {
				m.t.Fatal(err)
			}
		}
		m.restart()
		fast := m.storage.Storage
		m.storage.Storage = slowReads{fast, 100 * time.Millisecond} // a scan takes a minute
		m.sweepFor(5 * time.Minute)
		m.storage.Storage = fast
		m.wantAlive(fmt.Sprint(m.do("read", "static-creds/last").Data["api_key"]), true)
	})
}

// TestNoticeThatFails: the order of the kill stays until the role is told of its loss.
func TestNoticeThatFails(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		m.sweepFor(5 * time.Minute)
		m.storage.spoilOp("put "+noticePointer("openai", "app").dueKey(m.clock.now()), failBefore)
		m.do("write", "revoke", "role", "app")
		m.storage.heal()
		m.wantLive(0)
		m.sweepFor(3 * time.Minute)
		m.wantAlive(m.staticKey(), true)
		if left := m.stored(orderPrefix); len(left) > 0 {
			m.t.Errorf("orders: %v", left)
		}
	})
}

// TestOrderThatStays, because a record cannot be read, does not hurry what is being
// deleted again and again.
func TestOrderThatStays(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot")
		l := m.lease("creds/bot")
		m.sweepFor(5 * time.Minute)
		for _, rec := range m.records() {
			if rec.ID != l.id() {
				if err := m.storage.Put(m.t.Context(), &logical.StorageEntry{Key: rec.pointer().key(), Value: []byte("{")}); err != nil {
					m.t.Fatal(err)
				}
			}
		}
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteKey, Status: 403})
		m.do("write", "revoke", "role", "bot")
		m.fake.ResetRequests()
		m.sweepFor(6 * time.Hour)
		if n := m.fake.Count(fakeopenai.OpDeleteKey); n < 3 || n > 30 {
			m.t.Errorf("%d deletions in six hours", n)
		}
	})
}

// TestLookThatFailsAfterAStart: what has no entry in the time index is looked at again
// by the next sweep, and not an hour later.
func TestLookThatFailsAfterAStart(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		first := m.staticKey()
		m.sweep()
		m.advance(24 * time.Hour)
		for _, key := range m.stored(duePrefix) {
			if err := m.storage.Delete(m.t.Context(), key); err != nil {
				m.t.Fatal(err)
			}
		}
		m.restart()
		m.storage.spoilOp("get suspended/app", failBefore)
		m.sweep()
		m.storage.heal()
		m.sweepFor(2 * time.Minute)
		if m.staticKey() == first {
			m.t.Error("it was not rotated")
		}
	})
}
