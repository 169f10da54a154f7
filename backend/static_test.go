package backend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// static creates the connection and a static role "app", rotated daily with an
// overlap of an hour unless pairs say otherwise.
func (m *testMount) static(pairs ...any) {
	m.t.Helper()
	m.configure()
	m.do("create", "static-roles/app", staticFields(pairs...)...)
}

func staticFields(pairs ...any) []any {
	fields := []any{"config_name", "openai", "project_id", "proj_demo", "overlap", "1h"}
	if !slices.Contains(pairs, any("rotation_schedule")) {
		fields = append(fields, "rotation_period", "24h")
	}
	return append(fields, pairs...)
}

// staticKey reads the key of the role "app".
func (m *testMount) staticKey() string {
	m.t.Helper()
	return fmt.Sprint(m.do("read", "static-creds/app").Data["api_key"])
}

func (m *testMount) staticRecords() []record { return m.recordsOf(static) }

// callWith uses a key as an application does, and returns the status.
func (m *testMount) callWith(key string) int {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, "https://api.openai.com/v1/models", nil)
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := m.fake.RoundTripper().RoundTrip(req)
	if err != nil {
		m.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// ownClock gives the engine a clock of its own, which can be moved ahead of the
// provider's, or behind it.
func (m *testMount) ownClock() *testClock {
	clock := &testClock{}
	m.engine.now = clock.now
	m.engine.baseTransport = dated{m.transport(), time.Now}
	return clock
}

func TestStaticRole(t *testing.T) {
	both(t, func(m *testMount) {
		m.static()
		first := m.staticKey()
		m.wantAlive(first, true)
		m.sweepFor(24*time.Hour - time.Minute)
		if m.staticKey() != first {
			m.t.Fatal("the key changed before it was due")
		}
		m.sweepFor(3 * time.Minute)
		second := m.staticKey()
		if second == first {
			m.t.Fatalf("the key was not rotated\n%s", m.log)
		}
		m.wantAlive(first, true)
		m.wantAlive(second, true)
		m.sweepFor(time.Hour + 2*time.Minute)
		m.wantAlive(first, false)
		m.wantAlive(second, true)
		m.do("delete", "static-roles/app")
		m.wantAlive(second, true)
		m.refused(204, nil, "read", "static-roles/app")
		m.refused(204, nil, "read", "static-creds/app")
		m.sweepFor(time.Hour + 2*time.Minute)
		m.wantAlive(second, false)
		m.sweepFor(15 * time.Minute)
		if left := m.stored(duePrefix); len(left) > 1 {
			m.t.Errorf("left: %v", left)
		}
		if left := m.staticRecords(); len(left) > 0 {
			m.t.Errorf("left: %v", left)
		}
		if strings.Contains(m.log.String(), "bug") {
			m.t.Errorf("log: %s", m.log)
		}
	})
}

func TestStaticRoleReadsBack(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		for name, fields := range map[string]map[string]any{
			"by/period": {
				"config_name": "openai", "project_id": "proj_demo", "scopes": []any{"api.model.request"}, "name_template": "x",
				"require_entity": true, "metadata": map[string]any{"owner": "ada"}, "rotation_period": 7200, "overlap": 600, "verify": false,
			},
			"by/schedule": {
				"config_name": "openai", "project_id": "proj_demo", "rotation_schedule": "0 3 * * SAT", "rotation_window": 7200, "overlap": 0, "verify": true,
			},
		} {
			m.do("create", "static-roles/"+name, pairsOf(fields)...)
			m.wantFields("static-roles/"+name, fields)
			m.do("write", "static-roles/"+name, pairsOf(fields)...) // as Terraform does
			m.wantFields("static-roles/"+name, fields)
		}
		m.do("write", "static-roles/by/period", "overlap", 300)
		m.wantFields("static-roles/by/period", map[string]any{"overlap": 300, "rotation_period": 7200, "name_template": "x"})
		for _, path := range []string{"static-roles/by/", "static-creds/by/"} {
			if got := m.do("list", path).Data["keys"]; fmt.Sprint(got) != "[period schedule]" {
				m.t.Errorf("list %s: %v", path, got)
			}
		}
		if got := len(m.staticRecords()); got != 2 {
			m.t.Errorf("writes have minted: %d keys", got)
		}
	})
}

