// Package bootstrap holds what sets up the engine's surroundings; only its tests are Go.
package bootstrap

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// These tests hold the alerts and the dashboard against a page of metrics, for neither
// Prometheus nor Grafana says when a query names what is not there: it finds nothing.
//
//   - Every metric and label of a query is on the page. Every value that it asks a label
//     for is on the page, or is listed in docs/monitoring.md, which lists what is there.
//   - A counter is asked for its increase, a gauge is not.
//   - What a text quotes of labels is left over by its query.
//   - Every metric of the page is shown or watched, and explained in docs/monitoring.md,
//     as is every alert.
//
// The page is testdata/page.txt, of a mount on which everything has happened once.
// Whether queries can be parsed, and what alerts do, is scripts/promtool.sh check.

const (
	pageFile      = "prometheus/testdata/page.txt"
	alertsFile    = "prometheus/rules/alerts.yml"
	dashboardFile = "grafana/llm.json"
	docsFile      = "../docs/monitoring.md"
)

// targetLabels are what Prometheus adds.
var targetLabels = []string{"job", "instance"}

// A metric is one of the page: its type, and the values of its labels.
type metric struct {
	kind   string
	labels map[string][]string
}

func (m metric) has(label string) bool {
	return slices.Contains(targetLabels, label) || m.labels[label] != nil
}

// A page is what is scraped, by the names that queries use.
type page map[string]metric

var (
	typeLine   = regexp.MustCompile(`^# TYPE ([a-z_]+) (counter|gauge|histogram)$`)
	sampleLine = regexp.MustCompile(`^([a-z_]+)(?:\{(.*)\})? [-+0-9.eInf]+$`)
	pageLabel  = regexp.MustCompile(`([a-z_]+)="([^"\\]*)"(?:,|$)`)
	partOf     = regexp.MustCompile(`_(bucket|sum|count)$`)
)

