package provider

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
)

// This file holds the fields of a role that bound what its keys may do. They have
// one name and one form at all providers. A provider says which of them it enforces
// for each key, and maps those; a role that asks for another one is refused, for a
// bound that nobody enforces is worse than none.

// The common fields of roles.
const (
	FieldModels            = "models"
	FieldBudget            = "budget" // US dollars
	FieldBudgetPeriod      = "budget_period"
	FieldRequestsPerMinute = "requests_per_minute"
	FieldTokensPerMinute   = "tokens_per_minute"
)

// The periods after which a budget starts anew.
const (
	PeriodDay   = "day"
	PeriodWeek  = "week"
	PeriodMonth = "month"
)

// Guardrails say what a provider bounds.
type Guardrails struct {
	// PerKey are the common fields that the provider itself enforces for each key,
	// wherever that is used.
	PerKey []string
	// Elsewhere says, as a sentence, on what the provider sets the bounds that it
	// does not set on keys; empty if there is nothing to say.
	Elsewhere string
}

const (
	// leastBudget and mostBudget are in US dollars.
	leastBudget, mostBudget = 0.01, 9_999_999.99
	mostPerMinute           = 1_000_000_000
)

var guardrailFields = map[string]*framework.FieldSchema{
	FieldModels: guardrailField(framework.TypeCommaStringSlice, "Models",
		"Models that the keys may call, as the provider names them. Empty means all that their place at the provider allows."),
	FieldBudget: guardrailField(framework.TypeFloat, "Budget",
		"What each key may spend, in US dollars, with at most two decimals. 0 means no bound of its own."),
	FieldBudgetPeriod: guardrailField(framework.TypeString, "Budget period",
		"day, week or month, after which the budget of a key starts anew. Empty means that it is for the key's whole life."),
	FieldRequestsPerMinute: guardrailField(framework.TypeInt, "Requests per minute",
		"How many requests each key may make per minute. 0 means no bound of its own."),
	FieldTokensPerMinute: guardrailField(framework.TypeInt, "Tokens per minute",
		"How many tokens each key may use per minute. 0 means no bound of its own."),
}

func guardrailField(kind framework.FieldType, title, description string) *framework.FieldSchema {
	return &framework.FieldSchema{
		Type: kind, Description: description + " Only where the provider enforces it for each key.",
		DisplayAttrs: &framework.DisplayAttributes{Name: title, Group: "Guardrails"},
	}
}

// IsGuardrail reports whether a field of a role is one of the common ones.
func IsGuardrail(field string) bool { return guardrailFields[field] != nil }

// RoleFields are the fields of a role at a provider: its own, and those of the
// common ones that it enforces.
func RoleFields(p Provider) map[string]*framework.FieldSchema {
	fields := maps.Clone(p.RoleFields())
	if fields == nil {
		fields = map[string]*framework.FieldSchema{}
	}
	for _, name := range p.Guardrails().PerKey {
		fields[name] = guardrailFields[name]
	}
	return fields
}

// CheckRole refuses what can be refused of a role without asking the provider. It
// returns a *FieldError, or nil. config are the fields of the role's connection.
func CheckRole(p Provider, config, role Values) error {
	if err := checkGuardrails(p, role); err != nil {
		return err
	}
	return p.CheckRole(config, role)
}

func checkGuardrails(p Provider, role Values) error {
	can := p.Guardrails()
	for _, field := range slices.Sorted(maps.Keys(guardrailFields)) {
		if AsksFor(role, field) && !slices.Contains(can.PerKey, field) {
			return notEnforced(p, field)
		}
	}
	if err := checkModels(role.Strings(FieldModels)); err != nil {
		return err
	}
	for _, field := range []string{FieldRequestsPerMinute, FieldTokensPerMinute} {
		if n := role.Int(field); n < 0 || n > mostPerMinute {
			return FieldErrorf(field, "%d is out of range; give 1 to %d, or 0 for no bound", n, mostPerMinute)
		}
	}
	return checkBudget(role.Float(FieldBudget), role.String(FieldBudgetPeriod))
}

func notEnforced(p Provider, field string) error {
	can := p.Guardrails()
	enforced := "nothing"
	if len(can.PerKey) > 0 {
		enforced = strings.Join(slices.Sorted(slices.Values(can.PerKey)), ", ")
	}
	text := fmt.Sprintf("provider %q does not enforce it for a key; of the common bounds it enforces %s", p.Name(), enforced)
	if can.Elsewhere != "" {
		text += ". " + can.Elsewhere
	}
	return FieldErrorf(field, "%s", text)
}

// FirstGuardrail returns the first common field that a role asks for; empty if none.
func FirstGuardrail(role Values) string {
	for _, field := range slices.Sorted(maps.Keys(guardrailFields)) {
		if AsksFor(role, field) {
			return field
		}
	}
	return ""
}

// SameGuardrails reports whether two roles ask for the same bounds.
func SameGuardrails(a, b Values) bool {
	return slices.Equal(a.Strings(FieldModels), b.Strings(FieldModels)) && a.Float(FieldBudget) == b.Float(FieldBudget) &&
		a.String(FieldBudgetPeriod) == b.String(FieldBudgetPeriod) &&
		a.Int(FieldRequestsPerMinute) == b.Int(FieldRequestsPerMinute) && a.Int(FieldTokensPerMinute) == b.Int(FieldTokensPerMinute)
}

// AsksFor reports whether a role has a value for a common field.
func AsksFor(role Values, field string) bool {
	switch guardrailFields[field].Type {
	case framework.TypeCommaStringSlice:
		return len(role.Strings(field)) > 0
	case framework.TypeFloat:
		return role.Float(field) != 0
	case framework.TypeInt:
		return role.Int(field) != 0
	}
	return role.String(field) != ""
}

// checkModels checks no names: what models there are changes every day.
func checkModels(models []string) error {
	for i, model := range models {
		switch {
		case model == "" || len(model) > 256 || strings.ContainsFunc(model, func(r rune) bool { return r <= ' ' || r > '~' }) || HideKeys(model) != model:
			return FieldErrorf(FieldModels, "%q is not a model; give models as the provider names them", HideKeys(model))
		case slices.Contains(models[:i], model):
			return FieldErrorf(FieldModels, "%q is given twice", model)
		}
	}
	return nil
}

func checkBudget(usd float64, period string) error {
	switch period {
	case "", PeriodDay, PeriodWeek, PeriodMonth:
	default:
		return FieldErrorf(FieldBudgetPeriod, "%q is not a period; give %s, %s or %s", HideKeys(period), PeriodDay, PeriodWeek, PeriodMonth)
	}
	switch {
	case usd == 0 && period != "":
		return FieldErrorf(FieldBudgetPeriod, "is given without a %s; give both", FieldBudget)
	case usd == 0:
		return nil
	case !(usd >= leastBudget && usd <= mostBudget) || math.Round(usd*100)/100 != usd:
		return FieldErrorf(FieldBudget, "%v is not an amount; give US dollars with at most two decimals, like 12.50, from %.2f to %.2f", usd, leastBudget, mostBudget)
	}
	return nil
}