func TestStaticRoleRefusals(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		base := map[string]any{"config_name": "openai", "project_id": "proj_demo", "rotation_period": "24h", "overlap": "1h"}
		for _, c := range []struct {
			change map[string]any
			text   []string
		}{
			{map[string]any{"rotation_period": nil}, []string{"rotation_period", "both missing"}},
			{map[string]any{"rotation_schedule": "0 3 * * *"}, []string{"rotation_schedule", "both set"}},
			{map[string]any{"rotation_period": "30s"}, []string{"rotation_period", "1m"}},
			{map[string]any{"rotation_window": "2h"}, []string{"rotation_window", "only for a rotation_schedule"}},
			{map[string]any{"rotation_period": nil, "rotation_schedule": "0 3 * * *", "rotation_window": "5m"}, []string{"rotation_window", "1h"}},
			{map[string]any{"rotation_period": nil, "rotation_schedule": "x"}, []string{"rotation_schedule", "five fields"}},
			{map[string]any{"overlap": "24h"}, []string{"overlap: ", "not shorter"}},
			{map[string]any{"rotation_period": "364d", "overlap": "1d"}, []string{"rotation_period", "8760h", "rotate more often"}},
			{map[string]any{"config_name": "other"}, []string{"config_name", "does not exist"}},
			{map[string]any{"config_name": ""}, []string{"config_name", "missing"}},
			{map[string]any{"project_id": "proj_none"}, []string{"project_id"}},
			{map[string]any{"ttl": "1h"}, []string{`unknown field "ttl"`}},
			{map[string]any{"api_key": "sk-x"}, []string{"key_id", "missing beside api_key"}},
			{map[string]any{"key_id": "key_1"}, []string{"api_key", "missing beside key_id"}},
			{map[string]any{"rotation_perod": "1h"}, []string{`did you mean "rotation_period"`}},
		} {
			fields := maps.Clone(base)
			for name, value := range c.change {
				if fields[name] = value; value == nil {
					delete(fields, name)
				}
			}
			m.refused(400, c.text, "create", "static-roles/new", pairsOf(fields)...)
			m.refused(204, nil, "read", "static-roles/new")
		}
		m.refused(400, []string{"name", "is a static role"}, "create", "roles/app", "config_name", "openai", "project_id", "proj_demo")
		m.refused(400, []string{"name", "is a role"}, "create", "static-roles/bot", staticFields()...)
		m.refused(400, []string{"overlap", "above the role's own overlap"}, "write", "rotate-role/app", "overlap", "2h")
		m.refused(404, []string{"does not exist"}, "write", "rotate-role/none")
		m.refused(404, []string{"does not exist"}, "write", "rotate-role/bot")
		m.refused(400, []string{"is not for delete"}, "delete", "static-roles/app", "verify", false)
		m.refused(400, []string{"overlap"}, "delete", "static-roles/app", "overlap", "2h")
		m.refused(400, []string{"live keys", "static roles"}, "delete", "config/openai")
		m.refused(400, []string{"api_key", "only for a new static role"}, "write", "static-roles/app", "api_key", "sk-x", "key_id", "key_1")
		m.do("delete", "static-roles/none")
		m.do("write", "config/openai", "allowed_roles", "bot")
		m.refused(400, []string{"does not allow role"}, "write", "rotate-role/app")
		m.wantAlive(m.staticKey(), true)
		m.wantLive(1)
	})
}