func readPage(t *testing.T) page {
	t.Helper()
	found := page{"up": {kind: "gauge"}}
	types := map[string]string{}
	for line := range strings.SplitSeq(strings.TrimSpace(read(t, pageFile)), "\n") {
		if strings.HasPrefix(line, "# HELP ") {
			continue
		}
		if m := typeLine.FindStringSubmatch(line); m != nil {
			types[m[1]] = m[2]
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil || pageLabel.ReplaceAllString(m[2], "") != "" {
			t.Fatalf("%s: %q is not a line of metrics", pageFile, line)
		}
		name, kind := m[1], types[m[1]]
		if base := partOf.ReplaceAllString(name, ""); kind == "" && types[base] == "histogram" {
			kind = "counter"
		}
		if kind == "" {
			t.Fatalf("%s: %s has no type", pageFile, name)
		}
		if _, ok := found[name]; !ok {
			found[name] = metric{kind: kind, labels: map[string][]string{}}
		}
		for _, label := range pageLabel.FindAllStringSubmatch(m[2], -1) {
			found[name].labels[label[1]] = append(found[name].labels[label[1]], label[2])
		}
	}
	for label, values := range listedValues(t) {
		for name, m := range found {
			for _, value := range m.labels[label] {
				if !slices.Contains(values, value) {
					t.Errorf("%s does not list %s of %s{%s}", docsFile, value, name, label)
				}
			}
			if m.has(label) {
				m.labels[label] = append(m.labels[label], values...)
			}
		}
	}
	return found
}

// listedValues returns the values that the docs list of the labels that have few: one
// page cannot have everything that may go wrong.
func listedValues(t *testing.T) map[string][]string {
	t.Helper()
	docs := read(t, docsFile)
	values := map[string][]string{}
	for _, label := range []string{"state", "kind", "operation", "reason", "class"} {
		row := regexp.MustCompile("(?m)^\\| `" + label + "` \\| (.*) \\|$").FindStringSubmatch(docs)
		if row == nil {
			t.Fatalf("%s does not list the values of %s", docsFile, label)
		}
		for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(row[1], -1) {
			values[label] = append(values[label], m[1])
		}
	}
	return values
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A query is an expression, and the labels that a text quotes of what it finds.
type query struct {
	where, expr string
	quoted      []string
}

// An alert is one rule of the alerts file.
type alert struct {
	query
	name, severity, docs string
}

var alertLabel = regexp.MustCompile(`\$labels\.([a-z_]+)`)

// readAlerts reads the alerts, of which it knows the form that the file has: a reader of
// YAML would be a dependency.
func readAlerts(t *testing.T) []alert {
	t.Helper()
	text := read(t, alertsFile)
	var alerts []alert
	for _, part := range strings.Split(text, "\n      - alert: ")[1:] {
		name, rest, _ := strings.Cut(part, "\n")
		rest, _, _ = strings.Cut(rest, "\n  - name:")
		a := alert{name: name, severity: field(rest, "severity"), docs: field(rest, "docs")}
		a.where, a.expr = name, field(rest, "expr")
		if a.expr == "|" {
			_, block, _ := strings.Cut(rest, "expr: |\n")
			for line := range strings.SplitSeq(block, "\n") {
				if !strings.HasPrefix(line, "          ") {
					break
				}
				a.expr += "\n" + line
			}
			a.expr = a.expr[1:]
		}
		for _, m := range alertLabel.FindAllStringSubmatch(rest, -1) {
			a.quoted = append(a.quoted, m[1])
		}
		if a.expr == "" || field(rest, "summary") == "" || field(rest, "description") == "" {
			t.Errorf("%s: %s has no expr, summary or description", alertsFile, name)
		}
		alerts = append(alerts, a)
	}
	if want := strings.Count(text, "alert:"); len(alerts) != want || want == 0 {
		t.Fatalf("%s: %d alerts were read, the file has %d", alertsFile, len(alerts), want)
	}
	return alerts
}

// field returns what follows a name on its line.
func field(text, name string) string {
	m := regexp.MustCompile(`(?m)^ +` + name + `: (.*)$`).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1]
}

// A panel is one of the dashboard.
type panel struct {
	ID      int    `json:"id"`
	Type    string `json:"type"`
	Title   string `json:"title"`
	GridPos struct{ X, Y, W, H int }
	Targets []struct {
		RefID  string `json:"refId"`
		Expr   string `json:"expr"`
		Legend string `json:"legendFormat"`
	} `json:"targets"`
}

type dashboard struct {
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct {
			Name  string          `json:"name"`
			Type  string          `json:"type"`
			Query json.RawMessage `json:"query"`
		} `json:"list"`
	} `json:"templating"`
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil {
		t.Fatalf("%s: %s", dashboardFile, err)
	}
	return d
}

var legendLabel = regexp.MustCompile(`\{\{ *([a-z_]+) *\}\}`)

