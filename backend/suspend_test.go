package backend

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// configureTeams adds roles with slashes to what configure writes.
func (m *testMount) configureTeams() {
	m.t.Helper()
	m.configure()
	for _, role := range []string{"team-a", "team-a/x", "team-a/y/z", "team-ab"} {
		m.do("create", "roles/"+role, "config_name", "openai", "project_id", "proj_demo")
	}
}

func TestSuspendedRoleIssuesAndRenewsNothing(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		resp := m.do("write", "suspend/bot", "reason", "leaked in CI")
		if resp.Data["suspended_name"] != "bot" || resp.Data["revoked"] != nil || len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], "1 key issued before") {
			m.t.Errorf("answer: %+v", resp)
		}
		m.refused(403, []string{`role "bot" is suspended ("leaked in CI"); a write to resume/bot lifts it`}, "read", "creds/bot")
		m.wantRecords(1)
		if _, err := l.tryRenew(0); err == nil || !strings.Contains(err.Error(), "suspended") || strings.Contains(err.Error(), "permission denied") {
			m.t.Errorf("renew: %v", err)
		}
		m.wantAlive(l.key(), true)

		m.wantFields("roles/bot", map[string]any{"suspended": true, "suspended_reason": "leaked in CI", "suspended_by": "approle-bot", "suspended_name": "bot"})
		at, err := time.Parse(time.RFC3339, m.do("read", "roles/bot").Data["suspended_at"].(string))
		if err != nil || m.clock.now().Sub(at).Abs() > time.Minute {
			m.t.Errorf("suspended_at: %v, %v", at, err)
		}
		m.wantFields("suspend/bot", map[string]any{"suspended": true, "suspended_reason": "leaked in CI", "suspended_by": "approle-bot"})

		if resp := m.do("write", "resume/bot"); resp != nil {
			m.t.Errorf("resume: %+v", resp)
		}
		m.wantFields("roles/bot", map[string]any{"suspended": false})
		if resp := m.do("read", "suspend/bot"); resp != nil {
			m.t.Errorf("after the resume: %v", resp.Data)
		}
		m.lease("creds/bot")
		if _, err := l.tryRenew(0); err != nil {
			m.t.Error(err)
		}
		if resp := m.do("write", "resume/bot"); resp == nil || len(resp.Warnings) != 1 {
			m.t.Errorf("a second resume: %+v", resp)
		}
	})
}

func TestSuspendSubtree(t *testing.T) {
	for _, subtree := range []any{true, "true"} {
		both(t, func(m *testMount) {
			m.configureTeams()
			if got := m.do("write", "suspend/team-a", "subtree", subtree).Data["roles"]; got != 2 && got != float64(2) {
				m.t.Errorf("roles: %v", got)
			}
			m.refused(403, []string{"resume/team-a with subtree=true"}, "read", "creds/team-a/x")
			m.refused(403, nil, "read", "creds/team-a/y/z")
			for _, other := range []string{"team-a", "team-ab", "bot"} {
				m.lease("creds/" + other)
			}
			m.do("create", "roles/team-a/new", "config_name", "openai", "project_id", "proj_demo")
			m.refused(403, nil, "read", "creds/team-a/new")
			m.wantFields("suspend/team-a/new", map[string]any{"suspended": true, "suspended_name": "team-a/"})
			m.wantFields("roles/team-a/new", map[string]any{"suspended": true, "suspended_name": "team-a/"})

			m.do("write", "suspend/team-a/x")
			if got := ids(m.do("list", "suspend/")); strings.Join(got, " ") != "team-a/x team-a/" && strings.Join(got, " ") != "team-a/ team-a/x" {
				m.t.Errorf("list: %v", got)
			}
			resp := m.do("write", "resume/team-a/x")
			if resp == nil || len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], `still suspended, by "team-a/"`) {
				m.t.Errorf("resume of a role below: %+v", resp)
			}
			m.refused(403, nil, "read", "creds/team-a/x")
			m.do("write", "suspend/team-a/x")
			if resp := m.do("write", "resume/team-a", "subtree", subtree); resp == nil || len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], "by their own names (1)") {
				m.t.Errorf("resume of a subtree: %+v", resp)
			}
			m.refused(403, nil, "read", "creds/team-a/x")
			m.do("write", "resume/team-a/x")
			m.lease("creds/team-a/x")
		})
	}
}

// TestSuspendOfNothingIsRefused: in an incident a typing error must not look like
// success, nor must the slash that the command line drops.
func TestSuspendOfNothingIsRefused(t *testing.T) {
	both(t, func(m *testMount) {
		m.configureTeams()
		m.refused(400, []string{"name", "neither a role"}, "write", "suspend/bto")
		m.refused(400, []string{"name", "subtree=true"}, "write", "suspend/team-a/y")
		m.refused(400, []string{"name"}, "write", "suspend/team-x", "subtree", true)
		m.refused(400, []string{"name"}, "write", "suspend/team-a/")
		if resp := m.do("write", "suspend/team-a"); len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], "subtree=true") {
			m.t.Errorf("a role with others below it: %v", resp.Warnings)
		}
		m.refused(400, []string{"name"}, "write", "suspend/a//b")
		if resp := m.do("write", "suspend/team-a", "subtree", true); len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], "role team-a is not suspended") {
			m.t.Errorf("a subtree beside a role of its name: %v", resp.Warnings)
		}
		m.do("write", "resume/team-a", "subtree", true)
		if got := m.stored(suspendPrefix); len(got) != 1 {
			m.t.Errorf("stored: %v", got)
		}
		m.refused(400, []string{"reason", "looks like a key"}, "write", "suspend/bot", "reason", "found sk-svcacct-"+strings.Repeat("a1B2", 12))
	})
}

func TestSuspensionOutlivesItsRole(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "suspend/bot", "reason", "x")
		m.do("write", "suspend/bot")
		m.do("delete", "roles/bot")
		m.do("create", "roles/bot", "config_name", "openai", "project_id", "proj_demo")
		m.refused(403, []string{`("x")`}, "read", "creds/bot")
		m.restart()
		m.refused(403, nil, "read", "creds/bot")
	})
}

// TestSuspendDuringAnIssue suspends, and kills, while a create is under way.
func TestSuspendDuringAnIssue(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot").revoke() // makes the service account
		for _, fault := range []fakeopenai.Fault{
			{Op: fakeopenai.OpCreateKey, Latency: 10 * time.Second, Times: 1},
			{Op: fakeopenai.OpCreateKey, LatencyAfter: 20 * time.Second, Times: 1},
			{Op: fakeopenai.OpCreateKey, Hang: fakeopenai.HangAfter, Times: 1},
		} {
			m.fake.Inject(fault)
			issued := make(chan *logical.Response)
			go func() {
				resp, _ := m.try("read", "creds/bot")
				issued <- resp
			}()
			time.Sleep(5 * time.Second)
			answer := m.do("write", "suspend/bot", "revoke", true).Data
			resp := <-issued
			m.fake.ClearFaults()
			m.sweepFor(15 * time.Minute)
			m.wantLive(0)
			m.wantRecords(0)
			if left := m.stored(orderPrefix); len(left) > 0 {
				m.t.Errorf("%+v: orders left: %v", fault, left)
			}
			if resp != nil && resp.Secret != nil {
				m.t.Errorf("%+v: a key was issued after its role was suspended: %v", fault, answer)
			}
			m.do("write", "resume/bot")
		}
	})
}
