package backend

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// metricsPage is a page on which everything has a value. What reads it is tested with
// it: see bootstrap.
const metricsPage = "../bootstrap/prometheus/testdata/page.txt"

var updatePage = flag.Bool("update-metrics-page", false, "write "+metricsPage)

// metrics reads the page as Prometheus does, and returns its text and its samples.
func (m *testMount) metrics() (string, map[string]float64) {
	m.t.Helper()
	resp := m.do("read", "metrics")
	if got := fmt.Sprint(resp.Data[logical.HTTPStatusCode]); got != "200" {
		m.t.Fatalf("status: got %v", got)
	}
	if kind, _ := resp.Data[logical.HTTPContentType].(string); !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
		m.t.Fatalf("content type: got %q", kind)
	}
	page := m.rawBody(resp)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(page))
	if err != nil {
		m.t.Fatalf("Prometheus cannot read the page: %v\n%s", err, page)
	}
	m.checkText("metrics", page)
	samples := map[string]float64{}
	for name, family := range families {
		for _, metric := range family.Metric {
			var labels []string
			for _, l := range metric.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			id := strings.TrimPrefix(name, metricsNamespace+"_") + "{" + strings.Join(labels, ",") + "}"
			switch {
			case metric.Counter != nil:
				samples[id] = metric.Counter.GetValue()
			case metric.Gauge != nil:
				samples[id] = metric.Gauge.GetValue()
			case metric.Histogram != nil:
				samples[id] = float64(metric.Histogram.GetSampleCount())
			}
		}
	}
	return page, samples
}

// rawBody is what Vault would send. Over gRPC it is encoded, which Vault undoes.
func (m *testMount) rawBody(resp *logical.Response) string {
	m.t.Helper()
	if raw, ok := resp.Data[logical.HTTPRawBody].([]byte); ok {
		return string(raw)
	}
	raw, err := base64.StdEncoding.DecodeString(resp.Data[logical.HTTPRawBody].(string))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(raw)
}

// wantMetrics compares samples; what is not named is not looked at.
func (m *testMount) wantMetrics(want map[string]float64) {
	m.t.Helper()
	page, got := m.metrics()
	for _, id := range slices.Sorted(maps.Keys(want)) {
		value, ok := got[id]
		if !ok || value != want[id] {
			m.t.Errorf("%s: got %v (%v), want %v", id, value, ok, want[id])
		}
	}
	if m.t.Failed() {
		m.t.Fatalf("the page:\n%s", page)
	}
}

// liveThroughAll does everything that is measured.
func (m *testMount) liveThroughAll() {
	m.configure()
	m.do("write", "config/openai", "rotation_period", "24h")
	m.do("create", "static-roles/ops/app", "config_name", "openai", "project_id", "proj_demo", "rotation_period", "48h", "overlap", "1h")
	first, second := m.lease("creds/bot"), m.lease("creds/bot")
	m.advance(20 * time.Minute)
	if _, err := first.tryRenew(time.Hour); err != nil {
		m.t.Fatal(err)
	}
	second.revoke()
	if _, err := second.tryRenew(time.Hour); err == nil {
		m.t.Fatal("a revoked lease was renewed")
	}
	m.refused(http.StatusNotFound, nil, "read", "creds/nobody")
	m.do("write", "rotate-root/openai")
	m.do("write", "rotate-role/ops/app")
	m.fake.Inject(fake.Fault{Op: fakeopenai.OpCreateKey, Status: http.StatusForbidden})
	m.refused(http.StatusBadGateway, nil, "read", "creds/bot")
	m.refused(http.StatusBadGateway, nil, "write", "rotate-role/ops/app")
	m.fake.ClearFaults()
	m.fake.Inject(fake.Fault{Op: fakeopenai.OpCreateAdminKey, Status: http.StatusForbidden})
	m.refused(http.StatusBadGateway, nil, "write", "rotate-root/openai")
	m.fake.ClearFaults()
	m.fake.Inject(fake.Fault{Op: fakeopenai.OpCreateKey, Status: http.StatusTooManyRequests, RetryAfter: time.Second, Times: 1})
	third := m.lease("creds/bot")
	m.fake.Inject(fake.Fault{Op: fakeopenai.OpDeleteKey, Status: http.StatusInternalServerError})
	if err := third.tryRevoke(); err == nil {
		m.t.Fatal("the revoke has not failed")
	}
	m.fake.Inject(fake.Fault{Op: fakeopenai.OpCreateKey, Status: http.StatusBadGateway})
	m.refused(http.StatusBadGateway, nil, "read", "creds/bot")
	m.plantOrphan("proj_demo")
	m.audit()
	m.sweepFor(2 * time.Minute)
}

