package backend

import (
	"testing"
	"time"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// What reviewers of rotation have found: each was wrong once.

func TestDeletionThatHangsDoesNotStopRotation(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "config/openai", "rotation_period", "1h", "admin_key_ttl", "3h")
		m.do("write", "rotate-root/openai")
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteAdminKey, Hang: fakeopenai.HangBefore})
		for range 8 * 60 {
			m.advance(time.Minute)
			m.sweep()
			if !m.fake.AdminAlive(m.storedConfig().AdminKey) {
				m.t.Fatalf("the admin key in use is dead\n%s", m.log)
			}
		}
		m.wantText("config/openai", "last_error", "is still to be deleted")
		m.fake.ClearFaults()
		m.sweepFor(2 * time.Hour)
		if got := len(m.liveAdmins()); got > 2 {
			m.t.Errorf("live admin keys: %d", got)
		}
	})
}

func TestKeyThatTwoConnectionsUseIsNotRotated(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("create", "config/other", "provider", "openai", "admin_key", m.fake.AdminKey())
		m.refused(400, []string{`connection "other" has the same admin key`, "config/openai"}, "write", "rotate-root/openai")
		own := m.fake.PlantAdminKey("own", "sk-admin-operators-second-key-0002")
		m.do("write", "config/other", "admin_key", own.Secret)
		m.do("write", "rotate-root/openai")
		m.sweepFor(7 * time.Minute)
		m.wantAdmins(2)
		m.wantAdminWorks()
	})
}

// TestTwinOfADeadKeyIsNotDeleted: what is left over need not be ours.
func TestTwinOfADeadKeyIsNotDeleted(t *testing.T) {
	both(t, func(m *testMount) {
		key := m.fake.AdminKey()
		twin := m.fake.PlantAdminKey("twin", key[:len(key)-9]+"xxxxxx"+key[len(key)-3:])
		m.do("create", "config/openai", "provider", "openai", "admin_key", key)
		m.do("create", "roles/bot", "config_name", "openai", "project_id", "proj_demo")
		m.do("write", "rotate-root/openai")
		m.fake.RevokeAdminKey(m.fake.AdminKeys()[0].ID) // by hand
		for _, id := range []any{nil, m.fake.AdminKeys()[0].ID} {
			wantWarning(m, m.do("write", "config/openai", "admin_key", key, "admin_key_id", id), "is ignored")
		}
		m.sweepFor(10 * time.Minute)
		if !m.fake.AdminAlive(twin.Secret) {
			m.t.Error("the key of somebody else was deleted")
		}
		if got := len(m.adminRecords()); got != 1 {
			m.t.Errorf("records of admin keys: %d, want 1", got)
		}
		m.wantAdminWorks()
	})
}

func TestCandidateStaysOnItsWay(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.SetKnobs(fakeopenai.Knobs{AdminKeyDelay: 5 * time.Minute})
		m.refused(502, nil, "write", "rotate-root/openai")
		m.do("write", "config/openai", "admin_key", m.fake.AdminKey(), "base_url", "https://evil.example/v1", "verify", false)
		if m.storedConfig().Candidate != nil {
			m.t.Error("the candidate goes to the new host, too")
		}
		m.sweepFor(10 * time.Minute)
		m.wantAdmins(1)
		m.wantOperatorAlive(true)
	})
}

func TestRotationPlannedByAClockThatWasAhead(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "config/openai", "rotation_period", "24h", "admin_key_ttl", "72h")
		m.do("write", "rotate-root/openai")
		e := m.storedConfig()
		now := m.clock.now()
		e.Rotation.Last, e.Rotation.Next = now.Add(240*time.Hour), now.Add(264*time.Hour)
		if err := m.engine.putConfig(m.t.Context(), m.storage, "openai", e); err != nil {
			m.t.Fatal(err)
		}
		m.restart2()
		for range 96 {
			m.advance(time.Hour)
			m.sweep()
			if !m.fake.AdminAlive(m.storedConfig().AdminKey) {
				m.t.Fatalf("the admin key in use is dead\n%s", m.log)
			}
		}
		if made := len(m.fake.AdminKeys()); made < 5 {
			m.t.Errorf("admin keys ever made: %d, want one a day", made)
		}
	})
}

func TestAdminKeyOfADeletedConnectionIsNotForgottenSoon(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "rotate-root/openai")
		m.sweepFor(7 * time.Minute)
		m.do("delete", "roles/bot")
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteAdminKey, Status: 503})
		wantWarning(m, m.do("delete", "config/openai"), "could not be deleted")
		m.sweepFor(12 * time.Hour)
		m.fake.ClearFaults()
		m.fake.Inject(fakeopenai.Fault{Status: 401, Times: 2})
		m.sweepFor(4 * time.Hour)
		m.wantAdmins(0) // deleted, not forgotten
		m.sweepFor(time.Hour)
		if left := m.stored(gonePrefix); len(left) > 0 || len(m.adminRecords()) > 0 {
			m.t.Errorf("left: %v, %+v", left, m.adminRecords())
		}
	})
}

// TestLastKeyDeletesTheOthersFirst: nobody else could.
func TestLastKeyDeletesTheOthersFirst(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "rotate-root/openai")
		m.do("write", "rotate-root/openai")
		m.do("delete", "roles/bot")
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteAdminKey, Status: 503})
		m.do("delete", "config/openai", "force", true)
		m.fake.ClearFaults()
		m.sweepFor(3 * time.Hour)
		m.wantAdmins(0)
		if got := m.adminRecords(); len(got) > 0 {
			m.t.Errorf("records of admin keys: %+v", got)
		}
	})
}

func TestAdminKeyIDIsNoKey(t *testing.T) {
	both(t, func(m *testMount) {
		for _, id := range []string{"sk-admin-0123456789abcdef0123", "a b", "../x"} {
			m.refused(400, []string{"admin_key_id: is not an id"}, "create", "config/openai", "provider", "openai", "admin_key", m.fake.AdminKey(), "admin_key_id", id, "verify", false)
		}
	})
}

func TestNewKeyClearsAnOldFailure(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.fake.SetKnobs(fakeopenai.Knobs{WeakerAdminKeys: true})
		m.refused(502, nil, "write", "rotate-root/openai")
		m.fake.SetKnobs(fakeopenai.Knobs{})
		fresh := m.fake.PlantAdminKey("fresh", "sk-admin-operators-fresh-key-0005")
		m.do("write", "config/openai", "admin_key", fresh.Secret)
		m.wantText("config/openai", "last_error", "")
	})
}

// TestSlowTrial: a trial of an admin key takes many calls, which may be slow.
func TestSlowTrial(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.Inject(fakeopenai.Fault{Latency: 2 * time.Second})
		m.do("write", "rotate-root/openai")
		m.fake.ClearFaults()
		m.wantAdminWorks()
	})
}

// TestWriteThatHoldsAfterAll: storage may do what it says that it could not.
func TestWriteThatHoldsAfterAll(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.storage.spoilOp("put config/openai", failAfter)
		m.do("write", "rotate-root/openai")
		m.storage.heal()
		m.wantText("config/openai", "last_error", "")
		m.sweepFor(7 * time.Minute)
		m.wantAdmins(1)
		m.wantOperatorAlive(false)
		m.wantAdminWorks()
	})
}
