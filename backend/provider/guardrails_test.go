package provider

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
)

// A bounded provider enforces some of the common fields.
type bounded struct {
	Provider
	can    Guardrails
	limits Limits
}

func (bounded) Name() string                                  { return "bounded" }
func (b bounded) Guardrails() Guardrails                      { return b.can }
func (b bounded) Limits() Limits                              { return b.limits }
func (bounded) CheckRole(_, _ Values) error                   { return nil }
func (bounded) RoleFields() map[string]*framework.FieldSchema { return nil }

func TestGuardrailForms(t *testing.T) {
	const secret = "sk-or-v1-0123456789abcdef0123456789abcdef"
	all := bounded{can: Guardrails{PerKey: []string{FieldModels, FieldBudget, FieldBudgetPeriod, FieldRequestsPerMinute, FieldTokensPerMinute}}}
	for _, c := range []struct {
		field string // at fault; empty for none
		role  Values
	}{
		{"", nil},
		{"", Values{"budget": 0.0, "models": []string{}, "budget_period": "", "requests_per_minute": 0}},
		{"", Values{"budget": 12.5}},
		{"", Values{"budget": json.Number("12.50"), "budget_period": "day"}},
		{"", Values{"budget": 0.01, "budget_period": "week"}},
		{"", Values{"budget": 9_999_999.99, "budget_period": "month"}},
		{"", Values{"models": []any{"gpt-4.1", "a/b:free"}, "requests_per_minute": 1, "tokens_per_minute": 1_000_000_000}},
		{"budget", Values{"budget": 0.001}},
		{"budget", Values{"budget": -1.0}},
		{"budget", Values{"budget": 1.005}},
		{"budget", Values{"budget": 1e7}},
		{"budget", Values{"budget": math.NaN()}},
		{"budget", Values{"budget": math.Inf(1)}},
		{"budget_period", Values{"budget_period": "day"}},
		{"budget_period", Values{"budget": 1.0, "budget_period": "daily"}},
		{"budget_period", Values{"budget": 1.0, "budget_period": secret}},
		{"models", Values{"models": []string{"a", "a"}}},
		{"models", Values{"models": []string{"a b"}}},
		{"models", Values{"models": []string{secret}}},
		{"models", Values{"models": []string{strings.Repeat("m", 257)}}},
		{"requests_per_minute", Values{"requests_per_minute": -1}},
		{"tokens_per_minute", Values{"tokens_per_minute": 1_000_000_001}},
	} {
		err := CheckRole(all, nil, c.role)
		got, ok := errors.AsType[*FieldError](err)
		switch {
		case c.field == "" && err != nil:
			t.Errorf("%v: got %v, want no error", c.role, err)
		case c.field != "" && (!ok || got.Field != c.field):
			t.Errorf("%v: got %v, want a FieldError of %s", c.role, err, c.field)
		case err != nil && strings.Contains(err.Error(), secret):
			t.Errorf("a key is in %v", err)
		}
	}
}

func TestGuardrailNotEnforced(t *testing.T) {
	some := bounded{can: Guardrails{PerKey: []string{FieldModels, FieldBudget}, Elsewhere: "Set rates in the garden"}}
	want := `requests_per_minute: provider "bounded" does not enforce it for a key; of the common bounds it enforces budget, models. Set rates in the garden`
	if err := CheckRole(some, nil, Values{"requests_per_minute": 5}); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	want = `models: provider "bounded" does not enforce it for a key; of the common bounds it enforces nothing`
	if err := CheckRole(bounded{}, nil, Values{"models": []string{"m"}}); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := CheckRole(bounded{}, nil, Values{"models": []any{}, "budget": 0.0}); err != nil {
		t.Errorf("got %v of a role that asks for nothing", err)
	}
}

func TestRoleFieldsOf(t *testing.T) {
	fields := RoleFields(bounded{can: Guardrails{PerKey: []string{FieldBudget}}})
	if len(fields) != 1 || fields[FieldBudget] == nil {
		t.Errorf("got %v, want the budget alone", fields)
	}
	var names []string
	for name := range guardrailFields {
		names = append(names, name)
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "budget budget_period models requests_per_minute tokens_per_minute" {
		t.Errorf("got common fields %s", got)
	}
}
