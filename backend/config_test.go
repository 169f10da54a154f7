package backend

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// TestStoredKeyStaysOnItsWay: who may write a connection cannot make its admin key
// travel anywhere new.
func TestStoredKeyStaysOnItsWay(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		cert := selfSigned(m.t)
		way := []string{"admin_key:", "never sent to a new host"}
		for _, pairs := range [][]any{
			{"base_url", "https://gateway.example.com/v1"},
			{"base_url", "http://127.0.0.1:1/v1"},
			{"base_url", "http://gateway.example.com/v1", "allow_http", true},
			{"base_url", "https://gateway.example.com/v1", "verify", false},
			{"base_url", "https://gateway.example.com/v1", "admin_key", nil, "provider", "openai"},
			{"ca_cert", cert, "verify", false},
		} {
			m.refused(400, nil, "write", "config/openai", pairs...)
		}
		m.refused(400, way, "write", "config/openai", "base_url", "https://gateway.example.com/v1")
		m.refused(400, way, "write", "config/openai", "ca_cert", cert)
		m.refused(400, []string{"base_url", "allow_http=true"}, "write", "config/openai", "base_url", "http://gateway.example.com/v1", "admin_key", m.fake.AdminKey())
		m.wantFields("config/openai", map[string]any{"base_url": "", "ca_cert": "", "allow_http": false})

		// With the key in use, both may change; and with a new one.
		m.do("write", "config/openai", "ca_cert", cert, "admin_key", m.fake.AdminKey())
		m.do("write", "config/openai", "base_url", "https://gateway.example.com/v1", "admin_key", m.fake.AdminKey())
		m.do("write", "rotate-root/openai")
		// Nobody has the key in use any more, and the replaced one is no proof.
		for _, key := range []any{m.fake.AdminKey()} {
			m.refused(400, []string{"was replaced by a rotation"}, "write", "config/openai", "base_url", "https://other.example.com/v1", "admin_key", key)
			m.refused(400, []string{"was replaced by a rotation"}, "write", "config/openai", "ca_cert", "", "admin_key", key)
		}
		fresh := m.fake.PlantAdminKey("fresh", "sk-admin-operators-fresh-key-0005")
		m.do("write", "config/openai", "base_url", "https://other.example.com/v1", "admin_key", fresh.Secret)
		m.sweepFor(7 * time.Minute)
		m.wantAdminWorks()
	})
}

func TestProviderIsImmutableWhileKeysLive(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "rotate-root/openai")
		move := func() error {
			w, err := m.engine.newConfigWrite(m.t.Context(), m.storage, "openai", &framework.FieldData{})
			if err != nil {
				m.t.Fatal(err)
			}
			return w.mayChangeProvider(m.t.Context())
		}
		if move() == nil {
			m.t.Error("the provider may change while an admin key that only it can delete lives")
		}
		fresh := m.fake.PlantAdminKey("fresh", "sk-admin-operators-fresh-key-0005")
		m.do("write", "config/openai", "admin_key", fresh.Secret)
		if move() == nil {
			m.t.Error("the provider may change while a replaced admin key lives")
		}
		m.sweepFor(7 * time.Minute)
		if err := move(); err != nil {
			m.t.Errorf("with an operator's key alone: %v", err)
		}
		m.lease("creds/bot")
		if move() == nil {
			m.t.Error("the provider may change while a lease lives")
		}
	})
}