func TestMetricsSayWhatHasHappened(t *testing.T) {
	both(t, func(m *testMount) {
		m.liveThroughAll()
		m.wantMetrics(map[string]float64{
			"keys_issued_total{provider=openai,role=bot}":                            3,
			"keys_issued_total{provider=openai,role=ops/app}":                        2,
			"keys_renewed_total{provider=openai,role=bot}":                           1,
			"keys_revoked_total{provider=openai,role=bot}":                           1,
			"failures_total{operation=renew,provider=,reason=refused}":               1,
			"failures_total{operation=issue,provider=,reason=refused}":               1,
			"failures_total{operation=issue,provider=openai,reason=forbidden}":       1,
			"failures_total{operation=issue,provider=openai,reason=ambiguous}":       1,
			"failures_total{operation=rotate_role,provider=openai,reason=forbidden}": 1,
			"failures_total{operation=rotate_root,provider=openai,reason=forbidden}": 1,
			"rotations_total{kind=admin,name=openai}":                                1,
			"rotations_total{kind=static,name=ops/app}":                              1,
			"rotation_failures_total{kind=admin,name=openai}":                        1,
			"rotation_failing{kind=admin,name=openai}":                               1,
			"rotation_overdue_seconds{kind=static,name=ops/app}":                     0,
			"keys{kind=lease,provider=openai,role=bot,state=active}":                 1,
			"keys{kind=lease,provider=openai,role=bot,state=revoking}":               1,
			"keys{kind=lease,provider=openai,role=bot,state=pending}":                1,
			"keys{kind=static,provider=openai,role=ops/app,state=active}":            1,
			"keys{kind=static,provider=openai,role=ops/app,state=revoking}":          1,
			"keys{kind=admin,provider=openai,role=,state=active}":                    1,
			"keys{kind=admin,provider=openai,role=,state=revoking}":                  1,
			"connection_pauses_total{config=openai,provider=openai}":                 1,
			"connection_paused{config=openai,provider=openai}":                       0,
			"provider_errors_total{config=openai,kind=rate_limited,provider=openai}": 1,
			"audit_findings{class=orphaned,config=openai}":                           1,
			"sweeps_total{}": 2,
			"build_info{mount=" + m.engine.mountEntry.Tag + ",version=}": 1,
		})
		_, samples := m.metrics()
		for _, id := range []string{"oldest_record_age_seconds{state=pending}", "oldest_record_age_seconds{state=revoking}"} {
			if age := samples[id]; age < 119 || age > 130 {
				m.t.Errorf("%s: got %v, want about two minutes", id, age)
			}
		}
		m.fake.ClearFaults()
		m.sweepFor(15 * time.Minute)
		m.wantMetrics(map[string]float64{
			"oldest_record_age_seconds{state=pending}":               0,
			"oldest_record_age_seconds{state=revoking}":              0,
			"keys{kind=lease,provider=openai,role=bot,state=active}": 1,
			"sweep_backlog{}": 0,
		})
	})
}

