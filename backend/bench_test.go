package backend

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
	"vault-plugin-secrets-llm/backend/provider/openai"
)

// These benchmarks drive the engine in process, on storage in memory, against
// the simulator without sockets. What they add to a provider's own latency is
// the engine's.

// A delayed transport answers after the provider's latency.
type delayed struct {
	base    http.RoundTripper
	latency time.Duration
}

func (d delayed) RoundTrip(req *http.Request) (*http.Response, error) {
	if d.latency > 0 {
		time.Sleep(d.latency)
	}
	return d.base.RoundTrip(req)
}

// A benchMount is a mount without a log, over a provider with a latency.
type benchMount struct {
	b       *testing.B
	engine  *backend
	storage logical.Storage
	fake    *fakeopenai.Server
}

func newBenchMount(b *testing.B, latency time.Duration) *benchMount {
	b.Helper()
	registry, err := provider.NewRegistry(openai.New())
	if err != nil {
		b.Fatal(err)
	}
	m := &benchMount{b: b, engine: newBackend(registry), storage: &logical.InmemStorage{}, fake: fakeopenai.New()}
	m.engine.baseTransport = delayed{m.fake.RoundTripper(), latency}
	year := 365 * 24 * time.Hour
	err = m.engine.Setup(b.Context(), &logical.BackendConfig{
		Logger:      hclog.NewNullLogger(),
		System:      &logical.StaticSystemView{DefaultLeaseTTLVal: year, MaxLeaseTTLVal: year},
		StorageView: m.storage,
	})
	if err != nil {
		b.Fatal(err)
	}
	m.do(logical.UpdateOperation, "config/openai", map[string]any{"provider": "openai", "admin_key": m.fake.AdminKey(), "max_concurrency": 256})
	m.do(logical.UpdateOperation, "roles/bot", map[string]any{"config_name": "openai", "project_id": "proj_demo"})
	m.revoke(m.issue()) // the role's service account exists from here on
	m.fake.ResetRequests()
	return m
}

func (m *benchMount) do(op logical.Operation, path string, data map[string]any) *logical.Response {
	resp, err := m.engine.HandleRequest(context.Background(), &logical.Request{Operation: op, Path: path, Data: data, Storage: m.storage})
	if err != nil || resp.IsError() {
		m.b.Fatalf("%s %s: %v %v", op, path, resp, err)
	}
	return resp
}

func (m *benchMount) issue() *logical.Secret {
	return m.do(logical.ReadOperation, "creds/bot", map[string]any{}).Secret
}

func (m *benchMount) leaseOp(op logical.Operation, secret *logical.Secret) {
	if _, err := m.engine.HandleRequest(context.Background(), &logical.Request{Operation: op, Storage: m.storage, Secret: secret}); err != nil {
		m.b.Fatal(err)
	}
}

func (m *benchMount) revoke(secret *logical.Secret) { m.leaseOp(logical.RevokeOperation, secret) }

