package backend

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// This file serves the metrics: the counters of the process, and what is read when
// they are asked for: the ledger, the connections and the static roles.
//
//   - It calls no provider. Of the ledger, all is read once, and then only counted; of
//     connections and static roles, what is stored is read each time.

func (b *backend) metricsPaths() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "metrics$",
		DisplayAttrs: display("metrics"),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: forwarded(b.readMetrics, "Read the metrics of this mount, in Prometheus' text format.", map[int][]framework.Response{
				http.StatusOK: {{Description: http.StatusText(http.StatusOK), MediaType: "text/plain"}},
			}),
		},
		HelpSynopsis: "Read the metrics of this mount, for Prometheus.",
		HelpDescription: `
Counters are of the process that serves this mount, since it was started. What a
metric says of keys, connections and rotations is read from storage when it is
asked for, and no provider is called. The answer is text, not JSON.`,
	}}
}

func (b *backend) readMetrics(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	read, err := b.readGauges(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	moment := prometheus.NewRegistry()
	if err := moment.Register(read); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	families, err := prometheus.Gatherers{b.metrics.registry, moment}.Gather()
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	var page bytes.Buffer
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	encoder := expfmt.NewEncoder(&page, format)
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return &logical.Response{Data: map[string]any{
		logical.HTTPContentType: string(format),
		logical.HTTPRawBody:     page.Bytes(),
		logical.HTTPStatusCode:  http.StatusOK,
	}}, nil
}

// gauges are what is read when the metrics are asked for.
type gauges struct {
	labels *metrics
	now    time.Time
	values []prometheus.Metric
}

// Describe says nothing: a collector that serves one answer need not.
func (g *gauges) Describe(chan<- *prometheus.Desc) {}

// Collect sends what was read.
func (g *gauges) Collect(into chan<- prometheus.Metric) {
	for _, value := range g.values {
		into <- value
	}
}

// A measure is a metric that is read.
type measure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gaugeOf(name, help string, labels ...string) measure {
	return measure{prometheus.NewDesc(metricsNamespace+"_"+name, help, labels, nil), prometheus.GaugeValue}
}

// What is read. A description is made once; it holds no state.
var (
	buildInfo       = gaugeOf("build_info", "Version of the plugin, and the mount as it is named in keys.", "version", "mount")
	keysGauge       = gaugeOf("keys", "Records of keys in the ledger.", "provider", "kind", "role", "state")
	oldestRecord    = gaugeOf("oldest_record_age_seconds", "For how long the oldest record is pending, or the deletion of a key is owed; 0 if none is.", "state")
	unreadable      = gaugeOf("unreadable_records", "Records of keys in the ledger that cannot be read.")
	auditFindings   = gaugeOf("audit_findings", "Keys that the last audit of a connection has found, by class.", "config", "class")
	auditLast       = gaugeOf("audit_last_timestamp_seconds", "When the last complete audit of a connection ended, in Unix time.", "config")
	pausedGauge     = gaugeOf("connection_paused", "1 while a connection waits, because its provider has asked for it.", "provider", "config")
	pausesCounter   = measure{prometheus.NewDesc(metricsNamespace+"_connection_pauses_total", "How often a provider has asked to wait.", []string{"provider", "config"}, nil), prometheus.CounterValue}
	rotationAge     = gaugeOf("rotation_age_seconds", "Age of an admin key, or of the key of a static role.", "kind", "name")
	rotationOverdue = gaugeOf("rotation_overdue_seconds", "For how long a rotation is due; 0 if it is not.", "kind", "name")
	rotationFailing = gaugeOf("rotation_failing", "1 if the last rotation was tried and has failed.", "kind", "name")
)

func (g *gauges) add(m measure, value float64, labels ...string) {
	g.values = append(g.values, prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...))
}

func (b *backend) readGauges(ctx context.Context, s logical.Storage) (*gauges, error) {
	g := &gauges{labels: b.metrics, now: b.now()}
	mount, err := b.mount(ctx, s)
	if err != nil {
		return nil, err
	}
	g.add(buildInfo, 1, Version(), mount.Tag)
	if err := b.takeCensus(ctx, s); err != nil {
		return nil, err
	}
	if err := g.keys(&b.census); err != nil {
		return nil, err
	}
	rotations := rotationGauges{gauges: g, of: map[rotated]rotationGauge{}}
	if err := b.connectionGauges(ctx, s, &rotations); err != nil {
		return nil, err
	}
	if err := b.staticGauges(ctx, s, &rotations); err != nil {
		return nil, err
	}
	rotations.tell()
	return g, nil
}

