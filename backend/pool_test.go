package backend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
)

func poolOrg(s *sim) *fakeanthropic.Server { return s.simulator.(*fakeanthropic.Server) }

// wantPool asserts how many keys of the pool are in which state.
func (m *testMount) wantPool(want string) {
	m.t.Helper()
	counts := map[string]int{}
	if resp := m.do("list", "pool/anthropic-pool"); resp.Data["keys"] != nil {
		for _, info := range resp.Data["key_info"].(map[string]any) {
			counts[fmt.Sprint(info.(map[string]any)["state"])]++
		}
	}
	if got := fmt.Sprint(counts); got != want {
		m.t.Errorf("the pool has %s, want %s\n%s", got, want, m.log)
	}
}

func TestPoolHasOneHolderForAKey(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(poolShape, "ttl", 900)
		m.wantPool("map[free:3]")
		if got := fmt.Sprint(m.do("read", "config/anthropic-pool").Data["quarantine"]); got != "600" {
			m.t.Errorf("got a quarantine of %s", got)
		}
		seen := map[string]bool{}
		var leases []*testLease
		for range 3 {
			l := m.lease("creds/anthropic-pool")
			if seen[l.key()] || !s.Alive(l.key()) {
				t.Errorf("a key is handed out twice (%t), or dead", seen[l.key()])
			}
			seen[l.key()] = true
			leases = append(leases, l)
		}
		m.wantPool("map[held:3]")
		m.refused(http.StatusTooManyRequests, []string{"has no free key", "3 held, 0 resting, 0 retired", "pool/anthropic-pool/"}, "read", "creds/anthropic-pool")
		m.wantRecords(3)
		leases[0].revoke()
		m.wantPool("map[held:2 resting:1]")
		m.refused(http.StatusTooManyRequests, []string{"2 held, 1 resting", "the next one free at "}, "read", "creds/anthropic-pool")
		m.advance(10*time.Minute + time.Second)
		m.wantPool("map[free:1 held:2]")
		if again := m.lease("creds/anthropic-pool"); again.key() != leases[0].key() {
			m.t.Error("another key than the one that is free was handed out")
		}
	})
}

// The key that has rested longest comes first, one that nobody ever had before all.
func TestPoolTakesTheKeyThatRestedLongest(t *testing.T) {
	both(t, func(m *testMount) {
		m.connect(poolShape)
		var order []string
		for range 3 {
			l := m.lease("creds/anthropic-pool")
			order = append(order, l.key())
			l.revoke()
			m.advance(time.Minute)
		}
		m.advance(time.Hour)
		for i := range 3 {
			if l := m.lease("creds/anthropic-pool"); l.key() != order[i] {
				m.t.Errorf("lease %d has another key than the one that rested longest", i)
			}
		}
	})
}

func TestLeakedKeyOfAPoolIsRetired(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(poolShape)
		l := m.lease("creds/anthropic-pool")
		resp := m.do("write", "revoke", "api_key", l.key())
		if fmt.Sprint(resp.Data["revoked"]) != "1" || !strings.Contains(fmt.Sprint(resp.Warnings), "is retired") {
			m.t.Errorf("got %v, warnings %v", resp.Data, resp.Warnings)
		}
		if s.Alive(l.key()) {
			m.t.Error("a leaked key is alive")
		}
		m.advance(time.Hour)
		m.wantPool("map[free:2 retired:1]")
		// One that nobody holds at the moment.
		idle := m.giveKey(s)
		found := m.do("write", "lookup", "api_key", idle.Secret)
		if found.Data["kind"] != "pool" || found.Data["key_id"] != idle.ID {
			m.t.Errorf("a key of the pool is %v", found.Data)
		}
		resp = m.do("write", "revoke", "api_key", idle.Secret)
		if fmt.Sprint(resp.Data["revoked"]) != "0" || !strings.Contains(fmt.Sprint(resp.Warnings), "is retired") {
			m.t.Errorf("got %v, warnings %v", resp.Data, resp.Warnings)
		}
		for range 2 {
			if l := m.lease("creds/anthropic-pool"); l.key() == idle.Secret {
				m.t.Error("a retired key is handed out")
			}
		}
		m.refused(http.StatusTooManyRequests, []string{"2 retired"}, "read", "creds/anthropic-pool")
		m.refused(http.StatusNotFound, nil, "write", "revoke", "api_key", "sk-ant-api03-nobodys")
	})
}