// TestBacklogIsWhatASweepLeaves covers what is due and fails.
func TestBacklogIsWhatASweepLeaves(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.Inject(fake.Fault{Op: fakeopenai.OpDeleteKey, Status: http.StatusInternalServerError})
		for range 2 {
			if err := m.lease("creds/bot").tryRevoke(); err == nil {
				m.t.Fatal("the revoke has not failed")
			}
		}
		m.advance(2 * time.Minute)
		m.sweep()
		m.wantMetrics(map[string]float64{"sweep_backlog{}": 2, "sweeps_total{}": 1, "sweep_duration_seconds{}": 1})
		m.fake.ClearFaults()
		m.advance(5 * time.Minute)
		m.sweep()
		m.wantMetrics(map[string]float64{"sweep_backlog{}": 0, "sweeps_total{}": 2})

		m.do("write", "roles/bot", "ttl", 60, "max_ttl", 60)
		m.lease("creds/bot")
		due := m.records()[0].Due // not at the beginning of its minute
		m.advance(due.Truncate(time.Minute).Sub(m.clock.now()) + time.Second)
		if !m.clock.now().Before(due) {
			m.t.Fatalf("it is %s, and the key is due at %s", m.clock.now(), due)
		}
		m.sweep()
		m.wantMetrics(map[string]float64{"sweep_backlog{}": 0, "sweeps_total{}": 3})
	})
}

// TestMetricsPageIsUpToDate keeps the page that alerts and dashboard are tested with.
func TestMetricsPageIsUpToDate(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.liveThroughAll()
		page, _ := m.metrics()
		var kept []string // names and labels: values are not looked at, and some are random
		for line := range strings.Lines(page) {
			if series, _, ok := strings.Cut(line, " "); ok && !strings.HasPrefix(line, "#") {
				line = strings.ReplaceAll(series, m.engine.mountEntry.Tag, "4k2p0q7m") + " 1\n"
			}
			kept = append(kept, line)
		}
		got := strings.Join(kept, "")
		if *updatePage {
			if err := errors.Join(os.MkdirAll(filepath.Dir(metricsPage), 0o755), os.WriteFile(metricsPage, []byte(got), 0o644)); err != nil {
				m.t.Fatal(err)
			}
			return
		}
		want, err := os.ReadFile(metricsPage)
		if err != nil {
			m.t.Fatal(err)
		}
		if got != string(want) {
			m.t.Errorf("%s is stale; go test ./backend -run %s -update-metrics-page writes it. The page is:\n%s", metricsPage, m.t.Name(), got)
		}
	})
}

// recount compares the census with the storage.
func (m *testMount) recount() {
	m.t.Helper()
	if err := m.engine.takeCensus(m.t.Context(), m.storage); err != nil { // reads what is doubtful
		m.t.Fatal(err)
	}
	m.engine.census.mu.Lock()
	got := maps.Clone(m.engine.census.records)
	m.engine.census.mu.Unlock()
	fresh := census{}
	fresh.begin(m.clock.now())
	for _, key := range m.stored(ledgerPrefix) {
		rec, err := load[record](m.t.Context(), m.storage.Storage, key)
		if err != nil {
			m.t.Fatal(err)
		}
		fresh.read(rec.pointer(), rec)
	}
	if !maps.EqualFunc(got, fresh.records, func(a, b counted) bool {
		return a.kind == b.kind && a.state == b.state && a.role == b.role && a.provider == b.provider && a.since.Equal(b.since)
	}) {
		m.t.Errorf("the census has %v, the storage %v", got, fresh.records)
	}
}

// TestCensusHoldsWhateverHappens counts the records while keys come and go and storage
// fails.
func TestCensusHoldsWhateverHappens(t *testing.T) {
	eachShape(t, func(m *testMount, sh shape) {
		m.connect(sh)
		random := rand.New(rand.NewPCG(1, 2))
		var leases []*testLease
		for range 25 {
			if err := m.engine.takeCensus(m.t.Context(), m.storage); err != nil {
				m.t.Fatal(err)
			}
			fault := random.IntN(12)
			m.storage.spoil(opID{[]string{"put ledger", "delete ledger"}[fault%2], 0}, storageFault(fault/2%2), nil)
			if fault > 3 {
				m.storage.heal()
			}
			switch n := len(leases); {
			case n == 0 || random.IntN(2) == 0:
				if resp, err := m.try("read", "creds/"+sh.name); err == nil && !resp.IsError() {
					leases = append(leases, m.keep("creds/"+sh.name, resp))
				}
			case random.IntN(3) == 0:
				_, _ = leases[random.IntN(n)].tryRenew(time.Hour)
			default:
				_ = leases[n-1].tryRevoke()
				leases = leases[:n-1]
			}
			m.storage.heal()
			m.recount()
		}
		m.sweepFor(12 * time.Minute)
		m.recount()
	})
}

