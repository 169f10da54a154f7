package bootstrap

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// This file reads queries, as far as PromQL is used here: Prometheus' own parser would
// be a dependency larger than the engine.

var (
	token = regexp.MustCompile(`^(?:\s+|"[^"]*"|\[[^\]]*\]|[a-zA-Z_:][a-zA-Z0-9_:]*|[0-9.]+[a-z]*|[=!<>]=|=~|!~|[-+*/%^<>=(){},])`)
	word  = regexp.MustCompile(`^[a-zA-Z_]`)
	plain = regexp.MustCompile(`^[a-z0-9_|-]*$`)
)

// tokens splits an expression.
func tokens(expr string) ([]string, error) {
	var found []string
	for rest := expr; rest != ""; {
		next := token.FindString(rest)
		if next == "" {
			return nil, fmt.Errorf("%q cannot be read", rest)
		}
		if rest = rest[len(next):]; strings.TrimSpace(next) != "" {
			found = append(found, next)
		}
	}
	return append(found, ""), nil
}

// A reader checks one expression and collects what it selects. It knows the part of
// PromQL that is used here, and says so when it meets another.
type reader struct {
	page     page
	tokens   []string
	metrics  []selected
	lists    []labelList
	problems []string
}

// A selected metric is at a place among the tokens.
type selected struct {
	at   int
	name string
}

// A labelList is of a by, and holds for what is aggregated, or of an on, and holds for
// the whole expression.
type labelList struct {
	labels    []string
	from, end int // the tokens for which it holds
	by        bool
}

func (r *reader) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

func (r *reader) read() {
	for i := 0; i < len(r.tokens); i++ {
		switch at := r.tokens[i]; {
		case !word.MatchString(at), slices.Contains([]string{"and", "or", "unless", "offset"}, at):
		case at == "by", at == "on":
			i = r.list(i)
		case slices.Contains([]string{"without", "ignoring", "group_left", "group_right", "bool"}, at):
			r.problem("%s: this test does not know it", at)
			return
		case slices.Contains([]string{"(", "by", "without"}, r.tokens[i+1]):
			r.call(at, i)
		default:
			i = r.selector(i)
		}
	}
	for _, list := range r.lists {
		for _, m := range r.metrics {
			if m.at < list.from || m.at >= list.end {
				continue
			}
			for _, label := range list.labels {
				if !r.page[m.name].has(label) {
					r.problem("%s has no label %s", m.name, label)
				}
			}
		}
	}
}

// list reads the labels after by or on.
func (r *reader) list(i int) int {
	list := labelList{by: r.tokens[i] == "by", end: len(r.tokens)}
	for i += 2; r.tokens[i] != ")" && r.tokens[i] != ""; i++ {
		if r.tokens[i] != "," {
			list.labels = append(list.labels, r.tokens[i])
		}
	}
	if list.by {
		if list.from = i + 1; r.tokens[min(list.from, len(r.tokens)-1)] != "(" {
			r.problem("by is after what it aggregates; write it before")
		}
		list.end = r.closing(list.from)
	}
	r.lists = append(r.lists, list)
	return i
}