func TestWhatAPoolTakesIn(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(poolShape)
		m.configure()
		org := poolOrg(s)
		key, other := org.PlantKey(org.Workspace(), "ada's"), org.PlantKey(org.Workspace(), "bob's")
		at := "pool/anthropic-pool/" + key.ID
		m.refused(400, []string{"api_key: is missing"}, "write", at, "scope", org.Workspace())
		m.refused(400, []string{"scope: is missing"}, "write", at, "api_key", key.Secret)
		m.refused(400, []string{"key_id: "}, "write", at, "api_key", other.Secret, "scope", org.Workspace())
		m.refused(400, []string{"key_id: "}, "write", at, "api_key", key.Secret, "scope", "wrkspc_other")
		m.refused(400, []string{"key_id: ", "there is no key"}, "write", "pool/anthropic-pool/apikey_none", "api_key", key.Secret, "scope", org.Workspace())
		m.refused(400, []string{"makes keys itself"}, "write", "pool/openai/key_1", "api_key", key.Secret, "scope", "x")
		m.refused(404, []string{"does not exist"}, "write", "pool/nothing/key_1", "api_key", key.Secret, "scope", "x")
		if !s.Alive(key.Secret) || len(m.stored(poolPrefix)) != 3 {
			m.t.Errorf("a key that was refused is alive: %t; stored: %v", s.Alive(key.Secret), m.stored(poolPrefix))
		}
		for range 2 { // a client writes it for ever
			m.do("write", at, "api_key", key.Secret, "scope", org.Workspace())
		}
		if s.Alive(key.Secret) {
			m.t.Error("a key of the pool is alive, and nobody holds it")
		}
		got := m.do("read", at).Data
		if got["state"] != "free" || got["scope"] != org.Workspace() || got["api_key"] != nil || got["added_by"] != "approle-bot" {
			m.t.Errorf("got %v", got)
		}
		m.do("create", "config/second", append(pairs{"provider", "anthropic-pool"}, poolShape.config(s)...)...)
		m.refused(400, []string{"api_key: ", "in the pool of connection"}, "write", "pool/second/"+key.ID, "api_key", key.Secret, "scope", org.Workspace())
		m.do("delete", at)
		m.do("delete", at)
		if resp, _ := m.try("read", at); resp != nil {
			m.t.Errorf("got %v of a key that was taken out", resp.Data)
		}
	})
}

func TestPoolThatIsInUseStays(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(poolShape)
		l := m.lease("creds/anthropic-pool")
		m.refused(400, []string{`role "anthropic-pool" has this key`}, "delete", "pool/anthropic-pool/"+fmt.Sprint(l.data["key_id"]))
		m.refused(400, []string{"never sent to a new host"}, "write", "config/anthropic-pool", "base_url", "https://elsewhere.test", "admin_key", poolOrg(s).AdminKey())
		l.revoke()
		m.do("delete", "roles/anthropic-pool")
		m.refused(400, []string{"has a pool of keys (3)"}, "delete", "config/anthropic-pool")
		resp := m.do("delete", "config/anthropic-pool", "force", true)
		if !strings.Contains(fmt.Sprint(resp.Warnings), "abandoned: keys of the pool that are switched off") || len(m.stored(poolPrefix)) > 0 {
			m.t.Errorf("got warnings %v; stored: %v", resp.Warnings, m.stored(poolPrefix))
		}
	})
}

