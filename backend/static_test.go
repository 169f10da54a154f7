package backend

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// static creates the connection and a static role "app", rotated daily with an
// overlap of an hour unless pairs say otherwise.
func (m *testMount) static(pairs ...any) {
	m.t.Helper()
	m.configure()
	m.do("create", "static-roles/app", m.staticFields(pairs...)...)
}

func (m *testMount) staticFields(pairs ...any) []any {
	fields := []any{"config_name", "openai", "project_id", "proj_demo"}
	for _, given := range []string{"rotation_schedule", "rotation_period"} {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == given {
				given = ""
			}
		}
		if given == "" {
			return append(append(fields, "overlap", "1h"), pairs...)
		}
	}
	return append(append(fields, "rotation_period", "24h", "overlap", "1h"), pairs...)
}

// staticKey reads the key of the role "app".
func (m *testMount) staticKey() string {
	m.t.Helper()
	return fmt.Sprint(m.do("read", "static-creds/app").Data["api_key"])
}

func (m *testMount) staticRecords() []record { return m.recordsOf(static) }

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