// TestStaticCreds holds the contract with the clients: types, what is stable, and
// when to ask again.
func TestStaticCreds(t *testing.T) {
	both(t, func(m *testMount) {
		m.static("rotation_schedule", "0 3 * * *")
		m.do("create", "static-roles/period", staticFields()...)
		for _, name := range []string{"app", "period"} {
			resp := m.do("read", "static-creds/"+name)
			if resp.Secret != nil || len(resp.Warnings) > 0 {
				m.t.Errorf("a lease %v or warnings %v", resp.Secret, resp.Warnings)
			}
			raw, err := json.Marshal(resp.Data)
			if err != nil {
				m.t.Fatal(err)
			}
			decoder := json.NewDecoder(bytes.NewReader(raw))
			decoder.UseNumber()
			data := map[string]any{}
			if err := decoder.Decode(&data); err != nil {
				m.t.Fatal(err)
			}
			want := []string{"api_key", "key_id", "last_vault_rotation", "name", "project_id", "provider", "rotation_period", "ttl"}
			if name == "app" {
				want = append(want, "rotation_schedule")
				slices.Sort(want)
			}
			if got := slices.Sorted(maps.Keys(data)); !slices.Equal(got, want) {
				m.t.Errorf("%s: fields %v, want %v", name, got, want)
			}
			for field, value := range data {
				number, isNumber := value.(json.Number)
				if whole := field == "ttl" || field == "rotation_period"; whole != isNumber {
					m.t.Errorf("%s is %#v", field, value)
				}
				if n, err := number.Int64(); isNumber && (err != nil || n < 1 || n > 24*3600) {
					m.t.Errorf("%s is %s", field, number)
				}
			}
			if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(data["last_vault_rotation"])); err != nil {
				m.t.Error(err)
			}
		}
	})
}

// stable is an answer without ttl, and the ttl.
func (m *testMount) stable(path string) (string, int64) {
	m.t.Helper()
	data := m.do("read", path).Data
	var ttl int64
	switch n := data["ttl"].(type) {
	case int64:
		ttl = n
	case json.Number:
		ttl, _ = n.Int64()
	case float64:
		ttl = int64(n)
	default:
		m.t.Fatalf("ttl is %#v", n)
	}
	delete(data, "ttl")
	raw, err := json.Marshal(data)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(raw), ttl
}

// TestStaticCredsAreStable reads as clients do, over a rotation that fails for a
// while, a restart and a skipped window.
func TestStaticCredsAreStable(t *testing.T) {
	for _, schedule := range [][]any{{"rotation_period", "1h"}, {"rotation_schedule", "30 * * * *", "rotation_window", "1h"}} {
		t.Run(fmt.Sprint(schedule[0]), func(t *testing.T) {
			bubble(t, func(m *testMount) {
				m.static(append(schedule, "overlap", "10m")...)
				last, lastTTL, changes := "", int64(0), 0
				for minute := range 6 * 60 {
					switch minute {
					case 90:
						m.restart()
					case 150:
						m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Status: 503})
					case 160:
						m.fake.ClearFaults()
					}
					got, ttl := m.stable("static-creds/app")
					next, err := time.Parse(time.RFC3339Nano, m.text("static-roles/app", "next_vault_rotation"))
					if err != nil {
						m.t.Fatal(err)
					}
					left := time.Until(next)
					failing := fmt.Sprint(m.do("read", "static-roles/app").Data["failed_attempts"]) != "0"
					switch {
					case got != last:
						changes++
					case ttl > lastTTL && !failing && left > 0:
						m.t.Fatalf("minute %d: ttl grew from %d to %d without a rotation", minute, lastTTL, ttl)
					}
					if ttl < 1 || ttl > 3600 || (failing || left <= 0) && ttl < 5 {
						m.t.Fatalf("minute %d: ttl is %d, failing %v", minute, ttl, failing)
					}
					if !failing && left > time.Second && (float64(ttl) < left.Seconds() || float64(ttl) > left.Seconds()+1) {
						m.t.Fatalf("minute %d: ttl is %d, and the rotation is in %s", minute, ttl, left)
					}
					last, lastTTL = got, ttl
					m.sweepFor(time.Minute)
				}
				if changes < 6 || changes > 7 {
					m.t.Errorf("the answer changed %d times in 6 hours, want 6 or 7", changes)
				}
			})
		})
	}
}