// A key that the provider will not switch on rests, and the others are handed out.
func TestPoolWithABadKey(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(poolShape)
		var ids []string
		for _, key := range m.stored(poolPrefix) {
			ids = append(ids, strings.TrimPrefix(key, poolPrefix+"anthropic-pool/"))
		}
		for _, id := range ids[:2] {
			poolOrg(s).ChangeKey(id, func(k *fakeanthropic.Key) { k.Status = "archived" })
		}
		failed := 0
		for range 3 {
			if _, err := m.try("read", "creds/anthropic-pool"); err != nil {
				failed++
			}
		}
		if failed != 2 {
			m.t.Errorf("%d of 3 reads failed", failed)
		}
		m.wantPool("map[held:1 resting:2]")
		if got := m.do("read", "pool/anthropic-pool/"+ids[0]).Data["last_error"]; got == "" {
			m.t.Error("nothing says why the key rests")
		}
	})
}

// A mint that certainly did nothing leaves the key free at once.
func TestPoolLosesNoKeyToAFailure(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(poolShape)
		s.Inject(fake.Fault{Op: "activate_key", Status: 403})
		for range 4 {
			if _, err := m.try("read", "creds/anthropic-pool"); err == nil {
				m.t.Error("a key was issued")
			}
		}
		s.ClearFaults()
		m.wantRecords(0)
		m.wantPool("map[free:3]")
	})
}

func TestStaticRoleOverAPool(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(poolShape)
		m.do("create", "static-roles/app", append(pairs{"config_name", "anthropic-pool", "rotation_period", "48h", "overlap", "1h"}, poolShape.role(s)...)...)
		first := fmt.Sprint(m.do("read", "static-creds/app").Data["api_key"])
		m.do("write", "rotate-role/app")
		second := fmt.Sprint(m.do("read", "static-creds/app").Data["api_key"])
		if first == second || !s.Alive(first) || !s.Alive(second) {
			m.t.Errorf("after a rotation: same key %t, alive %t and %t", first == second, s.Alive(first), s.Alive(second))
		}
		m.wantPool("map[free:1 held:2]")
		m.sweepFor(90 * time.Minute)
		if s.Alive(first) || !s.Alive(second) {
			m.t.Errorf("after the overlap: alive %t and %t", s.Alive(first), s.Alive(second))
		}
		m.wantPool("map[free:2 held:1]")
	})
}

// Two callers never get one key.
func TestPoolUnderARush(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.connect(poolShape)
		type answer struct {
			key string
			err error
		}
		answers := make(chan answer)
		for range 8 {
			go func() {
				resp, err := m.try("read", "creds/anthropic-pool")
				a := answer{err: err}
				if err == nil {
					a.key = fmt.Sprint(resp.Data["api_key"])
				}
				answers <- a
			}()
		}
		keys := map[string]int{}
		for range 8 {
			if a := <-answers; a.err == nil {
				keys[a.key]++
			}
		}
		if len(keys) != 3 {
			m.t.Errorf("8 callers got %d keys of 3", len(keys))
		}
		for key, n := range keys {
			if n > 1 {
				m.t.Errorf("%d callers got the key %s", n, key[len(key)-4:])
			}
		}
	})
}

func TestAuditOfAPool(t *testing.T) {
	both(t, func(m *testMount) {
		s := m.connect(poolShape)
		m.lease("creds/anthropic-pool")
		poolOrg(s).PlantKey(poolOrg(s).Workspace(), "somebody's")
		got := m.do("read", "audit/anthropic-pool").Data
		for class, want := range map[string]string{"unmanaged": "1", "missing": "0", "orphaned": "0"} {
			if found := got[class].(map[string]any); fmt.Sprint(found["count"]) != want {
				m.t.Errorf("%s: got %v, want %s", class, found, want)
			}
		}
	})
}
