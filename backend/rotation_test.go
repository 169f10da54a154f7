package backend

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// storedConfig is the connection "openai" as it is stored.
func (m *testMount) storedConfig() *configEntry {
	m.t.Helper()
	e, err := loadConfig(m.t.Context(), m.storage.Storage, "openai")
	if err != nil || e == nil {
		m.t.Fatalf("stored connection: %v, %v", e, err)
	}
	return e
}

// liveAdmins returns the names of the admin keys that work; the operator's first
// is called "operator".
func (m *testMount) liveAdmins() []string {
	var names []string
	for i, a := range m.fake.AdminKeys() {
		if m.fake.AdminAlive(a.Secret) {
			if i == 0 {
				a.Name = "operator"
			}
			names = append(names, a.Name)
		}
	}
	return names
}

func (m *testMount) wantAdmins(want int) {
	m.t.Helper()
	if got := m.liveAdmins(); len(got) != want {
		m.t.Fatalf("live admin keys: got %v, want %d\n%s", got, want, m.log)
	}
}

func (m *testMount) operatorAlive() bool { return m.fake.AdminAlive(m.fake.AdminKeys()[0].Secret) }

func (m *testMount) wantOperatorAlive(want bool) {
	m.t.Helper()
	if m.operatorAlive() != want {
		m.t.Fatalf("the operator's key is alive: got %v, want %v\n%s", !want, want, m.log)
	}
}

// wantAdminWorks asserts I4.
func (m *testMount) wantAdminWorks() {
	m.t.Helper()
	e := m.storedConfig()
	if !m.fake.AdminAlive(e.AdminKey) {
		m.t.Fatalf("I4: the admin key in use is dead\n%s", m.log)
	}
	m.lease("creds/bot").revoke()
}

func (m *testMount) text(path, field string) string {
	m.t.Helper()
	text, _ := m.do("read", path).Data[field].(string)
	return text
}

func (m *testMount) wantText(path, field, part string) {
	m.t.Helper()
	if got := m.text(path, field); !strings.Contains(got, part) || part == "" && got != "" {
		m.t.Errorf("%s: %s is %q, want %q in it", path, field, got, part)
	}
}

func wantWarning(m *testMount, resp *logical.Response, parts ...string) {
	m.t.Helper()
	all := ""
	if resp != nil {
		all = strings.Join(resp.Warnings, "\n")
	}
	for _, part := range parts {
		if !strings.Contains(all, part) {
			m.t.Errorf("warnings %q lack %q", all, part)
		}
	}
	if len(parts) == 0 && all != "" {
		m.t.Errorf("warnings %q, want none", all)
	}
}

func TestRotateRoot(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		before := m.text("config/openai", "admin_key_fingerprint")
		lease := m.lease("creds/bot")
		resp := m.do("write", "rotate-root/openai")
		wantWarning(m, resp)
		if got := asJSON(m.t, resp.Data).(map[string]any); len(got) != 2 || got["admin_key_id"] != m.fake.AdminKeys()[1].ID {
			m.t.Errorf("answer: %v, want the id of the new key and a time", got)
		}
		m.wantText("config/openai", "admin_key_id", m.fake.AdminKeys()[1].ID)
		m.wantText("config/openai", "last_vault_rotation", resp.Data["last_vault_rotation"].(string))
		m.wantText("config/openai", "last_error", "")
		m.wantFields("config/openai", map[string]any{"live_keys": 1, "next_vault_rotation": ""})
		if m.text("config/openai", "admin_key_fingerprint") == before {
			m.t.Error("the fingerprint is the same after a rotation")
		}
		m.wantAdmins(2)
		lease.revoke()
		m.wantAdminWorks()

		m.sweepFor(4 * time.Minute)
		m.wantOperatorAlive(true) // in the overlap
		m.sweepFor(3 * time.Minute)
		m.wantOperatorAlive(false)
		m.wantAdmins(1)
		m.wantAdminWorks()
		if got := m.adminRecords(); len(got) != 1 || got[0].ID != m.storedConfig().AdminRecord || got[0].State != active {
			m.t.Errorf("records of admin keys: %+v", got)
		}
		if name := m.fake.AdminKeys()[1].Name; !strings.HasPrefix(name, namePrefix+m.engine.mountEntry.Tag+"-admin-openai-") {
			m.t.Errorf("the new key is called %q", name)
		}

		m.do("write", "rotate-root/openai")
		m.sweepFor(7 * time.Minute)
		m.wantAdmins(1)
		m.restart2()
		m.wantAdminWorks()
	})
}