func TestStaticScheduleWithWindow(t *testing.T) {
	bubble(t, func(m *testMount) { // a bubble begins on Saturday, 1 January 2000, at midnight
		m.static("rotation_schedule", "0 3 * * *", "rotation_window", "1h")
		m.wantText("static-roles/app", "next_vault_rotation", "2000-01-01T03:00:00Z")
		first := m.staticKey()
		m.restart()
		m.wantText("static-roles/app", "next_vault_rotation", "2000-01-01T03:00:00Z")
		m.sweepFor(3*time.Hour + time.Minute)
		second := m.staticKey()
		if first == second {
			m.t.Fatal("it was not rotated at its time")
		}
		m.wantText("static-roles/app", "next_vault_rotation", "2000-01-02T03:00:00Z")
		before, _ := m.stable("static-creds/app")
		m.advance(25 * time.Hour) // Vault is sealed, past the window
		if _, ttl := m.stable("static-creds/app"); ttl != 5 {
			m.t.Errorf("ttl is %d while the rotation is overdue, want 5", ttl)
		}
		m.sweepFor(2 * time.Hour)
		if got, _ := m.stable("static-creds/app"); got != before {
			m.t.Fatalf("the answer changed outside of the window:\n%s\n%s", before, got)
		}
		m.wantText("static-roles/app", "next_vault_rotation", "2000-01-03T03:00:00Z")
		m.wantText("static-roles/app", "last_error", "rotation_window")
		m.sweepFor(24 * time.Hour)
		if m.staticKey() == second {
			m.t.Fatal("it was not rotated at the next time")
		}
		m.wantText("static-roles/app", "last_error", "")
	})
}

// TestProviderDownOverSeveralRotations: the old key stays, and one rotation follows.
func TestProviderDownOverSeveralRotations(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static("rotation_period", "1h", "overlap", "10m", "metadata", "owner=ada")
		first := m.staticKey()
		m.sweepFor(30 * time.Minute)
		m.fake.Inject(fakeopenai.Fault{Status: 503})
		for range 7 * 60 {
			m.sweepFor(time.Minute)
			if m.staticKey() != first {
				m.t.Fatal("the key changed while the provider was down")
			}
		}
		m.wantText("static-roles/app", "last_error", "rotation of the key: openai: create key")
		if n := fmt.Sprint(m.do("read", "static-roles/app").Data["failed_attempts"]); n == "0" {
			m.t.Error("no failed attempts are told")
		}
		m.fake.ClearFaults()
		m.wantAlive(first, true)
		late := m.audit()
		if late.count(overdue) != 1 {
			m.t.Fatalf("overdue: %v", late.data)
		}
		for _, item := range late.items(overdue) {
			if item["kind"] != "static" || item["role"] != "app" || item["owner"] != "ada" || item["remedy"] != "vault write -f llm/rotate-role/app" || !strings.Contains(fmt.Sprint(item["why"]), "attempts that failed") {
				m.t.Errorf("overdue: %v", item)
			}
		}
		made := len(m.fake.Keys())
		m.sweepFor(65 * time.Minute)
		if got := len(m.fake.Keys()) - made; got != 1 && got != 2 { // one, and perhaps the next hour's
			m.t.Errorf("%d keys were made when the provider was back", got)
		}
		m.wantFields("static-roles/app", map[string]any{"failed_attempts": 0, "last_error": ""})
		m.wantAlive(m.staticKey(), true)
		if m.audit().count(overdue) != 0 {
			m.t.Error("it is overdue after its rotation")
		}
	})
}

// TestClientThroughTwentyRotations re-reads each minute, while new keys take a while
// to be known and the provider fails now and then.
func TestClientThroughTwentyRotations(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static("rotation_period", "10m", "overlap", "3m")
		m.fake.SetKnobs(fakeopenai.Knobs{DataPlaneDelay: 8 * time.Second})
		key, rotations := m.staticKey(), 0
		for minute := 0; rotations < 20; minute++ {
			if minute > 20*15 {
				m.t.Fatalf("%d rotations in %d minutes", rotations, minute)
			}
			if minute%37 == 0 {
				m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Drop: true, AfterEffect: true, Times: 1})
			}
			m.sweepFor(time.Minute)
			if status := m.callWith(key); status != 200 {
				m.t.Fatalf("minute %d: a request was refused with %d after %d rotations\n%s", minute, status, rotations, m.log)
			}
			if now := m.staticKey(); now != key {
				key = now
				rotations++
				if status := m.callWith(key); status != 200 {
					m.t.Fatalf("a key was handed out that is refused with %d", status)
				}
			}
		}
		m.sweepFor(4 * time.Minute)
		m.wantLive(1)
	})
}

