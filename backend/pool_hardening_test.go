package backend

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
)

// onePooled leaves one key in the pool.
func (m *testMount) onePooled() *sim {
	m.t.Helper()
	s := m.connect(poolShape, "ttl", 900)
	for _, key := range m.stored(poolPrefix)[1:] {
		m.do("delete", key)
	}
	return s
}

// rested lets time pass until a key that was given back is free.
func (m *testMount) rested() { m.advance(11 * time.Minute) }

// A deletion that is repeated never meets the next holder of the key.
func TestRepeatedDeletionSparesTheNextHolder(t *testing.T) {
	for how, fault := range map[string]storageFault{"crash": crashBefore, "failure": failBefore, "after": failAfter} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(m *testMount) {
				s := m.onePooled()
				a := m.lease("creds/anthropic-pool")
				m.storage.spoil(opID{what: "delete ledger"}, fault, nil)
				_ = a.tryRevoke()
				m.storage.heal()
				m.restart()
				m.rested()
				resp, err := m.try("read", "creds/anthropic-pool")
				if err != nil { // the key is held until its record is gone
					m.sweepFor(2 * time.Minute)
					m.rested()
					resp = m.do("read", "creds/anthropic-pool")
				}
				b := m.keep("creds/anthropic-pool", resp)
				_ = a.tryRevoke()
				m.sweepFor(5 * time.Minute)
				if !s.Alive(b.key()) {
					m.t.Errorf("the deletion of one lease's key ended that of the next\n%s", m.log)
				}
			})
		})
	}
}

// A key that leaked is not handed out by who is taking it at that moment.
func TestLeakedWhileItIsTaken(t *testing.T) {
	bubble(t, func(m *testMount) {
		s := m.onePooled()
		first := m.lease("creds/anthropic-pool")
		first.revoke()
		m.rested()
		s.Inject(fake.Fault{Op: fakeanthropic.OpActivateKey, Latency: 5 * time.Second})
		got := make(chan error)
		go func() {
			_, err := m.try("read", "creds/anthropic-pool")
			got <- err
		}()
		time.Sleep(time.Second)
		found := m.do("write", "lookup", "api_key", first.key())
		if found.Data["state"] != "pending" || found.Data["role"] != "anthropic-pool" {
			m.t.Errorf("a key that is being taken is %v", found.Data)
		}
		m.do("write", "revoke", "api_key", first.key())
		if err := <-got; err != nil {
			m.t.Logf("the caller got %v", err)
		}
		m.sweepFor(10 * time.Minute)
		if s.Alive(first.key()) {
			m.t.Error("a key that leaked is alive")
		}
		m.wantPool("map[retired:1]")
	})
}

// Nor by who may have it, for its answer was lost.
func TestLeakedWhileItsAnswerIsLost(t *testing.T) {
	bubble(t, func(m *testMount) {
		s := m.onePooled()
		first := m.lease("creds/anthropic-pool")
		first.revoke()
		m.rested()
		s.Inject(fake.DropAfter(fakeanthropic.OpActivateKey, 1))
		s.Inject(fake.Answer(fakeanthropic.OpListKeys, 500, 0))
		if _, err := m.try("read", "creds/anthropic-pool"); err == nil || !s.Alive(first.key()) {
			m.t.Fatalf("the premise fails: %v", err)
		}
		resp := m.do("write", "revoke", "api_key", first.key())
		if fmt.Sprint(resp.Data["revoked"]) != "0" || len(resp.Data["failed"].([]map[string]any)) != 1 {
			m.t.Errorf("got %v of a key that is alive", resp.Data)
		}
		s.ClearFaults()
		m.sweepFor(15 * time.Minute)
		m.wantPool("map[retired:1]")
		if s.Alive(first.key()) {
			m.t.Error("the key is alive")
		}
	})
}

