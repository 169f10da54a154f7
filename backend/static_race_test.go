package backend

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestStaticRolesUnderCallersAtOnce has callers who write, rotate, kill, suspend,
// resume, delete and read two static roles while the sweep works. Afterwards nothing
// lives but the keys that are handed out, and a key that was read works, unless it
// was killed or its role deleted.
func TestStaticRolesUnderCallersAtOnce(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.static()
		names := []string{"app", "team/app"}
		m.do("create", "static-roles/team/app", staticFields()...)
		var callers sync.WaitGroup
		for caller := range 6 {
			callers.Go(func() {
				for step := range 40 {
					m.anyStaticMove(names[(caller+step)%2])
					time.Sleep(rand.N(20 * time.Second))
				}
			})
		}
		callers.Go(func() {
			for range 12 {
				m.sweep()
				time.Sleep(time.Minute)
			}
		})
		callers.Wait()
		for _, name := range names {
			m.do("write", "resume/"+name)
		}
		m.sweepFor(70 * time.Minute)
		want := 0
		for _, name := range names {
			if resp, err := m.try("read", "static-creds/"+name); err == nil && resp != nil {
				want++
				m.wantAlive(fmt.Sprint(resp.Data["api_key"]), true)
			}
		}
		m.wantLive(want)
		if got := len(m.staticRecords()); got != want {
			m.t.Errorf("records: %d, want %d", got, want)
		}
	})
}

// anyStaticMove makes one of the moves, which may be refused but not fail.
func (m *testMount) anyStaticMove(name string) {
	m.t.Helper()
	moves := []struct {
		op, path string
		pairs    []any
	}{
		{"read", "static-creds/" + name, nil},
		{"write", "rotate-role/" + name, nil},
		{"write", "rotate-role/" + name, []any{"overlap", 0}},
		{"write", "static-roles/" + name, staticFields("rotation_period", 3600*(2+rand.IntN(20)))},
		{"write", "revoke", []any{"role", name}},
		{"write", "suspend/" + name, []any{"revoke", rand.IntN(2) == 0}},
		{"write", "resume/" + name, nil},
		{"write", "resume/" + name, nil},
		{"delete", "static-roles/" + name, []any{"overlap", rand.IntN(2) * 600}},
		{"read", "static-roles/" + name, nil},
	}
	move := moves[rand.IntN(len(moves))]
	status, text := outcome(m.try(move.op, move.path, move.pairs...))
	if !slices.Contains([]int{200, 204, 400, 403, 404, 409, 503}, status) {
		m.t.Errorf("%s %s: %d %s", move.op, move.path, status, text)
	}
}