// staticGauges reads the static roles. The key of one that is suspended is not meant to
// be rotated.
func (b *backend) staticGauges(ctx context.Context, s logical.Storage, into *rotationGauges) error {
	return walkStatics(ctx, s, func(e *staticEntry, _ error) error {
		if e == nil { // it cannot be read; the sweep says so
			return nil
		}
		suspended := false
		if due := e.rotateDue(); e.Rotation.LastError != "" || !due.IsZero() && due.Before(into.now) {
			found, err := suspensionOf(ctx, s, e.name)
			if err != nil {
				return err
			}
			suspended = found != nil
		}
		into.add(rotated{static, e.name}, &e.Rotation, e.rotateDue(), suspended)
		return nil
	})
}

// keys counts the records of the ledger.
func (g *gauges) keys(c *census) error {
	type group struct {
		provider, role string
		kind           kind
		state          state
	}
	groups := map[group]int{}
	oldest := map[state]time.Time{}
	unread, taken := c.visit(func(rec counted) {
		groups[group{rec.provider, g.labels.roles.of(rec.role), rec.kind, rec.state}]++
		if since, ok := oldest[rec.state]; !rec.since.IsZero() && (!ok || rec.since.Before(since)) {
			oldest[rec.state] = rec.since
		}
	})
	if !taken {
		return errCensusLost
	}
	g.add(unreadable, float64(unread))
	for of, count := range groups {
		g.add(keysGauge, float64(count), of.provider, string(of.kind), of.role, string(of.state))
	}
	for _, state := range []state{pending, revoking} {
		age := 0.0
		if since, ok := oldest[state]; ok {
			age = max(0, g.now.Sub(since).Seconds())
		}
		g.add(oldestRecord, age, string(state))
	}
	return nil
}

// connectionGauges reads the connections. One that cannot be read is left out: its
// requests tell why.
func (b *backend) connectionGauges(ctx context.Context, s logical.Storage, into *rotationGauges) error {
	configs, err := list(ctx, s, configPrefix)
	if err != nil {
		return err
	}
	pauses := map[[2]string]pauseGauge{}
	audits := map[string]audited{}
	for _, config := range configs {
		into.gauges.addAudit(audits, config)
		conn, err := b.connection(ctx, s, config)
		if err != nil {
			continue
		}
		of := [2]string{conn.provider.Name(), b.metrics.configs.of(config)}
		p := pauses[of]
		p.pauses += conn.transport.Pauses()
		p.paused = p.paused || conn.transport.Paused()
		pauses[of] = p
		into.add(rotated{admin, config}, &conn.entry.Rotation, conn.entry.rotateDue(), false)
	}
	for of, p := range pauses {
		into.gauges.add(pausedGauge, truth(p.paused), of[0], of[1])
		into.gauges.add(pausesCounter, float64(p.pauses), of[0], of[1])
	}
	into.gauges.tellAudits(audits)
	return nil
}

// addAudit adds what the audit of a connection has found to that of others with the same
// label.
func (g *gauges) addAudit(audits map[string]audited, config string) {
	a, ok := g.labels.auditOf(config)
	if !ok {
		return
	}
	label := g.labels.configs.of(config)
	sum, ok := audits[label]
	if !ok {
		sum = audited{found: map[class]int{}, ended: a.ended}
	}
	for c, count := range a.found {
		sum.found[c] += count
	}
	if a.ended.Before(sum.ended) {
		sum.ended = a.ended
	}
	audits[label] = sum
}

func (g *gauges) tellAudits(audits map[string]audited) {
	for config, a := range audits {
		for c, count := range a.found {
			g.add(auditFindings, float64(count), config, string(c))
		}
		if !a.ended.IsZero() {
			g.add(auditLast, unixSeconds(a.ended), config)
		}
	}
}

type pauseGauge struct {
	paused bool
	pauses int64
}

// A rotationGauge is what is told of the rotation of one key, or of the worst of all
// that are called otherLabel.
type rotationGauge struct {
	age, overdue float64
	failing      bool
}

type rotationGauges struct {
	*gauges
	of map[rotated]rotationGauge
}

// add reads a rotation that is due at a time; zero for never. One of a suspended role is
// neither late, nor does it fail.
func (r *rotationGauges) add(of rotated, entry *rotationEntry, due time.Time, suspended bool) {
	of.name = r.labels.nameOf(of)
	worst := r.of[of]
	if !entry.Last.IsZero() {
		worst.age = max(worst.age, r.now.Sub(entry.Last).Seconds())
	}
	if !due.IsZero() && !suspended {
		worst.overdue = max(worst.overdue, r.now.Sub(due).Seconds())
	}
	worst.failing = worst.failing || entry.LastError != "" && !suspended
	r.of[of] = worst
}

func (r *rotationGauges) tell() {
	for of, worst := range r.of {
		r.gauges.add(rotationAge, worst.age, string(of.kind), of.name)
		r.gauges.add(rotationOverdue, worst.overdue, string(of.kind), of.name)
		r.gauges.add(rotationFailing, truth(worst.failing), string(of.kind), of.name)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