func TestEmergencyRotation(t *testing.T) {
	both(t, func(m *testMount) {
		m.static()
		first := m.staticKey()
		m.do("write", "rotate-role/app")
		second := m.staticKey()
		m.wantAlive(first, true)
		m.wantFields("static-roles/app", map[string]any{"previous_key_id": m.fake.Keys()[0].ID, "current_key_id": m.fake.Keys()[1].ID})
		resp := m.do("write", "rotate-role/app", "overlap", "0s")
		wantWarning(m, resp)
		third := m.staticKey()
		m.wantAlive(first, false)
		m.wantAlive(second, false)
		m.wantAlive(third, true)
		if resp.Data["key_id"] != m.fake.Keys()[2].ID || len(resp.Data) != 2 {
			m.t.Errorf("answer: %v", resp.Data)
		}
		m.do("write", "rotate-role/app", "overlap", "90s")
		m.wantAlive(third, true)
		m.sweepFor(3 * time.Minute)
		m.wantAlive(third, false)
		m.wantLive(1)
	})
}

// TestEmergencyWithADeletionThatFails tells that the old key is still there.
func TestEmergencyWithADeletionThatFails(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		first := m.staticKey()
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteKey, Status: 503})
		wantWarning(m, m.do("write", "rotate-role/app", "overlap", 0), "may still work")
		m.wantAlive(first, true)
		m.fake.ClearFaults()
		m.sweepFor(3 * time.Minute)
		m.wantAlive(first, false)
	})
}

func TestNewKeyThatIsNotAccepted(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		first := m.staticKey()
		m.advance(2 * time.Hour)
		m.fake.SetKnobs(fakeopenai.Knobs{DataPlaneDelay: time.Hour})
		m.refused(502, []string{"the new key does not work yet", "each minute"}, "write", "rotate-role/app")
		m.wantFields("static-roles/app", map[string]any{"failed_attempts": 1})
		if m.staticKey() != first {
			m.t.Fatal("a key was handed out that the provider refuses")
		}
		m.wantLive(2)
		m.sweepFor(13 * time.Minute)
		m.wantText("static-roles/app", "last_error", "does not do")
		m.wantLive(1)
		m.wantAlive(first, true)
		m.do("write", "static-roles/app", "verify", false)
		m.do("write", "rotate-role/app")
		if m.staticKey() == first {
			m.t.Error("verify=false did not hand the key out")
		}
		m.wantLive(2)
		m.refused(502, []string{"try the key", "verify=false"}, "create", "static-roles/new", staticFields()...)
		m.wantLive(2)
		m.sweepFor(2 * time.Minute)
		m.refused(204, nil, "read", "static-roles/new")
	})
}

// TestStaticSuspension: nothing is read, rotated or extended, until it is lifted.
func TestStaticSuspension(t *testing.T) {
	both(t, func(m *testMount) {
		m.static("rotation_period", "1h", "overlap", "10m")
		first := m.staticKey()
		resp := m.do("write", "suspend/app", "reason", "leaked")
		if fmt.Sprint(resp.Data["roles"]) != "1" {
			m.t.Errorf("suspended: %v", resp.Data)
		}
		m.refused(403, []string{"suspended", "leaked"}, "read", "static-creds/app")
		m.refused(403, []string{"suspended"}, "write", "rotate-role/app")
		m.wantFields("static-roles/app", map[string]any{"suspended": true, "suspended_reason": "leaked"})
		made := len(m.fake.Keys())
		m.sweepFor(3 * time.Hour)
		if got := len(m.fake.Keys()); got != made {
			m.t.Errorf("%d keys were made for a suspended role", got-made)
		}
		for _, item := range m.audit().items(overdue) {
			if item["remedy"] != "vault write -f llm/resume/app" {
				m.t.Errorf("overdue: %v", item)
			}
		}
		m.do("write", "resume/app")
		m.wantAlive(first, true)
		m.sweepFor(2 * time.Minute)
		if m.staticKey() == first {
			m.t.Error("the rotation that was due was not made after the suspension")
		}
		m.do("write", "suspend/app", "revoke", true)
		m.wantLive(0)
		m.sweepFor(5 * time.Minute)
		m.wantLive(0)
		m.do("write", "resume/app")
		m.sweepFor(2 * time.Minute)
		m.wantAlive(m.staticKey(), true)
		m.wantLive(1)
	})
}

