// Package openai keeps API keys of OpenAI projects, by OpenAI's administration
// API (https://platform.openai.com/docs/api-reference/administration).
//
// The keys of a role belong to a service account of its own, which is created
// without a key; each key has its own scopes and expiry, given in the call that
// creates it. OpenAI never shows a secret again and has no filter by name: Find
// lists the keys of the whole project.
//
// What is said here of OpenAI's behaviour is what openai-go v3.95.0 (November
// 2026) documents, unless a comment says otherwise.
package openai

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-llm/backend/provider"
)

// name is the value of a connection's provider field.
const name = "openai"

// The fields that OpenAI adds to connections and roles.
const (
	fieldOrganization    = "organization_id"
	fieldAllowedProjects = "allowed_projects"
	fieldProject         = "project_id"
	fieldScopes          = "scopes"
)

// maxLifetime is the longest expires_in_seconds. Third parties state it for
// project keys, OpenAI's specification for admin keys.
const maxLifetime = 31_536_000 * time.Second

// adminPrefix begins every admin key, and no other.
const adminPrefix = "sk-admin-"

type openAI struct{}

var _ provider.Provider = openAI{}

// New returns the provider. It reads no environment variable.
func New() provider.Provider { return openAI{} }

func (openAI) Name() string { return name }

func (openAI) ConfigFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldOrganization: {
			Type: framework.TypeString,
			Description: "OpenAI: id of the organization, sent as the OpenAI-Organization header and handed out with " +
				"every key.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Organization ID", Group: "OpenAI"},
		},
		fieldAllowedProjects: {
			Type: framework.TypeCommaStringSlice,
			Description: "OpenAI: ids of the projects that roles of this connection may use. Empty means every " +
				"project of the organization.",
			DisplayAttrs: &framework.DisplayAttributes{
				Name: "Allowed projects", Group: "OpenAI",
				Description: "Ids of the projects that roles may use. None means every project.",
			},
		},
	}
}

func (openAI) Answers() provider.Answers {
	return provider.Answers{Key: map[string]string{
		fieldProject:      "OpenAI: id of the key's project.",
		fieldOrganization: "OpenAI: id of the key's organization, if the connection names one.",
	}}
}

func (openAI) RoleFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldProject: {
			Type: framework.TypeString,
			Description: "OpenAI: id of the project in which the keys are made, for example proj_abc. Required. " +
				"Rates, models and spend limits are set on the project, at OpenAI.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Project ID", Group: "OpenAI"},
		},
		fieldScopes: {
			Type: framework.TypeCommaStringSlice,
			Description: "OpenAI: scopes of the keys, for example api.responses.write. Empty means all that a " +
				"member of the project may do.",
			DisplayAttrs: &framework.DisplayAttributes{
				Name: "Scopes", Group: "OpenAI",
				Description: "For example api.responses.write. None means all that a member of the project may do.",
			},
		},
	}
}

// Guardrails says that OpenAI bounds projects, and no keys.
func (openAI) Guardrails() provider.Guardrails {
	return provider.Guardrails{Elsewhere: "OpenAI bounds models, rates and spending per project: set them on the role's project, in OpenAI's settings"}
}

func (openAI) Scope(role provider.Values) string { return role.String(fieldProject) }

// Limits holds two guesses, for OpenAI publishes neither: no longest name
// (generated ones stay far below 100 bytes), and no time after which a new key
// is known everywhere.
func (openAI) Limits() provider.Limits {
	return provider.Limits{NameLength: 100, Lifetime: maxLifetime, Consistency: time.Minute}
}

func (openAI) CheckConfig(s provider.Settings) error {
	if problem := adminKeyProblem(s.AdminKey.Reveal()); problem != "" {
		return provider.FieldErrorf("admin_key", "%s", problem)
	}
	if id := s.Fields.String(fieldOrganization); id != "" && !isID(id) {
		return provider.FieldErrorf(fieldOrganization, "is not an id; give one like org-abc123")
	}
	for _, id := range s.Fields.Strings(fieldAllowedProjects) {
		if !isID(id) {
			return provider.FieldErrorf(fieldAllowedProjects, "%q is not an id; give ids like proj_abc123", id)
		}
	}
	return nil
}

// adminKeyProblem says what is wrong with an admin key, without any part of it.
func adminKeyProblem(key string) string {
	const remedy = "; create an admin key (sk-admin-…) in the settings of the organization"
	switch {
	case key == "":
		return "is required" + remedy
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "holds a blank, a line break or another character that no key has; paste the key alone"
	case strings.HasPrefix(key, "sk-proj-"), strings.HasPrefix(key, "sk-svcacct-"):
		return "a project key cannot administer" + remedy
	case !strings.HasPrefix(key, adminPrefix):
		return "is not an admin key" + remedy
	case len(key) < 20:
		return "is too short; paste the whole key"
	}
	return ""
}

func (openAI) CheckRole(config, role provider.Values) error {
	project := role.String(fieldProject)
	allowed := config.Strings(fieldAllowedProjects)
	switch {
	case project == "":
		return provider.FieldErrorf(fieldProject, "is required; give the id of an OpenAI project, like proj_abc123")
	case !isID(project):
		return provider.FieldErrorf(fieldProject, "%q is not an id; give one like proj_abc123", project)
	case len(allowed) > 0 && !slices.Contains(allowed, project):
		return provider.FieldErrorf(fieldProject, "%q is not among the connection's %s; use one of those, or have it added",
			project, fieldAllowedProjects)
	}
	return checkScopes(role.Strings(fieldScopes))
}

// checkScopes checks the form alone: OpenAI publishes no list of scopes.
func checkScopes(scopes []string) error {
	for i, scope := range scopes {
		if !scopeForm.MatchString(scope) {
			return provider.FieldErrorf(fieldScopes, "%q is not a scope; give scopes like api.responses.write", scope)
		}
		if slices.Contains(scopes[:i], scope) {
			return provider.FieldErrorf(fieldScopes, "%q is given twice", scope)
		}
	}
	return nil
}

var (
	idForm    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	scopeForm = regexp.MustCompile(`^[a-z0-9._*:-]{1,128}$`)
)

// isID refuses keys too: an id is sent in URLs and shown.
func isID(s string) bool { return idForm.MatchString(s) && provider.HideKeys(s) == s }