// restart2 restarts in both modes: over gRPC only the engine's caches are dropped.
func (m *testMount) restart2() {
	m.t.Helper()
	if m.grpc {
		m.engine.invalidate(m.t.Context(), configKey("openai"))
		return
	}
	m.restart()
}

func TestRotateRootRefusals(t *testing.T) {
	both(t, func(m *testMount) {
		m.refused(404, []string{`connection "none" does not exist`, "config/none"}, "write", "rotate-root/none")
		m.configure()
		m.refused(400, []string{"unknown field"}, "write", "rotate-root/openai", "overlap", 1)
		release, err := m.engine.slots.acquire(m.t.Context(), rotationSlot("openai"))
		if err != nil {
			m.t.Fatal(err)
		}
		m.refused(409, []string{"is being rotated"}, "write", "rotate-root/openai")
		release()
		m.wantAdmins(1)
	})
}

func TestRotationOfAKeyWhoseIDIsNotCertain(t *testing.T) {
	both(t, func(m *testMount) {
		key := m.fake.AdminKey()
		twin := m.fake.PlantAdminKey("twin", key[:len(key)-9]+"xxxxxx"+key[len(key)-3:])
		wantWarning(m, m.do("create", "config/openai", "provider", "openai", "admin_key", key),
			"the id of the admin key is not certain", m.fake.AdminKeys()[0].ID+" or "+twin.ID)
		m.do("create", "roles/bot", "config_name", "openai", "project_id", "proj_demo")
		wantWarning(m, m.do("write", "rotate-root/openai"), "the replaced admin key stays valid", twin.ID)
		m.sweepFor(30 * time.Minute)
		m.wantOperatorAlive(true)
		m.wantAdmins(3)
		m.wantText("config/openai", "last_error", "its id at the provider is not known")

		// The id comes later, with the key that it belongs to.
		m.refused(400, []string{"admin_key_id"}, "write", "config/openai", "admin_key_id", m.fake.AdminKeys()[0].ID)
		m.refused(400, []string{"admin_key_id"}, "write", "config/openai", "admin_key", key, "admin_key_id", m.storedConfig().AdminKeyID)
		wantWarning(m, m.do("write", "config/openai", "admin_key", key), "is ignored", "still valid")
		wantWarning(m, m.do("write", "config/openai", "admin_key", key, "admin_key_id", m.fake.AdminKeys()[0].ID), "is ignored", "will be deleted")
		m.sweepFor(2 * time.Minute)
		m.wantOperatorAlive(false)
		if !m.fake.AdminAlive(twin.Secret) {
			m.t.Error("the key of somebody else was deleted")
		}
		m.wantText("config/openai", "last_error", "")
		m.wantAdminWorks()
	})
}

func TestAdminKeyIDIsChecked(t *testing.T) {
	both(t, func(m *testMount) {
		other := m.fake.PlantAdminKey("other", "sk-admin-somebody-elses-key-0001")
		id := m.fake.AdminKeys()[0].ID
		create := func(pairs ...any) (*logical.Response, error) {
			return m.try("create", "config/openai", append([]any{"provider", "openai", "admin_key", m.fake.AdminKey()}, pairs...)...)
		}
		if status, text := outcome(create("admin_key_id", other.ID)); status != 400 || !strings.Contains(text, id) {
			m.t.Errorf("the id of another key: status %d, %s", status, text)
		}
		// Unchecked, a wrong id does no harm: at the rotation it is not believed.
		if _, err := create("admin_key_id", other.ID, "verify", false); err != nil {
			m.t.Fatal(err)
		}
		m.do("create", "roles/bot", "config_name", "openai", "project_id", "proj_demo")
		wantWarning(m, m.do("write", "rotate-root/openai"), "stays valid")
		m.sweepFor(30 * time.Minute)
		m.wantOperatorAlive(true)
		if !m.fake.AdminAlive(other.Secret) {
			m.t.Error("the key of somebody else was deleted")
		}
	})
}

