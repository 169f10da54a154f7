package backend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// testdata/storage/<version>/ is the storage of a mount as a release wrote it:
// one file for each entry, named as its key with ":" for "/". Every release adds
// a directory and changes none.

func goldenStorage(t *testing.T, dir string) *logical.InmemStorage {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s holds no storage: %v", dir, err)
	}
	storage := &logical.InmemStorage{}
	for _, file := range files {
		value, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		key := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".json"), ":", "/")
		if err := storage.Put(t.Context(), &logical.StorageEntry{Key: key, Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	return storage
}

// TestGoldenStorageLoads decodes every entry of every release, and sweeps it.
func TestGoldenStorageLoads(t *testing.T) {
	releases, err := filepath.Glob("testdata/storage/v*")
	if err != nil || len(releases) == 0 {
		t.Fatalf("no stored releases: %v", err)
	}
	for _, dir := range releases {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			storage := goldenStorage(t, dir)
			bubble(t, func(m *testMount) {
				m.storage.Storage = storage
				m.restart()
				for _, key := range m.stored("") {
					decodeGolden(m, key)
				}
				m.wantFields("roles/team/bot", map[string]any{"config_name": "openai", "ttl": 1800, "project_id": "proj_demo", "scopes": []any{"api.model.request"}})
				m.wantFields("config/openai", map[string]any{"provider": "openai", "expiry_grace": 600, "live_keys": 3 + len(m.staticRecords())})
				// All of it is due in the bubble's future; the keys are unknown to the
				// simulator, which is success, but for the admin key: it is not its own.
				m.do("write", "config/openai", "admin_key", m.fake.AdminKey())
				time.Sleep(time.Until(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)))
				m.sweep()
				m.wantRecords(0)
				m.checkGoldenStatic()
				if left := append(m.stored(indexPrefix+entityFact), m.stored(orderPrefix)...); len(left) > 0 {
					m.t.Errorf("left in storage: %v", left)
				}
			})
		})
	}
}

// checkGoldenStatic asserts what becomes of the static roles of a release that has
// them: the simulator does not know their keys, so one gets another, and one that was
// being deleted is gone.
func (m *testMount) checkGoldenStatic() {
	m.t.Helper()
	if len(m.stored(staticPrefix)) == 0 {
		return
	}
	m.sweepFor(10 * time.Minute)
	if got := m.stored(staticPrefix); len(got) != 1 || got[0] != "static/ops/app" {
		m.t.Fatalf("static roles: %v", got)
	}
	m.wantAlive(fmt.Sprint(m.do("read", "static-creds/ops/app").Data["api_key"]), true)
	m.sweepFor(time.Hour)
	if got := m.staticRecords(); len(got) != 1 {
		m.t.Errorf("records of static keys: %+v\n%s", got, m.log)
	}
}

// decodeGolden fails on an entry with a field that today's layout has not.
func decodeGolden(m *testMount, key string) {
	entry, err := m.storage.Get(m.t.Context(), key)
	if err != nil {
		m.t.Fatal(err)
	}
	var into any
	switch dir, _, _ := strings.Cut(key, "/"); dir + "/" {
	case configPrefix:
		into = &configEntry{}
	case rolePrefix:
		into = &roleEntry{}
	case staticPrefix:
		into = &staticEntry{}
	case ledgerPrefix:
		into = &record{}
	case principalPrefix:
		into = &principalEntry{}
	case duePrefix:
		into = &dueEntry{}
	case indexPrefix:
		into = &indexEntry{}
	case suspendPrefix:
		into = &suspension{}
	case orderPrefix:
		into = &killOrder{}
	case poolPrefix:
		into = &poolEntry{}
	case pastPrefix:
		into = &pastKey{}
	case tidyPrefix:
		into = &tidyEntry{}
	case mountKey + "/":
		into = &mountEntry{}
	default:
		m.t.Fatalf("%s: no kind of entry is stored there", key)
	}
	decoder := json.NewDecoder(bytes.NewReader(entry.Value))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		m.t.Errorf("%s: %v", key, err)
	}
}