// eachCase runs a benchmark at the latencies and numbers of callers that are
// reported. run does one operation on what prepare, which may be nil, has made
// for it without latency.
func eachCase(b *testing.B, prepare func(m *benchMount) *logical.Secret, run func(m *benchMount, secret *logical.Secret)) {
	for _, latency := range []time.Duration{0, 100 * time.Millisecond} {
		for _, callers := range []int{1, 32} {
			b.Run(fmt.Sprintf("latency=%s/callers=%d", latency, callers), func(b *testing.B) {
				m := newBenchMount(b, latency)
				secrets := make([]*logical.Secret, b.N)
				if prepare != nil {
					m.engine.dropConnection("openai")
					m.engine.baseTransport = m.fake.RoundTripper()
					for i := range secrets {
						secrets[i] = prepare(m)
					}
					m.engine.closeConnections()
					m.engine.baseTransport = delayed{m.fake.RoundTripper(), latency}
				}
				m.fake.ResetRequests()
				b.ReportAllocs()
				b.ResetTimer()
				var next atomic.Int64
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
							run(m, secrets[i])
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
				b.ReportMetric(float64(len(m.fake.Requests()))/float64(b.N), "calls/op")
			})
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	eachCase(b, nil, func(m *benchMount, _ *logical.Secret) { m.issue() })
}

// BenchmarkRenew renews far from the issue, so that each renew moves the
// provider's expiry.
func BenchmarkRenew(b *testing.B) {
	eachCase(b, (*benchMount).issue, func(m *benchMount, secret *logical.Secret) {
		s := *secret
		s.Increment, s.IssueTime = 5*time.Hour, time.Now()
		m.leaseOp(logical.RenewOperation, &s)
	})
}

func BenchmarkRevoke(b *testing.B) {
	eachCase(b, (*benchMount).issue, (*benchMount).revoke)
}

// BenchmarkIssueOverBareCall compares an issue with the provider's call alone, in
// turn, at 100 ms latency.
func BenchmarkIssueOverBareCall(b *testing.B) {
	m := newBenchMount(b, 100*time.Millisecond)
	conn, err := m.engine.connection(b.Context(), m.storage, "openai")
	if err != nil {
		b.Fatal(err)
	}
	role, err := loadRole(b.Context(), m.storage, "bot")
	if err != nil {
		b.Fatal(err)
	}
	who, err := m.engine.principal(b.Context(), m.storage, conn, &role.keyRole)
	if err != nil {
		b.Fatal(err)
	}
	var bare, whole time.Duration
	for b.Loop() {
		start := time.Now()
		spec := provider.Spec{Name: newID(start), ExpiresAt: start.Add(time.Hour), Principal: who, Role: role.Fields}
		if _, err := conn.client.Mint(b.Context(), spec); err != nil {
			b.Fatal(err)
		}
		bare += time.Since(start)
		start = time.Now()
		m.issue()
		whole += time.Since(start)
	}
	b.ReportMetric(float64(whole)/float64(bare), "x-bare-call")
}

// BenchmarkDrain sweeps 1,000 keys whose leases are over, at a provider that
// allows 20 requests a second. It takes about 50 s.
func BenchmarkDrain(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		m := newBenchMount(b, 0)
		for range 1000 {
			m.issue()
		}
		m.do(logical.UpdateOperation, "config/openai", map[string]any{"max_concurrency": 16})
		later := time.Now().Add(2 * time.Hour)
		m.engine.now = func() time.Time { return later }
		m.fake.SetRate(20, 20)
		m.fake.ResetRequests()
		b.StartTimer()
		sweeps := 0
		for ; len(m.fake.LiveKeys()) > 0; sweeps++ {
			m.sweep()
			later = later.Add(time.Minute)
		}
		limited := 0
		for _, req := range m.fake.Requests() {
			if req.Status == http.StatusTooManyRequests {
				limited++
			}
		}
		b.ReportMetric(float64(len(m.fake.Requests())), "requests")
		b.ReportMetric(float64(limited), "limited")
		b.ReportMetric(float64(sweeps), "sweeps")
	}
}

func (m *benchMount) sweep() {
	req := logical.RollbackRequest("")
	req.Storage = m.storage
	if _, err := m.engine.HandleRequest(context.Background(), req); err != nil {
		m.b.Fatal(err)
	}
}

// fill stores active records of one role without a provider, over the coming day.
func (m *benchMount) fill(keys int) { m.fillRoles(keys, 1) }

// fillRoles is fill over several roles, each with an entity of its own.
func (m *benchMount) fillRoles(keys, roles int) {
	l := m.engine.ledger(m.storage)
	now := time.Now()
	for i := range keys {
		id := newID(now)
		rec := record{ID: id, Kind: lease, Name: keyName("4k2p0q7m", "bot", id, 100), Config: "openai", Role: "bot", Provider: "openai", Scope: "proj_demo"}
		if roles > 1 {
			rec.Role, rec.EntityID = fmt.Sprintf("team-%d/bot", i%roles), fmt.Sprintf("entity-%d", i%roles)
		}
		rec, err := l.open(context.Background(), rec)
		if err != nil {
			m.b.Fatal(err)
		}
		end := now.Add(time.Hour + time.Duration(i)*23*time.Hour/time.Duration(keys))
		if _, err := l.activate(context.Background(), rec, provider.Key{ID: "key_" + id, ExpiresAt: end}, keyHash([]byte("salt"), id), end); err != nil {
			m.b.Fatal(err)
		}
	}
}

// BenchmarkSweep is a sweep with nothing due; first is the one after a start,
// which lists the whole time index.
func BenchmarkSweep(b *testing.B) {
	for _, keys := range []int{100, 100_000} {
		m := newBenchMount(b, 0)
		m.fill(keys)
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			m.b = b
			m.sweep()
			b.ReportAllocs()
			for b.Loop() {
				m.sweep()
			}
		})
		b.Run(fmt.Sprintf("keys=%d/first", keys), func(b *testing.B) {
			m.b = b
			b.ReportAllocs()
			for b.Loop() {
				m.engine.sweeps.reset()
				m.sweep()
			}
		})
	}
}

// BenchmarkKeysHeld is what the engine itself retains with many keys: it keeps
// none of them in memory.
func BenchmarkKeysHeld(b *testing.B) {
	m := newBenchMount(b, 0)
	m.fill(100_000)
	for b.Loop() {
		before := heap()
		m.engine.sweeps.reset()
		m.sweep()
		m.issue()
		b.ReportMetric(float64(max(0, heap()-before)), "B-retained")
	}
}

func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// BenchmarkStart makes a mount ready over storage that holds many keys.
func BenchmarkStart(b *testing.B) {
	for _, keys := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			m := newBenchMount(b, 0)
			m.fill(keys)
			registry := m.engine.registry
			for b.Loop() {
				engine := newBackend(registry)
				conf := &logical.BackendConfig{Logger: hclog.NewNullLogger(), System: &logical.StaticSystemView{}, StorageView: m.storage}
				if err := engine.Setup(b.Context(), conf); err != nil {
					b.Fatal(err)
				}
				if err := engine.Initialize(b.Context(), &logical.InitializationRequest{Storage: m.storage}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