func TestUncheckedAdminKeyIsIdentifiedByTheRotation(t *testing.T) {
	both(t, func(m *testMount) {
		wantWarning(m, m.do("create", "config/openai", "provider", "openai", "admin_key", m.fake.AdminKey(), "verify", false), "looked for at the first rotation")
		m.do("create", "roles/bot", "config_name", "openai", "project_id", "proj_demo")
		m.do("write", "rotate-root/openai")
		m.sweepFor(7 * time.Minute)
		m.wantAdmins(1)
		m.wantOperatorAlive(false)
		m.wantAdminWorks()
	})
}

// TestTerraformWritesTheFirstKeyForEver: the same full body, after rotations.
func TestTerraformWritesTheFirstKeyForEver(t *testing.T) {
	both(t, func(m *testMount) {
		first := m.fake.AdminKey()
		body := []any{"provider", "openai", "admin_key", first, "rotation_period", "24h", "rotation_overlap", "2m", "request_timeout", 20}
		m.do("create", "config/openai", body...)
		m.do("create", "roles/bot", "config_name", "openai", "project_id", "proj_demo")
		next := m.text("config/openai", "next_vault_rotation")
		for range 3 {
			m.advance(time.Minute)
			wantWarning(m, m.do("write", "config/openai", body...))
		}
		m.wantText("config/openai", "next_vault_rotation", next) // a write does not put it off
		for range 3 {
			m.do("write", "rotate-root/openai")
			for range 2 {
				wantWarning(m, m.do("write", "config/openai", body...), "was replaced by a rotation and is ignored")
				m.wantAdminWorks()
			}
			m.sweepFor(5 * time.Minute)
			m.wantAdmins(1)
		}
		m.wantFields("config/openai", map[string]any{"rotation_period": 86400, "rotation_overlap": 120, "request_timeout": 20, "last_error": ""})
		// What the body says besides the key holds.
		m.do("write", "config/openai", "admin_key", first, "request_timeout", 25)
		m.wantFields("config/openai", map[string]any{"request_timeout": 25})
		m.refused(400, []string{"admin_key:", "base_url", "new"}, "write", "config/openai", "admin_key", first, "base_url", "https://gateway.example.com/v1")
		m.wantAdminWorks()
	})
}

func TestOperatorsNewKeyReplacesTheMintedOne(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "rotate-root/openai")
		second := m.fake.PlantAdminKey("second", "sk-admin-operators-second-key-0002")
		wantWarning(m, m.do("write", "config/openai", "admin_key", second.Secret))
		m.wantText("config/openai", "admin_key_id", second.ID)
		m.wantAdmins(3)
		m.sweepFor(8 * time.Minute)
		m.wantAdmins(1)
		m.wantAdminWorks()
		// The operator's key, replaced by the operator, stays the operator's.
		third := m.fake.PlantAdminKey("third", "sk-admin-operators-third-key-0003")
		m.do("write", "config/openai", "admin_key", third.Secret)
		m.sweepFor(8 * time.Minute)
		if !m.fake.AdminAlive(second.Secret) {
			m.t.Error("an operator's key was deleted that no rotation has replaced")
		}
		m.do("write", "config/openai", "admin_key", second.Secret)
		m.wantText("config/openai", "admin_key_id", second.ID)
		m.wantAdminWorks()
	})
}