// TestStaticKill: a key that is revoked is replaced by the next sweep, whatever says
// which key it is; one of an entity is nobody's static key.
func TestStaticKill(t *testing.T) {
	both(t, func(m *testMount) {
		m.static("metadata", "owner=ada")
		key := m.staticKey()
		found := m.do("write", "lookup", "api_key", key).Data
		if found["kind"] != "static" || found["role"] != "app" || found["entity_id"] != "" {
			m.t.Errorf("lookup: %v", found)
		}
		m.do("write", "revoke", "entity_id", "entity-1")
		m.wantAlive(key, true)
		for _, by := range []struct{ field, value string }{
			{"api_key", key}, {"role", "app"}, {"key_id", ""}, {"id", ""},
		} {
			rec := m.staticRecords()[0]
			switch by.field {
			case "key_id":
				by.value = rec.KeyID
			case "id":
				by.value = rec.ID
			}
			m.do("write", "revoke", by.field, by.value)
			m.wantLive(0)
			m.refused(503, []string{"was revoked", "Retry-After"}, "read", "static-creds/app")
			m.sweepFor(time.Minute)
			m.wantAlive(m.staticKey(), true)
			m.wantLive(1)
		}
		m.do("write", "revoke", "role", "app")
		m.do("write", "rotate-role/app") // without a sweep
		m.wantAlive(m.staticKey(), true)
		if got := asJSON(m.t, m.do("list", "keys/", "kind", "static").Data["keys"]).([]any); len(got) != 1 {
			m.t.Errorf("static keys: %v", got)
		}
	})
}

// TestStaticDrain: a mount that is disabled leaves no key; one that is moved gets
// new ones.
func TestStaticDrain(t *testing.T) {
	both(t, func(m *testMount) {
		m.static()
		first := m.staticKey()
		m.do("write", "rotate-role/app")
		m.sys.taint(true)
		m.sweep()
		m.wantLive(0)
		m.sys.taint(false)
		m.refused(503, []string{"was revoked"}, "read", "static-creds/app")
		m.sweepFor(2 * time.Minute)
		m.wantAlive(m.staticKey(), true)
		m.wantAlive(first, false)
		m.wantLive(1)
	})
}

func TestStaticImport(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		planted, other := m.fake.PlantKey("proj_demo", "ada's"), m.fake.PlantKey("proj_demo", "bob's")
		brought := staticFields("api_key", planted.Secret, "key_id", planted.ID)
		m.refused(400, []string{"key_id", "is not the id of this key"}, "create", "static-roles/app", staticFields("api_key", planted.Secret, "key_id", other.ID)...)
		m.refused(400, []string{"key_id", "no key of this id"}, "create", "static-roles/app", staticFields("api_key", planted.Secret, "key_id", "key_none")...)
		m.refused(400, []string{"api_key", "admin key"}, "create", "static-roles/app", staticFields("api_key", secondKey, "key_id", other.ID)...)
		if left := m.staticRecords(); len(left) > 0 {
			m.t.Fatalf("refused, and in the ledger: %+v", left)
		}
		m.do("create", "static-roles/app", brought...)
		m.wantFields("static-roles/app", map[string]any{"key_id": planted.ID, "current_key_id": planted.ID})
		data := m.do("read", "static-creds/app").Data
		if data["api_key"] != planted.Secret || data["name"] != "ada's" || data["project_id"] != "proj_demo" {
			m.t.Errorf("handed out: %v", data)
		}
		m.refused(400, []string{"key_id", "in the ledger already"}, "create", "static-roles/second", brought...)
		m.do("write", "static-roles/app", brought...)
		m.sweepFor(15 * time.Minute)
		m.wantAlive(planted.Secret, true)
		m.do("write", "rotate-role/app")
		m.do("write", "static-roles/app", brought...) // for ever, as Terraform does
		m.wantFields("static-roles/app", map[string]any{"key_id": planted.ID})
		if m.staticKey() == planted.Secret {
			m.t.Error("a write has brought the first key back")
		}
		m.wantAlive(planted.Secret, true)
		m.sweepFor(time.Hour + 2*time.Minute)
		m.wantAlive(planted.Secret, false)
		m.wantAlive(other.Secret, true)
		m.wantLive(2)
	})
}

