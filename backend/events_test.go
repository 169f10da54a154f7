package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// A testEvents is the event system of a host.
type testEvents struct {
	mu   sync.Mutex
	sent []testEvent
	fail error
	hang bool
}

type testEvent struct {
	kind     string
	metadata map[string]any
}

func (e *testEvents) SendEvent(ctx context.Context, kind logical.EventType, event *logical.EventData) error {
	e.mu.Lock()
	e.sent = append(e.sent, testEvent{string(kind), event.Metadata.AsMap()})
	hang, fail := e.hang, e.fail
	e.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return fail
}

// take returns what was sent since the last time.
func (e *testEvents) take() []testEvent {
	e.mu.Lock()
	defer e.mu.Unlock()
	sent := e.sent
	e.sent = nil
	return sent
}

// wantEvents asserts which types of events were sent, and returns them. None holds a
// secret.
func (m *testMount) wantEvents(want ...string) []testEvent {
	m.t.Helper()
	m.eventsSent()
	sent := m.hostEvents.take()
	var got []string
	for _, event := range sent {
		got = append(got, strings.TrimPrefix(event.kind, "llm/"))
		m.checkText("event", fmt.Sprint(event.metadata))
		for _, name := range []string{"path", "operation", "modified"} {
			if text, _ := event.metadata[name].(string); text == "" {
				m.t.Errorf("event %s has no %s: %v", event.kind, name, event.metadata)
			}
		}
	}
	if !slices.Equal(got, want) {
		m.t.Fatalf("events: got %v, want %v", got, want)
	}
	return sent
}

// eventsSent waits until no event is under way.
func (m *testMount) eventsSent() {
	m.t.Helper()
	for range 2000 {
		m.engine.events.mu.Lock()
		sending := m.engine.events.sending
		m.engine.events.mu.Unlock()
		if !sending {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	m.t.Fatal("events are under way still")
}

func TestEventsSayWhatHasHappened(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.wantEvents()

		l := m.lease("creds/bot")
		got := m.wantEvents("creds-create")[0].metadata
		for name, want := range map[string]any{
			"path": "creds/bot", "operation": "create", "modified": "true", "role": "bot", "config": "openai",
			"provider": "openai", "kind": "lease", "id": l.id(), "key_id": l.data["key_id"], "entity_id": "entity-1",
		} {
			if got[name] != want {
				m.t.Errorf("%s: got %v, want %v", name, got[name], want)
			}
		}
		l.revoke()
		m.wantEvents("revoke")
		l.revoke() // it is gone
		m.wantEvents()

		m.refused(http.StatusNotFound, nil, "read", "creds/nobody")
		if got := m.wantEvents("creds-create-fail")[0].metadata; got["reason"] != "refused" || !strings.Contains(fmt.Sprint(got["error"]), "nobody") {
			m.t.Errorf("got %v", got)
		}

		m.do("write", "rotate-root/openai")
		m.wantEvents("rotate-root")
		m.do("create", "static-roles/app", "config_name", "openai", "project_id", "proj_demo", "rotation_period", "24h", "overlap", "1h")
		m.wantEvents("creds-create")
		m.do("write", "rotate-role/app")
		m.wantEvents("creds-create", "rotate-role")
		m.fake.Inject(fake.Fault{Op: fakeopenai.OpCreateKey, Status: http.StatusForbidden})
		m.refused(http.StatusBadGateway, nil, "write", "rotate-role/app")
		m.wantEvents("rotate-role-fail")
		m.fake.ClearFaults()

		l = m.lease("creds/bot")
		m.wantEvents("creds-create")
		m.fake.Inject(fake.Fault{Op: fakeopenai.OpDeleteKey, Status: http.StatusInternalServerError})
		if err := l.tryRevoke(); err == nil {
			m.t.Fatal("the revoke has not failed")
		}
		m.wantEvents("revoke-fail")
		m.fake.ClearFaults()
		m.do("write", "revoke", "role", "bot")
		killed := m.wantEvents("revoke", "kill")[1].metadata
		if killed["target"] != "role bot" || killed["revoked"] != "1" || killed["failed"] != "0" {
			m.t.Errorf("got %v", killed)
		}
	})
}

// TestHostWithoutEventsIsAskedOnce covers OpenBao, which does not know the call, and
// hosts that have no event system.
func TestHostWithoutEventsIsAskedOnce(t *testing.T) {
	for name, err := range map[string]error{
		"unknown service": status.Error(codes.Unimplemented, "unknown service pb.Events"),
		"no events":       framework.ErrNoEvents,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(m *testMount) {
				m.hostEvents.fail = err
				m.configure()
				m.lease("creds/bot").revoke()
				m.wantEvents("creds-create")
				if log := m.log.String(); strings.Contains(log, "event was not sent") {
					m.t.Errorf("the log speaks of events: %s", log)
				}
			})
		})
	}
}

// TestEventsThatFailChangeNothing covers an event system that is broken.
func TestEventsThatFailChangeNothing(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.hostEvents.fail = errors.New("the bus is full")
		m.lease("creds/bot").revoke()
		m.wantEvents("creds-create", "revoke")
		m.wantLive(0)
	})
}

// TestEventsHoldUpNothing covers an event system that hangs: neither an issue nor a kill
// of many keys waits for it, and what waits to be sent is bounded.
func TestEventsHoldUpNothing(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.hostEvents.hang = true
		for range eventsWaiting {
			m.engine.send(eventRevoke, logical.EventMetadataPath, "keys/x")
		}
		started := time.Now()
		for range 20 {
			m.lease("creds/bot")
		}
		m.wantKill(m.do("write", "revoke", "role", "bot"), 20, 0, 0)
		if took := time.Since(started); took > eventBudget {
			m.t.Errorf("it took %s", took)
		}
		m.engine.events.mu.Lock()
		waiting := len(m.engine.events.waiting)
		m.engine.events.mu.Unlock()
		if waiting > eventsWaiting {
			m.t.Errorf("%d events wait", waiting)
		}
		m.b.Cleanup(m.t.Context()) // and nobody waits for what is left
	})
}

// TestFirstKeyThatDoesNotWork is told as a failure, and not as a key that was issued.
func TestFirstKeyThatDoesNotWork(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.fake.Inject(fake.Fault{Op: fakeopenai.OpListModels, Status: http.StatusUnauthorized})
		m.refused(http.StatusBadGateway, nil, "create", "static-roles/app", "config_name", "openai", "project_id", "proj_demo", "rotation_period", "24h", "overlap", "1h")
		m.wantEvents("revoke", "creds-create-fail")
	})
}

// TestLastAdminKeyIsTold covers the admin key of a deleted connection.
func TestLastAdminKeyIsTold(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "config/openai", "rotation_overlap", 0)
		m.do("write", "rotate-root/openai")
		m.sweepFor(2 * time.Minute)
		m.do("delete", "roles/bot")
		m.wantEvents("rotate-root", "revoke")
		m.do("delete", "config/openai")
		m.wantEvents("revoke")
	})
}
