package backend

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// A testAudit is what an audit has answered, by class and key id.
type testAudit struct {
	m    *testMount
	data map[string]any
}

func (m *testMount) audit(pairs ...any) testAudit {
	m.t.Helper()
	resp := m.do("read", "audit/openai", pairs...)
	data, ok := asJSON(m.t, resp.Data).(map[string]any)
	if !ok {
		m.t.Fatalf("audit: %v", resp.Data)
	}
	return testAudit{m, data}
}

func (a testAudit) items(c class) map[string]map[string]any {
	items := map[string]map[string]any{}
	for _, item := range a.data[string(c)].(map[string]any)["items"].([]any) {
		one := item.(map[string]any)
		items[fmt.Sprint(one["key_id"])] = one
	}
	return items
}

func (a testAudit) count(c class) int {
	return int(a.data[string(c)].(map[string]any)["count"].(float64))
}

// want asserts the key ids of every class: those that are not named are empty.
func (a testAudit) want(want map[class][]string) {
	a.m.t.Helper()
	for _, c := range classes {
		got := slices.Sorted(maps.Keys(a.items(c)))
		wanted := slices.Sorted(slices.Values(want[c]))
		if !slices.Equal(got, wanted) || a.count(c) != len(wanted) {
			a.m.t.Errorf("%s: got %v (count %d), want %v", c, got, a.count(c), wanted)
		}
	}
}

func (a testAudit) wantComplete(want bool) {
	a.m.t.Helper()
	if got := a.data["complete"]; got != want {
		a.m.t.Errorf("complete: got %v, want %v: %v", got, want, a.data["problems"])
	}
}

// wantItem asserts what is said of one key.
func (a testAudit) wantItem(c class, keyID string, want map[string]string) {
	a.m.t.Helper()
	item := a.items(c)[keyID]
	for field, part := range want {
		if got := fmt.Sprint(item[field]); !strings.Contains(got, part) {
			a.m.t.Errorf("%s of %s, %s: got %q, want %q in it", c, keyID, field, got, part)
		}
	}
}

// plantOrphan makes a key at the provider that bears a name of this mount.
func (m *testMount) plantOrphan(project string) string {
	name := keyName(m.engine.mountEntry.Tag, "bot", newID(m.clock.now()), 100)
	return m.fake.PlantKey(project, name).ID
}

func keyIDOf(l *testLease) string { return fmt.Sprint(l.data["key_id"]) }

// TestAuditFindsOneOfEveryClassAndNothingElse plants one of each beside keys with
// which nothing is wrong.
func TestAuditFindsOneOfEveryClassAndNothingElse(t *testing.T) {
	both(t, func(m *testMount) {
		m.knowEntity()
		m.configure()
		good := m.lease("creds/bot")
		m.sweep()
		m.advance(30 * time.Minute)
		if _, err := good.tryRenew(0); err != nil {
			m.t.Fatal(err)
		}
		clean := m.audit()
		clean.want(nil)
		clean.wantComplete(true)

		long := m.do("write", "roles/bot", "max_ttl", "2400h", "ttl", "2400h")
		if long != nil && long.IsError() {
			m.t.Fatal(long.Error())
		}
		now := m.clock.now()
		ago := func(days int) time.Time { return now.Add(-time.Duration(days) * 24 * time.Hour) }
		planted := m.fake.PlantKey("proj_demo", "ada's laptop").ID
		elsewhere := m.fake.PlantKey("proj_other", "vault-somebody-bot-"+newID(now)).ID // in a project of no role
		orphan := m.plantOrphan("proj_demo")
		gone := m.lease("creds/bot")
		m.fake.DeleteKey(keyIDOf(gone))
		old, unused := m.lease("creds/bot"), m.lease("creds/bot")
		m.fake.Age(keyIDOf(old), ago(91), ago(1))
		m.fake.Age(keyIDOf(unused), ago(60), ago(31))
		m.sys.set(func(v *logical.StaticSystemView) { v.EntityVal = nil })
		req := m.request(logical.ReadOperation, "creds/bot", nil)
		req.EntityID, req.DisplayName = "", "root"
		resp, err := m.b.HandleRequest(m.t.Context(), req)
		if err != nil || resp.IsError() {
			m.t.Fatal(resp, err)
		}
		nobodys := m.keep("creds/bot", resp)
		m.knowEntity()
		m.advance(2 * time.Minute) // past the provider's consistency

		a := m.audit()
		a.wantComplete(true)
		a.want(map[class][]string{
			unmanaged: {planted, elsewhere}, missing: {keyIDOf(gone)}, orphaned: {orphan},
			ownerless: {keyIDOf(nobodys)}, stale: {keyIDOf(old)}, idle: {keyIDOf(unused)},
		})
		a.wantItem(unmanaged, planted, map[string]string{"name": "ada's laptop", "scope": "proj_demo", "owner": "user", "remedy": "llm/creds/<role>", "id": ""})
		a.wantItem(unmanaged, elsewhere, map[string]string{"scope": "proj_other"})
		a.wantItem(missing, keyIDOf(gone), map[string]string{"id": gone.id(), "role": "bot", "owner": "agent-7", "remedy": "vault write llm/revoke id=" + gone.id()})
		a.wantItem(orphaned, orphan, map[string]string{"remedy": "vault write llm/tidy/openai dry_run=false", "kind": "key"})
		a.wantItem(ownerless, keyIDOf(nobodys), map[string]string{"owner": "root", "why": "without an entity", "remedy": "revoke id=" + nobodys.id()})
		a.wantItem(stale, keyIDOf(old), map[string]string{"owner": "agent-7", "why": "91 days ago", "remedy": "revoke id=" + old.id()})
		a.wantItem(idle, keyIDOf(unused), map[string]string{"owner": "agent-7", "why": "last used 31 days ago"})

		m.audit("max_age", "100d", "max_idle", "40d").want(map[class][]string{
			unmanaged: {planted, elsewhere}, missing: {keyIDOf(gone)}, orphaned: {orphan}, ownerless: {keyIDOf(nobodys)},
		})
		// The remedies remedy.
		m.wantKill(m.do("write", "revoke", "id", gone.id()), 1, 0, 0)
		m.do("write", "tidy/openai", "dry_run", false, "safety_buffer", "1m")
		m.wantKill(m.do("write", "revoke", "id", nobodys.id()), 1, 0, 0)
		m.audit("max_age", "100d", "max_idle", "40d").want(map[class][]string{unmanaged: {planted, elsewhere}})
	})
}