// TestCensusIsReadWhileKeysMove reads the records while they move.
func TestCensusIsReadWhileKeysMove(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		for range 20 {
			m.lease("creds/bot")
		}
		for range 20 {
			m.engine.census.forget()
			done := make(chan error)
			go func() {
				resp, err := m.try("read", "creds/bot")
				if err == nil {
					err = m.keep("creds/bot", resp).tryRevoke()
				}
				done <- err
			}()
			err := m.engine.takeCensus(m.t.Context(), m.storage)
			if err := errors.Join(err, <-done); err != nil {
				m.t.Fatal(err)
			}
			m.recount()
		}
	})
}

func TestCensusFailsWithStorage(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot")
		m.storage.spoilOp("get ledger/openai/bot/"+mark+m.records()[0].ID, failBefore)
		m.refused(http.StatusInternalServerError, []string{"count the records"}, "read", "metrics")
		m.storage.heal()
		m.wantMetrics(map[string]float64{"keys{kind=lease,provider=openai,role=bot,state=active}": 1})
	})
}

// TestCensusGoesOnWithoutItsCaller covers a scraper that waits for less than it takes.
func TestCensusGoesOnWithoutItsCaller(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot")
		ctx, cancel := context.WithCancel(m.t.Context())
		m.storage.spoil(opID{"get ledger", 0}, cancelBefore, cancel)
		_, err := m.b.HandleRequest(ctx, m.request(logical.ReadOperation, "metrics", nil))
		m.storage.heal()
		if ctx.Err() == nil {
			m.t.Fatal("no record was read")
		}
		if m.engine.census.taken.IsZero() {
			m.t.Errorf("what was read is lost: %v", err)
		}
	})
}

// TestCensusCountsWhatCannotBeRead covers a damaged record.
func TestCensusCountsWhatCannotBeRead(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot")
		damaged := &logical.StorageEntry{Key: recordKey("openai", "bot", newID(m.clock.now())), Value: []byte("{")}
		if err := m.storage.Put(m.t.Context(), damaged); err != nil {
			m.t.Fatal(err)
		}
		m.wantMetrics(map[string]float64{"unreadable_records{}": 1, "keys{kind=lease,provider=openai,role=bot,state=active}": 1})
	})
}

// TestCensusForgetsWhatGoesLate covers a deletion that takes effect after its error, and
// after somebody has looked.
func TestCensusForgetsWhatGoesLate(t *testing.T) {
	const counted = "keys{kind=lease,provider=openai,role=bot,state=revoking}"
	bubble(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.metrics()
		key := recordKey("openai", "bot", l.id())
		m.storage.spoilOp("delete "+key, failBefore)
		if err := l.tryRevoke(); err == nil {
			m.t.Fatal("the revoke has not failed")
		}
		m.storage.heal()
		m.wantMetrics(map[string]float64{counted: 1})
		if err := m.storage.Delete(m.t.Context(), key); err != nil {
			m.t.Fatal(err)
		}
		m.sweepFor(2 * time.Minute)
		if _, got := m.metrics(); got[counted] != 0 {
			m.t.Errorf("got %v", got[counted])
		}
	})
	bubble(t, func(m *testMount) { // nobody looks at it any more
		m.configure()
		l := m.lease("creds/bot")
		m.metrics()
		if err := m.storage.Delete(m.t.Context(), recordKey("openai", "bot", l.id())); err != nil {
			m.t.Fatal(err)
		}
		m.advance(censusAge)
		if _, got := m.metrics(); got["keys{kind=lease,provider=openai,role=bot,state=active}"] != 0 {
			m.t.Errorf("got %v", got)
		}
	})
}

