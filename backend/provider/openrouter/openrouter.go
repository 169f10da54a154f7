// Package openrouter keeps API keys of OpenRouter workspaces, by OpenRouter's
// management API (https://openrouter.ai/docs/api-reference/api-keys).
//
// Each key has its own expiry, which is set when it is made and cannot be moved,
// its own budget in US dollars, and the models that a guardrail allows it. It is
// known by its hash. OpenRouter never shows a secret again and has no filter by
// name: Find lists the keys of the whole workspace.
//
// What is said here of OpenRouter's behaviour is what its OpenAPI specification
// of August 2026 documents, unless a comment says otherwise.
package openrouter

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-llm/backend/provider"
)

// name is the value of a connection's provider field.
const name = "openrouter"

// The fields that OpenRouter adds to connections and roles.
const (
	fieldAllowedWorkspaces = "allowed_workspaces"
	fieldWorkspace         = "workspace_id"
	fieldModels            = "models"
	fieldBudget            = "budget"
	fieldBudgetPeriod      = "budget_period"
)

// keyPrefix begins every key of OpenRouter. Whether a key may manage others does
// not show.
const keyPrefix = "sk-or-"

type openRouter struct{}

var _ provider.Provider = openRouter{}

// New returns the provider. It reads no environment variable.
func New() provider.Provider { return openRouter{} }

func (openRouter) Name() string { return name }

func (openRouter) ConfigFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldAllowedWorkspaces: {
			Type: framework.TypeCommaStringSlice,
			Description: "OpenRouter: ids of the workspaces that roles of this connection may use. Empty means every " +
				"workspace of the account.",
			DisplayAttrs: &framework.DisplayAttributes{
				Name: "Allowed workspaces", Group: "OpenRouter",
				Description: "Ids of the workspaces that roles may use. None means every workspace.",
			},
		},
	}
}

func (openRouter) RoleFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldWorkspace: {
			Type:         framework.TypeString,
			Description:  "OpenRouter: id of the workspace in which the keys are made, a UUID. Required.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Workspace ID", Group: "OpenRouter"},
		},
		fieldModels: {
			Type: framework.TypeCommaStringSlice,
			Description: "OpenRouter: models that the keys may call, for example openai/gpt-4.1-mini. Empty means all that " +
				"the workspace allows.",
			DisplayAttrs: &framework.DisplayAttributes{
				Name: "Models", Group: "OpenRouter",
				Description: "For example openai/gpt-4.1-mini. None means all that the workspace allows.",
			},
		},
		fieldBudget: {
			Type: framework.TypeString,
			Description: "OpenRouter: what each key may spend, in US dollars, for example 12.50. Empty means no bound of " +
				"its own.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Budget", Group: "OpenRouter"},
		},
		fieldBudgetPeriod: {
			Type: framework.TypeString,
			Description: "OpenRouter: day, week or month, after which the budget starts anew, at midnight UTC. Empty means " +
				"never.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Budget period", Group: "OpenRouter"},
		},
	}
}

// Scope is the workspace. It is never left to OpenRouter's default: the id of a
// workspace is what proves that an answer comes from the right account.
func (openRouter) Scope(role provider.Values) string { return role.String(fieldWorkspace) }

// Limits holds guesses, for OpenRouter publishes none of them: no longest name, no
// furthest expiry, and no time after which a new key is known everywhere.
func (openRouter) Limits() provider.Limits {
	return provider.Limits{NameLength: 100, Lifetime: 365 * 24 * time.Hour, Consistency: time.Minute}
}

func (openRouter) CheckConfig(s provider.Settings) error {
	if problem := adminKeyProblem(s.AdminKey.Reveal()); problem != "" {
		return provider.FieldErrorf("admin_key", "%s", problem)
	}
	for _, id := range s.Fields.Strings(fieldAllowedWorkspaces) {
		if !workspaceForm.MatchString(id) {
			return provider.FieldErrorf(fieldAllowedWorkspaces, "%q is not an id; give %s", provider.HideKeys(id), workspaceExample)
		}
	}
	return nil
}

// adminKeyProblem says what is wrong with an admin key, without any part of it.
func adminKeyProblem(key string) string {
	const remedy = "; create a management key in OpenRouter's settings"
	switch {
	case key == "":
		return "is required" + remedy
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "holds a blank, a line break or another character that no key has; paste the key alone"
	case !strings.HasPrefix(key, keyPrefix):
		return "is not a key of OpenRouter, which begins with " + keyPrefix + remedy
	case len(key) < 20:
		return "is too short; paste the whole key"
	}
	return ""
}

func (openRouter) CheckRole(config, role provider.Values) error {
	workspace := role.String(fieldWorkspace)
	allowed := config.Strings(fieldAllowedWorkspaces)
	switch {
	case workspace == "":
		return provider.FieldErrorf(fieldWorkspace, "is required; give the id of an OpenRouter workspace, %s", workspaceExample)
	case !workspaceForm.MatchString(workspace):
		return provider.FieldErrorf(fieldWorkspace, "%q is not an id; give %s", provider.HideKeys(workspace), workspaceExample)
	case len(allowed) > 0 && !slices.Contains(allowed, workspace):
		return provider.FieldErrorf(fieldWorkspace, "%q is not among the connection's %s; use one of those, or have it added",
			workspace, fieldAllowedWorkspaces)
	}
	if err := checkModels(role.Strings(fieldModels)); err != nil {
		return err
	}
	return checkBudget(role.String(fieldBudget), role.String(fieldBudgetPeriod))
}

// checkModels checks the form alone: what models there are changes every day.
func checkModels(models []string) error {
	for i, model := range models {
		if !modelForm.MatchString(model) || provider.HideKeys(model) != model {
			return provider.FieldErrorf(fieldModels, "%q is not a model; give models like openai/gpt-4.1-mini", provider.HideKeys(model))
		}
		if slices.Contains(models[:i], model) {
			return provider.FieldErrorf(fieldModels, "%q is given twice", model)
		}
	}
	return nil
}

func checkBudget(budget, period string) error {
	if period != "" {
		if _, ok := resets[period]; !ok {
			return provider.FieldErrorf(fieldBudgetPeriod, "%q is not a period; give day, week or month", provider.HideKeys(period))
		}
		if budget == "" {
			return provider.FieldErrorf(fieldBudgetPeriod, "is given without a %s; give both", fieldBudget)
		}
	}
	if budget == "" {
		return nil
	}
	if usd, err := strconv.ParseFloat(budget, 64); err != nil || !budgetForm.MatchString(budget) || usd == 0 {
		return provider.FieldErrorf(fieldBudget, "%q is not an amount; give US dollars with at most two decimals, like 12.50, "+
			"from 0.01 to 9999999.99", provider.HideKeys(budget))
	}
	return nil
}

// resets are the limit_reset of each budget_period.
var resets = map[string]string{"day": "daily", "week": "weekly", "month": "monthly"}

const workspaceExample = "a UUID like 0df9e665-d932-5740-b2c7-b52af166bc11"

var (
	workspaceForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	modelForm     = regexp.MustCompile(`^[A-Za-z0-9~][A-Za-z0-9._~-]{0,63}/[A-Za-z0-9._:-]{1,128}$`)
	budgetForm    = regexp.MustCompile(`^(0|[1-9][0-9]{0,6})(\.[0-9]{1,2})?$`)
)