// TestGoldenStorageIsWhatWeWrite keeps the newest golden storage in step with
// what is written today: the same kinds of entries with the same fields.
func TestGoldenStorageIsWhatWeWrite(t *testing.T) {
	golden := fieldsByKind(t, goldenStorage(t, "testdata/storage/v0.3"))
	bubble(t, func(m *testMount) {
		m.knowEntity()
		m.configure()
		m.do("create", "roles/team/bot", "config_name", "openai", "project_id", "proj_demo",
			"scopes", "api.model.request", "metadata", "owner=ada", "name_template", "x", "max_active_keys", 5, "require_entity", true)
		m.do("write", "config/openai", "organization_id", "org-1", "allowed_projects", "proj_demo", "rotation_period", "24h", "admin_key_ttl", "72h")
		m.lease("creds/team/bot")
		m.do("write", "rotate-root/openai")
		m.fake.SetKnobs(fakeopenai.Knobs{AdminKeyDelay: time.Hour})
		m.refused(502, nil, "write", "rotate-root/openai") // leaves a candidate
		planted := m.fake.PlantKey("proj_demo", "ada's")
		m.do("create", "static-roles/team/app", "config_name", "openai", "project_id", "proj_demo", "scopes", "api.model.request",
			"metadata", "owner=ada", "name_template", "x", "require_entity", true, "rotation_schedule", "0 10 * * *", "rotation_window", "1h",
			"overlap", "1h", "api_key", planted.Secret, "key_id", planted.ID)
		m.do("write", "rotate-role/team/app")
		m.fake.SetKnobs(fakeopenai.Knobs{DataPlaneDelay: time.Hour})
		m.refused(502, nil, "write", "rotate-role/team/app") // leaves a candidate
		m.do("create", "static-roles/team/killed", "config_name", "openai", "project_id", "proj_demo", "rotation_period", "48h", "verify", false)
		m.do("write", "revoke", "role", "team/killed")
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Status: 403})
		m.sweep() // it is vacant now
		m.fake.ClearFaults()
		m.do("write", "suspend/team/bot", "reason", "leaked in CI")
		m.plantOrphan("proj_demo")
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpListAdminKeys, Status: 403})
		m.do("write", "tidy/openai")
		m.connect(anthropicShape)
		m.lease("creds/anthropic")
		m.connect(poolShape)
		m.goldenPool()
		written := fieldsByKind(m.t, m.storage.Storage)
		for kind, fields := range written {
			for field := range fields {
				if !golden[kind][field] {
					m.t.Errorf("%s: field %q is written and not in the golden storage; add a release's directory", kind, field)
				}
			}
		}
	})
}

// goldenPool brings the keys of a pool into all states.
func (m *testMount) goldenPool() {
	m.t.Helper()
	s := m.sim(poolShape)
	l := m.lease("creds/anthropic-pool")
	m.do("write", "revoke", "api_key", l.key())
	m.do("delete", "pool/anthropic-pool/"+fmt.Sprint(l.data["key_id"]))
	m.lease("creds/anthropic-pool")
	s.Inject(fake.Fault{Op: fakeanthropic.OpActivateKey, Status: 404})
	m.refused(502, nil, "read", "creds/anthropic-pool")
	s.ClearFaults()
}

func fieldsByKind(t *testing.T, s logical.Storage) map[string]map[string]bool {
	t.Helper()
	kinds := map[string]map[string]bool{}
	err := walk(t.Context(), s, "", func(key string) error {
		entry, err := s.Get(t.Context(), key)
		if err != nil {
			return err
		}
		var value map[string]any
		if err := json.Unmarshal(entry.Value, &value); err != nil {
			return err
		}
		kind, _, _ := strings.Cut(key, "/")
		if kinds[kind] == nil {
			kinds[kind] = map[string]bool{}
		}
		for field := range value {
			kinds[kind][field] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return kinds
}
