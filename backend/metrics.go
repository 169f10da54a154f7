package backend

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file measures what the engine does. What of it is read when the metrics are
// asked for is in metrics_page.go.
//
//   - A mount has a registry of its own: one process serves several mounts.
//   - Counters are of this process. They begin at zero after a restart, a reload and a
//     failover, as those of any process do.
//   - Labels are bounded: what operators name has at most maxLabels values, and those
//     that come later are "other".

// maxLabels bounds the values of a label that operators choose.
const maxLabels = 100

// otherLabel stands for all values above maxLabels.
const otherLabel = "other"

// metricsNamespace begins the name of every metric.
const metricsNamespace = "vault_llm"

// The operations that can fail.
const (
	opIssue      = "issue"
	opRenew      = "renew"
	opRevoke     = "revoke"
	opRotateRoot = "rotate_root"
	opRotateRole = "rotate_role"
)

// metrics are the counters of one mount. Safe for concurrent use.
type metrics struct {
	registry *prometheus.Registry
	roles    labelSet // of roles and static roles
	configs  labelSet // of connections

	issued, renewed, revoked, failures *prometheus.CounterVec
	requests                           *prometheus.HistogramVec
	requestErrors                      *prometheus.CounterVec
	rotations, rotationFailures        *prometheus.CounterVec
	sweeps                             prometheus.Counter
	sweepDuration                      prometheus.Histogram
	sweepLast, sweepBacklog            prometheus.Gauge

	mu     sync.Mutex
	audits map[string]audited // by connection
}

// audited is what the last audit of a connection has found.
type audited struct {
	found map[class]int
	ended time.Time // of the last one that was complete; zero if none was
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return register(m, prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: metricsNamespace, Name: name, Help: help}, labels))
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return register(m, prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: metricsNamespace, Name: name, Help: help}, labels))
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return register(m, prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: metricsNamespace, Name: name, Help: help, Buckets: buckets}, labels))
	}
	m.issued = counter("keys_issued_total", "Keys that were handed to a lease or a static role.", "provider", "role")
	m.renewed = counter("keys_renewed_total", "Leases that were renewed.", "provider", "role")
	m.revoked = counter("keys_revoked_total", "Keys whose deletion the provider has confirmed.", "provider", "role")
	m.failures = counter("failures_total", "Operations that failed, by the kind of the failure.", "operation", "provider", "reason")
	m.requests = histogram("provider_request_duration_seconds", "Time of a request to a provider, answered or not.",
		[]float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}, "provider", "config")
	m.requestErrors = counter("provider_errors_total", "Requests to a provider that failed, by the kind of the failure.", "provider", "config", "kind")
	m.rotations = counter("rotations_total", "Rotations of an admin key, or of the key of a static role.", "kind", "name")
	m.rotationFailures = counter("rotation_failures_total", "Rotations that failed.", "kind", "name")
	m.sweeps = counter("sweeps_total", "Sweeps that were made.").WithLabelValues()
	m.sweepDuration = histogram("sweep_duration_seconds", "Time of a sweep.", []float64{.01, .1, .5, 1, 5, 10, 20, 30, 45, 60}).WithLabelValues().(prometheus.Histogram)
	m.sweepLast = gauge("sweep_last_timestamp_seconds", "When the last sweep ended, in Unix time; 0 if there was none.").WithLabelValues()
	m.sweepBacklog = gauge("sweep_backlog", "What was due and is not done after the last sweep.").WithLabelValues()
	return m
}

func register[C prometheus.Collector](m *metrics, c C) C {
	m.registry.MustRegister(c)
	return c
}

// A labelSet is the values of a label that operators choose. The zero set is empty.
type labelSet struct {
	mu     sync.Mutex
	values map[string]bool
}