// TestOldRecordsGrowOld covers records of before it was stored since when their deletion
// is owed.
func TestOldRecordsGrowOld(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.fake.Inject(fake.Fault{Op: fakeopenai.OpDeleteKey, Status: http.StatusInternalServerError})
		if err := l.tryRevoke(); err == nil {
			m.t.Fatal("the revoke has not failed")
		}
		rec := m.records()[0]
		rec.OwedSince = time.Time{}
		if err := save(m.t.Context(), m.storage, rec.pointer().key(), rec); err != nil {
			m.t.Fatal(err)
		}
		m.sweepFor(5 * time.Hour)
		if _, got := m.metrics(); got["oldest_record_age_seconds{state=revoking}"] < 4.5*3600 {
			m.t.Errorf("after 5 h: got %v", got["oldest_record_age_seconds{state=revoking}"])
		}
	})
}

// TestIncompleteAuditProvesNoLess: what could not be listed may be there still.
func TestIncompleteAuditProvesNoLess(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.plantOrphan("proj_demo")
		m.audit()
		_, before := m.metrics()
		m.advance(time.Hour)
		m.fake.Inject(fake.Fault{Op: fakeopenai.OpListKeys, Status: http.StatusInternalServerError})
		if m.audit().data["complete"] != false {
			m.t.Fatal("the audit is complete")
		}
		m.wantMetrics(map[string]float64{
			"audit_findings{class=orphaned,config=openai}": 1,
			"audit_last_timestamp_seconds{config=openai}":  before["audit_last_timestamp_seconds{config=openai}"],
		})
	})
}

// TestMissedWindowIsTold: the next try may be a week away.
func TestMissedWindowIsTold(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "config/openai", "rotation_schedule", "0 10 * * 6", "rotation_window", "1h")
		m.advance(7*24*time.Hour + 12*time.Hour) // nobody sweeps
		m.sweep()
		m.wantMetrics(map[string]float64{
			"rotation_failing{kind=admin,name=openai}":                       1,
			"rotation_failures_total{kind=admin,name=openai}":                1,
			"failures_total{operation=rotate_root,provider=,reason=refused}": 1,
		})
		m.wantEvents("rotate-root-fail")
		m.do("write", "rotate-root/openai")
		m.wantMetrics(map[string]float64{"rotation_failing{kind=admin,name=openai}": 0})
	})
}

// TestNoKeyInALabel covers a key that was pasted into a path.
func TestNoKeyInALabel(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		key := m.lease("creds/bot").key()
		m.wantEvents("creds-create")
		m.refused(http.StatusBadRequest, nil, "create", "config/"+key, "provider", "openai", "admin_key", "sk-admin-wrong-wrong-wrong-wrong")
		m.refused(http.StatusNotFound, nil, "read", "creds/"+key)
		m.wantEvents("creds-create-fail")
		m.metrics()
	})
}

// TestAbandonedCreateIsNoBacklog covers a connection that was deleted by force.
func TestAbandonedCreateIsNoBacklog(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.Inject(fake.Fault{Op: fakeopenai.OpCreateKey, Hang: fake.HangAfter})
		m.fake.Inject(fake.Fault{Op: fakeopenai.OpListKeys, Status: http.StatusInternalServerError})
		if _, err := m.try("read", "creds/bot"); err == nil {
			m.t.Fatal("the create was answered")
		}
		m.do("delete", "config/openai", "force", true)
		m.sweepFor(10 * time.Minute)
		m.wantRecords(1)
		m.wantMetrics(map[string]float64{"sweep_backlog{}": 0})
	})
}

