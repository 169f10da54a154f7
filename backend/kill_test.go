package backend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// wantKill asserts what a kill has answered.
func (m *testMount) wantKill(resp *logical.Response, revoked, queued, failed int) {
	m.t.Helper()
	list, _ := resp.Data["failed"].([]any)
	if typed, ok := resp.Data["failed"].([]map[string]any); ok {
		list = make([]any, len(typed))
	}
	got := fmt.Sprint(resp.Data["revoked"], resp.Data["queued"], len(list))
	if want := fmt.Sprint(revoked, queued, failed); got != want {
		m.t.Fatalf("revoked, queued, failed: got %s, want %s: %v\n%s", got, want, resp.Data, m.log)
	}
}

func TestRevokeOneKeyByAllThatNamesIt(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		for _, by := range []func(l *testLease) []any{
			func(l *testLease) []any { return []any{"id", l.id()} },
			func(l *testLease) []any { return []any{"key_id", l.data["key_id"]} },
			func(l *testLease) []any { return []any{"api_key", l.key()} },
			func(l *testLease) []any { return []any{"api_key", l.key() + "\n"} },
		} {
			l, other := m.lease("creds/bot"), m.lease("creds/bot")
			m.fake.ResetRequests()
			m.wantKill(m.do("write", "revoke", by(l)...), 1, 0, 0)
			m.wantCalls("revoke", fakeopenai.OpDeleteKey)
			m.wantAlive(l.key(), false)
			m.wantAlive(other.key(), true)
			m.wantRecords(1)

			if _, err := l.tryRenew(0); err == nil || !strings.Contains(err.Error(), "revoked") {
				m.t.Errorf("renew of a lease whose key was killed: %v", err)
			}
			l.revoke() // Vault ends the lease: success
			m.refused(404, nil, "write", "revoke", by(l)...)
			other.revoke()
		}
		m.refused(400, []string{"exactly one of id, key_id, api_key, entity_id, role"}, "write", "revoke")
		m.refused(400, []string{"exactly one"}, "write", "revoke", "id", "x", "role", "bot")
		m.refused(400, []string{"role"}, "write", "revoke", "role", "a//")
	})
}

func TestRevokeByRoleSubtreeAndEntity(t *testing.T) {
	both(t, func(m *testMount) {
		m.configureTeams()
		roles := []string{"bot", "team-a", "team-a/x", "team-a/y/z", "team-ab"}
		leases := map[string][]*testLease{}
		mint := func() {
			for _, role := range roles {
				leases[role] = []*testLease{m.lease("creds/" + role), m.lease("creds/" + role)}
			}
		}
		for selector, dead := range map[string][]string{
			"role bot":               {"bot"},
			"role team-a":            {"team-a"},
			"role team-a/":           {"team-a/x", "team-a/y/z"},
			"role team-a/y/":         {"team-a/y/z"},
			"entity_id entity-1":     roles,
			"entity_id entity-other": nil,
		} {
			mint()
			field, value, _ := strings.Cut(selector, " ")
			resp := m.do("write", "revoke", field, value)
			m.wantKill(resp, 2*len(dead), 0, 0)
			if len(dead) == 0 && len(resp.Warnings) != 1 {
				m.t.Errorf("%s: nothing was killed, and nothing says so", selector)
			}
			for _, role := range roles {
				for _, l := range leases[role] {
					m.wantAlive(l.key(), !strings.Contains(" "+strings.Join(dead, " ")+" ", " "+role+" "))
					l.revoke()
				}
			}
		}
		m.refused(400, []string{"role", "neither a role"}, "write", "revoke", "role", "nothing")
		m.wantKill(m.do("write", "revoke", "role", "bot"), 0, 0, 0)
		m.wantRecords(0)
		if left := append(m.stored(orderPrefix), m.stored(indexPrefix+entityFact)...); len(left) > 0 {
			m.t.Errorf("left in storage: %v", left)
		}
	})
}

// TestRevokeByEntityThatIsDeleted: what is recorded suffices.
func TestRevokeByEntityThatIsDeleted(t *testing.T) {
	both(t, func(m *testMount) {
		m.knowEntity()
		m.configure()
		l := m.lease("creds/bot")
		m.sys.set(func(v *logical.StaticSystemView) { v.EntityVal = nil })
		m.wantKill(m.do("write", "revoke", "entity_id", "entity-1"), 1, 0, 0)
		m.wantAlive(l.key(), false)
	})
}