// queries returns those of the panels and of the variables.
func (d dashboard) queries(t *testing.T) []query {
	t.Helper()
	var found []query
	for _, p := range d.Panels {
		if len(p.Targets) == 0 && p.Type != "row" {
			t.Errorf("panel %q has no query", p.Title)
		}
		for _, target := range p.Targets {
			q := query{where: "panel " + p.Title, expr: strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")}
			for _, m := range legendLabel.FindAllStringSubmatch(target.Legend, -1) {
				q.quoted = append(q.quoted, m[1])
			}
			found = append(found, q)
		}
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		var of struct{ Query string }
		if err := json.Unmarshal(v.Query, &of); err != nil {
			t.Fatalf("variable %s: %s", v.Name, err)
		}
		m := regexp.MustCompile(`^label_values\((.*), ([a-z_]+)\)$`).FindStringSubmatch(of.Query)
		if m == nil {
			t.Fatalf("variable %s: %q is not label_values(metric, label)", v.Name, of.Query)
		}
		found = append(found, query{where: "variable " + v.Name, expr: m[1], quoted: []string{m[2]}})
	}
	return found
}

func TestQueriesFindWhatIsOnThePage(t *testing.T) {
	p := readPage(t)
	queries := readDashboard(t).queries(t)
	for _, a := range readAlerts(t) {
		queries = append(queries, a.query)
	}
	used := map[string]bool{"vault_llm_sweeps_total": true} // sweep_last_timestamp says more
	for _, q := range queries {
		problems, metrics := p.check(q)
		for _, problem := range problems {
			t.Errorf("%s: %s\n%s", q.where, problem, q.expr)
		}
		for _, name := range metrics {
			used[partOf.ReplaceAllString(name, "")] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if !used[partOf.ReplaceAllString(name, "")] {
			t.Errorf("%s is neither shown nor watched", name)
		}
	}
}

func TestAlertsAreTestedAndExplained(t *testing.T) {
	docs := read(t, docsFile)
	tests := strings.Split(read(t, "prometheus/alerts_test.yml")+read(t, "prometheus/alerts_days_test.yml"), "- expr: ")
	for _, a := range readAlerts(t) {
		if a.severity != "critical" && a.severity != "warning" {
			t.Errorf("%s: severity is %q, want critical or warning", a.name, a.severity)
		}
		firing, quiet := 0, 0
		for _, test := range tests {
			switch at := fmt.Sprintf("ALERTS{alertname=%q,alertstate=\"firing\"", a.name); {
			case !strings.HasPrefix(test, at+"}\n"):
			case strings.Contains(test, "labels: '"+at+","):
				firing++
			default:
				quiet++
			}
		}
		if firing == 0 || quiet == 0 {
			t.Errorf("%s: firing in %d tests and not firing in %d, want both", a.name, firing, quiet)
		}
		if !strings.Contains(docs, "| `"+a.name+"` |") {
			t.Errorf("%s is not in the table of %s", a.name, docsFile)
		}
		checkLink(t, a.name, a.docs)
	}
}

// checkLink checks that a page of the docs, and the heading in it, are there.
func checkLink(t *testing.T, where, link string) {
	t.Helper()
	file, anchor, _ := strings.Cut(link, "#")
	if !strings.HasPrefix(file, "docs/") {
		t.Errorf("%s: docs is %q, want docs/<page>.md", where, link)
		return
	}
	text, err := os.ReadFile("../" + file)
	if err != nil {
		t.Errorf("%s: %s", where, err)
		return
	}
	dropped := regexp.MustCompile(`[^a-z0-9 _-]`)
	for line := range strings.SplitSeq(string(text), "\n") {
		heading := strings.TrimLeft(line, "#")
		if slug := dropped.ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), ""); heading != line && strings.ReplaceAll(slug, " ", "-") == anchor {
			return
		}
	}
	if anchor != "" {
		t.Errorf("%s: %s has no heading #%s", where, file, anchor)
	}
}

func TestMetricsAreExplained(t *testing.T) {
	docs := read(t, docsFile)
	for name := range readPage(t) {
		if short := partOf.ReplaceAllString(strings.TrimPrefix(name, "vault_llm_"), ""); name != "up" && !strings.Contains(docs, "`"+short+"`") {
			t.Errorf("%s does not explain %s", docsFile, short)
		}
	}
}

// What is imported again replaces what it was: ids stay unique, and nothing overlaps.
func TestDashboardIsWellFormed(t *testing.T) {
	seen := map[int]string{}
	taken := map[[2]int]string{}
	for _, p := range readDashboard(t).Panels {
		if other, ok := seen[p.ID]; ok || p.ID == 0 {
			t.Errorf("panel %q has the id %d, which is that of %q", p.Title, p.ID, other)
		}
		seen[p.ID] = p.Title
		at := p.GridPos
		if at.W < 1 || at.H < 1 || at.X < 0 || at.X+at.W > 24 {
			t.Errorf("panel %q is outside of the grid: %+v", p.Title, at)
		}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("panel %q covers %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	if len(seen) == 0 {
		t.Fatal("the dashboard has no panels")
	}
}