// TestMetricsForgetADeletedConnection keeps an alert from firing for ever.
func TestMetricsForgetADeletedConnection(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.plantOrphan("proj_demo")
		m.audit()
		m.wantMetrics(map[string]float64{"audit_findings{class=orphaned,config=openai}": 1})
		m.do("delete", "roles/bot")
		m.do("delete", "config/openai", "force", true)
		if page, _ := m.metrics(); strings.Contains(page, "vault_llm_audit") {
			m.t.Errorf("got %s", page)
		}
	})
}

// TestSuspendedStaticRoleIsNotOverdue: its rotation waits for the resume.
func TestSuspendedStaticRoleIsNotOverdue(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("create", "static-roles/ops/app", "config_name", "openai", "project_id", "proj_demo", "rotation_period", "48h", "overlap", "1h")
		m.advance(50 * time.Hour)
		const overdue = "rotation_overdue_seconds{kind=static,name=ops/app}"
		m.wantMetrics(map[string]float64{overdue: 7200})
		m.fake.Inject(fake.Fault{Op: fakeopenai.OpCreateKey, Status: http.StatusForbidden})
		m.refused(http.StatusBadGateway, nil, "write", "rotate-role/ops/app")
		const failing = "rotation_failing{kind=static,name=ops/app}"
		m.wantMetrics(map[string]float64{failing: 1})
		m.do("write", "suspend/ops", "subtree", true)
		m.wantMetrics(map[string]float64{overdue: 0, failing: 0})
	})
}

// TestCensusIsForgottenWhenAnotherNodeWrites covers a node that led before.
func TestCensusIsForgottenWhenAnotherNodeWrites(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.wantMetrics(map[string]float64{"keys{kind=lease,provider=openai,role=bot,state=active}": 1})
		key := m.stored(ledgerPrefix + "openai/bot/")[0]
		if err := m.storage.Delete(m.t.Context(), key); err != nil {
			m.t.Fatal(err)
		}
		m.b.InvalidateKey(m.t.Context(), key)
		if _, samples := m.metrics(); samples["keys{kind=lease,provider=openai,role=bot,state=active}"] != 0 {
			m.t.Errorf("lease %s is still counted", l.id())
		}
	})
}

func TestMetricsLabelsAreBounded(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		for i := range maxLabels + 5 {
			role := fmt.Sprintf("team/%03d", i)
			m.do("create", "roles/"+role, "config_name", "openai", "project_id", "proj_demo")
			m.lease("creds/" + role)
		}
		m.wantMetrics(map[string]float64{
			"keys_issued_total{provider=openai,role=team/099}":         1,
			"keys_issued_total{provider=openai,role=other}":            5,
			"keys{kind=lease,provider=openai,role=other,state=active}": 5,
		})
	})
}

func TestReasonsOfFailures(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{&provider.Error{Kind: provider.NotFound}, "not_found"},
		{&provider.Error{Kind: provider.Unauthorized}, "unauthorized"},
		{&provider.Error{Kind: provider.Forbidden}, "forbidden"},
		{&provider.Error{Kind: provider.Invalid}, "invalid"},
		{&provider.Error{Kind: provider.RateLimited}, "rate_limited"},
		{&provider.Error{Kind: provider.Unavailable}, "unavailable"},
		{&provider.Error{Kind: provider.Ambiguous}, "ambiguous"},
		{fmt.Errorf("wrapped: %w", &provider.Error{Kind: provider.Unproven}), "unproven"},
		{badField("ttl", "is odd"), "refused"},
		{refuse(http.StatusTooManyRequests, "too many"), "refused"},
		{errGone, "refused"},
		{fmt.Errorf("wait: %w", context.Canceled), "canceled"},
		{errors.New("disk full"), "internal"},
	} {
		if got := reasonOf(test.err); got != test.want {
			t.Errorf("%v: got %q, want %q", test.err, got, test.want)
		}
	}
}