// TestKeyOfAnotherAccountForgetsNothing: a "not found" from the wrong account is
// not believed.
func TestKeyOfAnotherAccountForgetsNothing(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "rotate-root/openai")
		minted := m.storedConfig().AdminKey
		m.sweepFor(7 * time.Minute)
		other := fakeopenai.New(fakeopenai.WithClock(m.clock.now), fakeopenai.WithProject("proj_other"))
		mine := m.engine.baseTransport
		m.engine.baseTransport = other.RoundTripper()
		m.engine.closeConnections()
		m.do("write", "config/openai", "admin_key", other.AdminKey())
		m.sweepFor(3 * time.Hour)
		if len(m.adminRecords()) != 2 {
			m.t.Fatalf("the admin key of the other account was forgotten: %+v", m.adminRecords())
		}
		m.wantText("config/openai", "last_error", "another organization")

		m.engine.baseTransport = mine
		m.engine.closeConnections()
		back := m.fake.PlantAdminKey("back", "sk-admin-operators-other-key-0004")
		m.do("write", "config/openai", "admin_key", back.Secret)
		m.sweepFor(2 * time.Hour)
		if m.fake.AdminAlive(minted) || len(m.adminRecords()) != 1 {
			m.t.Errorf("with the right account, the minted key is not deleted: %+v", m.adminRecords())
		}
	})
}

func TestNewKeyThatIsTooWeakIsDeleted(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.fake.SetKnobs(fakeopenai.Knobs{WeakerAdminKeys: true})
		for range 3 {
			m.refused(502, []string{"the new admin key does not do", "forbidden"}, "write", "rotate-root/openai")
			m.wantAdmins(1)
			m.wantOperatorAlive(true)
		}
		m.wantText("config/openai", "last_error", "does not do")
		m.wantAdminWorks()
		m.fake.SetKnobs(fakeopenai.Knobs{})
		m.do("write", "rotate-root/openai")
		m.wantText("config/openai", "last_error", "")
		m.sweepFor(7 * time.Minute)
		m.wantAdmins(1)
	})
}

func TestNewKeyThatIsKnownLate(t *testing.T) {
	for _, test := range []struct {
		delay  time.Duration
		status int // of the rotation by hand
		works  bool
	}{
		{10 * time.Second, 200, true},
		{3 * time.Minute, 502, true},
		{time.Hour, 502, false},
	} {
		t.Run(test.delay.String(), func(t *testing.T) {
			bubble(t, func(m *testMount) {
				m.configure()
				m.fake.SetKnobs(fakeopenai.Knobs{AdminKeyDelay: test.delay})
				if status, text := outcome(m.try("write", "rotate-root/openai")); status != test.status {
					m.t.Fatalf("got status %d (%s), want %d", status, text, test.status)
				}
				if test.status != 200 { // asking again makes no second candidate
					m.refused(502, []string{"does not work yet", "each minute"}, "write", "rotate-root/openai")
				}
				m.wantAdminWorks()
				m.sweepFor(25 * time.Minute)
				m.wantAdmins(1)
				m.wantOperatorAlive(!test.works)
				if got := len(m.fake.AdminKeys()); got != 2 {
					m.t.Errorf("admin keys ever made: %d, want 2", got)
				}
				m.wantAdminWorks()
			})
		})
	}
}

// TestSlowProviderIsRotated: a trial is many calls, and none is hurried.
func TestSlowProviderIsRotated(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "config/openai", "rotation_period", "1h")
		m.fake.Inject(fakeopenai.Fault{Latency: time.Second})
		m.sweepFor(62 * time.Minute)
		m.wantAdmins(2)
		m.do("write", "rotate-root/openai")
		m.sweepFor(10 * time.Minute)
		m.wantAdmins(1)
	})
}

// TestDeletionOfTheOldKeyIsNeverForgotten is S12 of what other engines do wrong.
func TestDeletionOfTheOldKeyIsNeverForgotten(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteAdminKey, Status: 500})
		m.do("write", "rotate-root/openai")
		m.sweepFor(3 * time.Hour)
		m.wantOperatorAlive(true)
		m.wantText("config/openai", "last_error", m.fake.AdminKeys()[0].ID+" is still to be deleted")
		m.wantAdminWorks()
		m.fake.ClearFaults()
		m.sweepFor(65 * time.Minute)
		m.wantOperatorAlive(false)
		m.wantText("config/openai", "last_error", "")
	})
}

