package backend

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// These tests put one request into the middle of another, at the one place where
// it would hurt.

// A hookedStorage calls before ahead of the first put or delete of a key.
type hookedStorage struct {
	logical.Storage
	prefix string
	before func()
}

func (s *hookedStorage) hook(key string) {
	if s.before != nil && strings.HasPrefix(key, s.prefix) {
		before := s.before
		s.before = nil
		before()
	}
}

func (s *hookedStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	s.hook(entry.Key)
	return s.Storage.Put(ctx, entry)
}

func (s *hookedStorage) Delete(ctx context.Context, key string) error {
	s.hook(key)
	return s.Storage.Delete(ctx, key)
}

// before makes something happen ahead of the next write below prefix.
func (m *testMount) before(prefix string, what func()) {
	m.storage.Storage = &hookedStorage{Storage: m.storage.Storage, prefix: prefix, before: what}
}

func TestConnectionThatGoesDuringAnIssueMintsNothing(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.before(ledgerPrefix, func() {
			m.do("delete", "roles/bot")
			m.do("delete", "config/openai")
		})
		if resp, err := m.try("read", "creds/bot"); err == nil && !resp.IsError() {
			m.t.Error("a key was issued through a connection that is gone")
		}
		if got := len(m.fake.Keys()); got != 0 {
			m.t.Errorf("keys made: %d", got)
		}
		m.wantRecords(0)
	})
}

func TestConnectionThatClosesDuringAnIssueMintsNothing(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.before(ledgerPrefix, func() { m.do("write", "config/openai", "allowed_roles", "other/*") })
		m.refused(400, []string{"does not allow role"}, "read", "creds/bot")
		if got := len(m.fake.Keys()); got != 0 {
			m.t.Errorf("keys made: %d", got)
		}
		m.wantRecords(0)
	})
}

func TestConnectionStaysIfAKeyIsIssuedDuringItsDeletion(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("delete", "roles/bot")
		m.before(configPrefix, func() {
			l := m.engine.ledger(m.storage)
			rec := record{ID: newID(m.engine.now()), Name: "vault-x", Config: "openai", Role: "bot", Scope: "proj_demo"}
			if _, err := l.open(m.t.Context(), rec); err != nil {
				m.t.Error(err)
			}
		})
		m.refused(400, []string{"a key is being issued"}, "delete", "config/openai")
		if m.do("read", "config/openai") == nil {
			m.t.Error("the connection is gone, and a key may need it")
		}
		m.sweepFor(pendingAge() * 2)
		m.wantRecords(0)
	})
}

func TestCallerWhoGoesAwayLeavesNoKey(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot").revoke()
		ctx, cancel := context.WithCancel(m.t.Context())
		defer cancel()
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Times: 1, After: cancel})
		if _, err := m.b.HandleRequest(ctx, issueRequest(m, nil)); err == nil {
			m.t.Error("a key was handed to nobody")
		}
		m.wantLive(0) // at once, not at the end of a lease that nobody has
		m.wantRecords(0)
	})
}

// TestCapHoldsAgainstCallersAtOnce has a storage that takes its time, so that all
// callers would count before one has written.
func TestCapHoldsAgainstCallersAtOnce(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "roles/bot", "max_active_keys", 2)
		m.storage.Storage = &slowStorage{Storage: m.storage.Storage, delay: 100 * time.Millisecond}
		var wg sync.WaitGroup
		var issued atomic.Int64
		for range 8 {
			wg.Go(func() {
				if _, err := m.try("read", "creds/bot"); err == nil {
					issued.Add(1)
				}
			})
		}
		wg.Wait()
		if issued.Load() != 2 {
			m.t.Errorf("%d keys were issued, the cap is 2", issued.Load())
		}
	})
}

// TestBegunDeletionOfAServiceAccountIsNotUndone has the provider answer a deletion
// with 503, which it may carry out late, and the role come back elsewhere.
func TestBegunDeletionOfAServiceAccountIsNotUndone(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot").revoke()
		m.sweepFor(20 * time.Minute)
		m.fake.Inject(fakeopenai.Answer(fakeopenai.OpDeleteServiceAccount, 503, 0))
		m.do("delete", "roles/bot")
		m.sweepFor(3 * time.Minute)
		// A record under the account, of a request that came in between.
		rec := record{ID: newID(m.engine.now()), Name: "vault-x", Config: "openai", Role: "bot", Scope: "proj_demo"}
		if _, err := m.engine.ledger(m.storage).open(m.t.Context(), rec); err != nil {
			m.t.Fatal(err)
		}
		m.sweepFor(3 * time.Minute)
		m.do("create", "roles/bot", "config_name", "openai", "project_id", "proj_demo")
		m.refused(503, []string{"is being deleted"}, "read", "creds/bot")
		m.fake.ClearFaults()
		m.sweepFor(25 * time.Minute)
		m.wantAlive(m.lease("creds/bot").key(), true)
	})
}