func TestAuditOfOwners(t *testing.T) {
	both(t, func(m *testMount) {
		m.knowEntity()
		m.configure()
		l := m.lease("creds/bot")
		for why, change := range map[string]func(*logical.StaticSystemView){
			"deleted in Vault":  func(v *logical.StaticSystemView) { v.EntityVal = nil },
			"disabled in Vault": func(v *logical.StaticSystemView) { v.EntityVal = &logical.Entity{ID: "entity-1", Disabled: true} },
		} {
			m.sys.set(change)
			a := m.audit()
			a.want(map[class][]string{ownerless: {keyIDOf(l)}})
			a.wantItem(ownerless, keyIDOf(l), map[string]string{"why": why, "owner": "agent-7"})
		}
		l.revoke()
		// Without an entity, somebody answers for the role.
		m.do("write", "roles/bot", "metadata", "owner=ada")
		req := m.request(logical.ReadOperation, "creds/bot", nil)
		req.EntityID = ""
		if resp, err := m.b.HandleRequest(m.t.Context(), req); err != nil || resp.IsError() {
			m.t.Fatal(resp, err)
		}
		m.audit().want(nil)
	})
}

func TestAuditOfAdminKeys(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		other, _ := m.fake.AddAdminKey()
		mine := m.fake.AdminKeys()[0].ID
		orphan := m.fake.PlantAdminKey(keyName(m.engine.mountEntry.Tag, "admin", newID(m.clock.now()), 100), "sk-admin-orphan-0001").ID
		m.fake.Age(mine, m.clock.now().Add(-100*24*time.Hour), m.clock.now())
		a := m.audit()
		a.want(map[class][]string{unmanaged: {other}, orphaned: {orphan}, stale: {mine}})
		a.wantItem(unmanaged, other, map[string]string{"kind": "admin"})
		a.wantItem(stale, mine, map[string]string{"kind": "admin", "remedy": "vault write -f llm/rotate-root/openai"})

		m.advance(2 * time.Hour)
		m.wantTidy(m.do("write", "tidy/openai", "dry_run", false).Data, 1, 0, 1, 0) // a copy of this Vault may use it
		m.do("write", "rotate-root/openai")
		m.sweepFor(10 * time.Minute)
		m.audit().want(map[class][]string{unmanaged: {other}, orphaned: {orphan}})
	})
}