func TestAutomaticRotationByPeriod(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "config/openai", "rotation_period", "1h", "rotation_overlap", "10m")
		m.sweepFor(58 * time.Minute)
		m.wantOperatorAlive(true)
		m.wantAdmins(1)
		m.sweepFor(3 * time.Minute)
		m.wantAdmins(2)
		m.restart2()
		m.sweepFor(12 * time.Minute)
		m.wantAdmins(1)
		m.wantOperatorAlive(false)
		m.sweepFor(5 * time.Hour)
		if made := len(m.fake.AdminKeys()) - 1; made != 6 {
			m.t.Errorf("rotations in 6h 13m: %d, want 6", made)
		}
		// By hand, the next one counts from there.
		m.do("write", "rotate-root/openai")
		last, next := m.storedConfig().Rotation.Last, m.storedConfig().Rotation.Next
		if next.Sub(last) != time.Hour {
			m.t.Errorf("the next rotation is %s after the last", next.Sub(last))
		}
		m.do("write", "config/openai", "disable_automated_rotation", true)
		made := len(m.fake.AdminKeys())
		m.sweepFor(3 * time.Hour)
		if got := len(m.fake.AdminKeys()); got != made {
			m.t.Errorf("rotated %d times although it is disabled", got-made)
		}
		m.wantText("config/openai", "next_vault_rotation", "")
		m.do("write", "config/openai", "disable_automated_rotation", false) // overdue
		m.sweep()
		if got := len(m.fake.AdminKeys()) - made; got != 1 {
			m.t.Errorf("rotations after it was enabled: %d, want 1", got)
		}
		m.wantAdminWorks()
	})
}

func TestAutomaticRotationBySchedule(t *testing.T) {
	bubble(t, func(m *testMount) { // it is 2000-01-01 00:00 UTC, a Saturday
		m.configure()
		m.do("write", "config/openai", "rotation_schedule", "30 3 * * SAT", "rotation_window", "2h")
		m.wantText("config/openai", "next_vault_rotation", "2000-01-01T03:30:00Z")
		m.sweepFor(3*time.Hour + 28*time.Minute)
		m.wantAdmins(1)
		m.sweepFor(3 * time.Minute)
		m.wantAdmins(2)
		m.wantText("config/openai", "next_vault_rotation", "2000-01-08T03:30:00Z")

		// Vault was down for the whole of the next window.
		time.Sleep(time.Until(time.Date(2000, 1, 8, 6, 0, 0, 0, time.UTC)))
		m.restart()
		m.sweepFor(10 * time.Minute)
		if got := len(m.fake.AdminKeys()); got != 2 {
			m.t.Errorf("rotated outside of the window: %d admin keys", got)
		}
		m.wantText("config/openai", "next_vault_rotation", "2000-01-15T03:30:00Z")
		m.wantText("config/openai", "last_error", "the rotation_window was over")

		// It comes back within the window of the one after, and is late by an hour.
		time.Sleep(time.Until(time.Date(2000, 1, 15, 4, 30, 0, 0, time.UTC)))
		m.restart()
		m.sweep()
		if got := len(m.fake.AdminKeys()); got != 3 {
			m.t.Errorf("admin keys: %d, want one more", got)
		}
		m.wantText("config/openai", "last_error", "")

		// Without a window it is made however late, and once.
		m.do("write", "config/openai", "rotation_window", 0)
		time.Sleep(5 * 7 * 24 * time.Hour)
		m.restart()
		m.sweepFor(time.Hour)
		if got := len(m.fake.AdminKeys()); got != 4 {
			m.t.Errorf("admin keys: %d, want one more", got)
		}
		m.wantAdminWorks()
	})
}

