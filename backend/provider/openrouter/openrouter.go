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
	}
}

func (openRouter) Answers() provider.Answers { return provider.Answers{} }

// Guardrails are enforced at OpenRouter by a guardrail, models, and by the limit of
// a key, budgets.
func (openRouter) Guardrails() provider.Guardrails {
	return provider.Guardrails{
		PerKey:    []string{provider.FieldModels, provider.FieldBudget, provider.FieldBudgetPeriod},
		Elsewhere: "OpenRouter bounds no rates",
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
	for _, model := range role.Strings(provider.FieldModels) {
		if !modelForm.MatchString(model) {
			return provider.FieldErrorf(provider.FieldModels, "%q is not a model; give models like openai/gpt-4.1-mini", model)
		}
	}
	return nil
}

// resets are the limit_reset of each budget_period.
var resets = map[string]string{provider.PeriodDay: "daily", provider.PeriodWeek: "weekly", provider.PeriodMonth: "monthly"}

const workspaceExample = "a UUID like 0df9e665-d932-5740-b2c7-b52af166bc11"

var (
	workspaceForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	modelForm     = regexp.MustCompile(`^[A-Za-z0-9~][A-Za-z0-9._~-]{0,63}/[A-Za-z0-9._:-]{1,128}$`)
)