func TestKillThatFailsStaysQueued(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		for range 10 {
			m.lease("creds/bot")
		}
		m.do("write", "config/openai", "max_concurrency", 1)
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteKey, Status: http.StatusForbidden})
		resp := m.do("write", "revoke", "role", "bot")
		m.wantKill(resp, 0, 10-failuresInARow, failuresInARow) // a connection that refuses is left alone
		if len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], "10 keys may still work") {
			m.t.Errorf("warnings: %v", resp.Warnings)
		}
		first := resp.Data["failed"].([]map[string]any)[0]
		if !strings.Contains(first["error"].(string), "forbidden") {
			m.t.Errorf("failed: %v", first)
		}
		data := m.do("read", "keys/"+first["id"].(string)).Data
		if data["state"] != "revoking" || data["attempts"] != 1 || !strings.Contains(data["last_error"].(string), "forbidden") || data["next_attempt"] == "" {
			m.t.Errorf("record: %v", data)
		}
		if got := ids(m.do("read", "keys", "state", "revoking")); len(got) != 10 {
			m.t.Errorf("marked: %d", len(got))
		}
		m.fake.ClearFaults()
		m.sweepFor(3 * time.Minute)
		m.wantLive(0)
		m.wantRecords(0)
	})
}

// TestKillOfASubtreeOfAThousandKeys is against a provider that takes 20 requests a
// second, and the process dies half way.
func TestKillOfASubtreeOfAThousandKeys(t *testing.T) {
	const keys = 1000
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprintf("process dies %v", dies), func(t *testing.T) {
			bubble(t, func(m *testMount) {
				m.configureTeams()
				for i := range keys {
					m.lease([]string{"creds/team-a/x", "creds/team-a/y/z"}[i%2])
				}
				other := m.lease("creds/bot")
				m.fake.SetRate(20, 20)
				m.fake.ResetRequests()
				started := time.Now()
				answered := make(chan *logical.Response)
				go func() {
					resp, _ := m.try("write", "suspend/team-a", "subtree", true, "revoke", true)
					answered <- resp
				}()
				if dies {
					time.Sleep(20 * time.Second)
					m.storage.kill()
					m.b.Cleanup(m.t.Context())
					<-answered
					m.storage.heal()
					m.restart()
					if live := len(m.fake.LiveKeys()); live < keys/3 || live > keys {
						m.t.Fatalf("half way %d keys live", live)
					}
				} else {
					time.Sleep(100 * time.Millisecond)
					m.refused(403, []string{"suspended"}, "read", "creds/team-a/x")
					m.refused(403, []string{"suspended"}, "read", "creds/team-a/y/z")
					resp := <-answered
					m.t.Logf("after %v of provider time: %v", time.Since(started), resp.Data)
				}
				for len(m.fake.LiveKeys()) > 1 && time.Since(started) < 3*time.Minute {
					m.sweepFor(time.Minute)
				}
				m.t.Logf("%d requests in %v", len(m.fake.Requests()), time.Since(started))
				m.wantLive(1)
				m.wantAlive(other.key(), true)
				m.wantRecords(1)
				m.refused(403, []string{"suspended"}, "read", "creds/team-a/x")
			})
		})
	}
}

// TestKillOfAdminKeys: the one in use is refused, with what to do; a replaced one
// dies before its overlap is over.
func TestKillOfAdminKeys(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.refused(400, []string{"rotate-root/openai"}, "write", "revoke", "api_key", m.fake.AdminKey())
		m.do("write", "config/openai", "rotation_overlap", "1h")
		m.do("write", "rotate-root/openai")
		if !m.fake.AdminAlive(m.fake.AdminKey()) {
			m.t.Fatal("the replaced key died before its overlap was over")
		}
		m.wantKill(m.do("write", "revoke", "api_key", m.fake.AdminKey()), 1, 0, 0)
		if m.fake.AdminAlive(m.fake.AdminKey()) {
			m.t.Error("the replaced key is alive")
		}
		m.refused(404, nil, "write", "revoke", "api_key", m.fake.AdminKey())
		m.lease("creds/bot")
		if got := m.adminRecords(); len(got) != 1 || got[0].EntityID != "entity-1" {
			m.t.Fatalf("admin records: %v", got)
		}
		m.wantKill(m.do("write", "revoke", "entity_id", "entity-1"), 1, 0, 0)
		if got := m.adminRecords(); len(got) != 1 || got[0].State != active {
			m.t.Errorf("admin records: %v", got)
		}
		m.lease("creds/bot")
	})
}

// TestKillGoesOnPastARecordThatCannotBeRead: one bad record keeps no key alive.
func TestKillGoesOnPastARecordThatCannotBeRead(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		for range 5 {
			m.lease("creds/bot")
		}
		bad := recordKey("openai", "bot", newID(m.clock.now()))
		if err := m.storage.Put(m.t.Context(), &logical.StorageEntry{Key: bad, Value: []byte("{")}); err != nil {
			m.t.Fatal(err)
		}
		m.wantKill(m.do("write", "revoke", "role", "bot"), 5, 0, 1)
		m.wantLive(0)
		m.sweepFor(2 * time.Minute)
		if left := m.stored(orderPrefix); len(left) != 1 {
			m.t.Errorf("orders: %v", left)
		}
		if err := m.storage.Delete(m.t.Context(), bad); err != nil {
			m.t.Fatal(err)
		}
		m.sweep()
		if left := m.stored(orderPrefix); len(left) != 0 {
			m.t.Errorf("orders: %v", left)
		}
	})
}