func TestAutomaticRotationThatFailsIsTriedAgain(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "config/openai", "rotation_period", "24h")
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateAdminKey, Status: 403})
		m.sweepFor(24*time.Hour + 10*time.Minute)
		tried := m.fake.Count(fakeopenai.OpCreateAdminKey)
		if tried < 3 || tried > 5 {
			m.t.Errorf("tries in 10 minutes: %d, want about 4", tried)
		}
		m.sweepFor(24 * time.Hour)
		if tried = m.fake.Count(fakeopenai.OpCreateAdminKey); tried > 40 {
			m.t.Errorf("tries in a day: %d, want about one an hour", tried)
		}
		m.wantText("config/openai", "last_error", "forbidden")
		next, err := time.Parse(time.RFC3339Nano, m.text("config/openai", "next_vault_rotation"))
		if err != nil || time.Until(next) > time.Hour {
			m.t.Errorf("next try: %v, %v", next, err)
		}
		m.wantOperatorAlive(true)
		m.restart()
		m.fake.ClearFaults()
		m.sweepFor(70 * time.Minute)
		m.wantOperatorAlive(false)
		m.wantAdmins(1)
		m.wantText("config/openai", "last_error", "")
	})
}

func TestRotationManagerOfEnterprise(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		rotate := func(path string) error {
			req := m.request(logical.RotationOperation, path, nil)
			resp, err := m.b.HandleRequest(m.t.Context(), req)
			if err == nil && resp.IsError() {
				err = resp.Error()
			}
			return err
		}
		for _, path := range []string{"config/openai", "rotate-root/openai"} {
			if err := rotate(path); err != nil {
				m.t.Fatalf("%s: %v", path, err)
			}
		}
		if got := len(m.fake.AdminKeys()); got != 3 {
			m.t.Errorf("admin keys: %d, want 3", got)
		}
		for _, path := range []string{"roles/bot", "config/none", "config/a..b"} {
			if err := rotate(path); err == nil {
				m.t.Errorf("%s: rotated", path)
			}
		}
		m.wantAdminWorks()
	})
}

// TestConfigWriteDuringARotation is S14 of what other engines do wrong.
func TestConfigWriteDuringARotation(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateAdminKey, Times: 1, Latency: 10 * time.Second})
		done := make(chan error)
		go func() {
			_, err := m.try("write", "rotate-root/openai")
			done <- err
		}()
		time.Sleep(5 * time.Second)
		m.refused(409, nil, "write", "rotate-root/openai")
		m.do("write", "config/openai", "request_timeout", 17)
		if err := <-done; err != nil {
			m.t.Fatal(err)
		}
		m.wantFields("config/openai", map[string]any{"request_timeout": 17, "admin_key_id": m.fake.AdminKeys()[1].ID})
		m.sweepFor(7 * time.Minute)
		m.wantAdmins(1)
		m.wantAdminWorks()
	})
}

func TestConfigDeleteDuringARotation(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("delete", "roles/bot")
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateAdminKey, Times: 1, Latency: 10 * time.Second})
		done := make(chan error)
		go func() {
			_, err := m.try("write", "rotate-root/openai")
			done <- err
		}()
		time.Sleep(5 * time.Second)
		wantWarning(m, m.do("delete", "config/openai"))
		if err := <-done; err != nil {
			m.t.Fatal(err)
		}
		m.wantAdmins(0)
		m.sweepFor(10 * time.Minute)
		if m.do("read", "config/openai") != nil || len(m.adminRecords()) > 0 {
			m.t.Errorf("the connection or a record is back: %v", m.stored(""))
		}
	})
}

// TestRotationDoesNotEndWithItsCaller: what was begun is finished.
func TestRotationDoesNotEndWithItsCaller(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		ctx, cancel := context.WithCancel(m.t.Context())
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateAdminKey, Before: cancel})
		req := m.request(logical.UpdateOperation, "rotate-root/openai", nil)
		if _, err := m.b.HandleRequest(ctx, req); err != nil {
			m.t.Fatal(err)
		}
		m.sweepFor(7 * time.Minute)
		m.wantAdmins(1)
		m.wantOperatorAlive(false)
		m.wantAdminWorks()
	})
}

func TestStandbyDoesNotRotate(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "config/openai", "rotation_period", "10m")
		m.sys.set(func(v *logical.StaticSystemView) { v.ReplicationStateVal = consts.ReplicationPerformanceStandby })
		m.advance(time.Hour)
		m.sweep()
		m.wantAdmins(1)
		if status, _ := outcome(m.try("write", "rotate-root/openai")); status < 400 {
			m.t.Error("a standby rotated")
		}
		m.wantAdmins(1)
	})
}