// Whoever was killed keeps a copy, so the key does not come back, however it was
// killed, and by no detour.
func TestKilledKeyOfAPoolDoesNotComeBack(t *testing.T) {
	for _, by := range []string{"entity_id", "role", "id", "key_id", "api_key", "suspend"} {
		t.Run(by, func(t *testing.T) {
			both(t, func(m *testMount) {
				s := m.onePooled()
				l := m.lease("creds/anthropic-pool")
				value := map[string]any{"entity_id": "entity-1", "role": "anthropic-pool", "id": l.id(), "key_id": l.data["key_id"], "api_key": l.key()}
				if by == "suspend" {
					m.do("write", "suspend/anthropic-pool", "revoke", true)
					m.do("write", "resume/anthropic-pool")
				} else {
					m.do("write", "revoke", by, value[by])
				}
				m.advance(time.Hour)
				m.wantPool("map[retired:1]")
				at := "pool/anthropic-pool/" + fmt.Sprint(l.data["key_id"])
				m.do("write", at, "api_key", l.key(), "scope", poolOrg(s).Workspace()) // as Terraform would
				m.wantPool("map[retired:1]")
				m.do("delete", at)
				m.refused(400, []string{"api_key: was retired at"}, "write", at, "api_key", l.key(), "scope", poolOrg(s).Workspace())
				m.refused(http.StatusTooManyRequests, nil, "read", "creds/anthropic-pool")
			})
		})
	}
}

func TestRetiredKeyComesBackWhenToldTo(t *testing.T) {
	both(t, func(m *testMount) {
		m.onePooled()
		l := m.lease("creds/anthropic-pool")
		at := "pool/anthropic-pool/" + fmt.Sprint(l.data["key_id"])
		m.refused(400, []string{"scope: is another"}, "write", at, "scope", "wrkspc_other")
		m.do("write", at, "retired", true)
		m.refused(400, []string{"retired: cannot be lifted while role"}, "write", at, "retired", false)
		l.revoke()
		m.wantPool("map[retired:1]")
		m.do("write", at, "retired", false)
		m.wantPool("map[resting:1]")
		m.rested()
		if again := m.lease("creds/anthropic-pool"); again.key() != l.key() {
			m.t.Error("another key was handed out")
		}
	})
}

// An emergency rotation retires what it replaces.
func TestEmergencyRotationRetiresAPooledKey(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(poolShape)
		m.do("create", "static-roles/app", append(pairs{"config_name", "anthropic-pool", "rotation_period", "48h", "overlap", "1h"}, poolShape.role(s)...)...)
		leaked := fmt.Sprint(m.do("read", "static-creds/app").Data["api_key"])
		m.do("write", "rotate-role/app", "overlap", "0s")
		if s.Alive(leaked) {
			m.t.Error("the replaced key is alive")
		}
		m.wantPool("map[free:1 held:1 retired:1]")
	})
}

// A key that leaves the pool does not lose its rest.
func TestRestOutlivesADetour(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.onePooled()
		l := m.lease("creds/anthropic-pool")
		l.revoke()
		at := "pool/anthropic-pool/" + fmt.Sprint(l.data["key_id"])
		m.do("delete", at)
		m.do("write", at, "api_key", l.key(), "scope", poolOrg(s).Workspace())
		m.wantPool("map[resting:1]")
	})
}

// What is read can be written, and changes nothing.
func TestQuarantineReadEqualsWrite(t *testing.T) {
	both(t, func(m *testMount) {
		m.connect(poolShape)
		m.do("write", "config/anthropic-pool", "quarantine", m.do("read", "config/anthropic-pool").Data["quarantine"])
		m.lease("creds/anthropic-pool").revoke()
		m.wantPool("map[free:2 resting:1]")
		m.refused(400, []string{"quarantine: 0 is out of range; give 120 to 86400 seconds"}, "write", "config/anthropic-pool", "quarantine", 0)
	})
}

// A Vault that was restored from a backup does not know who holds a key.
func TestRestoreMakesNoSecondHolder(t *testing.T) {
	bubble(t, func(m *testMount) {
		s := m.onePooled()
		m.advance(2 * time.Hour) // the key is old
		backup := m.backup()
		l := m.lease("creds/anthropic-pool")
		m.restore(backup)
		m.restart()
		m.refused(502, []string{"the key is active already"}, "read", "creds/anthropic-pool")
		// Nor does tidy take it for an old orphan: its name is new.
		resp := m.do("write", "tidy/anthropic-pool", "dry_run", false, "safety_buffer", "1h")
		if !s.Alive(l.key()) {
			m.t.Errorf("tidy switched off a key that was switched on a moment ago: %v", resp.Data)
		}
		m.advance(61 * time.Minute)
		m.do("write", "tidy/anthropic-pool", "dry_run", false, "safety_buffer", "1h")
		if s.Alive(l.key()) {
			m.t.Error("tidy left an orphan")
		}
	})
}

