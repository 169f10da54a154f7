package backend

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// ledgerSizes are those at which the operators' paths are measured.
var ledgerSizes = []int{1_000, 100_000}

// issueKey issues a key and returns its secret.
func (m *benchMount) issueKey() string {
	return m.do(logical.ReadOperation, "creds/bot", map[string]any{}).Data["api_key"].(string)
}

func (m *benchMount) lookup(key string) {
	m.do(logical.UpdateOperation, "lookup", map[string]any{"api_key": key})
}

// BenchmarkLookup asks whose a leaked key is.
func BenchmarkLookup(b *testing.B) {
	for _, keys := range ledgerSizes {
		m := newBenchMount(b, 0)
		m.fillRoles(keys, 100)
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			m.b = b
			key := m.issueKey()
			b.ReportAllocs()
			for b.Loop() {
				m.lookup(key)
			}
		})
	}
}

// BenchmarkLookupRatio compares a lookup in a large ledger with one in a small one,
// in turn.
func BenchmarkLookupRatio(b *testing.B) {
	var took [2]time.Duration
	var mounts [2]*benchMount
	var leaked [2]string
	for i, keys := range ledgerSizes {
		mounts[i] = newBenchMount(b, 0)
		mounts[i].fillRoles(keys, 100)
		leaked[i] = mounts[i].issueKey()
	}
	for b.Loop() {
		for i, m := range mounts {
			start := time.Now()
			m.lookup(leaked[i])
			took[i] += time.Since(start)
		}
	}
	b.ReportMetric(float64(took[1])/float64(took[0]), "x-small-ledger")
}

// BenchmarkRevokeLeaked is from "this key leaked" to dead at the provider.
func BenchmarkRevokeLeaked(b *testing.B) {
	for _, keys := range ledgerSizes {
		m := newBenchMount(b, 0)
		m.fillRoles(keys, 100)
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			m.b = b
			leaked := make([]string, b.N)
			for i := range leaked {
				leaked[i] = m.issueKey()
			}
			m.fake.ResetRequests()
			b.ReportAllocs()
			b.ResetTimer()
			for _, key := range leaked {
				m.do(logical.UpdateOperation, "revoke", map[string]any{"api_key": key})
			}
			b.StopTimer()
			b.ReportMetric(float64(len(m.fake.Requests()))/float64(b.N), "calls/op")
			for _, key := range leaked {
				if m.fake.Alive(key) {
					b.Fatal("a revoked key is alive")
				}
			}
		})
	}
}

// BenchmarkKeysPage reads a page of 100 keys.
func BenchmarkKeysPage(b *testing.B) {
	for _, keys := range ledgerSizes {
		m := newBenchMount(b, 0)
		m.fillRoles(keys, 100)
		middle := m.do(logical.ReadOperation, "keys", map[string]any{"limit": min(keys/2, keysMost)}).Data["next"]
		for name, filter := range map[string]map[string]any{
			"first": {}, "after": {"after": middle}, "role": {"role": "team-7/bot"}, "entity": {"entity_id": "entity-7"}, "state": {"state": "revoking"},
		} {
			b.Run(fmt.Sprintf("%s/keys=%d", name, keys), func(b *testing.B) {
				m.b = b
				b.ReportAllocs()
				for b.Loop() {
					m.do(logical.ReadOperation, "keys", filter)
				}
			})
		}
	}
}

// BenchmarkAudit compares an account with a ledger of as many keys, none of which
// the other side knows.
func BenchmarkAudit(b *testing.B) {
	for _, keys := range []int{1_000, 10_000} {
		m := newBenchMount(b, 0)
		m.fillRoles(keys, 100)
		for i := range keys {
			m.fake.PlantKey("proj_demo", fmt.Sprintf("key %d", i))
		}
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			m.b = b
			m.fake.ResetRequests()
			b.ReportAllocs()
			for b.Loop() {
				m.do(logical.ReadOperation, "audit/openai", map[string]any{})
			}
			b.ReportMetric(float64(len(m.fake.Requests()))/float64(b.N), "calls/op")
		})
	}
}

// BenchmarkMetrics reads the metrics: the first time, when all records are read, and
// from then on.
func BenchmarkMetrics(b *testing.B) {
	for _, keys := range ledgerSizes {
		m := newBenchMount(b, 0)
		m.fillRoles(keys, 100)
		read := func() { m.do(logical.ReadOperation, "metrics", nil) }
		b.Run(fmt.Sprintf("first/keys=%d", keys), func(b *testing.B) {
			m.b = b
			b.ReportAllocs()
			for b.Loop() {
				m.engine.census.forget()
				read()
			}
		})
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			m.b = b
			b.ReportAllocs()
			for b.Loop() {
				read()
			}
		})
	}
}