// closing returns where the parenthesis at a place is closed.
func (r *reader) closing(from int) int {
	depth := 0
	for i := from; i < len(r.tokens); i++ {
		switch r.tokens[i] {
		case "(":
			depth++
		case ")":
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(r.tokens)
}

// call checks that a function is one for the type of what it is given.
func (r *reader) call(function string, i int) {
	var want string
	switch function {
	case "rate", "increase":
		want = "counter"
	case "delta", "avg_over_time", "min_over_time", "max_over_time":
		want = "gauge"
	default:
		return
	}
	if given := r.tokens[i+2]; r.page[given].kind != want {
		r.problem("%s is for a %s, and %s is a %s", function, want, given, r.page[given].kind)
	}
}

// selector reads the name of a metric and its matchers.
func (r *reader) selector(i int) int {
	name := r.tokens[i]
	m, known := r.page[name]
	if !known {
		r.problem("there is no metric %s", name)
	}
	r.metrics = append(r.metrics, selected{at: i, name: name})
	if r.tokens[i+1] != "{" {
		return i
	}
	for i += 2; i+3 < len(r.tokens) && r.tokens[i] != "}"; i += 3 {
		label, operator, value := r.tokens[i], r.tokens[i+1], strings.Trim(r.tokens[i+2], `"`)
		if known {
			r.matcher(name, m, label, operator, value)
		}
		if r.tokens[i+3] == "," {
			i++
		}
	}
	return i
}

func (r *reader) matcher(name string, m metric, label, operator, value string) {
	switch {
	case !m.has(label):
		r.problem("%s has no label %s", name, label)
		return
	case label == "job":
		if value != "vault-llm" {
			r.problem("%s: scrape.yml has no job %q", name, value)
		}
		return
	case label == "instance":
		return
	}
	values := []string{value}
	if strings.HasSuffix(operator, "~") {
		if !plain.MatchString(value) {
			r.problem("%s: this test does not know the pattern %q", label, value)
			return
		}
		values = strings.Split(value, "|")
	}
	for _, value := range values {
		if !slices.Contains(m.labels[label], value) {
			r.problem("%s{%s=%q} is not on the page", name, label, value)
		}
	}
}

// lacks reports whether what the expression finds may be without a label. What is on the
// right of "and" and "unless" only filters.
func (r *reader) lacks(label string) bool {
	depth, filter := 0, false
	hidden := map[int]bool{}
	for i, at := range r.tokens {
		switch at {
		case "(":
			depth++
		case ")":
			depth--
		case "and", "unless":
			filter = filter || depth == 0
		case "or":
			filter = filter && depth > 0
		}
		hidden[i] = filter
	}
	aggregated := func(at int) bool {
		return slices.ContainsFunc(r.lists, func(l labelList) bool { return l.by && l.from <= at && at < l.end })
	}
	for _, list := range r.lists {
		if list.by && !hidden[list.from] && !slices.Contains(list.labels, label) {
			return true
		}
	}
	return slices.ContainsFunc(r.metrics, func(m selected) bool {
		return !hidden[m.at] && !aggregated(m.at) && !r.page[m.name].has(label)
	})
}

// check returns what is wrong with a query, and the metrics that it uses.
func (p page) check(q query) (problems, used []string) {
	split, err := tokens(q.expr)
	if err != nil {
		return []string{err.Error()}, nil
	}
	r := &reader{page: p, tokens: split}
	r.read()
	for _, label := range q.quoted {
		if r.lacks(label) {
			r.problem("%s is quoted, and may not be left over", label)
		}
	}
	if len(r.metrics) == 0 && len(r.problems) == 0 {
		r.problem("no metric is selected")
	}
	for _, m := range r.metrics {
		used = append(used, m.name)
	}
	return r.problems, used
}

// The reader itself: each of these has one fault, and is not taken for right.
func TestFaultsOfQueriesAreFound(t *testing.T) {
	p := readPage(t)
	for _, q := range []query{
		{expr: `vault_llm_key`},
		{expr: `vault_llm_keys{stat="active"}`},
		{expr: `vault_llm_keys{state="alive"}`},
		{expr: `vault_llm_keys{state=~"active|alive"}`},
		{expr: `vault_llm_keys{state!="alive"}`},
		{expr: `vault_llm_keys{state=~"a.*"}`},
		{expr: `up{job="vault"}`},
		{expr: `sum by (config) (vault_llm_keys)`},
		{expr: `sum by (role) (vault_llm_keys) / sum by (role) (vault_llm_sweep_backlog)`},
		{expr: `sum(vault_llm_keys) by (role)`},
		{expr: `vault_llm_keys and on (role) vault_llm_sweep_backlog`},
		{expr: `rate(vault_llm_keys[5m])`},
		{expr: `delta(vault_llm_keys_issued_total[5m])`},
		{expr: `sum without (role) (vault_llm_keys)`},
		{expr: `vault_llm_keys; 1`},
		{expr: `1 + 1`},
		{expr: `vault_llm_keys`, quoted: []string{"config"}},
		{expr: `sum by (role) (vault_llm_keys)`, quoted: []string{"state"}},
		{expr: `sum by (role) (vault_llm_keys) or vault_llm_keys`, quoted: []string{"state"}},
		{expr: `vault_llm_sweep_backlog and on (job) vault_llm_keys`, quoted: []string{"role"}},
		{expr: `histogram_quantile(0.5, sum by (le) (rate(vault_llm_sweep_duration_seconds_bucket[5m])))`, quoted: []string{"instance"}},
	} {
		if problems, _ := p.check(q); len(problems) != 1 {
			t.Errorf("%s %v: got %q, want one problem", q.expr, q.quoted, problems)
		}
	}
	for _, q := range []query{
		{expr: `vault_llm_keys{role="bot",state=~"active|pending"} > 0 unless up == 1`, quoted: []string{"role", "instance"}},
		{expr: `sum by (role) (vault_llm_keys) and on (job) sum by (job) (vault_llm_sweep_backlog)`, quoted: []string{"role"}},
	} {
		if problems, _ := p.check(q); len(problems) != 0 {
			t.Errorf("%s %v: got %q, want none", q.expr, q.quoted, problems)
		}
	}
}
