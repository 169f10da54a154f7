package acceptance

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// These benchmarks go through everything: HTTP to a Vault with raft storage on
// disk, its audit log and leases, the plugin's process, HTTP to the simulator.

// A benchVault is a Vault whose role "bot" has its service account.
type benchVault struct {
	*server
	fake simOpenAI
}

func newBenchVault(b *testing.B) *benchVault {
	b.Helper()
	v := &benchVault{fake: newOpenAI()}
	sim := newSimulator(v.fake)
	b.Cleanup(sim.close)
	var err error
	if v.server, err = newServer(b.TempDir(), 1, surroundings{}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(v.destroy)
	if err := v.first(); err != nil {
		b.Fatal(err)
	}
	v.must(b, "llm/config/openai", map[string]any{"provider": "openai", "admin_key": v.fake.AdminKey(), "base_url": v.fake.baseURL(sim.http.URL), "max_concurrency": 64})
	v.must(b, "llm/roles/bot", map[string]any{"config_name": "openai", "project_id": v.fake.project()})
	v.revoke(b, v.issue(b))
	return v
}

// must writes. It may be called by several callers at once, so it does not end
// the benchmark.
func (v *benchVault) must(b *testing.B, path string, data map[string]any) *api.Secret {
	secret, err := v.client.Logical().Write(path, data)
	if err != nil {
		b.Errorf("%s: %v", path, err)
	}
	if secret == nil {
		return &api.Secret{}
	}
	return secret
}

func (v *benchVault) issue(b *testing.B) string {
	return v.must(b, "llm/creds/bot", nil).LeaseID
}

// renew asks for so much that the provider's expiry must move.
func (v *benchVault) renew(b *testing.B, lease string) {
	v.must(b, "sys/leases/renew", map[string]any{"lease_id": lease, "increment": 5 * 3600})
}

func (v *benchVault) revoke(b *testing.B, lease string) {
	v.must(b, "sys/leases/revoke", map[string]any{"lease_id": lease, "sync": true})
}

// each runs an operation on b.N leases, which are made beforehand where it needs
// some, from several callers.
func (v *benchVault) each(b *testing.B, latency time.Duration, callers int, needsLease bool, run func(lease string)) {
	v.fake.ClearFaults()
	leases := make([]string, b.N)
	if needsLease {
		for i := range leases {
			leases[i] = v.issue(b)
		}
	}
	if latency > 0 {
		v.fake.Inject(fakeopenai.Fault{Latency: latency})
	}
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				run(leases[i])
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

func BenchmarkVault(b *testing.B) {
	v := newBenchVault(b)
	for _, latency := range []time.Duration{0, 100 * time.Millisecond} {
		for _, callers := range []int{1, 32} {
			suffix := fmt.Sprintf("latency=%s/callers=%d", latency, callers)
			b.Run("issue/"+suffix, func(b *testing.B) {
				v.each(b, latency, callers, false, func(string) { v.issue(b) })
			})
			b.Run("renew/"+suffix, func(b *testing.B) {
				v.each(b, latency, callers, true, func(lease string) { v.renew(b, lease) })
			})
			b.Run("revoke/"+suffix, func(b *testing.B) {
				v.each(b, latency, callers, true, func(lease string) { v.revoke(b, lease) })
			})
		}
	}
}