// A key that another mount hands out is not taken away from it.
func TestPoolTakesNothingFromAnotherMount(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(poolShape)
		key := poolOrg(s).PlantKey(poolOrg(s).Workspace(), "vault-abcd0123-bot-0123456789abcdefghijklmnop")
		m.refused(400, []string{"key_id: ", "as if an engine had handed it out"}, "write", "pool/anthropic-pool/"+key.ID, "api_key", key.Secret, "scope", poolOrg(s).Workspace())
		if !s.Alive(key.Secret) {
			m.t.Error("the key was switched off")
		}
	})
}

func TestOneKeyIsInOnePool(t *testing.T) {
	bubble(t, func(m *testMount) {
		s := m.connect(poolShape)
		m.do("create", "config/second", append(pairs{"provider", "anthropic-pool"}, poolShape.config(s)...)...)
		key := poolOrg(s).PlantKey(poolOrg(s).Workspace(), "ada's")
		s.Inject(fake.Fault{Op: fakeanthropic.OpDeactivateKey, Latency: time.Second})
		done := make(chan bool)
		for _, config := range []string{"anthropic-pool", "second"} {
			go func() {
				status, _ := outcome(m.try("write", "pool/"+config+"/"+key.ID, "api_key", key.Secret, "scope", poolOrg(s).Workspace()))
				done <- status < 300
			}()
		}
		if first, second := <-done, <-done; first == second {
			m.t.Errorf("of two writes of one key, the first succeeded: %t, and the second: %t", first, second)
		}
	})
}

// A provider that hangs while a key is taken in holds up nothing else.
func TestTakeInHoldsUpNothing(t *testing.T) {
	bubble(t, func(m *testMount) {
		s := m.connect(poolShape)
		m.lease("creds/anthropic-pool")
		key := poolOrg(s).PlantKey(poolOrg(s).Workspace(), "ada's")
		s.Inject(fake.Fault{Op: fakeanthropic.OpGetKey, Hang: fake.HangBefore, Times: 1})
		done := make(chan bool)
		go func() {
			_, _ = m.try("write", "pool/anthropic-pool/"+key.ID, "api_key", key.Secret, "scope", poolOrg(s).Workspace())
			close(done)
		}()
		time.Sleep(time.Second)
		began := time.Now()
		m.do("write", "revoke", "role", "anthropic-pool")
		m.lease("creds/anthropic-pool")
		if took := time.Since(began); took > time.Second {
			m.t.Errorf("a revoke and an issue took %s", took)
		}
		<-done
	})
}

// One entry that cannot be read stops the revocation of no other key.
func TestDamagedPoolStopsNoRevoke(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.connect(poolShape)
		l, pooled := m.lease("creds/bot"), m.lease("creds/anthropic-pool")
		for _, key := range m.stored(poolPrefix) {
			if !strings.HasSuffix(key, fmt.Sprint(pooled.data["key_id"])) {
				if err := m.storage.Put(m.t.Context(), &logical.StorageEntry{Key: key, Value: []byte("{")}); err != nil {
					m.t.Fatal(err)
				}
				break
			}
		}
		m.do("write", "revoke", "api_key", l.key())
		m.wantAlive(l.key(), false)
		m.do("write", "revoke", "api_key", pooled.key())
		if m.sim(poolShape).Alive(pooled.key()) {
			m.t.Error("the key of the pool is alive")
		}
	})
}

// A clock that was ahead when a key was given back does not lose it, and one that is
// ahead now does not cut its rest short.
func TestRestAndClocks(t *testing.T) {
	bubble(t, func(m *testMount) {
		clock := m.ownClock()
		m.onePooled()
		id := strings.TrimPrefix(m.stored(poolPrefix)[0], poolPrefix+"anthropic-pool/")
		e, err := loadPooled(m.t.Context(), m.storage, "anthropic-pool", id)
		if err != nil {
			m.t.Fatal(err)
		}
		e.FreedAt = m.clock.now().Add(365 * 24 * time.Hour)
		if err := savePooled(m.t.Context(), m.storage, e); err != nil {
			m.t.Fatal(err)
		}
		m.refused(http.StatusTooManyRequests, nil, "read", "creds/anthropic-pool")
		m.rested()
		l := m.lease("creds/anthropic-pool")
		l.revoke()
		clock.ahead.Store(int64(time.Hour))
		m.refused(http.StatusTooManyRequests, nil, "read", "creds/anthropic-pool")
	})
}