// TestImportThatIsNotStored leaves the operator's key alone.
func TestImportThatIsNotStored(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		planted := m.fake.PlantKey("proj_demo", "ada's")
		m.fake.SetKnobs(fakeopenai.Knobs{DataPlaneDelay: 2 * time.Minute})
		m.refused(400, []string{"api_key", "is refused by the provider"}, "create", "static-roles/app", staticFields("api_key", planted.Secret, "key_id", planted.ID)...)
		m.storage.spoilOp("put static/app", failBefore)
		m.advance(2 * time.Minute)
		m.refused(500, nil, "create", "static-roles/app", staticFields("api_key", planted.Secret, "key_id", planted.ID)...)
		m.storage.heal()
		m.sweepFor(15 * time.Minute)
		if left := m.staticRecords(); len(left) > 0 {
			m.t.Errorf("in the ledger: %+v", left)
		}
		m.wantAlive(planted.Secret, true)
	})
}

// TestStaticExpiry: the provider ends a key by itself some time after its rotation
// was due, which is moved while rotations fail, and kept up over the overlap.
func TestStaticExpiry(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		want := 24*time.Hour + time.Hour + staticSlack
		key := m.fake.Keys()[0]
		if got := key.ExpiresAt.Sub(key.CreatedAt); got < want-time.Second || got > want+2*time.Second {
			m.t.Errorf("the key expires after %s, want %s", got, want)
		}
		m.sweepFor(time.Minute)
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Status: 403})
		for range 20 * 24 { // nothing can be minted for 20 days
			m.advance(time.Hour)
			m.sweep()
			m.wantAlive(key.Secret, true)
		}
		m.fake.ClearFaults()
		m.advance(time.Hour)
		m.sweep()
		if m.staticKey() == key.Secret {
			m.t.Fatal("it was not rotated when it could be")
		}
		m.sweepFor(50 * time.Minute)
		m.wantAlive(key.Secret, true)
		m.sweepFor(15 * time.Minute)
		m.wantAlive(key.Secret, false)
		m.advance(24*time.Hour + staticSlack + 2*time.Hour) // nobody sweeps any more
		m.wantLive(0)
	})
}

// TestStaticOverlapAfterALongOutage: the overlap holds although the provider would
// have ended the key in it.
func TestStaticOverlapAfterALongOutage(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static("rotation_period", "10d", "overlap", "5d")
		first := m.staticKey()
		m.sweep()
		m.advance(10*24*time.Hour + staticSlack + 3*24*time.Hour) // Vault is sealed
		m.do("write", "rotate-role/app")
		m.advance(5*24*time.Hour - time.Minute)
		m.wantAlive(first, true)
		m.sweepFor(3 * time.Minute)
		m.wantAlive(first, false)
	})
}

// TestProviderThatShortensLives: a key that ends before its rotation is due is
// rotated before it ends.
func TestProviderThatShortensLives(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.fake.SetKnobs(fakeopenai.Knobs{MaxExpiry: 30 * 24 * time.Hour})
		m.static("rotation_period", "90d", "overlap", "1d")
		made := len(m.fake.Keys())
		for range 60 * 24 {
			m.advance(time.Hour)
			m.sweep()
			m.wantAlive(m.staticKey(), true)
		}
		if got := len(m.fake.Keys()) - made; got != 2 {
			m.t.Errorf("%d rotations in 60 days, want 2", got)
		}
		m.fake.SetKnobs(fakeopenai.Knobs{MaxExpiry: 30 * time.Minute})
		m.do("write", "rotate-role/app")
		made = len(m.fake.Keys())
		m.sweepFor(4 * time.Hour)
		if got := len(m.fake.Keys()) - made; got < 11 || got > 13 {
			m.t.Errorf("%d rotations in 4 hours of keys that live for 30 minutes, want about 12", got)
		}
	})
}