// TestAuditSaysWhenItIsIncomplete: nothing is concluded from what was not seen.
func TestAuditSaysWhenItIsIncomplete(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.AddProject("proj_other")
		m.do("create", "roles/other", "config_name", "openai", "project_id", "proj_other")
		m.do("write", "roles/bot", "metadata", "owner=ada")
		m.do("write", "roles/other", "metadata", "owner=ada")
		m.sys.set(func(v *logical.StaticSystemView) { v.EntityVal = &logical.Entity{ID: "entity-1", Name: "agent-7"} })
		for range 150 { // two pages
			m.lease("creds/bot")
		}
		gone := m.lease("creds/other")
		m.fake.DeleteKey(keyIDOf(gone))
		m.advance(2 * time.Minute)
		m.audit().want(map[class][]string{missing: {keyIDOf(gone)}})
		for name, fault := range map[string]fakeopenai.Fault{
			"a page":       {Op: fakeopenai.OpListKeys, Skip: 1, Status: http.StatusForbidden},
			"the projects": {Op: fakeopenai.OpListProjects, Status: http.StatusForbidden},
			"admin keys":   {Op: fakeopenai.OpListAdminKeys, Status: http.StatusForbidden},
			"accounts":     {Op: fakeopenai.OpListServiceAccounts, Status: http.StatusForbidden},
			"it hangs":     {Op: fakeopenai.OpListKeys, Skip: 1, Hang: fakeopenai.HangBefore},
		} {
			m.fake.Inject(fault)
			started := time.Now()
			a := m.audit()
			a.wantComplete(false)
			if took := time.Since(started); took > surveyBudget+time.Second {
				m.t.Errorf("%s: it took %v", name, took)
			}
			if got := a.count(missing); got > 1 || a.count(unmanaged)+a.count(orphaned) > 0 {
				m.t.Errorf("%s: %v", name, a.data)
			}
			m.fake.ClearFaults()
			m.advance(time.Minute)
		}
		m.audit().wantComplete(true)
		m.refused(404, []string{"config/nowhere"}, "read", "audit/nowhere")
		m.refused(400, []string{"max_age"}, "read", "audit/openai", "max_age", "soon")
	})
}

// TestAuditWhileKeysComeAndGo: what is issued and revoked meanwhile is not reported.
func TestAuditWhileKeysComeAndGo(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.knowEntity()
		m.configure()
		var leases []*testLease
		for range 250 {
			leases = append(leases, m.lease("creds/bot"))
		}
		m.advance(2 * time.Minute)
		m.fake.Inject(fakeopenai.Fault{Latency: 200 * time.Millisecond})
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				leases[i%len(leases)].revoke()
				leases[i%len(leases)] = m.lease("creds/bot")
				m.lease("creds/bot").revoke()
			}
		}()
		for range 20 {
			a := m.audit()
			a.want(nil)
			a.wantComplete(true)
		}
		close(stop)
		<-done
	})
}

func TestAuditCountsAllAndShowsAHundred(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		for i := range 2500 {
			m.fake.PlantKey("proj_demo", fmt.Sprintf("key %d", i))
		}
		a := m.audit()
		if a.count(unmanaged) != 2500 || len(a.items(unmanaged)) != findingsShown {
			m.t.Errorf("count %d, shown %d", a.count(unmanaged), len(a.items(unmanaged)))
		}
	})
}

// TestAuditOfTwoConnectionsOfOneAccount: what one has is no finding of the other.
func TestAuditOfTwoConnectionsOfOneAccount(t *testing.T) {
	both(t, func(m *testMount) {
		m.knowEntity()
		m.configure()
		_, second := m.fake.AddAdminKey()
		m.do("create", "config/second", "provider", "openai", "admin_key", second)
		m.do("create", "roles/other", "config_name", "second", "project_id", "proj_demo")
		l := m.lease("creds/other")
		m.lease("creds/bot")
		l.revoke() // its service account stays, without a key
		m.lease("creds/other", "ttl", "10h")
		m.advance(2 * time.Hour)
		m.sweep()
		m.audit().want(nil)
		m.wantTidy(m.do("write", "tidy/openai", "dry_run", false).Data, 0, 0, 0, 0)
		m.do("write", "rotate-root/second")
		m.audit().want(nil)
	})
}

// TestAuditOfAnotherConnectionsServiceAccount: one without a key is not an orphan.
func TestAuditOfAnotherConnectionsServiceAccount(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		_, second := m.fake.AddAdminKey()
		m.do("create", "config/second", "provider", "openai", "admin_key", second)
		m.do("create", "roles/other", "config_name", "second", "project_id", "proj_demo")
		m.lease("creds/other").revoke()
		m.advance(2 * time.Hour)
		m.wantTidy(m.do("write", "tidy/openai", "dry_run", false).Data, 0, 0, 0, 0)
		m.lease("creds/other").revoke()
		m.do("delete", "roles/other") // the sweep deletes its account, in a while
		m.wantTidy(m.do("write", "tidy/openai", "dry_run", false).Data, 0, 0, 0, 0)
	})
}

// TestAuditOfAYoungKeyThatIsNotListedYet: what the provider does not show yet is not
// missing.
func TestAuditOfAYoungKeyThatIsNotListedYet(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.knowEntity()
		m.configure()
		m.lease("creds/bot").revoke()
		m.fake.SetKnobs(fakeopenai.Knobs{HideFor: 30 * time.Second})
		m.lease("creds/bot")
		m.audit().want(nil)
		time.Sleep(2 * time.Minute)
		m.audit().want(nil)
	})
}