func TestRotationFieldsAreChecked(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		for _, test := range []struct {
			pairs []any
			text  []string
		}{
			{[]any{"rotation_period", "59s"}, []string{"rotation_period:", "minimum"}},
			{[]any{"rotation_period", "2h", "rotation_schedule", "0 3 * * *"}, []string{"rotation_schedule:", "rotation_period=0"}},
			{[]any{"rotation_schedule", "every day"}, []string{"rotation_schedule:", "0 3 * * SAT"}},
			{[]any{"rotation_schedule", "0 0 3 * * *"}, []string{"rotation_schedule:"}},
			{[]any{"rotation_schedule", "CRON_TZ=Asia/Tokyo 0 3 * * *"}, []string{"rotation_schedule:", "time zone", "UTC"}},
			{[]any{"rotation_schedule", "0 0 30 2 *"}, []string{"rotation_schedule:", "never comes"}},
			{[]any{"rotation_window", "2h"}, []string{"rotation_window:", "rotation_window=0"}},
			{[]any{"rotation_window", "2h", "rotation_period", "4h"}, []string{"rotation_window:"}},
			{[]any{"rotation_schedule", "0 3 * * *", "rotation_window", "59m"}, []string{"rotation_window:", "1h0m0s"}},
			{[]any{"rotation_period", "5m"}, []string{"rotation_overlap:", "shorter"}},
			{[]any{"rotation_schedule", "* * * * *"}, []string{"rotation_overlap:", "1m0s"}},
			{[]any{"rotation_overlap", "169h"}, []string{"rotation_overlap:", "maximum"}},
			{[]any{"admin_key_ttl", "72h"}, []string{"admin_key_ttl:", "needs automated rotation"}},
			{[]any{"admin_key_ttl", "72h", "rotation_period", "24h", "disable_automated_rotation", true}, []string{"admin_key_ttl:", "needs automated rotation"}},
			{[]any{"admin_key_ttl", "71h", "rotation_period", "24h"}, []string{"admin_key_ttl:", "72h0m0s or more"}},
			{[]any{"admin_key_ttl", "20h", "rotation_schedule", "0 1,9 * * *"}, []string{"admin_key_ttl:", "48h0m0s or more"}},
			{[]any{"force", true}, []string{"force:", "delete"}},
		} {
			m.refused(400, test.text, "write", "config/openai", test.pairs...)
		}
		// A part is checked against what is stored.
		m.do("write", "config/openai", "rotation_schedule", "0 3 * * SAT", "rotation_window", "1h")
		m.refused(400, []string{"rotation_period=0"}, "write", "config/openai", "rotation_period", "24h")
		m.refused(400, []string{"rotation_window:"}, "write", "config/openai", "rotation_schedule", "")
		m.do("write", "config/openai", "rotation_schedule", "", "rotation_window", 0, "rotation_period", "24h", "admin_key_ttl", "72h")
		m.refused(400, []string{"admin_key_ttl:"}, "write", "config/openai", "rotation_period", 0)
		m.wantFields("config/openai", map[string]any{"rotation_period": 86400, "rotation_schedule": "", "rotation_window": 0, "admin_key_ttl": 259200})
	})
}

func TestAdminKeysThatExpire(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "config/openai", "rotation_period", "24h", "admin_key_ttl", "72h")
		m.wantText("config/openai", "admin_key_expires_at", "")
		m.do("write", "rotate-root/openai")
		m.wantText("config/openai", "admin_key_expires_at", "2000-01-04T")
		m.sweepFor(10*24*time.Hour + 10*time.Minute) // each rotation brings a new end
		m.wantAdmins(1)
		m.wantAdminWorks()
		if made := len(m.fake.AdminKeys()); made != 12 {
			m.t.Errorf("admin keys ever made: %d, want 12", made)
		}
		wantWarning(m, m.do("write", "config/openai", "admin_key_ttl", 0, "rotation_period", 0), "expires at", "rotate-root/openai")
		wantWarning(m, m.do("write", "rotate-root/openai"))
		m.wantText("config/openai", "admin_key_expires_at", "")
	})
}

// TestProviderThatEndsAdminKeys: an expiry that nobody asked for is rotated before.
func TestProviderThatEndsAdminKeys(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.SetKnobs(fakeopenai.Knobs{AdminKeyMaxExpiry: 9 * 24 * time.Hour})
		wantWarning(m, m.do("write", "rotate-root/openai"), "ends the new admin key at 2000-01-10", "rotation_period")
		m.do("write", "config/openai", "rotation_schedule", "0 0 1 * *", "rotation_window", "1h")
		m.wantText("config/openai", "next_vault_rotation", "2000-01-07T00:00:00Z")
		m.sweepFor(60*24*time.Hour + time.Hour)
		m.wantAdmins(1)
		m.wantAdminWorks()
	})
}