// TestStaticClockJumps: the engine's clock is wrong for a while, and the provider's is
// not. No key dies before its overlap is over, and afterwards all goes on.
func TestStaticClockJumps(t *testing.T) {
	const overlap = 12 * time.Hour
	for _, jump := range []time.Duration{
		2 * time.Hour, 13 * time.Hour, 26 * time.Hour, 1000 * time.Hour,
		-2 * time.Second, -2 * time.Hour, -13 * time.Hour, -30 * time.Hour, -1000 * time.Hour,
	} {
		t.Run(jump.String(), func(t *testing.T) {
			bubble(t, func(m *testMount) {
				clock := m.ownClock()
				m.static("overlap", "12h")
				m.sweepFor(2 * time.Hour)
				read := map[string]time.Time{m.staticKey(): time.Now()}
				m.do("write", "rotate-role/app")
				check := func() {
					m.t.Helper()
					read[m.staticKey()] = time.Now()
					if _, ttl := m.stable("static-creds/app"); ttl < 1 || ttl > 24*3600 {
						m.t.Fatalf("ttl is %d", ttl)
					}
					for key, at := range read {
						if time.Since(at) < overlap-time.Minute && !m.fake.Alive(key) {
							m.t.Fatalf("a key that was read %s ago is dead\n%s", time.Since(at), m.log)
						}
					}
				}
				check()
				clock.ahead.Add(int64(jump))
				for range 10 {
					m.sweepFor(time.Minute)
					check()
				}
				clock.ahead.Add(-int64(jump))
				for range 23 * 6 {
					m.sweepFor(10 * time.Minute)
					check()
				}
				most := 2
				if jump >= 24*time.Hour {
					most = 3 // the rotation that looked due
				}
				if made := len(m.fake.Keys()); made > most {
					m.t.Errorf("%d keys were made, want %d at most", made, most)
				}
				m.sweepFor(4 * time.Hour)
				if live := len(m.fake.LiveKeys()); live > 2 {
					m.t.Errorf("%d keys live", live)
				}
				next, err := time.Parse(time.RFC3339Nano, m.text("static-roles/app", "next_vault_rotation"))
				if left := time.Until(next); err != nil || left < 0 || left > 24*time.Hour {
					m.t.Errorf("the next rotation is in %s, %v", left, err)
				}
			})
		})
	}
}

// TestStaticRoleMoves: a role that is moved keeps its key until the next rotation.
func TestStaticRoleMoves(t *testing.T) {
	both(t, func(m *testMount) {
		m.static()
		m.fake.AddProject("proj_other")
		first := m.staticKey()
		m.do("create", "config/second", "provider", "openai", "admin_key", m.fake.AdminKey())
		wantWarning(m, m.do("write", "static-roles/app", "config_name", "second", "project_id", "proj_other"), "until the next rotation")
		m.sweepFor(2 * time.Minute)
		if m.staticKey() != first {
			m.t.Fatal("the key changed without a rotation")
		}
		m.refused(400, []string{"live keys"}, "delete", "config/openai")
		m.do("write", "rotate-role/app")
		if data := m.do("read", "static-creds/app").Data; data["project_id"] != "proj_other" {
			m.t.Errorf("handed out: %v", data)
		}
		m.wantAlive(first, true)
		m.sweepFor(time.Hour + 2*time.Minute)
		m.wantAlive(first, false)
		m.do("delete", "roles/bot")
		m.sweepFor(25 * time.Minute)
		m.do("delete", "config/openai")
		m.sweepFor(24 * time.Hour)
		m.wantAlive(m.staticKey(), true)
		m.wantLive(1)
	})
}

func TestStaticRequiresEntity(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static("require_entity", true)
		req := m.request(operations["read"], "static-creds/app", nil)
		req.EntityID = ""
		if status, text := outcome(m.b.HandleRequest(m.t.Context(), req)); status != 403 || !strings.Contains(text, "entity") {
			m.t.Errorf("got %d %s", status, text)
		}
		m.wantAlive(m.staticKey(), true)
	})
}

// TestStaticPrincipalGoes: the service account of a static role is deleted after the
// role's last key, and no other role's is.
func TestStaticPrincipalGoes(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.knowEntity()
		m.static()
		m.lease("creds/bot")
		m.sweepFor(15 * time.Minute)
		if got := len(m.stored(principalPrefix)); got != 2 {
			m.t.Fatalf("service accounts on record: %d", got)
		}
		m.audit().want(map[class][]string{ownerless: {m.staticRecords()[0].KeyID}})
		m.do("delete", "static-roles/app")
		m.sweepFor(90 * time.Minute)
		if got := m.stored(principalPrefix); len(got) != 1 || !strings.Contains(got[0], "/bot/") {
			m.t.Errorf("service accounts on record: %v", got)
		}
	})
}
