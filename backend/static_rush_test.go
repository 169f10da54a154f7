package backend

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestRushOfStaticRoles has many static roles that are all due at the same minute,
// within a window of an hour, against a provider that takes 20 requests a second of
// its admin API. Vault sweeps each minute, and a client goes on reading.
func TestRushOfStaticRoles(t *testing.T) {
	const (
		roles     = 5000
		perSecond = 20
	)
	bubble(t, func(m *testMount) {
		m.prepareRush(roles)
		time.Sleep(time.Until(time.Date(2000, 1, 1, 3, 0, 0, 0, time.UTC)))
		due := time.Now()
		m.fake.SetRate(perSecond, perSecond)
		done := make(chan struct{})
		var reads atomic.Int64
		var reader sync.WaitGroup
		reader.Go(func() { m.readOn(done, roles, &reads) })
		imposed := time.Duration(roles/perSecond) * time.Second
		for left := roles; left > 0; {
			began := time.Now()
			m.sweep()
			if left = m.dueStill(due); time.Since(due) > time.Hour+imposed {
				m.t.Fatalf("%d of %d roles are not rotated after %s", left, roles, time.Since(due))
			}
			time.Sleep(time.Until(began.Add(time.Minute)))
		}
		took := time.Since(due)
		close(done)
		reader.Wait()
		m.t.Logf("%d roles were rotated in %s, of which the provider's limit imposes %s; %d reads meanwhile", roles, took, imposed, reads.Load())
		if took > 2*imposed+2*time.Minute {
			m.t.Errorf("it took %s, and the provider's limit imposes %s", took, imposed)
		}
		m.fake.SetRate(0, 0)
		m.sweepFor(90 * time.Minute)
		m.wantLive(roles)
	})
}

// prepareRush creates the roles, all due at three o'clock.
func (m *testMount) prepareRush(roles int) {
	m.t.Helper()
	m.configure()
	for i := range roles {
		project := fmt.Sprintf("proj_%d", i%100)
		if i < 100 {
			m.fake.AddProject(project)
		}
		m.do("create", fmt.Sprintf("static-roles/app-%d", i), "config_name", "openai", "project_id", project,
			"rotation_schedule", "0 3 * * *", "rotation_window", "1h", "overlap", "1h")
	}
}

// readOn reads keys until done.
func (m *testMount) readOn(done chan struct{}, roles int, reads *atomic.Int64) {
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		case <-time.After(500 * time.Millisecond):
		}
		began := time.Now()
		resp, err := m.try("read", fmt.Sprintf("static-creds/app-%d", i%roles))
		if err != nil || !m.fake.Alive(fmt.Sprint(resp.Data["api_key"])) {
			m.t.Errorf("read %d: %v, %v", i, resp, err)
			return
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			m.t.Errorf("a read took %s", took)
		}
		reads.Add(1)
	}
}

// dueStill counts the roles that were not rotated since due.
func (m *testMount) dueStill(due time.Time) int {
	m.t.Helper()
	left := 0
	err := walkStatics(m.t.Context(), m.storage.Storage, func(e *staticEntry, err error) error {
		if err != nil {
			return err
		}
		if e.Rotation.Last.Before(due) {
			left++
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return left
}