func TestDeleteConnectionDeletesWhatRotationsMade(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "rotate-root/openai")
		m.do("write", "rotate-root/openai")
		m.do("delete", "roles/bot")
		m.sweepFor(3 * time.Minute) // its service account, if any
		wantWarning(m, m.do("delete", "config/openai"))
		m.wantAdmins(0)
		if left := m.stored(""); len(left) != 1 && !strings.HasPrefix(strings.Join(left, " "), duePrefix) {
			m.t.Errorf("still stored: %v", left)
		}
		if left := m.adminRecords(); len(left) > 0 {
			m.t.Errorf("records of admin keys: %+v", left)
		}
	})
}

func TestDeleteConnectionKeepsTheOperatorsKey(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("delete", "roles/bot")
		wantWarning(m, m.do("delete", "config/openai"))
		m.wantOperatorAlive(true)
		if left := m.adminRecords(); len(left) > 0 {
			m.t.Errorf("records of admin keys: %+v", left)
		}
	})
}

func TestDeleteConnectionWhoseKeyCannotDeleteItself(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "rotate-root/openai")
		m.do("delete", "roles/bot")
		m.fake.SetKnobs(fakeopenai.Knobs{AdminSelfDeleteForbidden: true})
		minted := m.fake.AdminKeys()[1]
		wantWarning(m, m.do("delete", "config/openai"), minted.ID, "made by a rotation and could not be deleted", "delete it at the provider")
		m.wantOperatorAlive(false) // it was replaced, and is deleted first
		m.sweepFor(3 * time.Hour)
		// The ledger still knows it, and a connection of the same name deletes it.
		fresh := m.fake.PlantAdminKey("fresh", "sk-admin-operators-fresh-key-0005")
		m.do("create", "config/openai", "provider", "openai", "admin_key", fresh.Secret)
		m.sweepFor(2 * time.Hour)
		if m.fake.AdminAlive(minted.Secret) {
			m.t.Errorf("the abandoned key still lives\n%s", m.log)
		}
		m.wantAdmins(1)
	})
}

func TestDeleteConnectionWhileTheProviderIsDown(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "rotate-root/openai")
		m.do("delete", "roles/bot")
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteAdminKey, Status: 503})
		m.refused(502, []string{"force=true"}, "delete", "config/openai")
		m.refused(400, []string{"verify:"}, "delete", "config/openai", "verify", false)
		m.wantFields("config/openai", map[string]any{"provider": "openai"})
		wantWarning(m, m.do("delete", "config/openai", "force", true), "abandoned: an admin key", "could not be deleted")
		if m.do("read", "config/openai") != nil {
			m.t.Error("the connection is still there")
		}
	})
}

func TestDeleteConnectionByForce(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot", "ttl", "30m")
		m.refused(400, []string{"live keys (1)", "revoke"}, "delete", "config/openai")
		resp := m.do("delete", "config/openai", "force", true)
		wantWarning(m, resp, `role "bot": 1`, "lease revoke -force", "roles that use the connection: bot", "abandoned: service accounts")
		m.wantOperatorAlive(true)
		m.refused(400, []string{"config/openai"}, "read", "creds/bot")
		if err := l.tryRevoke(); err == nil {
			m.t.Error("a revoke that did nothing was a success")
		}
		m.wantAlive(l.key(), true)

		// A connection of the same name and account finds it all again.
		m.do("create", "config/openai", "provider", "openai", "admin_key", m.fake.AdminKey())
		l.revoke()
		m.wantAlive(l.key(), false)
		m.wantRecords(0)
		m.lease("creds/bot").revoke()
	})
}

// TestAbandonedKeysAreForgottenWhenTheyExpire, so that the mount can be disabled.
func TestAbandonedKeysAreForgottenWhenTheyExpire(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot", "ttl", "10m")
		m.do("delete", "config/openai", "force", true)
		m.sweepFor(15 * time.Minute)
		m.wantRecords(1)
		m.sweepFor(2 * time.Hour)
		m.wantAlive(l.key(), false)
		m.wantRecords(0)
		l.revoke()
	})
}