// of returns value, or otherLabel if there are too many already. An empty value is not
// one that anybody has chosen.
func (l *labelSet) of(value string) string {
	if value == "" {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.values[value] {
		if len(l.values) >= maxLabels {
			return otherLabel
		}
		if l.values == nil {
			l.values = map[string]bool{}
		}
		l.values[value] = true
	}
	return value
}

// keyIssued counts a key that is handed out.
func (m *metrics) keyIssued(rec record) {
	m.issued.WithLabelValues(rec.Provider, m.roles.of(rec.Role)).Inc()
}

func (m *metrics) keyRenewed(rec record) {
	m.renewed.WithLabelValues(rec.Provider, m.roles.of(rec.Role)).Inc()
}

// keyRevoked counts a key that is gone at its provider.
func (m *metrics) keyRevoked(rec record) {
	m.revoked.WithLabelValues(rec.Provider, m.roles.of(rec.Role)).Inc()
}

// failed counts an operation that failed. The provider is that of the failure, or
// empty if it was not one of a provider.
func (m *metrics) failed(operation string, err error) {
	name := ""
	if e, ok := errors.AsType[*provider.Error](err); ok {
		name = e.Provider
	}
	m.failures.WithLabelValues(operation, name, reasonOf(err)).Inc()
}

// reasonOf is the label of a failure: the kind of a provider's, "refused" for what this
// engine refuses, "canceled" if nobody waits any more, "internal" for the rest.
func reasonOf(err error) string {
	if kind := provider.KindOf(err); kind != "" {
		return kindLabel(kind)
	}
	_, refused := errors.AsType[*refusal](err)
	_, field := errors.AsType[*provider.FieldError](err)
	_, bad := errors.AsType[badRequest](err)
	_, over := errors.AsType[notRenewable](err)
	switch {
	case refused, field, bad, over, errors.Is(err, errMissedWindow):
		return "refused"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "internal"
}

// kindLabel is the label of a kind of failure.
func kindLabel(kind provider.Kind) string {
	switch kind {
	case provider.Invalid:
		return "invalid"
	case provider.Unproven:
		return "unproven"
	case provider.Ambiguous:
		return "ambiguous"
	}
	return strings.ReplaceAll(string(kind), " ", "_")
}

// observer counts the requests of a connection.
func (m *metrics) observer(name, config string) func(provider.Attempt) {
	return func(a provider.Attempt) {
		label := m.configs.of(provider.HideKeys(config)) // it may be refused yet
		m.requests.WithLabelValues(name, label).Observe(a.Took.Seconds())
		if a.Kind != "" {
			m.requestErrors.WithLabelValues(name, label, kindLabel(a.Kind)).Inc()
		}
	}
}

func (m *metrics) swept(took time.Duration, ended time.Time, backlog int64) {
	m.sweeps.Inc()
	m.sweepDuration.Observe(took.Seconds())
	m.sweepLast.Set(unixSeconds(ended))
	m.sweepBacklog.Set(float64(backlog))
}

// rotated counts a rotation; err is why it failed.
func (m *metrics) rotated(of rotated, err error) {
	if err != nil {
		m.rotationFailures.WithLabelValues(string(of.kind), m.nameOf(of)).Inc()
		m.failed(of.operation(), err)
		return
	}
	m.rotations.WithLabelValues(string(of.kind), m.nameOf(of)).Inc()
}

func (m *metrics) nameOf(of rotated) string {
	if of.kind == admin {
		return m.configs.of(of.name)
	}
	return m.roles.of(of.name)
}

// audited notes what an audit has found. One that was not complete proves that there are
// more, and never that there are fewer.
func (m *metrics) audited(config string, found map[class]*findings, complete bool, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.audits[config]
	next := audited{found: map[class]int{}, ended: before.ended}
	if complete {
		next.ended = now
	}
	for c, of := range found {
		next.found[c] = of.count
		if !complete {
			next.found[c] = max(of.count, before.found[c])
		}
	}
	if m.audits == nil {
		m.audits = map[string]audited{}
	}
	m.audits[config] = next
}

func (m *metrics) auditOf(config string) (audited, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.audits[config]
	return a, ok
}

// connectionDeleted forgets what would otherwise be told of a connection as of now.
func (m *metrics) connectionDeleted(config string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.audits, config)
}

// unixSeconds is a time as Prometheus has it.
func unixSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