// A key that the provider refuses costs no reads while others are free.
func TestBadKeyCostsNothing(t *testing.T) {
	bubble(t, func(m *testMount) {
		s := m.connect(poolShape, "ttl", 60)
		bad := strings.TrimPrefix(m.stored(poolPrefix)[0], poolPrefix+"anthropic-pool/")
		poolOrg(s).ChangeKey(bad, func(k *fakeanthropic.Key) { k.Status = "archived" })
		for range 20 {
			m.lease("creds/anthropic-pool").revoke()
			m.rested()
		}
		if got := m.do("read", "pool/anthropic-pool/"+bad).Data["last_error"]; got == "" {
			m.t.Error("nothing says that the key is refused")
		}
	})
}

// A connection that cannot be deleted keeps its pool; one that is deleted by force
// says which keys stay on.
func TestForceDeleteAndThePool(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.connect(poolShape)
		l := m.lease("creds/anthropic-pool")
		m.storage.spoilOp("delete config/anthropic-pool", failBefore)
		if _, err := m.try("delete", "config/anthropic-pool", "force", true); err == nil {
			m.t.Fatal("the premise fails")
		}
		m.storage.heal()
		if got := len(m.stored(poolPrefix)); got != 3 {
			m.t.Errorf("the connection is there, and its pool has %d keys", got)
		}
		resp := m.do("delete", "config/anthropic-pool", "force", true)
		if text := fmt.Sprint(resp.Warnings); !strings.Contains(text, "stay so without end: "+fmt.Sprint(l.data["key_id"])) {
			m.t.Errorf("got warnings %s", text)
		}
	})
}

// A beforePut calls before each write.
type beforePut struct {
	logical.Storage
	before func(key string)
}

func (h beforePut) Put(ctx context.Context, e *logical.StorageEntry) error {
	h.before(e.Key)
	return h.Storage.Put(ctx, e)
}

// A key that is given back while its connection is deleted by force does not go to the
// host of the next connection of that name.
func TestPooledKeyGoesToNoNewHost(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.onePooled()
		l := m.lease("creds/anthropic-pool")
		deleted := make(chan bool)
		once := false
		req := l.request(logical.RevokeOperation)
		req.Storage = beforePut{m.storage, func(key string) {
			if strings.HasPrefix(key, poolPrefix) && !once {
				once = true
				go func() {
					m.do("delete", "config/anthropic-pool", "force", true)
					close(deleted)
				}()
				time.Sleep(time.Second)
			}
		}}
		_, _ = m.b.HandleRequest(m.t.Context(), req)
		<-deleted
		if left := m.stored(poolPrefix); len(left) > 0 {
			m.t.Errorf("left of the pool: %v", left)
		}
	})
}

// A pool that was left behind keeps a connection of its name from being written.
func TestLeftPoolKeepsANewConnectionOut(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(poolShape)
		if err := m.storage.Delete(m.t.Context(), configKey("anthropic-pool")); err != nil {
			m.t.Fatal(err)
		}
		m.restartIfInProcess()
		m.refused(400, []string{"never sent to a new host"}, "create", "config/anthropic-pool", append(pairs{"provider", "anthropic-pool"}, poolShape.config(s)...)...)
	})
}

// restartIfInProcess drops what is cached.
func (m *testMount) restartIfInProcess() {
	if !m.grpc {
		m.restart()
	}
}

// A key that was switched on and off again rests: a request about it may be under way.
func TestTouchedKeyRests(t *testing.T) {
	bubble(t, func(m *testMount) {
		s := m.onePooled()
		s.Inject(fake.Fault{Op: fakeanthropic.OpListModels, Status: 502})
		m.refused(502, []string{"was deactivated again after a failure"}, "read", "creds/anthropic-pool")
		s.ClearFaults()
		m.wantPool("map[resting:1]")
		m.rested()
		m.wantPool("map[free:1]")
	})
}

// A provider that is down for a while does not put the pool to rest: nothing happened to
// its keys.
func TestUntouchedKeyIsFreeAtOnce(t *testing.T) {
	bubble(t, func(m *testMount) {
		s := m.onePooled()
		for _, fault := range []fake.Fault{
			{Op: fakeanthropic.OpGetKey, Status: 503},
			{Op: fakeanthropic.OpGetKey, Hang: fake.HangBefore},
			{Op: fakeanthropic.OpActivateKey, Refuse: true},
		} {
			s.Inject(fault)
			if resp, err := m.try("read", "creds/anthropic-pool"); err == nil {
				m.t.Fatalf("%+v: got %v", fault, resp.Data)
			}
			s.ClearFaults()
			m.wantPool("map[free:1]")
		}
		m.lease("creds/anthropic-pool")
	})
}