func TestDisableKeepsTheAdminKeyInUse(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "rotate-root/openai")
		m.fake.SetKnobs(fakeopenai.Knobs{AdminKeyDelay: time.Hour})
		m.refused(502, nil, "write", "rotate-root/openai") // leaves a candidate
		m.fake.SetKnobs(fakeopenai.Knobs{})
		m.wantAdmins(2) // the candidate is not accepted yet
		m.sys.taint(true)
		m.sweep()
		m.wantAdmins(1)
		if got := m.adminRecords(); len(got) != 1 {
			m.t.Errorf("records of admin keys: %+v", got)
		}
		if !strings.Contains(m.log.String(), "stays valid: delete it at the provider") {
			m.t.Error("the log does not say that the admin key stays")
		}
		m.sys.taint(false) // it was a move
		m.sweepFor(10 * time.Minute)
		m.wantAdminWorks()
		for _, a := range m.fake.AdminKeys() {
			if !a.Deleted && a.ID != m.storedConfig().AdminKeyID {
				m.t.Errorf("admin key %s was not deleted", a.Name)
			}
		}
	})
}

func TestStorageOfBeforeRotationRotates(t *testing.T) {
	both(t, func(m *testMount) {
		m.storage.Storage = goldenStorage(m.t, "testdata/storage/v0.1")
		m.restart2()
		m.wantFields("config/openai", map[string]any{"rotation_overlap": 300, "rotation_period": 0, "last_vault_rotation": ""})
		m.do("write", "config/openai", "admin_key", m.fake.AdminKey(), "admin_key_id", "")
		e := m.storedConfig()
		e.AdminRecord = "" // as it was stored
		for _, rec := range m.adminRecords() {
			if err := m.engine.ledger(m.storage).drop(m.t.Context(), rec); err != nil {
				m.t.Fatal(err)
			}
		}
		if err := m.engine.putConfig(m.t.Context(), m.storage, "openai", e); err != nil {
			m.t.Fatal(err)
		}
		m.do("write", "rotate-root/openai")
		m.sweepFor(7 * time.Minute)
		m.wantOperatorAlive(false)
		m.wantAdmins(1)
	})
}

// Terraform destroys a role and its connection within a second, and cannot force it.
func TestDeleteConnectionRightAfterItsRoles(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("create", "roles/team/bot", "config_name", "openai", "project_id", "proj_demo")
		m.lease("creds/bot").revoke()
		m.lease("creds/team/bot").revoke()
		m.do("delete", "roles/bot")
		m.do("delete", "roles/team/bot")
		m.fake.Inject(fake.Fault{Op: fakeopenai.OpDeleteServiceAccount, Status: http.StatusServiceUnavailable})
		m.refused(http.StatusBadRequest, []string{"service accounts of deleted roles (2)", "try again in a minute", "unavailable"}, "delete", "config/openai")
		m.fake.ClearFaults()
		accounts := m.stored(principalPrefix)
		m.storage.spoilOp("get "+accounts[0], failBefore)
		m.refused(http.StatusInternalServerError, nil, "delete", "config/openai")
		m.storage.heal()
		m.do("delete", "config/openai")
		if left := m.fake.ServiceAccounts("proj_demo"); len(left) > 0 {
			m.t.Errorf("service accounts are left: %v", left)
		}
		if left := m.stored(principalPrefix); len(left) > 0 {
			m.t.Errorf("still stored: %v", left)
		}
	})
}

// A key from a file ends in a newline, as editors write it.
func TestNewlineAtTheEndOfAKey(t *testing.T) {
	both(t, func(m *testMount) {
		m.do("create", "config/openai", "provider", "openai", "admin_key", m.fake.AdminKey()+"\n")
		m.do("create", "roles/bot", "config_name", "openai", "project_id", "proj_demo")
		l := m.lease("creds/bot")
		m.do("write", "config/openai", "admin_key", m.fake.AdminKey()+"\r\n")
		m.do("write", "lookup", "api_key", l.key()+"\n")
		m.refused(400, []string{"admin_key", "line break"}, "write", "config/openai", "admin_key", m.fake.AdminKey()+"\n\n")
	})
}