// TestCensusPrefersMovesToReadings covers a record that moves between its reading and
// its counting.
func TestCensusPrefersMovesToReadings(t *testing.T) {
	c := census{}
	now := time.Unix(1_000_000_000, 0)
	old := record{ID: "1", Config: "openai", Role: "bot", State: active}
	gone := record{ID: "2", Config: "openai", Role: "bot", State: active}
	c.begin(now)
	next := old
	next.State = revoking
	c.noted(next)
	c.dropped(gone.pointer())
	c.read(old.pointer(), &old)
	c.read(gone.pointer(), &gone)
	if !c.end(true, now) {
		t.Fatal("the census is lost")
	}
	var got []counted
	if _, taken := c.visit(func(rec counted) { got = append(got, rec) }); !taken {
		t.Fatal("the census is not taken")
	}
	if len(got) != 1 || got[0].state != revoking {
		t.Errorf("got %v, want one record that is revoking", got)
	}
}

// TestOwedSince covers each move of a record to its deletion.
func TestOwedSince(t *testing.T) {
	bubble(t, func(m *testMount) {
		l, ctx := m.engine.ledger(m.storage), m.t.Context()
		now := m.clock.now()
		later := now.Add(time.Hour)
		stored := record{ID: newID(now), Config: "openai", Role: "bot", State: active}
		for name, test := range map[string]struct {
			move func(record) (record, error)
			from time.Time // OwedSince before
			want time.Time
		}{
			"revoke":                  {func(r record) (record, error) { return l.revoke(ctx, r) }, time.Time{}, now},
			"revoke again":            {func(r record) (record, error) { return l.revoke(ctx, r) }, now.Add(-time.Hour), now.Add(-time.Hour)},
			"replace":                 {func(r record) (record, error) { return l.replace(ctx, r, later) }, time.Time{}, later},
			"kill what was replaced":  {func(r record) (record, error) { return l.hurry(ctx, r) }, later, now},
			"retire after an overlap": {func(r record) (record, error) { return l.retire(ctx, r, later) }, time.Time{}, later},
			"retire at once":          {func(r record) (record, error) { return l.retire(ctx, r, now.Add(-time.Hour)) }, time.Time{}, now},
			"retire without an id":    {func(r record) (record, error) { return l.retire(ctx, r, time.Time{}) }, time.Time{}, now},
			"use again":               {func(r record) (record, error) { return l.use(ctx, r) }, now, time.Time{}},
		} {
			before := stored
			before.OwedSince = test.from
			got, err := test.move(before)
			if err != nil || !got.OwedSince.Equal(test.want) {
				m.t.Errorf("%s: owed since %s (%v), want %s", name, got.OwedSince, err, test.want)
			}
		}
	})
}

// TestTokenIsOwedFromItsEnd: nothing can delete one before.
func TestTokenIsOwedFromItsEnd(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.connect(anthropicShape)
		m.lease("creds/" + anthropicShape.name).revoke()
		m.advance(30 * time.Minute)
		m.wantMetrics(map[string]float64{
			"keys{kind=lease,provider=anthropic,role=anthropic,state=revoking}": 1,
			"oldest_record_age_seconds{state=revoking}":                         0,
		})
	})
}

// TestAuditsBeyondTheBoundAreAdded: none hides another under one label.
func TestAuditsBeyondTheBoundAreAdded(t *testing.T) {
	m := newMetrics()
	for i := range maxLabels {
		m.configs.of(fmt.Sprint(i))
	}
	early, late := time.Unix(1_000_000_000, 0), time.Unix(1_000_000_060, 0)
	m.audited("a", map[class]*findings{orphaned: {count: 5}}, true, late)
	m.audited("b", map[class]*findings{orphaned: {count: 2}}, true, early)
	g, sums := &gauges{labels: m}, map[string]audited{}
	for _, config := range []string{"a", "b", "never audited"} {
		g.addAudit(sums, config)
	}
	if got := sums[otherLabel]; len(sums) != 1 || got.found[orphaned] != 7 || !got.ended.Equal(early) {
		t.Errorf("got %v, want 7 orphans as of the earlier audit", sums)
	}
}
